//! The consensus core by itself: every file in `scripts/` is one story, told in commands, `----`,
//! and exactly what the core then wants done and says of itself.
//!
//! A block is done when all its commands are: only then is the core asked what is to be done.
//! An entry is written `index@term`. `# text` is a comment; the first is the claim.
//! `UPDATE_GOLDEN=1` writes what came back into the files; read what has changed.
//!
//! ```text
//! start voters=a term=1 log=1,1 start=0@0 commit=0    a node called a, as its disk has it
//! tick 3                                              time passes
//! propose | read NAME | voters a,b                    what the driver asks for
//! saved term=2 last=3@2                               what the disk holds
//! failed last=2@2 | compact 2@2                       what it could not take; what was dropped
//! ```

use std::path::Path;

use quorlite::raft::{
    Core, EntryId, EntryKind, HardState, Index, Ready, Role, Start, Term, Voters,
};

/// Ticks without a leader after which a node among others campaigns.
const ELECTION_TICKS: u32 = 3;

/// Scripts there are at least: none may get lost.
const SCRIPTS_MIN: usize = 8;

fn run(script: &str) -> String {
    let mut core = None;
    let blocks: Vec<String> =
        script.trim_end().split("\n\n").map(|block| run_block(&mut core, block)).collect();
    blocks.join("\n\n") + "\n"
}

/// Gives the block back as it would be if what the core does were right.
fn run_block(core: &mut Option<Core>, block: &str) -> String {
    let mut lines = Vec::new();
    let mut answers = Vec::new();
    let commands = block.lines().take_while(|line| *line != "----");
    for line in commands {
        lines.push(line.to_owned());
        if !line.starts_with('#') {
            answers.extend(command(core, line));
        }
    }
    let Some(core) = core else { return block.to_owned() };
    lines.push("----".to_owned());
    lines.append(&mut answers);
    while let Some(ready) = core.take_ready() {
        lines.extend(describe(&ready));
    }
    lines.push(state(core));
    lines.join("\n")
}

fn command(core: &mut Option<Core>, line: &str) -> Option<String> {
    let mut words = line.split(' ');
    let verb = words.next().unwrap_or_default();
    let words: Vec<&str> = words.collect();
    let value = |key: &str| {
        let found = words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("{line}: no {key}"))
    };
    if verb == "start" {
        *core = Some(Core::new(Start {
            id: "a".to_owned(),
            hard_state: HardState { term: number(value("term")), vote: None },
            log_start: entry(value("start")),
            terms: value("log").split(',').filter(|term| !term.is_empty()).map(number).collect(),
            commit: number(value("commit")),
            voters: voters(value("voters")),
            election_ticks: ELECTION_TICKS,
        }));
        return None;
    }
    let core = core.as_mut().unwrap_or_else(|| panic!("{line}: nothing is started"));
    let first = words.first().copied().unwrap_or_default();
    match verb {
        "tick" => (0..number(first)).for_each(|_| core.tick()),
        "propose" => {
            let placed = core.propose(EntryKind::Command).map(show);
            return Some(
                placed.map_or("refused: not the leader".to_owned(), |at| format!("placed {at}")),
            );
        }
        "read" => core.read(number(first)),
        "voters" => core.set_voters(voters(first)),
        "saved" => core.saved(number(value("term")), entry(value("last"))),
        "failed" => core.append_failed(entry(value("last"))),
        "compact" => core.compacted_to(entry(first)),
        _ => panic!("{line}: no such command"),
    }
    None
}

fn describe(ready: &Ready) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(hard_state) = &ready.hard_state {
        let vote = hard_state.vote.as_deref().unwrap_or("nobody");
        lines.push(format!("save term={} vote={vote}", hard_state.term));
    }
    for (id, kind) in &ready.entries {
        lines.push(format!("append {} {kind:?}", show(*id)));
    }
    lines.push(format!("apply {}, once durable {}", ready.commit, ready.commit_once_durable));
    lines.extend(ready.reads.iter().map(|(name, index)| format!("read {name} at {index}")));
    lines.extend(ready.reads_refused.iter().map(|name| format!("read {name} refused")));
    lines
}

fn state(core: &Core) -> String {
    let role = match core.role() {
        Role::Follower { .. } => "follower",
        Role::Candidate { .. } => "candidate",
        Role::Leader { .. } if core.is_established() => "leader",
        Role::Leader { .. } => "leader, not established",
    };
    format!("{role}: term={} last={} commit={}", core.term(), show(core.last()), core.commit())
}

fn voters(names: &str) -> Voters {
    Voters::new(names.split(',').map(str::to_owned))
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not a number"))
}

fn entry(text: &str) -> EntryId {
    let (index, term) = text.split_once('@').unwrap_or_else(|| panic!("{text:?}: index@term"));
    EntryId { index: number::<Index>(index), term: number::<Term>(term) }
}

fn show(id: EntryId) -> String {
    format!("{}@{}", id.index, id.term)
}

#[test]
fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/raft/scripts");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|found| found.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= SCRIPTS_MIN, "scripts are missing");
    for path in paths {
        let script = std::fs::read_to_string(&path).unwrap();
        let found = run(&script);
        if found != script && std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &found).unwrap();
            continue;
        }
        assert_eq!(found, script, "{}", path.display());
    }
}
