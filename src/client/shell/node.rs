//! Commands about nodes and the cluster.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::json;

use super::tree::{self, Members};
use super::{Outcome, Shell, Trouble, explain, usage};
use crate::client::connection::{Client, Scheme, Settings, read_url};
use crate::client::failure::{Failure, Status};

/// What `.sysdump` asks every node.
const SYSDUMP_TARGETS: [&str; 4] = ["status?pretty", "nodes?pretty", "readyz", "debug/vars"];

/// What stands above every answer in a dump.
const SYSDUMP_RULE: &str = "=========================================";

pub(super) fn status(shell: &mut Shell<'_>, _: &str) -> Outcome {
    print(shell, "status")
}

pub(super) fn expvar(shell: &mut Shell<'_>, _: &str) -> Outcome {
    print(shell, "debug/vars")
}

pub(super) fn nodes(shell: &mut Shell<'_>, argument: &str) -> Outcome {
    print(shell, if argument.eq_ignore_ascii_case("all") { "nodes?nonvoters" } else { "nodes" })
}

fn print(shell: &mut Shell<'_>, target: &str) -> Outcome {
    let bytes = shell.get(target)?.bytes()?;
    let members: Members<'_> = serde_json::from_slice(&bytes).map_err(odd)?;
    Ok(tree::write(&mut shell.session.output, &members)?)
}

pub(super) fn leader(shell: &mut Shell<'_>, _: &str) -> Outcome {
    let bytes = shell.get("nodes?nonvoters")?.bytes()?;
    let mut nodes: Members<'_> = serde_json::from_slice(&bytes).map_err(odd)?;
    nodes.retain(|_, node| {
        let members: Option<Members<'_>> = serde_json::from_str(node.get()).ok();
        members.is_some_and(|all| all.get("leader").is_some_and(|is| is.get() == "true"))
    });
    if nodes.is_empty() {
        return Err(Failure::new(Status::NotReady, "no leader found").into());
    }
    Ok(tree::write(&mut shell.session.output, &nodes)?)
}

pub(super) fn ready(shell: &mut Shell<'_>, _: &str) -> Outcome {
    let answer = shell.session.client.get("readyz")?;
    match answer.status {
        200 => shell.say("ready"),
        401 => Err(Failure::new(Status::Unauthorised, "unauthorized").into()),
        _ => shell.say("not ready"),
    }
}

pub(super) fn extensions(shell: &mut Shell<'_>, _: &str) -> Outcome {
    let bytes = shell.get("status?key=extensions")?.bytes()?;
    let members: Members<'_> = serde_json::from_slice(&bytes).map_err(odd)?;
    let Some(names) = members.get("names") else { return Ok(()) };
    // A server without any may give null.
    let names: Option<Vec<String>> = serde_json::from_str(names.get()).map_err(odd)?;
    for name in names.unwrap_or_default() {
        shell.say(&name)?;
    }
    Ok(())
}

pub(super) fn remove(shell: &mut Shell<'_>, argument: &str) -> Outcome {
    if argument.is_empty() {
        return Err(usage("please specify the ID of the node to remove"));
    }
    let json = json!({ "id": argument }).to_string();
    shell.order("DELETE", "remove", json.as_bytes())?.worded(explain)?.bytes()?;
    Ok(())
}

pub(super) fn snapshot(shell: &mut Shell<'_>, argument: &str) -> Outcome {
    let target = match argument {
        "" => "snapshot".to_owned(),
        count => {
            let count: u64 = count
                .parse()
                .map_err(|_| usage(format!("invalid trailing logs value: {count}")))?;
            format!("snapshot?trailing_logs={count}")
        }
    };
    shell.order("POST", &target, b"")?.worded(explain)?.bytes()?;
    Ok(())
}

pub(super) fn reap(shell: &mut Shell<'_>, _: &str) -> Outcome {
    let bytes = shell.order("POST", "reap", b"")?.worded(explain)?.bytes()?;
    let reaped: Members<'_> = serde_json::from_slice(&bytes).map_err(odd)?;
    let count = |name| reaped.get(name).map_or("0", |count| count.get());
    let (snapshots, wals) = (count("snapshots_reaped"), count("wals_checkpointed"));
    let text = format!("snapshots reaped: {snapshots}, WALs checkpointed: {wals}");
    shell.say(&text)
}

pub(super) fn stepdown(shell: &mut Shell<'_>, argument: &str) -> Outcome {
    let json =
        if argument.is_empty() { String::new() } else { json!({ "id": argument }).to_string() };
    let answer = shell.order("POST", "leader?wait", json.as_bytes())?;
    answer.worded(|line, _| format!("server responded with {line}"))?.bytes()?;
    Ok(())
}

pub(super) fn sysdump(shell: &mut Shell<'_>, argument: &str) -> Outcome {
    if argument.is_empty() {
        return Err(usage("please specify an output file for the sysdump"));
    }
    let bytes = shell.get("nodes?nonvoters")?.bytes()?;
    let nodes: Members<'_> = serde_json::from_slice(&bytes).map_err(odd)?;
    let path = Path::new(argument);
    let failed = |error: &io::Error| Failure::local(path.display(), error);
    let mut file = BufWriter::new(File::create(path).map_err(|error| failed(&error))?);
    for node in nodes.values() {
        let members: Members<'_> = serde_json::from_str(node.get()).map_err(odd)?;
        // A node that nobody can reach has told nobody its address.
        let Some(url) = members.get("api_addr") else { continue };
        let url: String = serde_json::from_str(url.get()).map_err(odd)?;
        let settings = match settings_of(shell.session.client.settings(), &url) {
            Ok(settings) => settings,
            Err(why) => {
                writeln!(file, "\n{SYSDUMP_RULE}\nURL: {url}\nStatus: not asked: {why}\n")
                    .map_err(|error| failed(&error))?;
                continue;
            }
        };
        let mut client = Client::new(settings)?;
        for target in SYSDUMP_TARGETS {
            dump(&mut client, &url, target, &mut file).map_err(|error| failed(&error))?;
        }
    }
    Ok(file.flush().map_err(|error| failed(&error))?)
}

/// The settings in use, for the node at this URL alone; or why it is not asked.
fn settings_of(used: &Settings, url: &str) -> Result<Settings, String> {
    let (scheme, node) = place(used.scheme, url)?;
    Ok(Settings { scheme, nodes: vec![node], ..used.clone() })
}

/// Where a node is that names itself like this. Who asks others by https, with a password perhaps,
/// does not ask this one in clear.
fn place(used: Scheme, url: &str) -> Result<(Scheme, String), String> {
    let (scheme, node) = read_url(url)?;
    match (used, scheme.unwrap_or(used)) {
        (Scheme::Https, Scheme::Http) => {
            Err("its address is http, and what is asked by https is not asked in clear".to_owned())
        }
        (_, scheme) => Ok((scheme, node)),
    }
}

/// Writes one answer, or why there is none.
fn dump(client: &mut Client, url: &str, target: &str, file: &mut dyn Write) -> io::Result<()> {
    let prefix = client.settings().prefix.clone();
    writeln!(file, "\n{SYSDUMP_RULE}\nURL: {}{prefix}{target}", url.trim_end_matches('/'))?;
    let mut answer = match client.get(target) {
        Ok(answer) => answer,
        Err(failure) => return writeln!(file, "Status: {failure}\n"),
    };
    writeln!(file, "Status: {}\n", answer.line())?;
    if answer.status == 200 {
        match io::copy(&mut answer.reader(), file) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Err(error),
            Err(error) => write!(file, "\n{error}")?,
        }
    }
    writeln!(file)
}

fn odd(_: serde_json::Error) -> Trouble {
    let text = "the answer is not what a server of this API gives";
    Failure::new(Status::Refused, text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_asked_by_https_is_asked_in_clear() {
        let (http, https) = (Scheme::Http, Scheme::Https);
        for (used, url, scheme) in [
            (http, "http://a:1/", http),
            (http, "https://a:1", https),
            (https, "https://a:1", https),
            (https, "//a:1", https),
        ] {
            assert_eq!(place(used, url), Ok((scheme, "a:1".to_owned())), "{url}");
        }
        let refused = place(https, "http://a:1").unwrap_err();
        assert!(refused.contains("not asked in clear"), "{refused}");
        assert!(place(https, "http://u:p@a:1").is_err() && place(http, "a:1").is_err());
    }
}
