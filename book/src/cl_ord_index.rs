//! Which open order a session's client order id names.
//!
//! A table of slots: the order itself says whether it is the right one, so an entry costs eight bytes. The table is at
//! most half full. When it is, one of twice its size follows, and the entries move over a few at a time, with each
//! further insert and removal: no command waits for all of them. The first table is set aside in one piece, so that its
//! pages can be chosen; a longer one has parts, which are allocated when an entry first comes into them and freed when
//! the last has left. Invariant: an entry is in one of the two tables.

use crate::extent::Extent;
use crate::hash_key::HashKey;
use crate::ids::{ClOrdId, SessionId};
use crate::mutation::{Mutation, Planted};
use crate::segments::segment_len;
use crate::slab::{NIL, Orders};
use prefetch_index::prefetch_index;

const TABLE_LEN_MIN: usize = 1024;
/// Places of the old table that are emptied with each insert and each removal. Twice as many as are needed to be done
/// before the new table is full.
const PLACES_MOVED: usize = 4;
/// Places of one part of a longer table.
const PART_LEN: usize = segment_len(size_of::<u64>());

/// One place of the table: the high half of the key's hash, and the slot plus one. Zero is empty, so that a new table
/// is memory that the kernel has not had to provide yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(u64);

const EMPTY: Place = Place(0);
/// A place of the old table whose entry was removed. It has no slot.
const REMOVED: Place = Place(1 << 32);

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

    fn has_entry(self) -> bool {
        self.0 as u32 != 0
    }
}

/// The places of one table.
#[derive(Debug, Default)]
struct Places {
    /// `Place`s, as numbers: a table of zeros costs no memory until it is used. Empty when the table has parts.
    flat: Vec<u64>,
    parts: Vec<Option<Box<[u64; PART_LEN]>>>,
    len: usize,
}

impl Places {
    /// A table in one piece.
    fn flat(len: usize) -> Self {
        Self { flat: vec![EMPTY.0; len], parts: Vec::new(), len }
    }

    /// A table in parts, none of which exists yet.
    fn in_parts(len: usize) -> Self {
        let parts = (0..len.div_ceil(PART_LEN)).map(|_| None).collect();
        Self { flat: Vec::new(), parts, len }
    }

    #[inline]
    fn at(&self, at: usize) -> Place {
        match self.flat.get(at) {
            Some(place) => Place(*place),
            None => self.at_part(at),
        }
    }

    #[cold]
    #[inline(never)]
    fn at_part(&self, at: usize) -> Place {
        self.parts[at / PART_LEN].as_ref().map_or(EMPTY, |part| Place(part[at % PART_LEN]))
    }

    #[inline]
    fn set(&mut self, at: usize, place: Place) {
        match self.flat.get_mut(at) {
            Some(to) => *to = place.0,
            None => self.set_part(at, place),
        }
    }

    #[cold]
    #[inline(never)]
    fn set_part(&mut self, at: usize, place: Place) {
        let part = self.parts[at / PART_LEN].get_or_insert_with(|| {
            let zeros = vec![EMPTY.0; PART_LEN].into_boxed_slice();
            zeros.try_into().expect("a part has this many places")
        });
        part[at % PART_LEN] = place.0;
    }

    fn fetch(&self, at: usize) {
        if at < self.flat.len() {
            prefetch_index(&self.flat, at);
        } else if let Some(Some(part)) = self.parts.get(at / PART_LEN) {
            prefetch_index(part.as_slice(), at % PART_LEN);
        }
    }
}

/// The table from which entries move: emptied from its end, and shorter each time.
#[derive(Debug, Default)]
struct Old {
    places: Places,
    /// Places that have not moved yet.
    left: usize,
    shift: u32,
}

impl Old {
    /// Whether there is one.
    #[inline]
    fn is_moving(&self) -> bool {
        self.left != 0
    }

    /// Takes the last place away. A part goes with its first place. The first table of all stays: the kernel takes a
    /// millisecond for that many pages at once.
    fn pop(&mut self) -> Option<Place> {
        self.left = self.left.checked_sub(1)?;
        let place = self.places.at(self.left);
        if self.left.is_multiple_of(PART_LEN)
            && let Some(part) = self.places.parts.get_mut(self.left / PART_LEN)
        {
            *part = None;
        }
        Some(place)
    }

    /// Where the entry is. A chain that reaches the part that has moved may go on at the beginning.
    fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<usize> {
        if !self.is_moving() {
            return None;
        }
        let home = (hash >> self.shift) as usize;
        for start in [home, 0] {
            for at in start..self.left {
                let place = self.places.at(at);
                if place == EMPTY {
                    return None;
                }
                if place.hash() == hash && place.has_entry() && is_it(place.slot()) {
                    return Some(at);
                }
            }
            // Only a chain that runs over the end goes on at the beginning.
            if home == 0 {
                return None;
            }
        }
        None
    }
}

/// From (session, client order id) to the slot of an open order: open addressing with linear probing. When an entry is
/// removed, entries after it move back into the hole, so no tombstone stays. The old table marks removed places while
/// its entries move, and goes with its marks.
#[derive(Debug)]
pub struct ClOrdIndex {
    places: Places,
    /// Entries of both tables.
    len: usize,
    key: HashKey,
    /// `hash >> shift` is the home of a key: the first place in which it may be.
    shift: u32,
    old: Old,
}

impl ClOrdIndex {
    /// Room for `orders` entries before a longer table follows.
    pub fn with_capacity(orders: usize, key: HashKey) -> Self {
        let len = (orders * 2).next_power_of_two().max(TABLE_LEN_MIN);
        Self { places: Places::flat(len), len: 0, key, shift: 32 - len.trailing_zeros(), old: Old::default() }
    }

    #[inline]
    fn hash(&self, session: SessionId, cl_ord_id: ClOrdId) -> u32 {
        (self.key.hash(cl_ord_id.0, session.0.into()) >> 32) as u32
    }

    pub(crate) fn extent(&self) -> Extent {
        Extent::of("client ids", &self.places.flat)
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
        if self.len * 2 >= self.places.len {
            self.follow();
        }
        debug_assert!(self.find_place(session, cl_ord_id, |s| s == slot).is_none(), "an order is indexed once");
        self.put(Place::new(self.hash(session, cl_ord_id), slot));
        self.len += 1;
        self.move_some();
    }

    #[inline]
    fn at(&self, at: usize) -> Place {
        self.places.at(at)
    }

    #[inline]
    fn home(&self, place: Place) -> usize {
        (place.hash() >> self.shift) as usize
    }

    #[inline]
    fn put(&mut self, place: Place) {
        let mut at = self.home(place);
        while self.at(at) != EMPTY {
            at = (at + 1) & (self.places.len - 1);
        }
        self.places.set(at, place);
    }

    /// Begins a table of twice the size.
    #[cold]
    fn follow(&mut self) {
        let len = self.places.len * 2;
        assert!(len <= 1 << 31, "an index of all order slots fits");
        assert!(!self.old.is_moving(), "all entries have moved before the table is full");
        let places = std::mem::replace(&mut self.places, Places::in_parts(len));
        self.old = Old { left: places.len, places, shift: self.shift };
        self.shift -= 1;
    }

    /// Moves the entries of a few places, once there is an old table.
    #[inline]
    fn move_some(&mut self) {
        if self.old.is_moving() {
            self.move_places(PLACES_MOVED.planted(Mutation::IndexMovedAtOnce, |_| usize::MAX));
        }
    }

    #[cold]
    fn move_places(&mut self, count: usize) {
        for _ in 0..count {
            let Some(place) = self.old.pop() else { break };
            if place.has_entry() {
                self.put(place);
            }
        }
    }

    /// Brings the place of a client order id into the cache.
    #[inline]
    pub fn fetch(&self, session: SessionId, cl_ord_id: ClOrdId) {
        self.places.fetch((self.hash(session, cl_ord_id) >> self.shift) as usize);
    }

    /// The slot of an order that probably has this client order id, by the table alone: good enough for a prefetch.
    #[inline]
    pub fn guess(&self, session: SessionId, cl_ord_id: ClOrdId) -> Option<u32> {
        self.find_place(session, cl_ord_id, |_| true).map(|at| self.at(at).slot())
    }

    /// The slot of the open order with this client order id.
    #[inline]
    pub fn find(&self, orders: &Orders, session: SessionId, cl_ord_id: ClOrdId) -> Option<u32> {
        let is_it = |slot| {
            let order = orders.get(slot);
            order.session == session && order.cl_ord_id == cl_ord_id
        };
        if let Some(at) = self.find_place(session, cl_ord_id, is_it) {
            return Some(self.at(at).slot());
        }
        let at = self.old.find(self.hash(session, cl_ord_id), is_it)?;
        Some(self.old.places.at(at).slot())
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
            at = (at + 1) & (self.places.len - 1);
        }
    }

    /// Removes the entry of this order.
    #[inline]
    pub fn remove(&mut self, session: SessionId, cl_ord_id: ClOrdId, slot: u32) {
        self.len -= 1;
        match self.find_place(session, cl_ord_id, |s| s == slot) {
            Some(hole) => self.close(hole),
            None => {
                let found = self.old.find(self.hash(session, cl_ord_id), |s| s == slot);
                let at = found.expect("an open order with a client order id is in the index");
                self.old.places.set(at, REMOVED);
            }
        }
        self.move_some();
    }

    /// Moves entries back into the hole, so that each is found from its home without meeting an empty place.
    #[inline]
    fn close(&mut self, mut hole: usize) {
        let mask = self.places.len - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let place = self.at(at);
            if place == EMPTY {
                break;
            }
            // An entry may move into the hole unless the hole lies before its home.
            if (at.wrapping_sub(self.home(place)) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.places.set(hole, place);
                hole = at;
            }
        }
        self.places.set(hole, EMPTY);
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
            assert!(is_found(&index, session, id, slot));
        }
    }

    fn is_found(index: &ClOrdIndex, session: SessionId, id: ClOrdId, slot: u32) -> bool {
        let is_it = |s| s == slot;
        index.find_place(session, id, is_it).is_some() || index.old.find(index.hash(session, id), is_it).is_some()
    }

    /// Inserts and removals while entries move, with each entry found after each of them.
    fn a_longer_table_follows_without_a_pause() {
        let mut index = ClOrdIndex::with_capacity(1, HashKey::default());
        let mut present = Vec::new();
        for step in 0..6_000u32 {
            let (left, is_moving) = (index.old.left, index.old.is_moving());
            if step % 3 == 2 {
                let (id, slot) = present.swap_remove(step as usize * 7 % present.len());
                index.remove(SESSION, id, slot);
            } else {
                index.insert(SESSION, ClOrdId(step.into()), step);
                present.push((ClOrdId(step.into()), step));
            }
            if is_moving && index.old.is_moving() {
                assert_eq!(left - index.old.left, PLACES_MOVED, "a few places with each command");
            }
            if step % 97 == 0 || is_moving && step % 5 == 0 {
                assert!(present.iter().all(|(id, slot)| is_found(&index, SESSION, *id, *slot)), "at step {step}");
            }
        }
        assert!(index.places.len > TABLE_LEN_MIN && index.len() == present.len());
    }

    #[test]
    fn entries_move_a_few_at_a_time() {
        a_longer_table_follows_without_a_pause();
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn a_table_that_moves_at_once_is_noticed() {
        let mut index = ClOrdIndex::with_capacity(1, HashKey::default());
        crate::mutation::plant(Some(Mutation::IndexMovedAtOnce));
        (0..=512).for_each(|step| index.insert(SESSION, ClOrdId(step), step as u32));
        crate::mutation::plant(None);
        assert!(!index.old.is_moving() && index.places.len == 2 * TABLE_LEN_MIN, "nothing is left to be moved");
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
            1 + (at.wrapping_sub(home) & (index.places.len - 1))
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
