//! The dot-commands: one table that finding, help and completion are read from.

use std::io::Write as _;

use super::{Outcome, Shell, files, node, options, statement};

/// A dot-command.
pub(super) struct Command {
    /// In lower case, with its dot.
    pub(super) name: &'static str,
    /// What may follow, as the help shows it: `[a|b]` are words to choose from, capitals stand
    /// for something.
    pub(super) pattern: &'static str,
    phrase: &'static str,
    /// Gets what follows the name, trimmed.
    pub(super) run: fn(&mut Shell<'_>, &str) -> Outcome,
}

/// Where the phrases begin in the help.
const PHRASE_COLUMN: usize = 46;

/// All of them, in alphabetical order.
#[rustfmt::skip]
pub(super) const COMMANDS: [Command; 30] = [
    Command { name: ".backup", pattern: "FILE", phrase: "Copy the database into FILE, as a SQLite file", run: files::backup },
    Command { name: ".blobarray", pattern: "[on|off]", phrase: "Show BLOBs as arrays of numbers", run: options::blobarray },
    Command { name: ".boot", pattern: "FILE", phrase: "Give a single node the SQLite file FILE as its database", run: files::boot },
    Command { name: ".changes", pattern: "[on|off]", phrase: "Show the last insert ID after every write", run: options::changes },
    Command { name: ".consistency", pattern: "[none|weak|linearizable|strong]", phrase: "Show or set how fresh reads must be", run: options::consistency },
    Command { name: ".dump", pattern: "FILE [TABLE,...]", phrase: "Write the database, or some tables of it, into FILE as SQL text", run: files::dump },
    Command { name: ".exit", pattern: "", phrase: "Leave", run: leave },
    Command { name: ".expvar", pattern: "", phrase: "Show what the node counts", run: node::expvar },
    Command { name: ".extensions", pattern: "", phrase: "List the SQLite extensions that the node has loaded", run: node::extensions },
    Command { name: ".forcewrites", pattern: "[on|off]", phrase: "Send every statement as a write", run: options::forcewrites },
    Command { name: ".help", pattern: "", phrase: "Show this text", run: help },
    Command { name: ".indexes", pattern: "", phrase: "Show the CREATE statements of all indexes", run: statement::indexes },
    Command { name: ".leader", pattern: "", phrase: "Show the leader of the cluster", run: node::leader },
    Command { name: ".mode", pattern: "[column|csv|json|line]", phrase: "Show or set the format of rows (also: insert, jsonl, list, tsv)", run: options::mode },
    Command { name: ".nodes", pattern: "[all]", phrase: "Show the voting nodes of the cluster, or all of them", run: node::nodes },
    Command { name: ".output", pattern: "[FILE|stdout]", phrase: "Write rows into FILE, or to standard output again", run: options::output },
    Command { name: ".quit", pattern: "", phrase: "Leave", run: leave },
    Command { name: ".read", pattern: "FILE", phrase: "Run the statements and dot-commands of FILE", run: files::read },
    Command { name: ".ready", pattern: "", phrase: "Tell whether the node is ready", run: node::ready },
    Command { name: ".reap", pattern: "", phrase: "Have the node merge its stored snapshots now", run: node::reap },
    Command { name: ".remove", pattern: "NODEID", phrase: "Remove a node from the cluster", run: node::remove },
    Command { name: ".restore", pattern: "FILE", phrase: "Load the SQLite file or the SQL text FILE", run: files::restore },
    Command { name: ".schema", pattern: "", phrase: "Show the CREATE statements of everything", run: statement::schema },
    Command { name: ".show", pattern: "", phrase: "Show what is set", run: options::show },
    Command { name: ".snapshot", pattern: "[N]", phrase: "Have the node take a snapshot, and keep N entries of its log", run: node::snapshot },
    Command { name: ".status", pattern: "", phrase: "Show what the node knows about itself", run: node::status },
    Command { name: ".stepdown", pattern: "[NODEID]", phrase: "Have the leader hand over, to NODEID if given", run: node::stepdown },
    Command { name: ".sysdump", pattern: "FILE", phrase: "Write what all nodes know about themselves into FILE", run: node::sysdump },
    Command { name: ".tables", pattern: "", phrase: "List the tables", run: statement::tables },
    Command { name: ".timer", pattern: "[on|off]", phrase: "Show how long statements take", run: options::timer },
];

/// The command that a trimmed line asks for, and what follows its name. What is none is SQL, also
/// when it begins with a dot.
pub(super) fn find(line: &str) -> Option<(&'static Command, &str)> {
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let is_bare = ["quit", "exit"].iter().any(|word| line.eq_ignore_ascii_case(word));
    let name = if is_bare { ".quit" } else { name };
    let found = COMMANDS.iter().find(|command| command.name.eq_ignore_ascii_case(name))?;
    Some((found, argument.trim()))
}

fn help(shell: &mut Shell<'_>, _: &str) -> Outcome {
    for Command { name, pattern, phrase, .. } in &COMMANDS {
        let usage = format!("{name} {pattern}");
        writeln!(shell.session.output, "{usage:PHRASE_COLUMN$}{phrase}")?;
    }
    Ok(())
}

fn leave(shell: &mut Shell<'_>, _: &str) -> Outcome {
    shell.is_over = true;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_in_any_case_and_only_whole() {
        let named = |line| find(line).map(|(command, argument)| (command.name, argument));
        assert_eq!(named(".BackUp  a b"), Some((".backup", "a b")));
        assert_eq!(named("QUIT"), Some((".quit", "")));
        assert_eq!(named("exit"), Some((".quit", "")));
        for line in ["", ".", ".tab", ".tables;", "quit now", "SELECT 1"] {
            assert_eq!(named(line), None, "{line}");
        }
    }

    #[test]
    fn the_help_is_in_order_and_fits() {
        assert!(COMMANDS.is_sorted_by_key(|command| command.name));
        for Command { name, pattern, .. } in &COMMANDS {
            assert!(name.len() + 1 + pattern.len() < PHRASE_COLUMN, "{name}");
        }
    }
}
