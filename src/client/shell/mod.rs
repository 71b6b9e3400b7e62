//! The shell: SQL and dot-commands, typed, piped or in batches.
//!
//! There are three ways in, and they differ in nothing but what they read and what an error does:
//!
//! | way      | when                                         | errors                           |
//! |----------|----------------------------------------------|----------------------------------|
//! | piped    | no command, input or output is no terminal   | on stdout; the status is 0       |
//! | batch    | `--batch`, or `shell` without a terminal     | on stderr; the end; its status   |
//! | terminal | input and output are terminals               | on stdout; the session goes on   |
//!
//! Piped it is rqlite's shell to the byte, banner, prompts and status: programs that drive that
//! one by its texts can drive this one. Scripts are better off with commands or with batches.
//!
//! | file         | is for                                                         |
//! |--------------|----------------------------------------------------------------|
//! | `commands`   | the table of dot-commands, and `.help`                         |
//! | `options`    | what `.show` shows                                             |
//! | `statement`  | SQL, and what is printed of its results                        |
//! | `node`       | commands about nodes and the cluster                           |
//! | `tree`       | JSON as indented text                                          |
//! | `files`      | commands that copy the database to files and back              |
//! | `script`     | input cut into statements over lines and dot-commands          |
//! | `editor`     | a session on a terminal                                        |
//! | `completion` | what TAB offers                                                |
//! | `names`      | tables and columns, fetched when they are first asked for      |
//! | `history`    | lines of earlier sessions                                      |

mod commands;
mod completion;
mod editor;
mod files;
mod history;
mod names;
mod node;
mod options;
mod script;
mod statement;
mod tree;

use std::io::{self, BufRead, IsTerminal as _, Read as _, Write as _};

use super::Session;
use super::connection::{Answer, Body, Call, Effect, Patience};
use super::failure::{Failure, Status};
use crate::db::splitter::STATEMENT_BYTES_MAX;
use options::Options;

/// What takes part in a session.
struct Shell<'s> {
    session: &'s mut Session,
    options: Options,
    manner: Manner,
    /// Whether `.quit` was said.
    is_over: bool,
    /// How many files being read have led here.
    depth: usize,
    /// Whether the schema may have changed since this was last looked at.
    is_schema_changed: bool,
}

/// What an error does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// It is printed as rqlite's shell prints it, and the session goes on.
    Lenient,
    /// It ends the session.
    Strict,
}

/// What a line came to grief over.
#[derive(Debug)]
enum Trouble {
    /// An error of SQL.
    Sql(Failure),
    /// Everything else.
    Other(Failure),
}

/// What a dot-command or a statement comes to.
type Outcome = Result<(), Trouble>;

/// The shell of a call without a command.
pub(super) fn run_default(is_batch: bool, session: &mut Session) -> Result<(), Failure> {
    if is_batch {
        return batch(session);
    }
    if has_person() { on_terminal(session) } else { piped(session) }
}

/// `quorlite shell`.
pub(super) fn run(session: &mut Session) -> Result<(), Failure> {
    if has_person() { on_terminal(session) } else { batch(session) }
}

fn has_person() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

fn on_terminal(session: &mut Session) -> Result<(), Failure> {
    let mut shell = Shell::new(session, Manner::Lenient);
    if let Err(failure) = shell.welcome() {
        let status = failure.status;
        shell.complain(Trouble::Other(failure))?;
        return Err(Failure::silent(status));
    }
    editor::run(&mut shell)?;
    shell.farewell()
}

fn piped(session: &mut Session) -> Result<(), Failure> {
    let mut shell = Shell::new(session, Manner::Lenient);
    if let Err(failure) = shell.welcome() {
        return shell.complain(Trouble::Other(failure));
    }
    let mut input = io::stdin().lock();
    while !shell.is_over {
        let prompt = shell.prompt();
        shell.session.output.write_all(prompt.as_bytes())?;
        shell.session.output.flush()?;
        let Some(line) = read_line(&mut input).map_err(|error| unreadable(&error))? else { break };
        if let Err(trouble) = shell.answer(&line) {
            shell.complain(trouble)?;
        }
    }
    shell.farewell()
}

fn batch(session: &mut Session) -> Result<(), Failure> {
    let mut shell = Shell::new(session, Manner::Strict);
    let mut input = io::stdin().lock();
    script::run(&mut shell, &mut input, "standard input").map_err(Failure::from)
}

/// A line without its end; `None` at the end of the input.
fn read_line(input: &mut dyn BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let most = STATEMENT_BYTES_MAX as u64;
    if input.take(most).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned()))
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::local("cannot read standard input", error)
}

impl<'s> Shell<'s> {
    fn new(session: &'s mut Session, manner: Manner) -> Shell<'s> {
        let options = Options::default();
        Shell { session, options, manner, is_over: false, depth: 0, is_schema_changed: false }
    }

    /// Greets whoever comes, once a node has answered. That it wants a password, say, shows at
    /// the first statement.
    fn welcome(&mut self) -> Result<(), Failure> {
        let answer = self.session.client.get("status")?;
        let version = answer.header("x-rqlite-version").unwrap_or("unknown").to_owned();
        // Read so that the connection can be used again.
        answer.bytes()?;
        let scheme = self.session.client.settings().scheme.name();
        let node = self.session.client.node();
        writeln!(
            self.session.output,
            "Welcome to the rqlite CLI.\nEnter \".help\" for usage hints.\n\
             Connected to {scheme}://{node} running version {version}"
        )?;
        Ok(())
    }

    fn farewell(&mut self) -> Result<(), Failure> {
        writeln!(self.session.output, "bye~")?;
        Ok(self.session.output.flush()?)
    }

    /// Names the node in use, which changes when it fails.
    fn prompt(&self) -> String {
        format!("{}> ", self.session.client.node())
    }

    /// Does what one line asks for; a statement need not end in a semicolon.
    fn answer(&mut self, line: &str) -> Outcome {
        let line = line.trim();
        match commands::find(line) {
            Some((command, argument)) => (command.run)(self, argument),
            None => statement::run(self, line),
        }
    }

    /// Prints an error as rqlite's shell does, or passes it on where errors end the session.
    fn complain(&mut self, trouble: Trouble) -> Result<(), Failure> {
        if self.manner == Manner::Strict {
            return Err(trouble.into());
        }
        let mark = if self.session.terminal.has_colours() { "\x1b[31mERR!\x1b[0m" } else { "ERR!" };
        let text = match trouble {
            Trouble::Sql(failure) => format!("Error: {failure}"),
            Trouble::Other(failure) if failure.status == Status::Unreachable => {
                self.session.output.flush()?;
                self.session.terminal.remark(failure);
                format!("{mark} no host available to perform the request")
            }
            Trouble::Other(failure) => format!("{mark} {failure}"),
        };
        Ok(writeln!(self.session.output, "{text}")?)
    }

    /// Asks for something that changes nothing and must succeed.
    fn get(&mut self, target: &str) -> Result<Answer, Failure> {
        let answer = self.session.client.get(target)?;
        if answer.status == 401 {
            return Err(Failure::new(Status::Unauthorised, "unauthorized"));
        }
        answer.worded(explain)
    }

    /// Gives an order with a JSON body, if any.
    fn order(
        &mut self,
        method: &'static str,
        target: &str,
        json: &[u8],
    ) -> Result<Answer, Failure> {
        let body = if json.is_empty() { Body::Empty } else { Body::Json(json) };
        let (effect, patience) = (Effect::Some, Patience::Whole);
        self.session.client.send(Call { method, target, headers: &[], body, effect, patience })
    }

    /// A line about what was done.
    fn say(&mut self, text: &str) -> Outcome {
        Ok(writeln!(self.session.output, "{text}")?)
    }
}

/// How rqlite's shell words a refusal.
fn explain(line: &str, text: &str) -> String {
    format!("server responded with {line}: {text}")
}

impl Trouble {
    /// The same, with where it was met in front.
    fn at(self, place: &str) -> Trouble {
        match self {
            Trouble::Sql(Failure { status, text }) => {
                Trouble::Sql(Failure::new(status, format!("{place}: {text}")))
            }
            // Of what was said already nothing more is to be said.
            Trouble::Other(failure) if failure.text.is_empty() => Trouble::Other(failure),
            Trouble::Other(Failure { status, text }) => {
                Trouble::Other(Failure::new(status, format!("{place}: {text}")))
            }
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Other(failure)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Other(error.into())
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        match trouble {
            Trouble::Sql(failure) | Trouble::Other(failure) => failure,
        }
    }
}

/// An argument that is missing or wrong, in rqlite's words.
fn usage(text: impl Into<String>) -> Trouble {
    Trouble::Other(Failure::usage(text))
}
