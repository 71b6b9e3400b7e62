//! The manual page: one page for all commands, made of the same definitions as the help texts.

use std::io::{self, Write as _};

use clap::Command;
use clap_mangen::Man;

use super::arguments;
use super::failure::STATUSES;

/// What the environment says, by the names of the variables.
const ENVIRONMENT: [(&str, &str); 10] = [
    ("QUORLITE_HOST", "the node, as http://HOST:PORT or HOST:PORT, unless -H, -p or -s is given"),
    ("RQLITE_HOST", "the same, as http://HOST:PORT, where QUORLITE_HOST is not set"),
    ("QUORLITE_USER", "NAME:PASSWORD, unless -u is given"),
    ("QUORLITE_CONFIG", "the file of options; empty for none"),
    ("XDG_CONFIG_HOME, HOME", "where the user's own files are"),
    ("HTTP_PROXY, HTTPS_PROXY", "the proxy for each scheme; this machine is reached without"),
    ("NO_PROXY", "hosts, domains and networks that are reached without a proxy, by commas"),
    ("NO_COLOR", "set to anything: no colours"),
    ("QUORLITE_HISTFILESIZE", "lines of the shell's history that are kept; 0 for none"),
    ("RQLITE_HISTFILESIZE", "the same, where QUORLITE_HISTFILESIZE is not set"),
];

/// Files, and what they hold.
const FILES: [(&str, &str); 3] = [
    (
        "~/.config/quorlite/config",
        "options of the connection, one a line as on the command line (--host=db1, # comment), \
         with other files named from where it is; the command line and the environment come \
         first; its user and password are for the hosts it names, if it names one with --host, and \
         dropped when another is asked for",
    ),
    ("/etc/quorlite/config", "the same for all users, where a user has none"),
    ("~/.quorlite_history", "what was typed into the shell"),
];

/// Whom the password is told.
const PASSWORDS: [(&str, &str); 2] = [
    ("-u NAME:PASSWORD", "shows in the machine's list of processes; --password-file does not"),
    (
        "Redirects",
        "a node may send a request on to the leader: name and password go along to whatever address \
         it gives, by http for all of the network to read; what is asked by https never goes on by \
         http",
    ),
];

/// Command lines, and what they are for.
const EXAMPLES: [(&str, &str); 4] = [
    ("quorlite query 'SELECT * FROM t WHERE id = ?' 7", "the rows as a table"),
    ("quorlite -H db1 -a db2:4001,db3:4001 ready --wait 1m", "wait until the cluster is up"),
    ("quorlite -u backup --password-file /etc/db.pw backup -o /var/backups/db.sqlite", "from cron"),
    ("source <(quorlite completions bash)", "completion in this shell"),
];

/// The page, as `man` reads it.
///
/// # Errors
/// None: it is written to memory.
pub(super) fn page() -> io::Result<Vec<u8>> {
    let definition = arguments::definition();
    let mut page = Vec::new();
    let man = Man::new(definition.clone().after_help(""));
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    writeln!(page, ".SH COMMANDS")?;
    for command in definition.get_subcommands() {
        render_command(command, &mut page)?;
    }
    let statuses = STATUSES.map(|(status, meaning)| ((status as u8).to_string(), meaning));
    let statuses = statuses.each_ref().map(|(status, meaning)| (status.as_str(), *meaning));
    for (title, entries) in [
        ("EXIT STATUS", statuses.as_slice()),
        ("ENVIRONMENT", &ENVIRONMENT),
        ("FILES", &FILES),
        ("PASSWORDS", &PASSWORDS),
        ("EXAMPLES", &EXAMPLES),
    ] {
        writeln!(page, ".SH {title}")?;
        for (name, meaning) in entries {
            writeln!(page, ".TP\n\\fB{}\\fR\n{}", escape(name), escape(meaning))?;
        }
    }
    Ok(page)
}

/// What a command does and its own options; those of the connection are told once.
fn render_command(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let name = format!("quorlite {}", command.get_name());
    let mut command = command.clone().bin_name(name).disable_help_flag(true);
    let usage = command.render_usage().to_string();
    let usage = usage.trim().strip_prefix("Usage: ").unwrap_or(&usage).to_owned();
    writeln!(page, ".SS {}", escape(&usage))?;
    if let Some(about) = command.get_about() {
        writeln!(page, "{}", escape(&about.to_string()))?;
    }
    let details = command.get_after_help().map(ToString::to_string);
    let mut options = Vec::new();
    Man::new(command.after_help("")).render_options_section(&mut options)?;
    for line in String::from_utf8_lossy(&options).lines().filter(|line| !line.starts_with(".SH")) {
        writeln!(page, "{line}")?;
    }
    if let Some(details) = details {
        writeln!(page, ".PP\n.nf\n{}\n.fi", escape(details.trim_end()))?;
    }
    Ok(())
}

/// Text that means itself and nothing to the formatter.
fn escape(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let lines = escaped.lines().map(|line| match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}"),
        false => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_means_itself() {
        assert_eq!(escape("a -b \\c\n.d\n'e"), "a \\-b \\ec\n\\&.d\n\\&'e");
    }
}
