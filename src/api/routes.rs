//! Which function answers which request: the one table of endpoints.
//!
//! Whether a path exists, what may be asked of it, which counter counts it, who may ask and what
//! type the answer has is read from here and decided nowhere else.

use Method::{Delete, Get, Head, Post};
use Path::{Exact, Prefix};

use super::params::Params;
use super::reply::{JSON, PLAIN};
use super::{Api, analyze, backup, cluster, digest, health, load, metrics, reply, sql, status};
use crate::http::{Content, Method, Reply, Request};
use crate::stats::Stat;

/// What a caller must be allowed to do, by rqlite's names. Shown in `/status`; without a file of
/// users everybody may do everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    None,
    Execute,
    Query,
    QueryAndExecute,
    Backup,
    Load,
    Snapshot,
    Remove,
    Status,
    LeaderOps,
    Ready,
}

impl Permission {
    /// The names in a file of users; all of them are needed.
    pub(super) const fn names(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Execute => &["execute"],
            Self::Query => &["query"],
            Self::QueryAndExecute => &["query", "execute"],
            Self::Backup => &["backup"],
            Self::Load => &["load"],
            Self::Snapshot => &["snapshot"],
            Self::Remove => &["remove"],
            Self::Status => &["status"],
            Self::LeaderOps => &["leader-ops"],
            Self::Ready => &["ready"],
        }
    }
}

/// How much of a path must be the route's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// All of it.
    Exact(&'static str),
    /// The beginning: anything may follow.
    Prefix(&'static str),
}

impl Path {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Exact(text) | Self::Prefix(text) => text,
        }
    }

    fn matches(self, path: &str) -> bool {
        match self {
            Self::Exact(text) => path == text,
            Self::Prefix(text) => path.starts_with(text),
        }
    }
}

type Answer = fn(&Api, &mut Request<'_>, &Params) -> Reply;

/// One endpoint and method.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: Path,
    pub(super) permission: Permission,
    /// Counts requests; `None` where the function counts by itself.
    pub(super) stat: Option<Stat>,
    /// For answers that do not bring their own.
    pub(super) content_type: Option<&'static str>,
    pub(super) answer: Answer,
}

/// A row of the table: what is asked, who may, what answers it, what counts it, of which type.
const fn route(
    method: Method,
    path: Path,
    permission: Permission,
    answer: Answer,
    stat: Option<Stat>,
    content_type: Option<&'static str>,
) -> Route {
    Route { method, path, permission, stat, content_type, answer }
}

/// All endpoints; the busiest ones first. Loads are JSON under a type for text, as in rqlite.
#[rustfmt::skip]
pub(super) static ROUTES: &[Route] = &[
    route(Post, Prefix("/db/execute"), Permission::Execute, sql::execute, None, Some(JSON)),
    route(Get, Prefix("/db/query"), Permission::Query, sql::query, Some(Stat::Queries), Some(JSON)),
    route(Post, Prefix("/db/query"), Permission::Query, sql::query, Some(Stat::Queries), Some(JSON)),
    route(Post, Prefix("/db/request"), Permission::QueryAndExecute, sql::request, Some(Stat::Requests), Some(JSON)),
    route(Get, Prefix("/db/sql"), Permission::Query, analyze::sql, Some(Stat::Analyses), Some(JSON)),
    route(Post, Prefix("/db/sql"), Permission::Query, analyze::sql, Some(Stat::Analyses), Some(JSON)),
    route(Get, Prefix("/db/backup"), Permission::Backup, backup::backup, Some(Stat::Backups), None),
    route(Head, Prefix("/db/backup"), Permission::Backup, backup::backup, None, None),
    route(Get, Prefix("/db/digest"), Permission::Backup, digest::digest, Some(Stat::Digests), Some(JSON)),
    route(Post, Prefix("/db/load"), Permission::Load, load::load, Some(Stat::Loads), Some(PLAIN)),
    route(Post, Exact("/boot"), Permission::Load, load::boot, Some(Stat::Boots), None),
    route(Post, Exact("/snapshot"), Permission::Snapshot, cluster::snapshot, Some(Stat::UserSnapshots), None),
    route(Post, Exact("/reap"), Permission::Snapshot, cluster::reap, Some(Stat::UserReaps), Some(JSON)),
    route(Delete, Prefix("/remove"), Permission::Remove, cluster::remove, None, None),
    route(Get, Prefix("/readyz"), Permission::Ready, health::readyz, Some(Stat::Readyz), Some(PLAIN)),
    route(Head, Prefix("/readyz"), Permission::Ready, health::readyz, Some(Stat::Readyz), Some(PLAIN)),
    route(Get, Prefix("/status"), Permission::Status, status::status, Some(Stat::StatusRequests), Some(JSON)),
    route(Get, Prefix("/nodes"), Permission::Status, cluster::nodes, None, Some(JSON)),
    route(Get, Exact("/leader"), Permission::LeaderOps, cluster::leader, None, Some(JSON)),
    route(Post, Exact("/leader"), Permission::LeaderOps, cluster::step_down, None, Some(JSON)),
    route(Get, Exact("/licenses"), Permission::Status, metrics::licenses, None, Some(PLAIN)),
    route(Get, Exact("/debug/vars"), Permission::Status, metrics::vars, None, Some(JSON)),
    route(Get, Exact("/metrics"), Permission::Status, metrics::metrics, None, Some(metrics::PROMETHEUS)),
    route(Get, Prefix("/debug/pprof"), Permission::Status, no_profiles, None, None),
    route(Get, Exact("/"), Permission::None, to_console, None, Some("text/html; charset=utf-8")),
];

/// Endpoints that need a leader, and so are forwarded.
const FORWARDED: &[Path] = &[
    Prefix("/db/execute"),
    Prefix("/db/query"),
    Prefix("/db/request"),
    Prefix("/db/backup"),
    Prefix("/db/load"),
    Prefix("/remove"),
    Exact("/leader"),
];

/// Whether another node may ask this for a client of its own.
pub(super) fn needs_leader(method: &Method, path: &str) -> bool {
    *method != Method::Options && FORWARDED.iter().any(|forwarded| forwarded.matches(path))
}

/// What the table says of a request.
pub(super) enum Match {
    Route(&'static Route),
    /// The path is there, the method is not; with the type of the path's answers.
    WrongMethod(Option<&'static str>),
    Unknown,
}

/// Looks a request up.
pub(super) fn find(method: &Method, path: &str) -> Match {
    let mut on_path = ROUTES.iter().filter(|route| route.path.matches(path)).peekable();
    let Some(first) = on_path.peek() else { return Match::Unknown };
    let content_type = first.content_type;
    on_path
        .find(|route| route.method == *method)
        .map_or(Match::WrongMethod(content_type), Match::Route)
}

fn to_console(_: &Api, _: &mut Request<'_>, _: &Params) -> Reply {
    let mut reply = reply::redirect(302, "/console/".to_owned());
    reply.content = Content::Bytes(b"<a href=\"/console/\">Found</a>.\n\n".to_vec());
    reply
}

/// Profiles are a matter of Go's runtime.
fn no_profiles(_: &Api, _: &mut Request<'_>, _: &Params) -> Reply {
    reply::text(501, "this is not a Go program and has no pprof profiles: use perf or gdb")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(method: &Method, path: &str) -> u16 {
        match find(method, path) {
            Match::Route(_) => 200,
            Match::WrongMethod(_) => 405,
            Match::Unknown => 404,
        }
    }

    #[test]
    fn prefixes_take_more_and_exact_paths_do_not() {
        for (method, path, expected) in [
            (Post, "/db/execute", 200),
            (Post, "/db/executeXYZ", 200),
            (Get, "/db/execute", 405),
            (Head, "/db/query", 405),
            (Post, "/db/query/", 200),
            (Get, "/db/backup", 200),
            (Head, "/db/backup", 200),
            (Post, "/db/backup", 405),
            (Get, "/db/digest", 200),
            (Post, "/db/digest", 405),
            (Get, "/db/load", 405),
            (Post, "/boot", 200),
            (Post, "/boot/", 404),
            (Get, "/boot", 405),
            (Get, "/debug/vars", 200),
            (Get, "/debug/vars/", 404),
            (Post, "/licenses", 405),
            (Get, "/snapshot", 405),
            (Delete, "/remove", 200),
            (Get, "/remove", 405),
            (Post, "/leader", 200),
            (Delete, "/leader", 405),
            (Get, "/statusx", 200),
            (Get, "/", 200),
            (Get, "/join", 404),
            (Get, "/favicon.ico", 404),
            (Get, "/db/", 404),
        ] {
            assert_eq!(verdict(&method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn no_route_hides_another() {
        for (place, route) in ROUTES.iter().enumerate() {
            let Match::Route(found) = find(&route.method, route.path.text()) else {
                panic!("{} is not found", route.path.text());
            };
            assert!(std::ptr::eq(found, &raw const ROUTES[place]), "{}", route.path.text());
        }
    }

    #[test]
    fn statements_that_may_write_need_both_permissions() {
        let Match::Route(route) = find(&Post, "/db/request") else { panic!("no such route") };
        assert_eq!(route.permission.names(), ["query", "execute"]);
    }
}
