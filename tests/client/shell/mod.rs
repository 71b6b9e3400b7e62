//! Tests of the client: the shell, piped, in batches and on a terminal.

mod batch;
mod piped;
mod terminal;
mod transcript;
