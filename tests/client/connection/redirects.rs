//! Redirects: the same request, to where the answer says.

use super::{leader, named, port, run};
use crate::fake::{Fake, reply};

/// A server that sends everybody on to this place.
fn redirecting(status: &'static str, location: String) -> Fake {
    Fake::start(move |_| reply(status, &[("Location", &location)], b""))
}

#[test]
fn the_same_request_goes_to_the_leader() {
    let home = tempfile::tempdir().unwrap();
    let target = named("target");
    for status in ["301 M", "302 F", "307 T", "308 P"] {
        let fake = redirecting(status, format!("http://{}/there?x", target.address));
        let node = port(&fake);
        let run = |command: &[&str]| {
            run(home.path(), &[&["-p", &node, "-u", "me:sesame"], command].concat(), &[])
        };
        assert_eq!(run(&["leader"]).expect(), "target x\n", "{status}");
        let (first, second) = (fake.heads().pop().unwrap(), target.heads().pop().unwrap());
        assert!(second.starts_with("GET /there?x HTTP/1.1\r\n"), "{second}");
        let user = "authorization: Basic bWU6c2VzYW1l\r\n";
        assert!(first.contains(user) && second.contains(user), "{first}{second}");

        assert_eq!(run(&["stepdown", "two"]).expect(), "", "{status}");
        let (first, second) = (fake.heads().pop().unwrap(), target.heads().pop().unwrap());
        assert!(second.starts_with("POST /there?x HTTP/1.1\r\n"), "{second}");
        let length = "content-length: 12\r\n";
        assert!(first.contains(length) && second.contains(length), "{first}{second}");
    }
}

#[test]
fn locations_may_be_relative() {
    let home = tempfile::tempdir().unwrap();
    for location in ["/there", "there", "//127.0.0.1:PORT/there"] {
        let fake = Fake::start(move |head| {
            if head.starts_with("GET /there ") {
                return reply("200 OK", &[], &leader("same"));
            }
            let host = head.lines().find_map(|line| line.strip_prefix("host: 127.0.0.1:"));
            let location = location.replace("PORT", host.unwrap_or_default());
            reply("301 M", &[("Location", &location)], b"")
        });
        let ran = run(home.path(), &["-p", &port(&fake), "leader"], &[]);
        assert_eq!(ran.expect(), "same x\n", "{location}");
    }
}

#[test]
fn redirects_end() {
    let home = tempfile::tempdir().unwrap();
    let looping = redirecting("301 M", "/again".to_owned());
    let ran = run(home.path(), &["-p", &port(&looping), "leader"], &[]);
    ran.fails(3, "it redirects without end");
    assert_eq!(looping.heads().len(), 22);
    let aimless = Fake::start(|_| reply("301 Moved", &[], b""));
    run(home.path(), &["-p", &port(&aimless), "leader"], &[]).fails(1, "answered 301");
    let odd = redirecting("301 M", "ftp://a/b".to_owned());
    run(home.path(), &["-p", &port(&odd), "leader"], &[]).fails(3, "neither http nor https");
    // Nothing was done, so another node may be asked, also by what changes something.
    let next = named("next");
    let list = next.address.to_string();
    let ran = run(home.path(), &["-p", &port(&looping), "-a", &list, "stepdown"], &[]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
}
