//! A seeded stream of commands for tests, benches and load: the same seed and the same answers give the same commands.
//!
//! It is a `Sink`: from the engine's events it knows which orders are open, so that most cancels and amendments name
//! one. `setup` opens the exchange. After it `next_command` never ends, and `now` is the log time of the last command.

mod governed;
mod mixed;
pub mod rng;

use crate::command::*;
use crate::event::{Accepted, Event, Sink};
use crate::fees::{FeeAsset, MarketFees};
use crate::ids::{AccountId, AssetId, ClOrdId, ClientKey, MarketId, OrderId, SessionId, Symbol, UserName};
use crate::rules::Rules;
use crate::units::{Ppm, PriceTicks, QtyLots, TsNs, UNITS_MAX, Units};
use rng::Rng;

/// The kind of the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Every kind of command on two markets, with values that no honest client would send.
    Mixed,
    /// The mixed flow under rules 2, with all that administrators and the bearers of keys do besides: keys, throttles,
    /// limits, drop copies, several sessions of one account.
    Governed,
    /// Market makers quote around a moving price: places, amendments and cancels, few fills.
    Maker,
    /// Every other order takes: many fills, also several in one command.
    Crosses,
}

/// An order that rests, as its owner remembers it.
#[derive(Clone, Copy, Debug)]
struct Live {
    id: OrderId,
    session: SessionId,
    cl_ord_id: ClOrdId,
    account: AccountId,
    market: MarketId,
    side: Side,
    price: PriceTicks,
    leaves: QtyLots,
}

const NOT_LIVE: u32 = u32::MAX;
/// Ticks between the mid price and the farthest quote.
const SPREAD: u32 = 24;
/// Ids of finished orders that are asked for again.
const DEAD_LEN: usize = 64;

#[derive(Clone, Debug)]
pub struct Workload {
    profile: Profile,
    rng: Rng,
    now: TsNs,
    /// By `MarketId::idx`.
    mids: Vec<u32>,
    accounts: u32,
    /// The sessions that may trade, with their accounts.
    traders: Vec<(SessionId, AccountId)>,
    /// Next client order id, by session.
    cl_ord_ids: Vec<u64>,
    live: Vec<Live>,
    /// Where an order is in `live`, by slot of its id: ids are dense there, so no hash is needed.
    live_at: Vec<u32>,
    /// About how many orders rest in the book.
    live_target: usize,
    accepted: Option<Accepted>,
    dead: [OrderId; DEAD_LEN],
    dead_count: usize,
}

impl Sink for Workload {
    const LEDGER: bool = false;

    fn push(&mut self, event: Event) {
        self.observe(&event);
    }
}

impl Workload {
    pub fn new(profile: Profile, seed: u64) -> Self {
        let (markets, accounts, live_target) = match profile {
            Profile::Mixed | Profile::Governed => (2, 6, 120),
            Profile::Maker => (1, 8, 1_000),
            Profile::Crosses => (1, 8, 200),
        };
        Self {
            profile,
            rng: Rng::new(seed),
            now: TsNs(1_700_000_000_000_000_000),
            mids: vec![10_000; markets],
            accounts,
            traders: Vec::new(),
            cl_ord_ids: vec![0; accounts as usize],
            live: Vec::new(),
            live_at: Vec::new(),
            live_target,
            accepted: None,
            dead: [OrderId::NONE; DEAD_LEN],
            dead_count: 0,
        }
    }

    /// The same flow over a book of about so many orders.
    pub fn with_live_target(mut self, live_target: usize) -> Self {
        self.live_target = live_target;
        self
    }

    pub fn now(&self) -> TsNs {
        self.now
    }

    pub fn live_count(&self) -> usize {
        self.live.len()
    }

    /// Assets, markets, accounts with a session each, and money.
    pub fn setup(&self) -> Vec<Command> {
        let mut commands: Vec<Admin> = ["USD", "BTC", "ETH"].map(asset).into();
        commands.push(Admin::AddMarket(self.market_spec("BTC-USD", AssetId(2))));
        if self.profile == Profile::Governed {
            commands.push(Admin::SetRules { version: Rules::NEWEST.version() });
        }
        if self.mids.len() > 1 {
            let mut spec = self.market_spec("ETH-USD", AssetId(3));
            spec.limits = MarketLimits {
                qty_min: QtyLots(2),
                qty_max: QtyLots(1_000),
                notional_min: Units(10_000),
                price_band: Ppm(5_000),
            };
            let paid_in = if self.profile == Profile::Governed { FeeAsset::Quote } else { FeeAsset::Received };
            spec.fees = MarketFees::new(Ppm(-20), Ppm(75), paid_in);
            commands.push(Admin::AddMarket(spec));
        }
        for account in 1..=self.accounts {
            // The last accounts of a mixed day are one family, for self-trade groups.
            let parent = if self.is_mixed() && account > 4 { AccountId(4) } else { AccountId::NONE };
            commands.push(add_account(account, parent));
            commands.push(add_session(account));
            for asset in 1..=3 {
                commands.push(Admin::Deposit(self.first_deposit(account, AssetId(asset))));
            }
        }
        if self.profile == Profile::Governed {
            commands.extend(Self::governed_setup());
        }
        commands.into_iter().map(|admin| Command::Admin(Box::new(admin))).collect()
    }

    /// Whether commands also have values that no honest client would send.
    fn is_mixed(&self) -> bool {
        matches!(self.profile, Profile::Mixed | Profile::Governed)
    }

    fn market_spec(&self, symbol: &str, base: AssetId) -> MarketSpec {
        MarketSpec {
            symbol: Symbol::new(symbol).expect("a symbol of letters and a dash"),
            base,
            quote: AssetId(1),
            tick_e9: 1_000_000_000,
            lot_e8: 100_000_000,
            limits: MarketLimits {
                qty_min: QtyLots(1),
                qty_max: QtyLots(1 << 40),
                notional_min: Units(0),
                price_band: Ppm(0),
            },
            fees: MarketFees::received(Ppm(100), Ppm(250)),
            status: MarketStatus::Trading,
        }
    }

    fn first_deposit(&self, account: u32, asset: AssetId) -> FundsMove {
        // A mixed day runs out of money now and then, the others never.
        let amount = match (self.profile, asset.0) {
            (Profile::Mixed | Profile::Governed, 1) => 20_000_000,
            (Profile::Mixed | Profile::Governed, _) => 3_000,
            _ => UNITS_MAX >> 8,
        };
        let reference = ClientKey(u128::from(account) << 8 | u128::from(asset.0));
        FundsMove { account: AccountId(account), asset, amount: Units(amount), reference }
    }

    pub fn next_command(&mut self) -> Command {
        self.now.0 += 1 + u64::from(self.rng.below(1_000));
        self.move_mids();
        match self.profile {
            Profile::Mixed => self.mixed(),
            Profile::Governed => self.governed(),
            Profile::Maker => self.maker(),
            Profile::Crosses => self.crosses(),
        }
    }

    fn move_mids(&mut self) {
        for mid in &mut self.mids {
            if self.rng.one_in(16) {
                let up = self.rng.one_in(2) || *mid < 5_000;
                *mid = if up && *mid < 20_000 { *mid + 1 } else { *mid - 1 };
            }
        }
    }

    fn maker(&mut self) -> Command {
        let wants_more = self.live.len() < self.live_target;
        match self.rng.below(100) {
            0..2 => self.take_limit(Tif::Ioc, 4),
            2..50 if wants_more => self.quote(),
            2..20 => self.quote(),
            20..60 => self.amend_live(),
            _ => self.cancel_live(),
        }
    }

    fn crosses(&mut self) -> Command {
        let wants_more = self.live.len() < self.live_target;
        match self.rng.below(100) {
            0..40 if wants_more => self.quote(),
            0..20 => self.quote(),
            20..40 => self.cancel_live(),
            40..70 => self.take_limit(Tif::Ioc, 40),
            70..90 => self.take_limit(Tif::Gtc, 40),
            _ => self.take_market(),
        }
    }

    fn account(&mut self) -> AccountId {
        AccountId(1 + self.rng.below(self.accounts))
    }

    fn side(&mut self) -> Side {
        self.rng.pick(&[Side::Buy, Side::Sell])
    }

    fn market(&mut self) -> MarketId {
        MarketId(1 + self.rng.below(self.mids.len() as u32))
    }

    /// A plain order of some account, through its session as a rule and through no session now and then.
    fn order(&mut self, side: Side, kind: OrderKind, tif: Tif, market: MarketId) -> PlaceOrder {
        let account = self.account();
        let by_session = !self.is_mixed() || !self.rng.one_in(4);
        let session = if by_session { self.session_of(account) } else { SessionId::NONE };
        let named = !by_session && self.rng.one_in(2);
        PlaceOrder {
            session,
            cl_ord_id: self.cl_ord_id(session),
            // Few names, so that they repeat.
            client_key: if named { ClientKey(1 + u128::from(self.rng.below(500))) } else { ClientKey::NONE },
            account,
            market,
            side,
            kind,
            tif,
            stp: self.stp(),
            stp_group: if self.is_mixed() { self.rng.below(3) as u16 } else { 0 },
            cancel_group: self.rng.below(3) as u8,
            persist_on_disconnect: self.rng.one_in(4),
            valid_until: TsNs(0),
        }
    }

    fn stp(&mut self) -> StpMode {
        match self.profile {
            Profile::Mixed | Profile::Governed => self.rng.pick(&[
                StpMode::None,
                StpMode::CancelTaker,
                StpMode::CancelMaker,
                StpMode::CancelBoth,
                StpMode::Decrement,
            ]),
            _ => StpMode::CancelMaker,
        }
    }

    fn cl_ord_id(&mut self, session: SessionId) -> ClOrdId {
        if session.is_none() {
            return ClOrdId(0);
        }
        if self.cl_ord_ids.len() < session.0 as usize {
            self.cl_ord_ids.resize(session.0 as usize, 0);
        }
        let next = &mut self.cl_ord_ids[session.idx()];
        *next += 1;
        ClOrdId(*next)
    }

    fn quote(&mut self) -> Command {
        let (market, side) = (self.market(), self.side());
        let price = self.price_near(market, side);
        let qty = QtyLots(2 + u64::from(self.rng.below(50)));
        let tif = if self.rng.one_in(4) { Tif::GtcPostOnly } else { Tif::Gtc };
        Command::Place(self.order(side, OrderKind::Limit { price, qty }, tif, market))
    }

    /// A price on the passive side of the mid.
    fn price_near(&mut self, market: MarketId, side: Side) -> PriceTicks {
        let mid = self.mids[market.idx()];
        let away = 1 + self.rng.below(SPREAD);
        PriceTicks(if side == Side::Buy { mid - away } else { mid + away })
    }

    fn take_limit(&mut self, tif: Tif, qty_max: u32) -> Command {
        let (market, side) = (self.market(), self.side());
        let price = self.price_near(market, side.opposite());
        let qty = QtyLots(2 + u64::from(self.rng.below(qty_max)));
        Command::Place(self.order(side, OrderKind::Limit { price, qty }, tif, market))
    }

    fn take_market(&mut self) -> Command {
        let (market, side) = (self.market(), self.side());
        let qty = QtyLots(2 + u64::from(self.rng.below(40)));
        let quote = Units(u64::from(self.rng.below(1_000_000)));
        let kind = if self.rng.one_in(2) { OrderKind::Market { qty } } else { OrderKind::MarketByQuote { quote } };
        let tif = self.rng.pick(&[Tif::Ioc, Tif::Fok]);
        Command::Place(self.order(side, kind, tif, market))
    }

    fn live(&mut self) -> Option<Live> {
        if self.live.is_empty() {
            return None;
        }
        let idx = self.rng.below(self.live.len() as u32) as usize;
        Some(self.live[idx])
    }

    /// Names the order by exchange id, or by client id where it has one.
    fn target(&mut self, order: &Live) -> OrderRef {
        let by_client = !order.session.is_none() && self.rng.one_in(2);
        if by_client {
            return OrderRef { order_id: OrderId::NONE, cl_ord_id: order.cl_ord_id, client_key: ClientKey::NONE };
        }
        OrderRef { order_id: order.id, cl_ord_id: ClOrdId(0), client_key: ClientKey::NONE }
    }

    fn cancel_live(&mut self) -> Command {
        let Some(order) = self.live() else { return self.quote() };
        Command::Cancel(CancelOrder {
            session: order.session,
            cl_ord_id: ClOrdId(0),
            account: order.account,
            market: order.market,
            target: self.target(&order),
        })
    }

    fn amend_live(&mut self) -> Command {
        let Some(order) = self.live() else { return self.quote() };
        let (price, qty) = match self.rng.below(8) {
            0 if self.is_mixed() => (self.price_anything(order.market, order.side), self.qty_anything()),
            0..3 => (order.price, QtyLots(order.leaves.0.div_ceil(2))),
            3 => (order.price, QtyLots(order.leaves.0.saturating_add(1 + u64::from(self.rng.below(5))))),
            _ => (self.price_near(order.market, order.side), order.leaves),
        };
        let qty_means =
            if self.is_mixed() { self.rng.pick(&[AmendQty::Open, AmendQty::Total]) } else { AmendQty::Open };
        Command::Amend(AmendOrder {
            session: order.session,
            cl_ord_id: self.cl_ord_id(order.session),
            account: order.account,
            market: order.market,
            target: self.target(&order),
            price,
            qty,
            qty_means,
        })
    }

    /// Learns from one event, for callers that do not use the workload as the engine's sink.
    pub fn observe(&mut self, event: &Event) {
        match event {
            Event::Accepted(accepted) => self.accepted = Some(*accepted),
            Event::Rested(rested) => self.came_to_rest(rested.order_id, rested.price, rested.qty),
            Event::Fill(fill) => {
                self.shrunk(fill.maker.order_id, fill.maker.leaves);
                self.shrunk(fill.taker.order_id, fill.taker.leaves);
            }
            Event::Reduced(reduced) => self.shrunk_but_alive(reduced.order_id, reduced.leaves),
            Event::Amended(amended) => {
                if let Some(order) = self.find(amended.order_id) {
                    order.cl_ord_id = amended.cl_ord_id;
                    order.price = amended.price;
                    order.leaves = amended.leaves;
                }
            }
            Event::Canceled(canceled) => self.ended(canceled.order_id),
            Event::SessionAdded { session, account, drop_copy: false, .. } => self.traders.push((*session, *account)),
            Event::SessionLifeBegan { session, .. } => {
                if let Some(last) = self.cl_ord_ids.get_mut(session.idx()) {
                    *last = 0;
                }
            }
            Event::SessionRemoved { session } => self.traders.retain(|(trader, _)| trader != session),
            _ => {}
        }
    }

    fn find(&mut self, id: OrderId) -> Option<&mut Live> {
        let at = *self.live_at.get(id.slot() as usize)?;
        self.live.get_mut(at as usize).filter(|order| order.id == id)
    }

    fn came_to_rest(&mut self, id: OrderId, price: PriceTicks, leaves: QtyLots) {
        if let Some(order) = self.find(id) {
            (order.price, order.leaves) = (price, leaves);
            return;
        }
        let Some(accepted) = self.accepted.take().filter(|a| a.order_id == id) else { return };
        let slot = id.slot() as usize;
        if slot >= self.live_at.len() {
            self.live_at.resize(slot + 1, NOT_LIVE);
        }
        self.live_at[slot] = self.live.len() as u32;
        self.live.push(Live {
            id,
            session: accepted.session,
            cl_ord_id: accepted.cl_ord_id,
            account: accepted.account,
            market: accepted.market,
            side: accepted.side,
            price,
            leaves,
        });
    }

    fn shrunk(&mut self, id: OrderId, leaves: QtyLots) {
        if leaves.0 == 0 { self.ended(id) } else { self.shrunk_but_alive(id, leaves) }
    }

    fn shrunk_but_alive(&mut self, id: OrderId, leaves: QtyLots) {
        if let Some(order) = self.find(id) {
            order.leaves = leaves;
        }
    }

    fn ended(&mut self, id: OrderId) {
        self.dead[self.dead_count % DEAD_LEN] = id;
        self.dead_count += 1;
        if self.find(id).is_none() {
            return;
        }
        let at = self.live_at[id.slot() as usize] as usize;
        self.live_at[id.slot() as usize] = NOT_LIVE;
        self.live.swap_remove(at);
        if let Some(moved) = self.live.get(at) {
            self.live_at[moved.id.slot() as usize] = at as u32;
        }
    }
}

fn asset(symbol: &str) -> Admin {
    Admin::AddAsset { symbol: Symbol::new(symbol).expect("a symbol of three letters"), scale: 0 }
}

fn add_account(number: u32, parent: AccountId) -> Admin {
    let name = format!("account {number}");
    Admin::AddAccount(AccountSpec { name, kind: AccountKind::Client, parent, fee_tier: 0 })
}

fn add_session(number: u32) -> Admin {
    Admin::AddSession(SessionSpec {
        account: AccountId(number),
        user: UserName::new(&format!("U{number}")).expect("a letter and a digit"),
        password_hash: "$argon2id$none".to_owned(),
        drop_copy: false,
        throttle: Throttle::default(),
        cod_mode: CodMode::Both,
        cod_scope: CodScope::Session,
        cod_window_ms: 0,
    })
}
