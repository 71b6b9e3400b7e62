//! The consensus core by itself: every file in `scripts/` is one story, told in commands, `----`,
//! and exactly what the cores of a fake cluster then save, send and say of themselves.
//!
//! An entry is written `index@term`. `# text` is a comment; the first is the claim.
//! `UPDATE_GOLDEN=1` writes what came back into the files; read what has changed.
//!
//! ```text
//! start a,b,c learners=d             nodes that know of each other, one entry in their logs
//! node a term=2 vote=b log=1,2 start=0@0 commit=1 voters=a,b learners=c   one, as its disk has it
//! elect a                            a campaigns, everything is delivered; only the end is told
//! tick a 3 | campaign a              time passes on one node; until it asks for (pre-)votes
//! disk a slow | saved a [1] | failed a   its disk waits; takes what waits, or the first; none of it
//! deliver a->b | deliver all         the oldest message of a link; all, until nothing is said
//! deliver a->b last                  the youngest before the others
//! drop a->b | repeat a->b            the oldest is lost; the one delivered last comes again
//! undelivered a->b                   a is told that its append got lost
//! cut a | cut a->b | heal            what is sent gets lost; no longer
//! propose a | read a 1 | transfer a b | reconfigure a voters=a,b learners=c | resign a
//! compact a 3 | snapshot a->b        the log's beginning is dropped; the state is sent
//! crash a | restart a | gone b a     b hears that a's process died
//! status                             what all nodes say of themselves
//! ```

mod cluster;
mod show;
mod words;

use std::path::Path;

use cluster::Cluster;

/// Scripts there are at least: none may get lost.
const SCRIPTS_MIN: usize = 55;

fn run(script: &str) -> String {
    let mut cluster = Cluster::default();
    let blocks: Vec<String> =
        script.trim_end().split("\n\n").map(|block| run_block(&mut cluster, block)).collect();
    blocks.join("\n\n") + "\n"
}

/// Gives the block back as it would be if what the cores do were right.
fn run_block(cluster: &mut Cluster, block: &str) -> String {
    let commands: Vec<&str> = block.lines().take_while(|line| *line != "----").collect();
    for line in commands.iter().filter(|line| !line.starts_with('#')) {
        cluster.command(line);
    }
    let trace = cluster.take_trace();
    if commands.iter().all(|line| line.starts_with('#')) {
        return commands.join("\n");
    }
    let lines = commands.into_iter().map(str::to_owned).chain(["----".to_owned()]).chain(trace);
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/raft/scripts");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|found| found.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= SCRIPTS_MIN, "scripts are missing");
    for path in paths {
        println!("{}", path.display());
        let script = std::fs::read_to_string(&path).unwrap();
        assert!(script.starts_with("# "), "{}: no claim", path.display());
        let found = run(&script);
        if found != script && std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &found).unwrap();
            continue;
        }
        assert_eq!(found, script, "{}", path.display());
    }
}
