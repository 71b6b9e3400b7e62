//! What can be set, in one place: `.show` shows it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use super::{Outcome, Shell, usage};
use crate::client::failure::Failure;
use crate::client::output::{Format, Style};

/// Everything that is set.
pub(super) struct Options {
    pub(super) blobarray: bool,
    pub(super) changes: bool,
    pub(super) consistency: Consistency,
    pub(super) forcewrites: bool,
    pub(super) mode: Format,
    output: Output,
    pub(super) timer: bool,
}

/// How fresh reads must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consistency {
    None,
    Weak,
    Linearizable,
    Strong,
}

const CONSISTENCIES: [(&str, Consistency); 4] = [
    ("none", Consistency::None),
    ("weak", Consistency::Weak),
    ("linearizable", Consistency::Linearizable),
    ("strong", Consistency::Strong),
];

/// Formats by the names that `.mode` knows; the first four are rqlite's, and the
/// first of a format is shown.
pub(super) const MODES: [(&str, Format); 9] = [
    ("column", Format::Table),
    ("csv", Format::Csv),
    ("json", Format::Json),
    ("line", Format::Line),
    ("insert", Format::Insert),
    ("jsonl", Format::Jsonl),
    ("list", Format::List),
    ("tsv", Format::Tsv),
    ("table", Format::Table),
];

/// The table that rows are inserted into in mode `insert`, as sqlite3 calls it.
const INSERT_TABLE: &str = "table";

/// Where rows go.
enum Output {
    Standard,
    File(PathBuf, BufWriter<File>),
}

impl Default for Options {
    fn default() -> Options {
        Options {
            blobarray: false,
            changes: false,
            consistency: Consistency::Weak,
            forcewrites: false,
            mode: Format::Table,
            output: Output::Standard,
            timer: false,
        }
    }
}

impl Options {
    /// How rows are written to standard output, `has_colours` there or not.
    pub(super) fn style(&self, has_colours: bool) -> Style {
        Style {
            format: self.mode,
            headers: None,
            null: None,
            table: INSERT_TABLE.to_owned(),
            is_rqlite: true,
            has_colours: has_colours && matches!(self.output, Output::Standard),
        }
    }

    /// Has `write` write rows to where they go.
    pub(super) fn write_rows(
        &mut self,
        standard: &mut dyn Write,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Outcome {
        match &mut self.output {
            Output::Standard => Ok(write(standard)?),
            Output::File(path, file) => {
                let written = write(file).and_then(|()| file.flush());
                Ok(written.map_err(|error| Failure::local(path.display(), &error))?)
            }
        }
    }

    fn show(&self) -> String {
        let output = match &self.output {
            Output::Standard => "stdout".to_owned(),
            Output::File(path, _) => path.display().to_string(),
        };
        format!(
            "  blobarray: {}\n  changes: {}\n  consistency: {}\n  forcewrites: {}\n  mode: {}\n  \
             output: {output}\n  timer: {}",
            on_off(self.blobarray),
            on_off(self.changes),
            name(&CONSISTENCIES, self.consistency),
            on_off(self.forcewrites),
            name(&MODES, self.mode),
            on_off(self.timer),
        )
    }
}

impl Consistency {
    /// What rqlite's API calls it.
    pub(super) fn name(self) -> &'static str {
        name(&CONSISTENCIES, self)
    }
}

fn name<T: Copy + PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, named)| *named == value).map_or("", |(name, _)| name)
}

fn named<T: Copy>(names: &[(&'static str, T)], name: &str) -> Option<T> {
    names.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

fn on_off(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

/// Shows what is set, or sets it.
fn toggle(shell: &mut Shell<'_>, argument: &str, of: fn(&mut Options) -> &mut bool) -> Outcome {
    let option = of(&mut shell.options);
    match argument {
        "" => {
            let shown = on_off(*option);
            shell.say(shown)
        }
        "on" => {
            *option = true;
            Ok(())
        }
        "off" => {
            *option = false;
            Ok(())
        }
        other => Err(usage(format!("invalid option '{other}'. Use 'on' or 'off' (default)"))),
    }
}

pub(super) fn blobarray(shell: &mut Shell<'_>, argument: &str) -> Outcome {
    toggle(shell, argument, |options| &mut options.blobarray)
}

pub(super) fn changes(shell: &mut Shell<'_>, argument: &str) -> Outcome {
    toggle(shell, argument, |options| &mut options.changes)
}

pub(super) fn forcewrites(shell: &mut Shell<'_>, argument: &str) -> Outcome {
    toggle(shell, argument, |options| &mut options.forcewrites)
}

pub(super) fn timer(shell: &mut Shell<'_>, argument: &str) -> Outcome {
    toggle(shell, argument, |options| &mut options.timer)
}

pub(super) fn consistency(shell: &mut Shell<'_>, argument: &str) -> Outcome {
    if argument.is_empty() {
        return shell.say(shell.options.consistency.name());
    }
    shell.options.consistency = named(&CONSISTENCIES, argument).ok_or_else(|| {
        usage(format!(
            "invalid consistency '{argument}'. Use 'none', 'weak', 'linearizable', or 'strong'"
        ))
    })?;
    Ok(())
}

pub(super) fn mode(shell: &mut Shell<'_>, argument: &str) -> Outcome {
    if argument.is_empty() {
        return shell.say(name(&MODES, shell.options.mode));
    }
    shell.options.mode = named(&MODES, argument).ok_or_else(|| {
        usage(format!("invalid mode '{argument}'. Use 'column', 'csv', 'json', or 'line'"))
    })?;
    Ok(())
}

pub(super) fn output(shell: &mut Shell<'_>, argument: &str) -> Outcome {
    if argument.is_empty() || argument == "stdout" {
        shell.options.output = Output::Standard;
        return Ok(());
    }
    let path = PathBuf::from(argument);
    let file = File::create(&path).map_err(|error| Failure::local(path.display(), &error))?;
    shell.options.output = Output::File(path, BufWriter::new(file));
    Ok(())
}

pub(super) fn show(shell: &mut Shell<'_>, _: &str) -> Outcome {
    let shown = shell.options.show();
    shell.say(&shown)
}
