//! What stands on a command that is to be quarantined: commands and checks after it, and clients that know its outcome.
//!
//! ```text
//!  .. | N | same frame | later frames, checks ........ end
//!       '--- answered, up to the mark ---'  perhaps answered
//! ```
//! A command that crashed the engine before it was answered is the last of its log, or nearly so. One that was answered
//! has changed balances that clients have seen, and every command after it was decided on them.

use super::quarantine_list::QuarantineError;
use crate::offline::as_of::ScannedLog;
use crate::terminal::output::DecodedCommand;
use anyhow::Result;
use book::codec;
use book::command::Command;
use book::engine::Engine;
use book::ids::SessionId;
use book::units::Seq;
use node::faults::mutation::{Mutation, Planted};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use wal::units::Lsn;
use wal::walk::Start;

#[derive(Debug)]
pub(super) struct Consequences {
    seq: Lsn,
    /// The command itself, as far as this build can decode it.
    pub command: DecodedCommand,
    /// Commands after it.
    follow: u64,
    /// Of these, commands in frames that were written after its own.
    follow_later: u64,
    /// Checks after it.
    checks: u64,
    /// Answers to commands up to this sequence have left the node for certain.
    answered: Lsn,
    /// Sessions whose commands, from this one on, were answered for certain, with the number of these commands. As many
    /// as there are sessions at most.
    informed: BTreeMap<SessionId, u64>,
}

impl Consequences {
    pub(super) fn of(log: &ScannedLog<'_>, answered: Lsn, seq: Lsn) -> Result<Self> {
        let end = log.range.end.seq;
        let frame = log.inspection().frames(Start::At(seq))?.next_frame()?.map(|(frame, _)| frame.seq_last());
        let mut found = Self {
            seq,
            command: Err("it is not in the log".to_owned()),
            follow: end.0 - seq.0,
            follow_later: end.0 - frame.unwrap_or(end).0,
            checks: 0,
            answered,
            informed: BTreeMap::new(),
        };
        log.for_each_record(Start::At(seq), |at, bytes| {
            found.note(at, codec::decode(bytes).map_err(|error| error.to_string()));
            Ok(true)
        })?;
        Ok(found)
    }

    fn note(&mut self, at: Seq, command: DecodedCommand) {
        if let Ok(record) = &command {
            self.checks += u64::from(matches!(record.command, Command::Check(_)) && self.seq.0 < at.0);
            if let Some(session) = session_of(&record.command).filter(|_| at.0 <= self.answered.0) {
                *self.informed.entry(session).or_default() += 1;
            }
        }
        if at.0 == self.seq.0 {
            self.command = command;
        }
    }

    fn is_answered(&self) -> bool {
        (self.seq <= self.answered).planted(Mutation::AnsweredQuarantined, |_| false)
    }

    /// Fails where the command must not be quarantined without force.
    pub(super) fn check(&self, is_forced: bool) -> Result<(), QuarantineError> {
        let seq = self.seq;
        if self.command.as_ref().is_ok_and(|record| matches!(record.command, Command::Check(_))) {
            return Err(QuarantineError::Check { seq });
        }
        let mut reasons = Vec::new();
        if self.is_answered() {
            reasons.push(format!("the high-water mark is {}, so clients know its outcome", self.answered));
        }
        if 0 < self.follow_later {
            reasons.push(format!("{} commands of later frames stand on it", self.follow_later));
        }
        if 0 < self.checks {
            reasons.push(format!("{} recorded hashes stand on it", self.checks));
        }
        if is_forced || reasons.is_empty() {
            return Ok(());
        }
        Err(QuarantineError::StoodOn { seq, why: reasons.join(", and ") })
    }

    pub(super) fn as_json(&self, engine: &Engine) -> Value {
        let informed: Vec<Value> = self
            .informed
            .iter()
            .map(|(session, commands)| {
                json!({ "session": session.0, "user": user_of(engine, *session), "commands": commands })
            })
            .collect();
        json!({
            "commands_after": self.follow, "commands_in_later_frames": self.follow_later, "checks_after": self.checks,
            "answered": self.is_answered(), "seq_answered": self.answered.0, "informed": informed,
        })
    }

    pub(super) fn as_text(&self, engine: &Engine) -> String {
        let Self { follow, checks, answered, .. } = self;
        let mut text = format!("after it      {follow} commands, {checks} of them checks\n");
        text += &match self.is_answered() {
            true => format!("answered      yes: every command up to sequence {answered} was\n"),
            false => format!("answered      not for certain: the high-water mark is {answered}\n"),
        };
        for (session, commands) in &self.informed {
            let user = user_of(engine, *session).unwrap_or_default();
            text += &format!(
                "informed          session {} ({user}): the outcome of {commands} commands from it on\n",
                session.0
            );
        }
        text
    }
}

fn user_of(engine: &Engine, session: SessionId) -> Option<String> {
    let found = engine.sessions().iter().find(|(id, _)| *id == session);
    found.map(|(_, session)| session.user.as_str().to_owned())
}

/// The session that gets the answers to a command.
fn session_of(command: &Command) -> Option<SessionId> {
    let session = match command {
        Command::Place(c) => c.session,
        Command::Cancel(c) => c.session,
        Command::Amend(c) => c.session,
        Command::CancelReplace(c) => c.place.session,
        Command::MassCancel(c) => c.session,
        Command::Refuse(c) => c.session,
        Command::Query(c) => c.session,
        Command::SetSession(c) => c.session,
        Command::SessionDown(_)
        | Command::ConnectionEnd(_)
        | Command::Admin(_)
        | Command::Check(_)
        | Command::Acted(_)
        | Command::Opened(_)
        | Command::Continue(_) => return None,
    };
    Some(session).filter(|session| !session.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use book::codec::Record;
    use book::command::Check;
    use book::units::TsNs;
    use node::faults::mutation::assert_noticed_where_built;

    fn consequences(answered: u64, follow_later: u64, checks: u64) -> Consequences {
        let command = Err("undecodable".to_owned());
        let (seq, follow, answered, informed) = (Lsn(5), 9, Lsn(answered), BTreeMap::new());
        Consequences { seq, command, follow, follow_later, checks, answered, informed }
    }

    fn what_was_answered_or_stood_on_needs_force() {
        consequences(4, 0, 0).check(false).expect("it crashed before it was answered");
        for (found, why) in [
            (consequences(5, 0, 0), "the high-water mark is 5"),
            (consequences(4, 3, 0), "3 commands of later frames"),
            (consequences(4, 0, 2), "2 recorded hashes"),
        ] {
            let error = found.check(false).expect_err("it needs force").to_string();
            assert!(error.contains(why) && error.contains("--force"), "{error}");
            found.check(true).expect("forced");
        }
    }

    #[test]
    fn a_command_that_something_stands_on_needs_force() {
        what_was_answered_or_stood_on_needs_force();
        let check = Record { ts: TsNs(1), command: Command::Check(Check { hash: 7 }) };
        let found = Consequences { command: Ok(check), ..consequences(0, 0, 0) };
        assert!(matches!(found.check(true), Err(QuarantineError::Check { .. })));
    }

    #[test]
    fn a_quarantine_of_what_was_answered_is_noticed() {
        assert_noticed_where_built(Mutation::AnsweredQuarantined, what_was_answered_or_stood_on_needs_force);
    }
}
