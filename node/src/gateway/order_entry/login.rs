//! Logins: the password is verified on another thread, then the session opens on the connection or the login is
//! rejected.

use super::inbound::Login;
use super::{Closing, Gateway, ResendState};
use crate::faults::mutation::{Mutation, Planted};
use crate::gateway::passwords::{Attempt, Finding, Verdict};
use crate::gateway::send_buffer::ControlOutput;
use crate::reactor::ports::{ConnId, Sockets};
use api::binary::login::{LoginReject, SessionName};
use api::binary::stream::{SessionSeq, first_to_send};
use book::command::DownCause;
use book::ids::{SessionId, UserName};
use book::units::TsNs;

impl Gateway {
    pub(super) fn request_password_check(&mut self, now: TsNs, id: ConnId, login: Login) {
        let known = UserName::new(&login.user).and_then(|user| self.by_user.get(&user)).copied();
        let facts = known.and_then(|session| self.session(session)).map(|session| &session.facts);
        let attempt = Attempt {
            conn: id,
            session: known,
            password: login.password,
            password_hash: facts.map_or_else(String::new, |facts| facts.password_hash.clone()),
        };
        self.awaited_logins.remove(id);
        let Some(conn) = self.conn_mut(id) else { return };
        (conn.requested, conn.requested_name) = (login.sequence, login.name);
        if self.wiring.passwords.attempts.push(attempt).is_err() {
            // Too many logins wait. The password was not checked, so this does not count as a failure of the address.
            self.reject_login(now, id, LoginReject::NotAuthorised);
        }
    }

    fn reject_login(&mut self, now: TsNs, id: ConnId, why: LoginReject) {
        self.wiring.status.logins_refused.add(1);
        let Some(conn) = self.conn_mut(id) else { return };
        conn.protocol.reject(now, why, &mut ControlOutput::new(&mut conn.control));
        conn.closing = Some(Closing::new(now, DownCause::Disconnect));
        self.mark_unsent(id);
    }

    pub(super) fn poll_verdicts(&mut self, now: TsNs, reactor: &mut impl Sockets) -> usize {
        let mut count = 0;
        while let Ok(Verdict { conn, finding }) = self.wiring.passwords.verdicts.pop() {
            count += 1;
            match finding {
                Finding::Correct(session) => self.open_session(now, conn, session, reactor),
                // Closed without an answer: a refusal would say that the password is wrong.
                Finding::NotVerified => self.close(now, conn, DownCause::Disconnect, reactor),
                Finding::Wrong => {
                    if let Some(address) = self.conn_mut(conn).map(|conn| conn.address) {
                        self.count_login_failure(now, address);
                    }
                    self.reject_login(now, conn, LoginReject::NotAuthorised);
                }
            }
        }
        count
    }

    /// Opens the session on this connection. An older connection of the session is closed without a grace window: a
    /// half-open socket must not lock a trader out, nor its end cancel the orders of a trader who is back.
    fn open_session(&mut self, now: TsNs, id: ConnId, session: SessionId, reactor: &mut impl Sockets) {
        let stream = self.streams.stream_mut(session);
        let (oldest, next) = (stream.oldest_seq(), stream.next_seq());
        let Some((requested, name)) = self.conn_mut(id).map(|conn| (conn.requested, conn.requested_name)) else {
            return;
        };
        let own_name = SessionName::of_session(session, &self.run);
        let is_own_name = (name.is_blank() || name == own_name).planted(Mutation::OldStreamTakenUp, |_| true);
        let first = first_in_life(requested, self.streams.first(), next).filter(|_| is_own_name);
        let Some(first) = first else {
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
        let Some(record) = self.session_mut(session) else { return };
        record.grace = None;
        let replaced = record.conn.replace(id);
        self.wiring.status.sessions_open.set(self.wiring.status.sessions_open.get() + 1);
        if let Some(replaced) = replaced {
            self.wiring.status.sessions_open.set(self.wiring.status.sessions_open.get() - 1);
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
        crate::faults::mutation::plant(Some(Mutation::OldStreamTakenUp));
        let outcome = std::panic::catch_unwind(numbers_of_an_earlier_life_are_refused);
        crate::faults::mutation::plant(None);
        assert!(outcome.is_err());
    }
}
