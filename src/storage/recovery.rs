//! From the files to the log's shape, at start: what counts, what is cut off, what is refused.
//!
//! All segments are read once, front to back, every checksum and every link of the chain. This
//! is the one place that decides between a torn tail, which a power cut explains, and damage,
//! which it does not; it never decides by guessing. It changes nothing but the end of the last
//! segment, and files under a temporary name.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::durable;
use super::record::{Flaw, Header, Kind};
use super::segment::{self, Opening, Segment, VERSION, Window};
use super::view::{Entry, View};
use crate::raft::{EntryId, EntryKind, HardState, Index};

/// Bytes of a segment read at a time.
const WINDOW_BYTES: usize = 256 << 10;

/// What was found at start.
#[derive(Debug)]
pub struct Recovered {
    /// The last one that was synced.
    pub hard_state: HardState,
    /// The last entry that was dropped from the beginning.
    pub start: EntryId,
    /// The last entry; `start` when there is none.
    pub last: EntryId,
    /// The first entry of each term, in order, which may lie before `start`.
    pub terms: Vec<EntryId>,
    /// The entries of kind `Membership`, in order.
    pub memberships: Vec<Entry>,
    /// The rest of a write that was under way when the power went, if there was one. Nothing
    /// in it was ever promised; it is gone.
    pub cut: Option<Cut>,
}

/// A torn tail that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub path: PathBuf,
    /// Where it ends now.
    pub offset: u64,
}

/// Why the log cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// What was synced is not there any more. The node may have promised what it no longer
    /// knows, so it must not start from this log: it joins again empty, or is restored.
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        flaw: Flaw,
    },
    /// A newer program wrote it: that one must be used.
    Version {
        /// The segment.
        path: PathBuf,
        /// Its format.
        version: u32,
    },
    /// A file could not be read, made or synced; the error names it. May be tried again.
    Io(io::Error),
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged { path, offset, flaw } => write!(
                f,
                "{} is damaged at byte {offset}: {flaw}, though it was whole and synced once; \
                 the node cannot start, since it may have promised what it no longer knows: \
                 move its data directory away, then join the cluster again as an empty node \
                 under a new id, or, if it was alone, restore a backup",
                path.display()
            ),
            Self::Version { path, version } => write!(
                f,
                "{} has format {version}, and this program knows up to {VERSION}: \
                 start the newer program that wrote it",
                path.display()
            ),
            Self::Io(error) => write!(f, "cannot open the log: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The log as the files have it, and where its next record goes.
#[derive(Debug, Default)]
pub(super) struct Restored {
    pub(super) view: View,
    pub(super) hard_state: HardState,
    pub(super) memberships: Vec<Entry>,
    pub(super) cut: Option<Cut>,
    /// Where the last segment's records end; all before is synced.
    pub(super) end: u64,
    /// Where its file ends; zeros up to there.
    pub(super) blank_end: u64,
    /// Checksum of the last record.
    pub(super) chain: u32,
}

/// Reads the folder, making the first segment if there is none.
pub(super) fn restore(folder: &Path) -> Result<Restored, OpenError> {
    durable::create_folder(folder)?;
    remove_temporaries(folder)?;
    // A crash may have come between a renaming and the sync that makes it last.
    durable::sync_folder(folder)?;
    let segments = segment::list(folder)?;
    let mut restored = Restored::default();
    if segments.is_empty() {
        restored.begin(folder)?;
    }
    let count = segments.len();
    let mut expected = segments.first().map(|(sequence, _)| *sequence);
    for (position, (sequence, path)) in segments.into_iter().enumerate() {
        if Some(sequence) != expected {
            return Err(OpenError::Damaged { path, offset: 0, flaw: Flaw::Gap });
        }
        expected = sequence.checked_add(1);
        let place = if position + 1 == count { Position::Last } else { Position::Sealed };
        restored.replay(sequence, path, place)?;
    }
    let start = restored.view.start().index;
    restored.memberships.retain(|entry| entry.id.index > start);
    Ok(restored)
}

fn remove_temporaries(folder: &Path) -> io::Result<()> {
    for found in fs::read_dir(folder).map_err(|error| durable::at(folder, &error))? {
        let path = found.map_err(|error| durable::at(folder, &error))?.path();
        if path.extension().is_some_and(|ending| ending == durable::TEMPORARY) {
            durable::remove(&path)?;
        }
    }
    Ok(())
}

/// Where a segment stands: only the last one can have a torn tail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    Sealed,
    Last,
}

impl Restored {
    fn begin(&mut self, folder: &Path) -> io::Result<()> {
        let opening = Opening {
            sequence: 1,
            previous: EntryId::default(),
            chain: 0,
            hard_state: &self.hard_state,
        };
        let (segment, length, chain) = Segment::create(folder, opening)?;
        self.view.reset(EntryId::default());
        self.view.add_segment(Arc::new(segment));
        self.end = length;
        self.blank_end = length;
        self.chain = chain;
        Ok(())
    }

    fn replay(
        &mut self,
        sequence: u64,
        path: PathBuf,
        position: Position,
    ) -> Result<(), OpenError> {
        let at = |error| OpenError::Io(durable::at(&path, &error));
        let damaged = |offset, flaw| OpenError::Damaged { path: path.clone(), offset, flaw };
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(at)?;
        let length = file.metadata().map_err(at)?.len();
        let head = Window::new(&file, length, WINDOW_BYTES).head().map_err(at)?;
        let head = head.map_err(|flaw| damaged(0, flaw))?;
        if head.version > VERSION {
            return Err(OpenError::Version { path, version: head.version });
        }
        if self.view.segments().is_empty() {
            self.view.reset(head.header.id);
        } else if head.header.chain != self.chain || head.header.id != self.view.last() {
            return Err(damaged(0, Flaw::Chain));
        }
        let segment = Arc::new(Segment { sequence, path: path.clone(), file, salt: head.salt });
        self.view.add_segment(Arc::clone(&segment));
        self.chain = head.header.checksum;
        self.end = head.header.record_bytes();

        let mut window = Window::new(&segment.file, length, WINDOW_BYTES);
        let flaw = self.walk(&mut window, head.salt).map_err(at)?;
        let is_blank = flaw == Flaw::Blank && window.is_blank(self.end).map_err(at)?;
        // The hard state behind the head was synced before the file got its name.
        let is_damaged = match position {
            _ if self.end == head.header.record_bytes() => true,
            Position::Sealed => !is_blank,
            Position::Last if is_blank => false,
            Position::Last => {
                flaw == Flaw::Order || window.was_synced(self.end, head.salt).map_err(at)?
            }
        };
        if is_damaged {
            return Err(damaged(self.end, flaw));
        }
        if position == Position::Last {
            self.settle(&segment, length, is_blank).map_err(at)?;
        }
        Ok(())
    }

    /// Makes the last segment's end certain: what is kept is on disk, what is cut off is not.
    ///
    /// What a killed process wrote may be in the page cache only; the next record will say that
    /// all before it is synced. Cut bytes must not be found again behind new ones.
    fn settle(&mut self, segment: &Segment, length: u64, is_blank: bool) -> io::Result<()> {
        self.blank_end = length;
        if !is_blank {
            segment.file.set_len(self.end)?;
            self.blank_end = self.end;
            self.cut = Some(Cut { path: segment.path.clone(), offset: self.end });
        }
        segment.file.sync_all()
    }

    /// Takes in records until there is a flaw, which is at `self.end` then.
    fn walk(&mut self, window: &mut Window<&File>, salt: u32) -> io::Result<Flaw> {
        loop {
            let header = match window.header(self.end, salt)? {
                Ok(header) if header.chain == self.chain => header,
                Ok(_) => return Ok(Flaw::Chain),
                Err(flaw) => return Ok(flaw),
            };
            if let Err(flaw) = self.take(window, &header)? {
                return Ok(flaw);
            }
            self.end += header.record_bytes();
            self.chain = header.checksum;
        }
    }

    /// Takes in the record at `self.end`, if its body is whole and it makes sense here.
    fn take(
        &mut self,
        window: &mut Window<&File>,
        header: &Header,
    ) -> io::Result<Result<(), Flaw>> {
        let id = header.id;
        if let Err(flaw) = window.check_body(self.end, header)? {
            return Ok(Err(flaw));
        }
        let last = self.view.last().index;
        match header.kind {
            Kind::HardState => {
                let body = match window.body(self.end, header)? {
                    Ok(body) => body,
                    Err(flaw) => return Ok(Err(flaw)),
                };
                let Some(hard_state) = segment::hard_state_from(id, &body) else {
                    return Ok(Err(Flaw::Order));
                };
                self.hard_state = hard_state;
            }
            Kind::Truncate if id.index <= last => {
                self.view.truncate(id);
                self.drop_memberships(id.index);
            }
            Kind::Compact if id.index <= last => self.view.compact(id),
            Kind::Reset => {
                self.view.reset(id);
                self.memberships.clear();
            }
            Kind::Entry(kind) if id.index.checked_sub(1) == Some(last) => {
                self.view.push(id, self.end);
                if kind == EntryKind::Membership {
                    match window.body(self.end, header)? {
                        Ok(body) => self.memberships.push(Entry { id, kind, body }),
                        Err(flaw) => return Ok(Err(flaw)),
                    }
                }
            }
            Kind::Head | Kind::Truncate | Kind::Compact | Kind::Entry(_) => {
                return Ok(Err(Flaw::Order));
            }
        }
        Ok(Ok(()))
    }

    fn drop_memberships(&mut self, last: Index) {
        self.memberships.retain(|entry| entry.id.index <= last);
    }
}
