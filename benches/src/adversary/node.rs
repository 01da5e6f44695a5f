//! A node under attack: the honest load without the attack and with it, in turn.
//!
//! ```text
//! round   | new directory, orders at rest in its log | node starts | attack 1: without, with | attack 2 ... | restart
//! ```
//! Checked: every honest command is answered, in order, and none is refused; after the round a restart recovers a state
//! that verifies, with the orders that the honest sessions left.

use super::attacks::{Attack, Ids, Kind, MUTE, OWNER, PLACER, VISITORS};
use super::honest::{Honest, Load, USERS};
use super::line::{Line, READ_BYTES};
use crate::client::on_core_zero;
use crate::clock::Ticks;
use crate::exchange::resting_order;
use crate::fixture::{Fixture, MARKET, RunningNode, Sync, setup_commands};
use crate::machine::resident_bytes;
use crate::report::Spread;
use anyhow::{Context, Result, anyhow, ensure};
use api::binary::login::{LoginAccepted, SessionName};
use api::binary::stream::SessionSeq;
use book::accounts::OPEN_ORDERS_MAX;
use book::command::{Admin, Command, PlaceOrder, Side};
use book::ids::{AccountId, ClOrdId, SessionId};
use book::rules::{Rules, RulesVersion};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// The honest throughput that is aimed at, as a share of that without the attack. Printed, never asserted.
pub const SHARE_AIM: f64 = 0.9;
const LOGIN_MAX: Duration = Duration::from_secs(10);
/// The accounts of `users`, in their order: the owner of the orders at rest has the first.
const OWNER_ACCOUNT: u32 = 1;

#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    pub directory: &'a Path,
    /// Orders at rest, of one account.
    pub orders: u32,
    /// Honest commands due in a second.
    pub rate: u64,
    /// Length of each load.
    pub length: Duration,
}

/// The honest load in one window, and what the node says of itself.
struct Window {
    load: Load,
    cycle_ns_max: u64,
    /// Memory that the process, node and attacker, has more than before.
    grown_bytes: u64,
}

/// The windows of one attack, a pair for each round.
pub struct Beside {
    pub kind: Kind,
    pairs: Vec<[Window; 2]>,
}

impl Beside {
    pub fn all(wants: impl Fn(&str) -> bool) -> Vec<Self> {
        Kind::ALL.into_iter().filter(|kind| wants(kind.name())).map(|kind| Self { kind, pairs: Vec::new() }).collect()
    }

    fn spread(&self, value: impl Fn(&[Window; 2]) -> f64) -> f64 {
        Spread::of(self.pairs.iter().map(value)).map_or(0.0, |spread| spread.median)
    }

    /// Honest throughput with the attack over that without, of each pair.
    fn share(&self) -> f64 {
        self.spread(|[without, with]| with.load.per_second / without.load.per_second)
    }

    fn p99_us(&self, side: usize) -> f64 {
        self.spread(|pair| pair[side].load.latencies.at(0.99) as f64 / 1e3)
    }

    fn cycle_us(&self, side: usize) -> f64 {
        self.spread(|pair| pair[side].cycle_ns_max as f64 / 1e3)
    }

    fn grown_mb(&self) -> f64 {
        self.spread(|pair| pair[1].grown_bytes as f64 / 1e6)
    }

    pub fn head() -> String {
        format!(
            "  {:<40}{:>12}{:>8}{:>11}{:>11}{:>13}{:>11}{:>10}",
            "node, beside the honest load", "answers/s", "share", "p99 us", "with", "cycle us", "with", "grown MB"
        )
    }

    pub fn line(&self) -> String {
        format!(
            "  {:<40}{:>12.0}{:>8.2}{:>11.0}{:>11.0}{:>13.0}{:>11.0}{:>10.0}{}",
            self.kind.name(),
            self.spread(|pair| pair[1].load.per_second),
            self.share(),
            self.p99_us(0),
            self.p99_us(1),
            self.cycle_us(0),
            self.cycle_us(1),
            self.grown_mb(),
            if self.share() >= SHARE_AIM { "" } else { "   below the aim" },
        )
    }

    pub fn json(&self) -> Value {
        let window = |window: &Window| {
            json!({
                "answers_per_second": window.load.per_second, "p50_ns": window.load.latencies.at(0.5),
                "p99_ns": window.load.latencies.at(0.99), "cycle_ns_max": window.cycle_ns_max,
                "grown_bytes": window.grown_bytes,
            })
        };
        let pairs =
            self.pairs.iter().map(|[without, with]| json!({ "without": window(without), "with": window(with) }));
        json!({ "attack": self.kind.name(), "share": self.share(), "rounds": pairs.collect::<Vec<_>>() })
    }
}

/// One round of all attacks, on a node of its own.
pub fn round(plan: &Plan<'_>, attacks: &mut [Beside], ticks: &Ticks) -> Result<()> {
    let path = plan.directory.join("adversary");
    let values = [
        ("limits.connections_per_address_max", "4096"),
        ("limits.logins_awaited_per_address_max", "64"),
        ("limits.market_connections_per_block_max", "64"),
    ];
    let fixture = Fixture::build_with(&path, Sync::Always, "", &values)?;
    fixture.write_log(log_commands(plan.orders)?)?;
    let node = fixture.start(|_| {})?;
    let resting = on_core_zero(|| {
        let mut honest = Honest::log_in(node.addresses.orders)?;
        let mut ids = Ids { next: 1, live_first: live_head(&node)? };
        honest.run(plan.rate, plan.length, &mut None, ticks)?;
        for attack in attacks.iter_mut() {
            let pair = pair(plan, &node, attack.kind, &mut honest, &mut ids, ticks);
            attack.pairs.push(pair.with_context(|| attack.kind.name())?);
        }
        honest.settle()?;
        Ok(honest.resting())
    })?;
    node.stop()?;
    check(&fixture, resting)?;
    std::fs::remove_dir_all(&path)?;
    Ok(())
}

fn pair(
    plan: &Plan<'_>,
    node: &RunningNode,
    kind: Kind,
    honest: &mut Honest,
    ids: &mut Ids,
    ticks: &Ticks,
) -> Result<[Window; 2]> {
    let without = window(plan, node, honest, &mut None, ticks)?;
    let mut attack = Some(kind.begin(node.addresses, ids)?);
    let with = window(plan, node, honest, &mut attack, ticks)?;
    if let Some(attack) = attack {
        attack.end(ids);
    }
    Ok([without, with])
}

fn window(
    plan: &Plan<'_>,
    node: &RunningNode,
    honest: &mut Honest,
    attack: &mut Option<Attack>,
    ticks: &Ticks,
) -> Result<Window> {
    let before = resident_bytes();
    node.status.engine_cycle_ns_max.set(0);
    let load = honest.run(plan.rate, plan.length, attack, ticks)?;
    let cycle_ns_max = node.status.engine_cycle_ns_max.get();
    Ok(Window { load, cycle_ns_max, grown_bytes: resident_bytes().saturating_sub(before) })
}

/// The number of the next message of `LIVE`.
fn live_head(node: &RunningNode) -> Result<SessionSeq> {
    let mut line = Line::log_in(node.addresses.market, "any", "", SessionName::LIVE, SessionSeq::HEAD)?;
    let mut scratch = vec![0; READ_BYTES];
    let deadline = Instant::now() + LOGIN_MAX;
    while Instant::now() < deadline {
        line.look(&mut scratch);
        if let Some(accepted) = line.first.get(3..33).and_then(LoginAccepted::read) {
            return Ok(accepted.sequence);
        }
    }
    Err(anyhow!("the market port has not answered a login within {} s", LOGIN_MAX.as_secs()))
}

fn users() -> Vec<String> {
    let attackers = [OWNER, PLACER, MUTE].into_iter().chain(VISITORS);
    attackers.chain(USERS).map(str::to_owned).collect()
}

/// The accounts, and the orders of one of them at rest.
fn log_commands(orders: u32) -> Result<impl Iterator<Item = Command>> {
    let admin = |admin: Admin| Command::Admin(Box::new(admin));
    let limits = |account| Admin::SetAccountLimits { account: AccountId(account), open_orders_max: OPEN_ORDERS_MAX };
    let newest = Admin::SetRules { version: RulesVersion(Rules::NEWEST as u16) };
    let accounts = setup_commands(&users())?.into_iter().chain((1..=2).map(limits)).chain([newest]).map(admin);
    Ok(accounts.chain((1..=orders).map(rest)))
}

/// An ask above the honest sessions' prices.
fn rest(id: u32) -> Command {
    let away = id.wrapping_mul(2_654_435_761) >> 22;
    let order = resting_order(OWNER_ACCOUNT, MARKET, Side::Sell, 1_200 + away);
    Command::Place(PlaceOrder { session: SessionId(OWNER_ACCOUNT), cl_ord_id: ClOrdId(id.into()), ..order })
}

/// Fails unless a restart recovers a state that verifies, with the orders that the honest sessions left.
fn check(fixture: &Fixture, resting: u64) -> Result<()> {
    let first = users().len() - USERS.len();
    let mut state = None;
    let node = fixture.start(|engine| {
        let sessions = engine.sessions().iter().filter(|(id, _)| id.0 as usize > first);
        let rests: u64 = sessions.map(|(_, session)| u64::from(session.open_count)).sum();
        state = Some((engine.verify(), rests));
    })?;
    node.stop()?;
    let (verdict, rests) = state.context("the node started without a recovered engine")?;
    verdict.map_err(|fault| anyhow!("the recovered state does not verify: {fault:?}"))?;
    ensure!(rests == resting, "{rests} honest orders rest after the restart, expected {resting}");
    Ok(())
}
