//! What is done about a leader that cannot be reached, loses the answer, or does not lead.

use std::cell::Cell;
use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use quorlite::api::forward::{Fate, Forwarder, Lookup, Outgoing, Passed, Terms, Upload};
use quorlite::http::Method;

use crate::support::{Fake, answered, execute, fate, leader_at, terms, why};

/// An address where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the test can go on");
    listener.local_addr().expect("the test can go on").to_string()
}

#[test]
fn a_refused_connection_is_followed_by_a_look_for_another_leader() {
    let fake = Fake::start(|_, talk| {
        talk.request();
        talk.answer("200 OK", "", "done");
    });
    let dead = nobody();
    let looks = Cell::new(0);
    let find = || {
        looks.set(looks.get() + 1);
        // The old leader is believed for a while.
        Lookup::There(if looks.get() < 5 { leader_at(&dead) } else { fake.leader() })
    };
    let (status, _, body) = answered(execute(&Forwarder::default(), "[\"x\"]", &find));
    assert_eq!((status, body.as_str()), (200, "done"));
    assert_eq!(fake.seen().len(), 1);
}

#[test]
fn a_leader_that_stays_away_is_tried_twice_and_nothing_was_done() {
    let dead = nobody();
    let find = || Lookup::There(leader_at(&dead));
    let passed = execute(&Forwarder::default(), "[\"x\"]", &find);
    assert_eq!(fate(&passed), Some(Fate::Unsent), "{}", why(passed));
    let passed = execute(&Forwarder::default(), "[\"x\"]", &|| Lookup::Nobody);
    assert!(matches!(passed, Passed::NoLeader));
}

#[test]
fn an_answer_that_is_lost_is_an_unknown_outcome_and_never_asked_for_again() {
    // Cut before the first byte, within the head, within a short body, and by a reset.
    let endings: [&str; 3] =
        ["", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"];
    for ending in endings {
        let fake = Fake::start(move |_, talk| {
            talk.request();
            talk.say(ending);
        });
        let terms = Terms { retries: 5, ..terms(Duration::from_secs(5)) };
        let outgoing =
            Outgoing { method: &Method::Post, path: "/db/execute", query: "", headers: &[] };
        let find = || Lookup::There(fake.leader());
        let upload = Upload::Bytes(b"[\"x\"]", None);
        let passed = Forwarder::default().pass_on(outgoing, upload, &terms, &find);
        assert_eq!(fate(&passed), Some(Fate::Unknown), "{ending:?}: {}", why(passed));
        sleep(Duration::from_millis(50));
        assert_eq!(fake.seen().len(), 1, "{ending:?}");
    }
}

#[test]
fn silence_ends_with_the_clients_timeout_as_an_unknown_outcome() {
    let fake = Fake::start(|_, talk| {
        talk.request();
        sleep(Duration::from_secs(5));
    });
    let began = Instant::now();
    let outgoing = Outgoing { method: &Method::Post, path: "/x", query: "", headers: &[] };
    let find = || Lookup::There(fake.leader());
    let terms = Terms { retries: 3, ..terms(Duration::from_millis(300)) };
    let upload = Upload::Bytes(b"x", None);
    let passed = Forwarder::default().pass_on(outgoing, upload, &terms, &find);
    assert_eq!(fate(&passed), Some(Fate::Unknown));
    assert!(why(passed).ends_with("it did not answer in time"));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(fake.seen().len(), 1);
}

#[test]
fn waiting_ends_when_nobody_wants_the_answer() {
    let fake = Fake::start(|_, talk| {
        talk.request();
        sleep(Duration::from_secs(9));
    });
    let began = Instant::now();
    let outgoing = Outgoing { method: &Method::Post, path: "/x", query: "", headers: &[] };
    let watch: quorlite::api::forward::Watch =
        Arc::new(|_: &str| Err("the client has gone".to_owned()));
    let terms = Terms { is_transfer: true, watch: Some(watch), ..terms(Duration::from_secs(5)) };
    let find = || Lookup::There(fake.leader());
    let passed = Forwarder::default().pass_on(outgoing, Upload::Bytes(b"x", None), &terms, &find);
    assert!(why(passed).ends_with("the client has gone"));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn a_node_that_does_not_lead_is_believed_and_the_next_one_is_asked() {
    let wrong = Fake::start(|_, talk| {
        while talk.request().is_some() {
            talk.refuse();
        }
    });
    let right = Fake::start(|_, talk| {
        talk.request();
        talk.answer("200 OK", "", "done");
    });
    let looks = Cell::new(0);
    let find = || {
        looks.set(looks.get() + 1);
        Lookup::There(if looks.get() == 1 { wrong.leader() } else { right.leader() })
    };
    let (_, _, body) = answered(execute(&Forwarder::default(), "[\"x\"]", &find));
    assert_eq!(body, "done");
    assert_eq!((wrong.seen().len(), right.seen().len()), (1, 1));

    // Believed to lead all the same, it is asked once more and no more.
    let passed = execute(&Forwarder::default(), "[\"x\"]", &|| Lookup::There(wrong.leader()));
    assert_eq!(fate(&passed), Some(Fate::Unsent));
    assert_eq!(wrong.seen().len(), 3);
}

#[test]
fn a_node_that_becomes_the_leader_meanwhile_answers_by_itself() {
    let dead = nobody();
    let looks = Cell::new(0);
    let find = || {
        looks.set(looks.get() + 1);
        if looks.get() == 1 { Lookup::There(leader_at(&dead)) } else { Lookup::Here }
    };
    assert!(matches!(execute(&Forwarder::default(), "[\"x\"]", &find), Passed::Here));
}

#[test]
fn a_failed_connection_is_not_used_again_and_a_good_one_is() {
    let fake = Fake::start(|number, talk| {
        while let Some(seen) = talk.request() {
            if number == 0 && seen.body == b"stall" {
                // Late bytes of this answer must never reach the next request.
                sleep(Duration::from_millis(400));
                talk.answer("200 OK", "", "late");
                return;
            }
            talk.answer("200 OK", "", &format!("{number}"));
        }
    });
    let forwarder = Forwarder::default();
    let find = || Lookup::There(fake.leader());
    let ask = |body: &str, timeout| {
        let outgoing = Outgoing { method: &Method::Post, path: "/x", query: "", headers: &[] };
        let upload = Upload::Bytes(body.as_bytes(), None);
        forwarder.pass_on(outgoing, upload, &terms(Duration::from_millis(timeout)), &find)
    };
    assert_eq!(answered(ask("a", 2000)).2, "0");
    assert_eq!(answered(ask("b", 2000)).2, "0");
    assert_eq!(fate(&ask("stall", 150)), Some(Fate::Unknown));
    assert_eq!(answered(ask("c", 2000)).2, "1");
    sleep(Duration::from_millis(400));
    assert_eq!(answered(ask("d", 2000)).2, "1");
}

#[test]
fn a_connection_that_the_leader_closed_at_rest_costs_nothing() {
    let fake = Fake::start(|_, talk| {
        talk.request();
        talk.answer("200 OK", "", "once");
    });
    let forwarder = Forwarder::default();
    for _ in 0..5 {
        let (_, _, body) = answered(execute(&forwarder, "[]", &|| Lookup::There(fake.leader())));
        assert_eq!(body, "once");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_answer_without_a_length_is_not_believed() {
    let fake = Fake::start(|_, talk| {
        talk.request();
        talk.say("HTTP/1.1 200 OK\r\n\r\n{\"results\":[]");
    });
    let passed = execute(&Forwarder::default(), "[]", &|| Lookup::There(fake.leader()));
    assert_eq!(fate(&passed), Some(Fate::Unknown), "{}", why(passed));
}

/// A client's body that fails half way.
struct Broken(usize);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let count = self.0.min(buffer.len());
        self.0 -= count;
        Ok(count)
    }
}

#[test]
fn an_upload_that_the_client_cuts_is_cut_for_the_leader_too() {
    let (sender, cut) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let fake = Fake::start(move |_, talk| {
        talk.head();
        talk.say("HTTP/1.1 100 Continue\r\n\r\n");
        let end = loop {
            match talk.chunk() {
                Ok(Some(_)) => {}
                Ok(None) => break "whole",
                Err(_) => break "cut",
            }
        };
        sender.lock().unwrap().send(end).unwrap();
    });
    let outgoing = Outgoing { method: &Method::Post, path: "/db/load", query: "", headers: &[] };
    let terms = Terms { retries: 9, is_transfer: true, ..terms(Duration::from_secs(5)) };
    let find = || Lookup::There(fake.leader());
    let mut broken = Broken(300_000);
    let passed = Forwarder::default().pass_on(outgoing, Upload::Stream(&mut broken), &terms, &find);
    assert_eq!(fate(&passed), Some(Fate::CutByClient), "{}", why(passed));
    assert_eq!(cut.recv_timeout(Duration::from_secs(5)), Ok("cut"));
    assert_eq!(fake.seen().len(), 1);
}

#[test]
fn a_stream_is_untouched_until_the_leader_asks_for_it_and_can_be_sent_elsewhere() {
    let wrong = Fake::start(|_, talk| {
        talk.head();
        talk.refuse();
    });
    let right = Fake::start(|_, talk| {
        talk.head();
        talk.say("HTTP/1.1 100 Continue\r\n\r\n");
        let mut bytes = 0;
        while let Ok(Some(count)) = talk.chunk() {
            bytes += count;
        }
        talk.answer("200 OK", "", &bytes.to_string());
    });
    let looks = Cell::new(0);
    let find = || {
        looks.set(looks.get() + 1);
        Lookup::There(if looks.get() == 1 { wrong.leader() } else { right.leader() })
    };
    let outgoing = Outgoing { method: &Method::Post, path: "/db/load", query: "", headers: &[] };
    let terms = Terms { is_transfer: true, ..terms(Duration::from_secs(5)) };
    let body = vec![b'x'; 1_000_000];
    let mut stream = body.as_slice();
    let passed = Forwarder::default().pass_on(outgoing, Upload::Stream(&mut stream), &terms, &find);
    assert_eq!(answered(passed).2, "1000000");

    // Refused only after some of it was taken: nothing was done, and nothing can be sent again.
    let late = Fake::start(|_, talk| {
        talk.head();
        talk.say("HTTP/1.1 100 Continue\r\n\r\n");
        assert!(matches!(talk.chunk(), Ok(Some(_))));
        talk.refuse();
        while let Ok(Some(_)) = talk.chunk() {}
    });
    let mut stream = body.as_slice();
    let find = || Lookup::There(late.leader());
    let passed = Forwarder::default().pass_on(outgoing, Upload::Stream(&mut stream), &terms, &find);
    assert_eq!(fate(&passed), Some(Fate::Undone), "{}", why(passed));
    assert_eq!(late.seen().len(), 1);
}

#[test]
fn a_connection_that_breaks_within_a_request_has_done_nothing() {
    // Larger than what the kernel takes for a leader that does not read.
    let body = "x".repeat(16 << 20);
    let broken = Fake::start(|_, talk| {
        talk.head();
    });
    let right = Fake::start(|_, talk| {
        let seen = talk.request().expect("the whole request");
        talk.answer("200 OK", "", &seen.body.len().to_string());
    });
    let looks = Cell::new(0);
    let find = || {
        looks.set(looks.get() + 1);
        Lookup::There(if looks.get() == 1 { broken.leader() } else { right.leader() })
    };
    let (_, _, length) = answered(execute(&Forwarder::default(), &body, &find));
    assert_eq!(length, body.len().to_string());

    // The same with a body that is streamed, and so used up.
    let broken = Fake::start(|_, talk| {
        talk.head();
        talk.say("HTTP/1.1 100 Continue\r\n\r\n");
        assert!(matches!(talk.chunk(), Ok(Some(_))));
    });
    let outgoing = Outgoing { method: &Method::Post, path: "/db/load", query: "", headers: &[] };
    let terms = Terms { is_transfer: true, ..terms(Duration::from_secs(5)) };
    let mut stream = body.as_bytes();
    let find = || Lookup::There(broken.leader());
    let passed = Forwarder::default().pass_on(outgoing, Upload::Stream(&mut stream), &terms, &find);
    assert_eq!(fate(&passed), Some(Fate::Undone), "{}", why(passed));
    assert_eq!(broken.seen().len(), 1);
}

#[test]
fn an_upload_whose_answer_is_lost_is_an_unknown_outcome() {
    let fake = Fake::start(|_, talk| {
        talk.head();
        talk.say("HTTP/1.1 100 Continue\r\n\r\n");
        while let Ok(Some(_)) = talk.chunk() {}
    });
    let outgoing = Outgoing { method: &Method::Post, path: "/db/load", query: "", headers: &[] };
    let terms = Terms { is_transfer: true, retries: 4, ..terms(Duration::from_secs(5)) };
    let body = vec![b'x'; 500_000];
    let mut stream = body.as_slice();
    let find = || Lookup::There(fake.leader());
    let passed = Forwarder::default().pass_on(outgoing, Upload::Stream(&mut stream), &terms, &find);
    assert_eq!(fate(&passed), Some(Fate::Unknown), "{}", why(passed));
    assert_eq!(fake.seen().len(), 1);
}
