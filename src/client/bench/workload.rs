//! The workloads: what each asks of the server, as requests made beforehand.
//!
//! All of them use one table, `quorlite_bench`, which exists while they run and is dropped when
//! they are done. Nothing here opens a connection.

use super::http;
use super::url::Url;
use crate::client::failure::Failure;

/// Rows in the table that queries read.
pub(super) const ROWS: u64 = 10_000;

/// Rows a range query returns.
const RANGE_ROWS: u64 = 100;

/// Rows a bulk request inserts.
const BULK_ROWS: u64 = 1_000;

/// Different requests a query workload takes turns with, so that not one page is read for ever.
const VARIANTS: u64 = 64;

/// Removes what an earlier run may have left, or this one made.
pub(super) const DROP: &str = "DROP TABLE IF EXISTS quorlite_bench";

/// Makes the table.
pub(super) const CREATE: &str = "CREATE TABLE quorlite_bench \
                                 (id INTEGER PRIMARY KEY, name TEXT, amount INTEGER, body TEXT)";

const INSERT: &str = "INSERT INTO quorlite_bench(name, amount) VALUES(?, ?)";

/// The workload that replaces the server's data.
pub(super) const LOAD: &str = "load";

/// One thing to measure.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// What is done over and over; a text is the level of a query or the parameters of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Insert,
    Bulk,
    Queue,
    Point(&'static str),
    Range(&'static str),
    Backup(&'static str),
    Load,
}

/// What the table must hold before a workload starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: it is made anew for every line.
    Empty,
    /// `ROWS` small rows.
    Rows,
    /// As many bytes as `--size` says.
    Bytes,
}

/// All workloads, in the order in which they run.
const ALL: &[Workload] = &[
    Workload { name: "insert", kind: Kind::Insert },
    Workload { name: "bulk", kind: Kind::Bulk },
    Workload { name: "queue", kind: Kind::Queue },
    Workload { name: "point-none", kind: Kind::Point("none") },
    Workload { name: "point-weak", kind: Kind::Point("weak") },
    Workload { name: "point-linearizable", kind: Kind::Point("linearizable") },
    Workload { name: "point-strong", kind: Kind::Point("strong") },
    Workload { name: "range-none", kind: Kind::Range("none") },
    Workload { name: "range-weak", kind: Kind::Range("weak") },
    Workload { name: "range-linearizable", kind: Kind::Range("linearizable") },
    Workload { name: "range-strong", kind: Kind::Range("strong") },
    Workload { name: "backup-binary", kind: Kind::Backup("fmt=binary") },
    Workload { name: "backup-delete", kind: Kind::Backup("fmt=delete") },
    Workload { name: "backup-sql", kind: Kind::Backup("fmt=sql") },
    Workload { name: "backup-vacuum", kind: Kind::Backup("vacuum") },
    Workload { name: "backup-compress", kind: Kind::Backup("compress") },
    Workload { name: LOAD, kind: Kind::Load },
];

/// The workloads named in a comma list, in the order of the table: a name stands for itself or
/// for all that begin with it and a dash. Without a list it is all but `load`, which replaces
/// the server's data and so runs only when asked for by name.
pub(super) fn select(list: Option<&str>) -> Result<Vec<&'static Workload>, Failure> {
    let Some(list) = list else {
        return Ok(ALL.iter().filter(|workload| workload.kind != Kind::Load).collect());
    };
    let names: Vec<&str> = list.split(',').collect();
    for name in &names {
        if !ALL.iter().any(|workload| workload.is_meant_by(name)) {
            let text = format!("unknown workload {name}; see quorlite bench --help");
            return Err(Failure::usage(text));
        }
    }
    let is_meant = |workload: &&Workload| names.iter().any(|name| workload.is_meant_by(name));
    Ok(ALL.iter().filter(is_meant).collect())
}

impl Workload {
    fn is_meant_by(&self, name: &str) -> bool {
        let rest = self.name.strip_prefix(name);
        !name.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    pub(super) fn need(&self) -> Need {
        match self.kind {
            Kind::Insert | Kind::Bulk | Kind::Queue => Need::Empty,
            Kind::Point(_) | Kind::Range(_) => Need::Rows,
            Kind::Backup(_) | Kind::Load => Need::Bytes,
        }
    }

    /// Rows that one request writes or reads.
    pub(super) fn rows_per_request(&self) -> u64 {
        match self.kind {
            Kind::Bulk => BULK_ROWS,
            Kind::Range(_) => RANGE_ROWS,
            Kind::Insert | Kind::Queue | Kind::Point(_) | Kind::Backup(_) | Kind::Load => 1,
        }
    }

    /// The requests to take turns with; none for what is not a matter of requests per second.
    pub(super) fn requests(&self, url: &Url) -> Vec<Vec<u8>> {
        let post = |target: &str, body: &str| http::request(url, "POST", target, body.as_bytes());
        let insert = format!(r#"["{INSERT}","fiona",20]"#);
        match self.kind {
            Kind::Insert => vec![post("/db/execute", &format!("[{insert}]"))],
            Kind::Queue => vec![post("/db/execute?queue", &format!("[{insert}]"))],
            Kind::Bulk => {
                let rows: Vec<_> = (0..BULK_ROWS).map(|_| insert.as_str()).collect();
                vec![post("/db/execute?transaction", &format!("[{}]", rows.join(",")))]
            }
            Kind::Point(level) => {
                let select = "SELECT id, name, amount FROM quorlite_bench WHERE id = ?";
                let target = format!("/db/query?level={level}");
                spread(ROWS).map(|id| post(&target, &format!(r#"[["{select}",{id}]]"#))).collect()
            }
            Kind::Range(level) => {
                let select = "SELECT id, name, amount FROM quorlite_bench WHERE id BETWEEN ? AND ?";
                let target = format!("/db/query?level={level}");
                let body = |low| format!(r#"[["{select}",{low},{}]]"#, low + RANGE_ROWS - 1);
                spread(ROWS - RANGE_ROWS).map(|low| post(&target, &body(low))).collect()
            }
            Kind::Backup(_) | Kind::Load => Vec::new(),
        }
    }
}

/// Row numbers from 1 on, all over the table.
fn spread(rows: u64) -> impl Iterator<Item = u64> {
    (0..VARIANTS).map(move |variant| 1 + variant * 7919 % rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_select_themselves_and_their_kin() {
        let names = |list| -> Vec<_> {
            select(list).unwrap().into_iter().map(|workload| workload.name).collect()
        };
        assert_eq!(names(None).len(), ALL.len() - 1, "all but load");
        assert!(!names(None).contains(&"load"), "load is asked for by name");
        assert_eq!(names(Some("load,insert")), ["insert", "load"]);
        assert_eq!(names(Some("point")).len(), 4);
        assert_eq!(names(Some("range-weak")), ["range-weak"]);
        for list in ["", "points", "poin", "insert,", "insert-"] {
            assert!(select(Some(list)).is_err(), "{list:?}");
        }
    }

    #[test]
    fn queries_stay_within_the_table() {
        assert!(spread(ROWS).all(|id| (1..=ROWS).contains(&id)), "rows there are");
        let url = Url::parse("http://h:1").unwrap();
        let last = select(Some("range-none")).unwrap()[0].requests(&url);
        assert_eq!(last.len(), 64, "one request a variant");
        let text = String::from_utf8(last[0].clone()).unwrap();
        let body =
            r#"[["SELECT id, name, amount FROM quorlite_bench WHERE id BETWEEN ? AND ?",1,100]]"#;
        assert!(text.starts_with("POST /db/query?level=none HTTP/1.1\r\nHost: h:1\r\n"), "{text}");
        assert!(text.ends_with(&format!("\r\nContent-Length: {}\r\n\r\n{body}", body.len())));
    }
}
