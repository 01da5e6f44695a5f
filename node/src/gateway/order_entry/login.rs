//! Logins: the password is verified on another thread, then the session opens on the connection or the login is
//! rejected.

use super::inbound::Login;
use super::{Closing, Gateway, ResendState};
use crate::faults::mutation::{Mutation, Planted};
use crate::gateway::passwords::{Attempt, Finding, Verdict};
use crate::gateway::send_buffer::ControlOutput;
use crate::reactor::ports::{ConnId, Sockets};
use api::binary::login::{LoginReject, SessionName};
use api::binary::stream::first_to_send;
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
        let is_own_name = name.is_blank() || name == SessionName::of_session(session);
        let Some(first) = first_to_send(requested, next).filter(|_| is_own_name) else {
            return self.reject_login(now, id, LoginReject::NoSession);
        };
        let Some(conn) = self.conn_mut(id) else { return };
        let mut output = ControlOutput::new(&mut conn.control);
        if !conn.protocol.accept(now, SessionName::of_session(session), first, &mut output) {
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
