//! https: certificates that are good, and each way in which they are not.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::{leader, named, run};
use crate::fake::{Fake, reply};
use crate::program::quorlite_alone;

/// Who vouches for certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A certificate with its key.
struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new([]).expect("no names are valid names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("keys can be made");
        let certificate = params.self_signed(&key).expect("it can be signed");
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    fn vouch(&self, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names = ["127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("the name is valid");
        change(&mut params);
        let key = KeyPair::generate().expect("keys can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("it can be signed");
        Identity { certificate, key }
    }

    /// Its certificate in a file.
    fn file(&self, home: &Path, name: &str) -> PathBuf {
        write(home, name, &self.certificate.pem())
    }
}

fn write(home: &Path, name: &str, text: &str) -> PathBuf {
    let path = home.join(name);
    fs::write(&path, text).expect("the file is written");
    path
}

/// A server that gives every request the same answer, encrypted.
struct Secure {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Secure {
    /// Only clients with a certificate of `clients` may ask, if that is given.
    fn start(identity: &Identity, clients: Option<&Authority>, answer: Vec<u8>) -> Secure {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring knows them");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.certificate.der().clone()).expect("it is an authority");
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(verifier.build().expect("there is a root"))
            }
        };
        let key = PrivateKeyDer::Pkcs8(identity.key.serialize_der().into());
        let chain = vec![identity.certificate.der().clone()];
        let config = Arc::new(builder.with_single_cert(chain, key).expect("they belong together"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        let serve = move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let connection = ServerConnection::new(Arc::clone(&config)).expect("it is right");
                let mut stream = StreamOwned::new(connection, stream);
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    head.push(byte[0]);
                }
                if !head.is_empty() {
                    let head = String::from_utf8_lossy(&head).into_owned();
                    seen.lock().expect("nobody panics with it").push(head);
                    // The client may have gone.
                    stream.write_all(&answer).ok();
                }
                stream.conn.send_close_notify();
                stream.flush().ok();
            }
        };
        quorlite::os::spawn("secure", serve).expect("threads are there");
        Secure { address, heads }
    }

    fn plain(identity: &Identity) -> Secure {
        Secure::start(identity, None, reply("200 OK", &[], &leader("safe")))
    }

    /// The options that lead to it, and these.
    fn options<'a>(&'a self, port: &'a mut String, more: &[&'a str]) -> Vec<&'a str> {
        *port = self.address.port().to_string();
        [&["-s", "https", "-p", port.as_str()], more].concat()
    }
}

#[test]
fn a_server_is_trusted_by_its_authority_or_blindly() {
    let home = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let path = authority.file(home.path(), "ca.pem");
    let path = path.to_str().unwrap();
    let server = Secure::plain(&authority.vouch(|_| {}));
    let mut port = String::new();
    for more in [&["-c", path, "leader"][..], &["-i", "leader"], &["-i", "-c", path, "leader"]] {
        assert_eq!(run(home.path(), &server.options(&mut port, more), &[]).expect(), "safe x\n");
    }
    let url = format!("https://127.0.0.1:{}", server.address.port());
    let ran = run(home.path(), &["-c", path, "leader"], &[("QUORLITE_HOST", &url)]);
    assert_eq!(ran.expect(), "safe x\n");
    let ran = run(home.path(), &server.options(&mut port, &["-c", path, "stepdown", "two"]), &[]);
    assert_eq!(ran.expect(), "");
    // A certificate that its owner signed, as in rqlite's documentation: it is its own authority.
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let path = write(home.path(), "self.pem", &certificate.pem());
    let server = Secure::plain(&Identity { certificate, key });
    let more = ["-c", path.to_str().unwrap(), "leader"];
    assert_eq!(run(home.path(), &server.options(&mut port, &more), &[]).expect(), "safe x\n");
    run(home.path(), &server.options(&mut port, &["leader"]), &[]).fails(3, "cannot be trusted");
}

#[test]
fn a_server_that_cannot_be_trusted_is_told_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (authority, other) = (Authority::new(), Authority::new());
    let path = authority.file(home.path(), "ca.pem");
    let good = path.to_str().unwrap();
    let path = other.file(home.path(), "other.pem");
    let wrong = path.to_str().unwrap();
    let valid = authority.vouch(|_| {});
    let expired = authority.vouch(|params| params.not_after = date_time_ymd(2020, 1, 1));
    let future = authority.vouch(|params| params.not_before = date_time_ymd(2999, 1, 1));
    let renamed = authority.vouch(|params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("db1".try_into().unwrap())];
    });
    for (identity, more, words) in [
        (&valid, &["-c", wrong][..], "unknown issuer (-c FILE names one)"),
        (&valid, &[], "unknown issuer"),
        (&expired, &["-c", good], "its certificate has expired"),
        (&future, &["-c", good], "its certificate is not valid yet"),
        (&renamed, &["-c", good], "its certificate is for another name"),
    ] {
        let server = Secure::plain(identity);
        let mut port = String::new();
        for command in ["leader", "stepdown"] {
            let more = [more, &["-u", "me:sesame", command]].concat();
            let ran = run(home.path(), &server.options(&mut port, &more), &[]);
            ran.fails(3, words);
            assert!(ran.stderr.contains(&format!("https://127.0.0.1:{port}: ")), "{}", ran.stderr);
        }
        assert!(server.heads.lock().unwrap().is_empty(), "nothing was said");
        let more = ["-i", "-c", good, "leader"];
        assert_eq!(run(home.path(), &server.options(&mut port, &more), &[]).expect(), "safe x\n");
    }
}

#[test]
fn clients_show_a_certificate_where_it_is_wanted() {
    let home = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let path = authority.file(home.path(), "ca.pem");
    let ca = path.to_str().unwrap();
    let client = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let (mine, strange) = (authority.vouch(client), Authority::new().vouch(client));
    let mut files = Vec::new();
    for (name, identity) in [("mine", &mine), ("strange", &strange)] {
        let certificate = write(home.path(), &format!("{name}.pem"), &identity.certificate.pem());
        let key = write(home.path(), &format!("{name}.key"), &identity.key.serialize_pem());
        files.push((certificate.display().to_string(), key.display().to_string()));
    }
    let [(mine, key), (strange, other)] = files.try_into().unwrap();
    let answer = reply("200 OK", &[], &leader("safe"));
    let server = Secure::start(&authority.vouch(|_| {}), Some(&authority), answer);
    let mut port = String::new();
    let mut run = |more: &[&str]| {
        run(home.path(), &server.options(&mut port, &[&["-c", ca], more].concat()), &[])
    };
    assert_eq!(run(&["-d", &mine, "-k", &key, "leader"]).expect(), "safe x\n");
    // Nothing was done, so that is known of what changes something too.
    for command in ["leader", "stepdown"] {
        run(&[command]).fails(3, "wants a certificate of this client (-d and -k)");
        run(&["-d", &strange, "-k", &other, command]).fails(3, "refuses this client");
    }
    run(&["-d", &mine, "-k", &other, "leader"]).fails(8, "it is not the key of");
}

#[test]
fn files_that_are_no_certificates_are_named() {
    let home = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let path = authority.file(home.path(), "ca.pem");
    let ca = path.to_str().unwrap();
    let path = write(home.path(), "empty.pem", "nothing of use\n");
    let empty = path.to_str().unwrap();
    let torn = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let path = write(home.path(), "torn.pem", torn);
    let torn = path.to_str().unwrap();
    for (more, words) in [
        (&["-c", "missing.pem"][..], "cannot read missing.pem: No such file"),
        (&["-c", empty], "empty.pem: it holds no certificate"),
        (&["-c", torn], "cannot use "),
        (&["-d", ca, "-k", empty], "empty.pem: it holds no unencrypted private key"),
        (&["-d", ca, "-k", "missing.key"], "cannot read missing.key"),
    ] {
        let arguments = [&["-s", "https", "-p", "1"], more, &["leader"]].concat();
        run(home.path(), &arguments, &[]).fails(8, words);
    }
}

#[test]
fn the_wrong_scheme_is_guessed() {
    let home = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let plain = quorlite::os::spawn("plain", move || {
        let (mut stream, _) = listener.accept().expect("a client comes");
        let read = stream.read(&mut [0; 4096]).expect("it says something");
        stream.write_all(&reply("400 Bad Request", &[], b"")).expect("it still listens");
        read
    });
    let ran = run(home.path(), &["-s", "https", "-i", "-p", &port, "leader"], &[]);
    ran.fails(3, "does not speak TLS (perhaps -s http)");
    assert!(plain.unwrap().join().unwrap() > 0);
    let server = Secure::plain(&Authority::new().vouch(|_| {}));
    let port = server.address.port().to_string();
    let ran = run(home.path(), &["-p", &port, "leader"], &[]);
    ran.fails(3, "does not speak HTTP (perhaps -s https)");
}

#[test]
fn what_was_asked_by_https_is_not_repeated_in_clear() {
    let home = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let target = named("clear");
    let location = format!("http://{}/leader", target.address);
    let answer = reply("301 M", &[("Location", &location)], b"");
    let server = Secure::start(&authority.vouch(|_| {}), None, answer);
    let mut port = String::new();
    let options = server.options(&mut port, &["-i", "-u", "me:sesame", "leader"]);
    run(home.path(), &options, &[]).fails(3, "is not repeated in clear");
    assert!(target.heads().is_empty());
    // The other way is an improvement.
    let safe = Secure::plain(&authority.vouch(|_| {}));
    let location = format!("https://{}/leader", safe.address);
    let fake = Fake::start(move |_| reply("301 M", &[("Location", &location)], b""));
    let port = super::port(&fake);
    let ran = run(home.path(), &["-p", &port, "-i", "-u", "me:sesame", "leader"], &[]);
    assert_eq!(ran.expect(), "safe x\n");
    assert!(safe.heads.lock().unwrap()[0].contains("authorization: Basic "));
}

#[test]
fn a_dump_of_the_system_asks_nobody_in_clear_either() {
    let home = tempfile::tempdir().unwrap();
    let clear = named("clear");
    let url = format!("http://{}", clear.address);
    let nodes = format!("{{\"a\":{{\"api_addr\":\"{url}\"}},\"b\":{{\"api_addr\":\"odd\"}}}}");
    let answer = reply("200 OK", &[], nodes.as_bytes());
    let server = Secure::start(&Authority::new().vouch(|_| {}), None, answer);
    let mut port = String::new();
    let options = server.options(&mut port, &["-i", "-u", "me:sesame", "--batch"]);
    quorlite_alone(home.path(), &options).input(".sysdump all\n").run().expect();
    assert!(clear.heads().is_empty());
    let text = fs::read_to_string(home.path().join("all")).unwrap();
    for (url, why) in [(url.as_str(), "its address is http, "), ("odd", "there is no // ")] {
        assert!(text.contains(&format!("URL: {url}\nStatus: not asked: {why}")), "{text}");
    }
}
