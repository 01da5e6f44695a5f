//! What clients named by their own text: orders remembered for 24 hours of log time, payments for ever.
//!
//! Only hashes of the texts are kept (see `ClientKey`). Both memories are bounded; at the bound new names are refused,
//! because forgetting an old one early could execute something twice.

use crate::ids::{AccountId, ClientKey, OrderId};
use crate::reject::RejectReason;
use crate::units::{Seq, TsNs};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

pub const CLIENT_IDS_MAX: usize = 1 << 22;
pub const REFERENCES_MAX: usize = 1 << 26;
/// A client's order id may be used again after this much log time.
pub const CLIENT_ID_LIFETIME_NS: u64 = 24 * 3_600 * 1_000_000_000;

/// Keys are hashes already; this folds them to 64 bits. Not random: the state must not differ between machines.
#[derive(Debug, Default)]
pub struct FoldHasher(u64);

impl Hasher for FoldHasher {
    fn finish(&self) -> u64 {
        self.0
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
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 >> 31;
    }

    fn write_u128(&mut self, value: u128) {
        self.write_u64(value as u64);
        self.write_u64((value >> 64) as u64);
    }
}

type FoldMap<K, V> = HashMap<K, V, BuildHasherDefault<FoldHasher>>;

/// What became of the first use of a client's order id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstUse {
    pub ts: TsNs,
    pub seq: Seq,
    pub outcome: Result<OrderId, RejectReason>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    pub ts: TsNs,
    pub account: AccountId,
    pub key: ClientKey,
}

fn is_expired(since: TsNs, now: TsNs) -> bool {
    now.0 - since.0 >= CLIENT_ID_LIFETIME_NS
}

/// Client order ids of the last 24 hours, oldest first, with an index.
#[derive(Debug, Default)]
pub struct ClientIds {
    by_age: VecDeque<Remembered>,
    outcomes: FoldMap<(AccountId, ClientKey), FirstUse>,
}

impl ClientIds {
    /// Forgets what is old enough. Two per call keep up, because a call remembers at most one.
    pub fn expire(&mut self, now: TsNs) {
        for _ in 0..2 {
            let Some(oldest) = self.by_age.front() else { return };
            if !is_expired(oldest.ts, now) {
                return;
            }
            // The name may have been used again meanwhile; then the younger entry stays.
            if self.outcomes.get(&(oldest.account, oldest.key)).is_some_and(|first| first.ts == oldest.ts) {
                self.outcomes.remove(&(oldest.account, oldest.key));
            }
            self.by_age.pop_front();
        }
    }

    pub fn find(&self, now: TsNs, account: AccountId, key: ClientKey) -> Option<FirstUse> {
        self.outcomes.get(&(account, key)).copied().filter(|first| !is_expired(first.ts, now))
    }

    pub fn is_full(&self) -> bool {
        self.by_age.len() >= CLIENT_IDS_MAX
    }

    pub fn remember(&mut self, account: AccountId, key: ClientKey, first: FirstUse) {
        assert!(!self.is_full() && !key.is_none());
        let before = self.outcomes.insert((account, key), first);
        assert!(before.is_none_or(|b| is_expired(b.ts, first.ts)), "a name is remembered once in its lifetime");
        self.by_age.push_back(Remembered { ts: first.ts, account, key });
    }

    /// The next entry of a snapshot, in the order of `iter`.
    pub(crate) fn restore(&mut self, remembered: Remembered, first: Option<FirstUse>) {
        if let Some(first) = first {
            self.outcomes.insert((remembered.account, remembered.key), first);
        }
        self.by_age.push_back(remembered);
    }

    pub(crate) fn newest(&self) -> Option<TsNs> {
        self.by_age.back().map(|remembered| remembered.ts)
    }

    /// Every entry, oldest first, with its first use; `None` where the name was used again since. Those count too: they
    /// fill the memory and take their turn in `expire`, so a copy without them would go another way.
    pub fn iter(&self) -> impl Iterator<Item = (Remembered, Option<FirstUse>)> + '_ {
        self.by_age.iter().map(|r| {
            let first = self.outcomes.get(&(r.account, r.key)).copied();
            (*r, first.filter(|first| first.ts == r.ts))
        })
    }

    pub fn len(&self) -> usize {
        self.by_age.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_age.is_empty()
    }
}

/// A payment's contents, to tell a repetition from a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payment {
    pub withdrawal: bool,
    pub account: AccountId,
    pub asset: crate::ids::AssetId,
    pub amount: crate::units::Units,
}

/// How a payment's reference stands to those booked before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    New,
    Repeated,
    Conflict,
    Full,
}

/// References of all payments ever booked: a payment must never be booked twice, however late it is repeated.
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
        match self.index.entry(key) {
            Entry::Occupied(_) => unreachable!("a reference is booked once"),
            Entry::Vacant(entry) => {
                entry.insert(self.in_order.len() as u32);
                self.in_order.push((key, payment));
            }
        }
    }

    pub fn len(&self) -> usize {
        self.in_order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }

    /// In the order of booking.
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
