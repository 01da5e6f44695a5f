//! Logins: each waits for its turn, its password is verified on another thread, then the session opens on the
//! connection or the login is rejected.
//!
//! ```text
//!  login --> verified before ----------------------------------------> verified --> session opens
//!        '-> login queue --its turn--> checking thread --verdict--> correct --'
//!                                                              '--> wrong: counted at once, rejected after a delay
//! ```
//! Invariants: a login is rejected as wrong only if its password was verified and is wrong; whatever the node has no
//! room for is closed without an answer. One cycle gives so many turns, and opens so many sessions.

use super::inbound::Login;
use super::logins::{InCheck, Logins, VerifiedLogin};
use super::{Closing, Gateway, ResendState, SessionRecord};
use crate::faults::mutation::{Mutation, Planted};
use crate::gateway::address_block::AddressBlock;
use crate::gateway::login_locks::Claim;
use crate::gateway::login_queue::{Place, QueueFull, QueuedLogin};
use crate::gateway::passwords::{Attempt, Finding};
use crate::gateway::returns::Return;
use crate::gateway::send_buffer::ControlOutput;
use crate::gateway::verified::Verified;
use crate::reactor::ports::{ConnId, Sockets};
use crate::status::logins::LoginRefusal;
use api::binary::login::{LoginReject, SessionName};
use api::binary::stream::{SessionSeq, first_to_send};
use book::command::DownCause;
use book::ids::{SessionId, UserName};
use book::rules::Rules;
use book::units::TsNs;
use std::net::IpAddr;

/// Turns that one cycle gives, and sessions that it opens, so that a crowd of clients does not hold up the others.
const LOGINS_PER_CYCLE_MAX: usize = 16;

impl Gateway {
    pub(super) fn login_requested(&mut self, now: TsNs, id: ConnId, login: Login, reactor: &mut impl Sockets) {
        self.awaited_logins.remove(id);
        let Some(conn) = self.conn_mut(id) else { return };
        (conn.requested, conn.requested_name) = (login.sequence, login.name);
        let address = conn.address;
        let claim = Claim { block: AddressBlock::of(address), user: UserName::new(&login.user) };
        if self.logins.locks.is_locked(now, &claim) {
            return self.refuse_locked(now, id, address, &claim, reactor);
        }
        let number = self.logins.next_number();
        let session = claim.user.and_then(|user| self.by_user.get(&user)).copied();
        if let Some(record) = session.and_then(|session| self.session_mut(session)) {
            record.logins.insert(number);
        }
        if let Some(session) = session
            && self.is_verified(session, &login.password)
        {
            return self.let_in(id, session, number);
        }
        self.join_queue(now, QueuedLogin { conn: id, address, claim, number, password: login.password }, reactor);
    }

    /// Whether this password of the session was verified before.
    fn is_verified(&self, session: SessionId, password: &str) -> bool {
        let Some(verified) = self.session(session).and_then(|record| record.verified) else { return false };
        self.digest(session, password) == Some(verified)
    }

    fn digest(&self, session: SessionId, password: &str) -> Option<Verified> {
        let facts = &self.session(session)?.facts;
        Some(self.logins.key.digest(facts.user, password, &facts.password_hash))
    }

    fn join_queue(&mut self, now: TsNs, login: QueuedLogin, reactor: &mut impl Sockets) {
        let (id, claim, number) = (login.conn, login.claim, login.number);
        match self.logins.queue.join(login) {
            Ok((place, gave_way)) => {
                if let Some(conn) = self.conn_mut(id) {
                    conn.waits = Some(place);
                }
                if let Some(other) = gave_way {
                    self.turn_away(now, other.conn, &other.claim, other.number, reactor);
                }
            }
            Err(QueueFull) => self.turn_away(now, id, &claim, number, reactor),
        }
    }

    /// Closes a connection for whose login there is no place. An answer would say that the password is wrong.
    fn turn_away(&mut self, now: TsNs, id: ConnId, claim: &Claim, number: u64, reactor: &mut impl Sockets) {
        self.end_wait(claim, number);
        if let Some(conn) = self.conn_mut(id) {
            conn.waits = None;
        }
        self.wiring.status.logins.note(LoginRefusal::QueueFull);
        if let Some(unlogged) = self.logins.refusal_log.admit(now) {
            let (user, block) = (claim.user(), &claim.block);
            tracing::warn!(user, %block, unlogged, "login closed without an answer: session.login_queue_max logins wait");
        }
        if false.planted(Mutation::BusyIsWrong, |_| true) {
            return self.reject_login(now, id, LoginReject::NotAuthorised);
        }
        self.close(now, id, DownCause::Disconnect, reactor);
    }

    fn refuse_locked(&mut self, now: TsNs, id: ConnId, address: IpAddr, claim: &Claim, reactor: &mut impl Sockets) {
        self.wiring.status.logins.note(LoginRefusal::Locked);
        if let Some(unlogged) = self.logins.refusal_log.admit(now) {
            tracing::info!(user = claim.user(), %address, unlogged, "login refused: the user is locked at these addresses");
        }
        self.close(now, id, DownCause::Disconnect, reactor);
    }

    /// The login with this number no longer waits for anything.
    fn end_wait(&mut self, claim: &Claim, number: u64) {
        let session = claim.user.and_then(|user| self.by_user.get(&user)).copied();
        if let Some(record) = session.and_then(|session| self.session_mut(session)) {
            record.logins.remove(&number);
        }
    }

    /// The connection of a login that waits has ended.
    pub(super) fn leave_queue(&mut self, place: Place) {
        if let Some(login) = self.logins.queue.leave(place) {
            self.end_wait(&login.claim, login.number);
        }
    }

    /// Gives turns, looks at verdicts, opens sessions and rejects logins. Returns the work done.
    pub(super) fn poll_logins(&mut self, now: TsNs, reactor: &mut impl Sockets) -> usize {
        let mut work = 0;
        while work < LOGINS_PER_CYCLE_MAX
            && let Some((checked, finding)) = self.logins.next_verdict()
        {
            work += 1;
            self.judge(now, checked, finding, reactor);
        }
        work + self.give_turns(now, reactor) + self.open_verified(now, reactor) + self.reject_wrong(now)
    }

    fn judge(&mut self, now: TsNs, checked: InCheck, finding: Finding, reactor: &mut impl Sockets) {
        let InCheck { conn: id, address, claim, number, session, digest, password_number } = checked;
        // One that was changed meanwhile opens no session.
        let is_current = |record: &SessionRecord| record.password_number == password_number;
        match (finding, session.filter(|session| self.session(*session).is_some_and(is_current))) {
            (Finding::Correct(_), Some(session)) => {
                self.logins.locks.correct(&claim);
                if let Some(record) = self.session_mut(session) {
                    record.verified = digest;
                }
                self.let_in(id, session, number);
            }
            // Closed without an answer: a refusal would say that the password is wrong.
            (Finding::Correct(_), None) | (Finding::NotVerified, _) => {
                self.logins.locks.not_verified(&claim);
                self.end_wait(&claim, number);
                self.wiring.status.logins.note(LoginRefusal::NotVerified);
                self.close(now, id, DownCause::Disconnect, reactor);
            }
            (Finding::Wrong, _) => {
                self.end_wait(&claim, number);
                self.note_wrong(now, address, &claim);
                self.logins.wrong.push_back((TsNs(now.0 + self.limits.login_failure_delay_ns), id));
            }
        }
    }

    fn note_wrong(&mut self, now: TsNs, address: IpAddr, claim: &Claim) {
        self.wiring.status.logins.note(LoginRefusal::Wrong);
        let is_locked = self.logins.locks.wrong(now, claim);
        let user = claim.user();
        if let Some(unlogged) = self.logins.refusal_log.admit(now) {
            tracing::info!(user, %address, unlogged, "login refused: the user is unknown or the password is wrong");
        }
        if is_locked {
            self.wiring.status.logins.locks.add(1);
            if let Some(unlogged) = self.logins.lock_log.admit(now) {
                let (block, failures) = (&claim.block, self.limits.login_failures_max);
                let seconds = self.limits.login_failure_window_ns / 1_000_000_000;
                tracing::warn!(user, %block, failures, seconds, unlogged, "too many wrong passwords: the user is locked there");
            }
        }
    }

    fn give_turns(&mut self, now: TsNs, reactor: &mut impl Sockets) -> usize {
        let mut count = 0;
        while count < LOGINS_PER_CYCLE_MAX
            && !self.logins.queue.is_empty()
            && let Some(checker) = self.logins.free_checker()
        {
            let Logins { queue, locks, .. } = &mut self.logins;
            let Some(login) = queue.next(|login| !locks.has_to_wait(now, &login.claim)) else { break };
            count += 1;
            self.give_turn(now, checker, login, reactor);
        }
        count
    }

    /// The timeouts of a login count from here.
    fn give_turn(&mut self, now: TsNs, checker: usize, login: QueuedLogin, reactor: &mut impl Sockets) {
        let QueuedLogin { conn: id, address, claim, number, password } = login;
        if let Some(conn) = self.conn_mut(id) {
            conn.waits = None;
            conn.protocol.turn_begins(now);
        }
        // While it waited the claim may have been locked, and another login of the session verified the same password.
        if self.logins.locks.is_locked(now, &claim) {
            self.end_wait(&claim, number);
            return self.refuse_locked(now, id, address, &claim, reactor);
        }
        let session = claim.user.and_then(|user| self.by_user.get(&user)).copied();
        let digest = session.and_then(|session| self.digest(session, &password));
        let facts = session.and_then(|session| self.session(session));
        if let (Some(session), Some(record)) = (session, facts)
            && digest.is_some()
            && record.verified == digest
        {
            return self.let_in(id, session, number);
        }
        let password_hash = facts.map_or_else(String::new, |record| record.facts.password_hash.clone());
        let password_number = facts.map_or(0, |record| record.password_number);
        self.logins.locks.begin(claim);
        let checker = &mut self.logins.checkers[checker];
        checker.in_check.push_back(InCheck { conn: id, address, claim, number, session, digest, password_number });
        let attempt = Attempt { conn: id, session, password, password_hash };
        checker.port.attempts.push(attempt).expect("the ring has room for what is in check");
    }

    /// The password is right: the session opens in its turn, if it still has this password.
    fn let_in(&mut self, conn: ConnId, session: SessionId, number: u64) {
        let password_number = self.session(session).map_or(0, |record| record.password_number);
        self.logins.verified.push_back(VerifiedLogin { conn, session, number, password_number });
    }

    fn open_verified(&mut self, now: TsNs, reactor: &mut impl Sockets) -> usize {
        let mut count = 0;
        while count < LOGINS_PER_CYCLE_MAX
            && self.ends.is_empty()
            && let Some(VerifiedLogin { conn: id, session, number, password_number }) = self.logins.verified.pop_front()
        {
            count += 1;
            if self.session(session).is_some_and(|record| record.password_number == password_number) {
                self.open_session(now, id, session, reactor);
            } else {
                self.wiring.status.logins.note(LoginRefusal::NotVerified);
                self.close(now, id, DownCause::Disconnect, reactor);
            }
            if let Some(record) = self.session_mut(session) {
                record.logins.remove(&number);
            }
        }
        count
    }

    fn reject_wrong(&mut self, now: TsNs) -> usize {
        let mut count = 0;
        while let Some((_, id)) = self.logins.wrong.pop_front_if(|(due, _)| *due <= now) {
            count += 1;
            self.reject_login(now, id, LoginReject::NotAuthorised);
        }
        count
    }

    fn reject_login(&mut self, now: TsNs, id: ConnId, why: LoginReject) {
        let Some(conn) = self.conn_mut(id) else { return };
        conn.protocol.reject(now, why, &mut ControlOutput::new(&mut conn.control));
        conn.closing = Some(Closing::new(now, DownCause::Disconnect));
        self.mark_unsent(id);
    }

    /// Opens the session on this connection. An older connection of the session is closed without a grace window: a
    /// half-open socket must not lock a trader out, nor its end cancel the orders of a trader who is back.
    fn open_session(&mut self, now: TsNs, id: ConnId, session: SessionId, reactor: &mut impl Sockets) {
        let stream = self.streams.stream(session);
        let (oldest, next) = (stream.oldest_seq(), stream.next_seq());
        let Some((requested, name)) = self.conn_mut(id).map(|conn| (conn.requested, conn.requested_name)) else {
            return;
        };
        let Some(facts) = self.session(session).map(|record| &record.facts).filter(|facts| !facts.removed) else {
            self.wiring.status.logins.note(LoginRefusal::NotVerified);
            return self.close(now, id, DownCause::Disconnect, reactor);
        };
        let life_name = |tag| SessionName::of_life(session, tag);
        let own_name = facts.life.map_or_else(|| SessionName::of_session(session, &self.run), life_name);
        let is_own_name = (name.is_blank() || name == own_name).planted(Mutation::OldStreamTakenUp, |_| true);
        let first = first_in_life(requested, self.streams.first_of(session), next).filter(|_| is_own_name);
        let Some(first) = first else {
            self.wiring.status.logins.note(LoginRefusal::NoSession);
            return self.reject_login(now, id, LoginReject::NoSession);
        };
        let Some(conn) = self.conn_mut(id) else { return };
        let mut output = ControlOutput::new(&mut conn.control);
        if !conn.protocol.accept(now, own_name, first, &mut output) {
            return;
        }
        conn.session = Some(session);
        conn.next = first.planted(Mutation::ResumeOffByOne, |_| first.next());
        conn.next_at_login = next;
        conn.resend = if first < oldest { ResendState::Needed } else { ResendState::Live };
        self.mark_unsent(id);
        let address = self.conn_mut(id).map(|conn| conn.address);
        self.wiring.status.sessions_on.came(session, address, now, first.0);
        let Some(record) = self.session_mut(session) else { return };
        let grace = record.grace.take();
        let replaced = record.conn.replace(id);
        if grace.is_some_and(|grace| grace.after_start) {
            self.note_return(now, Return::Back);
        }
        self.wiring.status.sessions_open.set(self.wiring.status.sessions_open.get() + 1);
        if let Some(replaced) = replaced {
            self.wiring.status.sessions_open.set(self.wiring.status.sessions_open.get() - 1);
            if Rules::Two <= self.rules {
                self.log_end(session, DownCause::Displaced, now);
            }
            self.close(now, replaced, DownCause::Disconnect, reactor);
        }
    }
}

/// The number from which a stream is sent, whose present life begins at `life_first`; `None` for one that it never had.
/// Its first message is also asked for as number 1.
fn first_in_life(requested: SessionSeq, life_first: SessionSeq, next: SessionSeq) -> Option<SessionSeq> {
    let requested = if requested == SessionSeq::FIRST { life_first } else { requested };
    let of_life = requested == SessionSeq::HEAD || life_first <= requested;
    let of_life = of_life.planted(Mutation::OldStreamTakenUp, |_| true);
    first_to_send(requested, next).filter(|_| of_life)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers_of_an_earlier_life_are_refused() {
        let (first, next) = (SessionSeq(1_000), SessionSeq(1_004));
        let of = |requested| first_in_life(SessionSeq(requested), first, next).map(|seq| seq.0);
        assert_eq!([of(0), of(1)], [Some(1_004), Some(1_000)], "the head, and the beginning");
        assert_eq!([of(1_000), of(1_002), of(1_004)], [Some(1_000), Some(1_002), Some(1_004)]);
        assert_eq!([of(2), of(999), of(1_005)], [None; 3]);
    }

    #[test]
    fn a_stream_is_taken_up_in_its_own_life_only() {
        numbers_of_an_earlier_life_are_refused();
        let of = |requested| first_in_life(SessionSeq(requested), SessionSeq::FIRST, SessionSeq(4)).map(|seq| seq.0);
        assert_eq!([of(0), of(1), of(3), of(4), of(5)], [Some(4), Some(1), Some(3), Some(4), None]);
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn an_old_stream_that_is_taken_up_is_noticed() {
        crate::faults::mutation::assert_noticed(Mutation::OldStreamTakenUp, numbers_of_an_earlier_life_are_refused);
    }
}
