//! Backups: a snapshot pinned by the writer, and the stream that is made of it.
//!
//! The writer's part takes less than a millisecond; everything else runs on the caller's thread or
//! on threads of the backup. One registry of pins keeps what slow downloads cost within limits.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_channel::{Sender, bounded};

use super::answers::{Backup, BackupError, BackupHead, Format};
use super::board::Board;
use super::status::BackupsStatus;
use super::writer::{Order, Pinned};
use crate::db::dump::{self, Selection};
use crate::db::pages::{Journal, Pages};
use crate::db::readers::Readers;
use crate::db::snapshot::{self, Pins};
use crate::db::{compress, vacuum};
use crate::raft::EntryId;

/// Backups sent at the same time. Each has threads and half a megabyte or so of memory; more are
/// refused rather than let all of them crawl.
const RUNNING_MAX: usize = 16;

/// Bytes that stay free on the disk while a vacuumed copy is made: the log must go on.
const FREE_BYTES_MIN: u64 = 32 << 20;

/// What makes backups.
pub(super) struct Backups {
    board: Arc<Board>,
    readers: Arc<Readers>,
    pins: Pins,
    /// Where temporary copies are made.
    folder: PathBuf,
    running: Arc<AtomicUsize>,
    next_name: AtomicU64,
}

/// One of the backups that may run; dropping it makes room for another.
struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A stream that occupies a slot until it is dropped.
struct Slotted<R> {
    source: R,
    _slot: Slot,
}

impl<R: io::Read> io::Read for Slotted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source.read(buffer)
    }
}

impl Backups {
    pub(super) fn new(board: Arc<Board>, readers: Arc<Readers>, pins: Pins, folder: &Path) -> Self {
        Self {
            board,
            readers,
            pins,
            folder: folder.to_owned(),
            running: Arc::default(),
            next_name: AtomicU64::new(0),
        }
    }

    /// Pins a snapshot and starts to make a backup of it.
    pub(super) fn start(
        &self,
        writer: &Sender<Order>,
        format: &Format,
        compress: bool,
    ) -> Result<Backup, BackupError> {
        let slot = self.slot()?;
        let Pinned { snapshot, standing } = self.pin(writer)?;
        let id = snapshot.at();
        let tag = self.tag(standing.changed, format, compress);
        let (length, source) = self.stream(snapshot, format).map_err(failed)?;
        let (length, source): (_, Box<dyn io::Read + Send>) = if compress {
            (None, Box::new(compress::compress(source).map_err(failed)?))
        } else {
            (length, source)
        };
        Ok(Backup { id, tag, length, source: Box::new(Slotted { source, _slot: slot }) })
    }

    /// What a backup would be.
    pub(super) fn head(
        &self,
        writer: &Sender<Order>,
        format: &Format,
        compress: bool,
    ) -> Result<BackupHead, BackupError> {
        let Pinned { snapshot, standing } = self.pin(writer)?;
        let is_exact = matches!(format, Format::Binary | Format::Delete) && !compress;
        Ok(BackupHead {
            id: snapshot.at(),
            tag: self.tag(standing.changed, format, compress),
            length: is_exact.then(|| snapshot.bytes()),
        })
    }

    pub(super) fn status(&self) -> BackupsStatus {
        let pins = self.pins.status();
        BackupsStatus {
            running: pins.pinned,
            oldest_age: pins.oldest.unwrap_or_default(),
            ended: pins.ended,
            wal_bytes_max: pins.limits.wal_bytes_max,
            age_max: pins.limits.age_max,
            free_bytes_min: pins.limits.free_bytes_min,
        }
    }

    fn slot(&self) -> Result<Slot, BackupError> {
        let slot = Slot(Arc::clone(&self.running));
        if self.running.fetch_add(1, Ordering::AcqRel) >= RUNNING_MAX {
            let text = format!("{RUNNING_MAX} backups are being sent already; try again later");
            return Err(BackupError::Busy(text));
        }
        Ok(slot)
    }

    fn pin(&self, writer: &Sender<Order>) -> Result<Pinned, BackupError> {
        pin(&self.readers, writer).map_err(BackupError::Failed)
    }

    /// The stream and, where it is known before the first byte, its length.
    fn stream(
        &self,
        snapshot: snapshot::Snapshot,
        format: &Format,
    ) -> io::Result<(Option<u64>, Box<dyn io::Read + Send>)> {
        let journal = match format {
            Format::Binary => Journal::Wal,
            Format::Delete => Journal::Delete,
            Format::Vacuum => {
                let number = self.next_name.fetch_add(1, Ordering::Relaxed);
                let name = format!("vacuum-{number}");
                let copy = vacuum::vacuum(snapshot, &self.folder, &name, FREE_BYTES_MIN, || true)?;
                return Ok((Some(copy.length()), Box::new(copy)));
            }
            Format::Sql { tables } => {
                let selection = if tables.is_empty() {
                    Selection::All
                } else {
                    Selection::Tables(tables.clone())
                };
                return Ok((None, Box::new(dump::dump(snapshot, selection)?)));
            }
        };
        let bytes = snapshot.bytes();
        Ok((Some(bytes), Box::new(Pages::new(snapshot, journal)?)))
    }

    /// Equal tags mean equal content: cluster, the entry that last changed anything, and form.
    fn tag(&self, changed: EntryId, format: &Format, compress: bool) -> String {
        let form = match format {
            Format::Binary => "binary",
            Format::Delete => "delete",
            Format::Vacuum => "vacuum",
            Format::Sql { tables } => {
                let names = tables.join("\n");
                let digest = crc32c::crc32c(names.as_bytes());
                return self.tag_of(changed, &format!("sql-{digest:08x}"), compress);
            }
        };
        self.tag_of(changed, form, compress)
    }

    fn tag_of(&self, changed: EntryId, form: &str, compress: bool) -> String {
        let packed = if compress { "-gzip" } else { "" };
        // Copies of two clusters are never taken for each other.
        let cluster = self.board.with_raft(|view| view.membership.cluster.clone());
        format!("{cluster}-{}-{}-{form}{packed}", changed.term, changed.index)
    }
}

/// Has the writer open the read transaction, on a connection that is ready for it.
///
/// # Errors
/// A sentence.
pub(super) fn pin(readers: &Readers, writer: &Sender<Order>) -> Result<Pinned, String> {
    let connection = snapshot::connect(&readers.path()).map_err(|fault| fault.to_string())?;
    let (reply, pinned) = bounded(1);
    let stopping = || "the node is stopping".to_owned();
    writer.send(Order::Pin { connection, reply }).map_err(|_| stopping())?;
    pinned.recv().map_err(|_| stopping())?
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: io::Error) -> BackupError {
    match error.kind() {
        io::ErrorKind::StorageFull => BackupError::NoSpace(error.to_string()),
        _ => BackupError::Failed(error.to_string()),
    }
}
