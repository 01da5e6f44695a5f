//! The places at which unfinished commands over an account's orders go on.
//!
//! A command over many orders is done in parts, and other commands come between two of them. A walk remembers the order
//! with which its next part begins and the last one that was open when it began. Orders that are placed later are not
//! meant; when one of the two orders ends, its neighbour on the account's list takes its place. So every order that was
//! open at the beginning, and still is when its turn comes, is visited once, however the list changes meanwhile.
//!
//! Invariant: both orders of a walk are open and on the list of one account, the next one not younger than the last.

use crate::command::{SessionDown, Unfinished};
use crate::ids::{OrderId, SessionId};
use crate::mutation::{Mutation, Planted};
use crate::slab::NIL;
use std::collections::{BTreeMap, BTreeSet};

/// The orders that a walk has left to visit: from `next` to `last` on the account's list, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// `NIL` when none is left.
    pub next: u32,
    /// The youngest order that was open when the walk began, of those that still are. `NIL` when none is.
    pub last: u32,
}

/// A command that is to be continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    pub of: Unfinished,
    /// The order at which the last part stopped, by which the command that continues it names the place.
    pub at: OrderId,
    pub span: Span,
}

/// The order at which a walk stopped, and its number: of several that stopped at one order the oldest comes first.
type WalkKey = (OrderId, u64);

/// All walks. A session has four at most, however often its connection ends: two requests (see `mass`), and one for
/// each cause for which the end of a connection cancels.
#[derive(Debug, Default)]
pub(crate) struct Walks {
    walks: BTreeMap<WalkKey, Walk>,
    /// By the slots of their two orders.
    by_slot: BTreeSet<(u32, WalkKey)>,
    /// Those of ends of connections.
    ends: BTreeMap<(SessionId, u8), WalkKey>,
    /// Requests of a session that are unfinished.
    requests: BTreeMap<SessionId, u32>,
    /// Ends of a session's life that are unfinished.
    endings: BTreeMap<SessionId, u32>,
    number_last: u64,
}

impl Walks {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.walks.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Walk> {
        self.walks.values()
    }

    /// Whether a request of this session over many orders is unfinished.
    pub(crate) fn has_request(&self, session: SessionId) -> bool {
        self.requests.contains_key(&session)
    }

    /// Whether the session's life is about to end, so that it may not act.
    #[inline]
    pub(crate) fn is_ending(&self, session: SessionId) -> bool {
        let is_ending = !self.endings.is_empty() && self.endings.contains_key(&session);
        is_ending.planted(Mutation::EndingTrades, |_| false)
    }

    pub(crate) fn begin(&mut self, walk: Walk) {
        self.number_last += 1;
        let key = (walk.at, self.number_last);
        if let Unfinished::SessionDown(down) = &walk.of {
            // No node writes a record that begins a second one. Such a record is continued without a walk.
            if self.has_end(down) {
                return;
            }
            self.ends.insert(name_of(down), key);
        }
        self.walks.insert(key, walk);
        self.by_slot.extend(slots(walk.span).map(|slot| (slot, key)));
        if let Some((counts, session)) = self.counted(&walk.of) {
            *counts.entry(session).or_default() += 1;
        }
    }

    /// Whether an end of the session's connection for the same cause is unfinished.
    pub(crate) fn has_end(&self, down: &SessionDown) -> bool {
        self.ends.contains_key(&name_of(down))
    }

    /// Makes the unfinished end of the session's connection visit these orders instead of what it has left. False when
    /// there is none.
    pub(crate) fn begin_again(&mut self, down: &SessionDown, span: Span) -> bool {
        let Some(&key) = self.ends.get(&name_of(down)) else { return false };
        self.set_span(key, span);
        true
    }

    fn set_span(&mut self, key: WalkKey, span: Span) {
        let walk = self.walks.get_mut(&key).expect("what is known of a walk leads to it");
        for slot in slots(walk.span) {
            self.by_slot.remove(&(slot, key));
        }
        walk.span = span;
        self.by_slot.extend(slots(span).map(|slot| (slot, key)));
    }

    /// Where a walk is counted, and for which session.
    fn counted(&mut self, of: &Unfinished) -> Option<(&mut BTreeMap<SessionId, u32>, SessionId)> {
        let (counts, session) = match of {
            Unfinished::MassCancel(mass) => (&mut self.requests, mass.session),
            Unfinished::Count(query) | Unfinished::Tell(query) => (&mut self.requests, query.session),
            Unfinished::EndLife(end) => (&mut self.endings, end.session),
            // The end of a connection is no request.
            Unfinished::SessionDown(_) => return None,
        };
        (!session.is_none()).then_some((counts, session))
    }

    /// Ends the oldest walk of this command that stopped at this order, and gives what it has left to visit.
    pub(crate) fn take(&mut self, of: &Unfinished, at: OrderId) -> Option<Span> {
        let found = self.walks.range((at, 0)..=(at, u64::MAX)).find(|(_, walk)| walk.of == *of);
        let key = *found?.0;
        let walk = self.walks.remove(&key)?;
        for slot in slots(walk.span) {
            self.by_slot.remove(&(slot, key));
        }
        if let Unfinished::SessionDown(down) = &walk.of {
            self.ends.remove(&name_of(down));
        }
        if let Some((counts, session)) = self.counted(&walk.of)
            && let Some(count) = counts.get_mut(&session)
        {
            assert!(0 < *count, "a session counts every walk of its own");
            *count -= 1;
            if *count == 0 {
                counts.remove(&session);
            }
        }
        Some(walk.span)
    }

    /// The order in `slot` leaves the list on which these are its neighbours.
    #[cold]
    pub(crate) fn leave(&mut self, slot: u32, older: u32, younger: u32) {
        let all = (slot, (OrderId::NONE, 0))..=(slot, (OrderId(u64::MAX), u64::MAX));
        let keys: Vec<WalkKey> = self.by_slot.range(all).map(|(_, key)| *key).collect();
        for key in keys {
            let Span { next, last } = self.walks[&key].span;
            assert!(next == slot || last == slot, "a slot is known for the walks of which it is one end");
            let next = if next != slot {
                next
            } else if last == slot {
                NIL
            } else {
                younger.planted(Mutation::WalkEndsWithItsOrder, |_| NIL)
            };
            self.set_span(key, Span { next, last: if last == slot { older } else { last } });
        }
    }
}

/// The slots of a span, without `NIL`.
fn slots(span: Span) -> impl Iterator<Item = u32> {
    [span.next, span.last].into_iter().filter(|slot| *slot != NIL)
}

/// The end of a session's connection, for one cause.
fn name_of(down: &SessionDown) -> (SessionId, u8) {
    (down.session, down.cause as u8)
}
