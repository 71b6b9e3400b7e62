//! The command line: every command and what all of them share.
//!
//! Parsing, help, completions and the manual are all read from these definitions by `clap`. What
//! a command's own options mean is said where the command is.

use clap::{CommandFactory as _, Parser, Subcommand};

use super::failure::STATUSES;
use super::{backup, bench, connection, node, restore, sql};

/// Talks to a quorlited (or rqlited) node.
#[derive(Debug, Parser)]
#[command(name = "quorlite", version, disable_version_flag = true)]
#[command(after_help = details(), args_override_self = true)]
pub(super) struct Arguments {
    /// Say nothing but errors
    #[arg(short, long, global = true, display_order = 900)]
    pub(super) quiet: bool,
    /// Without a command: no banner, no prompts, and an exit status
    #[arg(long)]
    pub(super) batch: bool,
    /// Print the version
    #[arg(short, long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    pub(super) connection: connection::Arguments,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run SQL that reads, and print its rows
    Query(sql::Query),
    /// Run SQL that writes, and print what it changed
    Execute(sql::Execute),
    /// Run the statements of a file, one after the other
    Script(sql::Script),
    /// Print the CREATE statements of all tables, indexes, views and triggers
    Schema(sql::Schema),
    /// Print the names of all tables
    Tables(sql::Tables),
    /// Insert the rows of a CSV file into a table
    Import(sql::Import),
    /// Copy the database into a file, verified, while everything goes on
    Backup(backup::Backup),
    /// Write the database as SQL text
    Dump(backup::Dump),
    /// Replace the database by a SQLite file, or run a dump, all of it or none
    Restore(restore::Restore),
    /// Replace the database of a single node by a SQLite file
    Boot(restore::Boot),
    /// Print what the node knows about itself
    Status(node::Status),
    /// Print the nodes of the cluster
    Nodes(node::Nodes),
    /// Tell by the exit status whether the node is ready
    Ready(node::Ready),
    /// Print the leader's id and its address
    Leader(node::Leader),
    /// Remove a node from the cluster
    Remove(node::Remove),
    /// Have the leader hand over to another node
    Stepdown(node::Stepdown),
    /// Have the node cut its log
    Snapshot(node::Snapshot),
    /// Measure a server's speed
    Bench(bench::Arguments),
    /// The interactive shell; the default on a terminal
    Shell,
    /// Print the completions of a shell
    Completions(Completions),
    /// Print the manual page, for man -l -
    Man,
}

#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// bash, elvish, fish, powershell or zsh
    #[arg(hide_possible_values = true)]
    shell: clap_complete::Shell,
}

impl Completions {
    /// The completions, as that shell reads them.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut definition(), "quorlite", &mut text);
        text
    }
}

fn details() -> String {
    let lines =
        STATUSES.iter().map(|(status, meaning)| format!("  {:>2}  {meaning}\n", *status as u8));
    format!(
        "Exit status:\n{}\nThe node, the user and other options of the connection may also stand in \
         QUORLITE_HOST,\nQUORLITE_USER and ~/.config/quorlite/config. The manual: quorlite man | \
         man -l -",
        lines.collect::<String>()
    )
}

/// The whole command line as data.
pub(super) fn definition() -> clap::Command {
    Arguments::command()
}
