//! How what a file holds differs from what is live.

use std::collections::BTreeMap;

use crate::db::inventory::Element;

/// One element of a schema, on either side.
#[derive(Debug, PartialEq)]
pub(super) struct Pair<'a> {
    pub(super) kind: &'a str,
    pub(super) name: &'a str,
    pub(super) file: Option<&'a Element>,
    pub(super) live: Option<&'a Element>,
}

/// What is different about an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    OnlyInFile,
    OnlyLive,
    Schema,
    Rows,
}

impl Change {
    pub(super) fn words(self) -> &'static str {
        match self {
            Change::OnlyInFile => "only in the file",
            Change::OnlyLive => "only live",
            Change::Schema => "another schema",
            Change::Rows => "another number of rows",
        }
    }
}

/// All elements of both sides: tables first, then by kind and name.
pub(super) fn pairs<'a>(file: &'a [Element], live: &'a [Element]) -> Vec<Pair<'a>> {
    let mut found: BTreeMap<(bool, &str, &str), Pair<'a>> = BTreeMap::new();
    let key = |element: &'a Element| {
        (element.kind != "table", element.kind.as_str(), element.name.as_str())
    };
    let empty = |element: &'a Element| Pair {
        kind: &element.kind,
        name: &element.name,
        file: None,
        live: None,
    };
    for element in file {
        found.entry(key(element)).or_insert_with(|| empty(element)).file = Some(element);
    }
    for element in live {
        found.entry(key(element)).or_insert_with(|| empty(element)).live = Some(element);
    }
    found.into_values().collect()
}

impl Pair<'_> {
    /// What is different, if anything.
    pub(super) fn change(&self) -> Option<Change> {
        match (self.file, self.live) {
            (Some(_), None) => Some(Change::OnlyInFile),
            (None, _) => Some(Change::OnlyLive),
            (Some(file), Some(live)) if file.sql != live.sql => Some(Change::Schema),
            (Some(file), Some(live)) if file.rows != live.rows => Some(Change::Rows),
            (Some(_), Some(_)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_found_once() {
        let element = |kind: &str, name: &str, sql: &str, rows| Element {
            kind: kind.to_owned(),
            name: name.to_owned(),
            sql: sql.to_owned(),
            rows,
        };
        let file = [
            element("index", "a", "x", None),
            element("table", "old", "x", Some(1)),
            element("table", "rows", "x", Some(1)),
            element("table", "same", "x", Some(1)),
        ];
        let live = [
            element("index", "a", "y", None),
            element("table", "new", "x", Some(0)),
            element("table", "rows", "x", Some(2)),
            element("table", "same", "x", Some(1)),
        ];
        let pairs = pairs(&file, &live);
        let found: Vec<_> = pairs.iter().map(|pair| (pair.name, pair.change())).collect();
        let wanted = [
            ("new", Some(Change::OnlyLive)),
            ("old", Some(Change::OnlyInFile)),
            ("rows", Some(Change::Rows)),
            ("same", None),
            ("a", Some(Change::Schema)),
        ];
        assert_eq!(found, wanted);
    }
}
