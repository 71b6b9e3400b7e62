//! Loads: an upload becomes a checked file that one small entry can name.
//!
//! All of the work is done before anything is proposed, on the caller's thread and in bounded
//! memory, while writes go on. A file that fails any check changes nothing anywhere.

use std::io::{self, Read, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::answers::{Accept, LoadError, ProposeError};
use super::claims::Claims;
use crate::command::Work;
use crate::db::load::{self, LoadError as FileError};
use crate::db::upload::{Kind, Room, Upload};
use crate::storage::bodies::{Body, Staging};

/// Bytes that stay free on the disk while an upload is staged: the log must go on.
const FREE_BYTES_MIN: u64 = 32 << 20;

/// Bytes copied at a time.
const COPY_BYTES: usize = 256 << 10;

/// How long a file waits for another load of the very same one: a few gigabytes take that long.
const SAME_FILE_WAIT_MAX: Duration = Duration::from_secs(30);

/// What takes uploads.
pub(super) struct Loads {
    claims: Arc<Claims>,
    /// Where uploads are stored.
    folder: PathBuf,
}

/// An upload that is whole, synced and checked. Dropping it gives up its claim on the body.
pub(super) struct Staged {
    claims: Arc<Claims>,
    body: Body,
    kind: Kind,
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.claims.release(&self.body.sha256);
    }
}

impl Staged {
    pub(super) fn sha256(&self) -> &str {
        &self.body.sha256
    }

    pub(super) fn bytes(&self) -> u64 {
        self.body.bytes
    }

    /// What its entry asks for.
    pub(super) fn work(&self) -> Work {
        let sha256 = self.body.sha256.clone();
        match self.kind {
            Kind::Database => Work::Load { sha256 },
            Kind::Script | Kind::Empty => Work::Script { sha256 },
        }
    }
}

impl Loads {
    pub(super) fn new(claims: Arc<Claims>, folder: PathBuf) -> Self {
        Self { claims, folder }
    }

    /// Takes an upload to its end and checks it; `None` when it is empty.
    pub(super) fn stage(
        &self,
        upload: &mut dyn Read,
        accept: Accept,
    ) -> Result<Option<Staged>, LoadError> {
        let room = Room { folder: self.folder.clone(), reserve: FREE_BYTES_MIN };
        let mut upload = Upload::new(upload, room).map_err(refuse)?;
        let kind = upload.kind();
        match (kind, accept) {
            (Kind::Empty, _) => return Ok(None),
            (Kind::Script, Accept::File) => {
                return Err(LoadError::BadFile("invalid SQLite data".to_owned()));
            }
            (Kind::Database | Kind::Script, Accept::FileOrText | Accept::File) => {}
        }
        let mut staging = self.claims.stage().map_err(disk)?;
        copy(&mut upload, &mut staging)?;
        let body = match kind {
            Kind::Database => {
                self.claims.finish_alone(staging, SAME_FILE_WAIT_MAX).map_err(disk)?
            }
            Kind::Script | Kind::Empty => Some(self.claims.finish(staging).map_err(disk)?),
        };
        let Some(body) = body else {
            let text = "the same file is being loaded already; wait until that is done";
            return Err(LoadError::Propose(ProposeError::Refused(text.to_owned())));
        };
        let staged = Staged { claims: Arc::clone(&self.claims), body, kind };
        if kind == Kind::Database {
            load::check(&staged.body.path, || true).map_err(refuse)?;
        }
        Ok(Some(staged))
    }
}

fn copy(upload: &mut Upload<'_>, staging: &mut Staging) -> Result<(), LoadError> {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let count = match upload.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(refuse(FileError::from(error))),
        };
        staging.write_all(&buffer[..count]).map_err(disk)?;
    }
}

fn refuse(error: FileError) -> LoadError {
    match error {
        FileError::Read(error) => LoadError::Upload(error.to_string()),
        FileError::NoSpace { .. } => LoadError::NoSpace(error.to_string()),
        FileError::Stopped
        | FileError::GzipShort
        | FileError::GzipDamaged(_)
        | FileError::Unknown { .. }
        | FileError::Header(_)
        | FileError::HeaderShort { .. }
        | FileError::Short { .. }
        | FileError::Long { .. }
        | FileError::Ragged { .. }
        | FileError::Damaged(_) => LoadError::BadFile(error.to_string()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn disk(error: io::Error) -> LoadError {
    LoadError::NoSpace(format!("the upload cannot be stored: {error}"))
}
