//! Proxies by the variables of the environment.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use super::{leader, named, port, run};
use crate::fake::{Fake, reply};

/// A proxy that is the server too: it says yes to CONNECT and answers what comes next.
struct Proxy {
    address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&lines);
        let serve = move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let answers =
                    [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), reply("200 OK", &[], &leader("far"))];
                for answer in answers {
                    let mut head = Vec::new();
                    let mut byte = [0];
                    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                        head.push(byte[0]);
                    }
                    let head = String::from_utf8_lossy(&head).into_owned();
                    let line = head.lines().next().unwrap_or_default().to_owned();
                    seen.lock().expect("nobody panics with it").push(line);
                    // The client may have gone.
                    stream.write_all(&answer).ok();
                }
            }
        };
        quorlite::os::spawn("proxy", serve).expect("threads are there");
        Proxy { address, lines }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("nobody panics with it").clone()
    }
}

#[test]
fn a_proxy_leads_to_other_machines_and_never_to_this_one() {
    let home = tempfile::tempdir().unwrap();
    let proxy = Proxy::start();
    let url = format!("http://{}", proxy.address);
    for name in ["HTTP_PROXY", "http_proxy"] {
        let ran = run(home.path(), &["-H", "db.example", "leader"], &[(name, &url)]);
        assert_eq!(ran.expect(), "far x\n");
    }
    let one = ["CONNECT db.example:4001 HTTP/1.1", "GET /leader HTTP/1.1"];
    assert_eq!(proxy.lines(), [one, one].concat());

    let near = named("near");
    for host in ["127.0.0.1", "localhost"] {
        let arguments = ["-H", host, "-p", &port(&near), "leader"];
        assert_eq!(run(home.path(), &arguments, &[("HTTP_PROXY", &url)]).expect(), "near x\n");
    }
    for variables in [
        [("HTTP_PROXY", &*url), ("NO_PROXY", "invalid")],
        [("HTTPS_PROXY", &*url), ("NO_PROXY", "")],
        [("HTTP_PROXY", &*url), ("REQUEST_METHOD", "GET")],
    ] {
        let ran = run(home.path(), &["-H", "db.invalid", "-t", "9s", "leader"], &variables);
        ran.fails(3, "cannot reach db.invalid:4001");
    }
    assert_eq!(proxy.lines().len(), 4, "the proxy was not asked");
}

#[test]
fn a_proxy_that_does_not_connect_has_sent_nothing_on() {
    let home = tempfile::tempdir().unwrap();
    let refusing = Fake::start(|_| reply("403 Forbidden", &[], b""));
    let closing = Fake::start(|_| Vec::new());
    for proxy in [&refusing, &closing] {
        let url = format!("http://me:sesame@{}", proxy.address);
        let variables = [("HTTP_PROXY", &*url)];
        let ran = run(home.path(), &["-H", "db.example", "stepdown"], &variables);
        ran.fails(3, "cannot reach db.example:4001: ");
        assert!(!ran.stderr.contains("sesame"), "{}", ran.stderr);
    }
    for (url, words) in [("socks5://a:1", "only http and https are known"), ("::", "holds no URL")]
    {
        let ran = run(home.path(), &["-H", "db.example", "leader"], &[("HTTP_PROXY", url)]);
        ran.fails(2, words);
    }
}
