//! The client. Parses, runs, and leaves the exit status; see `quorlite::client`.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorlite::client::run(std::env::args_os())
}
