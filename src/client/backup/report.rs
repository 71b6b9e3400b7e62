//! What is said of a backup: in its sidecar, to the person, and to a script.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::DecimalBytes;
use serde_json::{Value, json};

use super::download::Copied;
use super::fetch::{Head, Request};
use super::run::{FileOrder, Telling};
use super::source::Format;
use crate::client::failure::Failure;
use crate::client::sidecar::{Sidecar, hexadecimal, stamp};
use crate::duration::Span;

/// A copy that is whole and has its place.
pub(super) struct Done {
    pub(super) target: PathBuf,
    pub(super) head: Head,
    pub(super) copied: Copied,
    pub(super) sequence: u64,
    /// From the beginning of the command until it is put there.
    pub(super) took: Duration,
}

impl Request<'_> {
    pub(super) fn describe(
        &self,
        order: &FileOrder,
        Done { target, head, copied, sequence, took }: &Done,
    ) -> Sidecar {
        let format = match self.form.format {
            Format::Binary => "binary",
            Format::Delete => "delete",
            Format::Sql => "sql",
        };
        Sidecar::new(json!({
            "name": target.file_name().map(|name| name.to_string_lossy()),
            "bytes": copied.bytes,
            "sha256": hexadecimal(&copied.sha256),
            "raft_index": head.index,
            "raft_term": head.term,
            "etag": head.etag,
            "taken_at": stamp(head.taken_at),
            "verified": order.verify,
            "fmt": format,
            "vacuum": self.form.vacuum,
            "compressed": self.form.compress,
            "tables": self.form.tables,
            "sequence": sequence,
            "node": head.node,
            "duration_seconds": seconds(*took),
        }))
    }

    pub(super) fn report(
        &self,
        order: &FileOrder,
        done: &Done,
        sidecar: &Sidecar,
        removed: &[PathBuf],
    ) {
        let index = sidecar.raft_index().map(|index| format!("raft index {index}, "));
        let took = Duration::from_millis(u64::try_from(done.took.as_millis()).unwrap_or(u64::MAX));
        self.terminal.remark(format!(
            "{}: {}, {}{}, {}{}",
            done.target.display(),
            DecimalBytes(done.copied.bytes),
            index.unwrap_or_default(),
            if order.verify { "verified" } else { "not verified" },
            Span::from(took),
            in_words(removed),
        ));
    }
}

/// Which old backups have gone, as the end of a remark.
pub(super) fn in_words(removed: &[PathBuf]) -> String {
    let names = removed.iter().filter_map(|path| path.file_name());
    let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
    if names.is_empty() { String::new() } else { format!("; removed: {}", names.join(", ")) }
}

fn seconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Prints what was done, where that was asked for.
pub(super) fn print(
    order: &FileOrder,
    path: &Path,
    sidecar: &Sidecar,
    mut more: Value,
    output: &mut impl Write,
) -> Result<(), Failure> {
    if order.telling == Telling::LineAndObject {
        more["path"] = json!(path.to_string_lossy());
        writeln!(output, "{}", sidecar.with(more))?;
    }
    Ok(output.flush()?)
}
