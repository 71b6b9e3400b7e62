//! The client: one-shot commands for scripts, and an interactive shell.
//!
//! It knows a running server only by its HTTP API, so it works with any server that speaks it.
//! Of the server's own code it uses what judges files and cuts SQL, so that both sides say the
//! same about a file.
//!
//! Data goes to standard output, everything else to standard error, and the exit status tells a
//! script what happened.
//!
//! | module       | is for                                                              |
//! |--------------|---------------------------------------------------------------------|
//! | `arguments`  | the command line                                                    |
//! | `values`     | what options of several commands take                               |
//! | `manual`     | the manual page                                                     |
//! | `failure`    | the exit statuses, and why a command ended early                    |
//! | `connection` | where the server is; one request, one answer                        |
//! | `results`    | answers about SQL                                                   |
//! | `output`     | rows in eight formats                                               |
//! | `inspect`    | what a local file is, and whether it is whole                       |
//! | `terminal`   | colours, progress, remarks                                          |
//! | `interrupt`  | Ctrl-C, and the files it must not leave behind                      |
//! | `sql`        | query, execute, script, schema, tables, import                      |
//! | `backup`     | backup and dump                                                     |
//! | `restore`    | restore and boot                                                    |
//! | `node`       | status, nodes, ready, leader, remove, stepdown, snapshot            |
//! | `bench`      | a server's speed                                                    |
//! | `sidecar`    | what is known of a backup, in a file beside it                      |
//! | `shell`      | the prompt                                                          |

mod arguments;
mod backup;
mod bench;
mod connection;
mod failure;
mod inspect;
mod interrupt;
mod manual;
mod node;
mod output;
mod restore;
mod results;
mod shell;
mod sidecar;
mod sql;
mod terminal;
mod values;

use std::ffi::OsString;
use std::io::{self, BufWriter, StdoutLock, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use arguments::{Arguments, Command};
use connection::{Client, Settings};
use failure::Failure;
use terminal::Terminal;

/// What every command works with.
struct Session {
    client: Client,
    terminal: Terminal,
    /// Standard output; data only.
    output: BufWriter<StdoutLock<'static>>,
}

/// Runs the command that the arguments, the program's name first, ask for.
pub fn run(given: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(given) {
        Ok(arguments) => arguments,
        Err(error) if !error.use_stderr() => {
            return match error.print().and_then(|()| io::stdout().flush()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => end(&error.into()),
            };
        }
        Err(error) => {
            let text = connection::without_users(error).to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
            return end(&Failure::usage(text));
        }
    };
    let performed = perform(arguments);
    interrupt::unwatch();
    match performed {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => end(&failure),
    }
}

/// Says why a command ended early, and gives the status for it.
fn end(failure: &Failure) -> ExitCode {
    if !failure.text.is_empty() {
        // Nobody is left to tell when this fails too.
        writeln!(io::stderr(), "quorlite: {failure}").ok();
    }
    failure.status.into()
}

fn perform(arguments: Arguments) -> Result<(), Failure> {
    interrupt::watch().map_err(|error| Failure::local("cannot wait for signals", &error))?;
    let mut output = BufWriter::new(io::stdout().lock());
    if let Some(text) = arguments.command.as_ref().map(text_of).transpose()?.flatten() {
        output.write_all(&text)?;
        return Ok(output.flush()?);
    }
    if arguments.batch && arguments.command.is_some() {
        return Err(Failure::usage("--batch is for the shell alone: commands never prompt"));
    }
    let terminal = Terminal { is_quiet: arguments.quiet };
    let client = Client::new(Settings::from(&arguments.connection, terminal)?)?;
    let session = &mut Session { client, terminal, output };
    match arguments.command {
        None => shell::run_default(arguments.batch, session),
        Some(command) => dispatch(command, session),
    }?;
    Ok(session.output.flush()?)
}

/// What a command prints that needs no server, and so must not ask for a password.
fn text_of(command: &Command) -> Result<Option<Vec<u8>>, Failure> {
    match command {
        Command::Completions(asked) => Ok(Some(asked.text())),
        Command::Man => Ok(Some(manual::page()?)),
        Command::Query(_)
        | Command::Execute(_)
        | Command::Script(_)
        | Command::Schema(_)
        | Command::Tables(_)
        | Command::Import(_)
        | Command::Backup(_)
        | Command::Dump(_)
        | Command::Restore(_)
        | Command::Boot(_)
        | Command::Status(_)
        | Command::Nodes(_)
        | Command::Ready(_)
        | Command::Leader(_)
        | Command::Remove(_)
        | Command::Stepdown(_)
        | Command::Snapshot(_)
        | Command::Bench(_)
        | Command::Shell => Ok(None),
    }
}

fn dispatch(command: Command, session: &mut Session) -> Result<(), Failure> {
    match command {
        Command::Query(asked) => asked.run(session),
        Command::Execute(asked) => asked.run(session),
        Command::Script(asked) => asked.run(session),
        Command::Schema(asked) => asked.run(session),
        Command::Tables(asked) => asked.run(session),
        Command::Import(asked) => asked.run(session),
        Command::Backup(asked) => asked.run(session),
        Command::Dump(asked) => asked.run(session),
        Command::Restore(asked) => asked.run(session),
        Command::Boot(asked) => asked.run(session),
        Command::Status(asked) => asked.run(session),
        Command::Nodes(asked) => asked.run(session),
        Command::Ready(asked) => asked.run(session),
        Command::Leader(asked) => asked.run(session),
        Command::Remove(asked) => asked.run(session),
        Command::Stepdown(asked) => asked.run(session),
        Command::Snapshot(asked) => asked.run(session),
        Command::Bench(asked) => asked.run(session),
        Command::Shell => shell::run(session),
        // Printed already, without a session.
        Command::Completions(_) | Command::Man => Ok(()),
    }
}
