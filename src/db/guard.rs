//! What SQL of users may do: the authorizer's policy, as data.
//!
//! SQLite asks about every action while it compiles a statement, in triggers and views as well.
//! A write must leave nothing behind on this node's connection that the log does not replay, and
//! no SQL may touch a file. This file must never look at SQL text: comments and quotes are
//! SQLite's to read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization, TransactionOperation};
use rusqlite::{Connection, Result};

/// Which kind of connection asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// The write connection, applying entries.
    Write,
    /// A read-only connection.
    Read,
}

/// Why a statement is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Refusal {
    Attach = 1,
    Temporary,
    Pragma,
    WritableSchema,
    Function,
    Internal,
    NodeLocal,
    Statistics,
    TransactionControl,
    WriteInQuery,
    Unknown,
}

impl Refusal {
    const ALL: [Self; 11] = [
        Self::Attach,
        Self::Temporary,
        Self::Pragma,
        Self::WritableSchema,
        Self::Function,
        Self::Internal,
        Self::NodeLocal,
        Self::Statistics,
        Self::TransactionControl,
        Self::WriteInQuery,
        Self::Unknown,
    ];

    /// What the client is told.
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::Attach => "not authorized: ATTACH, DETACH and VACUUM INTO are not available",
            Self::Temporary => "not authorized: temporary objects would exist on one node only",
            Self::Pragma => "disallowed pragma",
            Self::WritableSchema => {
                "disallowed pragma: writable_schema (a dump with virtual tables made by the \
                 sqlite3 shell cannot be loaded; load the SQLite file instead)"
            }
            Self::Function => "not authorized: this function is not available",
            Self::Internal => "not authorized: sqlite_dbpage is not available",
            Self::NodeLocal => "not authorized: a write cannot use what differs between nodes",
            Self::Statistics => "not authorized: a trigger cannot change sqlite_stat tables",
            Self::TransactionControl => {
                "not authorized: COMMIT and ROLLBACK are not available here"
            }
            Self::WriteInQuery => "attempt to change database via query operation",
            Self::Unknown => "not authorized",
        }
    }
}

/// How a PRAGMA may be used; those not in the list may not be used at all.
#[derive(Clone, Copy)]
enum Use {
    /// Tells something; its argument names what about.
    Ask,
    /// Tells a setting when it has no argument; may not set it.
    Show,
    /// A setting that is part of the file or of the replicated state: a write may set it.
    Set,
    /// Does something; only a write may.
    Act,
}

const PRAGMAS: &[(&str, Use)] = &[
    ("application_id", Use::Set),
    ("auto_vacuum", Use::Show),
    ("automatic_index", Use::Show),
    ("busy_timeout", Use::Show),
    ("cache_size", Use::Show),
    ("cache_spill", Use::Show),
    ("cell_size_check", Use::Show),
    ("checkpoint_fullfsync", Use::Show),
    ("collation_list", Use::Show),
    ("compile_options", Use::Show),
    ("data_version", Use::Show),
    ("database_list", Use::Show),
    ("defer_foreign_keys", Use::Set),
    ("encoding", Use::Show),
    ("foreign_key_check", Use::Ask),
    ("foreign_key_list", Use::Ask),
    ("foreign_keys", Use::Set),
    ("freelist_count", Use::Show),
    ("fullfsync", Use::Show),
    ("function_list", Use::Show),
    ("ignore_check_constraints", Use::Show),
    ("incremental_vacuum", Use::Act),
    ("index_info", Use::Ask),
    ("index_list", Use::Ask),
    ("index_xinfo", Use::Ask),
    ("integrity_check", Use::Ask),
    ("journal_mode", Use::Show),
    ("journal_size_limit", Use::Show),
    ("legacy_alter_table", Use::Show),
    ("locking_mode", Use::Show),
    ("mmap_size", Use::Show),
    ("module_list", Use::Show),
    ("optimize", Use::Act),
    ("page_count", Use::Show),
    ("page_size", Use::Show),
    ("pragma_list", Use::Show),
    ("query_only", Use::Show),
    ("quick_check", Use::Ask),
    ("read_uncommitted", Use::Show),
    ("recursive_triggers", Use::Show),
    ("reverse_unordered_selects", Use::Show),
    ("schema_version", Use::Show),
    ("secure_delete", Use::Show),
    ("synchronous", Use::Show),
    ("table_info", Use::Ask),
    ("table_list", Use::Ask),
    ("table_xinfo", Use::Ask),
    ("temp_store", Use::Show),
    ("threads", Use::Show),
    ("trusted_schema", Use::Show),
    ("user_version", Use::Set),
    ("wal_autocheckpoint", Use::Show),
    ("writable_schema", Use::Show),
];

/// Functions that load code or hand out pointers.
const FUNCTIONS_REFUSED: &[&str] = &["load_extension", "fts3_tokenizer"];

/// Tables made up by SQLite whose rows are about this node: a write may not copy them.
const TABLES_OF_THIS_NODE: &[&str] = &[
    "dbstat",
    "pragma_cache_size",
    "pragma_compile_options",
    "pragma_data_version",
    "pragma_database_list",
    "pragma_freelist_count",
    "pragma_page_count",
    "pragma_schema_version",
];

/// The part of a policy that changes while statements run, shared with the authorizer.
#[derive(Default)]
pub(super) struct Guard {
    trusted: AtomicBool,
    grouped: AtomicBool,
    running: AtomicBool,
    virtual_tables: AtomicBool,
    refusal: AtomicU8,
}

impl Guard {
    /// Puts the connection under guard.
    ///
    /// # Errors
    /// Only for want of memory.
    pub(super) fn install(connection: &mut Connection, access: Access) -> Result<Arc<Self>> {
        let guard = Arc::new(Self::default());
        let asked = Arc::clone(&guard);
        connection.authorizer(Some(move |context: AuthContext<'_>| {
            match asked.judge(access, &context) {
                Ok(()) => Authorization::Allow,
                Err(refusal) => {
                    asked.refusal.store(refusal as u8, Ordering::Relaxed);
                    Authorization::Deny
                }
            }
        }))?;
        Ok(guard)
    }

    /// Lets everything pass, for the server's own statements.
    pub(super) fn trust(&self, trusted: bool) {
        self.trusted.store(trusted, Ordering::Relaxed);
    }

    /// Whether the statements are those of a request with `transaction`, which we end ourselves.
    pub(super) fn group(&self, grouped: bool) {
        self.grouped.store(grouped, Ordering::Relaxed);
    }

    /// Whether a statement is running, rather than being compiled. VACUUM attaches its copy
    /// while it runs; a user's ATTACH asks while it is compiled.
    pub(super) fn run(&self, running: bool) {
        self.running.store(running, Ordering::Relaxed);
    }

    /// Why the last statement was refused, once.
    pub(super) fn take_refusal(&self) -> Option<Refusal> {
        let code = self.refusal.swap(0, Ordering::Relaxed);
        Refusal::ALL.into_iter().find(|&refusal| refusal as u8 == code)
    }

    /// Whether a virtual table was made on this connection.
    pub(super) fn made_virtual_table(&self) -> bool {
        self.virtual_tables.load(Ordering::Relaxed)
    }

    fn judge(&self, access: Access, context: &AuthContext<'_>) -> Result<(), Refusal> {
        use AuthAction as A;
        if self.trusted.load(Ordering::Relaxed) {
            return Ok(());
        }
        // CREATE TABLE temp.x shows only as an insert into the temporary schema. (An ALTER TABLE
        // of any table updates that one too.)
        let adds = matches!(context.action, A::Insert { .. } | A::Delete { .. });
        if adds && context.database_name == Some("temp") {
            return Err(Refusal::Temporary);
        }
        match context.action {
            A::Attach { filename: "" } if self.running.load(Ordering::Relaxed) => Ok(()),
            A::Attach { .. } | A::Detach { .. } => Err(Refusal::Attach),
            A::CreateTempIndex { .. }
            | A::CreateTempTable { .. }
            | A::CreateTempTrigger { .. }
            | A::CreateTempView { .. }
            | A::DropTempIndex { .. }
            | A::DropTempTable { .. }
            | A::DropTempTrigger { .. }
            | A::DropTempView { .. } => Err(Refusal::Temporary),
            A::Pragma { pragma_name, pragma_value } => {
                judge_pragma(access, pragma_name, pragma_value.is_some())
            }
            A::Function { function_name } if is_in(FUNCTIONS_REFUSED, function_name) => {
                Err(Refusal::Function)
            }
            A::Transaction { operation } => self.judge_transaction(access, operation),
            A::Savepoint { .. } if access == Access::Read => Err(Refusal::WriteInQuery),
            A::Insert { table_name }
            | A::Delete { table_name }
            | A::Update { table_name, .. }
            | A::Read { table_name, .. } => judge_table(access, context, table_name),
            A::CreateVtable { .. } => {
                self.virtual_tables.store(true, Ordering::Relaxed);
                Ok(())
            }
            A::Unknown { code: rusqlite::ffi::SQLITE_ATTACH, .. } => Err(Refusal::Attach),
            A::Unknown { .. } => Err(Refusal::Unknown),
            _ => Ok(()),
        }
    }

    fn judge_transaction(
        &self,
        access: Access,
        operation: TransactionOperation,
    ) -> Result<(), Refusal> {
        let begins = operation == TransactionOperation::Begin;
        match access {
            Access::Read => Err(Refusal::WriteInQuery),
            Access::Write if !begins && self.grouped.load(Ordering::Relaxed) => {
                Err(Refusal::TransactionControl)
            }
            Access::Write => Ok(()),
        }
    }
}

fn judge_pragma(access: Access, name: &str, has_argument: bool) -> Result<(), Refusal> {
    let found = PRAGMAS.iter().find(|(pragma, _)| name.eq_ignore_ascii_case(pragma));
    let allowed = match (found.map(|&(_, used)| used), access) {
        (Some(Use::Ask), _) | (Some(Use::Set | Use::Act), Access::Write) => true,
        (Some(Use::Show), _) | (Some(Use::Set), Access::Read) => !has_argument,
        (Some(Use::Act), Access::Read) | (None, _) => false,
    };
    if allowed {
        return Ok(());
    }
    Err(match (access, found) {
        (Access::Read, Some(_)) => Refusal::WriteInQuery,
        _ if name.eq_ignore_ascii_case("writable_schema") => Refusal::WritableSchema,
        _ => Refusal::Pragma,
    })
}

fn judge_table(access: Access, context: &AuthContext<'_>, table: &str) -> Result<(), Refusal> {
    if table.eq_ignore_ascii_case("sqlite_dbpage") {
        return Err(Refusal::Internal);
    }
    let reads = matches!(context.action, AuthAction::Read { .. });
    match access {
        Access::Read => Ok(()),
        Access::Write if reads && is_in(TABLES_OF_THIS_NODE, table) => Err(Refusal::NodeLocal),
        // The planner would see such a change on some nodes at once and on others after a restart.
        Access::Write
            if !reads
                && context.accessor.is_some()
                && table.get(..11).is_some_and(|s| s.eq_ignore_ascii_case("sqlite_stat")) =>
        {
            Err(Refusal::Statistics)
        }
        Access::Write => Ok(()),
    }
}

fn is_in(names: &[&str], name: &str) -> bool {
    names.iter().any(|listed| name.eq_ignore_ascii_case(listed))
}
