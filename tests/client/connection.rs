//! Tests of the client: where it connects, as whom, and what its exit status says.

mod failures;
mod help;
mod proxy;
mod redirects;
mod settings;
mod tls;

use std::path::Path;

use crate::fake::{Fake, reply};
use crate::program::{Ran, quorlite_alone};

/// A server that says of any node that it leads.
fn named(name: &'static str) -> Fake {
    Fake::start(move |_| reply("200 OK", &[], &leader(name)))
}

/// What such a server answers; `quorlite leader` makes `NAME x` of it.
fn leader(name: &str) -> Vec<u8> {
    format!(r#"{{"id":"{name}","api_addr":"x"}}"#).into_bytes()
}

fn port(fake: &Fake) -> String {
    fake.address.port().to_string()
}

/// Calls the program with nothing in its environment but this.
fn run(home: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let call = quorlite_alone(home, arguments);
    environment.iter().fold(call, |call, (name, value)| call.environment(name, value)).run()
}
