//! `query`: SQL that reads.

use super::batch::Batch;
use super::levels::Levels;
use super::parameters::Parameters;
use super::printing::{self, Printing};
use super::source;
use crate::client::Session;
use crate::client::connection::Effect;
use crate::client::failure::Failure;

/// What stands below the options in the help text.
const DETAILS: &str = "\
Options may stand before and after the SQL; what begins with a dash and is no number goes behind --.
Several statements are printed one after the other; PARAM is for a single one.

  quorlite query 'SELECT name FROM users WHERE zip = ?' 01234
  quorlite query --named 'SELECT :a || :b' a=x b=y
  quorlite query --json-params 'SELECT ? IS NULL, hex(?)' null '[0,255]'
  echo 'SELECT * FROM users' | quorlite query --format csv > users.csv
";

#[derive(Debug, clap::Args)]
#[command(after_help = DETAILS)]
pub(in crate::client) struct Query {
    /// The statement; - or nothing reads it from standard input
    sql: Option<String>,
    #[command(flatten)]
    parameters: Parameters,
    #[command(flatten)]
    levels: Levels,
    #[command(flatten)]
    printing: Printing,
}

impl Query {
    pub(in crate::client) fn run(&self, session: &mut Session) -> Result<(), Failure> {
        let style = self.printing.style(session)?;
        let mut asked = Vec::new();
        self.levels.add_to(&mut asked)?;
        self.printing.add_to(&mut asked);
        let (mut batch, _) = batch(self.sql.as_deref(), &self.parameters)?;
        let received = batch.send(session, "db/query", &asked, Effect::None)?;
        let results = received.results_of(batch.len())?;
        printing::print_all(session, &style, &results, batch.len(), |session, _, done| {
            printing::print_seconds(session, done.seconds);
            Ok(())
        })
    }
}

/// The statements of the command line, with their parameters and as they are.
pub(super) fn batch(
    sql: Option<&str>,
    parameters: &Parameters,
) -> Result<(Batch, Vec<String>), Failure> {
    let values = parameters.json()?;
    let statements = source::statements(sql)?;
    if statements.len() > 1 && !parameters.is_empty() {
        let text = "parameters are for a single statement, and there are several";
        return Err(Failure::usage(text));
    }
    for statement in &statements {
        parameters.check(statement)?;
    }
    let mut batch = Batch::default();
    for statement in &statements {
        batch.push(statement, &values, 1);
    }
    Ok((batch, statements))
}
