//! The sections that rules 2 brought: names of orders, the run, ages, sessions' own lives, and what is unfinished.

use super::{Loader, Outcome, SnapshotError, ensure};
use crate::command::{CodMode, Unfinished};
use crate::engine::{Engine, Market};
use crate::ids::AccountId;
use crate::intake::IntakeState;
use crate::names::{CLIENT_NAMES_MAX, NAMES_PER_ACCOUNT_MAX, Name};
use crate::rules::Rules;
use crate::run::{LIFE_TAGS, LIVES_MAX, LifeTag, Run};
use crate::session::{DROP_COPIES_PER_ACCOUNT_MAX, Session, SessionLife};
use crate::snapshot::rows::{
    EndedNameRow, IntakeRow, KeyHistoryRow, NamesMaxRow, OpenNameRow, ReferenceTimeRow, RequestsRow, RulesRow, RunRow,
    SessionLifeRow, WalkRow,
};
use crate::units::TsNs;
use crate::walks::{Span, Walk};
use std::collections::BTreeMap;

impl Loader {
    /// Drop copies are few and cancel nothing, and what is over has nothing open.
    pub(super) fn check_sessions(&self) -> Result<(), SnapshotError> {
        let Engine { sessions, rules, .. } = &self.engine;
        let mut copies: BTreeMap<AccountId, usize> = BTreeMap::new();
        for (_, session) in sessions.iter().filter(|(_, session)| session.drop_copy && !session.removed) {
            let count = copies.entry(session.account).or_default();
            *count += 1;
            if DROP_COPIES_PER_ACCOUNT_MAX < *count {
                return Err(SnapshotError::Disagreement("an account has too many drop copies"));
            }
        }
        if Rules::Two <= *rules && sessions.iter().any(|(_, s)| s.drop_copy && s.cod_mode != CodMode::Off) {
            return Err(SnapshotError::Disagreement("a drop copy has cancel-on-disconnect"));
        }
        let changed = |session: &Session| session.removed || 0 < session.lives;
        if *rules < Rules::Two && sessions.iter().any(|(_, session)| changed(session)) {
            return Err(SnapshotError::Disagreement("under rules 1 no session begins a life or is removed"));
        }
        if sessions.iter().any(|(_, session)| session.removed && 0 < session.open_count) {
            return Err(SnapshotError::Disagreement("a removed session has open orders"));
        }
        Ok(())
    }

    /// Under rules 1 nothing leaves the state, so nothing has a time by which it would.
    pub(super) fn restore_ages(&mut self) -> Result<(), SnapshotError> {
        let Engine { references, keys, rules, markets, .. } = &mut self.engine;
        let leaves = !self.reference_times.is_empty() || !self.key_history.is_empty();
        if *rules < Rules::Two && (leaves || markets.iter().any(Market::is_removed)) {
            return Err(SnapshotError::Disagreement("under rules 1 nothing leaves the state"));
        }
        if !references.restore_times(&self.reference_times) {
            return Err(SnapshotError::Disagreement("the times of references do not fit them"));
        }
        if let Some(((id_last, at), history)) = self.key_history.split_last()
            && (0 < at.0 || !keys.restore_history(history, *id_last))
        {
            return Err(SnapshotError::Disagreement("the history of keys does not fit them"));
        }
        Ok(())
    }

    pub(super) fn take_names_max(&mut self, NamesMaxRow(max): NamesMaxRow) -> Outcome {
        ensure(0 < max && max <= CLIENT_NAMES_MAX, "the bound of names is out of range")?;
        self.engine.names.set_max(max);
        Ok(())
    }

    pub(super) fn take_run(&mut self, row: RunRow) -> Outcome {
        let RunRow { directory, may_lose, life, tag, skipped } = row;
        ensure(self.engine.run == Run::default(), "there is a run already")?;
        let fits = life <= LIVES_MAX && tag.0 < LIFE_TAGS && skipped <= u64::from(life) << 35;
        ensure(fits && (life == 0) == (skipped == 0), "the lives and the numbers that they skip do not fit")?;
        self.engine.run = Run { directory, may_lose, life, tag, skipped };
        Ok(())
    }

    pub(super) fn take_open_name(&mut self, row: OpenNameRow) -> Outcome {
        let Engine { pool, names, stamp, .. } = &mut self.engine;
        let slot = pool.orders.find(row.order_id).ok_or("the order of the name is not open")?;
        let order = pool.orders.get(slot);
        ensure(order.traits.is_named() && names.of_slot(slot).is_none(), "the order has another name, or none")?;
        ensure(names.is_free(order.account, row.key), "the name is taken")?;
        ensure(row.seq <= stamp.seq, "the order of the name was placed after the last command")?;
        names.take(Name::open(order.account, row.key, row.order_id, row.seq), slot);
        self.named_count += 1;
        Ok(())
    }

    pub(super) fn take_ended_name(&mut self, row: EndedNameRow) -> Outcome {
        let Engine { accounts, names, stamp, .. } = &mut self.engine;
        ensure(accounts.get(row.account).is_some(), "the account is unknown")?;
        ensure(names.is_free(row.account, row.key), "the name is taken")?;
        ensure(
            names.ended_last() <= row.ended && row.ended <= stamp.ts && row.seq <= stamp.seq,
            "the names are not in the order of their end",
        )?;
        ensure(names.ended_count(row.account) < NAMES_PER_ACCOUNT_MAX, "the account has more names than it may have")?;
        names.restore_ended(Name::open(row.account, row.key, row.order_id, row.seq), row.ended);
        Ok(())
    }

    pub(super) fn take_reference_time(&mut self, ReferenceTimeRow(ts): ReferenceTimeRow) -> Outcome {
        let newest = self.reference_times.last().copied().unwrap_or(TsNs(1));
        ensure(newest <= ts && ts <= self.engine.stamp.ts, "the references are not in the order of their age")?;
        ensure(self.reference_times.len() < self.engine.references.len(), "there are more times than references")?;
        self.reference_times.push(ts);
        Ok(())
    }

    pub(super) fn take_key_history(&mut self, KeyHistoryRow { id, revoked_at }: KeyHistoryRow) -> Outcome {
        ensure(revoked_at <= self.engine.stamp.ts, "a key was revoked after the last command")?;
        ensure(self.key_history.len() <= self.engine.keys.len(), "there are more times than keys")?;
        self.key_history.push((id, revoked_at));
        Ok(())
    }

    pub(super) fn take_rules(&mut self, row: RulesRow) -> Outcome {
        ensure(self.engine.rules == Rules::One, "there is a rules version already")?;
        match Rules::of(row.0) {
            Some(rules) => self.engine.rules = rules,
            None => self.rules_unknown = Some(row.0),
        }
        ensure(row.0 != Rules::One.version(), "rules 1 is never written down")
    }

    pub(super) fn take_session_life(&mut self, row: SessionLifeRow) -> Outcome {
        let SessionLifeRow { session, lives, of, tag, removed } = row;
        ensure(self.session_life_last < session, "the sessions are out of order")?;
        self.session_life_last = session;
        let run_life = self.engine.run.life;
        let session = self.engine.sessions.get_mut(session).ok_or("the session is unknown")?;
        let is_none = (lives, of, tag) == (0, 0, LifeTag(0));
        let is_life = 0 < lives && lives <= LIVES_MAX && of <= run_life && tag.0 < LIFE_TAGS;
        ensure(is_life || is_none && removed, "the life of the session is out of range")?;
        (session.lives, session.life, session.removed) = (lives, SessionLife { of, tag }, removed);
        Ok(())
    }

    pub(super) fn take_intake(&mut self, row: IntakeRow) -> Outcome {
        ensure(self.engine.intake == IntakeState::All, "there is an intake already")?;
        self.engine.intake = row.0;
        ensure(row.0 != IntakeState::All, "an intake that takes all is never written down")
    }

    pub(super) fn take_walk(&mut self, row: WalkRow) -> Outcome {
        let walk = Walk { of: row.of, at: row.at, span: Span { next: row.next, last: row.last } };
        ensure(self.engine.is_sound(&walk), "the orders of the unfinished command are not open, or not in order")?;
        let is_second = matches!(&walk.of, Unfinished::SessionDown(down) if self.engine.open.walks.has_end(down));
        ensure(!is_second, "two ends of a session's connection are unfinished")?;
        self.engine.open.walks.begin(walk);
        Ok(())
    }

    pub(super) fn take_requests(&mut self, row: RequestsRow) -> Outcome {
        let session = self.engine.sessions.get_mut(row.session).ok_or("the session is unknown")?;
        ensure(
            session.requests.empty_at == TsNs(0) && TsNs(0) < row.empty_at,
            "the session has such a row, or needs none",
        )?;
        session.requests.empty_at = row.empty_at;
        Ok(())
    }
}
