//! Translates the events of one command into answers for sessions and items of the public feed.
//!
//! The live engine, recovery and the shadow use the same code, so that they give the same streams, byte for byte.

use crate::replica::mass_cancels::goes_on;
use crate::rings::feed_items::FeedItem;
use api::binary::encode::{EncodeContext, ExecIds, answers};
use api::instruments::Instruments;
use book::engine::Engine;
use book::event::Event;
use book::ids::{AccountId, SessionId};
use book::session::DROP_COPIES_PER_ACCOUNT_MAX;
use book::units::{Stamp, TsNs};

/// What the events of a command were, for counters and for continuing the command.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    pub fills: u64,
    pub rejects: u64,
    /// The command met more orders than one command may cancel or tell, so it has to be continued.
    pub more: bool,
}

/// Receives translated events.
pub trait Outlet {
    fn answer(&mut self, session: SessionId, bytes: &[u8]);
    fn public(&mut self, item: FeedItem);

    /// The session's stream begins a new life, which leaves so many numbers out. The live node learns it in the control
    /// ring.
    fn life_began(&mut self, _session: SessionId, _skipped: u64) {}
}

/// What translation has to know about earlier commands. It depends on events alone, so it is the same wherever the log
/// is applied.
#[derive(Clone, Debug, Default)]
pub struct Translator {
    instruments: Instruments,
    copies: DropCopies,
    /// Numbers that lives of the streams have skipped.
    skipped: u64,
}

impl Translator {
    /// The translator that has seen every event up to this state.
    pub fn of(engine: &Engine) -> Self {
        let mut translator = Self { skipped: engine.run().skipped, ..Self::default() };
        for book in engine.accounts().assets() {
            translator.instruments.add_asset(book.asset);
        }
        for market in engine.markets() {
            translator.instruments.set_market(market.rules);
        }
        for (id, session) in engine.sessions().iter() {
            translator.copies.learn(id, session.account, session.drop_copy);
            if session.removed {
                translator.copies.forget(id);
            }
        }
        translator
    }

    pub fn instruments(&self) -> &Instruments {
        &self.instruments
    }

    /// Translates the events of one command, whose request reached the node at `received`. Both times are in the log,
    /// and no other is used, so a replay gives the same bytes.
    pub fn translate(&mut self, stamp: Stamp, received: TsNs, events: &[Event], outlet: &mut impl Outlet) -> Summary {
        let Self { instruments, copies, skipped } = self;
        let mut summary = Summary::default();
        let public_last = events.iter().rposition(FeedItem::is_public);
        let mut exec_ids = ExecIds::of_command(stamp.seq, *skipped);
        for (idx, event) in events.iter().enumerate() {
            instruments.apply(event);
            let Some(exec_id) = exec_ids.next(event) else { continue };
            let context = EncodeContext { stamp, exec_id, gateway_in: received };
            answers(event, instruments, &context, &mut |session, bytes| {
                outlet.answer(session, bytes);
                copies.of(session).for_each(|copy| outlet.answer(copy, bytes));
            });
            if FeedItem::is_public(event) {
                outlet.public(FeedItem { stamp, event: *event, last: public_last == Some(idx) });
            }
            match event {
                Event::Fill(_) => summary.fills += 1,
                Event::Rejected(_) | Event::CancelRejected(_) => summary.rejects += 1,
                Event::RunBegan { skipped: more, .. } => *skipped += more,
                Event::SessionLifeBegan { session, skipped, .. } => outlet.life_began(*session, *skipped),
                Event::SessionRemoved { session } => copies.forget(*session),
                event if goes_on(event) => summary.more = true,
                Event::SessionAdded { session, account, drop_copy, .. } => {
                    copies.learn(*session, *account, *drop_copy);
                }
                _ => {}
            }
        }
        summary
    }
}

type Copies = [SessionId; DROP_COPIES_PER_ACCOUNT_MAX];

/// Drop copies: sessions that receive a copy of every message to the other sessions of their account.
#[derive(Clone, Debug, Default)]
struct DropCopies {
    /// By session: its account, and whether it is a drop copy itself.
    sessions: Vec<(AccountId, bool)>,
    /// By account: its drop copies.
    copies: Vec<Copies>,
}

impl DropCopies {
    fn learn(&mut self, session: SessionId, account: AccountId, is_copy: bool) {
        assert!(session.0 as usize == self.sessions.len() + 1, "session ids are dense");
        self.sessions.push((account, is_copy));
        if self.copies.len() < account.0 as usize {
            self.copies.resize(account.0 as usize, [SessionId::NONE; DROP_COPIES_PER_ACCOUNT_MAX]);
        }
        if is_copy {
            let copies = &mut self.copies[account.0 as usize - 1];
            let free = copies.iter_mut().find(|c| c.is_none()).expect("the engine limits drop copies per account");
            *free = session;
        }
    }

    /// The session is removed: it receives nothing more.
    fn forget(&mut self, session: SessionId) {
        let (account, is_copy) = self.sessions[session.0 as usize - 1];
        if is_copy {
            let copies = &mut self.copies[account.0 as usize - 1];
            let kept = copies.iter().copied().filter(|copy| *copy != session && !copy.is_none());
            let kept: Vec<SessionId> = kept.collect();
            *copies = std::array::from_fn(|idx| kept.get(idx).copied().unwrap_or(SessionId::NONE));
        }
    }

    #[inline]
    fn of(&self, session: SessionId) -> impl Iterator<Item = SessionId> + '_ {
        let (account, is_copy) = self.sessions[session.0 as usize - 1];
        let copies = if is_copy { &[][..] } else { &self.copies[account.0 as usize - 1][..] };
        copies.iter().copied().take_while(|copy| !copy.is_none())
    }
}
