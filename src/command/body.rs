//! Statements from JSON: the body of a request and the payload of a log entry.
//!
//! Every write passes through here twice, as a request and as an entry, so the statements are
//! built while the text is read, with no tree in between. A body is never trusted: it cannot
//! make this recurse (a value deeper than a statement's parameters is an error at once) nor
//! allocate more than it holds. A change here changes what old log entries mean: never do it
//! without a new version of the entry's head.
//!
//! ```json
//! ["INSERT ...", ["INSERT ... VALUES(?, ?)", 1, "x"], ["INSERT ... VALUES(:a)", {"a": null}]]
//! ```

use std::fmt;

use serde_core::de::{
    DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::error::Category;

use super::parameter::{OBJECT, Parameter, ParameterSeed, Refusal, refuse};
use super::{Parameters, Statement};

/// Why a body holds no statements. `Display` is the text that clients of rqlite know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadBody {
    /// Not JSON, not UTF-8, or not an array.
    InvalidJson,
    /// An element is neither a string nor an array that begins with a string.
    InvalidRequest,
    /// Nothing at all, or an empty array.
    NoStatements,
    /// A parameter that SQL has no type for, and what it is.
    UnsupportedType(String),
    /// A number that no double can hold, as it was written.
    InvalidNumber(String),
}

impl fmt::Display for BadBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidJson => f.write_str("invalid JSON body"),
            Self::InvalidRequest => f.write_str("invalid request"),
            Self::NoStatements => f.write_str("no statements"),
            Self::UnsupportedType(name) => write!(f, "unsupported type {name}"),
            Self::InvalidNumber(text) => write!(f, "invalid number {text}"),
        }
    }
}

impl std::error::Error for BadBody {}

/// The statements of a request and how many bytes of `body` the array takes; what follows it is
/// ignored. Empty strings are left out, so that fewer statements (even none) may come back.
///
/// # Errors
/// See [`BadBody`].
pub fn parse_statements(body: &[u8]) -> Result<(Vec<Statement>, usize), BadBody> {
    if body.is_empty() {
        return Err(BadBody::NoStatements);
    }
    let mut refusal = Refusal::Body;
    let mut reader = serde_json::Deserializer::from_slice(body);
    let request = RequestSeed { refusal: &mut refusal }.deserialize(&mut reader);
    match request {
        Ok(Request { elements: 0, .. }) => Err(BadBody::NoStatements),
        Ok(request) => Ok((request.statements, reader.into_iter::<IgnoredAny>().byte_offset())),
        Err(error) => Err(judge(body, &refusal, &error)),
    }
}

/// What the error means. A refused value in a body that is not JSON at all counts as the latter,
/// as in a parser that reads everything before it looks at anything.
fn judge(body: &[u8], refusal: &Refusal, error: &serde_json::Error) -> BadBody {
    let number = number_at(body, error.line(), error.column());
    let verdict = match (error.classify(), refusal) {
        (Category::Data, Refusal::Body) => return BadBody::InvalidJson,
        (Category::Data, Refusal::Request) => BadBody::InvalidRequest,
        (Category::Data, Refusal::Type(name)) => BadBody::UnsupportedType((*name).to_owned()),
        (Category::Data, Refusal::Byte) => BadBody::UnsupportedType(number),
        // The only complaint about a well-formed number is that it is out of range.
        (Category::Syntax, _) if number.parse().is_ok_and(f64::is_infinite) => {
            BadBody::InvalidNumber(number)
        }
        (Category::Syntax | Category::Eof | Category::Io, _) => return BadBody::InvalidJson,
    };
    let is_json = serde_json::Deserializer::from_slice(body)
        .into_iter::<IgnoredAny>()
        .next()
        .is_some_and(|value| value.is_ok());
    if is_json { verdict } else { BadBody::InvalidJson }
}

/// The number that ends at, or goes on across, this place; lines and columns count from 1.
fn number_at(body: &[u8], line: usize, column: usize) -> String {
    let is_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let mut line_starts = std::iter::once(0)
        .chain(body.iter().enumerate().filter(|b| *b.1 == b'\n').map(|b| b.0 + 1));
    let Some(line_start) = line_starts.nth(line.saturating_sub(1)) else {
        return String::new();
    };
    let place = (line_start + column).min(body.len());
    let (before, after) = body.split_at(place);
    let start = place - before.iter().rev().take_while(|byte| is_number(byte)).count();
    let end = place + after.iter().take_while(|byte| is_number(byte)).count();
    String::from_utf8_lossy(&body[start..end]).into_owned()
}

struct Request {
    statements: Vec<Statement>,
    elements: usize,
}

struct RequestSeed<'s> {
    refusal: &'s mut Refusal,
}

impl<'de> DeserializeSeed<'de> for RequestSeed<'_> {
    type Value = Request;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Request, D::Error> {
        input.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RequestSeed<'_> {
    type Value = Request;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of statements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Request, A::Error> {
        *self.refusal = Refusal::Request;
        let mut request = Request { statements: Vec::new(), elements: 0 };
        while let Some(statement) =
            array.next_element_seed(StatementSeed { refusal: &mut *self.refusal })?
        {
            request.elements += 1;
            if !statement.sql.is_empty() {
                request.statements.push(statement);
            }
        }
        Ok(request)
    }
}

struct StatementSeed<'s> {
    refusal: &'s mut Refusal,
}

impl<'de> DeserializeSeed<'de> for StatementSeed<'_> {
    type Value = Statement;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Statement, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StatementSeed<'_> {
    type Value = Statement;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a statement")
    }

    fn visit_str<E: Error>(self, sql: &str) -> Result<Statement, E> {
        Ok(Statement::plain(sql))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Statement, A::Error> {
        let slot = self.refusal;
        let Some(sql) = array.next_element::<String>()? else {
            return Err(Error::custom("a statement without SQL"));
        };
        let mut values = Vec::new();
        loop {
            let allows_names = values.is_empty();
            match array.next_element_seed(ParameterSeed { refusal: &mut *slot, allows_names })? {
                None => break,
                Some(Parameter::Value(value)) => values.push(value),
                Some(Parameter::Names(names)) => {
                    while array.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(Statement { sql, parameters: Parameters::Named(names) });
                }
            }
        }
        Ok(Statement { sql, parameters: Parameters::Positional(values) })
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Statement, A::Error> {
        refuse(self.refusal, Refusal::Type(OBJECT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Value;

    fn error(body: &str) -> String {
        parse_statements(body.as_bytes()).unwrap_err().to_string()
    }

    fn parameters(json: &str) -> Parameters {
        let body = format!("[[\"S\", {json}]]");
        parse_statements(body.as_bytes()).unwrap().0.remove(0).parameters
    }

    #[test]
    fn statements_come_as_strings_and_arrays() {
        let body =
            br#" ["a", "", ["b", 1, "x"], [""], ["c", {"n": 1, "m": null, "n": 2}, 9]] tail"#;
        let (statements, used) = parse_statements(body).unwrap();
        assert_eq!(&body[used..], b" tail");
        let sql: Vec<_> = statements.iter().map(|statement| statement.sql.as_str()).collect();
        assert_eq!(sql, ["a", "b", "c"]);
        let values = vec![Value::Integer(1), Value::Text("x".to_owned())];
        assert_eq!(statements[1].parameters, Parameters::Positional(values));
        let names = vec![("m".to_owned(), Value::Null), ("n".to_owned(), Value::Integer(2))];
        assert_eq!(statements[2].parameters, Parameters::Named(names));
        assert_eq!(parse_statements(br#"[""]"#).unwrap().0, []);
    }

    #[test]
    fn parameters_become_the_nearest_sql_value() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (json, value) in [
            ("null", Value::Null),
            ("true", Value::Integer(1)),
            ("false", Value::Integer(0)),
            ("9223372036854775807", Value::Integer(i64::MAX)),
            ("-9223372036854775808", Value::Integer(i64::MIN)),
            ("9223372036854775808", Value::Real(9_223_372_036_854_775_808.0)),
            ("-9223372036854775809", Value::Real(-9_223_372_036_854_775_808.0)),
            ("1.0", Value::Real(1.0)),
            ("1e2", Value::Real(100.0)),
            ("1.7976931348623157e308", Value::Real(f64::MAX)),
            ("3.518437208883201171875e13", Value::Real(35_184_372_088_832.016)),
            (r#""x\u00e9\n""#, text("x\u{e9}\n")),
            (r#""x'00fF'""#, Value::Blob(vec![0, 255])),
            (r#"" X'' ""#, Value::Blob(vec![])),
            (r#""x'0'""#, text("x'0'")),
            (r#""x'0g'""#, text("x'0g'")),
            (r#""x'""#, text("x'")),
            ("[0, 255]", Value::Blob(vec![0, 255])),
            ("[]", Value::Blob(vec![])),
        ] {
            assert_eq!(parameters(json), Parameters::Positional(vec![value]), "{json}");
        }
    }

    #[test]
    fn bad_bodies_get_the_texts_that_clients_know() {
        for (body, text) in [
            ("", "no statements"),
            ("[]", "no statements"),
            (" ", "invalid JSON body"),
            ("SELECT 1", "invalid JSON body"),
            ("[\"a\"", "invalid JSON body"),
            ("[[1], nonsense]", "invalid JSON body"),
            ("[\"a\u{1}\"]", "invalid JSON body"),
            ("{\"sql\": \"a\"}", "invalid JSON body"),
            ("null", "invalid JSON body"),
            ("\"a\"", "invalid JSON body"),
            ("[1]", "invalid request"),
            ("[null]", "invalid request"),
            ("[[]]", "invalid request"),
            ("[[1, \"a\"]]", "invalid request"),
            ("[[[\"a\"]]]", "invalid request"),
            ("[{\"sql\": \"a\"}]", "unsupported type map[string]interface {}"),
            ("[[\"a\", 1, {}]]", "unsupported type map[string]interface {}"),
            ("[[\"a\", {\"n\": {}}]]", "unsupported type map[string]interface {}"),
            ("[[\"a\", [256]]]", "unsupported type 256"),
            ("[[\"a\",\n [1, -1 ]]]", "unsupported type -1"),
            ("[[\"a\", [1.50]]]", "unsupported type 1.50"),
            ("[[\"a\", [\"b\"]]]", "unsupported type string"),
            ("[[\"a\", [true]]]", "unsupported type bool"),
            ("[[\"a\", [null]]]", "unsupported type <nil>"),
            ("[[\"a\", [[1]]]]", "unsupported type []interface {}"),
            ("[[\"a\", 1e400]]", "invalid number 1e400"),
            ("[[\"a\",\n\n -1E+99999999999999999999 ]]", "invalid number -1E+99999999999999999999"),
            ("[[\"a\", 01]]", "invalid JSON body"),
        ] {
            assert_eq!(error(body), text, "{body}");
        }
        assert_eq!(parse_statements(b"[\"\xff\"]"), Err(BadBody::InvalidJson));
    }

    #[test]
    fn deep_and_long_bodies_are_only_bodies() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(error(&deep), "invalid request");
        assert_eq!(error(&"[".repeat(1_000_000)), "invalid JSON body");
        let named = format!("[[\"a\", {}1{}]]", "{\"a\":".repeat(10_000), "}".repeat(10_000));
        assert_eq!(error(&named), "unsupported type map[string]interface {}");
        let long = format!("[\"{}\"]", "x".repeat(10_000_000));
        assert_eq!(parse_statements(long.as_bytes()).unwrap().0[0].sql.len(), 10_000_000);
    }
}
