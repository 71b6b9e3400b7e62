//! A pipe from a thread that makes bytes to the one that sends them: bounded memory, reused
//! chunks, and an end that is an end only when the maker said so.
//!
//! A maker that fails makes the reading end fail, a reader that goes away stops the maker at its
//! next chunk, and a maker that panics is no clean end either.

use std::io::{self, Read, Write};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};

use crate::os;

/// Bytes of a chunk: large against a system call, small against a node's memory.
const CHUNK_BYTES: usize = 256 << 10;

/// Chunks on the way: one is filled, one is sent, one waits.
const CHUNKS_WAITING: usize = 1;

/// How long a maker waits for its reader before it looks whether it should go on at all.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What goes through.
enum Piece {
    Chunk(Vec<u8>),
    Failed(io::Error),
    End,
}

/// The reading end.
#[derive(Debug)]
pub struct Pipe {
    pieces: Receiver<Piece>,
    empties: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    chunk_at: usize,
    is_over: bool,
}

/// The making end, given to the maker's work.
#[derive(Debug)]
pub(super) struct Sink {
    pieces: Sender<Piece>,
    empties: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
}

impl Pipe {
    /// Starts `work` in a thread of this name and waits for its first chunk, so that what fails
    /// at once fails here.
    ///
    /// # Errors
    /// The work's, or the system's when it has no thread to give.
    pub(super) fn start(
        name: &str,
        work: impl FnOnce(&mut Sink) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (pieces, receiver) = bounded(CHUNKS_WAITING);
        let (sender, empties) = bounded(CHUNKS_WAITING + 2);
        let mut sink = Sink { pieces, empties, chunk: Vec::with_capacity(CHUNK_BYTES) };
        os::spawn(name, move || {
            let result = work(&mut sink).and_then(|()| sink.hand_on());
            let last = result.map_or_else(Piece::Failed, |()| Piece::End);
            // A reader that is gone needs no last word.
            drop(sink.pieces.send(last));
        })?;
        let mut pipe = Self {
            pieces: receiver,
            empties: sender,
            chunk: Vec::new(),
            chunk_at: 0,
            is_over: false,
        };
        pipe.receive()?;
        Ok(pipe)
    }

    fn receive(&mut self) -> io::Result<()> {
        let broken = || Err(io::Error::other("the thread that makes the copy has died"));
        match self.pieces.recv() {
            Ok(Piece::Chunk(chunk)) => {
                let empty = std::mem::replace(&mut self.chunk, chunk);
                self.chunk_at = 0;
                // One that a large value has stretched is not kept, nor one too many.
                if empty.capacity() <= 2 * CHUNK_BYTES {
                    drop(self.empties.try_send(empty));
                }
                Ok(())
            }
            Ok(Piece::End) => {
                self.is_over = true;
                Ok(())
            }
            Ok(Piece::Failed(error)) => Err(error),
            Err(_) => broken(),
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk_at == self.chunk.len() && !self.is_over {
            self.receive()?;
        }
        let count = buffer.len().min(self.chunk.len() - self.chunk_at);
        buffer[..count].copy_from_slice(&self.chunk[self.chunk_at..self.chunk_at + count]);
        self.chunk_at += count;
        Ok(count)
    }
}

impl Sink {
    /// The chunk being filled; [`Sink::turn`] hands it on once it is full.
    pub(super) fn chunk(&mut self) -> &mut Vec<u8> {
        &mut self.chunk
    }

    /// Hands the chunk on if it is full. While the reader is slow, `may_go_on` is asked.
    ///
    /// # Errors
    /// `may_go_on`'s, or that the reader is gone.
    pub(super) fn turn(&mut self, may_go_on: impl Fn() -> io::Result<()>) -> io::Result<()> {
        if self.chunk.len() < CHUNK_BYTES {
            return Ok(());
        }
        self.hand_on_while(may_go_on)
    }

    /// Hands on what there is.
    pub(super) fn hand_on(&mut self) -> io::Result<()> {
        self.hand_on_while(|| Ok(()))
    }

    pub(super) fn hand_on_while(
        &mut self,
        may_go_on: impl Fn() -> io::Result<()>,
    ) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let empty = self.empties.try_recv().unwrap_or_default();
        let mut piece = Piece::Chunk(std::mem::replace(&mut self.chunk, empty));
        self.chunk.clear();
        loop {
            match self.pieces.send_timeout(piece, LOOK_INTERVAL) {
                Ok(()) => return may_go_on(),
                Err(SendTimeoutError::Timeout(back)) => piece = back,
                Err(SendTimeoutError::Disconnected(_)) => {
                    return Err(io::Error::from(io::ErrorKind::BrokenPipe));
                }
            }
            may_go_on()?;
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        self.turn(|| Ok(()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
