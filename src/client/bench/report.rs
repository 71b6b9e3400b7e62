//! The figures as a person reads them, and as JSON.

use std::io::Write;

use serde_json::{Value, json};

use super::columns;
use super::sample::Errors;
use super::workload::LOAD;
use super::{copies, rounds};
use crate::client::failure::{Failure, Status};

/// One line of the tables.
pub(super) enum Line {
    /// Requests of a workload by so many clients.
    Requests {
        workload: &'static str,
        clients: usize,
        rows_per_request: u64,
        figures: rounds::Figures,
    },
    /// Whole databases.
    Copies { workload: &'static str, figures: copies::Figures },
}

impl Line {
    fn errors(&self) -> &Errors {
        match self {
            Line::Requests { figures, .. } => &figures.total.errors,
            Line::Copies { figures, .. } => &figures.errors,
        }
    }

    fn name(&self) -> String {
        match self {
            Line::Requests { workload, clients, .. } => format!("{workload}, {clients} clients"),
            Line::Copies { workload, .. } => (*workload).to_owned(),
        }
    }

    /// What it stands for that not a single request succeeded; `None` if one did.
    pub(super) fn failed(&self) -> Option<Status> {
        let (is_failed, is_load) = match self {
            Line::Requests { figures, .. } => (figures.total.latencies.count() == 0, false),
            Line::Copies { workload, figures } => (figures.bytes == 0, *workload == LOAD),
        };
        let errors = self.errors();
        is_failed.then_some(match errors.broken {
            0 => Status::Refused,
            // One may have replaced everything.
            _ if is_load => Status::Unknown,
            broken if broken == errors.count() => Status::Unreachable,
            _ => Status::Refused,
        })
    }
}

/// Writes a table of requests, one of copies, and an example of each line's errors.
pub(super) fn write_tables(output: &mut dyn Write, lines: &[Line]) -> Result<(), Failure> {
    let (mut requests, mut copied) = (Vec::new(), Vec::new());
    for line in lines {
        match line {
            Line::Requests { workload, clients, figures, .. } => requests.push(vec![
                (*workload).to_owned(),
                clients.to_string(),
                format!("{:.0}", figures.per_second),
                format!("{:.0}", figures.p50),
                format!("{:.0}", figures.p99),
                figures.total.errors.count().to_string(),
            ]),
            Line::Copies { workload, figures } => copied.push(vec![
                (*workload).to_owned(),
                format!("{:.1}", figures.bytes as f64 / 1e6),
                format!("{:.1}", figures.wait_milliseconds),
                format!("{:.3}", figures.seconds),
                format!("{:.0}", figures.megabytes_per_second),
                figures.errors.count().to_string(),
            ]),
        }
    }
    if !requests.is_empty() {
        let headings = ["workload", "clients", "requests/s", "p50 us", "p99 us", "errors"];
        columns::write(output, &headings, &requests)?;
    }
    if !copied.is_empty() {
        if !requests.is_empty() {
            writeln!(output)?;
        }
        let headings = ["workload", "MB", "wait ms", "seconds", "MB/s", "errors"];
        columns::write(output, &headings, &copied)?;
    }
    for line in lines {
        if let Some(first) = &line.errors().first {
            writeln!(output, "{}: first error: {first}", line.name())?;
        }
    }
    Ok(())
}

/// Writes everything as one JSON object.
pub(super) fn write_json(
    output: &mut dyn Write,
    server: &str,
    seconds: f64,
    lines: &[Line],
) -> Result<(), Failure> {
    let lines: Vec<Value> = lines.iter().map(to_json).collect();
    let report = json!({ "server": server, "seconds": seconds, "lines": lines });
    writeln!(output, "{report:#}")?;
    Ok(())
}

fn to_json(line: &Line) -> Value {
    let errors = line.errors();
    let errors = json!({
        "status": errors.status,
        "sql": errors.sql,
        "broken": errors.broken,
        "first": errors.first,
    });
    match line {
        Line::Requests { workload, clients, rows_per_request, figures } => json!({
            "workload": workload,
            "clients": clients,
            "rows_per_request": rows_per_request,
            "requests_per_second": tenth(figures.per_second),
            "rounds": figures.rounds.iter().copied().map(tenth).collect::<Vec<_>>(),
            "p50_us": tenth(figures.p50),
            "p99_us": tenth(figures.p99),
            "errors": errors,
        }),
        Line::Copies { workload, figures } => json!({
            "workload": workload,
            "bytes": figures.bytes,
            "wait_ms": tenth(figures.wait_milliseconds),
            "seconds": figures.seconds,
            "mb_per_second": tenth(figures.megabytes_per_second),
            "errors": errors,
        }),
    }
}

/// Rounded to what the measurement is worth.
fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::*;

    #[test]
    fn tables_show_figures_and_an_example_of_the_errors() {
        let errors = Errors {
            status: 2,
            first: Some("503 leader not found".to_owned()),
            ..Errors::default()
        };
        let total = Sample { errors, ..Sample::default() };
        let figures =
            rounds::Figures { per_second: 12_345.6, rounds: vec![], p50: 7.4, p99: 70.6, total };
        let lines = [
            Line::Requests { workload: "insert", clients: 16, rows_per_request: 1, figures },
            Line::Copies { workload: "load", figures: copies::Figures::default() },
        ];
        let mut text = Vec::new();
        write_tables(&mut text, &lines).unwrap();
        let expected = "\
workload  clients  requests/s  p50 us  p99 us  errors
insert         16       12346       7      71       2

workload   MB  wait ms  seconds  MB/s  errors
load      0.0      0.0    0.000     0       0
insert, 16 clients: first error: 503 leader not found
";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        assert!(lines.iter().all(|line| line.failed().is_some()), "nothing succeeded");
    }
}
