//! Tests of the client: query, execute, script, schema, tables, import.

mod ends;
mod imports;
mod round_trips;

use std::path::Path;

use crate::transcript;

/// Each transcript has a server of its own, and says in its first line what it shows.
const TRANSCRIPTS: [&str; 8] = [
    "every_format_has_its_form.txt",
    "execute_says_what_changed.txt",
    "imports_are_all_or_nothing.txt",
    "parameters_keep_their_type.txt",
    "schema_and_tables.txt",
    "scripts_stop_where_they_fail.txt",
    "sql_comes_as_argument_or_input.txt",
    "transactions_in_scripts_are_whole.txt",
];

#[test]
fn sessions_print_what_the_transcripts_show() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client/scripts");
    let found: Vec<String> =
        TRANSCRIPTS.iter().filter_map(|name| transcript::check(&folder.join(name))).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
