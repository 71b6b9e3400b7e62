//! A server that answers exactly what a test wants, also what no server should.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// It listens until the test program ends.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// Gives every connection what `answer` makes of its request's head, then ends it.
    pub(crate) fn start(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        let serve = move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let head = read_head(&stream);
                seen.lock().expect("nobody panics with it").push(head.clone());
                let mut stream = stream;
                // The client may have gone.
                stream.write_all(&answer(&head)).ok();
                stream.shutdown(Shutdown::Write).ok();
                std::io::copy(&mut stream, &mut std::io::sink()).ok();
            }
        };
        quorlite::os::spawn("fake", serve).expect("threads are there");
        Fake { address, heads }
    }

    /// The heads of all requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("nobody panics with it").clone()
    }
}

fn read_head(mut stream: &TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A server that reads a request's body up to so many bytes, then says this and ends it.
pub(crate) fn lying(
    answer: impl AsRef<[u8]> + Send + 'static,
    bytes: u64,
) -> (SocketAddr, JoinHandle<u64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let serve = move || {
        let (stream, _) = listener.accept().expect("the client comes");
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).expect("the client sends its head");
        }
        let mut stream: &TcpStream = reader.get_ref();
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").expect("the client listens");
        let read = std::io::copy(&mut reader.by_ref().take(bytes), &mut std::io::sink());
        let mut stream: &TcpStream = reader.get_ref();
        stream.write_all(answer.as_ref()).expect("the client listens");
        read.expect("the client sends")
    };
    let serving = std::thread::Builder::new().name("liar".to_owned()).spawn(serve);
    (address, serving.expect("a thread"))
}

/// An answer with this status line, these headers and this body.
pub(crate) fn reply(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"Connection: close\r\n\r\n");
    bytes.extend_from_slice(body);
    bytes
}
