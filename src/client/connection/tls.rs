//! https: certificates of the server and of this client, and the layer that encrypts.
//!
//! Nothing is read or built before it is needed: a connection by http costs nothing here. ureq's
//! own layer is not used: it panics on a key that does not belong to its certificate, it refuses
//! the certificate that a server signed by itself even where `-c` names it, and it would come
//! with every other use of ureq.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    SignatureScheme, StreamOwned,
};
use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
    TransportAdapter,
};

use super::settings::Settings;
use crate::client::failure::Failure;

/// Encrypts connections to https.
pub(super) struct Tls {
    is_insecure: bool,
    /// Built ahead where files are named, else when it is first needed.
    config: OnceLock<Arc<ClientConfig>>,
}

impl Tls {
    /// # Errors
    /// [`Failure::local`] for a file that holds no certificate or no key, or not the one that
    /// belongs to the other.
    pub(super) fn new(settings: &Settings) -> Result<Tls, Failure> {
        let (roots, identity) = (&settings.ca_cert, &settings.identity);
        let tls = Tls { is_insecure: settings.insecure, config: OnceLock::new() };
        if roots.is_some() || identity.is_some() {
            let provider = Arc::new(ring::default_provider());
            let named = roots.as_deref().map(read_certificates).transpose()?;
            let checks = match named {
                _ if settings.insecure => Checks::Nothing,
                None => Checks::System(system(&provider).map_err(|error| {
                    Failure::local(
                        "cannot read the system's certificates",
                        &io::Error::other(error),
                    )
                })?),
                Some(named) => named_roots(named, &provider, roots.as_deref())?,
            };
            let identity = match identity {
                Some((certificate, key)) => Some(read_identity(certificate, key, &provider)?),
                None => None,
            };
            tls.config.get_or_init(|| config(provider, checks, identity));
        }
        Ok(tls)
    }

    fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let provider = Arc::new(ring::default_provider());
        let checks = if self.is_insecure {
            Checks::Nothing
        } else {
            Checks::System(system(&provider).map_err(io::Error::other)?)
        };
        Ok(Arc::clone(self.config.get_or_init(|| config(provider, checks, None))))
    }
}

fn config(
    provider: Arc<CryptoProvider>,
    checks: Checks,
    identity: Option<CertifiedKey>,
) -> Arc<ClientConfig> {
    let verifier = Verifier { provider: Arc::clone(&provider), checks };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows the suites of both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    Arc::new(match identity {
        Some(identity) => builder
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity))),
        None => builder.with_no_client_auth(),
    })
}

fn system(provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
    Ok(Arc::new(rustls_platform_verifier::Verifier::new(Arc::clone(provider))?))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(unusable(path, "it holds no certificate (PEM)")),
        Ok(found) => Ok(found),
        Err(pem::Error::Io(error)) => {
            Err(Failure::local(format!("cannot read {}", path.display()), &error))
        }
        Err(error) => Err(unusable(path, &error.to_string())),
    }
}

fn read_identity(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Failure> {
    let chain = read_certificates(certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
        pem::Error::Io(error) => Failure::local(format!("cannot read {}", key.display()), &error),
        pem::Error::NoItemsFound => unusable(key, "it holds no unencrypted private key (PEM)"),
        error => unusable(key, &error.to_string()),
    })?;
    CertifiedKey::from_der(chain, secret, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            unusable(key, &format!("it is not the key of {}", certificate.display()))
        }
        error => unusable(key, &error.to_string()),
    })
}

fn named_roots(
    named: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
    path: Option<&Path>,
) -> Result<Checks, Failure> {
    let path = path.unwrap_or(Path::new("-c"));
    let mut roots = RootCertStore::empty();
    for certificate in &named {
        roots.add(certificate.clone()).map_err(|error| unusable(path, &error.to_string()))?;
    }
    let builder =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let verifier = builder.build().map_err(|error| unusable(path, &error.to_string()))?;
    Ok(Checks::Named { verifier, named })
}

/// A file that is there and of no use.
fn unusable(path: &Path, why: &str) -> Failure {
    Failure::local(format!("cannot use {}", path.display()), &io::Error::other(why))
}

/// How a server is checked.
#[derive(Debug)]
enum Checks {
    /// Not at all.
    Nothing,
    /// By what the system trusts.
    System(Arc<dyn ServerCertVerifier>),
    /// By the certificates of a file.
    Named { verifier: Arc<WebPkiServerVerifier>, named: Vec<CertificateDer<'static>> },
}

#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    checks: Checks,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.checks {
            Checks::Nothing => Ok(ServerCertVerified::assertion()),
            Checks::System(verifier) => {
                verifier.verify_server_cert(certificate, chain, name, ocsp, now)
            }
            Checks::Named { verifier, named } => {
                match verifier.verify_server_cert(certificate, chain, name, ocsp, now) {
                    // An authority is no server's certificate, but this very one was named.
                    Err(rustls::Error::InvalidCertificate(CertificateError::Other(_)))
                        if named.contains(certificate) =>
                    {
                        let parsed = ParsedCertificate::try_from(certificate)?;
                        rustls::client::verify_server_name(&parsed, name)?;
                        Ok(ServerCertVerified::assertion())
                    }
                    checked => checked,
                }
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl<In: Transport> Connector<In> for Tls {
    type Out = Either<In, Encrypted>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let Some(plain) = chained else { return Ok(None) };
        if !details.needs_tls() {
            return Ok(Some(Either::A(plain)));
        }
        let host = details.uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Error::Tls("the host's name cannot stand in a certificate"))?;
        let connection = ClientConnection::new(self.config()?, name).map_err(io::Error::other)?;
        let mut adapter = TransportAdapter::new(plain.boxed(), Arc::clone(&details.current_time));
        adapter.set_timeout(details.timeout);
        let mut stream = StreamOwned::new(connection, adapter);
        stream.conn.complete_io(&mut stream.sock)?;
        let sizes = (details.config.input_buffer_size(), details.config.output_buffer_size());
        let buffers = LazyBuffers::new(sizes.0, sizes.1);
        Ok(Some(Either::B(Encrypted { buffers, stream })))
    }
}

/// An encrypted connection.
pub(super) struct Encrypted {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypted").field("below", &self.stream.sock.inner()).finish()
    }
}

impl Transport for Encrypted {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.sock.set_timeout(timeout);
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(self.stream.flush()?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.sock.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
