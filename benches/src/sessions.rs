//! A node with many sessions logged in, under a flood of commands that is spread over all of them.
//!
//! Each round has a directory of its own: accounts and sessions are written into its log, the node starts on it, and a
//! client process logs every session in and floods the node. The check: every command is answered in its session's
//! order, none is refused, and a restart recovers every command, a state that verifies, and the orders that the flow
//! left.

use crate::fixture::{Fixture, Sync, setup_commands};
use crate::flood::{ClientProcess, FILES_BESIDE, FloodResult, RESTING, UNDER_WAY, users};
use crate::machine::available_bytes;
use crate::open_files;
use crate::report::Spread;
use crate::threads::CpuTimes;
use anyhow::{Context, Result, ensure};
use node::reactor::uring::{RECEIVE_BYTES, SEND_BYTES};
use node::topology::Node;
use serde_json::{Value, json};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// Messages kept for resends, over all sessions, and the bytes that the node reserves for each.
const RESEND_TOTAL: u64 = 10_240_000;
const MESSAGE_BYTES: u64 = 128;

/// How to flood a node.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Each round makes its data directory in here.
    pub directory: &'a Path,
    pub sync: Sync,
    /// Length of each flood; a warm-up before it takes half as long.
    pub seconds: f64,
    /// Makes the command of a client process (`flood::serve`) with so many sessions at an address.
    pub client: fn(SocketAddr, u32) -> Result<Command>,
}

struct Round {
    flood: FloodResult,
    login_seconds: f64,
    /// CPU time of the node's threads for each command.
    cpu_ns: f64,
    /// The core's entries into the kernel for each command, and its cycles that had nothing to enter it for.
    entries: f64,
    idle_cycles: f64,
}

pub struct Point {
    sessions: u32,
    rounds: Vec<Round>,
    /// The reason why this machine cannot measure this point.
    skipped: Option<String>,
}

pub struct Sessions {
    sync: Sync,
    points: Vec<Point>,
}

impl Sessions {
    /// Rounds go over all points in turn. A point for which this machine lacks memory or files is skipped with its
    /// reason.
    pub fn measure(plan: &Plan<'_>, sessions: &[u32], rounds: usize) -> Result<Self> {
        let point = |&sessions: &u32| Point { sessions, rounds: Vec::new(), skipped: lacking(sessions) };
        let mut points: Vec<Point> = sessions.iter().map(point).collect();
        for _ in 0..rounds {
            for point in points.iter_mut().filter(|point| point.skipped.is_none()) {
                let round = round(plan, point.sessions).with_context(|| format!("{} sessions", point.sessions))?;
                point.rounds.push(round);
            }
        }
        Ok(Self { sync: plan.sync, points })
    }

    pub fn text(&self) -> String {
        let mut out = format!(
            "sessions of a node  (sync = {}, {UNDER_WAY} commands under way and {RESTING} orders at rest over all sessions)\n  \
             {:>12}{:>12}{:>12}{:>12}{:>8}{:>14}{:>10}{:>13}{:>10}  check\n",
            self.sync.name(),
            "",
            "commands/s",
            "min",
            "max",
            "noise",
            "node CPU ns",
            "entries",
            "idle cycles",
            "login s"
        );
        for point in &self.points {
            // Writing to a string cannot fail.
            let _ = match (&point.skipped, point.per_second()) {
                (Some(why), _) => writeln!(out, "  {:>12}  skipped: {why}", point.sessions),
                (None, None) => continue,
                (None, Some(rate)) => writeln!(
                    out,
                    "  {:>12}{:>12.0}{:>12.0}{:>12.0}{:>6.0} %{:>14.0}{:>10.4}{:>13.2}{:>10.2}  EXACT",
                    point.sessions,
                    rate.median,
                    rate.min,
                    rate.max,
                    rate.noise_percent(),
                    point.median(|round| round.cpu_ns),
                    point.median(|round| round.entries),
                    point.median(|round| round.idle_cycles),
                    point.median(|round| round.login_seconds),
                ),
            };
        }
        out
    }

    pub fn json(&self) -> Value {
        let points: Vec<Value> = self.points.iter().map(Point::json).collect();
        json!({ "sync": self.sync.name(), "under_way": UNDER_WAY, "resting": RESTING, "points": points })
    }
}

impl Point {
    fn spread(&self, value: impl Fn(&Round) -> f64) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(value))
    }

    fn median(&self, value: impl Fn(&Round) -> f64) -> f64 {
        self.spread(value).map_or(0.0, |spread| spread.median)
    }

    fn per_second(&self) -> Option<Spread> {
        self.spread(|round| round.flood.commands as f64 / round.flood.seconds)
    }

    fn json(&self) -> Value {
        let spread = |spread: Option<Spread>| spread.map(Spread::json);
        json!({
            "sessions": self.sessions, "skipped": self.skipped, "commands_per_second": spread(self.per_second()),
            "node_cpu_ns": spread(self.spread(|round| round.cpu_ns)),
            "entries": spread(self.spread(|round| round.entries)),
            "idle_cycles": spread(self.spread(|round| round.idle_cycles)),
            "login_seconds": spread(self.spread(|round| round.login_seconds)),
            "check": self.skipped.is_none().then_some("EXACT"),
        })
    }
}

/// Messages that a session keeps for a resend: the node's default, or fewer where many sessions that all fill theirs
/// would fill the memory.
fn resend_max(sessions: u32) -> u64 {
    const DEFAULT: u64 = 65_536;
    (RESEND_TOTAL / u64::from(sessions)).min(DEFAULT)
}

/// The reason why this machine cannot have so many sessions, if there is one.
fn lacking(sessions: u32) -> Option<String> {
    let connections = u64::from(sessions);
    let needed = connections * (RECEIVE_BYTES as u64 + SEND_BYTES as u64 + resend_max(sessions) * MESSAGE_BYTES);
    match available_bytes() {
        Some(available) if available / 2 < needed => {
            let (needed, available) = (needed >> 20, available >> 20);
            Some(format!(
                "needs about {needed} MB of memory in the node, more than half of the {available} MB available"
            ))
        }
        _ => open_files::allow(connections + FILES_BESIDE).err(),
    }
}

fn round(plan: &Plan<'_>, sessions: u32) -> Result<Round> {
    let path = plan.directory.join(format!("sessions-{sessions}"));
    let (connections_max, resend_max) = ((sessions + 16).to_string(), resend_max(sessions).to_string());
    let values = [
        ("limits.connections_max", connections_max.as_str()),
        ("limits.connections_per_address_max", &connections_max),
        ("session.resend_max", &resend_max),
    ];
    let fixture = Fixture::build_with(&path, plan.sync, "", &values)?;
    let commands = setup_commands(&users(sessions))?;
    let setup_len = commands.len() as u64;
    fixture.write_log(commands.into_iter().map(|admin| book::command::Command::Admin(Box::new(admin))))?;
    let node = fixture.start(|_| {})?;
    let mut client = ClientProcess::start((plan.client)(node.addresses.orders, sessions)?)?;
    client.flood(plan.seconds / 2.0)?;
    let (before, counts_before) = (CpuTimes::now(), counts(&node));
    let flood = client.flood(plan.seconds)?;
    let (cpu, counts_after) = (CpuTimes::now().since(&before), counts(&node));
    let login_seconds = client.login_seconds;
    client.end()?;
    let rejects = node.status.rejects.get();
    node.stop()?;
    ensure!(rejects == 0, "the node counted {rejects} rejects");
    fixture.check(setup_len + flood.total, flood.resting)?;
    std::fs::remove_dir_all(&path)?;
    let each = |count: u64| count as f64 / flood.commands as f64;
    let entries = counts_after.0 - counts_before.0;
    let idle_cycles = (counts_after.1 - counts_before.1).saturating_sub(entries);
    let (cpu_ns, entries, idle_cycles) = (each(cpu.of_node()), each(entries), each(idle_cycles));
    Ok(Round { flood, login_seconds, cpu_ns, entries, idle_cycles })
}

/// The core's entries into the kernel, and its cycles.
fn counts(node: &Node) -> (u64, u64) {
    (node.status.ring_entries.get(), node.status.gateway.cycles.get())
}
