//! Outcomes as JSON: what `/db/execute`, `/db/query`, `/db/request` and `/db/load` answer.
//!
//! Everything is written once, into one buffer, with the fields in the order in which rqlite's
//! clients have always seen them. What a column is called in `types` also decides how its values
//! look; the rules are in [`Rendering`].
//!
//! ```json
//! {"results":[{"last_insert_id":1,"rows_affected":1,"time":0.1}],"time":0.2,"raft_index":7}
//! {"results":[{"columns":["id"],"types":["integer"],"values":[[1]]}]}
//! {"results":[{"types":{"id":"integer"},"rows":[{"id":1}]}]}
//! ```

use super::dates;
use super::json::{
    indent, push_array, push_base64, push_byte_array, push_double, push_integer, push_string,
    push_unsigned,
};
use crate::command::Value;
use crate::db::outcome::{Outcome, Rows, StatementResult};

/// Which endpoint answers; failures and writes look a little different on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Execute,
    Query,
    Request,
}

/// How a client wants its results.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) endpoint: Endpoint,
    pub(super) associative: bool,
    pub(super) blob_array: bool,
    pub(super) timings: bool,
    pub(super) pretty: bool,
}

/// What stands beside the results.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Envelope<'e> {
    /// A failure of the whole request.
    pub(super) error: Option<&'e str>,
    /// Printed where timings are asked for.
    pub(super) seconds: f64,
    pub(super) sequence_number: Option<u64>,
    /// Not printed when 0.
    pub(super) raft_index: u64,
}

/// Bytes to begin with: enough for most answers that are not rows.
const CAPACITY: usize = 256;

/// The whole answer.
pub(super) fn encode(outcomes: &[Outcome], envelope: Envelope<'_>, form: Form) -> Vec<u8> {
    let mut out = Vec::with_capacity(CAPACITY);
    out.extend(b"{\"results\":");
    push_array(&mut out, outcomes, |out, outcome| push_outcome(out, outcome, form));
    if let Some(error) = envelope.error {
        out.extend(b",\"error\":");
        push_string(&mut out, error);
    }
    if form.timings {
        out.extend(b",\"time\":");
        push_double(&mut out, envelope.seconds);
    }
    if let Some(number) = envelope.sequence_number {
        out.extend(b",\"sequence_number\":");
        push_unsigned(&mut out, number);
    }
    if envelope.raft_index != 0 {
        out.extend(b",\"raft_index\":");
        push_unsigned(&mut out, envelope.raft_index);
    }
    out.push(b'}');
    if form.pretty { indent(&out) } else { out }
}

fn push_outcome(out: &mut Vec<u8>, outcome: &Outcome, form: Form) {
    let seconds = outcome.seconds.filter(|_| form.timings);
    out.push(b'{');
    match &outcome.result {
        StatementResult::Written { .. } if form.endpoint == Endpoint::Query && form.associative => {
            out.extend(b"\"types\":{},\"rows\":[],");
            push_time(out, seconds);
        }
        StatementResult::Written { last_insert_id, rows_affected } => {
            if *last_insert_id != 0 {
                out.extend(b"\"last_insert_id\":");
                push_integer(out, *last_insert_id);
                out.push(b',');
            }
            if *rows_affected != 0 {
                out.extend(b"\"rows_affected\":");
                push_unsigned(out, *rows_affected);
                out.push(b',');
            }
            push_time(out, seconds);
            if form.associative {
                out.extend(b"\"rows\":null,");
            }
        }
        StatementResult::Rows(rows) => {
            if form.associative {
                push_objects(out, rows, form);
            } else {
                push_rows(out, rows, form);
            }
            push_time(out, seconds);
        }
        StatementResult::Failed(error) => {
            if form.endpoint == Endpoint::Query && form.associative {
                out.extend(b"\"rows\":[],");
            }
            out.extend(b"\"error\":");
            push_string(out, error);
            out.push(b',');
            push_time(out, seconds);
        }
    }
    // Each field above ends with a comma; the last one's gives way to the brace.
    out.pop_if(|last| *last == b',');
    out.push(b'}');
}

fn push_time(out: &mut Vec<u8>, seconds: Option<f64>) {
    if let Some(seconds) = seconds {
        out.extend(b"\"time\":");
        push_double(out, seconds);
        out.push(b',');
    }
}

fn push_rows(out: &mut Vec<u8>, rows: &Rows, form: Form) {
    let columns = columns_of(rows);
    out.extend(b"\"columns\":");
    push_array(out, &rows.columns, |out, name| push_string(out, name));
    out.extend(b",\"types\":");
    push_array(out, &columns, |out, column| push_string(out, column.kind));
    out.push(b',');
    if columns.is_empty() || rows.values.is_empty() {
        return;
    }
    out.extend(b"\"values\":");
    push_array(out, rows.values.chunks_exact(columns.len()), |out, row| {
        push_array(out, row.iter().zip(&columns), |out, (value, column)| {
            push_value(out, value, column.rendering, form.blob_array);
        });
    });
    out.push(b',');
}

fn push_objects(out: &mut Vec<u8>, rows: &Rows, form: Form) {
    let columns = columns_of(rows);
    let places = sorted_places(&rows.columns);
    let keys: Vec<Vec<u8>> = places.iter().map(|place| key(&rows.columns[*place])).collect();
    out.extend(b"\"types\":");
    push_object(out, places.iter().zip(&keys), |out, place| {
        push_string(out, columns[place].kind);
    });
    out.extend(b",\"rows\":");
    push_array(out, rows.values.chunks_exact(columns.len().max(1)), |out, row| {
        push_object(out, places.iter().zip(&keys), |out, place| {
            push_value(out, &row[place], columns[place].rendering, form.blob_array);
        });
    });
    out.push(b',');
}

fn push_object<'k>(
    out: &mut Vec<u8>,
    fields: impl Iterator<Item = (&'k usize, &'k Vec<u8>)>,
    mut push: impl FnMut(&mut Vec<u8>, usize),
) {
    out.push(b'{');
    for (place, key) in fields {
        out.extend_from_slice(key);
        push(out, *place);
        out.push(b',');
    }
    out.pop_if(|last| *last == b',');
    out.push(b'}');
}

/// `"name":`
fn key(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 3);
    push_string(&mut out, name);
    out.push(b':');
    out
}

/// Where the columns are in the order of their names; of several with one name the last.
fn sorted_places(names: &[String]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..names.len()).rev().collect();
    places.sort_by_key(|place| &names[*place]);
    places.dedup_by_key(|place| &names[*place]);
    places
}

/// How the values of a column look, by its declared type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rendering {
    /// Text types: a blob is shown as text, with U+FFFD for what is not UTF-8.
    Text,
    /// `boolean`: an integer is true when it is above 0.
    Boolean,
    /// `date`, `datetime`, `timestamp`: text and integers as RFC 3339.
    Moment,
    /// All others and expressions: a blob is base64 (or an array of numbers).
    Plain,
}

#[derive(Debug)]
struct Column<'r> {
    /// What `types` says: the declared type, else that of the first row's value.
    kind: &'r str,
    rendering: Rendering,
}

/// Beginnings of types that hold text, beside `text` and `json`.
const TEXT_PREFIXES: &[&str] =
    &["varchar", "varying character", "nchar", "native character", "nvarchar", "clob"];

fn columns_of(rows: &Rows) -> Vec<Column<'_>> {
    let column = |(place, declared): (usize, &'_ String)| Column {
        kind: if declared.is_empty() {
            rows.values.get(place).map_or("", storage_class)
        } else {
            // The borrow is of `rows`, not of the closure's argument.
            &rows.declared[place]
        },
        rendering: rendering_of(declared),
    };
    rows.declared.iter().enumerate().map(column).collect()
}

fn rendering_of(declared: &str) -> Rendering {
    match declared {
        "boolean" => Rendering::Boolean,
        "date" | "datetime" | "timestamp" => Rendering::Moment,
        "text" | "json" => Rendering::Text,
        _ if TEXT_PREFIXES.iter().any(|prefix| declared.starts_with(prefix)) => Rendering::Text,
        _ => Rendering::Plain,
    }
}

fn storage_class(value: &Value) -> &'static str {
    match value {
        Value::Null => "",
        Value::Integer(_) => "integer",
        Value::Real(_) => "real",
        Value::Text(_) => "text",
        Value::Blob(_) => "blob",
    }
}

fn push_value(out: &mut Vec<u8>, value: &Value, rendering: Rendering, blob_array: bool) {
    match (value, rendering) {
        (Value::Null, _) => out.extend(b"null"),
        (Value::Integer(value), Rendering::Boolean) => {
            out.extend(if *value > 0 { &b"true"[..] } else { b"false" });
        }
        (Value::Integer(value), Rendering::Moment) => match dates::from_integer(*value) {
            Some(moment) => push_string(out, &moment),
            None => push_integer(out, *value),
        },
        (Value::Integer(value), Rendering::Text | Rendering::Plain) => push_integer(out, *value),
        (Value::Real(value), _) => push_double(out, *value),
        (Value::Text(text), Rendering::Moment) => match dates::from_text(text) {
            Some(moment) => push_string(out, &moment),
            None => push_string(out, text),
        },
        (Value::Text(text), _) => push_string(out, text),
        (Value::Blob(bytes), Rendering::Text) => {
            push_string(out, &String::from_utf8_lossy(bytes));
        }
        (Value::Blob(bytes), _) if blob_array => push_byte_array(out, bytes),
        (Value::Blob(bytes), _) => push_base64(out, bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Form = Form {
        endpoint: Endpoint::Request,
        associative: false,
        blob_array: false,
        timings: false,
        pretty: false,
    };

    fn text(result: StatementResult, seconds: Option<f64>, form: Form) -> String {
        let outcomes = [Outcome { result, seconds }];
        let all = String::from_utf8(encode(&outcomes, Envelope::default(), form)).unwrap();
        let inner = all.strip_prefix("{\"results\":[").unwrap();
        inner.split_once("],\"time\":0}").map_or_else(
            || inner.strip_suffix("]}").unwrap().to_owned(),
            |(inner, _)| inner.to_owned(),
        )
    }

    fn rows(columns: &[&str], declared: &[&str], values: Vec<Value>) -> StatementResult {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        StatementResult::Rows(Rows { columns: owned(columns), declared: owned(declared), values })
    }

    fn words(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn writes_and_failures_have_the_known_fields() {
        let written =
            |id, changed| StatementResult::Written { last_insert_id: id, rows_affected: changed };
        let failed = || StatementResult::Failed("near \"x\"".to_owned());
        let timed = Form { timings: true, ..PLAIN };
        let objects = Form { associative: true, ..PLAIN };
        let query = Form { endpoint: Endpoint::Query, associative: true, ..PLAIN };
        for (result, form, expected) in [
            (written(0, 0), PLAIN, "{}"),
            (written(-3, 2), PLAIN, r#"{"last_insert_id":-3,"rows_affected":2}"#),
            (written(0, 2), timed, r#"{"rows_affected":2,"time":0.5}"#),
            (written(1, 1), objects, r#"{"last_insert_id":1,"rows_affected":1,"rows":null}"#),
            (failed(), PLAIN, r#"{"error":"near \"x\""}"#),
            (failed(), timed, r#"{"error":"near \"x\"","time":0.5}"#),
            (failed(), objects, r#"{"error":"near \"x\""}"#),
            (failed(), query, r#"{"rows":[],"error":"near \"x\""}"#),
            (written(0, 0), query, r#"{"types":{},"rows":[]}"#),
        ] {
            assert_eq!(text(result, Some(0.5), form), expected);
        }
        assert_eq!(text(failed(), None, timed), r#"{"error":"near \"x\""}"#);
    }

    #[test]
    fn rows_are_arrays_or_objects() {
        let values = || vec![Value::Integer(1), words("a"), Value::Integer(2), Value::Null];
        let table = || rows(&["id", "b"], &["integer", ""], values());
        let expected =
            r#"{"columns":["id","b"],"types":["integer","text"],"values":[[1,"a"],[2,null]]}"#;
        assert_eq!(text(table(), Some(1.0), PLAIN), expected);
        let objects = Form { associative: true, timings: true, ..PLAIN };
        let expected = r#"{"types":{"b":"text","id":"integer"},"rows":[{"b":"a","id":1},{"b":null,"id":2}],"time":1}"#;
        assert_eq!(text(table(), Some(1.0), objects), expected);
        let twice = rows(&["a", "a"], &["", "real"], vec![Value::Integer(1), Value::Real(2.0)]);
        let expected = r#"{"types":{"a":"real"},"rows":[{"a":2}]}"#;
        assert_eq!(text(twice, None, Form { associative: true, ..PLAIN }), expected);
        let empty = || rows(&["a"], &[""], vec![]);
        assert_eq!(text(empty(), None, PLAIN), r#"{"columns":["a"],"types":[""]}"#);
        let objects = Form { associative: true, ..PLAIN };
        assert_eq!(text(empty(), None, objects), r#"{"types":{"a":""},"rows":[]}"#);
    }

    #[test]
    fn declared_types_decide_how_values_look() {
        let blob = || Value::Blob(vec![b'a', 0xff]);
        for (declared, value, kind, expected) in [
            ("boolean", Value::Integer(2), "boolean", "true"),
            ("boolean", Value::Integer(-1), "boolean", "false"),
            ("boolean", words("yes"), "boolean", "\"yes\""),
            ("boolean", Value::Null, "boolean", "null"),
            ("datetime", words("2020-01-02 03:04:05"), "datetime", "\"2020-01-02T03:04:05Z\""),
            ("date", words("soon"), "date", "\"soon\""),
            ("timestamp", Value::Integer(0), "timestamp", "\"1970-01-01T00:00:00Z\""),
            ("timestamp", Value::Real(1.5), "timestamp", "1.5"),
            (
                "timestamp with time zone",
                words("2020-01-02"),
                "timestamp with time zone",
                "\"2020-01-02\"",
            ),
            ("blob", blob(), "blob", "\"Yf8=\""),
            ("decimal(10,2)", blob(), "decimal(10,2)", "\"Yf8=\""),
            ("varchar(20)", blob(), "varchar(20)", "\"a\u{fffd}\""),
            ("text", blob(), "text", "\"a\u{fffd}\""),
            ("", blob(), "blob", "\"Yf8=\""),
            ("", Value::Null, "", "null"),
            ("", Value::Real(-0.0), "real", "-0"),
            ("integer", Value::Integer(i64::MIN), "integer", "-9223372036854775808"),
        ] {
            let expected =
                format!("{{\"columns\":[\"c\"],\"types\":[\"{kind}\"],\"values\":[[{expected}]]}}");
            assert_eq!(text(rows(&["c"], &[declared], vec![value]), None, PLAIN), expected);
        }
        let array = Form { blob_array: true, ..PLAIN };
        let expected = r#"{"columns":["c"],"types":["blob"],"values":[[[97,255]]]}"#;
        assert_eq!(text(rows(&["c"], &["blob"], vec![blob()]), None, array), expected);
    }

    #[test]
    fn the_envelope_has_its_fields_in_order() {
        let envelope = Envelope {
            error: Some("stale read"),
            seconds: 0.25,
            sequence_number: Some(3),
            raft_index: 9,
        };
        let form = Form { timings: true, ..PLAIN };
        let expected =
            r#"{"results":[],"error":"stale read","time":0.25,"sequence_number":3,"raft_index":9}"#;
        assert_eq!(String::from_utf8(encode(&[], envelope, form)).unwrap(), expected);
        let pretty = encode(&[], Envelope::default(), Form { pretty: true, ..PLAIN });
        assert_eq!(pretty, b"{\n    \"results\": []\n}");
    }
}
