//! The file that a backup becomes: locked, unfinished, and then in its place at once.
//!
//! A copy is written to `.NAME.part` beside its target. That file's lock is what keeps two runs
//! apart, so it is opened without a change before the lock is held; what a killed run left of it
//! is taken over. It is named after the pattern, not after the time, so that runs of one pattern
//! meet there and leftovers do not pile up.
//!
//! The order of publishing, with what a crash leaves before each step:
//!
//! | step                              | before it                                           |
//! |-----------------------------------|-----------------------------------------------------|
//! | copy and new sidecar are synced   | the old backup, and leftovers that the next takes   |
//! | the old sidecar is removed        | the same                                            |
//! | the copy takes the target's name  | the old backup, of which nothing is known           |
//! | the new sidecar takes its name    | the new backup, of which nothing is known           |
//!
//! A sidecar never stands beside a file that it does not describe.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use time::OffsetDateTime;

use super::names::{Pattern, mentions_fields};
use super::source::{Form, Format};
use crate::client::failure::{Failure, Status};
use crate::client::inspect;
use crate::client::interrupt::{Published, Unfinished};
use crate::client::sidecar::{self, Sidecar};
use crate::storage::durable;

/// Permissions of a backup unless it replaces one: databases are private.
const MODE: u32 = 0o600;

/// Ending of the folder in which a check unpacks.
const SCRATCH: &str = ".check";

/// What [`lock`] says of a file whose name has gone meanwhile, as a network's file system does.
const VANISHED: io::ErrorKind = io::ErrorKind::StaleNetworkFileHandle;

/// Times an unfinished file may vanish between being opened and locked before that is odd.
const TRIES_MAX: usize = 10;

/// Where the backups of a command go.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    pub(super) pattern: Pattern,
}

/// An unfinished copy; nobody else writes one for the same place.
pub(super) struct Part {
    /// In front of the file, whose lock must outlive it.
    unfinished: Unfinished,
    pub(super) file: File,
}

/// A folder in which nobody else publishes or removes backups; the lock of an unfinished file
/// ends with its name. On file systems without locks of folders it is none, and a sidecar may
/// be missed by a run that ends in the same millisecond.
pub(super) struct Folder {
    _lock: Option<File>,
}

impl Folder {
    pub(super) fn lock(folder: &Path) -> Folder {
        let opened = File::open(folder).ok();
        let is_locked = |file: &File| flock(file, FlockOperation::LockExclusive).is_ok();
        Folder { _lock: opened.filter(is_locked) }
    }
}

impl Place {
    /// Takes apart what was given with `-o`.
    ///
    /// # Errors
    /// [`Failure`] for what cannot be the name of a backup.
    pub(super) fn of(path: &Path) -> Result<Place, Failure> {
        let shown = path.display();
        let Some(name) =
            path.file_name().filter(|_| !path.as_os_str().as_encoded_bytes().ends_with(b"/"))
        else {
            return Err(Failure::usage(format!("-o {shown}: this is no name of a file")));
        };
        let pattern = Pattern::parse(name).map_err(|what| {
            let known = "%Y %m %d %H %M %S and %% are known";
            Failure::usage(format!("-o {shown}: {what} means nothing; {known}"))
        })?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).to_owned();
        if mentions_fields(folder.as_os_str()) {
            let text = "the time stands in the file's name only, not in that of a folder";
            return Err(Failure::usage(format!("-o {shown}: {text}")));
        }
        let place = Place { folder, pattern };
        if place.pattern.has_fields() { Ok(place) } else { place.resolved() }
    }

    /// This very file, whatever stands in its name.
    ///
    /// # Errors
    /// [`Failure`] for what cannot be the name of a backup.
    pub(super) fn literal(path: &Path) -> Result<Place, Failure> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Failure::usage(format!("{}: this is no name of a file", path.display())));
        };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        Place { folder: folder.to_owned(), pattern: Pattern::literal(name) }.resolved()
    }

    /// Where a symbolic link leads, so that the link stays one.
    fn resolved(self) -> Result<Place, Failure> {
        let path = self.target(OffsetDateTime::UNIX_EPOCH);
        let Ok(found) = fs::symlink_metadata(&path) else { return Ok(self) };
        if found.is_symlink() {
            let path = fs::canonicalize(&path)
                .map_err(|error| Failure::local(format!("-o {}", path.display()), &error))?;
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(Failure::usage("-o leads to the root folder"));
            };
            return Place { folder: folder.to_owned(), pattern: Pattern::literal(name) }.resolved();
        }
        if !found.is_file() {
            let text =
                format!("-o {}: this is no regular file; - is standard output", path.display());
            return Err(Failure::usage(text));
        }
        Ok(self)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The backup that is made at this time.
    pub(super) fn target(&self, at: OffsetDateTime) -> PathBuf {
        self.beside(self.pattern.name(at))
    }

    /// The path of this name in the folder.
    pub(super) fn beside(&self, name: impl AsRef<Path>) -> PathBuf {
        if self.folder == Path::new(".") {
            name.as_ref().to_owned()
        } else {
            self.folder.join(name)
        }
    }

    /// What is unfinished: the copy (`.NAME.part`), its sidecar (`.NAME.json.part`), or its check.
    fn unfinished(&self, kind: &str) -> PathBuf {
        let mut name = OsString::from(".");
        name.push(self.pattern.text());
        name.push(kind);
        self.beside(name)
    }

    /// Makes the unfinished copy, empty and locked.
    ///
    /// # Errors
    /// [`Status::LocalFile`] at once when another run has it: there is no waiting.
    pub(super) fn begin(&self) -> Result<Part, Failure> {
        let path = self.unfinished(".part");
        let failed =
            |error: &io::Error| Failure::local(format!("cannot write {}", path.display()), error);
        for _ in 0..TRIES_MAX {
            let made = Unfinished::made(&path, || lock(&path));
            let (unfinished, file) = match made {
                Ok(made) => made,
                Err(error) if error.kind() == VANISHED => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let text = format!("another backup to {} is running", self.shown());
                    return Err(Failure::new(Status::LocalFile, text));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && !self.folder.exists() => {
                    let text = format!("the folder {} does not exist", self.folder.display());
                    return Err(Failure::new(Status::LocalFile, text));
                }
                Err(error) => return Err(failed(&error)),
            };
            let private = file.set_permissions(Permissions::from_mode(MODE));
            private.and_then(|()| file.set_len(0)).map_err(|error| failed(&error))?;
            self.clear_scratch()?;
            return Ok(Part { unfinished, file });
        }
        let text = format!("{} vanishes each time it is locked", path.display());
        Err(Failure::new(Status::LocalFile, text))
    }

    /// Removes the scratch folder of a run that was killed.
    fn clear_scratch(&self) -> Result<(), Failure> {
        let path = self.unfinished(SCRATCH);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::local(format!("cannot remove {}", path.display()), &error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes a folder for what a check unpacks: beside the target, where there must be room, and
    /// under a name that the next run finds.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn make_scratch(&self) -> Result<Unfinished, Failure> {
        let path = self.unfinished(SCRATCH);
        let made = Unfinished::made(&path, || fs::DirBuilder::new().mode(0o700).create(&path));
        let what = || format!("cannot make {}", path.display());
        made.map(|(unfinished, ())| unfinished).map_err(|error| Failure::local(what(), &error))
    }

    /// As it was given, for messages.
    pub(super) fn shown(&self) -> String {
        self.beside(self.pattern.text()).display().to_string()
    }
}

/// How what is unfinished is made or taken over: for its owner, and never through a link.
fn options() -> OpenOptions {
    let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(MODE).custom_flags(no_link);
    options
}

/// Opens and locks; [`VANISHED`] when the file was published or removed in between.
fn lock(path: &Path) -> io::Result<File> {
    let (file, is_new) = match options().create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            (options().open(path)?, false)
        }
        made => (made?, true),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => {
            if is_new {
                // An empty file is all that is left when this fails.
                fs::remove_file(path).ok();
            }
            return Err(error.into());
        }
    }
    let ours = file.metadata()?;
    let is_same = fs::symlink_metadata(path)
        .is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino()));
    if !is_same {
        return Err(VANISHED.into());
    }
    if !ours.is_file() {
        return Err(io::Error::other("this is no regular file"));
    }
    Ok(file)
}

impl Part {
    pub(super) fn path(&self) -> &Path {
        self.unfinished.path()
    }

    /// Looks at what stands beside the target: what is somebody else's, and a WAL or journal that
    /// would be taken for a part of the new database.
    ///
    /// # Errors
    /// [`Status::LocalFile`] where the target had better not be replaced.
    pub(super) fn check_target(&self, target: &Path, form: &Form) -> Result<(), Failure> {
        if !sidecar::is_replaceable(target) {
            let (path, target) = (sidecar::path_of(target), target.display());
            let text = format!(
                "{} would describe {target}, but is not quorlite's: move it away, or give {target} \
                 another name",
                path.display()
            );
            return Err(Failure::new(Status::LocalFile, text));
        }
        if form.compress || form.format == Format::Sql {
            return Ok(());
        }
        let Some(path) = inspect::companions(target).into_iter().flatten().next() else {
            return Ok(());
        };
        let (path, target) = (path.display(), target.display());
        let text = format!(
            "{path} would damage the new {target}: a program uses the old one, or did not close it"
        );
        Err(Failure::new(Status::LocalFile, text))
    }

    /// Gives the whole copy its name, and the sidecar beside it; ends on the disk.
    ///
    /// # Errors
    /// A step's, with its file; the sentence says so when the backup is in its place already.
    pub(super) fn publish(
        self,
        place: &Place,
        _folder: &Folder,
        target: &Path,
        sidecar: &Sidecar,
    ) -> Result<Published, Failure> {
        let failed =
            |what: &str, error: &io::Error| Failure::local(format!("cannot {what}"), error);
        let mut mode = MODE;
        if let Ok(old) = fs::symlink_metadata(target) {
            if !old.is_file() {
                let text = format!("{} is no regular file", target.display());
                return Err(Failure::new(Status::LocalFile, text));
            }
            mode = old.mode() & 0o777;
            let kept = self.file.set_permissions(Permissions::from_mode(mode));
            kept.map_err(|error| failed("set the permissions of the copy", &error))?;
        }
        let path = place.unfinished(".json.part");
        let (description, mut file) =
            Unfinished::made(&path, || options().truncate(true).open(&path))
                .map_err(|error| failed(&format!("write {}", path.display()), &error))?;
        // Who may read a backup may know what it is, and the next run must.
        durable::sync_open(&self.file, self.path())
            .and_then(|()| file.set_permissions(Permissions::from_mode(mode | MODE)))
            .and_then(|()| file.write_all(sidecar.text().as_bytes()))
            .and_then(|()| durable::sync_open(&file, &path))
            .map_err(|error| failed("finish the copy", &error))?;
        let described = sidecar::path_of(target);
        let is_placed = self.unfinished.publish(target, || {
            durable::remove(&described)?;
            fs::rename(place.unfinished(".part"), target)?;
            // From here on the backup is in its place, whatever comes.
            let named = durable::sync_folder_of(target).and_then(|()| {
                fs::rename(&path, &described)?;
                durable::sync_folder_of(target)
            });
            Ok(named)
        });
        let (published, is_described) =
            is_placed.map_err(|error| failed(&format!("replace {}", target.display()), &error))?;
        is_described.map_err(|error| {
            let what = format!("{} is replaced, but not described", target.display());
            Failure::local(what, &error)
        })?;
        description.forget();
        Ok(published)
    }
}
