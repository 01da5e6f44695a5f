//! The complete state machine under the same streams: every command goes through `Engine::apply`.
//!
//! Each user of the stream is an account with a session of its own and sufficient balances. Client order ids rise by
//! one with every command, so every order and amendment passes the duplicate check. A move is an amendment that keeps
//! the open quantity and loses its place in the queue. The engine numbers accepted orders 1, 2, 3 ... as the streams
//! do, so its fills can be hashed by the stream's names.

use crate::clock::Ticks;
use crate::clock::thread_cpu;
use crate::measure::{Check, Latencies, Run, Work, check, histograms, sample};
use crate::streams::{Cmd, Op, Resting, Side, Tally};
use crate::subject::Fills;
use anyhow::{Result, bail};
use book::command::{AccountKind, AccountSpec, Admin, AmendOrder, AmendQty, CancelOrder, CodMode, CodScope, Command};
use book::command::{FundsMove, MarketLimits, MarketSpec, MarketStatus, OrderKind, OrderRef, PlaceOrder, SessionSpec};
use book::command::{Side as BookSide, StpMode, Throttle, Tif};
use book::engine::{Capacity, Engine};
use book::event::{Event, Sink};
use book::fees::MarketFees;
use book::ids::{AccountId, AssetId, ClOrdId, ClientKey, MarketId, OrderId, SessionId, Symbol, UserName};
use book::units::{Ppm, PriceTicks, QtyLots, Seq, Stamp, TsNs, Units};
use std::collections::VecDeque;

/// How cancels and amendments name their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// By the exchange's order id.
    OrderId,
    /// By the client's id of the order's latest change, through the hash index.
    ClOrdId,
}

/// Collects events in one buffer that is emptied before each command.
#[derive(Debug)]
pub struct Buffer<const LEDGER: bool> {
    pub events: Vec<Event>,
}

impl<const LEDGER: bool> Default for Buffer<LEDGER> {
    fn default() -> Self {
        Self { events: Vec::with_capacity(book::engine::EVENTS_PER_COMMAND_MAX) }
    }
}

impl<const LEDGER: bool> Sink for Buffer<LEDGER> {
    const LEDGER: bool = LEDGER;

    #[inline]
    fn push(&mut self, event: Event) {
        self.events.push(event);
    }
}

pub const BASE: AssetId = AssetId(1);
pub const QUOTE: AssetId = AssetId(2);
const MARKET: MarketId = MarketId(1);
/// Balance of every account in both assets; a thousand accounts hold far less than the largest amount that `Units`
/// allows.
const START: Units = Units(1_000_000_000_000_000);
const STEP_NS: u64 = 1_000;

/// An engine with the stamps, client order ids and buffers that a gateway would add.
pub struct Exchange<const LEDGER: bool> {
    pub engine: Engine,
    pub sink: Buffer<LEDGER>,
    seq: u64,
    cl_ord_id: u64,
    refused: u64,
    /// Commands that are built and not yet applied, as a gateway has drained them from its sockets.
    drained: VecDeque<Command>,
}

/// Commands that are drained at once, the one that is applied included.
const DRAINED_LEN: usize = 24;

impl<const LEDGER: bool> Exchange<LEDGER> {
    pub fn new(capacity: Capacity) -> Self {
        Self {
            engine: Engine::new(capacity),
            sink: Buffer::default(),
            seq: 0,
            cl_ord_id: 0,
            refused: 0,
            drained: VecDeque::with_capacity(DRAINED_LEN),
        }
    }

    /// One market with fees, and `users` accounts, each with a session and balances.
    pub fn with_users(users: u32, orders: usize) -> Result<Self> {
        Self::with_capacity(users, Capacity { orders, leaves: orders / 8 + 64, markets: 1, names: 1 })
    }

    /// The same with room of its own choice.
    pub fn with_capacity(users: u32, capacity: Capacity) -> Result<Self> {
        let mut exchange = Self::new(capacity);
        exchange.admin(Admin::AddAsset { symbol: symbol("BTC")?, scale: 8 })?;
        exchange.admin(Admin::AddAsset { symbol: symbol("USDT")?, scale: 6 })?;
        exchange.admin(Admin::AddMarket(market_spec("BTCUSDT", BASE, QUOTE)?))?;
        for user in 1..=users {
            let name = format!("user {user}");
            exchange.admin(Admin::AddAccount(AccountSpec {
                name,
                kind: AccountKind::Client,
                parent: AccountId::NONE,
                fee_tier: 0,
            }))?;
            exchange.admin(Admin::AddSession(session_spec(AccountId(user), user)?))?;
            for asset in [BASE, QUOTE] {
                exchange.deposit(AccountId(user), asset, START)?;
            }
        }
        Ok(exchange)
    }

    #[inline(always)]
    pub fn apply(&mut self, command: &Command) {
        let Self { engine, sink, seq, .. } = self;
        apply(engine, sink, seq, command);
    }

    pub fn admin(&mut self, admin: Admin) -> Result<()> {
        self.apply(&Command::Admin(Box::new(admin)));
        match self.sink.events.last() {
            Some(Event::AdminRejected { reason }) => bail!("the engine refused an administrative command: {reason}"),
            _ => Ok(()),
        }
    }

    pub fn deposit(&mut self, account: AccountId, asset: AssetId, amount: Units) -> Result<()> {
        let reference = ClientKey(u128::from(self.seq) + 1);
        self.admin(Admin::Deposit(FundsMove { account, asset, amount, reference }))
    }

    /// Builds the command that a record of the stream stands for, inside the timed part, as a gateway would.
    #[inline(always)]
    fn command(&mut self, cmd: &Cmd, naming: Naming) -> Command {
        self.cl_ord_id += 1;
        let (account, session) = (AccountId(u32::from(cmd.user)), SessionId(u32::from(cmd.user)));
        let cl_ord_id = ClOrdId(self.cl_ord_id);
        let target = match naming {
            Naming::OrderId => {
                OrderRef { order_id: OrderId(cmd.id), cl_ord_id: ClOrdId(0), client_key: ClientKey::NONE }
            }
            Naming::ClOrdId => {
                OrderRef { order_id: OrderId::NONE, cl_ord_id: ClOrdId(cmd.id), client_key: ClientKey::NONE }
            }
        };
        match cmd.op {
            Op::New => Command::Place(PlaceOrder {
                session,
                cl_ord_id,
                client_key: ClientKey::NONE,
                account,
                market: MARKET,
                side: side(cmd.side),
                kind: OrderKind::Limit { price: PriceTicks(cmd.price), qty: QtyLots(u64::from(cmd.qty)) },
                tif: if cmd.ioc { Tif::Ioc } else { Tif::Gtc },
                stp: StpMode::None,
                stp_group: 0,
                cancel_group: 0,
                persist_on_disconnect: true,
                valid_until: TsNs(0),
            }),
            Op::Cancel => Command::Cancel(CancelOrder { session, cl_ord_id, account, market: MARKET, target }),
            Op::Move => Command::Amend(AmendOrder {
                session,
                cl_ord_id,
                account,
                market: MARKET,
                target,
                price: PriceTicks(cmd.price),
                qty: QtyLots(u64::from(cmd.qty)),
                qty_means: AmendQty::Open,
            }),
        }
    }

    /// Applies the first of `rest`; the following ones are drained before, so that the engine may look ahead.
    #[inline(always)]
    fn drive_next<F: Fills>(&mut self, rest: &[Cmd], naming: Naming, fills: &mut F) {
        while self.drained.len() < DRAINED_LEN && self.drained.len() < rest.len() {
            let command = self.command(&rest[self.drained.len()], naming);
            self.drained.push_back(command);
        }
        let Self { engine, sink, seq, drained, .. } = self;
        engine.look_ahead(|distance| drained.get(distance));
        apply(engine, sink, seq, drained.front().expect("the stream has commands left, and one was just drained"));
        drained.pop_front();
        self.read_events(fills);
    }

    #[inline(always)]
    fn drive<F: Fills>(&mut self, cmd: &Cmd, naming: Naming, fills: &mut F) {
        let command = self.command(cmd, naming);
        self.run(&command, fills);
    }

    /// Applies one command and reads its events.
    #[inline(always)]
    fn run<F: Fills>(&mut self, command: &Command, fills: &mut F) {
        self.apply(command);
        self.read_events(fills);
    }

    /// Reads the events of the last command, as an outbox would.
    #[inline(always)]
    fn read_events<F: Fills>(&mut self, fills: &mut F) {
        for event in &self.sink.events {
            match event {
                Event::Fill(fill) => fills.fill(
                    fill.taker.order_id.number(),
                    fill.maker.order_id.number(),
                    fill.price.0,
                    fill.qty.0 as u32,
                ),
                Event::Rejected(_) | Event::CancelRejected(_) => self.refused += 1,
                _ => {}
            }
        }
    }

    fn resting(&self) -> Resting {
        let orders = self.engine.pool().orders.iter();
        orders.fold(Resting::default(), |sum, (_, order)| Resting {
            orders: sum.orders + 1,
            qty: sum.qty + order.leaves.0,
        })
    }

    /// The stream's check; a run in which the engine refused a command differs.
    fn check(&self, work: &Work, tally: Tally) -> Check {
        if self.refused > 0 { Check::Diff } else { check(work, work.main_len, tally, Some(self.resting())) }
    }
}

/// Not inlined, so that the engine is compiled alike wherever a command comes from.
#[inline(never)]
fn apply<const LEDGER: bool>(engine: &mut Engine, sink: &mut Buffer<LEDGER>, seq: &mut u64, command: &Command) {
    *seq += 1;
    sink.events.clear();
    let stamp = Stamp { seq: Seq(*seq), ts: TsNs(*seq * STEP_NS) };
    engine.apply(stamp, command, sink);
}

#[inline(always)]
fn side(side: Side) -> BookSide {
    crate::pinion::book_side(side)
}

pub fn symbol(text: &str) -> Result<Symbol> {
    match Symbol::new(text) {
        Some(symbol) => Ok(symbol),
        None => bail!("{text:?} is not a symbol"),
    }
}

/// A tick of 0.01, a lot of 0.0001, fees of 0.01 % for makers and 0.02 % for takers, and no limit that the streams
/// reach.
pub fn market_spec(name: &str, base: AssetId, quote: AssetId) -> Result<MarketSpec> {
    let limits =
        MarketLimits { qty_min: QtyLots(1), qty_max: QtyLots(1_000_000), notional_min: Units(0), price_band: Ppm(0) };
    Ok(MarketSpec {
        symbol: symbol(name)?,
        base,
        quote,
        tick_e9: 10_000_000,
        lot_e8: 10_000,
        limits,
        fees: MarketFees::received(Ppm(100), Ppm(200)),
        status: MarketStatus::Trading,
    })
}

/// An order of one lot that rests until it is cancelled, without a session.
pub fn resting_order(account: u32, market: MarketId, side: BookSide, price: u32) -> PlaceOrder {
    PlaceOrder {
        session: SessionId::NONE,
        cl_ord_id: ClOrdId(0),
        client_key: ClientKey::NONE,
        account: AccountId(account),
        market,
        side,
        kind: OrderKind::Limit { price: PriceTicks(price), qty: QtyLots(1) },
        tif: Tif::Gtc,
        stp: StpMode::None,
        stp_group: 0,
        cancel_group: 0,
        persist_on_disconnect: true,
        valid_until: TsNs(0),
    }
}

pub fn session_spec(account: AccountId, number: u32) -> Result<SessionSpec> {
    let Some(user) = UserName::new(&format!("U{number:05}")) else {
        bail!("account {number} does not fit a user name of six characters")
    };
    Ok(SessionSpec {
        account,
        user,
        password_hash: "not checked here".to_owned(),
        drop_copy: false,
        throttle: Throttle { orders_per_second: 0, burst: 0 },
        cod_mode: CodMode::Off,
        cod_scope: CodScope::Session,
        cod_window_ms: 0,
    })
}

/// Renames the orders in cancels and moves as the engine will name them, which one untimed pass over the stream finds.
pub fn rename(work: &Work, users: u32, orders: usize, naming: Naming) -> Result<Work> {
    let mut exchange = Exchange::<false>::with_users(users, orders)?;
    let order_id_max = work.cmds.iter().map(|cmd| cmd.id).max().unwrap_or(0);
    // By the stream's id: the exchange's order id, and the client's id of the latest change.
    let mut names = vec![(0u64, 0u64); order_id_max as usize + 1];
    let mut tally = Tally::default();
    let mut cmds = Vec::with_capacity(work.cmds.len());
    for cmd in &work.cmds {
        let (order_id, cl_ord_id) = names[cmd.id as usize];
        let id = match (cmd.op, naming) {
            (Op::New, _) => cmd.id,
            (_, Naming::OrderId) => order_id,
            (_, Naming::ClOrdId) => cl_ord_id,
        };
        cmds.push(Cmd { id, ..*cmd });
        exchange.drive(&Cmd { id: order_id, ..*cmd }, Naming::OrderId, &mut tally);
        match exchange.sink.events.first() {
            Some(Event::Accepted(accepted)) => {
                names[cmd.id as usize] = (accepted.order_id.0, accepted.cl_ord_id.0);
            }
            Some(Event::Amended(amended)) => names[cmd.id as usize].1 = amended.cl_ord_id.0,
            _ => {}
        }
    }
    Ok(work.renamed(cmds))
}

pub fn throughput<const LEDGER: bool>(work: &Work, users: u32, orders: usize, naming: Naming) -> Result<Run> {
    let mut exchange = Exchange::<LEDGER>::with_users(users, orders)?;
    let mut tally = Tally::default();
    work.prefill().iter().for_each(|cmd| exchange.drive(cmd, naming, &mut tally));
    let started = thread_cpu();
    for at in 0..work.main_len {
        exchange.drive_next(&work.main()[at..], naming, &mut tally);
    }
    let spent = thread_cpu() - started;
    let mops = work.main_len as f64 / spent.as_secs_f64() / 1e6;
    Ok(Run { mops, check: exchange.check(work, tally) })
}

pub fn latencies(work: &Work, users: u32, orders: usize, naming: Naming, ticks: &Ticks) -> Result<Latencies> {
    let mut exchange = Exchange::<false>::with_users(users, orders)?;
    let mut tally = Tally::default();
    work.prefill().iter().for_each(|cmd| exchange.drive(cmd, naming, &mut tally));
    let samples = sample(work, ticks, |rest| exchange.drive_next(rest, naming, &mut tally));
    Ok(Latencies { by_kind: histograms(work, &samples, ticks)?, check: exchange.check(work, tally) })
}
