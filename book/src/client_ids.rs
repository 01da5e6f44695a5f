//! The names that clients gave to orders under rules 1, kept for 24 hours of log time.
//!
//! Only hashes of the names are kept (see `ClientKey`). The memory is bounded. At the bound new names are refused,
//! because forgetting an old one early could execute something twice. Invariant: within its lifetime a name has one
//! outcome, and every repetition is answered with it.

use crate::hash_key::HashKey;
use crate::ids::{AccountId, ClientKey, OrderId};
use crate::queue::Queue;
use crate::reject::RejectReason;
use crate::table::{Hashed, Table};
use crate::units::{Seq, TsNs};

pub const CLIENT_IDS_MAX: usize = 1 << 22;
/// After so much log time a client may use the name of an order again.
pub const CLIENT_ID_LIFETIME_NS: u64 = 24 * 3_600 * 1_000_000_000;

impl Hashed for (AccountId, ClientKey) {
    fn hash(&self, key: HashKey) -> u64 {
        let hash = key.hash(u64::from(self.0.0), self.1.0 as u64);
        key.hash(hash, (self.1.0 >> 64) as u64)
    }
}

/// The first use of an order's name, and its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstUse {
    pub ts: TsNs,
    pub seq: Seq,
    pub outcome: Result<OrderId, RejectReason>,
}

/// One entry of the memory by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    pub ts: TsNs,
    pub account: AccountId,
    pub key: ClientKey,
}

fn is_expired(since: TsNs, now: TsNs) -> bool {
    assert!(since <= now, "log time never runs back");
    now.0 - since.0 >= CLIENT_ID_LIFETIME_NS
}

/// The names of orders of the last 24 hours. Invariant: every outcome has its entry by age.
#[derive(Debug)]
pub struct ClientIds {
    /// Oldest first, because the oldest expires first.
    by_age: Queue<Remembered>,
    outcomes: Table<(AccountId, ClientKey), FirstUse>,
}

impl ClientIds {
    pub fn new(key: HashKey) -> Self {
        Self { by_age: Queue::new(CLIENT_IDS_MAX), outcomes: Table::new(CLIENT_IDS_MAX, key) }
    }

    /// Forgets up to two expired entries. Two for each command are enough, because a command adds at most one.
    pub fn expire(&mut self, now: TsNs) {
        for _ in 0..2 {
            let Some(oldest) = self.by_age.oldest().copied() else { return };
            if !is_expired(oldest.ts, now) {
                return;
            }
            // When the name was used again since, the outcome belongs to the younger entry and stays.
            if self.outcomes.get(&(oldest.account, oldest.key)).is_some_and(|first| first.ts == oldest.ts) {
                self.outcomes.remove(&(oldest.account, oldest.key));
            }
            self.by_age.pop();
        }
    }

    /// The first use of a name, while it lasts.
    pub fn find(&self, now: TsNs, account: AccountId, key: ClientKey) -> Option<FirstUse> {
        self.outcomes.get(&(account, key)).copied().filter(|first| !is_expired(first.ts, now))
    }

    pub fn is_full(&self) -> bool {
        self.by_age.len() >= CLIENT_IDS_MAX
    }

    pub fn remember(&mut self, account: AccountId, key: ClientKey, first: FirstUse) {
        assert!(!self.is_full(), "admission refuses new names when the memory is full");
        assert!(!key.is_none(), "an order without a name is not remembered");
        assert!(self.newest().is_none_or(|newest| newest <= first.ts), "entries come in the order of log time");
        let before = self.outcomes.insert((account, key), first);
        assert!(before.is_none_or(|b| is_expired(b.ts, first.ts)), "a name has one outcome in its lifetime");
        self.by_age.push(Remembered { ts: first.ts, account, key });
        assert!(self.outcomes.len() <= self.by_age.len(), "every outcome has its entry by age");
    }

    /// Adds the next entry of a snapshot, in the order of `iter`.
    pub(crate) fn restore(&mut self, remembered: Remembered, first: Option<FirstUse>) {
        if let Some(first) = first {
            self.outcomes.insert((remembered.account, remembered.key), first);
        }
        self.by_age.push(remembered);
    }

    /// Log time is set back to `now`: what was remembered later is as old as that from here on. Returns how many.
    pub(crate) fn set_back(&mut self, now: TsNs) -> usize {
        let Self { by_age, outcomes } = self;
        // A name that was used again since would have two entries of one age.
        let is_first = |r: &Remembered| outcomes.get(&(r.account, r.key)).is_some_and(|first| first.ts == r.ts);
        by_age.retain_mut(|r| r.ts < now || is_first(r));
        let mut count = 0;
        by_age.retain_mut(|remembered| {
            if now < remembered.ts {
                remembered.ts = now;
                if let Some(first) = outcomes.get_mut(&(remembered.account, remembered.key)) {
                    first.ts = now;
                }
                count += 1;
            }
            true
        });
        count
    }

    pub(crate) fn newest(&self) -> Option<TsNs> {
        self.by_age.youngest().map(|remembered| remembered.ts)
    }

    /// Every entry, oldest first, with its first use, or `None` when the name was used again since. The latter belong
    /// to the state too: they fill the memory and take their turn in `expire`, so a copy without them would diverge.
    pub fn iter(&self) -> impl Iterator<Item = (Remembered, Option<FirstUse>)> + '_ {
        self.by_age.iter().map(|r| {
            let first = self.outcomes.get(&(r.account, r.key)).copied();
            (*r, first.filter(|first| first.ts == r.ts))
        })
    }

    /// How many names have an outcome now.
    pub(crate) fn outcome_count(&self) -> usize {
        self.outcomes.len()
    }

    pub fn len(&self) -> usize {
        self.by_age.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_age.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_used_again_keeps_both_entries_until_the_older_expires() {
        let (account, key) = (AccountId(1), ClientKey(7));
        let first = |ts| FirstUse { ts: TsNs(ts), seq: Seq(ts), outcome: Ok(OrderId(ts)) };
        let mut ids = ClientIds::new(HashKey::default());
        ids.remember(account, key, first(1));
        let later = 1 + CLIENT_ID_LIFETIME_NS;
        assert!(ids.find(TsNs(later - 1), account, key).is_some());
        assert!(ids.find(TsNs(later), account, key).is_none());
        ids.remember(account, key, first(later));
        let firsts: Vec<Option<FirstUse>> = ids.iter().map(|(_, first)| first).collect();
        assert_eq!(firsts, [None, Some(first(later))]);
        ids.expire(TsNs(later));
        assert_eq!(ids.len(), 1);
        assert_eq!(ids.find(TsNs(later), account, key), Some(first(later)));
    }
}
