//! Tests of uploads that are refused or cut, and of connections that are used again, against
//! servers of a few lines.

use std::io::{self, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::settings::Settings;
use super::{Body, Call, Client, Effect, Patience};
use crate::client::failure::Status;
use crate::os;

/// Bytes of the uploads; more than sockets hold.
const BYTES: u64 = 64 << 20;

/// Uploads to a server that does this once it has the head.
fn upload(source: fn() -> Box<dyn Read>, serve: fn(TcpStream)) -> Result<u16, (Status, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let server = os::spawn("server", move || {
        let (mut stream, _) = listener.accept().expect("a client comes");
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
            head.push(byte[0]);
        }
        serve(stream);
    });
    let mut client = Client::new(Settings::of(&address.to_string())).expect("it can be made");
    let answer = client.send(Call {
        method: "POST",
        target: "db/load",
        headers: &[],
        body: Body::Stream(&mut || Ok((source(), Some(BYTES)))),
        effect: Effect::Some,
        patience: Patience::Moving(Duration::from_secs(30)),
    });
    let status = answer.map(|answer| answer.status);
    server.expect("threads are there").join().expect("the server does not fail");
    status.map_err(|failure| (failure.status, failure.text))
}

fn zeros() -> Box<dyn Read> {
    Box::new(io::repeat(0).take(BYTES))
}

#[test]
fn a_refusal_is_seen_before_and_amid_an_upload() {
    let early = upload(zeros, |mut stream| {
        stream.write_all(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n").expect("it listens");
        assert_eq!(stream.read(&mut [0]).expect("it ends"), 0, "no byte of the body comes");
    });
    assert_eq!(early.unwrap(), 401);
    let late = upload(zeros, |mut stream| {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").expect("it listens");
        stream.read_exact(&mut [0; 1 << 20]).expect("the upload begins");
        stream.write_all(b"HTTP/1.1 507 Full\r\nContent-Length: 0\r\n\r\n").expect("it listens");
    });
    assert_eq!(late.unwrap(), 507);
}

#[test]
fn half_an_upload_is_known_to_do_nothing() {
    let cut = upload(zeros, |mut stream| {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").expect("it listens");
        stream.read_exact(&mut [0; 1 << 20]).expect("the upload begins");
    });
    let (status, text) = cut.unwrap_err();
    assert_eq!(status, Status::Unreachable);
    assert!(text.ends_with("before all of it was sent"), "{text}");
    let whole = upload(zeros, |mut stream| {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").expect("it listens");
        io::copy(&mut stream.take(BYTES), &mut io::sink()).expect("it comes whole");
    });
    assert_eq!(whole.unwrap_err().0, Status::Unknown);
    let torn = upload(
        || Box::new(io::repeat(0).take(1 << 20).chain(Torn)),
        |mut stream| {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").expect("it listens");
            // However it ends.
            io::copy(&mut stream, &mut io::sink()).ok();
        },
    );
    let (status, text) = torn.unwrap_err();
    assert_eq!(status, Status::LocalFile);
    assert!(text.contains("a bad sector"), "{text}");
}

#[test]
fn what_changes_something_takes_a_connection_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = listener.local_addr().unwrap().to_string();
    let server = os::spawn("server", move || {
        // Each connection stays open, and has one answer.
        let mut open = Vec::new();
        for stream in listener.incoming().take(2).map_while(Result::ok) {
            (&stream).write_all(ANSWER).expect("it listens");
            open.push(stream);
        }
        open.len()
    });
    let mut client =
        Client::new(Settings { timeout: Duration::from_secs(9), ..Settings::of(&node) }).unwrap();
    assert_eq!(client.get("status").unwrap().bytes().unwrap(), b"{}");
    let posted = client.post("db/execute", b"[]", Effect::Some).unwrap();
    assert_eq!(posted.bytes().unwrap(), b"{}");
    assert_eq!(server.unwrap().join().unwrap(), 2);
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

/// A file that cannot be read.
struct Torn;

impl Read for Torn {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("a bad sector"))
    }
}
