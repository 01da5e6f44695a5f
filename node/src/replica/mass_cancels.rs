//! Continuations: one command cancels or tells a bounded number of orders, and a mass cancel or a status query that
//! meets more is continued by further commands.
//!
//! The engine loop logs a continuation when it has its turn (`engine::unfinished`). If the node ends before that, the
//! next start finds in the log that a continuation is pending, and goes on with it. Invariant: pending continuations
//! depend on the log alone; a snapshot contains them, because it stands for the log before it.

use crate::faults::mutation::{Mutation, Planted};
use book::codec::{self, PayloadVersion};
use book::command::{Act, Command, MassCancel};
use book::event::Event;
use book::units::TsNs;

/// Tag of a snapshot's pieces, one for each pending continuation. Tags 64 and 65 are in `stream_positions`.
const TAG_CONTINUATION: u8 = 66;
/// Limit of an encoded continuation.
const COMMAND_BYTES_MAX: usize = 256;

/// Continuations that are not in the log yet, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Continuations(Vec<Command>);

impl Continuations {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Updates the pending continuations after one record of the log and its events.
    #[inline]
    pub fn follow(&mut self, record: &[u8], events: &[Event]) {
        let more = events.iter().any(goes_on);
        if more || !self.0.is_empty() {
            self.note(record, events, more);
        }
    }

    #[cold]
    fn note(&mut self, record: &[u8], events: &[Event], more: bool) {
        // A record that cannot be decoded was skipped, so it needs no continuation.
        let Ok(record) = codec::decode(record) else { return };
        if let Some(idx) = self.0.iter().position(|pending| *pending == record.command) {
            self.0.remove(idx);
        }
        if more {
            self.0.push(continuation(&record.command, events));
        }
    }

    /// Writes each pending continuation as a piece of a snapshot.
    pub fn save<E>(&self, put: &mut impl FnMut(u8, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let unfinished = self.0.as_slice().planted(Mutation::UnfinishedForgottenInSnapshot, |_| &[]);
        for command in unfinished {
            let mut bytes = [0; COMMAND_BYTES_MAX];
            let len = codec::encode(PayloadVersion::One, TsNs(0), command, &mut bytes)
                .expect("an encoded cancel is no larger than its bound");
            put(TAG_CONTINUATION, &bytes[..len])?;
        }
        Ok(())
    }

    /// Loads one piece; false if it is not a continuation.
    pub fn take(&mut self, tag: u8, piece: &[u8]) -> bool {
        let pending = match codec::decode(piece) {
            Ok(record) if tag == TAG_CONTINUATION => record.command,
            _ => return false,
        };
        let continues = matches!(pending, Command::MassCancel(_) | Command::SessionDown(_) | Command::Continue(_));
        if continues {
            self.0.push(pending);
        }
        continues
    }

    pub fn into_commands(self) -> Vec<Command> {
        self.0
    }
}

/// Whether an event says that its command is to be continued.
#[inline]
pub fn goes_on(event: &Event) -> bool {
    matches!(event, Event::MassCanceled(mass) if mass.more) || matches!(event, Event::Unfinished(_))
}

/// The command that continues one which had more to do than one command may. From rules 2 on the engine says it itself.
#[cold]
pub fn continuation(command: &Command, events: &[Event]) -> Command {
    if let Some(Event::Unfinished(rest)) = events.last() {
        return Command::Continue(*rest);
    }
    let mut next = command.clone();
    match &mut next {
        Command::MassCancel(mass) => mass.continued = true,
        // The node itself continues what an actor began.
        Command::Acted(acted) => {
            let Act::MassCancel(mass) = &acted.act else { unreachable!("{acted:?} cancels at most one order") };
            return Command::MassCancel(MassCancel { continued: true, ..*mass });
        }
        Command::SessionDown(down) => down.continued = true,
        other => unreachable!("{other:?} cancels at most one order"),
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use book::command::{Acted, BlockChange, DownCause, MassScope, OrderRef, Query, Rest, SessionDown, Unfinished};
    use book::event::MassCanceled;
    use book::ids::{AccountId, ClOrdId, ClientKey, MarketId, OrderId, SessionId};

    fn mass() -> MassCancel {
        MassCancel {
            session: SessionId::NONE,
            cl_ord_id: ClOrdId(0),
            account: AccountId(3),
            scope: MassScope::Account,
            market: MarketId(4),
            side: None,
            price_min: None,
            price_max: None,
            cancel_group: 6,
            block: BlockChange::Set,
            continued: false,
        }
    }

    /// The node continues it itself, so no actor is named, and everything else is as it was.
    #[test]
    fn an_acted_mass_cancel_is_continued_without_its_actor() {
        let bare = Command::MassCancel(MassCancel { continued: true, ..mass() });
        let acted = Command::Acted(Box::new(Acted::by_ops(Act::MassCancel(mass()))));
        assert_eq!(continuation(&acted, &[]), bare);
        assert_eq!(continuation(&bare, &[]), bare);
    }

    /// What is pending after these commands, of which each announces more.
    fn pending(commands: &[Command]) -> Continuations {
        let mut pending = Continuations::default();
        for command in commands {
            let mut record = [0; 512];
            let len = codec::encode(PayloadVersion::Two, TsNs(1), command, &mut record).expect("it fits");
            let announced = Event::MassCanceled(MassCanceled {
                session: SessionId::NONE,
                cl_ord_id: ClOrdId(0),
                account: AccountId(3),
                market: MarketId(4),
                scope: MassScope::Account,
                count: 2048,
                blocked: false,
                more: true,
            });
            pending.follow(&record[..len], &[announced]);
        }
        pending
    }

    /// From rules 2 on the engine says what goes on and where.
    #[test]
    fn a_query_is_continued_where_it_stopped() {
        let target = OrderRef { order_id: OrderId::NONE, cl_ord_id: ClOrdId(0), client_key: ClientKey::NONE };
        let (session, account, market) = (SessionId(5), AccountId(3), MarketId::NONE);
        let query = Query { session, request: ClOrdId(1), account, market, target };
        let rest = Rest { of: Unfinished::Tell(query), at: OrderId(9), count: 4 };
        let mut pending = Continuations::default();
        for (command, events, left) in [
            (Command::Query(query), &[Event::Unfinished(rest)][..], vec![Command::Continue(rest)]),
            (Command::Continue(rest), &[][..], vec![]),
        ] {
            let mut record = [0; 512];
            let len = codec::encode(PayloadVersion::Two, TsNs(1), &command, &mut record).expect("it fits");
            pending.follow(&record[..len], events);
            assert_eq!(pending.0, left);
            let mut loaded = Continuations::default();
            let saved: Result<(), ()> =
                pending.save(&mut |tag, piece| if loaded.take(tag, piece) { Ok(()) } else { Err(()) });
            saved.expect("each piece is one of a query");
            assert_eq!(loaded, pending);
        }
    }

    /// Whether a snapshot keeps mass cancels of every kind that are unfinished, in their order.
    fn are_kept() -> bool {
        let (session, cause) = (SessionId(5), DownCause::Disconnect);
        let pending = pending(&[
            Command::MassCancel(MassCancel { session: SessionId(9), cl_ord_id: ClOrdId(7), ..mass() }),
            Command::SessionDown(SessionDown { session, cause, continued: false }),
            Command::Acted(Box::new(Acted::by_ops(Act::MassCancel(mass())))),
        ]);
        assert_eq!(pending.0.len(), 3);
        let mut loaded = Continuations::default();
        let saved: Result<(), ()> =
            pending.save(&mut |tag, piece| if loaded.take(tag, piece) { Ok(()) } else { Err(()) });
        saved.expect("each piece is one of a mass cancel");
        loaded == pending
    }

    #[test]
    fn a_snapshot_keeps_every_unfinished_mass_cancel() {
        assert!(are_kept());
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn an_unfinished_mass_cancel_that_a_snapshot_forgets_is_noticed() {
        crate::faults::mutation::plant(Some(Mutation::UnfinishedForgottenInSnapshot));
        let kept = are_kept();
        crate::faults::mutation::plant(None);
        assert!(!kept);
    }

    /// The part that was pending is in the log, and announces one more.
    #[test]
    fn a_part_that_announces_more_is_pending_once() {
        let first =
            Command::SessionDown(SessionDown { session: SessionId(5), cause: DownCause::Logout, continued: false });
        let second = continuation(&first, &[]);
        assert_eq!(pending(&[first.clone(), second.clone()]).0, std::slice::from_ref(&second));
        let mut ended = pending(&[first]);
        let mut record = [0; 512];
        let len = codec::encode(PayloadVersion::One, TsNs(1), &second, &mut record).expect("it fits");
        ended.follow(&record[..len], &[]);
        assert!(ended.is_empty());
    }
}
