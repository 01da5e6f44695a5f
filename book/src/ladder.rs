//! One side of a book: price levels in a 64-way radix tree with a bitmap per node.
//!
//! A level is found in two or three steps, however many levels there are. The next best price is a count of zeros in a
//! bitmap. Memory grows with the prices in use, not with their range: the tree is only as tall as the distance between
//! its lowest and its highest price demands. (An array indexed by price saves one or two loads and costs memory for the
//! range; a balanced tree is two to three times slower on books of a thousand levels.)
//!
//! Keys are prices for sells and inverted prices for buys, so that the best level always has the smallest key.
//! Invariants: a level, a leaf and a node exist while an order rests below them; each order in a queue links both its
//! neighbours, and they link it.

use crate::array::Array;
use crate::command::Side;
use crate::extent::Extent;
use crate::ids::ORDER_SLOTS_MAX;
use crate::mutation::{Mutation, Planted};
use crate::slab::{NIL, Orders};
use crate::units::PriceTicks;
use prefetch_index::prefetch_index;

/// Names a level: its leaf times 64 plus its place there. Stable while the level holds an order.
pub type LevelIdx = u32;

/// The leaf in which a level lies.
pub(crate) fn leaf_of(level: LevelIdx) -> u32 {
    level >> FAN_BITS
}

const FAN_BITS: u32 = 6;
const FAN: usize = 1 << FAN_BITS;
const FAN_MASK: u32 = FAN as u32 - 1;
/// Of the 32 bits of a key a leaf covers 6, and five floors of nodes the rest.
const HEIGHT_MAX: u8 = 5;
const _: () = assert!(FAN_BITS * (HEIGHT_MAX as u32 + 1) >= u32::BITS && FAN == u64::BITS as usize);

/// The queue of one price: its oldest and its youngest order.
#[derive(Clone, Copy, Debug)]
struct Level {
    head: u32,
    tail: u32,
}

/// 64 neighbouring levels. Invariant: bit `i` is set exactly when `levels[i]` holds an order.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Leaf {
    bits: u64,
    /// Key of `levels[0]`.
    base: u32,
    free_next: u32,
    levels: [Level; FAN],
}

/// 64 children: leaves on the lowest floor, nodes above. Invariant: bit `i` is set exactly when child `i` has a level.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Node {
    bits: u64,
    free_next: u32,
    children: [u32; FAN],
}

/// The leaves and nodes of all ladders of all markets, in two arrays with a free list each, so that a book which grows
/// and shrinks allocates nothing.
#[derive(Debug)]
pub struct Levels {
    leaves: Array<Leaf>,
    nodes: Array<Node>,
    leaf_free: u32,
    node_free: u32,
}

impl Levels {
    /// Memory set aside for that many leaves (64 neighbouring prices each), in one piece. More follows in segments.
    pub fn with_capacity(leaves: usize) -> Self {
        let (leaves_max, nodes_max) = (ORDER_SLOTS_MAX as usize, HEIGHT_MAX as usize * ORDER_SLOTS_MAX as usize);
        let (leaves, nodes) = (Array::new(leaves, leaves_max), Array::new(leaves / 8, nodes_max));
        Self { leaves, nodes, leaf_free: NIL, node_free: NIL }
    }

    #[inline]
    fn leaf_new(&mut self, base: u32) -> u32 {
        if self.leaf_free == NIL {
            let leaf = Leaf { bits: 0, base, free_next: NIL, levels: [Level { head: NIL, tail: NIL }; FAN] };
            self.leaves.push(leaf);
            assert!(self.leaves.len() < (u32::MAX >> FAN_BITS) as usize, "a leaf per order fits the level index");
            return self.leaves.len() as u32 - 1;
        }
        let idx = self.leaf_free;
        let leaf = self.leaves.at_mut(idx as usize);
        assert!(leaf.bits == 0, "a free leaf holds no level");
        self.leaf_free = leaf.free_next;
        leaf.base = base;
        idx
    }

    fn node_new(&mut self) -> u32 {
        if self.node_free == NIL {
            self.nodes.push(Node { bits: 0, free_next: NIL, children: [NIL; FAN] });
            return self.nodes.len() as u32 - 1;
        }
        let idx = self.node_free;
        let node = self.nodes.at_mut(idx as usize);
        self.node_free = node.free_next;
        node.bits = 0;
        idx
    }

    fn leaf_free(&mut self, idx: u32) {
        assert!(self.leaves.at(idx as usize).bits == 0, "a leaf is freed when its last level is gone");
        self.leaves.at_mut(idx as usize).free_next = self.leaf_free;
        self.leaf_free = idx;
    }

    fn node_free(&mut self, idx: u32) {
        self.nodes.at_mut(idx as usize).free_next = self.node_free;
        self.node_free = idx;
    }

    #[inline]
    fn level(&self, level: LevelIdx) -> Level {
        self.leaves.at((level >> FAN_BITS) as usize).levels[(level & FAN_MASK) as usize]
    }

    #[inline]
    fn level_mut(&mut self, level: LevelIdx) -> &mut Level {
        &mut self.leaves.at_mut((level >> FAN_BITS) as usize).levels[(level & FAN_MASK) as usize]
    }

    /// The oldest order of a level that holds one.
    #[inline]
    pub fn head(&self, level: LevelIdx) -> u32 {
        self.level(level).head
    }

    /// The youngest order of a level that holds one.
    pub(crate) fn tail(&self, level: LevelIdx) -> u32 {
        self.level(level).tail
    }

    /// Brings a level and the bitmap of its leaf into the cache.
    #[inline]
    pub fn fetch(&self, level: LevelIdx) {
        let Some(leaf) = self.leaves.get((level >> FAN_BITS) as usize) else { return };
        prefetch_index(std::slice::from_ref(&leaf.bits), 0);
        prefetch_index(leaf.levels.as_slice(), (level & FAN_MASK) as usize);
    }

    /// The youngest order of a level, when it holds one.
    #[inline]
    fn tail_if_used(&self, level: LevelIdx) -> Option<u32> {
        let leaf = self.leaves.at((level >> FAN_BITS) as usize);
        let used = leaf.bits & 1 << (level & FAN_MASK) != 0;
        used.then(|| leaf.levels[(level & FAN_MASK) as usize].tail)
    }

    pub(crate) fn extents(&self) -> [Extent; 2] {
        [self.leaves.extent("price leaves"), self.nodes.extent("price nodes")]
    }

    /// How many leaves hold a level.
    pub(crate) fn leaves_used(&self) -> usize {
        self.leaves.iter().filter(|leaf| leaf.bits != 0).count()
    }

    /// The memory that levels have needed so far, all nodes included.
    pub fn bytes_used(&self) -> usize {
        self.leaves.len() * size_of::<Leaf>() + self.nodes.len() * size_of::<Node>()
    }
}

/// The best level of a ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Best {
    pub key: u32,
    pub level: LevelIdx,
}

/// One side of one book. Invariant: `best` is the level with the smallest key in the tree, and `None` when it is empty.
#[derive(Debug)]
pub struct Ladder {
    root: u32,
    /// Floors of nodes above the leaves; 0 when the root is a leaf. Undefined while the tree is empty.
    height: u8,
    /// The bits in which a price and its key differ: none, or all.
    flip: u32,
    level_count: u32,
    best: Option<Best>,
}

impl Ladder {
    pub fn new(side: Side) -> Self {
        let flip = if side == Side::Buy { u32::MAX } else { 0 };
        Self { root: NIL, height: 0, flip, level_count: 0, best: None }
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
        let leaf_idx = self.leaf_for(levels, key);
        let leaf = levels.leaves.at_mut(leaf_idx as usize);
        let bit = 1u64 << (key & FAN_MASK);
        let idx = leaf_idx << FAN_BITS | (key & FAN_MASK);
        let level = &mut leaf.levels[(key & FAN_MASK) as usize];
        let tail = if leaf.bits & bit == 0 {
            leaf.bits |= bit;
            level.head = slot;
            self.level_count += 1;
            if self.best.is_none_or(|best| key < best.key) {
                self.best = Some(Best { key, level: idx });
            }
            NIL
        } else {
            let youngest = orders.get_mut(level.tail);
            debug_assert!(youngest.price == price, "a level has one price");
            debug_assert!(youngest.next == NIL, "the youngest order of a level is the last of its queue");
            youngest.next = slot;
            level.tail
        };
        level.tail = slot;
        let order = orders.get_mut(slot);
        order.prev = tail.planted(Mutation::BackLinkForgotten, |_| NIL);
        order.next = NIL;
        order.level = idx;
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
        if let Some(level) = self.level_of(levels, key) {
            levels.fetch(level);
        }
    }

    /// Brings the youngest order of `key` into the cache, to which the next one will be linked.
    #[inline]
    pub fn fetch_tail(&self, levels: &Levels, orders: &Orders, key: u32) {
        if let Some(tail) = self.level_of(levels, key).and_then(|level| levels.tail_if_used(level)) {
            orders.fetch(tail);
        }
    }

    /// The level of `key` when the tree has its leaf, whether or not the level holds an order.
    #[inline]
    fn level_of(&self, levels: &Levels, key: u32) -> Option<LevelIdx> {
        let best = self.best?;
        if best.key >> FAN_BITS == key >> FAN_BITS {
            return Some((best.level & !FAN_MASK) | (key & FAN_MASK));
        }
        if prefix(key, self.height) != prefix(best.key, self.height) {
            return None;
        }
        let mut at = self.root;
        for floor in (1..=u32::from(self.height)).rev() {
            let node = levels.nodes.at(at as usize);
            let child_idx = (key >> (FAN_BITS * floor)) & FAN_MASK;
            if node.bits & 1 << child_idx == 0 {
                return None;
            }
            at = node.children[child_idx as usize];
        }
        Some(at << FAN_BITS | (key & FAN_MASK))
    }

    /// The leaf that covers `key`, made when the tree has none.
    #[inline]
    fn leaf_for(&mut self, levels: &mut Levels, key: u32) -> u32 {
        if let Some(best) = self.best
            && best.key >> FAN_BITS == key >> FAN_BITS
        {
            return best.level >> FAN_BITS;
        }
        if self.root == NIL {
            self.root = levels.leaf_new(key & !FAN_MASK);
            self.height = 0;
            return self.root;
        }
        self.grow_to_cover(levels, key);
        let mut at = self.root;
        for floor in (1..=u32::from(self.height)).rev() {
            let child_idx = (key >> (FAN_BITS * floor)) & FAN_MASK;
            let bit = 1u64 << child_idx;
            let missing = levels.nodes.at(at as usize).bits & bit == 0;
            if missing {
                let child = if floor == 1 { levels.leaf_new(key & !FAN_MASK) } else { levels.node_new() };
                let node = levels.nodes.at_mut(at as usize);
                node.bits |= bit;
                node.children[child_idx as usize] = child;
            }
            at = levels.nodes.at(at as usize).children[child_idx as usize];
        }
        at
    }

    /// Adds floors above the root until it covers `key`. Any key in the tree has the root's prefix.
    #[inline]
    fn grow_to_cover(&mut self, levels: &mut Levels, key: u32) {
        let inside = self.best.expect("a tree with a root has a level").key;
        while prefix(key, self.height) != prefix(inside, self.height) {
            let root = levels.node_new();
            self.height += 1;
            assert!(self.height <= HEIGHT_MAX, "six floors cover 32 bits");
            let child_idx = (inside >> (FAN_BITS * u32::from(self.height))) & FAN_MASK;
            let node = levels.nodes.at_mut(root as usize);
            node.bits = 1 << child_idx;
            node.children[child_idx as usize] = self.root;
            self.root = root;
        }
    }

    /// Takes a level without orders out of the tree, and finds the best of the others when it was the best.
    #[inline]
    fn remove_level(&mut self, levels: &mut Levels, level: LevelIdx, key: u32) {
        let leaf = levels.leaves.at_mut((level >> FAN_BITS) as usize);
        debug_assert!(leaf.base == key & !FAN_MASK, "a level lies in the leaf that covers its key");
        assert!(leaf.bits & 1 << (key & FAN_MASK) != 0, "a level that is removed was in use");
        leaf.bits &= !(1 << (key & FAN_MASK));
        self.level_count -= 1;
        let leaf_bits = leaf.bits;
        if leaf_bits == 0 {
            self.prune(levels, key);
        }
        if self.best.is_some_and(|best| best.key == key) {
            self.best = if leaf_bits != 0 {
                let at = leaf_bits.trailing_zeros();
                Some(Best { key: key & !FAN_MASK | at, level: (level & !FAN_MASK) | at })
            } else {
                self.smallest(levels)
            };
            debug_assert!(
                self.best.is_none_or(|best| key < best.key),
                "the next best level is worse than the best one was"
            );
        }
        debug_assert!(self.best.is_some() == (0 < self.level_count), "a ladder with levels has a best one");
    }

    /// Frees the empty leaf of `key` and every node that it leaves empty, then lowers a root with a single child.
    fn prune(&mut self, levels: &mut Levels, key: u32) {
        let mut path = [NIL; HEIGHT_MAX as usize + 1];
        let mut at = self.root;
        for floor in (1..=u32::from(self.height)).rev() {
            path[floor as usize] = at;
            at = levels.nodes.at(at as usize).children[((key >> (FAN_BITS * floor)) & FAN_MASK) as usize];
        }
        assert!(
            levels.leaves.at(at as usize).base == key & !FAN_MASK,
            "the way to a key ends at the leaf that covers it"
        );
        levels.leaf_free(at);
        for floor in 1..=u32::from(self.height) {
            let node = levels.nodes.at_mut(path[floor as usize] as usize);
            node.bits &= !(1 << ((key >> (FAN_BITS * floor)) & FAN_MASK));
            if node.bits != 0 {
                self.lower_root(levels);
                return;
            }
            levels.node_free(path[floor as usize]);
        }
        self.root = NIL;
        self.height = 0;
    }

    /// Takes roots away that have one child, so that a price far from the others does not leave the tree tall for ever.
    fn lower_root(&mut self, levels: &mut Levels) {
        while self.height > 0 {
            let node = levels.nodes.at(self.root as usize);
            if node.bits.count_ones() != 1 {
                return;
            }
            let child = node.children[node.bits.trailing_zeros() as usize];
            levels.node_free(self.root);
            self.root = child;
            self.height -= 1;
        }
    }

    fn smallest(&self, levels: &Levels) -> Option<Best> {
        if self.root == NIL {
            return None;
        }
        Some(Self::smallest_under(levels, self.root, self.height))
    }

    fn smallest_under(levels: &Levels, mut at: u32, height: u8) -> Best {
        for _ in 0..height {
            let node = levels.nodes.at(at as usize);
            at = node.children[node.bits.trailing_zeros() as usize];
        }
        let leaf = levels.leaves.at(at as usize);
        assert!(leaf.bits != 0, "a leaf in a tree holds a level");
        let idx = leaf.bits.trailing_zeros();
        Best { key: leaf.base | idx, level: at << FAN_BITS | idx }
    }

    /// The best level that is worse than `key`, for walks over the book.
    pub fn after(&self, levels: &Levels, key: u32) -> Option<Best> {
        let start = key.checked_add(1)?;
        self.first_from(levels, self.root, self.height, start)
    }

    /// The best level whose key is at least `start`, under one node.
    fn first_from(&self, levels: &Levels, at: u32, height: u8, start: u32) -> Option<Best> {
        if at == NIL {
            return None;
        }
        let shift = FAN_BITS * u32::from(height);
        if height == 0 {
            let leaf = levels.leaves.at(at as usize);
            let bits = if start <= leaf.base {
                leaf.bits
            } else if start - leaf.base > FAN_MASK {
                0
            } else {
                leaf.bits & (u64::MAX << (start - leaf.base))
            };
            let idx = bits.trailing_zeros();
            return (bits != 0).then_some(Best { key: leaf.base | idx, level: at << FAN_BITS | idx });
        }
        let node = levels.nodes.at(at as usize);
        let inside = Self::smallest_under(levels, at, height).key;
        if prefix(start, height) != prefix(inside, height) {
            return (prefix(start, height) < prefix(inside, height)).then(|| Self::smallest_under(levels, at, height));
        }
        let from = (start >> shift) & FAN_MASK;
        let mut bits = node.bits & (u64::MAX << from);
        while bits != 0 {
            let idx = bits.trailing_zeros();
            let child = node.children[idx as usize];
            let found = if idx == from {
                self.first_from(levels, child, height - 1, start)
            } else {
                Some(Self::smallest_under(levels, child, height - 1))
            };
            if found.is_some() {
                return found;
            }
            bits &= bits - 1;
        }
        None
    }
}

/// The bits that all keys below a node of this height share.
#[inline]
fn prefix(key: u32, height: u8) -> u64 {
    u64::from(key) >> (FAN_BITS * (u32::from(height) + 1))
}
