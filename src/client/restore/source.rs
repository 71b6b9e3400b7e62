//! What is to be restored: a file, or a stream that can be read only once.

use std::cell::RefCell;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::client::connection::Opened;
use crate::client::failure::Failure;

/// A file, or a stream.
pub(in crate::client) enum Source {
    File(Kept),
    /// Standard input or a named pipe.
    Stream(Stream),
}

/// A file as it was found: what is sent must be what was looked at before.
pub(in crate::client) struct Kept {
    path: PathBuf,
    /// Held open, so that no other file gets its number.
    _file: File,
    mark: Mark,
}

/// What tells a file from another that has taken its name, and from itself written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

/// A stream that may be begun anew as long as nothing was read from it.
#[derive(Clone)]
pub(in crate::client) struct Stream {
    name: String,
    is_stdin: bool,
    shared: Rc<RefCell<Shared>>,
}

struct Shared {
    reader: Box<dyn Read>,
    is_begun: bool,
}

impl Source {
    /// What the command line names: `-` is standard input.
    ///
    /// # Errors
    /// [`Status::LocalFile`](crate::client::failure::Status) for what cannot be opened.
    pub(super) fn of(path: &Path) -> Result<Source, Failure> {
        if path == Path::new("-") {
            let stdin = Box::new(io::stdin());
            return Ok(Source::Stream(Stream::new("standard input".to_owned(), true, stdin)));
        }
        let unreadable = |error| Failure::local(format!("cannot read {}", path.display()), &error);
        Source::at(path).map_err(unreadable)
    }

    /// What is at this path.
    pub(in crate::client) fn at(path: &Path) -> io::Result<Source> {
        let file = File::open(path)?;
        let found = file.metadata()?;
        if found.is_dir() {
            return Err(io::Error::other("it is a folder"));
        }
        if found.is_file() {
            let mark = Mark::of(&found);
            return Ok(Source::File(Kept { path: path.to_owned(), _file: file, mark }));
        }
        let name = path.display().to_string();
        Ok(Source::Stream(Stream::new(name, false, Box::new(file))))
    }

    /// What its user calls it.
    pub(in crate::client) fn name(&self) -> String {
        match self {
            Source::File(kept) => kept.path.display().to_string(),
            Source::Stream(stream) => stream.name.clone(),
        }
    }

    /// Whether it is what a person's answers come from.
    pub(super) fn is_stdin(&self) -> bool {
        match self {
            Source::File(_) => false,
            Source::Stream(stream) => stream.is_stdin,
        }
    }

    /// Its first bytes, which still belong to it: as many, or all of a shorter one.
    pub(in crate::client) fn start(&self, count: u64) -> io::Result<Vec<u8>> {
        let mut start = Vec::new();
        match self {
            Source::File(kept) => {
                File::open(&kept.path)?.take(count).read_to_end(&mut start)?;
            }
            Source::Stream(stream) => {
                let mut shared = stream.shared.borrow_mut();
                shared.reader.by_ref().take(count).read_to_end(&mut start)?;
                let rest = std::mem::replace(&mut shared.reader, Box::new(io::empty()));
                shared.reader = Box::new(io::Cursor::new(start.clone()).chain(rest));
            }
        }
        Ok(start)
    }

    /// Begins to read it; gives its length where that is known, and no more bytes than that.
    ///
    /// # Errors
    /// The system's; also when it is another file than it was, or a stream begun already.
    pub(super) fn open(&self) -> io::Result<Opened> {
        match self {
            Source::File(kept) => {
                let file = File::open(&kept.path)?;
                if Mark::of(&file.metadata()?) != kept.mark {
                    let name = kept.path.display();
                    return Err(io::Error::other(format!(
                        "{name} was replaced or written to since it was looked at, nothing of it \
                         was sent"
                    )));
                }
                let length = kept.mark.bytes;
                Ok((Box::new(file.take(length)), Some(length)))
            }
            Source::Stream(stream) if stream.shared.borrow().is_begun => {
                Err(io::Error::other(format!("{} can be read only once", stream.name)))
            }
            Source::Stream(stream) => Ok((Box::new(stream.clone()), None)),
        }
    }
}

impl Kept {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Mark {
    fn of(found: &Metadata) -> Mark {
        Mark {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        }
    }
}

impl Stream {
    fn new(name: String, is_stdin: bool, reader: Box<dyn Read>) -> Stream {
        let shared = Shared { reader, is_begun: false };
        Stream { name, is_stdin, shared: Rc::new(RefCell::new(shared)) }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut shared = self.shared.borrow_mut();
        shared.is_begun = true;
        shared.reader.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    #[test]
    fn only_the_file_that_was_found_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, b"first").unwrap();
        let source = Source::of(&path).unwrap();
        assert_eq!(source.start(2).unwrap(), b"fi");
        let (mut reader, length) = source.open().unwrap();
        // One that grows on its way has the length that was announced.
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b" and more").unwrap();
        assert_eq!(length, Some(5));
        assert_eq!(io::read_to_string(&mut reader).unwrap(), "first");
        let refusal = |source: &Source| source.open().map(|_| ()).unwrap_err().to_string();
        assert!(refusal(&source).contains("was replaced or written to"), "{}", refusal(&source));
        let source = Source::of(&path).unwrap();
        let other = folder.path().join("other");
        fs::copy(&path, &other).unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(refusal(&source).contains("was replaced or written to"), "{}", refusal(&source));
    }

    #[test]
    fn a_look_at_a_stream_takes_nothing_from_it() {
        let source = Source::Stream(Stream::new("pipe".to_owned(), false, Box::new(&b"abc"[..])));
        for (count, start) in [(2, "ab"), (9, "abc"), (1, "a")] {
            assert_eq!(source.start(count).unwrap(), start.as_bytes());
        }
        let (mut reader, length) = source.open().unwrap();
        assert_eq!((io::read_to_string(&mut reader).unwrap().as_str(), length), ("abc", None));
        assert!(source.open().is_err());
    }
}
