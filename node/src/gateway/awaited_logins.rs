//! Connections of a port that have not sent a login, oldest first: where the port is full, they make room.
//!
//! Invariants: a member is open and has sent no complete login; of one address there are at most
//! `per_address_max`. All of it is bounded by the connections of the port.

use crate::faults::mutation::{Mutation, Planted};
use crate::reactor::ports::{ConnId, PauseCause};
use crate::status::listeners::{Episodes, Limit, ListenerStatus};
use book::units::TsNs;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How long a full port lets its newest connection send its login, although others wait for its place. Long enough for
/// the longest way around the world and back, with one packet lost.
const LOGIN_NS: u64 = 1_000_000_000;

/// Connections by age: the number of a connection is larger than those of all before it.
type ByAge = BTreeMap<u64, ConnId>;

pub struct AwaitedLogins {
    per_address_max: usize,
    /// By connection slot.
    members: Vec<Option<Member>>,
    all: ByAge,
    /// Only addresses that have members.
    of_address: BTreeMap<IpAddr, ByAge>,
    next_number: u64,
    episodes: Episodes,
}

#[derive(Clone, Copy)]
struct Member {
    id: ConnId,
    address: IpAddr,
    number: u64,
    since: TsNs,
}

impl AwaitedLogins {
    pub fn new(per_address_max: u32, episodes: Episodes) -> Self {
        Self {
            per_address_max: per_address_max as usize,
            members: Vec::new(),
            all: BTreeMap::new(),
            of_address: BTreeMap::new(),
            next_number: 0,
            episodes,
        }
    }

    /// Adds a connection that was accepted `now`. Returns the one to be closed for it: the oldest of its address, if
    /// that has more than its bound.
    #[must_use]
    pub fn add(&mut self, now: TsNs, id: ConnId, address: IpAddr) -> Option<ConnId> {
        if id.slot() >= self.members.len() {
            self.members.resize(id.slot() + 1, None);
        }
        let number = self.next_number;
        self.next_number += 1;
        let former = self.members[id.slot()].replace(Member { id, address, number, since: now });
        assert!(former.is_none(), "a slot is used again only after its connection has left");
        self.all.insert(number, id);
        let of_address = self.of_address.entry(address).or_default();
        of_address.insert(number, id);
        if self.per_address_max < of_address.len() { self.oldest_of(address) } else { None }
    }

    /// Removes a connection that has sent its login or ends; nothing happens if it is no member.
    pub fn remove(&mut self, id: ConnId) {
        let Some(slot) = self.members.get_mut(id.slot()) else { return };
        let Some(member) = slot.take_if(|member| member.id == id) else { return };
        self.all.remove(&member.number);
        if let Some(of_address) = self.of_address.get_mut(&member.address) {
            of_address.remove(&member.number);
            if of_address.is_empty() {
                self.of_address.remove(&member.address);
            }
        }
    }

    /// Forgets every member, because all connections of the port are closed.
    pub fn clear(&mut self) {
        self.members.clear();
        self.all.clear();
        self.of_address.clear();
    }

    /// The oldest of an address.
    pub fn oldest_of(&self, address: IpAddr) -> Option<ConnId> {
        self.of_address.get(&address)?.first_key_value().map(|(_, id)| *id)
    }

    /// Records that the port accepts nothing. Returns the connection to be closed, so that the next one is accepted.
    #[cold]
    #[must_use]
    pub fn make_room(&mut self, now: TsNs, cause: PauseCause, status: &ListenerStatus) -> Option<ConnId> {
        let (limit, detail) = match cause {
            PauseCause::NoSlot => (Limit::Connections, String::new()),
            PauseCause::Failed { errno } => (Limit::Accept, std::io::Error::from_raw_os_error(errno).to_string()),
        };
        self.episodes.stopped(now.0, limit, &detail, status);
        self.oldest(now).planted(Mutation::NoRoomMade, |_| None)
    }

    /// To be called now and then: an episode in which the port was full may be over.
    pub fn tick(&mut self, now: TsNs, status: &ListenerStatus) {
        self.episodes.tick(now.0, status);
    }

    /// The oldest of all, but the newest only if it has had its time.
    fn oldest(&self, now: TsNs) -> Option<ConnId> {
        let id = *self.all.first_key_value()?.1;
        let member = self.members[id.slot()].expect("what is listed by age is a member");
        (1 < self.all.len() || LOGIN_NS <= now.0 - member.since.0).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
    }

    fn awaited(per_address_max: u32) -> AwaitedLogins {
        AwaitedLogins::new(per_address_max, Episodes::new("orders", "limits.connections_max", 4))
    }

    fn conn(slot: u16) -> ConnId {
        ConnId::new(slot, 7)
    }

    #[test]
    fn the_oldest_makes_room_and_the_newest_has_its_time() {
        let mut awaited = awaited(64);
        assert_eq!(awaited.oldest(TsNs(5)), None);
        for slot in [3, 1, 2] {
            assert_eq!(awaited.add(TsNs(10), conn(slot), address(1)), None);
        }
        assert_eq!(awaited.oldest(TsNs(10)), Some(conn(3)));
        awaited.remove(conn(3));
        assert_eq!(awaited.oldest(TsNs(10)), Some(conn(1)));
        awaited.remove(conn(1));
        assert_eq!(awaited.oldest(TsNs(10 + LOGIN_NS - 1)), None);
        assert_eq!(awaited.oldest(TsNs(10 + LOGIN_NS)), Some(conn(2)));
        awaited.remove(conn(2));
        assert_eq!(awaited.oldest(TsNs(10 + LOGIN_NS)), None);
    }

    #[test]
    fn an_address_beyond_its_bound_loses_its_own_oldest() {
        let mut awaited = awaited(2);
        assert_eq!(awaited.add(TsNs(0), conn(0), address(9)), None);
        assert_eq!(awaited.add(TsNs(1), conn(1), address(1)), None);
        assert_eq!(awaited.add(TsNs(2), conn(2), address(1)), None);
        assert_eq!(awaited.add(TsNs(3), conn(3), address(1)), Some(conn(1)));
        awaited.remove(conn(1));
        assert_eq!((awaited.oldest_of(address(1)), awaited.oldest_of(address(2))), (Some(conn(2)), None));
        awaited.remove(conn(2));
        assert_eq!(awaited.add(TsNs(4), conn(1), address(1)), None);
    }

    #[test]
    fn an_old_id_of_a_slot_removes_nothing() {
        let mut awaited = awaited(1);
        assert_eq!(awaited.add(TsNs(0), conn(0), address(1)), None);
        awaited.remove(ConnId::new(0, 6));
        assert_eq!(awaited.oldest_of(address(1)), Some(conn(0)));
        awaited.remove(conn(0));
        assert!(awaited.of_address.is_empty() && awaited.all.is_empty());
    }
}
