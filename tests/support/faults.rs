//! A disk that stalls or fails and a clock that is set, while a server runs and without root.
//!
//! A library (`faults.c`), preloaded into the server, looks before each sync and after each look
//! at the wall clock whether a file in a folder of the test's says that something is wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = include_str!("faults.c");

/// The library, compiled once for all servers of a test.
pub(crate) struct Faults {
    folder: tempfile::TempDir,
}

/// What may be wrong with one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No sync ends.
    Stall,
    /// Each sync takes so many milliseconds longer.
    Slow(u32),
    /// Each sync fails with an I/O error.
    Fail,
    /// The wall clock is so many seconds off.
    Clock(i32),
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Stall => "stall",
            Self::Slow(_) => "slow",
            Self::Fail => "fail",
            Self::Clock(_) => "clock",
        }
    }

    fn text(self) -> String {
        match self {
            Self::Stall | Self::Fail => String::new(),
            Self::Slow(milliseconds) => milliseconds.to_string(),
            Self::Clock(seconds) => seconds.to_string(),
        }
    }
}

impl Faults {
    /// Compiles the library.
    pub(crate) fn prepare() -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let source = folder.path().join("faults.c");
        fs::write(&source, SOURCE).expect("the source can be written");
        let status = Command::new("cc")
            .args(["-O2", "-shared", "-fPIC", "-o"])
            .arg(folder.path().join("faults.so"))
            .arg(&source)
            .arg("-ldl")
            .status();
        assert!(status.is_ok_and(|status| status.success()), "cc compiles tests/support/faults.c");
        Self { folder }
    }

    /// What a server that may get faults has in its environment; `name` is the server's own.
    pub(crate) fn environment(&self, name: &str) -> [(String, String); 2] {
        let folder = self.of(name);
        fs::create_dir_all(&folder).expect("a folder can be made");
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        [
            ("LD_PRELOAD".to_owned(), text(self.folder.path().join("faults.so"))),
            ("FAULTS_FOLDER".to_owned(), text(folder)),
        ]
    }

    /// From now on this is wrong with that server.
    pub(crate) fn begin(&self, name: &str, fault: Fault) {
        let path = self.of(name).join(fault.name());
        let new = path.with_extension("new");
        fs::write(&new, fault.text()).expect("a file can be written");
        fs::rename(&new, &path).expect("a file can be renamed");
    }

    /// Nothing is wrong with it any more.
    pub(crate) fn end(&self, name: &str) {
        for entry in fs::read_dir(self.of(name)).into_iter().flatten().flatten() {
            fs::remove_file(entry.path()).expect("one's own file can be removed");
        }
    }

    fn of(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }
}
