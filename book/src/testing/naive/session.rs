//! What the ends of connections and of lives do to a session.

use super::{Naive, Order, Session, Turn, at, at_mut};
use crate::command::*;
use crate::event::*;
use crate::ids::*;
use crate::reject::RejectReason;
use crate::rules::{Rules, RulesVersion};

/// The longest window: an hour.
const WINDOW_MS_MAX: u32 = 60 * 60 * 1_000;

fn cancels(session: &Session, cause: DownCause) -> bool {
    match (session.cod_mode, cause) {
        (CodMode::Off, _) | (_, DownCause::Displaced) => false,
        (CodMode::Both, _) => true,
        (mode, DownCause::Disconnect) => mode == CodMode::OnDisconnect,
        (mode, DownCause::Logout) => mode == CodMode::OnLogout,
    }
}

impl Naive {
    pub(super) fn add_session(&mut self, spec: &SessionSpec) {
        self.sessions.push(Session {
            account: spec.account,
            drop_copy: spec.drop_copy,
            blocked: false,
            by_operator: false,
            last: ClOrdId(0),
            cod_mode: spec.cod_mode,
            cod_scope: spec.cod_scope,
            window_ms: spec.cod_window_ms,
            lives: 0,
            removed: false,
            throttle: spec.throttle,
            drained_at: 0,
            requests_drained_at: 0,
        });
    }

    /// From then on no drop copy cancels on disconnect.
    pub(super) fn set_rules(&mut self, version: RulesVersion) {
        self.rules = Rules::of(version).unwrap_or(self.rules);
        let copies = self.sessions.iter_mut().filter(|session| session.drop_copy);
        copies.for_each(|copy| copy.cod_mode = CodMode::Off);
    }

    pub(super) fn set_session(&mut self, set: &SetSession) {
        let rules = self.rules;
        let Some(session) = at_mut(&mut self.sessions, set.session.0) else { return };
        if session.removed || rules == Rules::Two && session.drop_copy {
            return self.request_refused(set.session, set.request, RejectReason::NotAuthorised);
        }
        if !self.passes_requests(set.session, false) {
            return self.request_refused(set.session, set.request, RejectReason::Throttled);
        }
        let Some(session) = at_mut(&mut self.sessions, set.session.0) else { return };
        (session.cod_mode, session.cod_scope) = (set.cod_mode, set.cod_scope);
        session.window_ms = set.cod_window_ms.min(WINDOW_MS_MAX);
    }

    pub(super) fn connection_end(&mut self, end: &ConnectionEnd) {
        let Some(session) = at(&self.sessions, end.session.0) else { return };
        if self.rules == Rules::One || session.removed || !cancels(session, end.cause) {
            return;
        }
        if session.window_ms == 0 {
            let down = SessionDown { session: end.session, cause: end.cause, continued: false };
            return self.session_down(&down, Turn::First, 0);
        }
        let ConnectionEnd { session: id, cause, number } = *end;
        let window_ms = session.window_ms;
        self.events.push(Event::WindowBegan(WindowBegan { session: id, cause, number, window_ms }));
    }

    pub(super) fn administer_session(&mut self, admin: &Admin) {
        match *admin {
            Admin::BeginSessionLife { session, tag } => {
                self.end_life(&LifeEnd { session, then: AfterLife::Begins(tag) }, Turn::First);
            }
            Admin::RemoveSession { session } => {
                self.end_life(&LifeEnd { session, then: AfterLife::Removed }, Turn::First);
            }
            Admin::SetSessionPassword { session, .. } => {
                self.events.push(Event::SessionPasswordChanged { session });
            }
            Admin::DisconnectSession { session } => self.events.push(Event::SessionDisconnected { session }),
            _ => unreachable!("{admin:?} is about no session"),
        }
    }

    pub(super) fn end_life(&mut self, end: &LifeEnd, turn: Turn) {
        let Some(session) = at(&self.sessions, end.session.0).filter(|session| !session.removed) else { return };
        // A part without one before it begins with the oldest order.
        let turn = if matches!(turn, Turn::Next(_, None)) { Turn::First } else { turn };
        let own = |o: &Order| o.session == end.session;
        let (visited, next) = self.handled(self.of_account(session.account), own, turn);
        let upto = self.upto(turn);
        visited.iter().for_each(|order| self.end(order, CancelReason::Admin, (SessionId::NONE, ClOrdId(0))));
        if next.is_some() {
            return self.unfinished(Unfinished::EndLife(*end), next, 0, Some(upto));
        }
        let session = &mut self.sessions[end.session.0 as usize - 1];
        match end.then {
            AfterLife::Begins(tag) => {
                session.lives += 1;
                session.last = ClOrdId(0);
                let (session, lives) = (end.session, session.lives);
                let skipped = (1 << 34) + u64::from(tag.0) * (1 << 14);
                self.events.push(Event::SessionLifeBegan { session, lives, tag, skipped });
            }
            AfterLife::Removed => {
                session.removed = true;
                self.events.push(Event::SessionRemoved { session: end.session });
            }
        }
    }

    pub(super) fn session_down(&mut self, down: &SessionDown, turn: Turn, before: u32) {
        let Some(session) = at(&self.sessions, down.session.0).filter(|session| !session.removed) else { return };
        let takes_effect = cancels(session, down.cause);
        let (account, by_session) = (session.account, session.cod_scope == CodScope::Session);
        if !takes_effect {
            return;
        }
        // An end that has orders left to look at begins again, also for this one.
        let (youngest, rest) =
            (OrderId(self.number), Unfinished::SessionDown(SessionDown { continued: true, ..*down }));
        let is_new = matches!(turn, Turn::First) && self.rules == Rules::Two;
        if let Some(unended) = self.unended.iter_mut().find(|unended| is_new && unended.of == rest) {
            (unended.from, unended.upto) = (OrderId::NONE, youngest);
            return;
        }
        let own = |o: &Order| (!by_session || o.session == down.session) && !o.persist;
        let (visited, next) = self.handled(self.of_account(account), own, turn);
        let upto = self.upto(turn);
        visited.iter().for_each(|order| self.end(order, CancelReason::Disconnect, (SessionId::NONE, ClOrdId(0))));
        let canceled = before + visited.len() as u32;
        if canceled > 0 {
            self.events.push(Event::MassCanceled(MassCanceled {
                session: down.session,
                cl_ord_id: ClOrdId(0),
                account,
                market: MarketId::NONE,
                scope: if by_session { MassScope::Session } else { MassScope::Account },
                count: visited.len() as u32,
                blocked: false,
                more: next.is_some(),
            }));
        }
        self.unfinished(Unfinished::SessionDown(SessionDown { continued: true, ..*down }), next, canceled, Some(upto));
    }
}
