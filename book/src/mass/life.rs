//! The end of a session's life: a new life, or the removal of the session.
//!
//! First every order of the session is cancelled, in parts; then what follows begins. Until then the session may not
//! act (`Walks::is_ending`), so that no order of it is placed between two parts. A part without one before it begins
//! with the oldest order. Invariant: no order of an earlier life is open in a later one, so that a client order id
//! names one order.

use super::{Filter, Start, Sweep};
use crate::command::{AfterLife, LifeEnd, Unfinished};
use crate::engine::Engine;
use crate::event::{CancelReason, Event, Sink};
use crate::ids::{ClOrdId, SessionId};
use crate::mutation::{Mutation, Planted};
use crate::reject::AdminReason;
use crate::run::{LIFE_TAGS, LIVES_MAX, LifeTag};
use crate::session::check_password_hash;

type Answer = Result<Event, AdminReason>;

impl Engine {
    /// The end of the present life of a session that may begin one with this tag.
    pub(crate) fn admit_life(&mut self, id: SessionId, tag: LifeTag) -> Result<LifeEnd, AdminReason> {
        let run = self.run;
        let session = self.session_mut(id)?;
        let present = session.life_in(&run).or((0 < run.life).then_some(run.tag));
        if LIFE_TAGS <= tag.0 || present == Some(tag) {
            return Err(AdminReason::OutOfRange);
        }
        if LIVES_MAX <= session.lives {
            return Err(AdminReason::LimitReached);
        }
        Ok(LifeEnd { session: id, then: AfterLife::Begins(tag) })
    }

    pub(crate) fn end_life<S: Sink>(&mut self, end: &LifeEnd, start: Start, sink: &mut S) {
        let Ok(account) = self.session_mut(end.session).map(|session| session.account) else { return };
        // The part before this one is not in the log, because it was quarantined: older orders may be open too.
        let is_orphan = matches!(start, Start::After { span: None, .. }).planted(Mutation::OrphanGoesOn, |_| false);
        let start = if is_orphan { Start::First } else { start };
        let own = end.session.planted(Mutation::OrdersOutliveLife, |_| SessionId(u32::MAX));
        let filter = Filter { session: Some(own), ..Filter::EVERY };
        let by = (SessionId::NONE, ClOrdId(0));
        let part = self.cancel_filtered(account, &Sweep { filter, reason: CancelReason::Admin, by, start }, sink);
        if part.next.is_some() {
            return self.announce(Unfinished::EndLife(*end), 0, &part, sink);
        }
        let run = self.run;
        let Ok(session) = self.session_mut(end.session) else { return };
        match end.then {
            // Another act may have begun as many meanwhile.
            AfterLife::Begins(_) if LIVES_MAX <= session.lives => {}
            AfterLife::Begins(tag) => {
                session.begin_life(&run, tag);
                let (session, lives) = (end.session, session.lives);
                sink.push(Event::SessionLifeBegan { session, lives, tag, skipped: tag.numbers_skipped() });
            }
            AfterLife::Removed => {
                assert!(session.open_count == 0, "every order of the session is cancelled before it is removed");
                session.removed = true;
                sink.push(Event::SessionRemoved { session: end.session });
            }
        }
    }

    pub(crate) fn set_session_password(&mut self, id: SessionId, password_hash: &str) -> Answer {
        check_password_hash(password_hash)?;
        let session = self.session_mut(id)?;
        password_hash.clone_into(&mut session.password_hash);
        Ok(Event::SessionPasswordChanged { session: id })
    }
}
