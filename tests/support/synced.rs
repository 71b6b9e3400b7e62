//! What a power cut would leave: takes back, tears or garbles what a killed server had not synced.
//!
//! A library (`synced.c`), preloaded into the server, keeps a journal of every write with what it
//! overwrote, and of every sync. After SIGKILL each sector that was written and not synced gets
//! at random its old bytes, the new ones, ones in between, zeros or garbage; the file's size is
//! one between the synced and the last. Files made, renamed or removed without a sync of their
//! folder may be as before (`names`). Bytes that were synced are never touched.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

use super::Random;
use super::names::{self, Change, Deed, Loss};

/// What a disk writes wholly or not at all.
const SECTOR: u64 = 512;

/// Bytes of a record's head: seven numbers.
const HEAD: usize = 56;

const SOURCE: &str = include_str!("synced.c");

/// Name of the variable that tells the library where its journal is.
const VARIABLE: &str = "SYNCED_JOURNAL";

/// The library, and the journal of the server that runs with it.
pub(crate) struct PowerCut {
    folder: tempfile::TempDir,
}

/// Inode and birth time: an inode's number alone may be given to a new file.
type Identity = (u64, u64);

/// One write or truncation that is not known to be synced.
struct Pending {
    sequence: u64,
    is_cut: bool,
    offset: u64,
    length: u64,
    old_size: u64,
    old: Vec<u8>,
}

impl Unsynced {
    /// Takes in one record of the journal.
    fn take(&mut self, sequence: u64, head: &[u8], old: &[u8]) {
        let identity = (number(head, 1), number(head, 2));
        let (kind, offset, length) = (number(head, 0), number(head, 3), number(head, 4));
        let writes = self.writes.entry(identity).or_default();
        let names = self.names.entry(identity).or_default();
        if let Some(deed) = Deed::of(kind) {
            let middle = usize::try_from(length).expect("a path is short");
            let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
            let (path, before) = (path(&old[..middle]), path(&old[middle..]));
            names.push(Change { sequence, deed, path, before, kept: offset });
        } else if kind == 3 {
            writes.retain(|write| write.sequence >= offset);
            names.retain(|change| change.sequence >= offset);
        } else {
            let (is_cut, old_size, old) = (kind == 2, number(head, 5), old.to_vec());
            writes.push(Pending { sequence, is_cut, offset, length, old_size, old });
        }
    }
}

impl Pending {
    /// The sectors in which it has changed something.
    fn sectors(&self) -> std::ops::Range<u64> {
        let end = if self.is_cut { self.old_size } else { self.offset + self.length };
        self.offset / SECTOR..end.div_ceil(SECTOR)
    }
}

/// What was done by one power cut.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    /// Files that had something not synced.
    pub(crate) files: u64,
    /// Sectors that lost it, wholly or in part.
    pub(crate) sectors: u64,
    /// Names that are as before.
    pub(crate) names: u64,
}

/// What a journal says of things that are not known to be synced, in the order done.
#[derive(Default)]
struct Unsynced {
    writes: BTreeMap<Identity, Vec<Pending>>,
    names: BTreeMap<Identity, Vec<Change>>,
}

/// How much of what was not synced is lost.
#[derive(Clone, Copy)]
enum Mode {
    Nothing,
    Everything,
    End,
    Sectors,
}

impl PowerCut {
    /// Compiles the library.
    pub(crate) fn prepare() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let source = folder.path().join("synced.c");
        fs::write(&source, SOURCE).expect("the source can be written");
        fs::create_dir(folder.path().join("journal.kept")).expect("a folder can be made");
        let status = Command::new("cc")
            .args(["-O2", "-shared", "-fPIC", "-o"])
            .arg(folder.path().join("synced.so"))
            .arg(&source)
            .args(["-ldl", "-lpthread"])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "cc compiles tests/support/synced.c");
        Self { folder }
    }

    /// What must be in the environment of a process for its journal to be kept.
    pub(crate) fn environment(&self) -> [(String, String); 2] {
        let text = |path: PathBuf| path.into_os_string().into_string();
        let library = text(self.folder.path().join("synced.so")).expect("paths are text");
        let journal = text(self.journal()).expect("paths are text");
        [("LD_PRELOAD".to_owned(), library), (VARIABLE.to_owned(), journal)]
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    /// Where the library keeps files that have lost their name.
    fn kept(&self) -> PathBuf {
        self.folder.path().join("journal.kept")
    }

    /// Damages the files in `directory`, whose server has been killed, and starts a new journal.
    pub(crate) fn strike(&self, directory: &Path, random: &mut Random) -> Damage {
        let journal = fs::read(self.journal()).unwrap_or_default();
        fs::remove_file(self.journal()).ok();
        let mode = match random.below(6) {
            0 => Mode::Nothing,
            1 => Mode::Everything,
            2 | 3 => Mode::End,
            _ => Mode::Sectors,
        };
        let Unsynced { writes: mut pending, names } = read_journal(&journal);
        let loss = match mode {
            Mode::Nothing => Loss::Nothing,
            Mode::Everything => Loss::Everything,
            Mode::End | Mode::Sectors => Loss::Some,
        };
        let names = names::take_back(names, &self.kept(), loss, random);
        let mut damage = Damage { names, ..Damage::default() };
        for path in files(directory) {
            let identity = identify(&path);
            if let Some(writes) = pending.remove(&identity).filter(|writes| !writes.is_empty()) {
                damage.files += 1;
                damage.sectors += revert(&path, &writes, mode, random);
            }
        }
        for path in files(&self.kept()) {
            fs::remove_file(path).expect("one's own file can be removed");
        }
        damage
    }
}

fn number(bytes: &[u8], index: usize) -> u64 {
    let bytes: [u8; 8] = bytes[8 * index..8 * index + 8].try_into().expect("eight bytes");
    u64::from_ne_bytes(bytes)
}

fn read_journal(journal: &[u8]) -> Unsynced {
    let mut unsynced = Unsynced::default();
    let (mut at, mut sequence) = (0, 0);
    while at + HEAD <= journal.len() {
        let head = &journal[at..at + HEAD];
        let old_length = usize::try_from(number(head, 6)).expect("it is in memory");
        // The last record may be cut short: then its write was never begun.
        let Some(old) = journal.get(at + HEAD..at + HEAD + old_length) else { break };
        at += HEAD + old_length;
        unsynced.take(sequence, head, old);
        sequence += 1;
    }
    unsynced
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else { return found };
    for entry in entries {
        let path = entry.expect("the directory can be read").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

fn identify(path: &Path) -> Identity {
    let metadata = fs::metadata(path).expect("the file is there");
    let birth = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let birth = birth.map_or(0, |birth| u64::try_from(birth.as_nanos()).unwrap_or(0));
    (metadata.ino(), birth)
}

fn read(file: &File, offset: u64, size: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(size).expect("a test's file fits in memory")];
    let mut got = 0;
    while got < bytes.len() {
        let at = offset + got as u64;
        let count = file.read_at(&mut bytes[got..], at).expect("the file can be read");
        if count == 0 {
            break;
        }
        got += count;
    }
    bytes
}

/// Gives the file back what it may lose; the number of sectors that lost something.
fn revert(path: &Path, writes: &[Pending], mode: Mode, random: &mut Random) -> u64 {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("the file opens");
    let last_size = file.metadata().expect("the file has a size").len();
    let synced_size = writes[0].old_size;
    // Every sector that was written and not synced, as it is now and as it was in between.
    let mut new: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    for write in writes.iter().rev() {
        for sector in write.sectors() {
            new.entry(sector).or_default().push(read(&file, sector * SECTOR, SECTOR));
        }
        file.write_all_at(&write.old, write.offset).expect("the file can be written");
        file.set_len(write.old_size).expect("the file can be cut");
    }
    let cut_at = random.below(new.len() as u64 + 1);
    let mut lost = 0;
    let mut top = synced_size;
    for (step, (sector, versions)) in (0..).zip(&new) {
        let at = sector * SECTOR;
        let now = &versions[0];
        let before = read(&file, at, SECTOR);
        let is_kept = match mode {
            Mode::Nothing => true,
            Mode::Everything => false,
            Mode::End => step < cut_at,
            Mode::Sectors => random.below(2) == 0,
        };
        let bytes = if is_kept {
            now.clone()
        } else if versions.len() > 1 && matches!(mode, Mode::Sectors) && random.below(2) == 0 {
            let between = 1 + random.below(versions.len() as u64 - 1);
            versions[usize::try_from(between).expect("it is in memory")].clone()
        } else {
            damaged(&before, now, mode, random)
        };
        lost += u64::from(bytes != *now);
        if bytes != before {
            file.write_all_at(&bytes, at).expect("the file can be written");
            top = top.max(at + SECTOR);
        }
    }
    let size = match mode {
        Mode::Everything => synced_size,
        Mode::Nothing => last_size,
        Mode::End | Mode::Sectors => top.min(last_size.max(synced_size)),
    };
    file.set_len(size).expect("the file can be cut");
    lost
}

/// A sector that was not written properly: as before, torn in the middle, zeros or garbage in
/// those bytes that were being changed.
fn damaged(before: &[u8], now: &[u8], mode: Mode, random: &mut Random) -> Vec<u8> {
    let kind = if matches!(mode, Mode::Everything) { 0 } else { random.below(4) };
    let tear = usize::try_from(random.below(SECTOR)).expect("small");
    let mix = |(index, (&old, &new)): (usize, (&u8, &u8))| match kind {
        _ if old == new => old,
        1 if index < tear => new,
        2 => 0,
        3 => u8::try_from((tear * 7 + index * 31) % 256).expect("below 256"),
        _ => old,
    };
    before.iter().zip(now).enumerate().map(mix).collect()
}
