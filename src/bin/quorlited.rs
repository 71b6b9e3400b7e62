//! The server: reads its arguments, then runs a node until it is told to stop.

use std::io::{self, Write as _};
use std::process::ExitCode;

use quorlite::config::{Config, Parsed, logging};
use quorlite::{db, inspect, os, server};

fn main() -> ExitCode {
    let (code, text) = match Config::from_arguments(std::env::args_os().skip(1)) {
        Ok(Parsed::Start(config)) => {
            logging::start(config.raft_log_level, os::wall_clock);
            match server::run(&config) {
                Ok(()) => return ExitCode::SUCCESS,
                Err(error) => {
                    log::error!("{error}");
                    return ExitCode::FAILURE;
                }
            }
        }
        Ok(Parsed::Log { folder, json }) => {
            let form = if json { inspect::Form::Json } else { inspect::Form::Text };
            match inspect::print(&folder, form, &mut io::stdout().lock()) {
                Ok(code) => return code,
                Err(error) => (1, format!("{error}\n")),
            }
        }
        Ok(Parsed::Help(text)) => (0, text),
        Ok(Parsed::Version) => (0, version()),
        Err(failure) => (failure.code, failure.text),
    };
    // Nobody is left to tell when stderr is closed.
    io::stderr().write_all(text.as_bytes()).ok();
    ExitCode::from(code)
}

/// One line: name, version, system, and the SQLite that is built in.
fn version() -> String {
    format!(
        "quorlited {} {} {} sqlite{}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        db::connection::sqlite_version()
    )
}
