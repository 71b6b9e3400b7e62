//! `nodes` and `leader`: who is in the cluster.

use std::io::Write;

use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use super::{fetch, raw};
use crate::client::Session;
use crate::client::failure::{Failure, Status};

#[derive(Debug, clap::Args)]
pub(in crate::client) struct Nodes {
    /// Also list nodes that do not vote
    #[arg(long)]
    all: bool,
    /// table or json
    #[arg(
        short,
        long,
        default_value = "table",
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

#[derive(Debug, clap::Args)]
pub(in crate::client) struct Leader {}

impl Nodes {
    pub(in crate::client) fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let target = if self.all { "nodes?ver=2&nonvoters" } else { "nodes?ver=2" };
        let nodes = fetch(&mut session.client, target)?["nodes"].take();
        let Value::Array(nodes) = nodes else {
            return Err(Failure::refused("this server does not list its nodes"));
        };
        let output = &mut session.output;
        match self.format {
            Format::Json => writeln!(output, "{:#}", Value::Array(nodes))?,
            Format::Table => write_table(output, &nodes)?,
        }
        Ok(())
    }
}

impl Leader {
    pub(in crate::client) fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let leader = fetch(&mut session.client, "leader")?;
        let Some(id) = leader["id"].as_str() else {
            return Err(Failure::new(Status::NotReady, "the server does not say who leads"));
        };
        Ok(writeln!(session.output, "{id} {}", raw_or_dash(&leader["api_addr"]))?)
    }
}

fn write_table(output: &mut dyn Write, nodes: &[Value]) -> Result<(), Failure> {
    let mut rows = vec![["id", "api", "raft", "role", "state", "version"].map(str::to_owned)];
    rows.extend(nodes.iter().map(row));
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width - cell.width() + 2));
        }
        writeln!(output, "{}", line.trim_end())?;
    }
    Ok(())
}

fn row(node: &Value) -> [String; 6] {
    let is = |name: &str| node[name].as_bool().unwrap_or_default();
    let role = match (is("leader"), is("voter")) {
        (true, _) => "leader",
        (false, true) => "voter",
        (false, false) => "non-voter",
    };
    let state = if is("reachable") { "reachable" } else { "unreachable" };
    [
        raw_or_dash(&node["id"]),
        raw_or_dash(&node["api_addr"]),
        raw_or_dash(&node["addr"]),
        role.to_owned(),
        state.to_owned(),
        raw_or_dash(&node["version"]),
    ]
}

/// What is missing or empty shows as a dash, so that every line has as many words.
fn raw_or_dash(value: &Value) -> String {
    match raw(value) {
        text if value.is_null() || text.is_empty() => "-".to_owned(),
        text => text,
    }
}
