//! The help text, made from the table of flags.

use std::fmt::Write as _;

use super::flags::{self, Flag, Kind, Standing};

const HEAD: &str = "\
Usage: quorlited [flags] DIR
       quorlited log DIR [--json]

The first form runs a node whose data is in the directory DIR.
The second prints the Raft log of a stopped node.

Flags:
";

/// The whole help text: how to call it, and all flags in alphabetical order.
pub(super) fn usage() -> String {
    let mut rows: Vec<_> = flags::all().collect();
    rows.sort_by_key(|(flag, _)| flag.0);
    let mut text = HEAD.to_owned();
    for (flag, standing) in rows {
        describe(&mut text, flag, standing).expect("a String takes everything");
    }
    text
}

fn describe(text: &mut String, flag: &Flag, standing: Standing) -> std::fmt::Result {
    let Flag(name, kind, meaning) = flag;
    let (takes, default) = match *kind {
        Kind::Switch(on) => ("", on.then(|| "true".to_owned())),
        Kind::Whole(value) => (" int", (value != 0).then(|| value.to_string())),
        Kind::Count(value) => (" uint", (value != 0).then(|| value.to_string())),
        Kind::Bytes(value) => (" bytes", Some(value.to_string())),
        Kind::Span(value) => (" duration", Some(value.to_owned())),
        Kind::Text(value) => (" string", (!value.is_empty()).then(|| value.to_owned())),
        Kind::File => (" path", None),
    };
    write!(text, "  -{name}{takes}\n    \t{meaning}")?;
    if let Some(default) = default {
        write!(text, " (default {default})")?;
    }
    match standing {
        Standing::Here => {}
        Standing::NoEffect(why) => write!(text, "\n    \tHas no effect: {why}")?,
        Standing::Missing(instead) => {
            write!(text, "\n    \tNot available in this version: {instead}")?;
        }
    }
    text.push('\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_all_flags_in_order_with_defaults_and_standing() {
        let text = usage();
        assert!(text.starts_with(HEAD), "how to call it comes first");
        let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("  -")).collect();
        assert_eq!(names.len(), flags::all().count(), "one entry a flag");
        assert!(names.is_sorted(), "in alphabetical order");
        for golden in [
            "  -auth path\n    \tFile of users, passwords and permissions\n    \tNot available in \
             this version: it serves every caller\n",
            "  -fk\n    \tEnforce foreign keys\n",
            "  -raft-snap-int duration\n    \tTime between looking whether one is due (default \
             10s)\n",
            "  -raft-shutdown-stepdown\n    \tHand over leadership before stopping (default \
             true)\n",
            "  -raft-commit-timeout duration\n    \tTime before a commit is announced (default \
             50ms)\n    \tHas no effect: what is committed is announced at once\n",
        ] {
            assert!(text.contains(golden), "{golden}");
        }
    }
}
