//! Logins that wait for the check of their password: each address block in its turn.
//!
//! ```text
//!  10.0.0.0/24   | 1 | 4 | 5 | 6 | 7 |      turns: 1, 2, 3, 4, 8, 5, 6, 7
//!  10.0.1.0/24   | 2 | 8 |                  A block with many logins waits for them, and not the others.
//!  10.0.2.0/24   | 3 |
//! ```
//! Invariants: a block with logins has one turn in each round; within a block the oldest goes first; no more than `max`
//! wait. A full queue makes room for a block that has fewer logins than another one: the newest of the block with the
//! most gives way.

use crate::faults::mutation::{Mutation, Planted};
use crate::gateway::address_block::AddressBlock;
use crate::gateway::login_locks::Claim;
use crate::reactor::ports::ConnId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A login, until its password is checked.
#[derive(Debug)]
pub struct QueuedLogin {
    pub conn: ConnId,
    pub address: IpAddr,
    pub claim: Claim,
    /// Larger than that of every login before it.
    pub number: u64,
    pub password: String,
}

/// Where a login waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    block: AddressBlock,
    number: u64,
}

/// The queue is full, and its block has as many logins in it as any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

/// The logins of one block. Trees, because a client may leave from anywhere in the queue.
#[derive(Debug)]
struct Line {
    turn: u64,
    logins: BTreeMap<u64, QueuedLogin>,
}

#[derive(Debug)]
pub struct LoginQueue {
    max: usize,
    len: usize,
    /// Only blocks that have logins.
    lines: BTreeMap<AddressBlock, Line>,
    /// Their blocks by turn, the next one first.
    turns: BTreeMap<u64, AddressBlock>,
    next_turn: u64,
    /// The same blocks by how many logins they have.
    by_len: BTreeSet<(usize, AddressBlock)>,
}

impl LoginQueue {
    pub fn new(max: u32) -> Self {
        Self {
            max: max as usize,
            len: 0,
            lines: BTreeMap::new(),
            turns: BTreeMap::new(),
            next_turn: 0,
            by_len: BTreeSet::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether one more login of this block would find a place.
    pub fn has_place(&self, block: AddressBlock) -> bool {
        self.len < self.max || self.longer_than(block).is_some()
    }

    /// Adds a login. Returns its place, and the login that gave way to it.
    pub fn join(&mut self, login: QueuedLogin) -> Result<(Place, Option<QueuedLogin>), QueueFull> {
        let (block, number) = (login.claim.block, login.number);
        let gave_way = if self.len < self.max { None } else { Some(self.give_way(block).ok_or(QueueFull)?) };
        if !self.lines.contains_key(&block) {
            let turn = self.take_turn(block);
            self.lines.insert(block, Line { turn, logins: BTreeMap::new() });
        }
        let line = self.lines.get_mut(&block).expect("it was just made sure of");
        assert!(line.logins.last_key_value().is_none_or(|(last, _)| *last < number), "numbers of logins rise");
        self.by_len.remove(&(line.logins.len(), block));
        line.logins.insert(number, login);
        self.by_len.insert((line.logins.len(), block));
        self.len += 1;
        assert!(self.len <= self.max, "the queue keeps its bound");
        Ok((Place { block, number }, gave_way))
    }

    /// Takes the login out, because its client has left.
    pub fn leave(&mut self, place: Place) -> Option<QueuedLogin> {
        let Place { block, number } = place;
        let line = self.lines.get_mut(&block)?;
        let login = line.logins.remove(&number)?;
        let (turn, len) = (line.turn, line.logins.len());
        self.by_len.remove(&(len + 1, block));
        if len == 0 {
            self.lines.remove(&block);
            self.turns.remove(&turn);
        } else {
            self.by_len.insert((len, block));
        }
        self.len -= 1;
        Some(login)
    }

    /// Takes the next login out: that of the first block in turn whose oldest login `may_go`. A block that is asked
    /// has had its turn.
    pub fn next(&mut self, mut may_go: impl FnMut(&QueuedLogin) -> bool) -> Option<QueuedLogin> {
        for _ in 0..self.turns.len() {
            let (turn, block) = self.turns.pop_first()?;
            let line = self.lines.get(&block).expect("a block has a turn while it has logins");
            let (number, login) = line.logins.first_key_value().expect("a line has logins");
            let (place, goes) = (Place { block, number: *number }, may_go(login));
            let is_fair = true.planted(Mutation::LoginTurnKept, |_| false);
            let turn = if is_fair { self.take_turn(block) } else { turn };
            self.turns.insert(turn, block);
            self.lines.get_mut(&block).expect("as above").turn = turn;
            if goes {
                return self.leave(place);
            }
        }
        None
    }

    /// The next turn, for this block.
    fn take_turn(&mut self, block: AddressBlock) -> u64 {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.turns.insert(turn, block);
        turn
    }

    /// The block with the most logins, if it has more than this one would have with one more.
    fn longer_than(&self, block: AddressBlock) -> Option<AddressBlock> {
        let own = self.lines.get(&block).map_or(0, |line| line.logins.len());
        let (len, longest) = *self.by_len.last()?;
        (own + 1 < len).then_some(longest)
    }

    fn give_way(&mut self, block: AddressBlock) -> Option<QueuedLogin> {
        let longest = self.longer_than(block)?;
        let number = *self.lines[&longest].logins.last_key_value()?.0;
        self.leave(Place { block: longest, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn login(number: u64, network: u8) -> QueuedLogin {
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, network, 1));
        let claim = Claim { block: AddressBlock::of(address), user: None };
        QueuedLogin { conn: ConnId::new(number as u16, 0), address, claim, number, password: String::new() }
    }

    fn queue_of(max: u32, networks: &[u8]) -> LoginQueue {
        let mut queue = LoginQueue::new(max);
        for (number, network) in (1..).zip(networks) {
            queue.join(login(number, *network)).expect("there is room");
        }
        queue
    }

    fn numbers(queue: &mut LoginQueue) -> Vec<u64> {
        std::iter::from_fn(|| queue.next(|_| true)).map(|login| login.number).collect()
    }

    #[test]
    fn blocks_take_turns_and_the_oldest_of_each_goes_first() {
        let mut queue = queue_of(99, &[0, 1, 2, 0, 0, 0, 0, 1]);
        assert_eq!(numbers(&mut queue), [1, 2, 3, 4, 8, 5, 6, 7]);
        assert!(queue.is_empty() && queue.lines.is_empty() && queue.turns.is_empty() && queue.by_len.is_empty());
    }

    #[test]
    fn a_login_that_may_not_go_yet_keeps_its_place_and_holds_up_its_own_block_only() {
        let mut queue = queue_of(99, &[0, 0, 1]);
        assert_eq!(queue.next(|login| login.number != 1).map(|login| login.number), Some(3));
        assert!(queue.next(|login| login.number != 1).is_none());
        assert_eq!(numbers(&mut queue), [1, 2]);
    }

    #[test]
    fn a_client_may_leave_from_anywhere() {
        let mut queue = LoginQueue::new(9);
        let places: Vec<Place> =
            (1..=5).map(|n| queue.join(login(n, (n % 2) as u8)).expect("there is room").0).collect();
        assert_eq!(queue.leave(places[2]).map(|login| login.number), Some(3));
        assert!(queue.leave(places[2]).is_none());
        queue.leave(places[1]);
        queue.leave(places[3]);
        assert_eq!((queue.len(), numbers(&mut queue)), (2, vec![1, 5]));
        assert!(queue.turns.is_empty() && queue.by_len.is_empty());
    }

    #[test]
    fn a_full_queue_has_room_for_a_block_with_fewer() {
        let mut queue = queue_of(4, &[0, 0, 0, 1]);
        let block = |network| login(0, network).claim.block;
        assert!(!queue.has_place(block(0)));
        assert_eq!(queue.join(login(5, 0)).map(|_| ()), Err(QueueFull));
        assert!(queue.has_place(block(1)) && queue.has_place(block(2)));
        let gave_way = queue.join(login(6, 2)).expect("its share").1;
        assert_eq!(gave_way.map(|login| login.number), Some(3), "the newest of the block with the most");
        // Two, one and one: to swap two equal shares would be of no use.
        assert!(!queue.has_place(block(1)) && queue.has_place(block(3)));
        assert_eq!(queue.join(login(7, 3)).expect("its share").1.map(|login| login.number), Some(2));
        assert!(!queue.has_place(block(4)), "every block has one");
        assert_eq!(numbers(&mut queue), [1, 4, 6, 7]);
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn a_block_that_keeps_its_turn_is_noticed() {
        crate::faults::mutation::assert_noticed(
            Mutation::LoginTurnKept,
            blocks_take_turns_and_the_oldest_of_each_goes_first,
        );
    }
}
