//! What a client is told: numbers, rows and SQLite's own words.

use quorlite::command::{Parameters, Statement, Value};

use crate::support::{Database, batch, show, statement};

fn run(database: &mut Database, sql: &str, parameters: Parameters) -> String {
    let mut request = batch(&[]);
    request.statements = vec![Statement { sql: sql.to_owned(), parameters }];
    request.returns_rows = true;
    show(&database.apply(&[request])[0].outcomes).remove(0)
}

#[test]
fn numbers_are_those_of_this_request() {
    let mut db = Database::new();
    assert_eq!(db.execute(&["CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE)"]), ["id=0 rows=0"]);
    assert_eq!(db.execute(&["INSERT INTO t(a) VALUES('x'),('y')"]), ["id=2 rows=2"]);
    assert_eq!(
        db.execute(&["CREATE TABLE u(b)", "UPDATE t SET a=a||1"]),
        ["id=0 rows=0", "id=0 rows=2"]
    );
    let outcomes = db.execute(&[
        "INSERT INTO t(a) VALUES(1)",
        "UPDATE t SET a=0 WHERE 0",
        "SELECT 1",
        "DELETE FROM t",
    ]);
    assert_eq!(outcomes, ["id=3 rows=1", "id=3 rows=0", "id=3 rows=0", "id=3 rows=3"]);
    assert_eq!(db.execute(&[";", "-- nothing\n", "/**/"]), ["id=0 rows=0"; 3]);
}

#[test]
fn errors_are_sqlites_words_and_the_rest_runs() {
    let mut db = Database::new();
    db.execute(&[
        "CREATE TABLE foo(id INTEGER PRIMARY KEY, a UNIQUE)",
        "INSERT INTO foo VALUES(1,1)",
    ]);
    let outcomes = db.execute(&[
        "garbage",
        "INSERT INTO bar VALUES(1)",
        "INSERT INTO foo VALUES(1,2)",
        "INSERT INTO foo VALUES(2,1)",
        "INSERT INTO foo VALUES(3,3)",
        "INSERT INTO foo VALUES(4,4); nonsense",
        "CREATE TABLE foo(x)",
        "SELECT '\u{0}'",
    ]);
    assert_eq!(
        outcomes,
        [
            "error: near \"garbage\": syntax error",
            "error: no such table: bar",
            "error: UNIQUE constraint failed: foo.id",
            "error: UNIQUE constraint failed: foo.a",
            "id=3 rows=1",
            "error: near \"nonsense\": syntax error",
            "error: table foo already exists",
            "error: the SQL text holds a NUL character",
        ]
    );
    assert_eq!(db.query("SELECT group_concat(id) g FROM foo"), ["g: '1,3,4'"]);
}

#[test]
fn a_transaction_stops_at_the_first_failure_and_leaves_nothing() {
    let mut db = Database::new();
    db.execute(&["CREATE TABLE t(a UNIQUE)"]);
    let outcomes = db.transaction(&[
        "INSERT INTO t VALUES(1)",
        "INSERT INTO t VALUES(1)",
        "INSERT INTO t VALUES(2)",
    ]);
    assert_eq!(outcomes, ["id=1 rows=1", "error: UNIQUE constraint failed: t.a"]);
    let outcomes = db.transaction(&[
        "INSERT INTO t VALUES(1)",
        "SELECT * FROM missing",
        "INSERT INTO t VALUES(2)",
    ]);
    assert_eq!(outcomes, ["id=1 rows=1", "error: no such table: missing"]);
    assert_eq!(db.transaction(&["VACUUM"]), ["error: cannot VACUUM from within a transaction"]);
    let refused = "error: not authorized: COMMIT and ROLLBACK are not available here";
    for sql in ["COMMIT", "END", "ROLLBACK", "SELECT 1; COMMIT"] {
        assert_eq!(db.transaction(&["INSERT INTO t VALUES(1)", sql]), ["id=1 rows=1", refused]);
    }
    assert_eq!(
        db.transaction(&["INSERT INTO t VALUES(1)", "BEGIN"]),
        ["id=1 rows=1", "error: cannot start a transaction within a transaction"]
    );
    assert_eq!(db.query("SELECT count(*) n FROM t"), ["n: 0"]);
    assert_eq!(
        db.transaction(&["INSERT INTO t VALUES(1)", "VALUES(2)"]),
        ["id=1 rows=1", "id=1 rows=0"]
    );
    assert_eq!(db.query("SELECT * FROM t"), ["a: 1"]);
}

#[test]
fn rows_come_back_where_they_should() {
    let mut db = Database::new();
    db.execute(&["CREATE TABLE t(id INTEGER PRIMARY KEY, \"returning\" VARCHAR(20))"]);
    assert_eq!(db.execute(&["INSERT INTO t VALUES(7,'x')\nRETURNING\nid"]), ["id: 7"]);
    assert_eq!(
        db.execute(&[
            "/* c */ WITH v(a) AS (VALUES(1)) UPDATE t SET \"returning\"=a FROM v RETURNING *"
        ]),
        ["id returning: 7 '1'"]
    );
    assert_eq!(
        db.execute(&["SELECT \"returning\" FROM t", "EXPLAIN SELECT 1", "PRAGMA user_version"]),
        ["id=0 rows=0"; 3]
    );
    assert_eq!(
        db.request(&["INSERT INTO t VALUES(8,'y'); SELECT id FROM t; -- end"]),
        ["id: 7 | 8"]
    );
    assert_eq!(db.request(&["SELECT 1; INSERT INTO t VALUES(9,'z')"]), ["id=9 rows=1"]);
    assert!(
        db.request(&["EXPLAIN QUERY PLAN SELECT * FROM t"])[0]
            .starts_with("id parent notused detail: ")
    );
    assert_eq!(db.request(&["DELETE FROM t WHERE 0 RETURNING id"]), ["id: "]);
    assert_eq!(
        db.request(&["ALTER TABLE t ADD COLUMN more", "SELECT * FROM t WHERE id=8"]),
        ["id=0 rows=0", "id returning more: 8 'y' NULL"]
    );
}

#[test]
fn parameters_go_where_they_belong() {
    let mut db = Database::new();
    let integers = |values: &[i64]| {
        Parameters::Positional(values.iter().map(|&v| Value::Integer(v)).collect())
    };
    let named =
        |name: &str| Parameters::Named(vec![(name.to_owned(), Value::Text("v".to_owned()))]);
    assert_eq!(run(&mut db, "SELECT ? a, ? b", integers(&[1, 2, 3])), "a b: 1 2");
    assert_eq!(
        run(&mut db, "SELECT ?, ?", integers(&[1])),
        "error: not enough args to execute query: want 2 got 1"
    );
    assert_eq!(run(&mut db, "SELECT ?; SELECT ? a", integers(&[1, 2])), "a: 2");
    assert_eq!(run(&mut db, "SELECT :n a", named("n")), "a: 'v'");
    assert_eq!(run(&mut db, "SELECT @n a", named("n")), "a: 'v'");
    assert_eq!(run(&mut db, "SELECT $n a", named("n")), "a: 'v'");
    assert_eq!(run(&mut db, "SELECT :m a", named("n")), "a: NULL");
    assert_eq!(
        run(&mut db, "SELECT 1 a", named(":n")),
        "error: name \":n\" does not begin with a letter"
    );
    let values = vec![
        Value::Null,
        Value::Real(-0.5),
        Value::Blob(vec![]),
        Value::Integer(i64::MIN),
        Value::Real(f64::NAN),
    ];
    let types =
        run(&mut db, "SELECT ?1 a, ?2 b, typeof(?3) c, ?4 d, ?5 e", Parameters::Positional(values));
    assert_eq!(types, "a b c d e: NULL -0.5 'blob' -9223372036854775808 NULL");
}

#[test]
fn text_is_never_broken_and_types_are_declared_ones() {
    let mut db = Database::new();
    db.execute(&["CREATE TABLE t(a DECIMAL(10,2), b \"Timestamp With TIME zone\", c)"]);
    let mut request =
        batch(&["INSERT INTO t VALUES(1, 2, CAST(x'61ff62' AS TEXT)) RETURNING *, a+1"]);
    request.statements.push(statement("SELECT a AS z FROM t"));
    let applied = db.apply(&[request]);
    let rows = crate::support::rows(&applied[0].outcomes[0]);
    assert_eq!(rows.declared, ["decimal(10,2)", "timestamp with time zone", "", ""]);
    assert_eq!(rows.values[2], Value::Text("a\u{fffd}b".to_owned()));
}

#[test]
fn a_transaction_left_open_is_rolled_back_and_reported() {
    let mut db = Database::new();
    db.execute(&["CREATE TABLE t(a)"]);
    let left = "error: the transaction that the request left open was rolled back";
    assert_eq!(db.execute(&["BEGIN", "INSERT INTO t VALUES(1)"]), ["id=0 rows=0", left]);
    assert_eq!(db.execute(&["SAVEPOINT quorlite_statement; INSERT INTO t VALUES(1)"]), [left]);
    let outcomes =
        db.execute(&["BEGIN", "INSERT INTO t VALUES(2)", "COMMIT", "INSERT INTO t VALUES(3)"]);
    assert_eq!(outcomes, ["id=0 rows=0", "id=1 rows=1", "id=1 rows=0", "id=2 rows=1"]);
    assert_eq!(db.query("SELECT * FROM t"), ["a: 2 | 3"]);
}

#[test]
fn a_table_whose_row_ids_are_used_up_does_not_stop_the_node() {
    let mut db = Database::new();
    db.execute(&[
        "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT)",
        "INSERT INTO t VALUES(9223372036854775807)",
    ]);
    assert_eq!(db.execute(&["INSERT INTO t DEFAULT VALUES"]), ["error: database or disk is full"]);
    db.execute(&[
        "CREATE TABLE u(id INTEGER PRIMARY KEY, a)",
        "INSERT INTO u VALUES(9223372036854775807, 1)",
    ]);
    let used_up = "error: the row ids of table u are used up: give one explicitly, below 2^32";
    assert_eq!(
        db.execute(&["INSERT INTO u(a) VALUES(2)", "INSERT INTO u VALUES(5, 3)"]),
        [used_up, "id=5 rows=1"]
    );
    assert_eq!(db.query("SELECT count(*) n FROM u"), ["n: 2"]);
}
