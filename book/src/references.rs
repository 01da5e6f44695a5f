//! The references of payments, so that a payment that is repeated is not booked again.
//!
//! Under rules 2 a reference is remembered for `REFERENCE_LIFETIME_NS` at least; each payment that is booked after
//! that forgets up to two older ones, so the memory follows the payments of that time and not those of all times.
//! Under rules 1 it is remembered for ever and has no time. Such a reference counts as booked together with the first
//! one that has a time, which is younger: so it is never forgotten too early. At the bound a new reference is refused,
//! because forgetting an old one early could book a payment twice. Invariant: references are in the order in which
//! they were booked, those without a time before the others.

use crate::hash_key::HashKey;
use crate::ids::{AccountId, AssetId, ClientKey};
use crate::mutation::{Mutation, Planted};
use crate::queue::Queue;
use crate::table::{Hashed, Table};
use crate::units::{TsNs, Units};

/// So many references are remembered for the whole house.
pub const REFERENCES_MAX: usize = 1 << 26;
/// For so much log time after its payment a reference is remembered: 400 days, a year and a month.
pub const REFERENCE_LIFETIME_NS: u64 = 400 * 24 * 3_600 * 1_000_000_000;
/// How many references one payment forgets. Two, because it adds one.
const FORGOTTEN_PER_PAYMENT: usize = 2;

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

/// One reference by age.
#[derive(Clone, Copy, Debug)]
struct Booked {
    key: ClientKey,
    /// When it was booked; zero under rules 1.
    ts: TsNs,
}

impl Hashed for ClientKey {
    fn hash(&self, key: HashKey) -> u64 {
        key.hash(self.0 as u64, (self.0 >> 64) as u64)
    }
}

/// The references of all payments that are remembered.
#[derive(Debug)]
pub struct References {
    /// Oldest first.
    by_age: Queue<Booked>,
    payments: Table<ClientKey, Payment>,
    /// Those without a time, which are the oldest.
    untimed: usize,
}

impl References {
    pub fn new(key: HashKey) -> Self {
        Self { by_age: Queue::new(REFERENCES_MAX), payments: Table::new(REFERENCES_MAX, key), untimed: 0 }
    }

    /// What a payment at `now` would be. Zero stands for the time under rules 1, where none is ever over.
    pub fn check(&self, now: TsNs, key: ClientKey, payment: &Payment) -> Reference {
        match self.payments.get(&key) {
            Some(booked) if booked == payment => Reference::Repeated,
            Some(_) => Reference::Conflict,
            None if self.by_age.len() >= REFERENCES_MAX && !self.is_oldest_over(now) => Reference::Full,
            None => Reference::New,
        }
    }

    /// Whether the oldest was booked so long ago that it is forgotten.
    fn is_oldest_over(&self, now: TsNs) -> bool {
        let booked = self.by_age.get(self.untimed);
        let lifetime = REFERENCE_LIFETIME_NS.planted(Mutation::ReferenceForgottenEarly, |lifetime| lifetime / 2);
        booked.is_some_and(|booked| lifetime <= now.0.saturating_sub(booked.ts.0))
    }

    /// Remembers the reference of a payment that is booked at `now`, which is zero under rules 1.
    pub fn remember(&mut self, now: TsNs, key: ClientKey, payment: Payment) {
        assert!(!key.is_none() && 0 < payment.amount.0, "a payment has a reference and an amount");
        for _ in 0..FORGOTTEN_PER_PAYMENT {
            if self.is_oldest_over(now).planted(Mutation::ReferencesKept, |_| false) {
                self.forget_oldest();
            }
        }
        let before = self.payments.insert(key, payment);
        assert!(before.is_none(), "a reference is booked once");
        assert!(self.by_age.youngest().is_none_or(|youngest| youngest.ts <= now), "log time never runs back");
        self.untimed += usize::from(now.0 == 0);
        self.by_age.push(Booked { key, ts: now });
        assert!(self.by_age.len() <= REFERENCES_MAX, "admission refuses new references when the memory is full");
        assert!(self.by_age.len() == self.payments.len(), "every reference has its payment");
    }

    fn forget_oldest(&mut self) {
        let oldest = self.by_age.pop().expect("the oldest is there");
        self.untimed -= usize::from(oldest.ts.0 == 0);
        let payment = self.payments.remove(&oldest.key);
        assert!(payment.is_some(), "every reference has its payment");
    }

    /// Makes `now` the time of all that were booked later, and counts them.
    pub(crate) fn set_back(&mut self, now: TsNs) -> usize {
        let mut count = 0;
        self.by_age.retain_mut(|booked| {
            if now < booked.ts {
                (booked.ts, count) = (now, count + 1);
            }
            true
        });
        count
    }

    /// Gives the youngest references of a snapshot their times, oldest first. False when they do not fit.
    #[must_use]
    pub(crate) fn restore_times(&mut self, times: &[TsNs]) -> bool {
        let fits = times.len() <= self.by_age.len() && times.is_sorted() && times.first().is_none_or(|ts| 0 < ts.0);
        if fits {
            self.untimed = self.by_age.len() - times.len();
            let (mut idx, untimed) = (0, self.untimed);
            self.by_age.retain_mut(|booked| {
                if untimed <= idx {
                    booked.ts = times[idx - untimed];
                }
                idx += 1;
                true
            });
        }
        fits
    }

    pub fn len(&self) -> usize {
        self.by_age.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_age.is_empty()
    }

    /// How many have a payment of their own.
    pub(crate) fn payment_count(&self) -> usize {
        self.payments.len()
    }

    /// Every reference, in the order of booking.
    pub fn iter(&self) -> impl Iterator<Item = (ClientKey, Payment)> {
        self.by_age.iter().map(|booked| {
            let payment = self.payments.get(&booked.key).expect("every reference has its payment");
            (booked.key, *payment)
        })
    }

    /// The times of those that have one, oldest first.
    pub(crate) fn times(&self) -> impl Iterator<Item = TsNs> {
        self.by_age.iter().skip(self.untimed).map(|booked| booked.ts)
    }
}
