//! Odd values in each format.

use super::*;
use crate::client::results::{Outcome, Results};

/// Odd values of every kind.
const ODD: &str = r#"{"results":[{"columns":["n","a","a","w\u003e"],"types":["integer","real","text","blob"],
"values":[[9223372036854775807,1,"it's \"q\", x",null],[-1,1e+30,"two\nlines\t\\",[0,255]],
[null,"Infinity","","AP8="],[0,-0," \u4e16\u754c\u003cb\u003e",true]]}]}"#;

const EMPTY: &str = r#"{"results":[{"columns":["id","name"],"types":["integer","text"]}]}"#;

fn style(format: Format) -> Style {
    let table = "my t".to_owned();
    Style { format, headers: None, null: None, table, is_rqlite: false, has_colours: false }
}

fn rqlite(format: Format) -> Style {
    Style { is_rqlite: true, ..style(format) }
}

fn written(style: &Style, json: &str) -> String {
    let results = Results::parse(json.as_bytes()).unwrap();
    let Outcome::Rows(rows) = &results.results[0] else { panic!("{results:?}") };
    let mut out = Vec::new();
    write(&mut out, style, rows).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn tables_are_aligned_by_what_is_seen() {
    let text = written(&style(Format::Table), ODD);
    let expected = "\
+---------------------+----------+---------------+---------+
| n                   | a        | a             | w>      |
+---------------------+----------+---------------+---------+
| 9223372036854775807 | 1        | it's \"q\", x   | <nil>   |
+---------------------+----------+---------------+---------+
| -1                  | 1e+30    | two\\nlines\\t\\ | [0 255] |
+---------------------+----------+---------------+---------+
| <nil>               | Infinity |               | AP8=    |
+---------------------+----------+---------------+---------+
| 0                   | -0       |  \u{4e16}\u{754c}<b>      | true    |
+---------------------+----------+---------------+---------+
";
    assert_eq!(text, expected);
    let coloured = Style { has_colours: true, ..rqlite(Format::Table) };
    let expected = "+----+------+\n| \u{1b}[36mid\u{1b}[0m | \u{1b}[36mname\u{1b}[0m |\n\
                    +----+------+\n";
    assert_eq!(written(&coloured, EMPTY), expected);
}

#[test]
fn csv_quotes_as_go_or_so_that_null_shows() {
    let expected = "n,a,a,w>\n9223372036854775807,1,\"it's \"\"q\"\", x\",NULL\n\
                    -1,1e+30,\"two\nlines\t\\\",[0 255]\nNULL,Infinity,,AP8=\n\
                    0,-0,\" \u{4e16}\u{754c}<b>\",true\n";
    assert_eq!(written(&rqlite(Format::Csv), ODD), expected);
    let expected = "n,a,a,w>\n9223372036854775807,1,\"it's \"\"q\"\", x\",\n\
                    -1,1e+30,\"two\nlines\t\\\",[0 255]\n,Infinity,\"\",AP8=\n\
                    0,-0, \u{4e16}\u{754c}<b>,true\n";
    assert_eq!(written(&style(Format::Csv), ODD), expected);
    let zero = Style { null: Some("0".to_owned()), headers: Some(false), ..style(Format::Csv) };
    let json = r#"{"results":[{"columns":["a","b"],"types":["",""],"values":[[null,"0"]]}]}"#;
    assert_eq!(written(&zero, json), "0,\"0\"\n");
    assert_eq!(written(&rqlite(Format::Csv), EMPTY), "id,name\n");
}

#[test]
fn tsv_escapes_and_list_does_not() {
    let expected = "n\ta\ta\tw>\n9223372036854775807\t1\tit's \"q\", x\t\\N\n\
                    -1\t1e+30\ttwo\\nlines\\t\\\\\t[0 255]\n\\N\tInfinity\t\tAP8=\n\
                    0\t-0\t \u{4e16}\u{754c}<b>\ttrue\n";
    assert_eq!(written(&style(Format::Tsv), ODD), expected);
    let expected = "9223372036854775807|1|it's \"q\", x|\n-1|1e+30|two\nlines\t\\|[0 255]\n\
                    |Infinity||AP8=\n0|-0| \u{4e16}\u{754c}<b>|true\n";
    assert_eq!(written(&style(Format::List), ODD), expected);
}

#[test]
fn objects_keep_every_column_and_digit() {
    let rows = [
        "{\"n\":9223372036854775807,\"a\":1,\"a:1\":\"it's \\\"q\\\", x\",\"w>\":null}",
        "{\"n\":-1,\"a\":1e+30,\"a:1\":\"two\\nlines\\t\\\\\",\"w>\":[0,255]}",
        "{\"n\":null,\"a\":\"Infinity\",\"a:1\":\"\",\"w>\":\"AP8=\"}",
        "{\"n\":0,\"a\":-0,\"a:1\":\" \u{4e16}\u{754c}<b>\",\"w>\":true}",
    ];
    assert_eq!(written(&style(Format::Jsonl), ODD), rows.join("\n") + "\n");
    assert_eq!(written(&style(Format::Json), ODD), format!("[{}]\n", rows.join(",\n")));
    assert_eq!(written(&style(Format::Json), EMPTY), "[]\n");
    let json = r#"{"results":[{"columns":["a","a","a:1","a"],"types":[],"values":[[1,2,3,4]]}]}"#;
    let expected = "{\"a\":1,\"a:2\":2,\"a:1\":3,\"a:3\":4}\n";
    assert_eq!(written(&style(Format::Jsonl), json), expected);
}

#[test]
fn rqlites_json_is_gos() {
    let text = written(&rqlite(Format::Json), ODD);
    let first = "[\n  {\n    \"a\": \"it's \\\"q\\\", x\",\n    \"n\": 9223372036854775807,\n    \
                 \"w\\u003e\": null\n  },\n  {\n";
    assert!(text.starts_with(first), "{text}");
    assert!(text.contains("\"w\\u003e\": [\n      0,\n      255\n    ]\n  },\n"), "{text}");
    let last = "    \"a\": \" \u{4e16}\u{754c}\\u003cb\\u003e\",\n    \"n\": 0,\n    \
                \"w\\u003e\": true\n  }\n]\n";
    assert!(text.ends_with(last), "{text}");
    assert_eq!(written(&rqlite(Format::Json), EMPTY), "[]\n");
}

#[test]
fn lines_are_aligned_at_the_sign() {
    let json = r#"{"results":[{"columns":["id","name"],"types":[],"values":[[1,"x"],[2,null]]}]}"#;
    let expected = "  id = 1\nname = x\n\n  id = 2\nname = NULL\n";
    assert_eq!(written(&rqlite(Format::Line), json), expected);
    assert_eq!(written(&rqlite(Format::Line), EMPTY), "");
}

#[test]
fn inserts_are_sql_that_gives_the_values_back() {
    let expected = "\
INSERT INTO \"my t\" VALUES(9223372036854775807,1.0,'it''s \"q\", x',NULL);
INSERT INTO \"my t\" VALUES(-1,1e+30,'two
lines\t\\',X'00FF');
INSERT INTO \"my t\" VALUES(NULL,9.0e+999,'','AP8=');
INSERT INTO \"my t\" VALUES(0,-0.0,' \u{4e16}\u{754c}<b>',1);
";
    assert_eq!(written(&style(Format::Insert), ODD), expected);
    let named = Style { headers: Some(true), ..style(Format::Insert) };
    let json = r#"{"results":[{"columns":["a\"b"],"types":["text"],"values":[["x\u0000y"]]}]}"#;
    let expected = "INSERT INTO \"my t\"(\"a\"\"b\") VALUES(replace('x<0>y','<0>',char(0)));\n";
    assert_eq!(written(&named, json), expected);
}
