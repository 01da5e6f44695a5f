//! Which orders an account has open, and which order a session's client order id names.
//!
//! The list of an account is linked through an array beside the orders, oldest first, so that a mass cancel walks its
//! own orders only, in an order that every replica has. Invariant: every resting order is on its account's list and,
//! with a session, in the index of client order ids (`cl_ord_index`), and no other order is.

use crate::accounts::{Account, Accounts, OPEN_ORDERS_MAX};
use crate::array::Array;
use crate::cl_ord_index::ClOrdIndex;
use crate::extent::Extent;
use crate::ids::ORDER_SLOTS_MAX;
use crate::mutation::{Mutation, Planted};
use crate::names::Names;
use crate::session::Sessions;
use crate::slab::{NIL, Order};
use crate::units::TsNs;
use crate::walks::Walks;

#[derive(Clone, Copy, Debug)]
struct Link {
    older: u32,
    younger: u32,
}

/// The links of all accounts' lists, by order slot. The ends of each list are in its account.
#[derive(Debug)]
pub struct OpenOrders {
    links: Array<Link>,
    /// Unfinished commands over the lists.
    pub(crate) walks: Walks,
}

impl OpenOrders {
    pub fn with_capacity(orders: usize) -> Self {
        Self { links: Array::new(orders, ORDER_SLOTS_MAX as usize), walks: Walks::default() }
    }

    /// Puts an order at the young end of the account's list.
    #[inline]
    pub fn append(&mut self, account: &mut Account, slot: u32) {
        assert!((account.open_head == NIL) == (account.open_tail == NIL), "a list has both ends or none");
        let link = Link { older: account.open_tail, younger: NIL };
        match self.links.get_mut(slot as usize) {
            Some(place) => *place = link,
            None => self.reach(slot, link),
        }
        match account.open_tail {
            NIL => account.open_head = slot,
            tail => {
                let youngest = self.links.at_mut(tail as usize);
                assert!(tail != slot && youngest.younger == NIL, "the youngest order is the last of its list");
                youngest.younger = slot;
            }
        }
        account.open_tail = slot;
        account.open_count += 1;
        assert!(account.open_count <= OPEN_ORDERS_MAX, "admission counts an account's open orders first");
    }

    /// Links of slots that no order on a list had before, up to this one. A new slot is given only when no other is
    /// free, so a command skips one slot at most: that of an order that did not rest. A load of a snapshot may skip
    /// any.
    #[cold]
    fn reach(&mut self, slot: u32, link: Link) {
        while self.links.len() < slot as usize {
            self.links.push(Link { older: NIL, younger: NIL });
        }
        self.links.push(link);
    }

    /// Takes an order off the account's list.
    #[inline]
    pub fn remove(&mut self, account: &mut Account, slot: u32) {
        assert!(0 < account.open_count, "an account counts every order on its list");
        let Link { older, younger } = *self.links.at(slot as usize);
        if !self.walks.is_empty() {
            self.walks.leave(slot, older, younger);
        }
        let end = match older {
            NIL => &mut account.open_head,
            older => &mut self.links.at_mut(older as usize).younger,
        };
        assert!(*end == slot, "the older neighbour in a list links to the order");
        *end = younger.planted(Mutation::OpenListKept, |_| slot);
        let end = match younger {
            NIL => &mut account.open_tail,
            younger => &mut self.links.at_mut(younger as usize).older,
        };
        assert!(*end == slot, "the younger neighbour in a list links to the order");
        *end = older;
        account.open_count -= 1;
        assert!((account.open_head == NIL) == (account.open_count == 0), "an account without open orders has no list");
    }

    /// Brings the links of an order into the cache.
    #[inline]
    pub fn fetch(&self, slot: u32) {
        self.links.fetch(slot as usize);
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
        self.links.extent("open-order links")
    }

    /// The order that the same account opened next, or `NIL`.
    pub fn younger(&self, slot: u32) -> u32 {
        self.links.at(slot as usize).younger
    }

    /// The order that the same account opened before this one, or `NIL`.
    pub(crate) fn older(&self, slot: u32) -> u32 {
        self.links.at(slot as usize).older
    }

    /// The slots of an account's open orders, oldest first.
    pub fn of<'a>(&'a self, account: &Account) -> impl Iterator<Item = u32> + 'a {
        let mut at = account.open_head;
        std::iter::from_fn(move || {
            (at != NIL).then(|| {
                let slot = at;
                at = self.links.at(slot as usize).younger;
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
    pub names: &'a mut Names,
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
    pub(crate) fn remove(self, slot: u32, order: &Order, now: TsNs) {
        if order.traits.is_named() {
            self.names.end(slot, now);
        }
        self.open.remove(self.accounts.at_mut(order.account), slot);
        if let Some(session) = self.sessions.get_mut(order.session) {
            assert!(0 < session.open_count, "a session counts every order that it opened");
            session.open_count -= 1;
            self.index.remove(order.session, order.cl_ord_id, slot);
        }
    }
}
