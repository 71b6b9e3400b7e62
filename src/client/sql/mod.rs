//! SQL in and rows out.
//!
//! | file       | is for                                                                    |
//! |------------|---------------------------------------------------------------------------|
//! | query      | SQL that reads                                                            |
//! | execute    | SQL that writes                                                           |
//! | script     | many statements from a file                                               |
//! | catalog    | schema and tables                                                         |
//! | import     | CSV into a table                                                          |
//! | source     | SQL and files as they are named on the command line                       |
//! | parameters | values for the `?` and `:name` of a statement                             |
//! | batch      | statements on their way to the server, and where they came from           |
//! | levels     | how fresh a read must be                                                  |
//! | printing   | results in the format asked for                                           |

mod batch;
mod catalog;
mod execute;
mod import;
mod levels;
mod parameters;
mod printing;
mod query;
mod script;
mod source;

use std::fmt;
use std::io::{self, Write as _};

pub(super) use catalog::{Schema, Tables};
pub(super) use execute::Execute;
pub(super) use import::Import;
pub(super) use query::Query;
pub(super) use script::Script;

/// Says what went wrong where more is still to come; also with `--quiet`.
fn complain(what: impl fmt::Display) {
    // Nobody is left to tell when it fails.
    writeln!(io::stderr(), "quorlite: {what}").ok();
}
