//! The words of a story's commands.

use quorlite::raft::{Configuration, EntryId, NodeId};

/// The words of a command.
pub(crate) struct Words<'a>(pub(crate) Vec<&'a str>);

impl Words<'_> {
    pub(crate) fn at(&self, place: usize) -> &str {
        self.0.get(place).unwrap_or_else(|| panic!("{:?}: too short", self.0))
    }

    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.0.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    pub(crate) fn names(&self, key: &str) -> Vec<NodeId> {
        let names = self.value(key).unwrap_or_default().split(',');
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    pub(crate) fn configuration(&self) -> Configuration {
        Configuration::new(self.names("voters"), self.names("learners"))
    }

    pub(crate) fn link(&self) -> (NodeId, NodeId) {
        let (from, to) = self.at(1).split_once("->").expect("a link is written a->b");
        (from.to_owned(), to.to_owned())
    }
}

pub(crate) fn entry(text: &str) -> EntryId {
    let (index, term) = text.split_once('@').expect("an entry is written index@term");
    EntryId { index: index.parse().expect("an index"), term: term.parse().expect("a term") }
}
