//! `/db/execute`, `/db/query` and `/db/request`: statements in, results out.
//!
//! A write goes through the log whole, with the JSON it came as. Reads run on the connection's
//! own thread and end when the client has gone. Nothing here looks into SQL, but for the pragmas
//! that would change the database file behind the node's back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::body::{self, Form as BodyForm, Submission};
use super::params::{self, Flag, Params};
use super::remote::{Carried, Task};
use super::results::{self, Endpoint, Envelope, Form};
use super::{Api, reply};
use crate::command::{Batch, Statement};
use crate::db::outcome::{Outcome, StatementResult};
use crate::db::readers::Gone;
use crate::db::scan::disallowed_pragma;
use crate::http::{Method, Reply, Request};
use crate::node::{Answer, Level, ProposeError, Query, ReadError};
use crate::stats::{self, Stat};

/// Instructions of SQLite's virtual machine that stand for a microsecond of `db_timeout` in a
/// write. Every node must give up at the same place, so a write is limited by work and not by a
/// clock; on machines of today a microsecond is 20 to 100 of them, so the time is approximate.
const INSTRUCTIONS_PER_MICROSECOND: u64 = 50;

/// Runs statements that write.
pub(super) fn execute(api: &Api, request: &mut Request<'_>, params: &Params) -> Reply {
    if params.has(Flag::Queue) {
        return api.enqueue(request, params);
    }
    stats::add(Stat::Executions, 1);
    let started = Instant::now();
    let form = form(Endpoint::Execute, params);
    let submission = match api.submission(request, params, BodyForm::JsonOrText, form, None) {
        Ok(submission) => submission,
        Err(answer) => return answer,
    };
    stats::add(Stat::ExecuteStatements, count(&submission.statements));
    api.write(request, params, submission, Call { form, level: Level::Strong, started })
}

/// Runs statements that only read.
pub(super) fn query(api: &Api, request: &mut Request<'_>, params: &Params) -> Reply {
    let started = Instant::now();
    let form = form(Endpoint::Query, params);
    let level = api.level(params);
    let submission = match api.submission(request, params, BodyForm::JsonOrText, form, Some(level))
    {
        Ok(submission) => submission,
        Err(answer) => return answer,
    };
    stats::add(Stat::QueryStatements, count(&submission.statements));
    api.read(request, params, &submission, Call { form, level, started })
}

/// Runs statements of both kinds, through the log if one of them writes.
pub(super) fn request(api: &Api, request: &mut Request<'_>, params: &Params) -> Reply {
    let started = Instant::now();
    let form = form(Endpoint::Request, params);
    let level = api.level(params);
    let submission = match api.submission(request, params, BodyForm::Json, form, Some(level)) {
        Ok(submission) => submission,
        Err(answer) => return answer,
    };
    stats::add(Stat::RequestStatements, count(&submission.statements));
    let call = Call { form, level, started };
    if level == Level::Strong {
        return api.write(request, params, submission, call);
    }
    match api.node.is_read_only(&submission.statements) {
        Ok(true) => api.read(request, params, &submission, call),
        Ok(false) => api.write(request, params, submission, call),
        Err(error) => api.fail_results(error.into(), request, params, call.form),
    }
}

/// What is answered, how fresh, and since when it is worked on.
#[derive(Clone, Copy)]
struct Call {
    form: Form,
    level: Level,
    started: Instant,
}

impl Api {
    /// Reads what a request asks for, or has the leader answer it: without a level, and at any
    /// but none.
    ///
    /// # Errors
    /// The answer, good or bad.
    fn submission(
        &self,
        request: &mut Request<'_>,
        params: &Params,
        body_form: BodyForm,
        form: Form,
        level: Option<Level>,
    ) -> Result<Submission, Reply> {
        let is_get = request.method == Method::Get;
        let body = if is_get { Vec::new() } else { body::read(request)? };
        if level != Some(Level::None)
            && let Some(answer) =
                self.elsewhere(request, params, Carried::AsSent(&body), Task::Data(form))
        {
            return Err(answer);
        }
        if is_get {
            let statements = params.sql.clone().map(Statement::plain).into_iter().collect();
            return Ok(Submission { statements, payload: Vec::new() });
        }
        body::submission(request, body, body_form)
    }

    /// What is answered after all when this node does not lead any more: nothing was done here.
    fn retry_elsewhere(
        &self,
        request: &mut Request<'_>,
        params: &Params,
        payload: &[u8],
        form: Form,
    ) -> Reply {
        self.elsewhere(request, params, Carried::AsJson(payload), Task::Data(form))
            .unwrap_or_else(|| self.not_leader(request, params))
    }

    fn write(
        &self,
        request: &mut Request<'_>,
        params: &Params,
        submission: Submission,
        call: Call,
    ) -> Reply {
        let Submission { statements, payload } = submission;
        if statements.iter().any(|statement| disallowed_pragma(&statement.sql)) {
            return self.disallowed(call.form);
        }
        if statements.is_empty() {
            return self.results(&Answer { index: 0, outcomes: Vec::new() }, params, call);
        }
        let batch = Batch {
            statements,
            transaction: params.has(Flag::Transaction),
            returns_rows: call.form.endpoint == Endpoint::Request,
            qualify_columns: params.has(Flag::QualifyColumns),
            instructions_max: params.db_timeout.map_or(0, instructions),
        };
        match self.node.execute(batch, &payload, self.settings.apply_timeout) {
            Ok(answer) => self.results(&answer, params, call),
            Err(ProposeError::NotLeader) => {
                self.retry_elsewhere(request, params, &payload, call.form)
            }
            Err(error) => self.fail_results(error.into(), request, params, call.form),
        }
    }

    fn read(
        &self,
        request: &mut Request<'_>,
        params: &Params,
        submission: &Submission,
        call: Call,
    ) -> Reply {
        let Submission { statements, payload } = submission;
        let level = call.level;
        if statements.iter().any(|statement| disallowed_pragma(&statement.sql)) {
            return self.disallowed(call.form);
        }
        if statements.is_empty() {
            return self.results(&Answer { index: 0, outcomes: Vec::new() }, params, call);
        }
        let query = Query {
            statements,
            transaction: params.has(Flag::Transaction),
            qualify_columns: params.has(Flag::QualifyColumns),
            level,
            freshness: params.freshness.filter(|_| level == Level::None),
            wait_max: match level {
                Level::Linearizable => params.linearizable_timeout,
                Level::None | Level::Weak | Level::Strong => self.settings.apply_timeout,
            },
            statement_time_max: params.db_timeout,
        };
        let client = request.client.clone();
        let gone: Gone = Arc::new(move || client.is_gone());
        match self.node.query(&query, &gone) {
            Ok(answer) => self.results(&answer, params, call),
            Err(ReadError::NotLeader) => self.retry_elsewhere(request, params, payload, call.form),
            Err(error) => self.fail_results(error.into(), request, params, call.form),
        }
    }

    /// The level asked for. On its own, a replica answers for itself and a voter asks the leader.
    fn level(&self, params: &Params) -> Level {
        if let params::Level::Fixed(level) = params.level {
            return level;
        }
        let is_voter = self.node.cluster().own().is_none_or(|member| member.is_voter);
        if is_voter { Level::Weak } else { Level::None }
    }

    fn results(&self, answer: &Answer, params: &Params, call: Call) -> Reply {
        count_outcomes(&answer.outcomes, call.form.endpoint, params);
        let envelope = Envelope {
            error: None,
            seconds: call.started.elapsed().as_secs_f64(),
            sequence_number: None,
            raft_index: if params.has(Flag::RaftIndex) { answer.index } else { 0 },
        };
        self.served(reply::bytes(results::encode(&answer.outcomes, envelope, call.form)))
    }

    /// Refuses a whole request for one of its pragmas.
    pub(super) fn disallowed(&self, form: Form) -> Reply {
        let envelope = Envelope { error: Some("disallowed pragma"), ..Envelope::default() };
        self.served(reply::bytes(results::encode(&[], envelope, form)))
    }
}

/// How this client wants its results.
pub(super) fn form(endpoint: Endpoint, params: &Params) -> Form {
    Form {
        endpoint,
        associative: params.has(Flag::Associative),
        blob_array: params.has(Flag::BlobArray),
        timings: params.has(Flag::Timings),
        pretty: params.has(Flag::Pretty),
    }
}

fn count(statements: &[Statement]) -> u64 {
    u64::try_from(statements.len()).unwrap_or(u64::MAX)
}

fn count_outcomes(outcomes: &[Outcome], endpoint: Endpoint, params: &Params) {
    let (runs, transactions, failures) = match endpoint {
        Endpoint::Execute => {
            (Stat::DbExecutions, Stat::DbExecuteTransactions, Stat::DbExecutionErrors)
        }
        Endpoint::Query => (Stat::DbQueries, Stat::DbQueryTransactions, Stat::DbQueryErrors),
        Endpoint::Request => {
            (Stat::DbRequests, Stat::DbRequestTransactions, Stat::DbExecutionErrors)
        }
    };
    let has_failed = |outcome: &&Outcome| matches!(outcome.result, StatementResult::Failed(_));
    stats::add(runs, u64::try_from(outcomes.len()).unwrap_or(u64::MAX));
    stats::add(transactions, u64::from(params.has(Flag::Transaction)));
    let failed = outcomes.iter().filter(has_failed).count();
    stats::add(failures, u64::try_from(failed).unwrap_or(u64::MAX));
}

/// A time as an amount of work; at least 1, since 0 means the default.
fn instructions(time: Duration) -> u64 {
    u64::try_from(time.as_micros())
        .unwrap_or(u64::MAX)
        .saturating_mul(INSTRUCTIONS_PER_MICROSECOND)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_limit_is_an_amount_of_work() {
        assert_eq!(instructions(Duration::from_millis(1)), 1000 * INSTRUCTIONS_PER_MICROSECOND);
        assert_eq!(instructions(Duration::from_nanos(1)), 1);
        assert_eq!(instructions(Duration::MAX), u64::MAX);
    }
}
