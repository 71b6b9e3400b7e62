//! Every file in `scripts/` is one claim about the HTTP API, with the exchanges that show it.

use std::path::Path;
use std::sync::Mutex;

use crate::support::golden::check;

/// Scripts run at once: enough to keep two processors busy while servers start.
const AT_ONCE: usize = 4;

#[test]
fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/scripts");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 30, "scripts are missing");
    let waiting = Mutex::new(paths);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(path) = waiting.lock().unwrap().pop() else { return };
                    if let Some(difference) = check(&path) {
                        failures.lock().unwrap().push(difference);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    assert!(failures.is_empty(), "{} scripts differ:\n{}", failures.len(), failures.join("\n"));
}
