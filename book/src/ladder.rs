//! One side of a book: price levels in a 64-way radix tree with a bitmap per branch.
//!
//! A level is found in one to three steps, however many levels there are. The next best price is a count of zeros in a
//! bitmap. Memory grows with the prices in use, not with their range: a branch exists only where two prices part. (An
//! array indexed by price saves one or two loads and costs memory for the range; a balanced tree is two to three times
//! slower on books of a thousand levels.)
//!
//! Keys are prices for sells and inverted prices for buys, so that the best level always has the smallest key.
//! Invariants: a level and a leaf exist while an order rests below them, and a branch above leaves while it has two
//! children; each order in a queue links both its neighbours, and they link it.

use crate::command::Side;
use crate::levels::{FAN_BITS, FAN_MASK, LevelIdx, Levels, SHIFT_MAX};
use crate::mutation::{Mutation, Planted};
use crate::slab::{NIL, Orders};
use crate::units::PriceTicks;

/// The best level of a ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Best {
    pub key: u32,
    pub level: LevelIdx,
    leaf: u32,
}

/// One side of one book. Invariant: `best` is the level with the smallest key in the tree, and `None` when it is empty.
#[derive(Debug)]
pub struct Ladder {
    /// The branch that covers all levels, or `NIL`.
    root: u32,
    /// The bits in which a price and its key differ: none, or all.
    flip: u32,
    level_count: u32,
    best: Option<Best>,
}

impl Ladder {
    pub fn new(side: Side) -> Self {
        let flip = if side == Side::Buy { u32::MAX } else { 0 };
        Self { root: NIL, flip, level_count: 0, best: None }
    }

    #[inline]
    pub fn key(&self, price: PriceTicks) -> u32 {
        price.0 ^ self.flip
    }

    #[inline]
    pub fn price(&self, key: u32) -> PriceTicks {
        PriceTicks(key ^ self.flip)
    }

    #[inline]
    pub fn best(&self) -> Option<Best> {
        self.best
    }

    pub fn level_count(&self) -> u32 {
        self.level_count
    }

    /// Puts an order at the end of the queue of its price.
    #[inline]
    pub fn append(&mut self, levels: &mut Levels, orders: &mut Orders, slot: u32) {
        let price = orders.get(slot).price;
        let key = self.key(price);
        let leaf = self.leaf_for(levels, key);
        let (level, is_used) = levels.open(leaf, key);
        let queue = levels.level_mut(level);
        let tail = if is_used {
            let youngest = orders.get_mut(queue.tail);
            debug_assert!(youngest.price == price, "a level has one price");
            debug_assert!(youngest.next == NIL, "the youngest order of a level is the last of its queue");
            youngest.next = slot;
            queue.tail
        } else {
            queue.head = slot;
            self.level_count += 1;
            if self.best.is_none_or(|best| key < best.key) {
                self.best = Some(Best { key, level, leaf });
            }
            NIL
        };
        queue.tail = slot;
        let order = orders.get_mut(slot);
        order.prev = tail.planted(Mutation::BackLinkForgotten, |_| NIL);
        order.next = NIL;
        order.level = level;
        debug_assert!(self.best.is_some_and(|best| best.key <= key), "no level is better than the best");
    }

    /// Takes an order out of its queue. A level without orders leaves the tree.
    #[inline]
    pub fn unlink(&mut self, levels: &mut Levels, orders: &mut Orders, slot: u32) {
        let order = *orders.get(slot);
        if order.prev != NIL {
            let older = orders.get_mut(order.prev);
            debug_assert!(older.next == slot, "the older neighbour in a queue links to the order");
            older.next = order.next;
        } else if order.next != NIL {
            let level = levels.level_mut(order.level);
            debug_assert!(level.head == slot, "an order without an older neighbour is the head of its level");
            level.head = order.next;
        }
        if order.next != NIL {
            let younger = orders.get_mut(order.next);
            debug_assert!(younger.prev == slot, "the younger neighbour in a queue links to the order");
            younger.prev = order.prev;
        } else if order.prev != NIL {
            let level = levels.level_mut(order.level);
            debug_assert!(level.tail == slot, "an order without a younger neighbour is the tail of its level");
            level.tail = order.prev;
        }
        if order.prev == NIL && order.next == NIL {
            // Its line of the leaf is not needed for anything else, and loading it would cost a cache miss.
            debug_assert!(
                levels.level(order.level).head == slot,
                "an order alone in its queue is the head of its level"
            );
            self.remove_level(levels, order.level, self.key(order.price));
        }
    }

    /// Brings the level of `key` into the cache. Cheap only when the way to its leaf is there already.
    #[inline]
    pub fn fetch_level(&self, levels: &Levels, key: u32) {
        if let Some(level) = self.find_leaf(levels, key).and_then(|leaf| levels.level_in(leaf, key)) {
            levels.fetch(level);
        }
    }

    /// Brings the youngest order of `key` into the cache, to which the next one will be linked.
    #[inline]
    pub fn fetch_tail(&self, levels: &Levels, orders: &Orders, key: u32) {
        let Some(leaf) = self.find_leaf(levels, key) else { return };
        if levels.bits(leaf) & 1 << (key & FAN_MASK) != 0
            && let Some(level) = levels.level_in(leaf, key)
        {
            orders.fetch(levels.tail(level));
        }
    }

    /// The leaf that covers `key`.
    #[inline]
    fn find_leaf(&self, levels: &Levels, key: u32) -> Option<u32> {
        let best = self.best?;
        if best.key >> FAN_BITS == key >> FAN_BITS {
            return Some(best.leaf);
        }
        let mut at = self.root;
        while levels.covers(at, key) {
            let shift = levels.shift(at);
            if shift == 0 {
                return Some(at);
            }
            let place = place_of(key, shift);
            if levels.bits(at) & 1 << place == 0 {
                return None;
            }
            at = levels.child(at, place);
        }
        None
    }

    /// The leaf that covers `key`, made when the tree has none.
    #[inline]
    fn leaf_for(&mut self, levels: &mut Levels, key: u32) -> u32 {
        if let Some(best) = self.best
            && best.key >> FAN_BITS == key >> FAN_BITS
        {
            return best.leaf;
        }
        if self.root == NIL {
            self.root = levels.branch_new(key, 0);
            return self.root;
        }
        let mut link = None;
        let mut at = self.root;
        while levels.covers(at, key) {
            let shift = levels.shift(at);
            if shift == 0 {
                return at;
            }
            let place = place_of(key, shift);
            if levels.bits(at) & 1 << place == 0 {
                let leaf = levels.branch_new(key, 0);
                levels.set_child(at, place, leaf);
                return leaf;
            }
            link = Some((at, place));
            at = levels.child(at, place);
        }
        self.part(levels, link, at, key)
    }

    /// Puts a branch above the one that does not cover `key`, the smallest one that covers both, and gives the new leaf
    /// of `key` below it.
    fn part(&mut self, levels: &mut Levels, link: Option<(u32, u32)>, at: u32, key: u32) -> u32 {
        let other = levels.base(at);
        let shift = (key ^ other).ilog2() / FAN_BITS * FAN_BITS;
        assert!(levels.shift(at) < shift && shift <= SHIFT_MAX, "what covers both is above either");
        let branch = levels.branch_new(key, shift);
        let leaf = levels.branch_new(key, 0);
        levels.set_child(branch, place_of(other, shift), at);
        levels.set_child(branch, place_of(key, shift), leaf);
        self.relink(levels, link, branch);
        leaf
    }

    /// Lets the parent, by its branch and the place in it, or the ladder itself lead to `branch`.
    fn relink(&mut self, levels: &mut Levels, link: Option<(u32, u32)>, branch: u32) {
        match link {
            Some((parent, place)) => levels.set_child(parent, place, branch),
            None => self.root = branch,
        }
    }

    /// Takes a level without orders out of the tree, and finds the best of the others when it was the best.
    #[inline]
    fn remove_level(&mut self, levels: &mut Levels, level: LevelIdx, key: u32) {
        let left = levels.close(level, key);
        self.level_count -= 1;
        if left == 0 {
            self.prune(levels, key);
        }
        if let Some(best) = self.best
            && best.key == key
        {
            self.best = if left != 0 {
                Some(best_of_leaf(levels, best.leaf, left))
            } else {
                (self.root != NIL).then(|| smallest_under(levels, self.root))
            };
            debug_assert!(
                self.best.is_none_or(|best| key < best.key),
                "the next best level is worse than the best one was"
            );
        }
        debug_assert!(self.best.is_some() == (0 < self.level_count), "a ladder with levels has a best one");
    }

    /// Frees the empty leaf of `key`, and the branch above it that has one other child, which takes its place.
    fn prune(&mut self, levels: &mut Levels, key: u32) {
        let (mut above, mut parent) = (None, None);
        let mut at = self.root;
        while levels.shift(at) > 0 {
            let place = place_of(key, levels.shift(at));
            above = std::mem::replace(&mut parent, Some((at, place)));
            at = levels.child(at, place);
        }
        assert!(levels.base(at) == key & !FAN_MASK, "the way to a key ends at the leaf that covers it");
        levels.branch_free(at);
        let Some((branch, place)) = parent else {
            self.root = NIL;
            return;
        };
        levels.clear_child(branch, place);
        let left = levels.bits(branch);
        if left.count_ones() == 1 {
            let place = left.trailing_zeros();
            let child = levels.child(branch, place);
            self.relink(levels, above, child);
            levels.clear_child(branch, place);
            levels.branch_free(branch);
        }
        assert!(left != 0, "a branch above leaves has two children at least");
    }

    /// The best level that is worse than `key`, for walks over the book.
    pub fn after(&self, levels: &Levels, key: u32) -> Option<Best> {
        let start = key.checked_add(1)?;
        if self.root == NIL { None } else { first_from(levels, self.root, start) }
    }
}

/// The level at the first of these bits, which are some of a leaf.
#[inline]
fn best_of_leaf(levels: &Levels, leaf: u32, bits: u64) -> Best {
    let (key, level) = levels.first_of(leaf, bits);
    Best { key, level, leaf }
}

fn smallest_under(levels: &Levels, mut at: u32) -> Best {
    while levels.shift(at) > 0 {
        at = levels.child(at, levels.bits(at).trailing_zeros());
    }
    best_of_leaf(levels, at, levels.bits(at))
}

/// The best level whose key is at least `start`, under one branch.
fn first_from(levels: &Levels, at: u32, start: u32) -> Option<Best> {
    if !levels.covers(at, start) {
        return (start < levels.base(at)).then(|| smallest_under(levels, at));
    }
    let shift = levels.shift(at);
    let from = place_of(start, shift);
    let mut bits = levels.bits(at) & (u64::MAX << from);
    if shift == 0 {
        return (bits != 0).then(|| best_of_leaf(levels, at, bits));
    }
    if bits & 1 << from != 0 {
        let found = first_from(levels, levels.child(at, from), start);
        if found.is_some() {
            return found;
        }
        bits &= bits - 1;
    }
    (bits != 0).then(|| smallest_under(levels, levels.child(at, bits.trailing_zeros())))
}

/// The place of a key in the branch with this shift that covers it.
#[inline]
fn place_of(key: u32, shift: u32) -> u32 {
    key >> shift & FAN_MASK
}
