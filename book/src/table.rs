//! A hash table that grows by one place at a time, for names that clients choose.
//!
//! Linear hashing (Litwin 1980): there are `2^n + split` places, each the head of a list. A new entry splits at most
//! one place, the next in turn, between itself and the place `2^n` further on, by one more bit of the hash. So no
//! command moves more than the few entries of one list, and nothing is copied. Entries and heads lie in segments; an
//! entry that is removed is reused. Invariant: an entry is on the list of the place that its hash names, and on no
//! other.

use crate::hash_key::HashKey;
use crate::mutation::{Mutation, Planted};
use crate::segments::Segments;

/// No entry, in links.
const NONE: u32 = u32::MAX;
/// There are that many places from the start.
const PLACES_MIN: u32 = 1 << 8;

/// A key whose hash depends on the key of the process.
pub(crate) trait Hashed: Copy + Eq {
    fn hash(&self, key: HashKey) -> u64;
}

#[derive(Clone, Copy, Debug)]
struct Entry<K, V> {
    key: K,
    value: V,
    /// The next entry of the same place, or the next one that is free.
    next: u32,
}

#[derive(Debug)]
pub(crate) struct Table<K, V> {
    entries: Segments<Entry<K, V>>,
    /// The first entry of each place.
    heads: Segments<u32>,
    hash_key: HashKey,
    /// Places in use: a power of two and those that were split since.
    places: u32,
    /// The power of two.
    round: u32,
    len: u32,
    /// Entries that were ever used.
    used: u32,
    free: u32,
}

impl<K: Hashed, V: Copy> Table<K, V> {
    /// A table of at most `max` entries.
    pub(crate) fn new(max: usize, hash_key: HashKey) -> Self {
        let places_max = max.next_power_of_two().max(PLACES_MIN as usize);
        Self {
            entries: Segments::new(max),
            heads: Segments::new(places_max),
            hash_key,
            places: 0,
            round: PLACES_MIN,
            len: 0,
            used: 0,
            free: NONE,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// A hash of a place that was not split in this round has one bit less.
    fn place(&self, key: &K) -> u32 {
        let hash = (key.hash(self.hash_key) >> 32) as u32;
        let at = hash & (2 * self.round - 1);
        if at < self.places { at } else { hash & (self.round - 1) }
    }

    fn find(&self, key: &K) -> Option<u32> {
        if self.places == 0 {
            return None;
        }
        let mut at = *self.heads.at(self.place(key));
        while at != NONE {
            let entry = self.entries.at(at);
            if entry.key == *key {
                return Some(at);
            }
            at = entry.next;
        }
        None
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.find(key).map(|at| &self.entries.at(at).value)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.find(key).map(|at| &mut self.entries.at_mut(at).value)
    }

    /// Sets the value of a key and gives the one that it had.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(at) = self.find(&key) {
            return Some(std::mem::replace(&mut self.entries.at_mut(at).value, value));
        }
        self.grow();
        let place = self.place(&key);
        let entry = Entry { key, value, next: *self.heads.at(place) };
        let at = self.entry_new(entry);
        *self.heads.at_mut(place) = at;
        self.len += 1;
        None
    }

    fn entry_new(&mut self, entry: Entry<K, V>) -> u32 {
        let at = if self.free == NONE {
            self.used += 1;
            self.used - 1
        } else {
            let at = self.free;
            self.free = self.entries.at(at).next;
            at
        };
        self.entries.reach(at, entry);
        *self.entries.at_mut(at) = entry;
        at
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.find(key)?;
        let place = self.place(key);
        let Entry { value, next, .. } = *self.entries.at(at);
        if *self.heads.at(place) == at {
            *self.heads.at_mut(place) = next;
        } else {
            let mut before = *self.heads.at(place);
            while self.entries.at(before).next != at {
                before = self.entries.at(before).next;
            }
            self.entries.at_mut(before).next = next;
        }
        self.entries.at_mut(at).next = self.free;
        self.free = at;
        self.len -= 1;
        Some(value)
    }

    /// Makes the first places, or splits one, so that there are as many places as entries.
    fn grow(&mut self) {
        if self.places == 0 {
            self.heads.reach(PLACES_MIN - 1, NONE);
            self.places = PLACES_MIN;
        }
        if self.places <= self.len {
            let splits = 1.planted(Mutation::TableSplitAtOnce, |_| self.round);
            (0..splits).for_each(|_| self.split());
        }
    }

    fn split(&mut self) {
        let from = self.places - self.round;
        let to = self.places;
        self.heads.reach(to, NONE);
        self.places += 1;
        let mut at = std::mem::replace(self.heads.at_mut(from), NONE);
        while at != NONE {
            let next = self.entries.at(at).next;
            let hash = (self.entries.at(at).key.hash(self.hash_key) >> 32) as u32;
            let place = if hash & self.round == 0 { from } else { to };
            self.entries.at_mut(at).next = std::mem::replace(self.heads.at_mut(place), at);
            at = next;
        }
        if self.places == 2 * self.round {
            self.round = self.places;
        }
    }
}
