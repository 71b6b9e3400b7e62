//! `/db/backup`: a copy of the database while everything goes on.
//!
//! The copy stands at one index of the log, which the headers name. Its tag changes with its
//! content, so a client that keeps copies can ask whether there is anything new. A copy that
//! fails half way cuts the connection: no client can take it for a whole one.
//!
//! `noleader` has this node answer, and `freshness` with it bounds how stale the copy may be, as
//! for a read at level none.

use super::params::{self, Flag, Params};
use super::remote::{Carried, Task};
use super::{Api, reply};
use crate::http::{Content, Method, Reply, Request};
use crate::node::{BackupHead, Format};
use crate::stats::{self, Stat};

/// The index of the last entry that is in the copy.
const INDEX_HEADER: &str = "X-QUORLITE-RAFT-INDEX";
/// That entry's term.
const TERM_HEADER: &str = "X-QUORLITE-RAFT-TERM";

/// What a node answers that may have missed too much.
const STALE: &str =
    "this node's copy may be staler than freshness allows: ask the leader, or allow more";

/// Answers GET with a copy and HEAD with what is known of one.
pub(super) fn backup(api: &Api, request: &mut Request<'_>, params: &Params) -> Reply {
    let Some(format) = format(params) else { return reply::text(400, "invalid backup format") };
    if params.has(Flag::NoLeader) {
        if params.freshness.is_some_and(|freshness| api.node.is_fresh(freshness).is_err()) {
            return reply::text(503, STALE);
        }
    } else if let Some(answer) =
        api.elsewhere(request, params, Carried::AsSent(&[]), Task::Transfer)
    {
        return answer;
    }
    let compress = params.has(Flag::Compress);
    let is_head = request.method == Method::Head;
    if let Some(known) = request.header("If-None-Match") {
        match api.node.backup_head(&format, compress) {
            Ok(head) if matches_tag(known, &head.tag) => {
                return described(304, &head, Content::Empty, api);
            }
            Ok(_) => {}
            Err(error) => return api.fail(error.into(), request, params),
        }
    }
    let content_type = content_type(&format);
    let mut reply = if is_head {
        match api.node.backup_head(&format, compress) {
            Ok(head) => {
                let source = Box::new(std::io::empty());
                described(200, &head, Content::Stream { length: head.length, source }, api)
            }
            Err(error) => return api.fail(error.into(), request, params),
        }
    } else {
        match api.node.backup(&format, compress) {
            Ok(backup) => {
                stats::add(Stat::NumBackups, 1);
                api.note_backup();
                let content = Content::Stream { length: backup.length, source: backup.source };
                let head = BackupHead { id: backup.id, tag: backup.tag, length: backup.length };
                described(200, &head, content, api)
            }
            Err(error) => return api.fail(error.into(), request, params),
        }
    };
    reply.headers.push(("Content-Type", content_type.into()));
    reply
}

/// What was asked for; `None` for a vacuumed copy in another format than a plain file.
fn format(params: &Params) -> Option<Format> {
    match (params.format, params.has(Flag::Vacuum)) {
        (params::Format::Binary, false) => Some(Format::Binary),
        (params::Format::Binary, true) => Some(Format::Vacuum),
        (params::Format::Delete, false) => Some(Format::Delete),
        (params::Format::Sql, false) => Some(Format::Sql { tables: params.tables.clone() }),
        (params::Format::Delete | params::Format::Sql, true) => None,
    }
}

fn content_type(format: &Format) -> &'static str {
    match format {
        Format::Binary | Format::Delete | Format::Vacuum => "application/octet-stream",
        Format::Sql { .. } => "application/sql",
    }
}

fn described(status: u16, head: &BackupHead, content: Content, api: &Api) -> Reply {
    let headers = vec![
        ("ETag", format!("\"{}\"", head.tag).into()),
        (INDEX_HEADER, head.id.index.to_string().into()),
        (TERM_HEADER, head.id.term.to_string().into()),
    ];
    api.served(Reply { status, headers, content })
}

/// Whether an `If-None-Match` names this tag (RFC 9110, section 13.1.2: compared weakly).
fn matches_tag(header: &str, tag: &str) -> bool {
    header.split(',').map(str::trim).any(|known| {
        let quoted = known.strip_prefix("W/").unwrap_or(known);
        let bare = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        known == "*" || bare == Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_in_a_list() {
        for header in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*"] {
            assert!(matches_tag(header, "a"), "{header}");
        }
        for header in ["", "a", "\"ab\"", "\"b\""] {
            assert!(!matches_tag(header, "a"), "{header}");
        }
    }

    #[test]
    fn only_a_plain_file_can_be_vacuumed() {
        let parse = |query| format(&Params::parse(query).unwrap());
        assert_eq!(parse(""), Some(Format::Binary));
        assert_eq!(parse("vacuum&fmt=BINARY"), Some(Format::Vacuum));
        assert_eq!(parse("fmt=Delete"), Some(Format::Delete));
        let tables = vec!["a".to_owned()];
        assert_eq!(parse("fmt=sql&tables=a"), Some(Format::Sql { tables }));
        assert_eq!(parse("vacuum&fmt=sql"), None);
        assert_eq!(parse("vacuum&fmt=delete"), None);
    }
}
