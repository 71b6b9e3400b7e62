//! The shell on a terminal: lines over lines, history, completion, keys that end things.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;

use crate::fake::{Fake, reply};
use crate::pseudo::Pseudo;
use crate::support::server::{Server, free_port};

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const UP: &str = "\x1b[A";

/// A session with a server, past its first prompt.
struct Session {
    terminal: Pseudo,
    prompt: String,
}

impl Session {
    fn start(server: &Server) -> Session {
        let port = server.http().port().to_string();
        let terminal = Pseudo::start(server.scratch(), &["-p", &port]);
        let mut session = Session { terminal, prompt: format!("{}> ", server.http()) };
        session.expect_prompt();
        session
    }

    fn expect_prompt(&mut self) {
        let prompt = self.prompt.clone();
        self.terminal.expect(&prompt);
    }

    /// Types a line, and waits for what it prints and for the prompt.
    fn answers(&mut self, line: &str, answer: &str) {
        self.terminal.press(&format!("{line}\r"));
        self.terminal.expect(answer);
        self.expect_prompt();
    }

    fn end(mut self) {
        self.terminal.press(CTRL_D);
        self.terminal.expect("bye~\n");
        self.terminal.ends(0);
        assert!(self.terminal.is_cooked(), "the terminal is as it was");
    }
}

#[test]
fn a_statement_goes_on_over_lines_until_it_has_its_end() {
    let server = Server::fresh();
    let mut session = Session::start(&server);
    let banner = format!("Connected to http://{} running version 10\n", server.http());
    assert!(session.terminal.text().starts_with("Welcome to the rqlite CLI.\n"));
    assert!(session.terminal.text().contains(&banner));
    let continued = format!("{:>width$}", "...> ", width = session.prompt.len());
    session.terminal.press("CREATE TABLE t(\r");
    session.terminal.expect(&format!("\n{continued}"));
    session.terminal.press("  a TEXT\r");
    session.terminal.expect(&continued);
    session.answers(")", "0 row affected\n");
    session.terminal.press("INSERT INTO t VALUES('x\r");
    session.terminal.expect(&continued);
    session.answers("y')", "1 row affected\n");
    session.answers("SELECT length(a) AS n FROM t", "| n |\n+---+\n| 3 |\n");

    session.terminal.press("SELECT 1 +\r");
    session.terminal.expect(&continued);
    session.answers("", "Error: incomplete input\n");

    session.terminal.press("\x1b[200~SELECT 4\n  AS four;\n.mode csv\nSELECT 5 AS five\n\x1b[201~");
    session.terminal.expect("AS five");
    session.answers("", "| four |\n+------+\n| 4    |\n+------+\nfive\n5\n");
    session.end();
}

#[test]
fn what_changes_all_rows_waits_for_its_semicolon() {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE t(a)", "INSERT INTO t VALUES(1),(2),(3)"]);
    let left = || server.value("SELECT count(*) FROM t");
    let mut session = Session::start(&server);
    session.terminal.press("DELETE FROM t\r");
    session.terminal.expect("...> ");
    assert_eq!(left(), 3);
    session.answers("WHERE a=1", "1 row affected\n");
    assert_eq!(left(), 2);
    session.terminal.press("DELETE FROM t\r");
    session.terminal.expect("...> ");
    session.terminal.press(CTRL_C);
    session.expect_prompt();
    assert_eq!(left(), 2);
    session.answers("UPDATE t SET a = 4 WHERE a = 2", "1 row affected\n");
    session.terminal.press("UPDATE t SET a = 5\r");
    session.terminal.expect("...> ");
    session.answers("", "2 rows affected\n");
    session.answers("DELETE FROM t;", "2 rows affected\n");
    session.end();
}

#[test]
fn ctrl_c_drops_what_is_typed_and_then_ends_the_session() {
    let server = Server::fresh();
    let mut session = Session::start(&server);
    session.terminal.press("CREATE TABLE dropped(a)");
    session.terminal.expect("dropped(a)");
    session.terminal.press(CTRL_C);
    session.expect_prompt();
    session.terminal.press("CREATE TABLE dropped(\r");
    session.terminal.expect("...> ");
    session.terminal.press(CTRL_C);
    session.expect_prompt();
    session.answers("SELECT count(*) AS n FROM sqlite_schema", "| n |\n+---+\n| 0 |\n");
    session.terminal.press(CTRL_C);
    session.terminal.expect("bye~\n");
    session.terminal.ends(0);
    assert!(session.terminal.is_cooked());
}

#[test]
fn tab_completes_commands_arguments_tables_and_columns() {
    let server = Server::fresh();
    server.execute(&["CREATE TABLE employees(id INTEGER PRIMARY KEY, surname TEXT)"]);
    server.execute(&["INSERT INTO employees VALUES(1, 'Ada')"]);
    fs::write(server.scratch().join("statements.sql"), "SELECT 'from the file';\n").unwrap();
    let mut session = Session::start(&server);
    session.terminal.press(".ta\t");
    session.terminal.expect(".tables");
    session.answers("", "| employees |\n");
    session.terminal.press(".mod\tcs\t");
    session.terminal.expect(".mode csv");
    session.terminal.press("\r");
    session.expect_prompt();
    session.terminal.press("sel\t * from emp\t");
    session.terminal.expect("select * from employees");
    session.answers("", "id,surname\n1,Ada\n");
    session.terminal.press("SELECT surn\t");
    session.terminal.expect("SELECT surname");
    session.answers(" FROM employees", "surname\nAda\n");
    session.terminal.press(".read stat\t");
    session.terminal.expect(".read statements.sql");
    session.answers("", "from the file\n");

    // What this session creates is offered at once.
    session.answers("CREATE TABLE novelties(flavour)", "0 row affected\n");
    session.terminal.press("SELECT * FROM nov\t");
    session.terminal.expect("FROM novelties");
    session.answers("", "flavour\n");
    session.end();
}

#[test]
fn tab_waits_for_no_node_that_does_not_answer() {
    let server = Server::fresh();
    let mut session = Session::start(&server);
    server.signal(Signal::STOP);
    session.terminal.press("sele\t");
    session.terminal.expect("select");
    server.signal(Signal::CONT);
    session.answers(" 1", "| 1 |\n");
    session.end();
}

#[test]
fn a_later_session_remembers_each_line_once() {
    let server = Server::fresh();
    let mut session = Session::start(&server);
    session.answers("SELECT 'first'", "first");
    session.answers("SELECT 'second'", "second");
    session.answers("SELECT 'first'", "first");
    session.terminal.press("SELECT 3,\r");
    session.terminal.expect("...> ");
    session.answers("4", "| 3 | 4 |\n");
    session.end();
    let path = server.scratch().join(".quorlite_history");
    let kept = fs::read_to_string(&path).unwrap();
    assert_eq!(kept, "SELECT 'second'\nSELECT 'first'\nSELECT 3,\\n4\n");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let mut session = Session::start(&server);
    session.terminal.press(UP);
    session.terminal.expect("SELECT 3,\n4");
    session.terminal.press("\r");
    session.terminal.expect("| 3 | 4 |\n");
    session.expect_prompt();
    session.terminal.press(UP);
    session.terminal.expect("SELECT 3,\n4");
    session.terminal.press(CTRL_C);
    session.expect_prompt();
    session.end();
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let server = Server::fresh();
    let mut session = Session::start(&server);
    session.terminal.press("half a li");
    session.terminal.expect("half a li");
    assert!(!session.terminal.is_cooked(), "the editor has it");
    session.terminal.signal(Signal::TERM);
    session.terminal.ends(9);
    assert!(session.terminal.is_cooked());
}

#[test]
fn ctrl_c_ends_a_statement_that_takes_too_long() {
    let server = Server::fresh();
    let mut session = Session::start(&server);
    server.signal(Signal::STOP);
    session.terminal.press("SELECT 'never'\r");
    session.terminal.expect("SELECT 'never'\n");
    session.terminal.press(CTRL_C);
    session.terminal.ends(9);
    server.signal(Signal::CONT);
    assert!(session.terminal.is_cooked());
}

#[test]
fn the_prompt_names_the_node_in_use() {
    let server = Server::fresh();
    let dying = Fake::start(|head| match head.contains("/status") {
        true => reply("200 OK", &[("X-RQLITE-VERSION", "9"), ("Content-Length", "2")], b"{}"),
        false => Vec::new(),
    });
    let (port, next) = (dying.address.port().to_string(), server.http().to_string());
    let mut terminal = Pseudo::start(server.scratch(), &["-p", &port, "-a", &next]);
    terminal.expect(&format!("{}> ", dying.address));
    terminal.press("SELECT 7 AS n\r");
    terminal.expect("| 7 |\n");
    terminal.expect(&format!("{next}> "));
    terminal.press(CTRL_D);
    terminal.ends(0);
}

#[test]
fn a_person_is_told_that_nothing_can_be_reached() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Pseudo::start(home.path(), &["-p", &free_port().to_string()]);
    terminal.expect("ERR! no host available to perform the request\n");
    terminal.ends(3);
}
