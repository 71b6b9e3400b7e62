//! Copies of the database in files.
//!
//! A copy is written beside its target, checked, and only then put in its place: the old backup
//! is whole until the new one is. What a command says at its end is true of the file on the disk.
//!
//! | file     | is for                                                                  |
//! |----------|-------------------------------------------------------------------------|
//! | options  | what can be asked for, and what contradicts itself                      |
//! | source   | what is asked for, and of whom                                          |
//! | download | the bytes as they come: length, digest, beginning                       |
//! | target   | lock, unfinished file, publishing                                       |
//! | run      | one backup, step by step                                                |
//! | fetch    | the request, its answer into the unfinished file                        |
//! | report   | what is said of a backup                                                |
//! | names    | the names that a pattern has                                            |
//! | keep     | which old backups go                                                    |
//! | shelf    | the backups beside each other on the disk                               |

mod download;
mod fetch;
mod keep;
mod names;
mod options;
mod report;
mod run;
mod shelf;
mod source;
mod target;

pub(super) use options::{Backup, Dump, to_file};
