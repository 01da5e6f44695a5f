//! The full walk over the state: everything that the fast paths keep up to date is computed again and compared.
//!
//! Slow on purpose and free of the incremental bookkeeping it checks. Tests run it after every command, tools over
//! whole logs.

use crate::command::Side;
use crate::engine::{Engine, Market};
use crate::ids::{AccountId, AssetId, SessionId};
use crate::slab::NIL;
use std::collections::BTreeMap;

/// What the walk found wrong: the first difference, in words.
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
        self.verify_lists()
    }

    /// Per asset: available + held + fees == custody.
    pub fn verify_conservation(&self) -> Result<(), Inconsistent> {
        let mut sums: BTreeMap<AssetId, u128> = BTreeMap::new();
        for (id, account) in self.accounts.iter() {
            ensure!(account.balances().is_sorted_by_key(|b| b.asset), "balances of account {} are out of order", id.0);
            for balance in account.balances() {
                *sums.entry(balance.asset).or_default() += u128::from(balance.available.0) + u128::from(balance.held.0);
            }
        }
        for asset in self.accounts.assets() {
            let sum = sums.remove(&asset.asset.id).unwrap_or(0) + u128::from(asset.fees.0);
            let custody = u128::from(asset.custody.0);
            ensure!(sum == custody, "{}: accounts and fees sum to {sum}, custody is {custody}", asset.asset.symbol);
        }
        ensure!(sums.is_empty(), "balances of unknown assets: {:?}", sums.keys());
        Ok(())
    }

    /// Per book: levels from best to worst, queues linked both ways, never crossed, counts right.
    pub fn verify_books(&self) -> Result<(), Inconsistent> {
        let mut resting_count = 0;
        for market in &self.markets {
            let id = market.rules.id.0;
            let count = self.verify_side(market, Side::Buy)? + self.verify_side(market, Side::Sell)?;
            let tape_count = market.tape.open_count as usize;
            ensure!(count == tape_count, "market {id} has {count} orders in its book and counts {tape_count}");
            if let (Some(bid), Some(ask)) = (market.book.best_price(Side::Buy), market.book.best_price(Side::Sell)) {
                ensure!(bid < ask, "market {id} is crossed: bid {} ask {}", bid.0, ask.0);
            }
            resting_count += count;
        }
        let live_count = self.pool.orders.len();
        ensure!(resting_count == live_count, "{resting_count} orders rest and {live_count} are live");
        ensure!(self.pool.orders.iter().count() == live_count, "the count of live orders is wrong");
        let free_count = self.pool.orders.free_slots().count();
        let slots_len = self.pool.orders.slots_len();
        ensure!(live_count + free_count == slots_len, "{live_count} live and {free_count} free of {slots_len} slots");
        Ok(())
    }

    fn verify_side(&self, market: &Market, side: Side) -> Result<usize, Inconsistent> {
        let id = market.rules.id;
        let ladder = market.book.ladder(side);
        let mut count = 0;
        let mut level_count = 0;
        let mut key_before = None;
        let mut slot_before = NIL;
        for (slot, order) in market.book.queue(&self.pool, side) {
            let key = ladder.key(order.price);
            ensure!(order.market == id && order.traits.side() == side, "slot {slot} rests in a foreign book");
            ensure!(order.leaves.0 > 0, "slot {slot} rests with nothing open");
            ensure!(self.pool.orders.find(order.id) == Some(slot), "slot {slot} is not found by its id");
            ensure!(key_before.is_none_or(|k| k <= key), "market {} is out of price order", id.0);
            if key_before != Some(key) {
                level_count += 1;
                slot_before = NIL;
            }
            ensure!(order.prev == slot_before, "slot {slot} does not link back to the order before it");
            key_before = Some(key);
            slot_before = slot;
            count += 1;
            ensure!(count <= self.pool.orders.len(), "a queue of market {} runs in a circle", id.0);
        }
        ensure!(level_count == ladder.level_count(), "market {} counts its levels wrongly", id.0);
        Ok(count)
    }

    /// Per account and asset: held is exactly what its open orders need.
    pub fn verify_holds(&self) -> Result<(), Inconsistent> {
        let mut needed: BTreeMap<(AccountId, AssetId), u128> = BTreeMap::new();
        for (_, order) in self.pool.orders.iter() {
            let rules = &self.markets[order.market.idx()].rules;
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
        ensure!(needed.is_empty(), "orders without a balance behind them: {:?}", needed.keys().next());
        Ok(())
    }

    /// Every open order is on its account's list and in the index of client ids, and nothing else is.
    pub fn verify_lists(&self) -> Result<(), Inconsistent> {
        let mut listed_count = 0;
        for (id, account) in self.accounts.iter() {
            let mut count = 0;
            for slot in self.open.of(account) {
                ensure!(self.pool.orders.get(slot).account == id, "slot {slot} is on the list of account {}", id.0);
                count += 1;
            }
            ensure!(count == account.open_count, "account {} lists {count}, counts {}", id.0, account.open_count);
            listed_count += count as usize;
        }
        ensure!(listed_count == self.pool.orders.len(), "{listed_count} orders are listed by accounts");
        let mut by_session: BTreeMap<SessionId, u32> = BTreeMap::new();
        for (slot, order) in self.pool.orders.iter().filter(|(_, o)| !o.session.is_none()) {
            *by_session.entry(order.session).or_default() += 1;
            let found = self.index.find(&self.pool.orders, order.session, order.cl_ord_id);
            ensure!(found == Some(slot), "slot {slot} is not found by its client id");
        }
        for (id, session) in self.sessions.iter() {
            let count = by_session.remove(&id).unwrap_or(0);
            ensure!(count == session.open_count, "session {} has {count}, counts {}", id.0, session.open_count);
        }
        let indexed = self.pool.orders.iter().filter(|(_, o)| !o.session.is_none()).count();
        ensure!(indexed == self.index.len(), "{} client ids for {indexed} orders", self.index.len());
        Ok(())
    }
}
