//! The names that clients gave to their orders, under rules 2: a name is taken by an accepted order only.
//!
//! A name stays taken while its order is open, then for 24 hours of log time, as long as it is among the last
//! `NAMES_PER_ACCOUNT_MAX` that ended on its account. So an account that places a thousand orders a second is protected
//! from placing one twice for ten seconds after its end, and no account takes room from another: at the bound of the
//! house the oldest ended name of the account that has the most of them goes, and no order is refused for lack of room.
//!
//! Only hashes of the names are kept (see `ClientKey`). Names lie in segments, and are found by a table of fixed length
//! whose places are lists, so that nothing here is ever copied or rehashed. Invariants: a name is in the table once; a
//! name without an end is that of an open order, and the others are on the list of their account and on the list of
//! all, by the time of their end.

use crate::hash_key::HashKey;
use crate::ids::{ACCOUNTS_MAX, AccountId, ClientKey, ORDER_SLOTS_MAX, OrderId};
use crate::mutation::{self, Mutation, Planted};
use crate::segments::Segments;
use crate::table::Hashed;
use crate::units::{Seq, TsNs};
use std::collections::BTreeSet;

/// After so much log time since the end of its order a name may be used again.
pub const NAME_LIFETIME_NS: u64 = 24 * 3_600 * 1_000_000_000;
/// So many names of ended orders are remembered for each account.
pub const NAMES_PER_ACCOUNT_MAX: u32 = 10_000;
/// So many names are remembered in all, until an administrator sets another bound.
pub const CLIENT_NAMES_DEFAULT: u32 = 1 << 22;
pub const CLIENT_NAMES_MAX: u32 = 1 << 24;

/// No name, in links.
const NONE: u32 = u32::MAX;
/// The end of the name of an open order.
const OPEN: TsNs = TsNs(u64::MAX);

/// A name and the accepted order that took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    pub account: AccountId,
    pub key: ClientKey,
    pub order_id: OrderId,
    /// The command that placed the order.
    pub seq: Seq,
    ended: TsNs,
}

impl Name {
    /// When the order ended; `None` while it is open.
    pub fn ended(&self) -> Option<TsNs> {
        (self.ended != OPEN).then_some(self.ended)
    }

    fn is_over(&self, now: TsNs) -> bool {
        self.ended != OPEN && now.0.saturating_sub(self.ended.0) >= NAME_LIFETIME_NS
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Name,
    /// The next name at the same place of the table, or the next free entry.
    next: u32,
    /// Neighbours on the list of the account's ended names, and on the list of all of them.
    neighbours: [Neighbours; 2],
}

/// The lists on which an ended name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Account(AccountId),
    All,
}

impl Which {
    fn idx(self) -> usize {
        usize::from(self == Self::All)
    }
}

#[derive(Clone, Copy, Debug)]
struct Neighbours {
    older: u32,
    younger: u32,
}

const APART: Neighbours = Neighbours { older: NONE, younger: NONE };

/// A list of ended names.
#[derive(Clone, Copy, Debug)]
struct List {
    oldest: u32,
    youngest: u32,
    len: u32,
}

const EMPTY: List = List { oldest: NONE, youngest: NONE, len: 0 };

/// The names of all accounts.
#[derive(Debug)]
pub struct Names {
    entries: Segments<Entry>,
    /// The first name of each place of the table, plus one: a table of zeros costs no memory until it is used.
    places: Vec<u32>,
    hash_key: HashKey,
    free: u32,
    /// Entries that were ever used.
    used: u32,
    len: u32,
    max: u32,
    /// By order slot: the name of the open order there, plus one.
    of_slots: Segments<u32>,
    of_accounts: Segments<List>,
    of_all: List,
    /// The accounts that have ended names, by their number.
    by_count: BTreeSet<(u32, AccountId)>,
}

impl Names {
    /// A table for about `capacity` names: more are still found, in longer lists.
    pub fn with_capacity(capacity: usize, hash_key: HashKey) -> Self {
        Self {
            // Names of open orders are beyond the bound, and a name is taken before another is forgotten.
            entries: Segments::new((CLIENT_NAMES_MAX + ORDER_SLOTS_MAX) as usize + 1),
            places: vec![0; capacity.next_power_of_two()],
            hash_key,
            free: NONE,
            used: 0,
            len: 0,
            max: CLIENT_NAMES_DEFAULT,
            of_slots: Segments::new(ORDER_SLOTS_MAX as usize),
            of_accounts: Segments::new(ACCOUNTS_MAX as usize + 1),
            of_all: EMPTY,
            by_count: BTreeSet::new(),
        }
    }

    /// How many names are remembered, those of open orders included.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many names may be remembered in all. Names of open orders are remembered in any case.
    pub fn max(&self) -> u32 {
        self.max
    }

    /// From the next name on there is another bound. A lower one is reached step by step.
    pub(crate) fn set_max(&mut self, max: u32) {
        assert!(0 < max && max <= CLIENT_NAMES_MAX, "admission checks the bound first");
        self.max = max;
    }

    /// Makes `now` the end of all names that ended later, and counts them.
    pub(crate) fn set_back(&mut self, now: TsNs) -> usize {
        let (mut at, mut count) = (self.of_all.youngest, 0);
        while at != NONE && now < self.entries.at(at).name.ended {
            self.entries.at_mut(at).name.ended = now;
            at = self.entries.at(at).neighbours[Which::All.idx()].older;
            count += 1;
        }
        count
    }

    /// The order that has this name, open or not.
    pub fn find(&self, now: TsNs, account: AccountId, key: ClientKey) -> Option<&Name> {
        let idx = self.find_idx(account, key)?;
        Some(&self.entries.at(idx).name).filter(|name| !name.is_over(now))
    }

    /// Gives a name to an order that was just accepted and is in `slot`. It is open until `end`.
    pub(crate) fn take(&mut self, name: Name, slot: u32) {
        assert!(!name.key.is_none() && name.ended == OPEN, "an order without a name is not remembered");
        if let Some(over) = self.find_idx(name.account, name.key) {
            // Its lifetime is over, or the order would have been answered with it.
            self.forget(over);
        }
        let idx = self.insert(name);
        self.of_slots.reach(slot, 0);
        let of_slot = self.of_slots.at_mut(slot);
        assert!(*of_slot == 0, "an open order has one name");
        *of_slot = idx + 1;
        self.bound();
    }

    /// The named order in `slot` has ended.
    pub(crate) fn end(&mut self, slot: u32, now: TsNs) {
        let of_slot = self.of_slots.at_mut(slot);
        assert!(*of_slot != 0, "a named order has its name until it ends");
        let idx = *of_slot - 1;
        *of_slot = 0;
        self.append(idx, now);
        self.expire(now);
        mutation::when(Mutation::NameFreeAtEnd, || self.forget(self.of_all.youngest));
        let account = self.entries.at(idx).name.account;
        let list = *self.of_accounts.at(account.0);
        if list.len > NAMES_PER_ACCOUNT_MAX {
            self.forget(list.oldest);
        }
        self.bound();
    }

    /// Forgets up to two names whose lifetime is over. Two for each end are enough, because an end adds one.
    fn expire(&mut self, now: TsNs) {
        for _ in 0..2 {
            let oldest = self.of_all.oldest;
            if oldest == NONE || !self.entries.at(oldest).name.is_over(now) {
                return;
            }
            self.forget(oldest);
        }
    }

    /// Forgets up to two ended names of the account that has the most, while there are too many in all. Two, so that a
    /// lowered bound is reached.
    fn bound(&mut self) {
        for _ in 0..2 {
            let is_over = (self.max < self.len).planted(Mutation::NamesWithoutBound, |_| false);
            let Some(&(_, account)) = self.by_count.last().filter(|_| is_over) else { return };
            self.forget(self.of_accounts.at(account.0).oldest);
        }
    }

    fn place(&self, account: AccountId, key: ClientKey) -> usize {
        ((account, key).hash(self.hash_key) >> 32) as usize & (self.places.len() - 1)
    }

    fn find_idx(&self, account: AccountId, key: ClientKey) -> Option<u32> {
        let mut at = self.places[self.place(account, key)].wrapping_sub(1);
        while at != NONE {
            let entry = self.entries.at(at);
            if entry.name.key == key && entry.name.account == account {
                return Some(at);
            }
            at = entry.next;
        }
        None
    }

    fn insert(&mut self, name: Name) -> u32 {
        let place = self.place(name.account, name.key);
        let entry = Entry { name, next: self.places[place].wrapping_sub(1), neighbours: [APART; 2] };
        let idx = if self.free == NONE {
            self.used += 1;
            self.used - 1
        } else {
            let idx = self.free;
            self.free = self.entries.at(idx).next;
            idx
        };
        self.entries.reach(idx, entry);
        *self.entries.at_mut(idx) = entry;
        self.places[place] = idx + 1;
        self.len += 1;
        idx
    }

    /// Puts the name of an order that ends now at the young end of both lists.
    fn append(&mut self, idx: u32, now: TsNs) {
        let entry = self.entries.at_mut(idx);
        entry.name.ended = now;
        let account = entry.name.account;
        self.of_accounts.reach(account.0, EMPTY);
        let before = self.of_accounts.at(account.0).len;
        self.push(Which::Account(account), idx);
        self.push(Which::All, idx);
        self.recount(account, before, before + 1);
    }

    /// Forgets the name of an ended order.
    fn forget(&mut self, idx: u32) {
        let Entry { name, next, .. } = *self.entries.at(idx);
        assert!(name.ended != OPEN, "the name of an open order is never forgotten");
        let before = self.of_accounts.at(name.account.0).len;
        self.unlink(Which::Account(name.account), idx);
        self.unlink(Which::All, idx);
        self.recount(name.account, before, before - 1);
        let place = self.place(name.account, name.key);
        if self.places[place] == idx + 1 {
            self.places[place] = next.wrapping_add(1);
        } else {
            let mut at = self.places[place] - 1;
            while self.entries.at(at).next != idx {
                at = self.entries.at(at).next;
            }
            self.entries.at_mut(at).next = next;
        }
        self.entries.at_mut(idx).next = self.free;
        self.free = idx;
        self.len -= 1;
    }

    fn list_mut(&mut self, which: Which) -> &mut List {
        match which {
            Which::Account(account) => self.of_accounts.at_mut(account.0),
            Which::All => &mut self.of_all,
        }
    }

    fn push(&mut self, which: Which, idx: u32) {
        let list = self.list_mut(which);
        let older = std::mem::replace(&mut list.youngest, idx);
        if older == NONE {
            list.oldest = idx;
        }
        list.len += 1;
        self.entries.at_mut(idx).neighbours[which.idx()] = Neighbours { older, younger: NONE };
        if older != NONE {
            let ended = self.entries.at(idx).name.ended;
            let entry = self.entries.at_mut(older);
            assert!(entry.name.ended <= ended, "names end in the order of log time");
            entry.neighbours[which.idx()].younger = idx;
        }
    }

    fn unlink(&mut self, which: Which, idx: u32) {
        let Neighbours { older, younger } = self.entries.at(idx).neighbours[which.idx()];
        let list = self.list_mut(which);
        list.len -= 1;
        if older == NONE {
            list.oldest = younger;
        }
        if younger == NONE {
            list.youngest = older;
        }
        if older != NONE {
            self.entries.at_mut(older).neighbours[which.idx()].younger = younger;
        }
        if younger != NONE {
            self.entries.at_mut(younger).neighbours[which.idx()].older = older;
        }
    }

    fn recount(&mut self, account: AccountId, before: u32, after: u32) {
        if before > 0 {
            self.by_count.remove(&(before, account));
        }
        if after > 0 {
            self.by_count.insert((after, account));
        }
    }

    /// The names of ended orders, the one that ended first before the others.
    pub fn ended(&self) -> impl Iterator<Item = &Name> {
        let mut at = self.of_all.oldest;
        std::iter::from_fn(move || {
            (at != NONE).then(|| {
                let entry = self.entries.at(at);
                at = entry.neighbours[Which::All.idx()].younger;
                &entry.name
            })
        })
    }

    /// The name of the open order in `slot`.
    pub fn of_slot(&self, slot: u32) -> Option<&Name> {
        let idx = self.of_slots.get(slot)?.checked_sub(1)?;
        Some(&self.entries.at(idx).name)
    }

    /// Whether a name of a snapshot is new.
    pub(crate) fn is_free(&self, account: AccountId, key: ClientKey) -> bool {
        !key.is_none() && self.find_idx(account, key).is_none()
    }

    /// Adds the name of an ended order of a snapshot, younger than all others.
    pub(crate) fn restore_ended(&mut self, name: Name, ended: TsNs) {
        let idx = self.insert(name);
        self.append(idx, ended);
    }

    /// When the last order with a name ended.
    pub(crate) fn ended_last(&self) -> TsNs {
        if self.of_all.youngest == NONE { TsNs(0) } else { self.entries.at(self.of_all.youngest).name.ended }
    }

    /// How many names of this account's ended orders are remembered.
    pub(crate) fn ended_count(&self, account: AccountId) -> u32 {
        self.of_accounts.get(account.0).map_or(0, |list| list.len)
    }
}

impl Name {
    /// The name of an order that is open.
    pub(crate) fn open(account: AccountId, key: ClientKey, order_id: OrderId, seq: Seq) -> Self {
        Self { account, key, order_id, seq, ended: OPEN }
    }
}
