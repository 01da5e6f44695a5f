//! The longest single command that an attack on the engine can make.
//!
//! ```text
//! round   | set up | orders come to rest | the attack's commands, each timed | verify |
//!           untimed                        with the parts that continue them
//! ```
//! Every round applies the same commands to a new engine, and the time of a command is the shortest over the rounds:
//! what else the machine ran is not the command's, and a table that is copied is copied in every round.

use crate::clock::Ticks;
use crate::exchange::{Exchange, resting_order};
use crate::report::Spread;
use anyhow::{Result, anyhow, ensure};
use book::accounts::OPEN_ORDERS_MAX;
use book::command::{
    Admin, BlockChange, CancelOrder, Command, MassCancel, MassScope, OrderKind, OrderRef, PlaceOrder, Query, Side, Tif,
};
use book::event::Event;
use book::hash_key::HashKey;
use book::ids::{AccountId, ClOrdId, ClientKey, MarketId, OrderId, SessionId};
use book::rules::{Rules, RulesVersion};
use book::units::{PriceTicks, QtyLots};
use node::engine::engine_loop::capacity;
use serde_json::{Value, json};

/// The longest single command that is aimed at, in nanoseconds. Printed beside the figures, never asserted.
pub const LONGEST_NS_AIM: u64 = 1_000_000;

/// The account with the orders at rest, and its session.
const OWNER: u32 = 1;
/// The attacker's account, and its session.
const ATTACKER: u32 = 2;
const MARKET: MarketId = MarketId(1);
/// Asks that rest; no attack trades with them.
const ASK_MIN: u32 = 1 << 30;
const ASK_LEVELS: u32 = 4_096;
/// Ids of which an attacker that had guessed the key would expect the first so many bits of their place to be equal.
const COLLIDING_BITS: u32 = 12;

/// An attack on the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    CollidingIds,
    IdleMassCancel,
    StatusOfAll,
    SparsePrices,
    RefusedNames,
    Growth,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::CollidingIds,
        Self::IdleMassCancel,
        Self::StatusOfAll,
        Self::SparsePrices,
        Self::RefusedNames,
        Self::Growth,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::CollidingIds => "client ids that collide under a guessed key",
            Self::IdleMassCancel => "mass cancels that fit no order",
            Self::StatusOfAll => "status of all orders",
            Self::SparsePrices => "prices far apart, placed and swept",
            Self::RefusedNames => "names of refused orders",
            Self::Growth => "growth from few orders",
        }
    }

    /// Orders at rest before the attack.
    fn orders(self, orders: u32) -> u32 {
        if self == Self::Growth { 0 } else { orders }
    }

    /// The attack's commands; those that continue one of them are the engine's own.
    fn commands(self, orders: u32) -> Vec<Command> {
        let few = (orders / 10).max(100);
        match self {
            Self::CollidingIds => colliding_ids(few).map(|id| bid(id, ClientKey::NONE, price_of(id.0), 1)).collect(),
            Self::IdleMassCancel => (0..20).map(|_| Command::MassCancel(mass_cancel())).collect(),
            Self::StatusOfAll => (0..2).map(|_| Command::Query(status_of_all())).collect(),
            Self::SparsePrices => sparse(few),
            Self::RefusedNames => {
                let key = |id: u64| ClientKey(u128::from(id) << 64 | 7);
                (1..=u64::from(few)).map(|id| bid(ClOrdId(id), key(id), PriceTicks(5), u64::MAX >> 16)).collect()
            }
            Self::Growth => {
                let key = |id: u64| ClientKey(u128::from(id) << 64 | 9);
                (1..=u64::from(orders)).map(|id| bid(ClOrdId(id), key(id), price_of(id), 1)).collect()
            }
        }
    }
}

/// The figures of one attack.
pub struct Costs {
    pub kind: Kind,
    /// Nanoseconds of each command, the shortest over the rounds.
    shortest: Vec<u32>,
    /// The longest command of each round as measured, whatever else the machine ran.
    longest: Vec<f64>,
}

impl Costs {
    /// Runs the attack in so many rounds at so many orders.
    pub fn measure(kind: Kind, orders: u32, rounds: usize, ticks: &Ticks) -> Result<Self> {
        let commands = kind.commands(orders);
        let mut costs = Self { kind, shortest: Vec::new(), longest: Vec::new() };
        for _ in 0..rounds {
            let times = round(kind, orders, &commands, ticks)?;
            costs.longest.push(f64::from(times.iter().copied().max().unwrap_or(0)));
            if costs.shortest.is_empty() {
                costs.shortest = times;
            } else {
                ensure!(costs.shortest.len() == times.len(), "two rounds of the same commands continue alike");
                costs.shortest.iter_mut().zip(&times).for_each(|(a, b)| *a = (*a).min(*b));
            }
        }
        Ok(costs)
    }

    pub fn longest_ns(&self) -> u32 {
        self.shortest.iter().copied().max().unwrap_or(0)
    }

    /// The position of the longest command among all of the attack, from 1.
    fn longest_at(&self) -> usize {
        self.shortest.iter().zip(1..).max().map_or(0, |(_, at)| at)
    }

    fn median_ns(&self) -> u32 {
        let mut times = self.shortest.clone();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or(0)
    }

    pub fn head() -> String {
        format!(
            "  {:<46}{:>10}{:>10}{:>14}{:>12}{:>20}",
            "engine alone, microseconds of one command", "commands", "p50", "longest", "which", "longest of a round"
        )
    }

    pub fn line(&self) -> String {
        let of_rounds = Spread::of(self.longest.iter().copied()).map_or(0.0, |spread| spread.median);
        format!(
            "  {:<46}{:>10}{:>10.1}{:>14.1}{:>12}{:>20.1}{}",
            self.kind.name(),
            self.shortest.len(),
            f64::from(self.median_ns()) / 1e3,
            f64::from(self.longest_ns()) / 1e3,
            self.longest_at(),
            of_rounds / 1e3,
            if u64::from(self.longest_ns()) <= LONGEST_NS_AIM { "" } else { "   above the aim" },
        )
    }

    pub fn json(&self) -> Value {
        json!({
            "attack": self.kind.name(), "commands": self.shortest.len(), "p50_ns": self.median_ns(),
            "longest_ns": self.longest_ns(), "longest_at": self.longest_at(),
            "longest_of_round_ns": Spread::of(self.longest.iter().copied()).map(Spread::json),
        })
    }
}

/// Nanoseconds of each command and of each part that continues one.
fn round(kind: Kind, orders: u32, commands: &[Command], ticks: &Ticks) -> Result<Vec<u32>> {
    let resting = kind.orders(orders);
    // The room that a node's engine begins with.
    let mut exchange = Exchange::<false>::with_capacity(ATTACKER, capacity(resting as usize, 1))?;
    for account in [OWNER, ATTACKER].map(AccountId) {
        exchange.admin(Admin::SetAccountLimits { account, open_orders_max: OPEN_ORDERS_MAX })?;
    }
    exchange.admin(Admin::SetRules { version: RulesVersion(Rules::NEWEST as u16) })?;
    for id in 1..=resting {
        exchange.apply(&ask(id));
        let refused = exchange.sink.events.iter().any(|event| matches!(event, Event::Rejected(_)));
        ensure!(!refused, "order {id} of the account with the orders at rest was refused");
    }
    let mut times = Vec::with_capacity(commands.len());
    for command in commands {
        let mut next = Some(command.clone());
        while let Some(command) = next.take() {
            let started = ticks.now();
            exchange.apply(&command);
            times.push(u32::try_from(ticks.ns(ticks.now() - started)).unwrap_or(u32::MAX));
            next = exchange.sink.events.iter().find_map(|event| match event {
                Event::Unfinished(rest) => Some(Command::Continue(*rest)),
                _ => None,
            });
        }
    }
    exchange.engine.verify().map_err(|fault| anyhow!("the state does not verify: {fault:?}"))?;
    Ok(times)
}

fn ask(id: u32) -> Command {
    let price = PriceTicks(ASK_MIN + id.wrapping_mul(2_654_435_761) % ASK_LEVELS);
    place(OWNER, ClOrdId(id.into()), ClientKey::NONE, Side::Sell, price, 1)
}

fn bid(id: ClOrdId, key: ClientKey, price: PriceTicks, qty: u64) -> Command {
    place(ATTACKER, id, key, Side::Buy, price, qty)
}

fn price_of(id: u64) -> PriceTicks {
    PriceTicks(1 + (id as u32).wrapping_mul(2_654_435_761) % ASK_LEVELS)
}

fn place(account: u32, cl_ord_id: ClOrdId, client_key: ClientKey, side: Side, price: PriceTicks, qty: u64) -> Command {
    let kind = OrderKind::Limit { price, qty: QtyLots(qty) };
    let session = SessionId(account);
    Command::Place(PlaceOrder { session, cl_ord_id, client_key, kind, ..resting_order(account, MARKET, side, price.0) })
}

/// Rising ids whose places agree in their first bits under the key that the attacker has guessed.
fn colliding_ids(count: u32) -> impl Iterator<Item = ClOrdId> {
    let guessed = HashKey::new(1, 2);
    let place = move |id: u64| guessed.hash(id, ATTACKER.into()) >> (64 - COLLIDING_BITS);
    (1..).filter(move |&id| place(id) == 0).map(ClOrdId).take(count as usize)
}

/// Of the account, in a group in which it has no order.
fn mass_cancel() -> MassCancel {
    MassCancel {
        session: SessionId(OWNER),
        cl_ord_id: ClOrdId(1 << 40),
        account: AccountId(OWNER),
        scope: MassScope::Account,
        market: MarketId::NONE,
        side: None,
        price_min: None,
        price_max: None,
        cancel_group: u8::MAX,
        block: BlockChange::Keep,
        continued: false,
    }
}

fn status_of_all() -> Query {
    Query {
        session: SessionId(OWNER),
        request: ClOrdId(1),
        account: AccountId(OWNER),
        market: MarketId::NONE,
        target: OrderRef { order_id: OrderId::NONE, cl_ord_id: ClOrdId(0), client_key: ClientKey::NONE },
    }
}

/// Orders whose prices lie as far apart as they can, the best of them cancelled now and then, and at the end an order
/// that trades with as many as one command may.
fn sparse(count: u32) -> Vec<Command> {
    let mut commands = Vec::new();
    for id in 1..=count {
        // Bits in reverse order: each price lies in the middle of the widest gap that is left.
        let price = PriceTicks(1 + (id.reverse_bits() >> 3));
        commands.push(bid(ClOrdId(id.into()), ClientKey::NONE, price, 1));
        if id.is_multiple_of(16) {
            let target = OrderRef {
                order_id: OrderId::NONE,
                cl_ord_id: ClOrdId(u64::from(id) / 16 * 15),
                client_key: ClientKey::NONE,
            };
            commands.push(Command::Cancel(CancelOrder {
                session: SessionId(ATTACKER),
                cl_ord_id: ClOrdId(u64::from(id)),
                account: AccountId(ATTACKER),
                market: MARKET,
                target,
            }));
        }
    }
    let sweep = place(OWNER, ClOrdId(1 << 41), ClientKey::NONE, Side::Sell, PriceTicks(1), 1_000_000);
    commands.push(match sweep {
        Command::Place(order) => Command::Place(PlaceOrder { tif: Tif::Ioc, ..order }),
        other => other,
    });
    commands
}
