//! Frames made by hand from the table in the documentation, and posted without the sender: what a
//! faulty or hostile node would do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{CLUSTER, Node};

pub(crate) const HEARTBEAT: u8 = 5;
pub(crate) const APPEND: u8 = 7;
pub(crate) const BODY_PIECE: u8 = 16;
pub(crate) const SNAPSHOT_BEGIN: u8 = 17;
pub(crate) const SNAPSHOT_PIECE: u8 = 18;
pub(crate) const SNAPSHOT_END: u8 = 19;
pub(crate) const HAVE: u8 = 32;
pub(crate) const REMOVED: u8 = 35;

/// A frame from `x/1` to a node.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) version: u8,
    pub(crate) kind: u8,
    pub(crate) cluster: String,
    pub(crate) to: String,
    pub(crate) fields: Vec<u8>,
}

impl Frame {
    pub(crate) fn to(node: &Node, kind: u8, fields: &[&[u8]]) -> Self {
        let (cluster, to) = (CLUSTER.to_owned(), node.id.clone());
        Self { version: 1, kind, cluster, to, fields: fields.concat() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let name = |name: &str| {
            [&[u8::try_from(name.len()).expect("it works on this machine")], name.as_bytes()]
                .concat()
        };
        let mut bytes = [&b"QLT"[..], &[self.version, self.kind], &u64s(&[3, 0])].concat();
        bytes.extend([name(&self.cluster), name("x/1"), name(&self.to)].concat());
        bytes.extend_from_slice(&self.fields);
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }
}

pub(crate) fn u64s(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

pub(crate) struct Posted {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Posted {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The kind of the frame that was answered, and its last eight bytes as a number.
    pub(crate) fn frame(&self) -> (u8, u64) {
        assert_eq!(self.status, 200, "{}", self.text());
        let end = self.body.len() - 4;
        (
            self.body[4],
            u64::from_le_bytes(
                self.body[end - 8..end].try_into().expect("it works on this machine"),
            ),
        )
    }
}

pub(crate) fn post(node: &Node, path: &str, body: &[u8]) -> Posted {
    post_with(node, path, "", body)
}

/// Posts with more header lines.
pub(crate) fn post_with(node: &Node, path: &str, headers: &str, body: &[u8]) -> Posted {
    let mut stream = TcpStream::connect(&node.address).expect("it works on this machine");
    stream.set_read_timeout(Some(Duration::from_secs(15))).expect("it works on this machine");
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\
         {headers}\r\n"
    );
    // It may be answered, and the connection closed, before all is sent.
    drop(stream.write_all(&[head.as_bytes(), body].concat()));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    let end = answer.windows(4).position(|found| found == b"\r\n\r\n").expect("a head is answered");
    let head = String::from_utf8(answer[..end].to_vec()).expect("it works on this machine");
    let status = head[9..12].parse().expect("it works on this machine");
    Posted { status, head: head.to_lowercase(), body: answer[end + 4..].to_vec() }
}
