//! The user's password: from a file or from the terminal, so that it need not be on any command
//! line, where every user of the machine can read it; and out of every message.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read as _};
use std::path::Path;

use clap::error::{ContextKind, ContextValue};
use rustix::termios::{self, LocalModes, OptionalActions, Termios};

use super::settings::User;
use crate::client::failure::{Failure, Status};
use crate::client::interrupt;

/// Bytes of a line that are taken for a password; a longer one is no password but a wrong file.
const LINE_BYTES_MAX: u64 = 4096;

/// An address as messages show it: without the user and the password that may stand before it.
pub(in crate::client) fn without_user(text: &str) -> &str {
    text.rsplit_once('@').map_or(text, |(_, place)| place)
}

/// The same for what a refusal of the command line repeats.
pub(in crate::client) fn without_users(mut error: clap::Error) -> clap::Error {
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidSubcommand, ContextKind::InvalidValue]
    {
        if let Some(ContextValue::String(text)) = error.get(kind) {
            let shown = without_user(text).to_owned();
            error.insert(kind, ContextValue::String(shown));
        }
    }
    error
}

/// Name and password of who asks, if anybody is named.
pub(super) fn complete(
    user: Option<User>,
    file: Option<&Path>,
) -> Result<Option<(String, String)>, Failure> {
    let Some(User { name, password }) = user else {
        return match file {
            Some(_) => Err(Failure::usage("--password-file needs a user, -u NAME")),
            None => Ok(None),
        };
    };
    let password = match (file, password) {
        (Some(path), _) => read(path)?,
        (None, Some(password)) => password,
        (None, None) => ask(&name)?,
    };
    Ok(Some((name, password)))
}

fn read(path: &Path) -> Result<String, Failure> {
    let what = || format!("cannot read the password from {}", path.display());
    let file = File::open(path).map_err(|error| Failure::local(what(), &error))?;
    let mut line = String::new();
    BufReader::new(file.take(LINE_BYTES_MAX + 1))
        .read_line(&mut line)
        .map_err(|error| Failure::local(what(), &error))?;
    if line.len() as u64 > LINE_BYTES_MAX {
        let error = io::Error::other(format!("its first line has over {LINE_BYTES_MAX} bytes"));
        return Err(Failure::local(what(), &error));
    }
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Asks on the terminal, without showing what is typed.
fn ask(name: &str) -> Result<String, Failure> {
    let ways = "give it by --password-file FILE, by QUORLITE_USER=NAME:PASSWORD or in a file of \
                options";
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{name} has no password, and nobody to ask: {ways}")));
    }
    interrupt::restore_terminal_at_end();
    let unasked =
        |error: &io::Error| Failure::usage(format!("{name} has no password ({error}): {ways}"));
    // What is typed or pasted between the prompt and its reading would show.
    let _silence = Silence::begin().map_err(|error| unasked(&error))?;
    rpassword::prompt_password(format!("Password of {name}: ")).map_err(|error| {
        if error.kind() == io::ErrorKind::Interrupted {
            return Failure::silent(Status::Interrupted);
        }
        unasked(&error)
    })
}

/// The terminal shows nothing of what is typed, until this is dropped.
struct Silence(Termios);

impl Silence {
    fn begin() -> io::Result<Silence> {
        let before = termios::tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &silent)?;
        Ok(Silence(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing.
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.0).ok();
    }
}
