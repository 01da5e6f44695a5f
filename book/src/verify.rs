//! The full walk over the state: everything that the fast paths keep up to date is computed again and compared.
//!
//! Slow on purpose, and free of the incremental bookkeeping that it checks: it is the second place of each invariant
//! that an assert guards in the first. Tests run it after every command, tools over the state of a complete log.

use crate::command::{CodMode, Side};
use crate::engine::{Engine, Market};
use crate::ids::{AccountId, AssetId, SessionId};
use crate::keys::Key;
use crate::ladder::leaf_of;
use crate::rules::Rules;
use crate::slab::{NIL, Order};
use crate::units::{QTY_LOTS_MAX, TsNs, UNITS_MAX};
use std::collections::{BTreeMap, BTreeSet};

/// The first inconsistency that the walk found, in words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("state is inconsistent: {0}")]
pub struct Inconsistent(pub String);

macro_rules! ensure {
    ($cond:expr, $($arg:tt)*) => {
        if !$cond {
            return Err(Inconsistent(format!($($arg)*)));
        }
    };
}

impl Engine {
    pub fn verify(&self) -> Result<(), Inconsistent> {
        self.verify_conservation()?;
        self.verify_books()?;
        self.verify_holds()?;
        self.verify_lists()?;
        self.verify_names()
    }

    /// Per asset: what is available and held and the fees together are what is in custody, and each can be counted.
    pub fn verify_conservation(&self) -> Result<(), Inconsistent> {
        let mut sums: BTreeMap<AssetId, u128> = BTreeMap::new();
        for (id, account) in self.accounts.iter() {
            let sorted = account.balances().is_sorted_by(|a, b| a.asset < b.asset);
            ensure!(sorted, "the balances of account {} are out of order", id.0);
            for balance in account.balances() {
                let largest = balance.available.0.max(balance.held.0);
                ensure!(largest <= UNITS_MAX, "account {} has {largest} of asset {}", id.0, balance.asset.0);
                *sums.entry(balance.asset).or_default() += u128::from(balance.available.0) + u128::from(balance.held.0);
            }
        }
        for asset in self.accounts.assets() {
            let symbol = asset.asset.symbol;
            let sum = sums.remove(&asset.asset.id).unwrap_or(0) + u128::from(asset.fees.0);
            let custody = u128::from(asset.custody.0);
            ensure!(sum == custody, "{symbol}: accounts and fees sum to {sum}, custody is {custody}");
            ensure!(asset.custody.0 <= UNITS_MAX, "{symbol}: custody of {custody} is too large to count");
        }
        ensure!(sums.is_empty(), "balances of unknown assets: {:?}", sums.keys());
        Ok(())
    }

    /// Per book: levels from best to worst, queues linked both ways, not crossed, all counts right, and no slot or leaf
    /// that neither a book nor a free list has.
    pub fn verify_books(&self) -> Result<(), Inconsistent> {
        let mut resting_count = 0;
        let mut leaf_count = 0;
        for market in self.markets() {
            let id = market.rules.id.0;
            let (bids, asks) = (self.verify_side(market, Side::Buy)?, self.verify_side(market, Side::Sell)?);
            let (count, counted) = (bids.orders + asks.orders, market.tape.open_count as usize);
            ensure!(count == counted, "market {id} has {count} orders in its book and counts {counted}");
            if let (Some(bid), Some(ask)) = (market.book.best_price(Side::Buy), market.book.best_price(Side::Sell)) {
                ensure!(bid < ask, "market {id} is crossed: bid {} ask {}", bid.0, ask.0);
            }
            resting_count += count;
            leaf_count += bids.leaves + asks.leaves;
        }
        let open_count = self.pool.orders.len();
        ensure!(resting_count == open_count, "{resting_count} orders rest and {open_count} are open");
        ensure!(self.pool.orders.iter().count() == open_count, "the count of open orders is wrong");
        let free_count = self.pool.orders.free_slots().count();
        let slots_len = self.pool.orders.slots_len();
        ensure!(open_count + free_count == slots_len, "{open_count} open and {free_count} free of {slots_len} slots");
        let used_count = self.pool.levels.leaves_used();
        ensure!(leaf_count == used_count, "the books have {leaf_count} leaves, {used_count} are in use");
        Ok(())
    }

    fn verify_side(&self, market: &Market, side: Side) -> Result<Counted, Inconsistent> {
        let id = market.rules.id;
        let ladder = market.book.ladder(side);
        let mut counted = Counted { orders: 0, leaves: 0 };
        let mut level_count = 0;
        let mut before: Option<(u32, u32, u32)> = None;
        for (slot, order) in market.book.queue(&self.pool, side) {
            let key = ladder.key(order.price);
            ensure!(order.market == id && order.traits.side() == side, "slot {slot} rests in a foreign book");
            self.verify_order(slot, order)?;
            let best = ladder.best().map(|best| best.key);
            ensure!(best.is_some_and(|best| best <= key), "slot {slot} has a better price than the best level");
            match before {
                Some((slot_before, level, key_before)) if key_before == key => {
                    ensure!(order.prev == slot_before, "slot {slot} does not link to the order before it");
                    ensure!(order.level == level, "slot {slot} is in another level than the order before it");
                }
                _ => {
                    ensure!(before.is_none_or(|(_, _, k)| k < key), "market {} is out of price order", id.0);
                    ensure!(order.prev == NIL, "slot {slot} is first in its queue and links to another order");
                    level_count += 1;
                    counted.leaves +=
                        usize::from(before.is_none_or(|(_, level, _)| leaf_of(level) != leaf_of(order.level)));
                }
            }
            let is_last = order.next == NIL;
            let tail = self.pool.levels.tail(order.level);
            ensure!(is_last == (tail == slot), "slot {slot} is last in its queue and slot {tail} is its tail");
            before = Some((slot, order.level, key));
            counted.orders += 1;
            ensure!(counted.orders <= self.pool.orders.len(), "a queue of market {} runs in a circle", id.0);
        }
        ensure!(level_count == ladder.level_count(), "market {} counts its levels wrongly", id.0);
        Ok(counted)
    }

    fn verify_order(&self, slot: u32, order: &Order) -> Result<(), Inconsistent> {
        let total = u128::from(order.leaves.0) + u128::from(order.cum.0);
        ensure!(order.leaves.0 > 0, "slot {slot} rests with nothing open");
        ensure!(order.price.0 > 0, "slot {slot} rests without a price");
        ensure!(total <= u128::from(QTY_LOTS_MAX), "slot {slot} has a quantity of {total} in all");
        ensure!(self.pool.orders.find(order.id) == Some(slot), "slot {slot} is not found by its id");
        Ok(())
    }

    /// Per account and asset: what is held is exactly what the open orders need.
    pub fn verify_holds(&self) -> Result<(), Inconsistent> {
        let mut needed: BTreeMap<(AccountId, AssetId), u128> = BTreeMap::new();
        for (_, order) in self.pool.orders.iter() {
            let rules = &self.markets.at(order.market.idx()).rules;
            let side = order.traits.side();
            let hold = rules.hold(side, order.price, order.leaves);
            *needed.entry((order.account, rules.paid_in(side))).or_default() += u128::from(hold.0);
        }
        for (id, account) in self.accounts.iter() {
            for balance in account.balances() {
                let need = needed.remove(&(id, balance.asset)).unwrap_or(0);
                let held = u128::from(balance.held.0);
                ensure!(held == need, "account {} holds {held} of asset {}, needs {need}", id.0, balance.asset.0);
            }
        }
        ensure!(needed.is_empty(), "orders without a balance to hold from: {:?}", needed.keys().next());
        Ok(())
    }

    /// Every open order is on its account's list and in the index of client order ids, and no other order is.
    pub fn verify_lists(&self) -> Result<(), Inconsistent> {
        let mut listed_count = 0;
        for (id, account) in self.accounts.iter() {
            let mut count = 0;
            let mut youngest = NIL;
            for slot in self.open.of(account) {
                ensure!(self.pool.orders.get(slot).account == id, "slot {slot} is on the list of account {}", id.0);
                ensure!(self.open.older(slot) == youngest, "slot {slot} does not link to the older order of its list");
                youngest = slot;
                count += 1;
                ensure!(count <= account.open_count, "the list of account {} is longer than its count", id.0);
            }
            ensure!(count == account.open_count, "account {} lists {count}, counts {}", id.0, account.open_count);
            ensure!(account.open_tail == youngest, "the list of account {} does not end at its tail", id.0);
            listed_count += count as usize;
        }
        ensure!(listed_count == self.pool.orders.len(), "{listed_count} orders are on the lists of accounts");
        let mut by_session: BTreeMap<SessionId, u32> = BTreeMap::new();
        for (slot, order) in self.pool.orders.iter().filter(|(_, o)| !o.session.is_none()) {
            *by_session.entry(order.session).or_default() += 1;
            let found = self.index.find(&self.pool.orders, order.session, order.cl_ord_id);
            ensure!(found == Some(slot), "slot {slot} is not found by its client order id");
        }
        for (id, session) in self.sessions.iter() {
            let count = by_session.remove(&id).unwrap_or(0);
            ensure!(count == session.open_count, "session {} has {count}, counts {}", id.0, session.open_count);
        }
        for walk in self.open.walks.iter() {
            ensure!(self.is_sound(walk), "{walk:?} has an order that is not open, or its orders are not in order");
        }
        let indexed = self.pool.orders.iter().filter(|(_, o)| !o.session.is_none()).count();
        ensure!(indexed == self.index.len(), "{} client order ids for {indexed} orders", self.index.len());
        Ok(())
    }

    /// Every name leads to what has it, and the memories of client ids and references agree with their indexes.
    fn verify_names(&self) -> Result<(), Inconsistent> {
        for (id, _) in self.accounts.iter() {
            let found = self.accounts.name(id).and_then(|name| self.accounts.find_by_name(name));
            ensure!(found == Some(id), "account {} is not found by its name", id.0);
        }
        for (id, session) in self.sessions.iter() {
            ensure!(self.sessions.find_by_user(session.user) == Some(id), "session {} is not found by its user", id.0);
            ensure!(!session.removed || session.open_count == 0, "session {} is removed and has open orders", id.0);
            let cancels = session.drop_copy && session.cod_mode != CodMode::Off && Rules::Two <= self.rules;
            ensure!(!cancels, "session {} is a drop copy and cancels on disconnect", id.0);
        }
        let ages = self.client_ids.iter().map(|(remembered, _)| remembered.ts);
        ensure!(ages.is_sorted(), "client ids are not in the order of their age");
        let with_outcome = self.client_ids.iter().filter(|(_, first)| first.is_some()).count();
        let outcomes = self.client_ids.outcome_count();
        ensure!(outcomes <= with_outcome, "{outcomes} client ids have an outcome, {with_outcome} of them an age");
        self.verify_order_names()?;
        let references: BTreeSet<u128> = self.references.iter().map(|(key, _)| key.0).collect();
        let payments = self.references.payment_count();
        ensure!(references.len() == self.references.len(), "a reference of a payment is booked twice");
        ensure!(payments == self.references.len(), "{payments} payments for {} references", references.len());
        ensure!(self.references.times().is_sorted(), "references are not in the order of their age");
        let is_found = |key: &Key| self.keys.find(&key.spec.key).is_some_and(|found| found.spec == key.spec);
        ensure!(self.keys.iter().all(|(_, key)| is_found(key)), "a key is not found by its name");
        Ok(())
    }
}

impl Engine {
    /// Each named order has its name until it ends, and the lists of ended names have nothing else.
    fn verify_order_names(&self) -> Result<(), Inconsistent> {
        let mut count = 0;
        let mut seen = BTreeSet::new();
        for (slot, order) in self.pool.orders.iter() {
            let name = self.names.of_slot(slot);
            ensure!(name.is_some() == order.traits.is_named(), "slot {slot} has a name, or none, against its traits");
            let Some(name) = name else { continue };
            ensure!(name.order_id == order.id && name.account == order.account, "slot {slot} has another order's name");
            ensure!(name.ended().is_none(), "the name of slot {slot} has ended");
            ensure!(seen.insert((name.account, name.key.0)), "slot {slot} has a name that is taken");
            count += 1;
        }
        let (mut last, mut ended_count) = (TsNs(0), 0);
        for name in self.names.ended() {
            let ended = name.ended();
            ensure!(ended.is_some_and(|ended| last <= ended), "names are not in the order of their end");
            ensure!(seen.insert((name.account, name.key.0)), "a name of account {} is taken twice", name.account.0);
            let found = self.names.find(TsNs(0), name.account, name.key);
            ensure!(found == Some(name), "a name of account {} is not found", name.account.0);
            last = ended.unwrap_or(last);
            ended_count += 1;
        }
        let len = self.names.len();
        ensure!(count + ended_count == len, "{count} names are open, {ended_count} ended, {len} remembered");
        Ok(())
    }
}

/// What one side of a book has.
struct Counted {
    orders: usize,
    /// Leaves of the ladder that hold a level.
    leaves: usize,
}
