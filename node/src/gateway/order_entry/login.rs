//! Log-ins: asked of the doorman, answered when he is done.

use super::inbound::{Aside, Login};
use super::{Closing, Gateway, Past};
use crate::faults::mutation::{Mutation, Planted};
use crate::gateway::passwords::{Attempt, Verdict};
use crate::reactor::ports::{ConnId, Sockets};
use api::binary::login::{LoginReject, SessionName};
use api::binary::stream::first_to_send;
use book::command::DownCause;
use book::ids::{SessionId, UserName};
use book::units::TsNs;

impl Gateway {
    pub(super) fn ask_doorman(&mut self, now: TsNs, id: ConnId, login: Login) {
        let known = UserName::new(&login.user).and_then(|user| self.by_user.get(&user)).copied();
        let facts = known.and_then(|session| self.desk(session)).map(|desk| &desk.facts);
        let attempt = Attempt {
            conn: id,
            session: known,
            password: login.password,
            password_hash: facts.map_or_else(String::new, |facts| facts.password_hash.clone()),
        };
        let Some(conn) = self.conn_mut(id) else { return };
        (conn.wanted, conn.wanted_name) = (login.sequence, login.name);
        if self.wiring.door.attempts.push(attempt).is_err() {
            // Not held against the address: nobody has looked at the password.
            self.refuse_login(now, id, LoginReject::NotAuthorised);
        }
    }

    pub(super) fn refuse_login(&mut self, now: TsNs, id: ConnId, why: LoginReject) {
        self.wiring.status.logins_refused.add(1);
        let Some(conn) = self.conn_mut(id) else { return };
        let mut close = None;
        conn.protocol.reject(now, why, &mut Aside { control: &mut conn.control, close: &mut close });
        conn.closing = Some(Closing::within(now, DownCause::Disconnect));
        self.mark_dirty(id);
    }

    pub(super) fn take_verdicts(&mut self, now: TsNs, reactor: &mut impl Sockets) -> usize {
        let mut count = 0;
        while let Ok(Verdict { conn, session }) = self.wiring.door.verdicts.pop() {
            count += 1;
            match session {
                Some(session) => self.let_in(now, conn, session, reactor),
                None => {
                    if let Some(address) = self.conn_mut(conn).map(|conn| conn.address) {
                        self.note_failure(now, address);
                    }
                    self.refuse_login(now, conn, LoginReject::NotAuthorised);
                }
            }
        }
        count
    }

    /// Opens the session on this connection. An older connection of it goes, without cancel-on-disconnect: a half-open
    /// socket must not lock a trader out, nor its end cancel what the trader has just come back to.
    pub(super) fn let_in(&mut self, now: TsNs, id: ConnId, session: SessionId, reactor: &mut impl Sockets) {
        let stream = self.streams.stream_mut(session);
        let (oldest, next) = (stream.oldest_seq(), stream.next_seq());
        let Some((wanted, name)) = self.conn_mut(id).map(|conn| (conn.wanted, conn.wanted_name)) else { return };
        let named = name.is_blank() || name == SessionName::of_session(session);
        let Some(first) = first_to_send(wanted, next).filter(|_| named) else {
            return self.refuse_login(now, id, LoginReject::NoSession);
        };
        let Some(conn) = self.conn_mut(id) else { return };
        let mut close = None;
        let mut out = Aside { control: &mut conn.control, close: &mut close };
        if !conn.protocol.accept(now, SessionName::of_session(session), first, &mut out) {
            return;
        }
        conn.session = Some(session);
        conn.next = first.planted(Mutation::ResumeOffByOne, || first.next());
        conn.came_at = next;
        conn.past = if first < oldest { Past::Wanted } else { Past::Caught };
        self.mark_dirty(id);
        let Some(desk) = self.desk_mut(session) else { return };
        desk.down = None;
        let before = desk.conn.replace(id);
        self.wiring.status.sessions_open.set(self.wiring.status.sessions_open.get() + 1);
        if let Some(before) = before {
            self.wiring.status.sessions_open.set(self.wiring.status.sessions_open.get() - 1);
            self.close(now, before, DownCause::Disconnect, reactor);
        }
    }
}
