//! A batch of requests gives exactly what the same requests give one at a time.

use quorlite::command::Batch;

use crate::support::{Database, Dice, batch, show, statement};

const SCHEMA: &[&str] = &[
    "CREATE TABLE parent(id INTEGER PRIMARY KEY, n UNIQUE)",
    "CREATE TABLE child(id INTEGER PRIMARY KEY AUTOINCREMENT, p REFERENCES parent DEFERRABLE INITIALLY DEFERRED,
     q REFERENCES parent ON DELETE CASCADE, r DEFAULT (random()))",
    "CREATE TABLE strict(a CHECK(a < 5), b UNIQUE ON CONFLICT ROLLBACK)",
    "CREATE TABLE notes(x, c DEFAULT (changes()), l DEFAULT (last_insert_rowid()))",
    "CREATE TRIGGER r1 AFTER INSERT ON parent WHEN new.n = 11 BEGIN SELECT RAISE(ROLLBACK, 'rolled back'); END",
    "CREATE TRIGGER r2 AFTER INSERT ON parent WHEN new.n = 12 BEGIN SELECT RAISE(ABORT, 'aborted'); END",
    "CREATE TRIGGER r3 AFTER INSERT ON parent WHEN new.n = 13 BEGIN SELECT RAISE(FAIL, 'failed'); END",
    "CREATE TRIGGER r4 BEFORE INSERT ON parent WHEN new.n = 14 BEGIN SELECT RAISE(IGNORE); END",
    "CREATE TRIGGER r5 AFTER DELETE ON parent BEGIN INSERT INTO notes(x) VALUES('gone ' || old.id); END",
    "CREATE VIRTUAL TABLE docs USING fts5(body)",
];

fn random_statement(dice: &mut Dice) -> String {
    let conflict =
        dice.pick(&["", "", "OR ROLLBACK", "OR FAIL", "OR IGNORE", "OR REPLACE", "OR ABORT"]);
    let (a, b) = (dice.roll(9), dice.roll(15));
    match dice.roll(22) {
        0..4 => format!("INSERT {conflict} INTO parent VALUES({a}, {b})"),
        4 => format!("INSERT {conflict} INTO parent(n) VALUES({a}),({b}),({a})"),
        5..8 => format!(
            "INSERT {conflict} INTO child(p, q) VALUES({a}, {})",
            dice.pick(&["NULL", "1", "2"])
        ),
        8 => format!("INSERT {conflict} INTO strict VALUES({a}, {b}),({b}, {a})"),
        9 => format!("UPDATE {conflict} parent SET n = n + {a} WHERE id < {b}"),
        10 => format!("DELETE FROM parent WHERE id = {a}"),
        11 => {
            format!("INSERT INTO notes(x) SELECT id FROM child WHERE r % 3 = {} RETURNING *", a % 3)
        }
        12 => format!("INSERT INTO docs VALUES('w{a} w{b}'); DELETE FROM docs WHERE rowid = {a}"),
        13 => format!(
            "UPDATE strict SET a = {b} WHERE b = {a}; INSERT INTO notes(x) VALUES(random())"
        ),
        14 => dice
            .pick(&[
                "BEGIN",
                "COMMIT",
                "ROLLBACK",
                "SAVEPOINT s",
                "RELEASE s",
                "ROLLBACK TO s",
                "END",
            ])
            .to_owned(),
        15 => format!(
            "PRAGMA {}",
            dice.pick(&[
                "foreign_keys=ON",
                "foreign_keys=0",
                "defer_foreign_keys=1",
                "user_version=7"
            ])
        ),
        16 => dice
            .pick(&["SELECT * FROM missing", "INSERT INTO parent VALUES(1)", "nonsense", ";"])
            .to_owned(),
        17 => format!("CREATE TABLE {} extra{}(a)", dice.pick(&["", "IF NOT EXISTS"]), a % 3),
        18 => format!("DROP TABLE extra{}", a % 3),
        19 => format!(
            "BEGIN; INSERT INTO child(p) VALUES({b}); INSERT INTO parent VALUES({b}, 'n{b}'); COMMIT"
        ),
        20 => format!("UPDATE child SET p = {a} WHERE id = {b}"),
        _ => "SELECT count(*), changes(), last_insert_rowid() FROM child".to_owned(),
    }
}

fn random_request(dice: &mut Dice) -> Batch {
    let statements = (0..1 + dice.roll(4)).map(|_| statement(&random_statement(dice))).collect();
    let (transaction, returns_rows) = (dice.roll(3) == 0, dice.roll(2) == 0);
    Batch { statements, transaction, returns_rows, qualify_columns: false, instructions_max: 0 }
}

/// The same request, marked by a first statement that makes it run alone.
fn marked(request: &Batch) -> Batch {
    let mut marked = request.clone();
    marked.statements.insert(0, statement("PRAGMA data_version"));
    marked
}

fn compare(seed: u64, foreign_keys: &str) {
    let mut dice = Dice(seed);
    let requests: Vec<Batch> = (0..60).map(|_| random_request(&mut dice)).collect();
    let (mut together, mut apart) = (Database::new(), Database::new());
    for database in [&mut together, &mut apart] {
        database.execute(SCHEMA);
        database.execute(&[foreign_keys]);
    }
    let mut rest = requests.as_slice();
    while !rest.is_empty() {
        let (now, later) = rest.split_at((1 + dice.roll(20)).min(rest.len()));
        rest = later;
        let batched = together.apply(now);
        for (request, batched) in now.iter().zip(batched) {
            let single = apart.apply(&[marked(request)]).remove(0);
            let expected = show(&single.outcomes[1..]);
            assert_eq!(show(&batched.outcomes), expected, "seed {seed}: {request:?}");
            assert_eq!(batched.foreign_keys, single.foreign_keys, "seed {seed}");
        }
    }
    assert_eq!(together.contents(), apart.contents(), "seed {seed}");
}

#[test]
fn batches_give_what_single_requests_give() {
    for seed in 0..60 {
        compare(seed, "PRAGMA foreign_keys=0");
        compare(seed, "PRAGMA foreign_keys=1");
    }
}

#[test]
fn deferred_keys_are_checked_statement_by_statement() {
    let mut db = Database::new();
    db.execute(SCHEMA);
    assert!(db.apply(&[batch(&["PRAGMA foreign_keys=ON"])])[0].foreign_keys);
    db.reopen();
    let failed = "error: FOREIGN KEY constraint failed";
    let insert = ["INSERT INTO child(p) VALUES(1)", "INSERT INTO parent VALUES(1, 'one')"];
    assert_eq!(db.execute(&insert), [failed, "id=1 rows=1"]);
    assert_eq!(db.execute(&["DELETE FROM parent"]), ["id=0 rows=1"]);
    assert_eq!(db.transaction(&insert), ["id=1 rows=1", "id=1 rows=1"]);
    assert_eq!(db.transaction(&["DELETE FROM parent", "SELECT 1"]), ["id=0 rows=1", failed]);
    assert_eq!(db.query("SELECT count(*) n FROM parent"), ["n: 1"]);
}
