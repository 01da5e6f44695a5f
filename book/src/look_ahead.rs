//! Prefetches the memory that the next commands will touch, while the commands before them are applied.
//!
//! On a large book the way to an order is a chain of loads from memory, each of which waits for the one before: the
//! place of its client order id, its own line, its neighbours and its level, and the order after which it will queue. A
//! batch has many commands, and with them many chains, which can wait at the same time:
//!
//! ```text
//!  commands from now    0 ........ 4 ............. 8 ................. 12 ............ 16
//!  what is fetched      (applied)  Tail            Queue               Line            Name
//!                                  the order after neighbours, levels  the order's     place of its client order
//!                                  which it queues                     own line        id, its account
//! ```
//!
//! Invariant: a prefetch changes nothing and guarantees nothing. By the time a command is applied it may touch
//! something else.

use crate::command::{Command, OrderKind, OrderRef, PlaceOrder, Side};
use crate::engine::Engine;
use crate::ids::{AccountId, MarketId, SessionId};
use crate::order_book::OrderBook;
use crate::slab::Orders;
use crate::units::PriceTicks;

/// One load of the chain. Each needs what the one before it has fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Name,
    Line,
    Queue,
    Tail,
}

/// How many commands ahead each step is done. Four commands take longer than one load from memory.
const STEPS: [(Step, usize); 4] = [(Step::Name, 16), (Step::Line, 12), (Step::Queue, 8), (Step::Tail, 4)];

/// The most distant command that is looked at.
pub const DISTANCE_MAX: usize = STEPS[0].1;

/// With fewer order slots than this all orders are in the cache, and looking ahead would only cost time.
pub const ORDERS_MIN: usize = 1 << 15;

/// Whether there are so many order slots that looking ahead saves time.
#[inline]
pub fn pays(orders: &Orders) -> bool {
    ORDERS_MIN <= orders.slots_len()
}

/// Calls `fetch` for each step with the command at the step's distance, when there is one.
#[inline]
pub fn each_step<C>(coming: impl Fn(usize) -> Option<C>, fetch: impl Fn(Step, C)) {
    for (step, distance) in STEPS {
        if let Some(command) = coming(distance) {
            fetch(step, command);
        }
    }
}

impl Engine {
    /// Whether there are so many orders that looking ahead saves time.
    #[inline]
    pub fn looks_ahead(&self) -> bool {
        pays(&self.pool.orders)
    }

    /// Prefetches for the commands to come: `coming(n)` is the one that is applied `n` commands from now.
    #[inline]
    pub fn look_ahead<'a>(&self, coming: impl Fn(usize) -> Option<&'a Command>) {
        if self.looks_ahead() {
            each_step(coming, |step, command| self.fetch(step, command));
        }
    }

    #[inline]
    fn fetch(&self, step: Step, command: &Command) {
        match command {
            Command::Place(place) => self.fetch_place(step, place),
            Command::Cancel(cancel) => {
                let slot = self.fetch_target(step, cancel.account, cancel.session, &cancel.target);
                self.fetch_index_entry(step, slot);
            }
            Command::Amend(amend) => {
                let slot = self.fetch_target(step, amend.account, amend.session, &amend.target);
                if step == Step::Name {
                    self.index.fetch(amend.session, amend.cl_ord_id);
                } else if let Some(slot) = slot {
                    let order = self.pool.orders.get(slot);
                    self.fetch_price(step, order.market, order.traits.side(), amend.price);
                }
                self.fetch_index_entry(step, slot);
            }
            Command::CancelReplace(replace) => {
                let slot = self.fetch_target(step, replace.place.account, replace.place.session, &replace.target);
                self.fetch_index_entry(step, slot);
                self.fetch_place(step, &replace.place);
            }
            // The others are rare or touch no order.
            _ => {}
        }
    }

    #[inline]
    fn fetch_place(&self, step: Step, place: &PlaceOrder) {
        match step {
            Step::Name => {
                self.accounts.fetch(place.account);
                self.index.fetch(place.session, place.cl_ord_id);
            }
            Step::Line => self.accounts.fetch_balances(place.account),
            Step::Queue | Step::Tail => {
                if let OrderKind::Limit { price, .. } = place.kind {
                    self.fetch_price(step, place.market, place.side, price);
                }
            }
        }
    }

    /// Prefetches the order that a command names, and gives its slot at the steps at which its line is in the cache.
    #[inline]
    fn fetch_target(&self, step: Step, account: AccountId, session: SessionId, target: &OrderRef) -> Option<u32> {
        let slot = || match target.order_id {
            id if !id.is_none() => Some(id.slot()),
            _ => self.index.guess(session, target.cl_ord_id),
        };
        match step {
            Step::Name => {
                self.accounts.fetch(account);
                if target.order_id.is_none() {
                    self.index.fetch(session, target.cl_ord_id);
                }
                None
            }
            Step::Line => {
                self.accounts.fetch_balances(account);
                let slot = slot()?;
                self.pool.orders.fetch(slot);
                self.open.fetch(slot);
                None
            }
            Step::Queue => {
                let slot = slot().filter(|&slot| (slot as usize) < self.pool.orders.slots_len())?;
                OrderBook::fetch_neighbours(&self.pool, slot);
                self.open.fetch_neighbours(slot);
                Some(slot)
            }
            Step::Tail => slot().filter(|&slot| (slot as usize) < self.pool.orders.slots_len()),
        }
    }

    /// Prefetches the place of an order's client order id, which the order gives up when it ends or is renamed.
    #[inline]
    fn fetch_index_entry(&self, step: Step, slot: Option<u32>) {
        if let (Step::Queue, Some(slot)) = (step, slot) {
            let order = self.pool.orders.get(slot);
            self.index.fetch(order.session, order.cl_ord_id);
        }
    }

    #[inline]
    fn fetch_price(&self, step: Step, market: MarketId, side: Side, price: PriceTicks) {
        let Some(market) = self.market(market) else { return };
        match step {
            Step::Queue => market.book.fetch_level(&self.pool, side, price),
            Step::Tail => market.book.fetch_tail(&self.pool, side, price),
            Step::Name | Step::Line => {}
        }
    }
}
