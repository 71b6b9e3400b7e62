//! Where settings come from besides the command line: the environment, and a file of options.
//!
//! | variable        | holds                                                             |
//! |-----------------|-------------------------------------------------------------------|
//! | QUORLITE_HOST   | `http://host:port` or `host:port`                                 |
//! | RQLITE_HOST     | `http://host:port`, where QUORLITE_HOST is not set                |
//! | QUORLITE_USER   | `user:password`                                                   |
//! | QUORLITE_CONFIG | the file of options; empty for none                               |
//!
//! The file holds options of the connection, one a line, as on the command line. Other files are
//! named from where it is. Its user is for the hosts it names, where it names any.

use std::env::{self, VarError};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Parser as _;

use super::address::{Form, Place, host_of};
use super::password::{without_user, without_users};
use super::settings::Arguments;
use crate::client::failure::Failure;
use crate::client::terminal::Terminal;

/// The file for all users of the machine.
const SYSTEM_FILE: &str = "/etc/quorlite/config";

/// Group and others may read.
const READABLE_BY_OTHERS: u32 = 0o044;

/// One line of the file.
#[derive(Debug, clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true, args_override_self = true)]
struct Line {
    #[command(flatten)]
    connection: Arguments,
}

/// Fills what the command line left open.
pub(super) fn complete(given: Arguments, terminal: Terminal) -> Result<Arguments, Failure> {
    if given.password_file.is_some() && given.has_password() {
        return Err(Failure::usage("the password is given twice, by -u and by --password-file"));
    }
    let environment = from_environment(&given)?;
    let mut file = from_file(terminal)?;
    if let Some(host) = given.host.as_deref().or(environment.host.as_deref())
        && !is_for(&file, host)
    {
        // Nobody else is told the password.
        (file.user, file.password_file) = (None, None);
    }
    if environment.names_node() && !given.names_node() {
        // A variable gives the whole address: what it leaves out is as by default.
        (file.host, file.port, file.scheme) = (None, None, None);
    }
    Ok(given.or(environment).or(file))
}

/// Whether the user of a file is one of this host.
fn is_for(file: &Arguments, host: &str) -> bool {
    let Some(named) = &file.host else { return true };
    let others = file.alternatives.iter().filter_map(|node| Some(node.rsplit_once(':')?.0));
    // What is no host is refused later.
    let plain = |host: &str| host_of(host).unwrap_or_default().to_ascii_lowercase();
    others.chain([named.as_str()]).any(|known| plain(known) == plain(host))
}

fn from_environment(given: &Arguments) -> Result<Arguments, Failure> {
    let mut found = Arguments::default();
    let variables = [("QUORLITE_HOST", Form::UrlOrPlace), ("RQLITE_HOST", Form::Url)];
    let mut set = variables.into_iter().filter(|_| !given.names_node());
    let set = set.find_map(|(name, form)| Some((name, form, read(name).transpose()?)));
    if let Some((name, form, text)) = set {
        let text = text?;
        let place = Place::parse(&text, form)
            .map_err(|why| Failure::usage(format!("{name} is {}: {why}", without_user(&text))))?;
        (found.scheme, found.port) = (place.scheme, place.port);
        found.host = Some(place.host);
    }
    if !given.has_password() {
        found.user = read("QUORLITE_USER")?.map(Into::into);
    }
    Ok(found)
}

/// A variable that holds something.
fn read(name: &str) -> Result<Option<String>, Failure> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(Failure::usage(format!("{name} is not UTF-8"))),
    }
}

fn from_file(terminal: Terminal) -> Result<Arguments, Failure> {
    let named = env::var_os("QUORLITE_CONFIG");
    let is_named = named.is_some();
    let candidates = match named {
        Some(path) if path.is_empty() => return Ok(Arguments::default()),
        Some(path) => vec![PathBuf::from(path)],
        None => usual_files(),
    };
    for path in candidates {
        match fs::read_to_string(&path) {
            Ok(text) => {
                let found = parse(&text, &path)?;
                warn_of_readers(&found, &path, terminal);
                return Ok(found);
            }
            Err(error) if !is_named && is_absent(&error) => {}
            Err(error) => {
                return Err(Failure::local(format!("cannot read {}", path.display()), &error));
            }
        }
    }
    Ok(Arguments::default())
}

/// The files of the user and of the machine; the first that is there counts.
fn usual_files() -> Vec<PathBuf> {
    let of_user = env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".config")));
    let of_user = of_user.map(|folder| folder.join("quorlite").join("config"));
    of_user.into_iter().chain([PathBuf::from(SYSTEM_FILE)]).collect()
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn parse(text: &str, path: &Path) -> Result<Arguments, Failure> {
    let mut all = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let refused =
            |why: &str| Failure::usage(format!("{}, line {}: {why}", path.display(), number + 1));
        if !line.starts_with('-') {
            return Err(refused("an option such as --host=db1 was expected"));
        }
        Line::try_parse_from(words(line)).map_err(|error| refused(&sentence(error)))?;
        all.extend(words(line));
    }
    // Of an option given twice the later one counts.
    let found = Line::try_parse_from(all)
        .map_err(|error| Failure::usage(format!("{}: {}", path.display(), sentence(error))))?;
    let mut found = found.connection;
    if found.password_file.is_some() && found.has_password() {
        let path = path.display();
        return Err(Failure::usage(format!("{path}: the password is given twice")));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    for named in [
        &mut found.password_file,
        &mut found.ca_cert,
        &mut found.client_cert,
        &mut found.client_key,
    ] {
        *named = named.take().map(|named| folder.join(named));
    }
    Ok(found)
}

/// What is wrong, without the hints for a command line.
fn sentence(error: clap::Error) -> String {
    let text = without_users(error).to_string();
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("error: ").unwrap_or(first).to_owned()
}

/// The words of `--name=value`, `--name value`, `-nvalue`, `-n value` and `--name`. A value goes
/// to the line's end, blanks and all.
fn words(line: &str) -> Vec<&str> {
    let end = if line.starts_with("--") { line.find(['=', ' ', '\t']) } else { Some(2) };
    let Some((name, value)) = end.and_then(|end| line.split_at_checked(end)) else {
        return vec![line];
    };
    let value = value.strip_prefix('=').unwrap_or(value).trim_start();
    if value.is_empty() { vec![name] } else { vec![name, value] }
}

/// A password that others can read is worth a word.
fn warn_of_readers(found: &Arguments, path: &Path, terminal: Terminal) {
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if found.has_password() && mode & READABLE_BY_OTHERS != 0 {
        let path = path.display();
        terminal.remark(format_args!(
            "quorlite: others can read the password in {path}: chmod 600 {path}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_options_one_a_line() {
        let text = "# nodes\n\n --host=db1\n-p 80\n-P/a\n--user me:a b\n-i\n--host db2\n-c ca.pem\n\
            -d /c.pem";
        let found = parse(text, Path::new("etc/f")).unwrap();
        assert_eq!(found.ca_cert.as_deref(), Some(Path::new("etc/ca.pem")));
        assert_eq!(found.client_cert.as_deref(), Some(Path::new("/c.pem")));
        assert_eq!(found.host.as_deref(), Some("db2"));
        assert_eq!((found.port, found.prefix.as_deref()), (Some(80), Some("/a")));
        assert_eq!(found.user.unwrap().password.as_deref(), Some("a b"));
        assert!(found.insecure);
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        for (line, word) in [
            ("host=db1", "an option such as"),
            ("--hots=db1", "--hots"),
            ("--port=x", "invalid value"),
            ("--port", "a value is required"),
            ("--insecure=yes", "unexpected"),
            ("--quiet", "--quiet"),
            ("query", "an option such as"),
        ] {
            let failure = parse(&format!("\n{line}\n"), Path::new("f")).unwrap_err();
            assert!(failure.text.starts_with("f, line 2: "), "{}", failure.text);
            assert!(failure.text.contains(word), "{word} in {}", failure.text);
        }
    }
}
