//! The honest load: a few sessions whose commands are due at a fixed rate, and an attack's steps between them.
//!
//! Invariant: one thread does both, so that what is measured is the node, and not which of two clients had the core.

use super::attacks::Attack;
use super::line::READ_BYTES;
use crate::clock::Ticks;
use crate::connection::{Connection, Received};
use crate::fixture::MARKET;
use crate::flow::Flow;
use crate::rounds::Latencies;
use anyhow::{Result, ensure};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The honest sessions.
pub const USERS: [&str; 4] = ["HONSTA", "HONSTB", "HONSTC", "HONSTD"];
/// Orders at rest of each.
const RESTING: u64 = 250;
const INBOX_BYTES: usize = 64 << 10;
/// How much longer than planned a load goes on; what is not answered by then counts with the time that it has waited.
const OVERTIME_NS_MAX: u64 = 1_000_000_000;
/// How long the answers that are still due may take once the attacker has gone.
const SETTLE_MAX: Duration = Duration::from_secs(180);
/// Bytes that may wait for a socket; beyond, no more commands are made for it.
const UNWRITTEN_BYTES_MAX: usize = 64 << 10;

struct Session {
    connection: Connection,
    flow: Flow,
}

pub struct Honest {
    sessions: Vec<Session>,
    scratch: Vec<u8>,
}

/// What the honest sessions saw.
#[derive(Clone, Debug)]
pub struct Load {
    pub latencies: Latencies,
    /// Answers a second, from the first command due to the last answer, or to the end of the overtime.
    pub per_second: f64,
}

impl Honest {
    pub fn log_in(address: SocketAddr) -> Result<Self> {
        let session = |user: &&str| {
            let mut connection = Connection::start_login(address, user, 0, INBOX_BYTES)?;
            connection.await_login()?;
            Ok(Session { connection, flow: Flow::with_resting(MARKET, RESTING) })
        };
        Ok(Self { sessions: USERS.iter().map(session).collect::<Result<_>>()?, scratch: vec![0; READ_BYTES] })
    }

    /// Orders that the flows have left at rest.
    pub fn resting(&self) -> u64 {
        self.sessions.iter().map(|session| session.flow.resting()).sum()
    }

    /// A command is due every `1 / rate` seconds, in turn over the sessions; latency counts from when it was due. The
    /// attack takes one step for each of them.
    pub fn run(&mut self, rate: u64, length: Duration, attack: &mut Option<Attack>, ticks: &Ticks) -> Result<Load> {
        self.settle()?;
        let mut latencies = Latencies::default();
        let total = (length.as_secs_f64() * rate as f64) as u64;
        let first: Vec<u64> = self.sessions.iter().map(|session| session.flow.number() + 1).collect();
        let sessions = self.sessions.len() as u64;
        let tick_ns = ticks.ns(1 << 30) as f64 / (1u64 << 30) as f64;
        let period = 1e9 / rate as f64 / tick_ns;
        let start = ticks.now();
        let due_at = |idx: u64| start + (idx as f64 * period) as u64;
        let limit = length.as_nanos() as u64 + OVERTIME_NS_MAX;
        let (mut made, mut answered, mut stepped) = (0, 0, 0);
        while answered < total {
            let now = ticks.now();
            if ticks.ns(now - start) >= limit {
                break;
            }
            let due = (((now - start) as f64 / period) as u64 + 1).min(total);
            while made < due && self.accepts(made) {
                let session = &mut self.sessions[(made % sessions) as usize];
                session.flow.append(&mut session.connection.out);
                made += 1;
            }
            for (number, session) in (0u64..).zip(&mut self.sessions) {
                session.connection.write()?;
                session.connection.read(&mut |received| {
                    if let Received::Answer(answer) = received {
                        let idx = (answer - first[number as usize]) * sessions + number;
                        latencies.record(ticks.ns(ticks.now().saturating_sub(due_at(idx))));
                        answered += 1;
                    }
                })?;
            }
            match attack {
                Some(attack) if stepped < due => {
                    stepped = due;
                    attack.step(&mut self.scratch)?;
                }
                // The core is left to the node's other threads while nothing is due.
                _ if made < total => self.wait_until(due_at(made), made, ticks)?,
                _ => {}
            }
        }
        let end = ticks.now();
        for (number, session) in (0u64..).zip(&self.sessions) {
            for unanswered in session.connection.answered() + 1..=session.flow.number() {
                let idx = (unanswered - first[number as usize]) * sessions + number;
                latencies.record(ticks.ns(end.saturating_sub(due_at(idx))));
            }
        }
        Ok(Load { latencies, per_second: answered as f64 / (ticks.ns(end - start) as f64 / 1e9) })
    }

    /// Waits for every answer that is still due.
    pub fn settle(&mut self) -> Result<()> {
        let deadline = Instant::now() + SETTLE_MAX;
        for session in &mut self.sessions {
            while session.connection.answered() < session.flow.number() {
                ensure!(Instant::now() < deadline, "an honest command has no answer after {} s", SETTLE_MAX.as_secs());
                session.connection.write()?;
                session.connection.read(&mut |_| {})?;
                session.connection.wait(1_000_000)?;
            }
        }
        Ok(())
    }

    /// Whether the session of this command has room for it. All wait for one that has none.
    fn accepts(&self, idx: u64) -> bool {
        let session = &self.sessions[(idx % self.sessions.len() as u64) as usize];
        session.connection.unwritten() < UNWRITTEN_BYTES_MAX
    }

    fn wait_until(&self, due: u64, made: u64, ticks: &Ticks) -> Result<()> {
        let now = ticks.now();
        if now < due && made > 0 {
            let latest = &self.sessions[((made - 1) % self.sessions.len() as u64) as usize];
            latest.connection.wait(ticks.ns(due - now))?;
        }
        Ok(())
    }
}
