//! gzip around any stream, on as many threads as help.
//!
//! The stream is cut into blocks, each a gzip member of its own: members one after the other are
//! one gzip file (RFC 1952, section 2.2), and blocks can be packed side by side. The order of the
//! blocks is that of the stream, and a source that fails makes the packed stream fail.

use std::io::{self, Read, Write as _};

use crossbeam_channel::{Receiver, Sender, bounded};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::pipe::{Pipe, Sink};
use crate::os;

/// Bytes of a block. A member costs some thirty bytes and the loss of the 32 KiB window.
const BLOCK_BYTES: usize = 256 << 10;

/// Threads that pack. Two outrun a disk's worth of network and leave cores to the writer.
const PACKERS: usize = 2;

/// A block to pack, and where its packed bytes go.
struct Job {
    block: Vec<u8>,
    packed: Sender<io::Result<Vec<u8>>>,
}

/// Packs `source` at the fastest level.
///
/// # Errors
/// The source's, if it fails at once; or the system's when it has no thread to give.
pub fn compress(source: impl Read + Send + 'static) -> io::Result<Pipe> {
    let (jobs, queue) = bounded::<Job>(PACKERS);
    for number in 1..=PACKERS {
        let queue = queue.clone();
        os::spawn(&format!("gzip-{number}"), move || pack_all(&queue))?;
    }
    Pipe::start("gzip", move |sink| feed(source, &jobs, sink))
}

/// Reads blocks, has them packed, and hands them on in their order.
fn feed(mut source: impl Read, jobs: &Sender<Job>, sink: &mut Sink) -> io::Result<()> {
    let mut under_way = std::collections::VecDeque::new();
    let mut is_over = false;
    let mut is_first = true;
    while !is_over || !under_way.is_empty() {
        while !is_over && under_way.len() <= PACKERS {
            let mut block = Vec::with_capacity(BLOCK_BYTES);
            source.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
            is_over = block.len() < BLOCK_BYTES;
            if block.is_empty() && !is_first {
                break;
            }
            is_first = false;
            let (packed, result) = bounded(1);
            jobs.send(Job { block, packed }).map_err(|_| gone())?;
            under_way.push_back(result);
        }
        let Some(result): Option<Receiver<io::Result<Vec<u8>>>> = under_way.pop_front() else {
            break;
        };
        sink.write_all(&result.recv().map_err(|_| gone())??)?;
    }
    Ok(())
}

fn pack_all(queue: &Receiver<Job>) {
    for job in queue {
        let mut encoder = GzEncoder::new(Vec::with_capacity(BLOCK_BYTES / 2), Compression::fast());
        let packed = encoder.write_all(&job.block).and_then(|()| encoder.finish());
        // Nobody waits for it once the reader is gone.
        drop(job.packed.send(packed));
    }
}

fn gone() -> io::Error {
    io::Error::other("the threads that compress have died")
}
