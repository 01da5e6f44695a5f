//! The price levels of all ladders, and the branches of the trees above them, in shared arrays.
//!
//! A branch covers 64 neighbours and has room for those only that are there, in parts of eight:
//!
//! ```text
//!   branch, shift 0 (leaf)     bits | base | parts[8] --> 8 levels: the queues of 8 neighbouring prices
//!   branch, shift 6 to 30      bits | base | parts[8] --> 8 children: branches of smaller shifts
//! ```
//!
//! So the levels of a dense book lie side by side, and a level that is far from all others takes `LEVEL_BYTES_MAX` with
//! everything above it, whatever prices clients choose: a leaf with one part, and its share of the branches above,
//! each of which has two children at least. Nothing is moved: a level keeps its index while it holds an order. Each
//! array has a free list, so that a book which grows and shrinks allocates nothing. Invariant: a part belongs to one
//! branch and has a bit of it set; all else is on a free list.

use crate::array::Array;
use crate::extent::Extent;
use crate::ids::ORDER_SLOTS_MAX;
use crate::slab::NIL;

/// Names a level: its part times 8 plus its place there. Stable while the level holds an order.
pub type LevelIdx = u32;

pub(crate) const FAN_BITS: u32 = 6;
pub(crate) const FAN_MASK: u32 = (1 << FAN_BITS) - 1;
const PART_BITS: u32 = 3;
const PART_LEN: usize = 1 << PART_BITS;
const PART_MASK: u32 = PART_LEN as u32 - 1;
const PARTS: usize = 1 << (FAN_BITS - PART_BITS);
const _: () = assert!(1 << FAN_BITS == u64::BITS && PARTS * PART_LEN == u64::BITS as usize);
/// The largest shift of a branch: six floors of 6 bits cover the 32 bits of a key.
pub(crate) const SHIFT_MAX: u32 = 5 * FAN_BITS;
const _: () = assert!(u32::BITS <= SHIFT_MAX + FAN_BITS && SHIFT_MAX < u32::BITS);

/// The part in which a level lies.
pub(crate) fn part_of(level: LevelIdx) -> u32 {
    level >> PART_BITS
}

/// The queue of one price: its oldest and its youngest order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    pub head: u32,
    pub tail: u32,
}

/// Eight neighbouring levels: one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct LevelPart([Level; PART_LEN]);

/// Eight neighbouring children.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
struct ChildPart([u32; PART_LEN]);

/// Bit `i` is set exactly when level or child `i` is there, and a part exists while one of its bits is set.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Branch {
    bits: u64,
    /// The smallest key that it covers.
    base: u32,
    /// So many bits of a key are decided below it: 0 for a leaf, whose parts are levels; otherwise they are children.
    shift: u32,
    /// The first is the next free branch while this one is free.
    parts: [u32; PARTS],
}

/// A leaf and its part, and at most 31 branches with two children each, in two parts, above 32 leaves: more leaves in
/// one tree share more of the branches.
pub const LEVEL_BYTES_MAX: usize = size_of::<Branch>()
    + size_of::<LevelPart>()
    + size_of::<u32>()
    + (size_of::<Branch>() + 2 * size_of::<ChildPart>()) * 31 / 32;
const _: () = assert!(LEVEL_BYTES_MAX <= 256 && SHIFT_MAX == 5 * FAN_BITS);

/// The levels and branches of all ladders of all markets.
#[derive(Debug)]
pub struct Levels {
    branches: Array<Branch>,
    levels: Array<LevelPart>,
    /// By part of levels: the leaf that has it.
    leaves: Array<u32>,
    children: Array<ChildPart>,
    branch_free: u32,
    /// A free part of levels is linked by its first head.
    level_free: u32,
    /// A free part of children is linked by its first child.
    child_free: u32,
}

impl Default for Levels {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl Levels {
    /// Memory set aside for that many complete leaves (64 neighbouring prices each). More follows in segments.
    pub fn with_capacity(leaves: usize) -> Self {
        let levels_max = ORDER_SLOTS_MAX as usize;
        Self {
            // A level has an order at least, and a branch two children at least.
            branches: Array::new(leaves + leaves / 8, 2 * levels_max),
            levels: Array::new(leaves * PARTS, levels_max),
            leaves: Array::new(leaves * PARTS, levels_max),
            children: Array::new(leaves, 2 * levels_max),
            branch_free: NIL,
            level_free: NIL,
            child_free: NIL,
        }
    }

    #[inline]
    fn branch(&self, at: u32) -> &Branch {
        self.branches.at(at as usize)
    }

    #[inline]
    fn branch_mut(&mut self, at: u32) -> &mut Branch {
        self.branches.at_mut(at as usize)
    }

    /// A branch without parts, for the keys of this one's neighbourhood.
    #[inline]
    pub(crate) fn branch_new(&mut self, key: u32, shift: u32) -> u32 {
        let base = (key >> shift & !FAN_MASK) << shift;
        let branch = Branch { bits: 0, base, shift, parts: [NIL; PARTS] };
        if self.branch_free == NIL {
            self.branches.push(branch);
            return self.branches.len() as u32 - 1;
        }
        let at = self.branch_free;
        assert!(self.branch(at).bits == 0, "a free branch has nothing");
        self.branch_free = self.branch(at).parts[0];
        *self.branch_mut(at) = branch;
        at
    }

    pub(crate) fn branch_free(&mut self, at: u32) {
        let next = self.branch_free;
        let branch = self.branch_mut(at);
        assert!(branch.bits == 0, "a branch is freed when the last below it is gone");
        branch.parts[0] = next;
        self.branch_free = at;
    }

    #[inline]
    pub(crate) fn shift(&self, at: u32) -> u32 {
        self.branch(at).shift
    }

    #[inline]
    pub(crate) fn base(&self, at: u32) -> u32 {
        self.branch(at).base
    }

    /// The levels or children that are there, as bits.
    #[inline]
    pub(crate) fn bits(&self, at: u32) -> u64 {
        self.branch(at).bits
    }

    /// Whether `key` has its place below this branch.
    #[inline]
    pub(crate) fn covers(&self, at: u32, key: u32) -> bool {
        let branch = self.branch(at);
        (key ^ branch.base) >> branch.shift <= FAN_MASK
    }

    #[inline]
    pub(crate) fn child(&self, at: u32, place: u32) -> u32 {
        let part = self.branch(at).parts[(place >> PART_BITS) as usize];
        self.children.at(part as usize).0[(place & PART_MASK) as usize]
    }

    /// Puts a child at this place, instead of the one that is there.
    pub(crate) fn set_child(&mut self, at: u32, place: u32, child: u32) {
        let branch = self.branches.at_mut(at as usize);
        let part = &mut branch.parts[(place >> PART_BITS) as usize];
        if branch.bits & bits_of_part(place) == 0 {
            *part = if self.child_free == NIL {
                self.children.push(ChildPart([NIL; PART_LEN]));
                self.children.len() as u32 - 1
            } else {
                let free = self.child_free;
                self.child_free = self.children.at(free as usize).0[0];
                free
            };
        }
        branch.bits |= 1 << place;
        self.children.at_mut(*part as usize).0[(place & PART_MASK) as usize] = child;
    }

    /// Takes a child away; it is not freed itself.
    pub(crate) fn clear_child(&mut self, at: u32, place: u32) {
        let branch = self.branches.at_mut(at as usize);
        assert!(branch.bits & 1 << place != 0, "a child that is taken away was there");
        branch.bits &= !(1 << place);
        if branch.bits & bits_of_part(place) == 0 {
            let part = branch.parts[(place >> PART_BITS) as usize];
            self.children.at_mut(part as usize).0[0] = self.child_free;
            self.child_free = part;
        }
    }

    /// The level of a key in its leaf, where orders rest at this key or close to it.
    #[inline]
    pub(crate) fn level_in(&self, leaf: u32, key: u32) -> Option<LevelIdx> {
        let branch = self.branch(leaf);
        let is_there = branch.bits & bits_of_part(key & FAN_MASK) != 0;
        is_there.then(|| branch.parts[((key & FAN_MASK) >> PART_BITS) as usize] << PART_BITS | key & PART_MASK)
    }

    /// Makes sure that there is a level for `key`, and says whether it holds an order already. The caller puts one in.
    #[inline]
    pub(crate) fn open(&mut self, leaf: u32, key: u32) -> (LevelIdx, bool) {
        let place = key & FAN_MASK;
        let branch = self.branch_mut(leaf);
        let before = branch.bits;
        branch.bits |= 1 << place;
        let part = if before & bits_of_part(place) == 0 {
            self.part_made(leaf, place)
        } else {
            branch.parts[(place >> PART_BITS) as usize]
        };
        (part << PART_BITS | place & PART_MASK, before & 1 << place != 0)
    }

    fn part_made(&mut self, leaf: u32, place: u32) -> u32 {
        let part = self.part_new(leaf);
        self.branch_mut(leaf).parts[(place >> PART_BITS) as usize] = part;
        part
    }

    /// The first of these levels of a leaf, by its key.
    #[inline]
    pub(crate) fn first_of(&self, leaf: u32, bits: u64) -> (u32, LevelIdx) {
        assert!(bits != 0, "a leaf in a tree holds a level");
        let (branch, place) = (self.branch(leaf), bits.trailing_zeros());
        let part = branch.parts[(place >> PART_BITS) as usize];
        (branch.base | place, part << PART_BITS | place & PART_MASK)
    }

    fn part_new(&mut self, leaf: u32) -> u32 {
        if self.level_free == NIL {
            self.levels.push(LevelPart([Level { head: NIL, tail: NIL }; PART_LEN]));
            self.leaves.push(leaf);
            return self.levels.len() as u32 - 1;
        }
        let part = self.level_free;
        self.level_free = self.levels.at(part as usize).0[0].head;
        *self.leaves.at_mut(part as usize) = leaf;
        part
    }

    /// Closes a level without orders, and gives the levels that are left in its leaf.
    #[inline]
    pub(crate) fn close(&mut self, level: LevelIdx, key: u32) -> u64 {
        let leaf = self.leaf_of(level);
        let branch = self.branches.at_mut(leaf as usize);
        let place = key & FAN_MASK;
        debug_assert!(branch.base == key & !FAN_MASK, "a level lies in the leaf that covers its key");
        assert!(branch.bits & 1 << place != 0, "a level that is closed was open");
        branch.bits &= !(1 << place);
        let bits = branch.bits;
        if bits & bits_of_part(place) == 0 {
            let part = part_of(level);
            self.levels.at_mut(part as usize).0[0].head = self.level_free;
            self.level_free = part;
        }
        bits
    }

    /// The leaf in which a level lies.
    #[inline]
    pub(crate) fn leaf_of(&self, level: LevelIdx) -> u32 {
        *self.leaves.at(part_of(level) as usize)
    }

    #[inline]
    pub(crate) fn level(&self, level: LevelIdx) -> Level {
        self.levels.at(part_of(level) as usize).0[(level & PART_MASK) as usize]
    }

    #[inline]
    pub(crate) fn level_mut(&mut self, level: LevelIdx) -> &mut Level {
        &mut self.levels.at_mut(part_of(level) as usize).0[(level & PART_MASK) as usize]
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

    /// Brings a level and its leaf into the cache.
    #[inline]
    pub fn fetch(&self, level: LevelIdx) {
        self.levels.fetch(part_of(level) as usize);
        if let Some(leaf) = self.leaves.get(part_of(level) as usize) {
            self.branches.fetch(*leaf as usize);
        }
    }

    pub(crate) fn extents(&self) -> [Extent; 4] {
        [
            self.levels.extent("price levels"),
            self.leaves.extent("leaves of price levels"),
            self.branches.extent("branches of prices"),
            self.children.extent("children of branches"),
        ]
    }

    /// How many leaves and parts of levels are in use.
    pub(crate) fn used(&self) -> (usize, usize) {
        let leaves = self.branches.iter().filter(|branch| branch.bits != 0 && branch.shift == 0).count();
        let next = |part: &u32| Some(self.levels.at(*part as usize).0[0].head).filter(|next| *next != NIL);
        let free = std::iter::successors(Some(self.level_free).filter(|part| *part != NIL), next).count();
        (leaves, self.levels.len() - free)
    }

    /// The memory that levels have needed so far, all branches included.
    pub fn bytes_used(&self) -> usize {
        self.branches.len() * size_of::<Branch>()
            + self.levels.len() * (size_of::<LevelPart>() + size_of::<u32>())
            + self.children.len() * size_of::<ChildPart>()
    }
}

/// The bits of the eight neighbours of a place, itself included.
#[inline]
fn bits_of_part(place: u32) -> u64 {
    0xff << (place & !PART_MASK)
}
