//! The client's program: called with arguments, input and an environment of its own.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use quorlite::os;

use crate::support::server::Server;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_quorlite");

/// What the program is started by, so that it hears signals also where the tests run in the
/// background, or under `nohup`, and ignore them.
pub(crate) const HEARING: [&str; 2] = ["env", "--default-signal=HUP,INT,TERM"];

/// A call that is being put together.
pub(crate) struct Call {
    command: Command,
    input: Vec<u8>,
}

/// What a call did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A command for the program in which nothing of this machine's user shows: no home, no
/// variables of proxies, of terminals or of other clients.
pub(crate) fn command(home: &Path) -> Command {
    let [starter, option] = HEARING;
    let mut command = Command::new(starter);
    command.args([option, PROGRAM]);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", home).current_dir(home);
    command
}

/// `quorlite -H 127.0.0.1 -p PORT ...`, in the server's scratch folder.
pub(crate) fn quorlite(server: &Server, arguments: &[&str]) -> Call {
    let mut command = command(server.scratch());
    command.args(["-H", "127.0.0.1", "-p", &server.http().port().to_string()]).args(arguments);
    Call { command, input: Vec::new() }
}

/// `quorlite ...`, in this folder, with no server given.
pub(crate) fn quorlite_alone(home: &Path, arguments: &[&str]) -> Call {
    let mut command = command(home);
    command.args(arguments);
    Call { command, input: Vec::new() }
}

impl Call {
    pub(crate) fn input(mut self, input: impl AsRef<[u8]>) -> Self {
        self.input = input.as_ref().to_vec();
        self
    }

    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self) -> Ran {
        let (stdin, stdout, stderr) = (Stdio::piped(), Stdio::piped(), Stdio::piped());
        let mut child = self.command.stdin(stdin).stdout(stdout).stderr(stderr).spawn();
        let child = child.as_mut().expect("the client starts");
        let mut stdin = child.stdin.take().expect("it was piped");
        let input = std::mem::take(&mut self.input);
        // It may end without having read all of it.
        let writer = os::spawn("stdin", move || stdin.write_all(&input).ok());
        let stdout = child.stdout.take().expect("it was piped");
        let stderr = child.stderr.take().expect("it was piped");
        let stderr = os::spawn("stderr", move || std::io::read_to_string(stderr));
        let stdout = std::io::read_to_string(stdout).expect("the client prints UTF-8");
        let stderr = stderr
            .expect("threads are there")
            .join()
            .expect("reading ends")
            .expect("the client prints UTF-8");
        writer.expect("threads are there").join().expect("writing ends");
        let status = child.wait().expect("it can be waited for").code();
        Ran { status, stdout, stderr }
    }
}

impl Ran {
    /// What went to standard output, of a call that must have succeeded.
    pub(crate) fn expect(self) -> String {
        assert_eq!(self.status, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Insists on this exit status, on nothing in standard output, and on a word of the sentence.
    pub(crate) fn fails(&self, status: i32, word: &str) {
        assert_eq!((self.status, self.stdout.as_str()), (Some(status), ""), "{}", self.stderr);
        assert!(self.stderr.contains(word), "{word} in {}", self.stderr);
    }
}
