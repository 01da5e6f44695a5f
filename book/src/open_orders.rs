//! Which orders an account has open, and which order a session's client order id names.
//!
//! The list of an account is linked through an array beside the orders, oldest first, so that a mass cancel walks its
//! own orders only, in an order that every replica has. The index from client order ids to orders is a table of slots:
//! the order itself says whether it is the right one, so an entry costs eight bytes. Invariant: every resting order is
//! on its account's list and, with a session, in the index, and no other order is.

use crate::accounts::{Account, Accounts, OPEN_ORDERS_MAX};
use crate::extent::Extent;
use crate::hash_key::HashKey;
use crate::ids::{ClOrdId, SessionId};
use crate::mutation::{Mutation, Planted};
use crate::session::Sessions;
use crate::slab::{NIL, Order, Orders};
use prefetch_index::prefetch_index;

#[derive(Clone, Copy, Debug)]
struct Link {
    older: u32,
    younger: u32,
}

/// The links of all accounts' lists, by order slot. The ends of each list are in its account.
#[derive(Debug, Default)]
pub struct OpenOrders {
    links: Vec<Link>,
}

impl OpenOrders {
    pub fn with_capacity(orders: usize) -> Self {
        Self { links: Vec::with_capacity(orders) }
    }

    /// Puts an order at the young end of the account's list.
    #[inline]
    pub fn append(&mut self, account: &mut Account, slot: u32) {
        assert!((account.open_head == NIL) == (account.open_tail == NIL), "a list has both ends or none");
        let idx = slot as usize;
        if idx >= self.links.len() {
            self.links.resize(idx + 1, Link { older: NIL, younger: NIL });
        }
        self.links[idx] = Link { older: account.open_tail, younger: NIL };
        match account.open_tail {
            NIL => account.open_head = slot,
            tail => {
                let youngest = &mut self.links[tail as usize];
                assert!(tail != slot && youngest.younger == NIL, "the youngest order is the last of its list");
                youngest.younger = slot;
            }
        }
        account.open_tail = slot;
        account.open_count += 1;
        assert!(account.open_count <= OPEN_ORDERS_MAX, "admission counts an account's open orders first");
    }

    /// Takes an order off the account's list.
    #[inline]
    pub fn remove(&mut self, account: &mut Account, slot: u32) {
        assert!(0 < account.open_count, "an account counts every order on its list");
        let Link { older, younger } = self.links[slot as usize];
        let end = match older {
            NIL => &mut account.open_head,
            older => &mut self.links[older as usize].younger,
        };
        assert!(*end == slot, "the older neighbour in a list links to the order");
        *end = younger.planted(Mutation::OpenListKept, |_| slot);
        let end = match younger {
            NIL => &mut account.open_tail,
            younger => &mut self.links[younger as usize].older,
        };
        assert!(*end == slot, "the younger neighbour in a list links to the order");
        *end = older;
        account.open_count -= 1;
        assert!((account.open_head == NIL) == (account.open_count == 0), "an account without open orders has no list");
    }

    /// Brings the links of an order into the cache.
    #[inline]
    pub fn fetch(&self, slot: u32) {
        prefetch_index(&self.links, slot as usize);
    }

    /// Brings the links of an order's neighbours on its account's list into the cache. Cheap only when the order's own
    /// links are there already.
    #[inline]
    pub fn fetch_neighbours(&self, slot: u32) {
        let Some(&Link { older, younger }) = self.links.get(slot as usize) else { return };
        for neighbour in [older, younger] {
            if neighbour != NIL {
                self.fetch(neighbour);
            }
        }
    }

    pub(crate) fn extent(&self) -> Extent {
        Extent::of("open-order links", &self.links)
    }

    /// The order that the same account opened next, or `NIL`.
    pub fn younger(&self, slot: u32) -> u32 {
        self.links[slot as usize].younger
    }

    /// The order that the same account opened before this one, or `NIL`.
    pub(crate) fn older(&self, slot: u32) -> u32 {
        self.links[slot as usize].older
    }

    /// The slots of an account's open orders, oldest first.
    pub fn of<'a>(&'a self, account: &Account) -> impl Iterator<Item = u32> + 'a {
        let mut at = account.open_head;
        std::iter::from_fn(move || {
            (at != NIL).then(|| {
                let slot = at;
                at = self.links[slot as usize].younger;
                slot
            })
        })
    }
}

/// All lists that name a resting order, borrowed together while the book is borrowed elsewhere.
pub(crate) struct Lists<'a> {
    pub accounts: &'a mut Accounts,
    pub sessions: &'a mut Sessions,
    pub open: &'a mut OpenOrders,
    pub index: &'a mut ClOrdIndex,
}

impl Lists<'_> {
    #[inline]
    pub(crate) fn add(self, slot: u32, order: &Order) {
        self.open.append(self.accounts.at_mut(order.account), slot);
        if let Some(session) = self.sessions.get_mut(order.session) {
            session.open_count += 1;
            self.index.insert(order.session, order.cl_ord_id, slot);
        }
    }

    #[inline]
    pub(crate) fn remove(self, slot: u32, order: &Order) {
        self.open.remove(self.accounts.at_mut(order.account), slot);
        if let Some(session) = self.sessions.get_mut(order.session) {
            assert!(0 < session.open_count, "a session counts every order that it opened");
            session.open_count -= 1;
            self.index.remove(order.session, order.cl_ord_id, slot);
        }
    }
}

const TABLE_LEN_MIN: usize = 1024;

/// One place of the table: the high half of the key's hash, and the slot plus one. Zero is empty, so that a new table
/// is memory that the kernel has not had to provide yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(u64);

const EMPTY: Place = Place(0);

impl Place {
    #[inline]
    fn new(hash: u32, slot: u32) -> Self {
        debug_assert!(slot != NIL);
        Self(u64::from(hash) << 32 | u64::from(slot + 1))
    }

    #[inline]
    fn hash(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline]
    fn slot(self) -> u32 {
        (self.0 as u32).wrapping_sub(1)
    }
}

/// From (session, client order id) to the slot of an open order: open addressing with linear probing.
///
/// At most half full. When an entry is removed, entries after it move back into the hole, so there are no tombstones
/// and no clean-up.
#[derive(Debug)]
pub struct ClOrdIndex {
    /// `Place`s, as numbers: a table of zeros costs no memory until it is used.
    places: Vec<u64>,
    len: usize,
    key: HashKey,
    /// `hash >> shift` is the home of a key: the first place in which it may be.
    shift: u32,
}

impl ClOrdIndex {
    /// Room for `orders` entries before the table doubles.
    pub fn with_capacity(orders: usize, key: HashKey) -> Self {
        let len = (orders * 2).next_power_of_two().max(TABLE_LEN_MIN);
        Self { places: vec![EMPTY.0; len], len: 0, key, shift: 32 - len.trailing_zeros() }
    }

    #[inline]
    fn hash(&self, session: SessionId, cl_ord_id: ClOrdId) -> u32 {
        (self.key.hash(cl_ord_id.0, session.0.into()) >> 32) as u32
    }

    pub(crate) fn extent(&self) -> Extent {
        Extent::of("client ids", &self.places)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds the entry of an order that the index does not have yet.
    #[inline]
    pub fn insert(&mut self, session: SessionId, cl_ord_id: ClOrdId, slot: u32) {
        if self.len * 2 >= self.places.len() {
            self.double();
        }
        debug_assert!(self.find_place(session, cl_ord_id, |s| s == slot).is_none(), "an order is indexed once");
        self.put(Place::new(self.hash(session, cl_ord_id), slot));
        self.len += 1;
    }

    #[inline]
    fn at(&self, at: usize) -> Place {
        Place(self.places[at])
    }

    #[inline]
    fn home(&self, place: Place) -> usize {
        (place.hash() >> self.shift) as usize
    }

    #[inline]
    fn put(&mut self, place: Place) {
        let mut at = self.home(place);
        while self.at(at) != EMPTY {
            at = (at + 1) & (self.places.len() - 1);
        }
        self.places[at] = place.0;
    }

    #[cold]
    fn double(&mut self) {
        let len = self.places.len() * 2;
        assert!(len <= 1 << 31, "an index of all order slots fits");
        let old = std::mem::replace(&mut self.places, vec![EMPTY.0; len]);
        self.shift -= 1;
        old.into_iter().map(Place).filter(|place| *place != EMPTY).for_each(|place| self.put(place));
        assert!(self.len * 2 < self.places.len(), "a probe of the index ends at an empty place");
    }

    /// Brings the place of a client order id into the cache.
    #[inline]
    pub fn fetch(&self, session: SessionId, cl_ord_id: ClOrdId) {
        prefetch_index(&self.places, (self.hash(session, cl_ord_id) >> self.shift) as usize);
    }

    /// The slot of an order that probably has this client order id, by the table alone: good enough for a prefetch.
    #[inline]
    pub fn guess(&self, session: SessionId, cl_ord_id: ClOrdId) -> Option<u32> {
        self.find_place(session, cl_ord_id, |_| true).map(|at| self.at(at).slot())
    }

    /// The slot of the open order with this client order id.
    #[inline]
    pub fn find(&self, orders: &Orders, session: SessionId, cl_ord_id: ClOrdId) -> Option<u32> {
        self.find_place(session, cl_ord_id, |slot| {
            let order = orders.get(slot);
            order.session == session && order.cl_ord_id == cl_ord_id
        })
        .map(|at| self.at(at).slot())
    }

    #[inline]
    fn find_place(&self, session: SessionId, id: ClOrdId, is_it: impl Fn(u32) -> bool) -> Option<usize> {
        let hash = self.hash(session, id);
        let mut at = (hash >> self.shift) as usize;
        loop {
            let place = self.at(at);
            if place == EMPTY {
                return None;
            }
            if place.hash() == hash && is_it(place.slot()) {
                return Some(at);
            }
            at = (at + 1) & (self.places.len() - 1);
        }
    }

    /// Removes the entry of this order.
    #[inline]
    pub fn remove(&mut self, session: SessionId, cl_ord_id: ClOrdId, slot: u32) {
        let found = self.find_place(session, cl_ord_id, |s| s == slot);
        let mut hole = found.expect("an open order with a client order id is in the index");
        self.len -= 1;
        let mask = self.places.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let place = self.at(at);
            if place == EMPTY {
                break;
            }
            // An entry may move into the hole unless the hole lies before its home.
            if (at.wrapping_sub(self.home(place)) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.places[hole] = place.0;
                hole = at;
            }
        }
        self.places[hole] = EMPTY.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn index_agrees_with_a_map_over_seeded_inserts_and_removals() {
        let mut index = ClOrdIndex::with_capacity(8, HashKey::default());
        let mut twin: HashMap<(SessionId, ClOrdId), u32> = HashMap::new();
        let mut seed = 7u64;
        for step in 0..200_000u32 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = (SessionId(1 + (seed >> 33) as u32 % 3), ClOrdId((seed >> 40) % 5_000));
            match twin.remove(&key) {
                Some(slot) => index.remove(key.0, key.1, slot),
                None => {
                    index.insert(key.0, key.1, step);
                    twin.insert(key, step);
                }
            }
            assert_eq!(index.len(), twin.len());
        }
        for (&(session, id), &slot) in &twin {
            let at = index.find_place(session, id, |s| s == slot);
            assert!(at.is_some());
        }
    }

    const SESSION: SessionId = SessionId(7);

    /// Ids of which a client that knew the key `known` would expect that all have one place.
    fn colliding_ids(known: HashKey) -> Vec<ClOrdId> {
        let index = ClOrdIndex::with_capacity(1, known);
        let home = |id: &ClOrdId| index.hash(SESSION, *id) >> index.shift;
        (1..).map(ClOrdId).filter(|id| home(id) == 0).take(400).collect()
    }

    /// Places that the longest lookup of these ids visits, in an index with this key.
    fn longest_lookup(key: HashKey, ids: &[ClOrdId]) -> usize {
        let mut index = ClOrdIndex::with_capacity(1, key);
        ids.iter().zip(0..).for_each(|(id, slot)| index.insert(SESSION, *id, slot));
        let visited = |id: &ClOrdId| {
            let home = (index.hash(SESSION, *id) >> index.shift) as usize;
            let at = index.find_place(SESSION, *id, |slot| ids[slot as usize] == *id).expect("each is in the index");
            1 + (at.wrapping_sub(home) & (index.places.len() - 1))
        };
        ids.iter().map(visited).max().unwrap_or(0)
    }

    #[test]
    fn ids_that_collide_under_one_key_are_apart_under_another() {
        let known = HashKey::new(1, 2);
        let ids = colliding_ids(known);
        assert_eq!(longest_lookup(known, &ids), ids.len(), "a client that knows the key makes one long chain");
        let drawn = [(3, 5), (0xDEAD_BEEF, 0x1234_5678_9ABC_DEF0), (u64::MAX, u64::MAX)];
        for (first, second) in drawn {
            let longest = longest_lookup(HashKey::new(first, second), &ids);
            assert!(longest < 40, "{longest} places under the key {first:x} {second:x}");
        }
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn a_hash_without_a_key_is_noticed() {
        crate::mutation::plant(Some(Mutation::HashUnkeyed));
        let ids = colliding_ids(HashKey::new(1, 2));
        let longest = longest_lookup(HashKey::new(3, 5), &ids);
        crate::mutation::plant(None);
        assert_eq!(longest, ids.len());
    }
}
