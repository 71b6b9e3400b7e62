//! What must hold between flags before a node starts, in rqlite's words where it has them.
//!
//! Each rule either holds or gives the sentence that follows `fatal: `. What is wrong with the
//! command line comes first, what does not exist in this version last.

use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use super::address::{Address, InvalidAddress};
use super::arguments::Values;
use super::flags::{self, Kind, Standing};
use crate::duration::Span;

/// A pair of files of which one is no use without the other.
const PAIRS: &[(&str, &str)] =
    &[("http-cert", "http-key"), ("node-cert", "node-key"), ("otlp-cert", "otlp-key")];

/// A name to check, and the switch without which nothing is there to be checked.
const NAME_CHECKS: &[(&str, &str)] = &[
    ("http-verify-common-name", "http-verify-client"),
    ("node-verify-common-name", "node-verify-client"),
];

/// What makes no sense unless `-otlp-endpoint` is given, and what `-otlp-insecure` rules out.
const OTLP_TLS: &[&str] = &["otlp-ca-cert", "otlp-cert", "otlp-key"];

/// Below this a timeout of the protocol fires because of the scheduler, not of the network.
const PROTOCOL_TIMEOUT_MIN: Duration = Duration::from_millis(5);

/// More voters than this only make every write wait for more disks.
const BOOTSTRAP_EXPECT_MAX: i64 = 99;

/// Where the node listens and what it tells others to call.
pub(super) struct Addresses {
    pub(super) http: Address,
    pub(super) http_advertised: Address,
    pub(super) raft: Address,
    pub(super) raft_advertised: Address,
}

type Checked<T> = Result<T, String>;

/// Checks all that this file checks and returns the addresses.
pub(super) fn check(values: &Values) -> Checked<Addresses> {
    check_files(values)?;
    check_pairs(values)?;
    let addresses = check_addresses(values)?;
    check_cluster(values, &addresses)?;
    check_otlp(values)?;
    check_numbers(values)?;
    check_standing(values)?;
    Ok(addresses)
}

fn check_files(values: &Values) -> Checked<()> {
    for (flag, _) in flags::all().filter(|(flag, _)| matches!(flag.1, Kind::File)) {
        let path = values.text(flag.0);
        ensure(path.is_empty() || Path::new(path).exists(), || format!("{path} does not exist"))?;
    }
    let list = values.text("extensions-path").split(',').filter(|path| !path.is_empty());
    for path in list {
        ensure(Path::new(path).exists(), || format!("extension path does not exist: {path}"))?;
    }
    Ok(())
}

fn check_pairs(values: &Values) -> Checked<()> {
    for (one, other) in PAIRS {
        ensure(values.text(one).is_empty() == values.text(other).is_empty(), || {
            format!("either both -{one} and -{other} must be set, or neither")
        })?;
    }
    for (name, switch) in NAME_CHECKS {
        ensure(values.text(name).is_empty() || values.switch(switch), || {
            format!("-{name} requires -{switch}")
        })?;
    }
    Ok(())
}

fn check_addresses(values: &Values) -> Checked<Addresses> {
    let (http, raft) = (values.text("http-addr"), values.text("raft-addr"));
    ensure(http != raft, || "HTTP and Raft addresses must differ".to_owned())?;
    let http_advertised = or(values.text("http-adv-addr"), http);
    let raft_advertised = or(values.text("raft-adv-addr"), raft);
    ensure(!has_scheme(http) && !has_scheme(http_advertised), || {
        "HTTP options should not include protocol (http:// or https://)".to_owned()
    })?;

    let http = parse(http, "HTTP bind address not valid", "HTTP bind address not valid")?;
    let invalid = "HTTP advertised HTTP address not valid";
    let http_advertised = parse(http_advertised, invalid, invalid)?;
    ensure(!http_advertised.is_unspecified(), || {
        format!(
            "advertised HTTP address is not routable ({}), specify it via -http-addr or \
             -http-adv-addr",
            http_advertised.host
        )
    })?;
    let raft = parse(raft, "raft bind address not valid", "raft bind port not valid")?;
    let raft_advertised = parse(
        raft_advertised,
        "raft advertised address not valid",
        "raft advertised port is not valid",
    )?;
    ensure(!raft_advertised.is_unspecified(), || {
        format!(
            "advertised Raft address is not routable ({}), specify it via -raft-addr or \
             -raft-adv-addr",
            raft_advertised.host
        )
    })?;
    ensure(http_advertised != raft_advertised, || {
        "advertised HTTP and Raft addresses must differ".to_owned()
    })?;
    Ok(Addresses { http, http_advertised, raft, raft_advertised })
}

fn has_scheme(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.starts_with("http://") || text.starts_with("https://")
}

fn parse(text: &str, bad_shape: &str, bad_port: &str) -> Checked<Address> {
    Address::from_str(text).map_err(|error| match error {
        InvalidAddress::Shape => bad_shape.to_owned(),
        InvalidAddress::Port => bad_port.to_owned(),
    })
}

fn check_cluster(values: &Values, addresses: &Addresses) -> Checked<()> {
    let bootstraps = values.whole("bootstrap-expect") > 0;
    let votes = !values.switch("raft-non-voter");
    let (join, mode) = (values.text("join"), values.text("disco-mode"));
    ensure(!bootstraps || votes, || "bootstrapping only applicable to voting nodes".to_owned())?;
    for text in join_list(join) {
        let address = Address::from_str(text)
            .ok()
            .filter(|address| !address.host.is_empty() && address.port > 0)
            .ok_or_else(|| format!("{text} is an invalid join address"))?;
        let is_self = address == addresses.raft || address == addresses.raft_advertised;
        ensure(bootstraps || !is_self, || {
            "node cannot join with itself unless bootstrapping".to_owned()
        })?;
    }
    ensure(join.is_empty() || bootstraps || values.text("auto-restore").is_empty(), || {
        "auto-restoring cannot be used when joining a cluster".to_owned()
    })?;
    ensure(join.is_empty() || mode.is_empty(), || {
        "disco mode cannot be used when also explicitly joining a cluster".to_owned()
    })?;
    match mode {
        "" => {}
        "consul-kv" | "etcd-kv" => {
            ensure(!bootstraps, || format!("bootstrapping not applicable when using {mode}"))?;
        }
        "dns" | "dns-srv" => ensure(bootstraps || !votes, || {
            format!("bootstrap-expect value required when using {mode} with a voting node")
        })?,
        _ => return Err("disco mode must be one of consul-kv, etcd-kv, dns, or dns-srv".to_owned()),
    }
    ensure(values.text("cdc-config").is_empty() || votes, || {
        "CDC cannot be enabled on non-voting nodes".to_owned()
    })
}

/// The addresses in a comma list, none in an empty one.
pub(super) fn join_list(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(move |_| !list.is_empty())
}

fn check_otlp(values: &Values) -> Checked<()> {
    let endpoint = values.text("otlp-endpoint");
    let mut changed = values.changed().map(|(flag, _)| flag.0);
    ensure(!endpoint.is_empty() || !changed.any(|name| name.starts_with("otlp-")), || {
        "OTLP options require -otlp-endpoint".to_owned()
    })?;
    ensure(!endpoint.contains("://"), || {
        "-otlp-endpoint must not include a protocol scheme".to_owned()
    })?;
    ensure(endpoint.is_empty() || Address::from_str(endpoint).is_ok(), || {
        "-otlp-endpoint is not a valid address".to_owned()
    })?;
    ensure(values.span("otlp-interval").if_positive().is_some(), || {
        "-otlp-interval must be greater than zero".to_owned()
    })?;
    let uses_tls = values.switch("otlp-no-verify")
        || OTLP_TLS.iter().any(|name| !values.text(name).is_empty());
    ensure(!values.switch("otlp-insecure") || !uses_tls, || {
        "-otlp-insecure cannot be used with other OTLP TLS options".to_owned()
    })
}

fn check_numbers(values: &Values) -> Checked<()> {
    for name in ["write-queue-capacity", "write-queue-batch-size", "join-attempts"] {
        ensure(values.whole(name) > 0, || format!("-{name} must be at least 1"))?;
    }
    for name in ["write-queue-timeout", "join-interval"] {
        ensure(values.span(name) >= Span::default(), || format!("-{name} must not be negative"))?;
    }
    let expected = values.whole("bootstrap-expect");
    ensure((0..=BOOTSTRAP_EXPECT_MAX).contains(&expected), || {
        format!("-bootstrap-expect must be from 0 to {BOOTSTRAP_EXPECT_MAX}")
    })?;
    for name in ["raft-heartbeat-timeout", "raft-election-timeout"] {
        let span = values.span(name);
        ensure(span == Span::default() || span.or_zero() >= PROTOCOL_TIMEOUT_MIN, || {
            format!("-{name} must be at least 5ms, or 0 for the default")
        })?;
    }
    Ok(())
}

/// The sentence for the first flag whose feature does not exist, if it was given.
fn check_standing(values: &Values) -> Checked<()> {
    for (flag, standing) in values.changed() {
        let Standing::Missing(instead) = standing else { continue };
        return Err(format!("-{} is not available in this version of quorlite: {instead}", flag.0));
    }
    Ok(())
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Checked<()> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
