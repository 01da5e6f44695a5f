//! Idempotence keys: the names that clients gave to orders, kept for 24 hours of log time, and to payments, kept for
//! ever.
//!
//! Only hashes of the names are kept (see `ClientKey`). Both memories are bounded. At the bound new names are refused,
//! because forgetting an old one early could execute something twice. Invariant: within its lifetime a name has one
//! outcome, and every repetition is answered with it.

use crate::hash_key::HashKey;
use crate::ids::{AccountId, AssetId, ClientKey, OrderId};
use crate::reject::RejectReason;
use crate::units::{Seq, TsNs, Units};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher};

pub const CLIENT_IDS_MAX: usize = 1 << 22;
pub const REFERENCES_MAX: usize = 1 << 26;
/// After so much log time a client may use the name of an order again.
pub const CLIENT_ID_LIFETIME_NS: u64 = 24 * 3_600 * 1_000_000_000;

/// Folds keys to 64 bits, with the key of the process: clients choose names, and so their hashes.
#[derive(Debug, Default)]
pub struct FoldHasher {
    key: HashKey,
    hash: u64,
}

impl BuildHasher for HashKey {
    type Hasher = FoldHasher;

    fn build_hasher(&self) -> FoldHasher {
        FoldHasher { key: *self, hash: 0 }
    }
}

impl Hasher for FoldHasher {
    fn finish(&self) -> u64 {
        self.hash
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.hash = self.key.hash(self.hash, value);
    }

    fn write_u128(&mut self, value: u128) {
        self.write_u64(value as u64);
        self.write_u64((value >> 64) as u64);
    }
}

type FoldMap<K, V> = HashMap<K, V, HashKey>;

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
#[derive(Debug, Default)]
pub struct ClientIds {
    /// Oldest first, because the oldest expires first.
    by_age: VecDeque<Remembered>,
    outcomes: FoldMap<(AccountId, ClientKey), FirstUse>,
}

impl ClientIds {
    pub fn new(key: HashKey) -> Self {
        Self { by_age: VecDeque::new(), outcomes: FoldMap::with_hasher(key) }
    }

    /// Forgets up to two expired entries. Two for each command are enough, because a command adds at most one.
    pub fn expire(&mut self, now: TsNs) {
        for _ in 0..2 {
            let Some(oldest) = self.by_age.front() else { return };
            if !is_expired(oldest.ts, now) {
                return;
            }
            // When the name was used again since, the outcome belongs to the younger entry and stays.
            if self.outcomes.get(&(oldest.account, oldest.key)).is_some_and(|first| first.ts == oldest.ts) {
                self.outcomes.remove(&(oldest.account, oldest.key));
            }
            self.by_age.pop_front();
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
        self.by_age.push_back(Remembered { ts: first.ts, account, key });
        assert!(self.outcomes.len() <= self.by_age.len(), "every outcome has its entry by age");
    }

    /// Adds the next entry of a snapshot, in the order of `iter`.
    pub(crate) fn restore(&mut self, remembered: Remembered, first: Option<FirstUse>) {
        if let Some(first) = first {
            self.outcomes.insert((remembered.account, remembered.key), first);
        }
        self.by_age.push_back(remembered);
    }

    /// Log time is set back to `now`: what was remembered later is as old as that from here on. Returns how many.
    pub(crate) fn set_back(&mut self, now: TsNs) -> usize {
        let Self { by_age, outcomes } = self;
        // A name that was used again since would have two entries of one age.
        let is_first = |r: &Remembered| outcomes.get(&(r.account, r.key)).is_some_and(|first| first.ts == r.ts);
        by_age.retain(|r| r.ts < now || is_first(r));
        let mut count = 0;
        for remembered in by_age.iter_mut().filter(|r| now < r.ts) {
            remembered.ts = now;
            outcomes.entry((remembered.account, remembered.key)).and_modify(|first| first.ts = now);
            count += 1;
        }
        count
    }

    pub(crate) fn newest(&self) -> Option<TsNs> {
        self.by_age.back().map(|remembered| remembered.ts)
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

/// The contents of a payment: a repetition has the same, a conflict has others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payment {
    pub withdrawal: bool,
    pub account: AccountId,
    pub asset: AssetId,
    pub amount: Units,
}

/// What is known about the reference of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    New,
    /// It was booked before, with the same contents.
    Repeated,
    /// It was booked before, with other contents.
    Conflict,
    /// It is new, and the memory is full.
    Full,
}

/// The references of all payments ever booked: a payment must never be booked twice, however late it is repeated.
#[derive(Debug, Default)]
pub struct References {
    in_order: Vec<(ClientKey, Payment)>,
    index: FoldMap<ClientKey, u32>,
}

impl References {
    pub fn check(&self, key: ClientKey, payment: &Payment) -> Reference {
        match self.index.get(&key) {
            Some(&idx) if self.in_order[idx as usize].1 == *payment => Reference::Repeated,
            Some(_) => Reference::Conflict,
            None if self.in_order.len() >= REFERENCES_MAX => Reference::Full,
            None => Reference::New,
        }
    }

    pub fn remember(&mut self, key: ClientKey, payment: Payment) {
        assert!(!key.is_none() && 0 < payment.amount.0, "a payment has a reference and an amount");
        let before = self.index.insert(key, self.in_order.len() as u32);
        assert!(before.is_none(), "a reference is booked once");
        self.in_order.push((key, payment));
        assert!(self.in_order.len() <= REFERENCES_MAX, "admission refuses new references when the memory is full");
    }

    pub fn len(&self) -> usize {
        self.in_order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }

    /// Every reference, in the order of booking.
    pub fn iter(&self) -> impl Iterator<Item = &(ClientKey, Payment)> {
        self.in_order.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_used_again_keeps_both_entries_until_the_older_expires() {
        let (account, key) = (AccountId(1), ClientKey(7));
        let first = |ts| FirstUse { ts: TsNs(ts), seq: Seq(ts), outcome: Ok(OrderId(ts)) };
        let mut ids = ClientIds::default();
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
