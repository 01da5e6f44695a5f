//! The state machine: `apply(stamp, &command, &mut sink)`, and the parts of the state.
//!
//! Invariants: stamps follow each other without a gap and time never runs back; after every command the ledger of each
//! asset balances, no book is crossed, and each account holds exactly what its open orders need (see `verify`).

use crate::accounts::Accounts;
use crate::array::Array;
use crate::cl_ord_index::ClOrdIndex;
use crate::client_ids::ClientIds;
use crate::command::{Actor, Command, FeeTier, Refuse};
use crate::event::{CancelReason, Canceled, Event, Rejected, Sink};
use crate::extent::Extent;
use crate::fees::FEE_TIERS;
use crate::hash_key::HashKey;
use crate::ids::{AccountId, ClOrdId, ClientKey, MarketId, SessionId, Symbol};
use crate::instrument::{MARKETS_MAX, MarketRules};
use crate::intake::IntakeState;
use crate::keys::Keys;
use crate::ladder::Levels;
use crate::mutation::{Mutation, Planted};
use crate::names::Names;
use crate::open_orders::OpenOrders;
use crate::order_book::{OrderBook, Pool};
use crate::references::References;
use crate::rules::Rules;
use crate::run::Run;
use crate::running_hash::{CheckState, Divergence, Hashing};
use crate::session::Sessions;
use crate::slab::{Order, Orders};
use crate::units::{Ppm, PriceTicks, Seq, Stamp, TsNs};
use std::collections::BTreeSet;

/// How many orders one command may cancel or report. A larger mass cancel continues with the next command.
pub const CANCELS_PER_COMMAND_MAX: u32 = 2048;

/// How many orders one command looks at, also when it neither cancels nor reports them, under rules 2.
pub const VISITS_PER_COMMAND_MAX: u32 = 2 * CANCELS_PER_COMMAND_MAX;

/// How many orders the first part of a command over many orders looks at, under rules 2. The others are paced by the
/// node; this one comes whenever a client likes.
pub const VISITS_FIRST_MAX: u32 = 256;

/// The most events that one command can make, transfers included: a hold, and for each fill the fill itself, two
/// payments, two fees and a release, with some room.
pub const EVENTS_PER_COMMAND_MAX: usize = 8 * crate::order_book::FILLS_PER_COMMAND_MAX as usize;

/// How much memory to reserve at start. It is no part of the state: a replica may reserve another amount.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    pub orders: usize,
    pub leaves: usize,
    pub markets: usize,
    /// Names of orders, which are found fast up to about so many.
    pub names: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { orders: 1 << 16, leaves: 1 << 12, markets: 64, names: 1 << 12 }
    }
}

/// The last price and the counts of a market.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tape {
    /// The price of the last trade, around which the price band lies.
    pub last_price: Option<PriceTicks>,
    /// Trades so far. The id of the next trade is one higher.
    pub trade_count: u64,
    /// Orders that rest in the book.
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

impl Market {
    /// What is left of a market that was removed: its place, which no other market gets.
    pub(crate) fn removed() -> Self {
        Self { rules: MarketRules::removed(), book: OrderBook::default(), tape: Tape::default() }
    }

    #[inline]
    pub(crate) fn is_removed(&self) -> bool {
        self.rules.id.is_none()
    }
}

/// The whole exchange. It follows from the log alone: a new engine that applies all commands in order has this state.
#[derive(Debug)]
pub struct Engine {
    pub(crate) stamp: Stamp,
    pub(crate) rules: Rules,
    pub(crate) run: Run,
    pub(crate) intake: IntakeState,
    pub(crate) pool: Pool,
    /// By id; a market that was removed keeps its place.
    pub(crate) markets: Array<Market>,
    pub(crate) accounts: Accounts,
    pub(crate) sessions: Sessions,
    pub(crate) open: OpenOrders,
    pub(crate) index: ClOrdIndex,
    /// Names that were taken under rules 1. Nothing is added under later rules.
    pub(crate) client_ids: ClientIds,
    pub(crate) names: Names,
    pub(crate) references: References,
    pub(crate) keys: Keys,
    pub(crate) market_names: BTreeSet<Symbol>,
    pub(crate) fee_tiers: [FeeTier; FEE_TIERS],
    pub(crate) check_state: CheckState,
    /// The results of checks, which are no part of the state: two engines with one state may know different things.
    pub(crate) divergence: Option<Divergence>,
    pub(crate) seq_checked: Seq,
}

/// The tier that leaves the fees of a market as they are.
pub const FEE_TIER_PLAIN: FeeTier = FeeTier { maker_scale: Ppm(1_000_000), taker_scale: Ppm(1_000_000) };

impl Engine {
    pub fn new(capacity: Capacity) -> Self {
        Self::keyed(capacity, HashKey::default())
    }

    /// An engine whose hash tables have this key, for a process that clients send commands to.
    pub fn keyed(capacity: Capacity, key: HashKey) -> Self {
        Self {
            stamp: Stamp { seq: Seq(0), ts: TsNs(0) },
            rules: Rules::One,
            run: Run::default(),
            intake: IntakeState::default(),
            pool: Pool {
                orders: Orders::with_capacity(capacity.orders),
                levels: Levels::with_capacity(capacity.leaves),
            },
            markets: Array::new(capacity.markets, MARKETS_MAX as usize),
            accounts: Accounts::default(),
            sessions: Sessions::default(),
            open: OpenOrders::with_capacity(capacity.orders),
            index: ClOrdIndex::with_capacity(capacity.orders, key),
            client_ids: ClientIds::new(key),
            names: Names::with_capacity(capacity.names, key),
            references: References::new(key),
            keys: Keys::default(),
            market_names: BTreeSet::new(),
            fee_tiers: [FEE_TIER_PLAIN; FEE_TIERS],
            check_state: CheckState::default(),
            divergence: None,
            seq_checked: Seq(0),
        }
    }

    /// Applies one command. Nothing else changes the state.
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

    /// Skips a command that an operator has quarantined: it keeps its place in the log and does nothing.
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
            Command::Admin(admin) => self.administer(Actor::Ops, admin, sink),
            Command::Acted(acted) => self.act(stamp, acted, sink),
            Command::Opened(_) => {}
            Command::Continue(rest) => self.go_on(rest, sink),
            Command::ConnectionEnd(end) => self.connection_end(end, sink),
            Command::Check(_) => unreachable!("apply handles checks itself, because they have no outcome"),
        }
    }

    /// What was set aside at the start for the arrays that grow with the number of orders, so that the caller can
    /// choose the memory pages below them.
    pub fn extents(&self) -> impl Iterator<Item = Extent> {
        let others = [self.pool.orders.extent(), self.open.extent(), self.index.extent()];
        others.into_iter().chain(self.pool.levels.extents())
    }

    /// Answers a message that the gateway refused, and uses up its id where a resend must be ignored.
    fn refuse<S: Sink>(&mut self, refuse: &Refuse, sink: &mut S) {
        let consumes_id = refuse.cl_ord_id.0 != 0 && refuse.consumes_id && !self.is_too_large(refuse.cl_ord_id);
        if consumes_id && !self.use_cl_ord_id(refuse.session, refuse.cl_ord_id) {
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

    /// The sequence and time of the last command that was applied.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The rules version under which the next command is applied.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// The present run of the node and the life of its streams.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// What the exchange as a whole accepts.
    pub fn intake(&self) -> IntakeState {
        self.intake
    }

    pub fn market(&self, id: MarketId) -> Option<&Market> {
        let market = if id.is_none() { None } else { self.markets.get(id.idx()) };
        market.filter(|market| !market.is_removed())
    }

    /// All markets, by id, without those that were removed.
    pub fn markets(&self) -> impl Iterator<Item = &Market> {
        self.markets.iter().filter(|market| !market.is_removed())
    }

    /// How many market ids were given, those of removed markets included. The first is 1.
    pub fn market_ids(&self) -> usize {
        self.markets.len()
    }

    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The names of orders, from rules 2 on.
    pub fn names(&self) -> &Names {
        &self.names
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The references of payments that are remembered.
    pub fn references(&self) -> &References {
        &self.references
    }

    /// The orders and levels of all books.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    pub fn open_orders(&self) -> &OpenOrders {
        &self.open
    }

    /// Whether no client may use this id. It is not used up then.
    #[inline]
    pub(crate) fn is_too_large(&self, id: ClOrdId) -> bool {
        let has_end = (Rules::Two <= self.rules).planted(Mutation::LastIdTaken, |_| false);
        has_end && ClOrdId::MAX < id
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

/// The end of an order as an event without a request; the caller fills in the request when there was one.
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
