//! The client: one command a call, and what they share.
//!
//! It knows the server only by its HTTP API and imports nothing of it, so that every command
//! works on any server that speaks that API. Commands and options are tables: parsing and help
//! are read from them by `arguments`. `lexopt` takes the words apart; a derive-style parser
//! would add a dozen crates to say what the tables say.

mod arguments;
mod bench;
mod columns;
mod http;
mod url;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use arguments::{Command, Request};

/// All commands, in the order of the help text.
const COMMANDS: &[Command] = &[bench::COMMAND];

/// Why a command ended early; each is printed as `quorlite: ...` on stderr.
#[derive(Debug)]
enum Failure {
    /// The command line is wrong: exit code 2, and the caller should read the help.
    Usage(String),
    /// The server or this machine would not: exit code 1.
    Failed(String),
    /// Whoever read our output has gone: exit code 1, and nothing is said.
    OutputClosed,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) | Failure::Failed(text) => f.write_str(text),
            Failure::OutputClosed => f.write_str("the output was closed"),
        }
    }
}

impl From<io::Error> for Failure {
    /// Only writing the command's own output yields a bare `io::Error`.
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::Failed(format!("cannot write the output: {error}")),
        }
    }
}

/// Runs the command that the arguments (without the program's name) ask for.
///
/// Results go to `output`, everything else to `complaints`.
pub fn run(
    given: impl IntoIterator<Item = OsString>,
    output: &mut dyn Write,
    complaints: &mut dyn Write,
) -> ExitCode {
    let Err(failure) = perform(given, output) else { return ExitCode::SUCCESS };
    let code = match failure {
        Failure::Usage(_) => ExitCode::from(2),
        Failure::Failed(_) => ExitCode::FAILURE,
        Failure::OutputClosed => return ExitCode::FAILURE,
    };
    // Nobody is left to tell when this fails too.
    writeln!(complaints, "quorlite: {failure}").ok();
    code
}

fn perform(
    given: impl IntoIterator<Item = OsString>,
    output: &mut dyn Write,
) -> Result<(), Failure> {
    match arguments::read(COMMANDS, given)? {
        Request::Help(text) => output.write_all(text.as_bytes())?,
        Request::Version => writeln!(output, "quorlite {}", env!("CARGO_PKG_VERSION"))?,
        Request::Run(command, given) => (command.run)(&given, output)?,
    }
    Ok(output.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_line(line: &str) -> (ExitCode, String, String) {
        let (mut output, mut complaints) = (Vec::new(), Vec::new());
        let words = line.split_whitespace().map(OsString::from);
        let code = run(words, &mut output, &mut complaints);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (code, text(output), text(complaints))
    }

    #[test]
    fn what_is_asked_wrongly_is_said_and_exits_with_2() {
        for (line, complaint) in [
            ("", "no command given; quorlite --help lists them"),
            ("dance", "unknown command dance; quorlite --help lists them"),
            ("--bad", "unknown option --bad; see quorlite --help"),
            ("bench", "URL is missing; see quorlite bench --help"),
            ("bench a b", "unexpected argument b; see quorlite bench --help"),
            ("bench --bad", "unknown option --bad; see quorlite bench --help"),
            ("bench --seconds", "--seconds needs a value; see quorlite bench --help"),
            ("bench --json=1 a", "--json takes no value; see quorlite bench --help"),
            (
                "bench a --workload insert,flood",
                "unknown workload flood; see quorlite bench --help",
            ),
            ("bench a --clients 1,x", "--clients: x is not a number from 1 to 4096"),
            ("bench https://a", "https is not available in this version"),
        ] {
            let (code, output, complaints) = run_line(line);
            assert_eq!(complaints, format!("quorlite: {complaint}\n"), "{line}");
            assert_eq!((code, output.as_str()), (ExitCode::from(2), ""), "{line}");
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_said_and_exits_with_1() {
        // Port 1 is privileged and, by convention, empty.
        let (code, _, complaints) = run_line("bench http://127.0.0.1:1 --seconds 1");
        assert_eq!(code, ExitCode::FAILURE, "{complaints}");
        assert!(
            complaints.starts_with("quorlite: cannot connect to 127.0.0.1:1: "),
            "{complaints}"
        );
    }

    #[test]
    fn help_names_every_command_and_option() {
        let (code, output, _) = run_line("--help");
        assert_eq!(code, ExitCode::SUCCESS, "asked for");
        assert!(output.contains("bench URL"), "{output}");
        let (_, output, _) = run_line("bench -h");
        for name in ["--clients", "--seconds", "--workload", "--size", "--json", "point-weak"] {
            assert!(output.contains(name), "{name} in {output}");
        }
    }
}
