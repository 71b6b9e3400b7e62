//! A terminal that a test types on: a pseudo-terminal with the program on its other end.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::program;
use crate::support::eventually;

/// Longest wait for what must be printed.
const PRINT_MAX: Duration = Duration::from_secs(20);

/// The terminal and the program.
pub(crate) struct Pseudo {
    keys: File,
    slave: File,
    child: Child,
    printed: Arc<Mutex<Vec<u8>>>,
    /// How much of what was printed has been looked at.
    seen: usize,
}

impl Pseudo {
    /// Starts `quorlite ...` in this folder, which is its home.
    pub(crate) fn start(home: &Path, arguments: &[&str]) -> Pseudo {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("there is a pseudo-terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("it is ours");
        let size = Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("it has a size");
        let name = ptsname(&master, Vec::new()).expect("it has a name");
        let name = name.into_string().expect("its name is text");
        let mut options = OpenOptions::new();
        let slave = options.read(true).write(true).open(name).expect("its other end opens");
        let keys = File::from(master);
        let printed = Arc::new(Mutex::new(Vec::new()));
        let (all, mut output) = (Arc::clone(&printed), keys.try_clone().expect("it is a file"));
        let reader = std::thread::Builder::new().name("screen".to_owned());
        let read = move || {
            let mut chunk = [0; 4096];
            // It fails when nobody has the other end open any more.
            while let Ok(length @ 1..) = output.read(&mut chunk) {
                all.lock().expect("nobody panics with it").extend_from_slice(&chunk[..length]);
            }
        };
        reader.spawn(read).expect("there are threads");
        let end = || Stdio::from(slave.try_clone().expect("it is a file"));
        let child = command(home, arguments)
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("the client starts");
        Pseudo { keys, slave, child, printed, seen: 0 }
    }

    /// Presses keys; control characters as they are.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("keys can be pressed");
    }

    /// Waits until `text` is printed, past what was waited for before.
    pub(crate) fn expect(&mut self, text: &str) {
        let found = self.wait_for(text);
        self.seen = found.unwrap_or_else(|| panic!("{text:?} is not in {:?}", self.text()));
    }

    /// What was printed, without control sequences.
    pub(crate) fn text(&self) -> String {
        let printed = self.printed.lock().expect("nobody panics with it");
        plain(&String::from_utf8_lossy(&printed))
    }

    /// Insists that the program ends with this status.
    pub(crate) fn ends(&mut self, status: i32) {
        let child = &mut self.child;
        let ended = eventually("the client ends", PRINT_MAX, || {
            child.try_wait().expect("a child can be waited for")
        });
        assert_eq!(ended.code(), Some(status), "{:?}", self.text());
    }

    /// Whether keys are echoed and taken line by line, as a shell's user expects to find them.
    pub(crate) fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.slave).expect("it is a terminal").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process has an id"), signal).expect("a child can be signalled");
    }

    fn wait_for(&self, text: &str) -> Option<usize> {
        let begin = std::time::Instant::now();
        while begin.elapsed() < PRINT_MAX {
            let all = self.text();
            if let Some(at) = all.get(self.seen..).and_then(|rest| rest.find(text)) {
                return Some(self.seen + at + text.len());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

impl Drop for Pseudo {
    fn drop(&mut self) {
        // It has ended already when all went well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The program with the terminal as its own, so that Ctrl-C reaches it: `setsid` does not fork
/// when it is no leader of a group, so its process is the program's.
fn command(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("setsid");
    let plain = program::command(home);
    command.env_clear().current_dir(home);
    for (name, value) in plain.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command
        .env("TERM", "xterm")
        .arg("--ctty")
        .args(program::HEARING)
        .arg(program::PROGRAM)
        .args(arguments);
    command
}

/// A text without its control sequences (ECMA-48) and carriage returns. One that is not complete
/// yet is left out.
fn plain(text: &str) -> String {
    let mut found = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\x1b' => {
                if letters.next() == Some('[') {
                    letters.by_ref().find(|letter| ('@'..='~').contains(letter));
                }
            }
            '\r' | '\x07' => {}
            letter => found.push(letter),
        }
    }
    found
}

#[test]
fn control_sequences_are_no_text() {
    assert_eq!(plain("a\x1b[36mb\x1b[0m\r\nc\x1b[?2004h\x1b[1"), "ab\nc");
}
