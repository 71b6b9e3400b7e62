//! Why a request has no answer, in words, and what may be done about it.

use std::io;

use rustls::{AlertDescription, CertificateError};
use ureq::{Error, Timeout};

use super::client::{CONNECT_MAX, SILENCE_MAX};
use crate::client::failure::{Failure, Status};
use crate::duration;

/// Beginnings of what rqlite says of a write that may yet be done.
const UNKNOWN: &[&str] = &["leadership lost", "timed out enqueuing", "context deadline exceeded"];

/// What may be done after a request without an answer.
#[derive(Debug)]
pub(super) enum Lost {
    /// It was never sent, or the server says that it was not done: it may go to another node.
    Unsent(String),
    /// Nobody knows how far it came.
    Unanswered(String),
    /// It is this machine's fault: no other node would help.
    Here(Failure),
}

/// It may have been done.
pub(in crate::client) fn unknown(why: &str) -> Failure {
    let text = format!("nobody knows whether it was done, look before you repeat it: {why}");
    Failure::new(Status::Unknown, text)
}

/// Whether these words of a server about a write leave open what came of it.
pub(in crate::client) fn leaves_open(text: &str) -> bool {
    UNKNOWN.iter().any(|beginning| text.starts_with(beginning))
}

/// Whether an error shows that the server refused this client before it took any request. With
/// TLS 1.3 the client's certificate is refused after the first request has left.
pub(super) fn is_refused_by_tls(error: &Error) -> bool {
    matches!(rustls_error(error), Some(rustls::Error::AlertReceived(alert)) if is_of_handshake(*alert))
}

fn is_of_handshake(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
    )
}

fn rustls_error(error: &Error) -> Option<&rustls::Error> {
    let Error::Io(error) = error else { return None };
    error.get_ref()?.downcast_ref()
}

/// An error as a person would say it.
pub(super) fn describe(error: &Error) -> String {
    if let Some(error) = rustls_error(error) {
        return describe_tls(error);
    }
    match error {
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the connection was closed without an answer".to_owned()
        }
        Error::Io(error) => error.to_string(),
        Error::HostNotFound => "there is no such host".to_owned(),
        Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            format!("no connection within {}", duration::print(CONNECT_MAX))
        }
        Error::Timeout(Timeout::PerRead | Timeout::PerWrite) => {
            format!("nothing moved for {}", duration::print(SILENCE_MAX))
        }
        Error::Timeout(_) => "no answer in time (--http-timeout)".to_owned(),
        Error::Protocol(error) => {
            format!("what answers does not speak HTTP (perhaps -s https): {error}")
        }
        Error::ConnectProxyFailed(why) => format!("the proxy does not connect: {why}"),
        error => error.to_string(),
    }
}

fn describe_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => describe_certificate(error),
        rustls::Error::InvalidMessage(_) => {
            "what answers does not speak TLS (perhaps -s http)".to_owned()
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server wants a certificate of this client (-d and -k)".to_owned()
        }
        rustls::Error::AlertReceived(alert) if is_of_handshake(*alert) => {
            format!("the server refuses this client: {error}")
        }
        error => format!("TLS: {error}"),
    }
}

fn describe_certificate(error: &CertificateError) -> String {
    match error {
        // A bad signature is one of another authority by the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the server cannot be trusted: its certificate is of an unknown issuer \
             (-c FILE names one)"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("the server cannot be trusted: its certificate has expired ({error})")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the server cannot be trusted: its certificate is not valid yet ({error})")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the server cannot be trusted: its certificate is for another name ({error})")
        }
        error => format!("the server cannot be trusted: its certificate is not valid ({error})"),
    }
}
