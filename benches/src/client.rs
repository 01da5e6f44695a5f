//! A client of a node in this process: its connection, the flow that it sends, and the loops that send it.
//!
//! ```text
//!  client thread, core 0: flow --> connection --> loopback TCP --> node, core 1
//!                         latencies <-- answers, in the order of the commands
//! ```
//! Invariant: after each session every command has been answered, and the node has counted no reject.

use crate::clock::Ticks;
use crate::connection::{Connection, Received};
use crate::fixture::{Fixture, MARKET, RunningNode, Sync};
use crate::flow::Flow;
use crate::rounds::Latencies;
use anyhow::{Result, ensure};
use book::command::Command;
use node::host::pin::pin_to;
use std::path::Path;
use std::time::Duration;

/// Commands under way in a flood.
pub const FLOOD_WINDOW: u64 = 4_096;
/// Reads of the socket between two checks of the time limit, and the longest time for an answer at depth 1.
const READS_PER_CHECK: u64 = 1 << 16;
const ANSWER_NS_MAX: u64 = 5_000_000_000;
/// Bytes that may wait for the socket; beyond, no more commands are made.
const UNWRITTEN_BYTES_MAX: usize = 64 * 1024;

/// A node under test: its directory, the flow that was sent to it, and the number of commands that its log must hold.
pub struct Subject {
    pub fixture: Fixture,
    pub flow: Flow,
    commands_logged: u64,
}

impl Subject {
    pub fn build(path: &Path, sync: Sync, config: &str) -> Result<Self> {
        let fixture = Fixture::build(path, sync, config)?;
        let node = fixture.start(|_| {})?;
        let market = node.set_up()?;
        node.stop()?;
        let commands_logged = fixture.commands()?;
        Ok(Self { fixture, flow: Flow::new(market), commands_logged })
    }

    /// A node whose accounts, orders and market come from commands written into its log before it starts.
    pub fn with_log(path: &Path, sync: Sync, config: &str, log: impl IntoIterator<Item = Command>) -> Result<Self> {
        let fixture = Fixture::build(path, sync, config)?;
        let commands_logged = fixture.write_log(log)?;
        Ok(Self { fixture, flow: Flow::new(MARKET), commands_logged })
    }

    /// Starts the node, runs `work` with a client on a thread pinned to core 0, and stops the node.
    pub fn session<T: Send>(&mut self, work: impl FnOnce(&mut Client<'_>) -> Result<T> + Send) -> Result<T> {
        let node = self.fixture.start(|_| {})?;
        let flow = &mut self.flow;
        let before = flow.number();
        let done = on_core_zero(|| {
            let connection = Connection::open(node.addresses.orders, flow.number())?;
            let mut client = Client { node: &node, connection, flow, settings_sent: 0 };
            let done = work(&mut client)?;
            let (sent, answered) = (client.flow.number(), client.connection.answered());
            ensure!(answered == sent, "{answered} of {sent} commands are answered");
            Ok((done, client.settings_sent))
        });
        let rejects = node.status.rejects.get();
        node.stop()?;
        let (done, settings_sent) = done?;
        ensure!(rejects == 0, "the node counted {rejects} rejects");
        self.commands_logged += self.flow.number() - before + settings_sent;
        Ok(done)
    }

    /// Fails unless a restart recovers every command and the orders that the flow left.
    pub fn check(&self) -> Result<()> {
        self.fixture.check(self.commands_logged, self.flow.resting())
    }
}

/// Runs `work` on a thread named `client`, pinned to core 0.
pub fn on_core_zero<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pinned = || {
        ensure!(pin_to(0), "there is no core 0 to pin to");
        work()
    };
    std::thread::scope(|scope| {
        let client = std::thread::Builder::new().name("client".to_owned()).spawn_scoped(scope, pinned)?;
        client.join().expect("the client does not panic")
    })
}

/// A logged-in client of a running node.
pub struct Client<'a> {
    pub node: &'a RunningNode,
    pub connection: Connection,
    pub flow: &'a mut Flow,
    /// Session settings sent besides the flow; each is a command in the log.
    settings_sent: u64,
}

/// The time of a command inside and outside the node, from the node's own stage times.
pub struct Stages {
    /// From the read of its bytes to the send of its answer.
    pub inside: Latencies,
    /// The remainder: kernel, loopback and both sockets.
    pub outside: Latencies,
}

impl Client<'_> {
    /// Closed loop at depth 1: sends a command when the one before is answered.
    pub fn closed_loop(&mut self, ops: u64, ticks: &Ticks) -> Result<Latencies> {
        let mut latencies = Latencies::default();
        for _ in 0..ops {
            let number = self.flow.append(&mut self.connection.out);
            let started = ticks.now();
            self.connection.write()?;
            let mut reads: u64 = 0;
            while self.connection.answered() < number {
                self.connection.read(&mut |_| {})?;
                reads += 1;
                if reads.is_multiple_of(READS_PER_CHECK) {
                    self.check_answer_time(number, ticks.ns(ticks.now() - started))?;
                }
            }
            latencies.record(ticks.ns(ticks.now() - started));
        }
        Ok(latencies)
    }

    /// Ends the bench when an answer is overdue; the error shows the node's positions in the log.
    #[cold]
    fn check_answer_time(&self, number: u64, waited_ns: u64) -> Result<()> {
        let status = &self.node.status;
        ensure!(
            waited_ns < ANSWER_NS_MAX,
            "command {number} has no answer after {} s: applied {}, durable {}, released {}, stored {}, {} ring entries",
            waited_ns / 1_000_000_000,
            status.watermarks.applied.get().0,
            status.watermarks.durable.get().0,
            status.watermarks.released.get().0,
            status.watermarks.stored.get().0,
            status.ring_entries.get()
        );
        Ok(())
    }

    /// The same closed loop with the stage times of each command, which arrive just before or just after its answer.
    pub fn staged_loop(&mut self, ops: u64, ticks: &Ticks) -> Result<Stages> {
        self.connection.ask_for_stages()?;
        self.settings_sent += 1;
        let (mut inside, mut outside) = (Latencies::default(), Latencies::default());
        for _ in 0..ops {
            let number = self.flow.append(&mut self.connection.out);
            let started = ticks.now();
            self.connection.write()?;
            let (mut total_ns, mut stages) = (None, None);
            while total_ns.is_none() || stages.is_none() {
                self.connection.read(&mut |received| match received {
                    Received::Answer(_) => total_ns = Some(ticks.ns(ticks.now() - started)),
                    Received::Stages(times) => stages = Some(times),
                })?;
            }
            let (Some(total_ns), Some(times)) = (total_ns, stages) else { continue };
            ensure!(
                times.cl_ord_id.get() == number,
                "stage times of command {}, expected {number}",
                times.cl_ord_id.get()
            );
            let inside_ns = times.released_time_ns.get() - times.received_time_ns.get();
            inside.record(inside_ns);
            outside.record(total_ns.saturating_sub(inside_ns));
        }
        Ok(Stages { inside, outside })
    }

    /// Open loop: a command is due every `1 / rate` seconds, however late the answers are. Latency counts from when a
    /// command was due. The first fifth is warm-up.
    pub fn open_loop(&mut self, rate: u64, length: Duration, ticks: &Ticks) -> Result<Latencies> {
        let mut latencies = Latencies::default();
        let total = (length.as_secs_f64() * rate as f64) as u64;
        let (first, warm_up) = (self.flow.number() + 1, total / 5);
        let tick_ns = ticks.ns(1 << 30) as f64 / (1u64 << 30) as f64;
        let period_ticks = 1e9 / rate as f64 / tick_ns;
        let start = ticks.now();
        let due_at = |idx: u64| start + (idx as f64 * period_ticks) as u64;
        let mut made = 0;
        let limit = length.as_nanos() as u64 * 2 + 5_000_000_000;
        while self.connection.answered() + 1 < first + total {
            let now = ticks.now();
            ensure!(
                ticks.ns(now - start) < limit,
                "{} of {total} commands were answered in twice the time that a rate of {rate} a second allows",
                self.connection.answered() + 1 - first
            );
            let due = (((now - start) as f64 / period_ticks) as u64 + 1).min(total);
            while made < due && self.connection.unwritten() < UNWRITTEN_BYTES_MAX {
                self.flow.append(&mut self.connection.out);
                made += 1;
            }
            self.connection.write()?;
            let (after, next_due) = (ticks.now(), due_at(made));
            if made < total && after < next_due {
                self.connection.wait(ticks.ns(next_due - after))?;
            }
            self.connection.read(&mut |received| {
                if let Received::Answer(number) = received {
                    let idx = number - first;
                    if idx >= warm_up {
                        latencies.record(ticks.ns(ticks.now().saturating_sub(due_at(idx))));
                    }
                }
            })?;
        }
        Ok(latencies)
    }

    /// Keeps a window of commands under way; latency counts from when a command was made.
    pub fn flood(&mut self, length: Duration, ticks: &Ticks) -> Result<Latencies> {
        let mut latencies = Latencies::default();
        let mut made_at = vec![1; FLOOD_WINDOW as usize];
        let (start, length_ns) = (ticks.now(), length.as_nanos() as u64);
        loop {
            let now = ticks.now();
            let over = ticks.ns(now - start) >= length_ns;
            if over && self.connection.answered() == self.flow.number() {
                return Ok(latencies);
            }
            while !over
                && self.flow.number() - self.connection.answered() < FLOOD_WINDOW
                && self.connection.unwritten() < UNWRITTEN_BYTES_MAX
            {
                let number = self.flow.append(&mut self.connection.out);
                made_at[(number % FLOOD_WINDOW) as usize] = now;
            }
            self.connection.write()?;
            self.connection.read(&mut |received| {
                if let Received::Answer(number) = received {
                    latencies.record(ticks.ns(ticks.now() - made_at[(number % FLOOD_WINDOW) as usize]));
                }
            })?;
        }
    }
}
