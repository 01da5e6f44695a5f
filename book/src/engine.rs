//! The state machine: `apply(stamp, &command, &mut sink)`, and what the state consists of.
//!
//! Invariants: stamps follow each other without a gap and time never runs back; after every command the ledger of each
//! asset balances, no book is crossed, and each account holds exactly what its open orders need (`verify`).

use crate::accounts::Accounts;
use crate::client_ids::{ClientIds, References};
use crate::command::{Command, FeeTier, Refuse};
use crate::event::{CancelReason, Canceled, Event, Rejected, Sink};
use crate::extent::Extent;
use crate::ids::{AccountId, ClOrdId, ClientKey, MarketId, SessionId, Symbol};
use crate::instrument::{FEE_TIERS, MarketRules};
use crate::ladder::Levels;
use crate::mutation::{Mutation, Planted};
use crate::open_orders::{ClOrdIndex, OpenOrders};
use crate::order_book::{OrderBook, Pool};
use crate::running_hash::{CheckState, Divergence, Hashing};
use crate::session::{Keys, Sessions};
use crate::slab::{Order, Orders};
use crate::units::{Ppm, PriceTicks, Seq, Stamp, TsNs};
use std::collections::BTreeSet;

/// Orders that one command may cancel or report; a larger mass cancel goes on with a command of its own.
pub const CANCELS_PER_COMMAND_MAX: u32 = 2048;

/// Bound of what one command can push, transfers included: a hold, and for each fill the fill, two payments, two fees
/// and a refund, with some room.
pub const EVENTS_PER_COMMAND_MAX: usize = 8 * crate::order_book::FILLS_PER_COMMAND_MAX as usize;

/// How much memory to set aside at start. Not part of the state: a replica may choose other figures.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    pub orders: usize,
    pub leaves: usize,
    pub markets: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { orders: 1 << 16, leaves: 1 << 12, markets: 64 }
    }
}

/// What trading has left on a market.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tape {
    /// Reference of the price band.
    pub last_price: Option<PriceTicks>,
    /// Trades so far; the next trade's id is one higher.
    pub trade_count: u64,
    pub open_count: u32,
}

impl Tape {
    #[inline]
    pub(crate) fn count_opened(&mut self) {
        self.open_count += 1;
    }

    #[inline]
    pub(crate) fn count_closed(&mut self) {
        assert!(0 < self.open_count, "a market counts every order that rests in its book");
        self.open_count -= 1;
    }
}

#[derive(Debug)]
pub struct Market {
    pub rules: MarketRules,
    pub book: OrderBook,
    pub tape: Tape,
}

/// The exchange. Made by the log: a new engine plus all commands in order is the state.
#[derive(Debug)]
pub struct Engine {
    pub(crate) stamp: Stamp,
    pub(crate) pool: Pool,
    pub(crate) markets: Vec<Market>,
    pub(crate) accounts: Accounts,
    pub(crate) sessions: Sessions,
    pub(crate) open: OpenOrders,
    pub(crate) index: ClOrdIndex,
    pub(crate) client_ids: ClientIds,
    pub(crate) references: References,
    pub(crate) keys: Keys,
    pub(crate) market_names: BTreeSet<Symbol>,
    pub(crate) fee_tiers: [FeeTier; FEE_TIERS],
    pub(crate) check_state: CheckState,
    /// The results of checks, which are no part of the state: two engines with one state may know different things.
    pub(crate) divergence: Option<Divergence>,
    pub(crate) seq_checked: Seq,
}

/// The fees of a market as they stand.
pub const FEE_TIER_PLAIN: FeeTier = FeeTier { maker_scale: Ppm(1_000_000), taker_scale: Ppm(1_000_000) };

impl Engine {
    pub fn new(capacity: Capacity) -> Self {
        Self {
            stamp: Stamp { seq: Seq(0), ts: TsNs(0) },
            pool: Pool {
                orders: Orders::with_capacity(capacity.orders),
                levels: Levels::with_capacity(capacity.leaves),
            },
            markets: Vec::with_capacity(capacity.markets),
            accounts: Accounts::default(),
            sessions: Sessions::default(),
            open: OpenOrders::with_capacity(capacity.orders),
            index: ClOrdIndex::with_capacity(capacity.orders),
            client_ids: ClientIds::default(),
            references: References::default(),
            keys: Keys::default(),
            market_names: BTreeSet::new(),
            fee_tiers: [FEE_TIER_PLAIN; FEE_TIERS],
            check_state: CheckState::default(),
            divergence: None,
            seq_checked: Seq(0),
        }
    }

    /// Applies one command: the only way in which the state changes.
    pub fn apply<S: Sink>(&mut self, stamp: Stamp, command: &Command, sink: &mut S) {
        if let Command::Check(check) = command {
            self.check(stamp, check);
            return self.advance(stamp);
        }
        self.advance(stamp);
        let mut hashing = Hashing { sink, hash: self.check_state.running };
        self.dispatch(stamp, command, &mut hashing);
        self.check_state.running = hashing.hash;
    }

    /// Leaves a command out that an operator has quarantined: it keeps its number and does nothing.
    pub fn skip(&mut self, stamp: Stamp) {
        self.advance(stamp);
        self.check_state.skip(stamp);
    }

    #[inline]
    fn advance(&mut self, stamp: Stamp) {
        assert!(stamp.seq == self.stamp.seq.next(), "commands come without a gap");
        assert!(self.stamp.ts <= stamp.ts, "log time never runs back");
        self.stamp = stamp;
    }

    #[inline]
    fn dispatch<S: Sink>(&mut self, stamp: Stamp, command: &Command, sink: &mut S) {
        match command {
            Command::Place(order) => self.place(stamp, order, sink),
            Command::Cancel(cancel) => self.cancel(cancel, sink),
            Command::Amend(amend) => self.amend(stamp, amend, sink),
            Command::CancelReplace(replace) => self.cancel_replace(stamp, replace, sink),
            Command::MassCancel(mass) => self.mass_cancel(mass, sink),
            Command::Refuse(refuse) => self.refuse(refuse, sink),
            Command::Query(query) => self.query(query, sink),
            Command::SetSession(set) => self.set_session(set, sink),
            Command::SessionDown(down) => self.session_down(down, sink),
            Command::Admin(admin) => self.administer(admin, sink),
            Command::Check(_) => unreachable!("checks are not outcomes"),
        }
    }

    /// The arrays that grow with orders, for whoever chooses what pages lie under them.
    pub fn extents(&self) -> impl Iterator<Item = Extent> {
        let [leaves, nodes] = self.pool.levels.extents();
        [self.pool.orders.extent(), leaves, nodes, self.open.extent(), self.index.extent()].into_iter()
    }

    fn refuse<S: Sink>(&mut self, refuse: &Refuse, sink: &mut S) {
        if refuse.cl_ord_id.0 != 0 && refuse.consumes_id && !self.use_cl_ord_id(refuse.session, refuse.cl_ord_id) {
            return;
        }
        let account = self.sessions.get(refuse.session).map_or(AccountId::NONE, |s| s.account);
        sink.push(Event::Rejected(Rejected {
            session: refuse.session,
            cl_ord_id: refuse.cl_ord_id,
            client_key: ClientKey::NONE,
            account,
            market: refuse.market,
            reason: refuse.reason,
            template: refuse.template,
        }));
    }

    /// Sequence and time of the last command applied.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    pub fn market(&self, id: MarketId) -> Option<&Market> {
        if id.is_none() { None } else { self.markets.get(id.idx()) }
    }

    /// By id, from 1 on.
    pub fn markets(&self) -> &[Market] {
        &self.markets
    }

    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Orders and levels behind every market's book.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    pub fn open_orders(&self) -> &OpenOrders {
        &self.open
    }

    /// Uses up a client order id. False when the session used this one or a higher one before: the message is a resend.
    pub(crate) fn use_cl_ord_id(&mut self, session: SessionId, id: ClOrdId) -> bool {
        let Some(session) = self.sessions.get_mut(session) else { return true };
        let is_new = (session.cl_ord_id_last < id).planted(Mutation::ResendTakenTwice, |_| true);
        if is_new {
            session.cl_ord_id_last = id;
        }
        is_new
    }
}

/// An order's end as an event; who asked is filled in by the caller where somebody did.
pub(crate) fn canceled(order: &Order, reason: CancelReason, was_resting: bool) -> Canceled {
    Canceled {
        order_id: order.id,
        session: order.session,
        cl_ord_id: order.cl_ord_id,
        request_session: SessionId::NONE,
        request_cl_ord_id: ClOrdId(0),
        account: order.account,
        market: order.market,
        side: order.traits.side(),
        qty: order.leaves,
        cum: order.cum,
        reason,
        was_resting,
    }
}
