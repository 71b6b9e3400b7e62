//! The client: one command a call. Parses, runs, and leaves the exit code; see `quorlite::client`.

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let given = std::env::args_os().skip(1);
    quorlite::client::run(given, &mut io::stdout().lock(), &mut io::stderr())
}
