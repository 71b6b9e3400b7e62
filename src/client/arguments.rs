//! Command lines read from tables: which command, its options, its positional words.
//!
//! A command says what it takes as data, so that its help can never differ from its parser.
//! What a value means is the command's own business.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write;
use std::str::FromStr;

use lexopt::Arg;

use super::Failure;

/// What one command is called, takes and does.
pub(super) struct Command {
    pub(super) name: &'static str,
    /// Its positional words, all of them required, as the help text names them.
    pub(super) words: &'static [&'static str],
    /// One line for the list of commands.
    pub(super) summary: &'static str,
    pub(super) options: &'static [Choice],
    /// What stands below the options in its help text.
    pub(super) details: &'static str,
    pub(super) run: fn(&Given, &mut dyn Write) -> Result<(), Failure>,
}

/// One option: its long name, its value as the help text names it, and its meaning.
pub(super) struct Choice(
    pub(super) &'static str,
    pub(super) Option<&'static str>,
    pub(super) &'static str,
);

/// What a command was given; an option given twice has its last value.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) words: Vec<String>,
    options: Vec<(&'static str, String)>,
}

/// What a command line asks for.
pub(super) enum Request {
    Help(String),
    Version,
    Run(&'static Command, Given),
}

impl Given {
    /// Whether an option that takes no value was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(known, _)| *known == name).map(|(_, text)| text.as_str())
    }

    /// The items of a comma list, each checked by `parse`.
    ///
    /// # Errors
    /// `Failure::Usage` that names the first bad item and, as `expected`, what it should be.
    pub(super) fn list<T: FromStr>(
        &self,
        name: &str,
        expected: &str,
        accept: impl Fn(&T) -> bool,
    ) -> Result<Option<Vec<T>>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let items = text.split(',').map(|item| {
            item.parse()
                .ok()
                .filter(&accept)
                .ok_or_else(|| Failure::Usage(format!("--{name}: {item} is not {expected}")))
        });
        items.collect::<Result<_, _>>().map(Some)
    }
}

/// Reads a whole command line.
pub(super) fn read(
    commands: &'static [Command],
    given: impl IntoIterator<Item = OsString>,
) -> Result<Request, Failure> {
    let mut parser = lexopt::Parser::from_args(given);
    let general = |what: String| Failure::Usage(format!("{what}; see quorlite --help"));
    let name = match parser.next().map_err(|error| general(error.to_string()))? {
        None => {
            let text = "no command given; quorlite --help lists them";
            return Err(Failure::Usage(text.to_owned()));
        }
        Some(Arg::Long("help") | Arg::Short('h')) => {
            return Ok(Request::Help(help_on_all(commands)));
        }
        Some(Arg::Long("version") | Arg::Short('V')) => return Ok(Request::Version),
        Some(Arg::Long(name)) => return Err(general(format!("unknown option --{name}"))),
        Some(Arg::Short(name)) => return Err(general(format!("unknown option -{name}"))),
        Some(Arg::Value(name)) => name,
    };
    let command = commands.iter().find(|command| name == command.name).ok_or_else(|| {
        let name = name.display();
        Failure::Usage(format!("unknown command {name}; quorlite --help lists them"))
    })?;
    read_command(command, parser)
        .map_err(|what| Failure::Usage(format!("{what}; see quorlite {} --help", command.name)))
}

fn read_command(command: &'static Command, mut parser: lexopt::Parser) -> Result<Request, String> {
    let mut given = Given { words: Vec::new(), options: Vec::new() };
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Arg::Long("help") | Arg::Short('h') => return Ok(Request::Help(help_on(command))),
            Arg::Short(name) => return Err(format!("unknown option -{name}")),
            Arg::Long(name) => {
                let Choice(name, value, _) = command
                    .options
                    .iter()
                    .find(|choice| choice.0 == name)
                    .ok_or_else(|| format!("unknown option --{name}"))?;
                let text = read_value(&mut parser, name, value.is_some())?;
                given.options.push((name, text));
            }
            Arg::Value(word) if given.words.len() < command.words.len() => {
                given.words.push(into_text(word)?);
            }
            Arg::Value(word) => return Err(format!("unexpected argument {}", word.display())),
        }
    }
    match command.words.get(given.words.len()) {
        Some(missing) => Err(format!("{missing} is missing")),
        None => Ok(Request::Run(command, given)),
    }
}

fn read_value(parser: &mut lexopt::Parser, name: &str, is_due: bool) -> Result<String, String> {
    if is_due {
        let value = parser.value().map_err(|_| format!("--{name} needs a value"))?;
        return into_text(value);
    }
    match parser.optional_value() {
        None => Ok(String::new()),
        Some(_) => Err(format!("--{name} takes no value")),
    }
}

fn into_text(word: OsString) -> Result<String, String> {
    word.into_string().map_err(|word| format!("{} is not UTF-8", word.display()))
}

fn help_on_all(commands: &[Command]) -> String {
    let mut text = "Usage: quorlite COMMAND ...\n\nCommands:\n".to_owned();
    for command in commands {
        let call = format!("{} {}", command.name, command.words.join(" "));
        writeln!(text, "  {call:<20}  {}", command.summary).expect("a String takes everything");
    }
    text.push_str("\nquorlite COMMAND --help tells more. quorlite --version prints the version.\n");
    text
}

fn help_on(command: &Command) -> String {
    let words = command.words.join(" ");
    let mut text = format!(
        "Usage: quorlite {} {words} [options]\n\n{}\n\nOptions:\n",
        command.name, command.summary
    );
    for Choice(name, value, meaning) in command.options {
        let call = format!("--{name} {}", value.unwrap_or_default());
        writeln!(text, "  {call:<20}  {meaning}").expect("a String takes everything");
    }
    text.push('\n');
    text.push_str(command.details);
    text
}
