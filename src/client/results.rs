//! Answers about SQL, as the server's JSON gives them.
//!
//! Values stay the bytes that came, so that no number loses a digit on its way to the output.

use std::collections::BTreeMap;
use std::fmt;
use std::slice::ChunksExact;

use serde_core::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::connection::{self, Answer, Effect, leaves_open};
use super::failure::{Failure, Status};

/// Beginnings of what is said beside the results by a node that cannot answer now.
const NOT_READY: &[&str] = &[
    "leader not found",
    "leadership was not confirmed",
    "not leader",
    "stale read",
    "store not open",
    "store not ready",
];

/// The whole answer to a request about SQL, from which [`Results`] are read.
#[derive(Debug)]
pub(super) struct Received {
    bytes: Vec<u8>,
    effect: Effect,
}

impl Received {
    /// Reads the answer to a request that has this effect.
    ///
    /// # Errors
    /// What the server refuses it with, or that the answer is lost.
    pub(super) fn of(answer: Answer, effect: Effect) -> Result<Received, Failure> {
        Received::of_success(answer.successful()?, effect)
    }

    /// Reads an answer that is no refusal.
    ///
    /// # Errors
    /// That the answer is lost.
    pub(super) fn of_success(answer: Answer, effect: Effect) -> Result<Received, Failure> {
        Ok(Received { bytes: answer.bytes()?, effect })
    }

    /// # Errors
    /// The error of the whole request, under the status that it stands for.
    pub(super) fn results(&self) -> Result<Results<'_>, Failure> {
        let Ok(said) = Results::read(&self.bytes) else { return Err(self.odd(ODD)) };
        said.map_err(Failure::refused).map_err(|failure| {
            let begins = |with: &&str| failure.text.starts_with(with);
            let may_be_done = self.effect == Effect::Some && leaves_open(&failure.text);
            let status = match failure.status {
                Status::Refused if may_be_done => Status::Unknown,
                Status::Refused if NOT_READY.iter().any(begins) => Status::NotReady,
                other => other,
            };
            Failure { status, ..failure }
        })
    }

    /// The results of so many statements, of which an error may be the last that was tried.
    ///
    /// # Errors
    /// As `results`, and that there are fewer.
    pub(super) fn results_of(&self, statements: usize) -> Result<Results<'_>, Failure> {
        let results = self.results()?;
        let found = results.results.len();
        let is_ended = matches!(results.results.last(), Some(Outcome::Failed(_)));
        if found < statements && !is_ended && results.sequence_number.is_none() {
            let text = format!("the answer has {found} results for {statements} statements");
            return Err(self.odd(&text));
        }
        Ok(results)
    }

    /// What an answer means that no server of this API gives: a write may be done all the same.
    fn odd(&self, text: &str) -> Failure {
        match self.effect {
            Effect::Some => connection::unknown(text),
            Effect::None => Failure::refused(text),
        }
    }
}

const ODD: &str = "the answer is not what a server of this API gives; is the port right?";

/// All that was answered to one request.
#[derive(Debug, Default)]
pub(super) struct Results<'a> {
    /// One for each statement, in order.
    pub(super) results: Vec<Outcome<'a>>,
    /// Of a queued write.
    pub(super) sequence_number: Option<i64>,
}

/// What came of one statement.
#[derive(Debug)]
pub(super) enum Outcome<'a> {
    Rows(Rows<'a>),
    Done(Done),
    Failed(String),
}

/// The rows of a query.
#[derive(Debug, Default)]
pub(super) struct Rows<'a> {
    pub(super) columns: Vec<String>,
    /// As declared or found, in lower case; as many as `columns`.
    pub(super) types: Vec<String>,
    pub(super) values: Values<'a>,
    pub(super) seconds: Option<f64>,
}

/// All values of a result, row by row, in one piece: a million small rows take little more room
/// than their text. Each row has as many cells as there are columns, each one JSON value.
#[derive(Debug, Default)]
pub(super) struct Values<'a> {
    cells: Vec<&'a RawValue>,
    width: usize,
}

/// The effect of a write.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Done {
    pub(super) last_insert_id: Option<i64>,
    pub(super) rows_affected: Option<i64>,
    pub(super) seconds: Option<f64>,
}

impl<'a> Results<'a> {
    /// Reads an answer of `/db/query`, `/db/execute`, `/db/request` or `/db/load`.
    ///
    /// # Errors
    /// The error of the whole request, or that the bytes are no such answer.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Results<'a>, Failure> {
        let said = Results::read(bytes).map_err(|_| Failure::not_of_this_api())?;
        said.map_err(Failure::refused)
    }

    /// The same; the inner error is that of the whole request.
    fn read(bytes: &'a [u8]) -> serde_json::Result<Result<Results<'a>, String>> {
        let all: BTreeMap<String, &'a RawValue> = serde_json::from_slice(bytes)?;
        if let Some(error) = read::<String>(&all, "error")? {
            return Ok(Err(error));
        }
        let sequence_number = read(&all, "sequence_number")?;
        let listed: Option<Vec<BTreeMap<String, &'a RawValue>>> = read(&all, "results")?;
        if listed.is_none() && sequence_number.is_none() {
            return Err(Error::custom("there are no results"));
        }
        let listed = listed.unwrap_or_default();
        let results = listed.iter().map(Outcome::read).collect::<Result<_, _>>()?;
        Ok(Ok(Results { results, sequence_number }))
    }
}

impl Results<'_> {
    /// The first statement that failed, counted from 0, and why.
    pub(super) fn failure(&self) -> Option<(usize, &str)> {
        self.results.iter().enumerate().find_map(|(place, outcome)| match outcome {
            Outcome::Failed(why) => Some((place, why.as_str())),
            Outcome::Rows(_) | Outcome::Done(_) => None,
        })
    }
}

impl<'a> Outcome<'a> {
    fn read(fields: &BTreeMap<String, &'a RawValue>) -> serde_json::Result<Outcome<'a>> {
        let seconds = read(fields, "time")?;
        if let Some(text) = read(fields, "error")? {
            return Ok(Outcome::Failed(text));
        }
        if let Some(columns) = read(fields, "columns")? {
            let types = read(fields, "types")?.unwrap_or_default();
            let values: Values<'_> = read(fields, "values")?.unwrap_or_default();
            if !values.is_empty() && values.width != Vec::<String>::len(&columns) {
                return Err(Error::custom(UNEVEN));
            }
            return Ok(Outcome::Rows(Rows { columns, types, values, seconds }));
        }
        let last_insert_id = read(fields, "last_insert_id")?;
        let rows_affected = read(fields, "rows_affected")?;
        Ok(Outcome::Done(Done { last_insert_id, rows_affected, seconds }))
    }
}

/// What is wrong with rows that a server of this API does not give.
const UNEVEN: &str = "a row of another length";

impl<'a> Values<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The rows in order.
    pub(super) fn iter(&self) -> ChunksExact<'_, &'a RawValue> {
        self.cells.chunks_exact(self.width.max(1))
    }
}

impl<'v, 'a> IntoIterator for &'v Values<'a> {
    type Item = &'v [&'a RawValue];
    type IntoIter = ChunksExact<'v, &'a RawValue>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> Deserialize<'a> for Values<'a> {
    fn deserialize<D: Deserializer<'a>>(source: D) -> Result<Values<'a>, D::Error> {
        source.deserialize_seq(RowsVisitor)
    }
}

/// Reads `[[1,2],[3,4]]`.
struct RowsVisitor;

impl<'a> Visitor<'a> for RowsVisitor {
    type Value = Values<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows")
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut rows: S) -> Result<Values<'a>, S::Error> {
        let mut values = Values::default();
        while let Some(row) = rows.next_element::<Vec<&'a RawValue>>()? {
            if values.is_empty() {
                values.width = row.len();
            }
            if row.is_empty() || row.len() != values.width {
                return Err(Error::custom(UNEVEN));
            }
            values.cells.extend(row);
        }
        Ok(values)
    }
}

fn read<'a, T: Deserialize<'a>>(
    fields: &BTreeMap<String, &'a RawValue>,
    name: &str,
) -> serde_json::Result<Option<T>> {
    fields.get(name).map_or(Ok(None), |value| serde_json::from_str(value.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_with_every_digit() {
        let text = br#"{"results":[{"columns":["a"],"types":["integer"],"values":[[9007199254740993],
            [1.50],[null]],"time":0.5},{},{"last_insert_id":2,"rows_affected":1},{"error":"no"}],"sequence_number":7}"#;
        let all = Results::parse(text).unwrap();
        assert_eq!(all.sequence_number, Some(7));
        let Outcome::Rows(rows) = &all.results[0] else { panic!("{all:?}") };
        let cells: Vec<_> = rows.values.iter().map(|row| row[0].get()).collect();
        assert_eq!(cells, ["9007199254740993", "1.50", "null"]);
        assert!(matches!(all.results[1], Outcome::Done(done) if done == Done::default()));
        assert!(matches!(&all.results[3], Outcome::Failed(text) if text == "no"));
        assert_eq!(Results::parse(br#"{"results":[],"error":"e"}"#).unwrap_err().text, "e");
        assert!(Results::parse(b"<html>").is_err());
        let uneven = br#"{"results":[{"columns":["a"],"values":[[1,2]]}]}"#;
        assert!(Results::parse(uneven).is_err());
    }

    #[test]
    fn errors_beside_the_results_have_a_status() {
        let status = |error: &str, effect| {
            let bytes = format!("{{\"results\":[],\"error\":\"{error}\"}}").into_bytes();
            Received { bytes, effect }.results().unwrap_err().status
        };
        assert_eq!(status("stale read", Effect::None), Status::NotReady);
        assert_eq!(status("disallowed pragma", Effect::Some), Status::Refused);
        let lost = "leadership lost while committing log";
        assert_eq!(status(lost, Effect::Some), Status::Unknown);
        assert_eq!(status(lost, Effect::None), Status::Refused);
    }
}
