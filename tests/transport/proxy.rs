//! A network that cuts and alters: a small proxy between two nodes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Passes bytes on to one address. Ends with the test's process.
pub(crate) struct Proxy {
    pub(crate) address: String,
    faults: Arc<Faults>,
}

#[derive(Debug)]
struct Faults {
    /// Bytes that have come from callers.
    passed: AtomicU64,
    /// Where the connection is cut, once.
    cut_at: AtomicU64,
    /// Where one bit is turned, once.
    turn_at: AtomicU64,
    /// Each read waits so long.
    delay_millis: AtomicU64,
    cuts: AtomicU64,
}

impl Proxy {
    pub(crate) fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("it works on this machine");
        let address = listener.local_addr().expect("it works on this machine").to_string();
        let faults = Arc::new(Faults {
            passed: AtomicU64::new(0),
            cut_at: AtomicU64::new(u64::MAX),
            turn_at: AtomicU64::new(u64::MAX),
            delay_millis: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
        });
        let (target, shared) = (target.to_owned(), Arc::clone(&faults));
        start(move || {
            for caller in listener.incoming() {
                let caller = caller.expect("it works on this machine");
                let Ok(called) = TcpStream::connect(&target) else { continue };
                let (back, forth) = (
                    caller.try_clone().expect("it works on this machine"),
                    called.try_clone().expect("it works on this machine"),
                );
                let faults = Arc::clone(&shared);
                start(move || pass(caller, forth, Some(&faults)));
                start(move || pass(called, back, None));
            }
        });
        Self { address, faults }
    }

    pub(crate) fn cut_after(&self, bytes: u64) {
        let passed = self.faults.passed.load(Ordering::SeqCst);
        self.faults.cut_at.store(passed + bytes, Ordering::SeqCst);
    }

    pub(crate) fn turn_a_bit_after(&self, bytes: u64) {
        let passed = self.faults.passed.load(Ordering::SeqCst);
        self.faults.turn_at.store(passed + bytes, Ordering::SeqCst);
    }

    pub(crate) fn slow_down(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).expect("it works on this machine");
        self.faults.delay_millis.store(millis, Ordering::SeqCst);
    }

    pub(crate) fn cuts(&self) -> u64 {
        self.faults.cuts.load(Ordering::SeqCst)
    }

    /// Bytes that callers have sent.
    pub(crate) fn passed(&self) -> u64 {
        self.faults.passed.load(Ordering::SeqCst)
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, faults: Option<&Faults>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if faults.is_some_and(|faults| faults.is_cut(&mut buffer[..count])) {
            break;
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
}

impl Faults {
    fn is_cut(&self, bytes: &mut [u8]) -> bool {
        let delay = self.delay_millis.load(Ordering::SeqCst);
        thread::sleep(Duration::from_millis(delay));
        let count = bytes.len() as u64;
        let before = self.passed.fetch_add(count, Ordering::SeqCst);
        let is_here = |at: &AtomicU64| {
            let place = at.load(Ordering::SeqCst);
            let is_here = (before..before + count).contains(&place);
            if is_here {
                at.store(u64::MAX, Ordering::SeqCst);
            }
            is_here.then(|| usize::try_from(place - before).expect("it works on this machine"))
        };
        if let Some(at) = is_here(&self.turn_at) {
            bytes[at] ^= 1;
        }
        let is_cut = is_here(&self.cut_at).is_some();
        self.cuts.fetch_add(u64::from(is_cut), Ordering::SeqCst);
        is_cut
    }
}

fn start(work: impl FnOnce() + Send + 'static) {
    drop(quorlite::os::spawn("proxy", work).expect("there is a thread to be had"));
}
