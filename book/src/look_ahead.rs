//! Fetches what commands to come will touch, while the commands before them run.
//!
//! On a large book the way to an order is a chain of loads from memory, each of which waits for the one before: the place
//! of its name, its line, its neighbours and its level, the order that it will stand behind. A batch has many commands,
//! hence many chains, and they can wait together:
//!
//! ```text
//!  commands from now    0 ........ 4 ........... 8 ................. 12 ............ 16
//!  what is fetched      (applied)  Tail          Queue               Line            Name
//!                                  whom it will  neighbours, levels  the order's     place of its client id,
//!                                  stand behind                      own line        its account
//! ```
//!
//! Nothing is changed and nothing is promised: a command may well touch something else by the time it is applied.

use crate::command::{Command, OrderKind, OrderRef, PlaceOrder, Side};
use crate::engine::Engine;
use crate::ids::{AccountId, MarketId, SessionId};
use crate::order_book::OrderBook;
use crate::slab::Orders;
use crate::units::PriceTicks;

/// One link of the chain; each needs what the one before has fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Name,
    Line,
    Queue,
    Tail,
}

/// How many commands ahead each step is done. Four commands take longer than one load from memory.
const STEPS: [(Step, usize); 4] = [(Step::Name, 16), (Step::Line, 12), (Step::Queue, 8), (Step::Tail, 4)];

/// Commands behind this one are not looked at.
pub const DISTANCE_MAX: usize = STEPS[0].1;

/// Fewer orders than this are in the cache anyway, and looking ahead would only cost.
pub const ORDERS_MIN: usize = 1 << 15;

/// Whether so many orders have room in the book that looking ahead pays.
#[inline]
pub fn pays(orders: &Orders) -> bool {
    ORDERS_MIN <= orders.slots_len()
}

/// Gives each step the command that it is for, as far as one is to come.
#[inline]
pub fn each_step<C>(coming: impl Fn(usize) -> Option<C>, fetch: impl Fn(Step, C)) {
    for (step, distance) in STEPS {
        if let Some(command) = coming(distance) {
            fetch(step, command);
        }
    }
}

impl Engine {
    /// Whether the book is so large that looking ahead pays.
    #[inline]
    pub fn looks_ahead(&self) -> bool {
        pays(&self.pool.orders)
    }

    /// Fetches for the commands to come; `coming(n)` is the one that is applied `n` commands from now.
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
                self.fetch_place_of(step, slot);
            }
            Command::Amend(amend) => {
                let slot = self.fetch_target(step, amend.account, amend.session, &amend.target);
                if step == Step::Name {
                    self.index.fetch(amend.session, amend.cl_ord_id);
                } else if let Some(slot) = slot {
                    let order = self.pool.orders.get(slot);
                    self.fetch_price(step, order.market, order.traits.side(), amend.price);
                }
                self.fetch_place_of(step, slot);
            }
            Command::CancelReplace(replace) => {
                let slot = self.fetch_target(step, replace.place.account, replace.place.session, &replace.target);
                self.fetch_place_of(step, slot);
                self.fetch_place(step, &replace.place);
            }
            // Rare, or no order's way at all.
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

    /// The slot of the target where its line should be in the cache by now.
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

    /// The place of an order's client id, which it loses when it leaves or is renamed.
    #[inline]
    fn fetch_place_of(&self, step: Step, slot: Option<u32>) {
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
