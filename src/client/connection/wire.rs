//! What has left this machine: a layer around connections that knows whether a request was sent.
//!
//! What may be done after a failure depends on it first of all: a request of which no byte was
//! written may go to the next node, whatever the error is called. So may one that TLS refused, or
//! an upload of which not all was sent, which `client` and `lost` know.
//!
//! A server may answer before it has read a whole upload (the file is no good, its disk is full)
//! and close. Then sending stops and the answer is still read: the connection is *deaf*.

use std::fmt;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ureq::http::uri::Authority;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use ureq::{Error, Timeout};

use crate::os;

/// What became of the request in flight.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// Whom the request is for; a proxy on the way there is somebody else.
    target: Mutex<Option<Authority>>,
    has_sent: AtomicBool,
    is_deaf: AtomicBool,
}

impl Wire {
    /// A new request begins.
    pub(super) fn begin(&self, target: Option<&Authority>) {
        *os::lock(&self.target) = target.cloned();
        self.has_sent.store(false, Ordering::Relaxed);
        self.is_deaf.store(false, Ordering::Relaxed);
    }

    /// Whether any byte of the request was handed to the system.
    pub(super) fn has_sent(&self) -> bool {
        self.has_sent.load(Ordering::Relaxed)
    }

    /// Whether the server no longer listens.
    pub(super) fn is_deaf(&self) -> bool {
        self.is_deaf.load(Ordering::Relaxed)
    }
}

/// Puts a [`Watched`] around connections to the target.
pub(super) struct Watch(pub(super) Arc<Wire>);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl<In: Transport> Connector<In> for Watch {
    type Out = Watched<In>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let is_target = details.uri.authority() == os::lock(&self.0.target).as_ref();
        let wire = is_target.then(|| Arc::clone(&self.0));
        Ok(chained.map(|inner| Watched { inner, wire, is_shown: false }))
    }
}

/// A connection that tells what was sent by it.
#[derive(Debug)]
pub(super) struct Watched<T> {
    inner: T,
    /// `None` where it only leads to a proxy.
    wire: Option<Arc<Wire>>,
    /// What has come was shown again since the last byte was sent.
    is_shown: bool,
}

impl<T: Transport> Transport for Watched<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.is_shown = false;
        let Some(wire) = &self.wire else { return self.inner.transmit_output(amount, timeout) };
        if wire.is_deaf() {
            return Ok(());
        }
        wire.has_sent.store(true, Ordering::Relaxed);
        match self.inner.transmit_output(amount, timeout) {
            Err(Error::Io(error))
                if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) =>
            {
                wire.is_deaf.store(true, Ordering::Relaxed);
                Ok(())
            }
            sent => sent,
        }
    }

    fn await_input(&mut self, mut timeout: NextTimeout) -> Result<bool, Error> {
        // ureq looks at a refusal while it waits for `100 Continue`, and then would wait for more
        // of it, in vain where the server leaves the connection open.
        if !self.is_shown && !self.inner.buffers().input().is_empty() {
            self.is_shown = true;
            return Ok(true);
        }
        // The server may work before it answers; only then does silence say that something is
        // wrong.
        if timeout.reason == Timeout::RecvResponse {
            timeout.per_read = None;
        }
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}
