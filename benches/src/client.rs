//! A client in its seat: a line to a node in this process, what is sent on it, and the loops that send it.

use crate::clock::Ticks;
use crate::connection::{Heard, Line};
use crate::fixture::{House, MARKET, Open, Sync};
use crate::flow::Flow;
use crate::rounds::Latencies;
use anyhow::{Result, ensure};
use book::command::Command;
use node::host::pin::pin_to;
use std::path::Path;
use std::time::Duration;

/// Commands under way in a flood.
pub const FLOOD_WINDOW: u64 = 4_096;
/// Looks into the socket between two looks at the clock, and how long an answer may take at depth 1.
const LOOKS_PER_WATCH: u64 = 1 << 16;
const ANSWER_NS_MAX: u64 = 5_000_000_000;
/// Bytes that wait for the socket before no more commands are made.
const UNWRITTEN_BYTES_MAX: usize = 64 * 1024;

/// A directory, the flow that it has seen, and how many commands its log must hold.
pub struct Subject {
    pub house: House,
    pub flow: Flow,
    logged: u64,
}

impl Subject {
    pub fn build(path: &Path, sync: Sync, config: &str) -> Result<Self> {
        let house = House::build(path, sync, config)?;
        let open = house.open(|_| {})?;
        let market = open.furnish()?;
        open.close()?;
        let logged = house.commands()?;
        Ok(Self { house, flow: Flow::new(market), logged })
    }

    /// A house that a log furnishes, for the bench's user among others.
    pub fn with_log(path: &Path, sync: Sync, config: &str, log: impl IntoIterator<Item = Command>) -> Result<Self> {
        let house = House::build(path, sync, config)?;
        let logged = house.write_log(log)?;
        Ok(Self { house, flow: Flow::new(MARKET), logged })
    }

    /// Starts the node, runs `work` on a thread pinned to core 0 with a line to it, and stops the node.
    pub fn session<T: Send>(&mut self, work: impl FnOnce(&mut Seat<'_>) -> Result<T> + Send) -> Result<T> {
        let open = self.house.open(|_| {})?;
        let flow = &mut self.flow;
        let before = flow.number();
        let done = on_core_zero(|| {
            let line = Line::open(open.node().addresses.orders, flow.number())?;
            let mut seat = Seat { open: &open, line, flow, asked: 0 };
            let done = work(&mut seat)?;
            ensure!(seat.line.answered() == seat.flow.number(), "every command is answered");
            Ok((done, seat.asked))
        });
        let rejects = open.node().status.rejects.get();
        open.close()?;
        let (done, asked) = done?;
        ensure!(rejects == 0, "the node counted {rejects} rejects");
        self.logged += self.flow.number() - before + asked;
        Ok(done)
    }

    /// What a restart makes of the log.
    pub fn check(&self) -> Result<()> {
        self.house.check(self.logged, self.flow.resting())
    }
}

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

/// The client's seat: a line to a serving node, and what to send on it.
pub struct Seat<'a> {
    pub open: &'a Open,
    pub line: Line,
    pub flow: &'a mut Flow,
    /// Commands sent besides the flow.
    asked: u64,
}

/// Where the time of a command goes, as far as the node tells.
pub struct Stages {
    /// From its bytes read to its answer on the way.
    pub inside: Latencies,
    /// The rest: kernel, loopback, both sockets.
    pub outside: Latencies,
}

impl Seat<'_> {
    /// One command at a time.
    pub fn closed_loop(&mut self, ops: u64, ticks: &Ticks) -> Result<Latencies> {
        let mut latencies = Latencies::default();
        for _ in 0..ops {
            let number = self.flow.append(&mut self.line.out);
            let started = ticks.now();
            self.line.write()?;
            let mut looks: u64 = 0;
            while self.line.answered() < number {
                self.line.read(&mut |_| {})?;
                looks += 1;
                if looks.is_multiple_of(LOOKS_PER_WATCH) {
                    self.watch(number, ticks.ns(ticks.now() - started))?;
                }
            }
            latencies.record(ticks.ns(ticks.now() - started));
        }
        Ok(latencies)
    }

    /// Ends the bench when an answer does not come, and says how far the node got.
    #[cold]
    fn watch(&self, number: u64, waited_ns: u64) -> Result<()> {
        let status = &self.open.node().status;
        ensure!(
            waited_ns < ANSWER_NS_MAX,
            "command {number} is not answered after {} s: applied {}, durable {}, released {}, stored {}, {} entries into the ring",
            waited_ns / 1_000_000_000,
            status.watermarks.applied.get().0,
            status.watermarks.durable.get().0,
            status.watermarks.released.get().0,
            status.watermarks.stored.get().0,
            status.ring_entries.get()
        );
        Ok(())
    }

    /// The same with stage times, which come just before or after their answer.
    pub fn staged_loop(&mut self, ops: u64, ticks: &Ticks) -> Result<Stages> {
        self.line.ask_for_stages()?;
        self.asked += 1;
        let (mut inside, mut outside) = (Latencies::default(), Latencies::default());
        for _ in 0..ops {
            let number = self.flow.append(&mut self.line.out);
            let started = ticks.now();
            self.line.write()?;
            let (mut total_ns, mut stages) = (None, None);
            while total_ns.is_none() || stages.is_none() {
                self.line.read(&mut |heard| match heard {
                    Heard::Answer(_) => total_ns = Some(ticks.ns(ticks.now() - started)),
                    Heard::Stages(times) => stages = Some(times),
                })?;
            }
            let (Some(total_ns), Some(times)) = (total_ns, stages) else { continue };
            ensure!(times.cl_ord_id.get() == number, "stage times of another command");
            let inside_ns = times.released_time_ns.get() - times.received_time_ns.get();
            inside.record(inside_ns);
            outside.record(total_ns.saturating_sub(inside_ns));
        }
        Ok(Stages { inside, outside })
    }

    /// Commands are due every `1 / rate` seconds, whatever the node does.
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
        while self.line.answered() + 1 < first + total {
            let now = ticks.now();
            ensure!(ticks.ns(now - start) < limit, "the node is far behind at {rate} a second");
            let due = (((now - start) as f64 / period_ticks) as u64 + 1).min(total);
            while made < due && self.line.unwritten() < UNWRITTEN_BYTES_MAX {
                self.flow.append(&mut self.line.out);
                made += 1;
            }
            self.line.write()?;
            let (after, next_due) = (ticks.now(), due_at(made));
            if made < total && after < next_due {
                self.line.wait(ticks.ns(next_due - after))?;
            }
            self.line.read(&mut |heard| {
                if let Heard::Answer(number) = heard {
                    let idx = number - first;
                    if idx >= warm_up {
                        latencies.record(ticks.ns(ticks.now().saturating_sub(due_at(idx))));
                    }
                }
            })?;
        }
        Ok(latencies)
    }

    /// As many commands as the window lets through; timed from when they were made.
    pub fn flood(&mut self, length: Duration, ticks: &Ticks) -> Result<Latencies> {
        let mut latencies = Latencies::default();
        let mut made_at = vec![1; FLOOD_WINDOW as usize];
        let (start, length_ns) = (ticks.now(), length.as_nanos() as u64);
        loop {
            let now = ticks.now();
            let over = ticks.ns(now - start) >= length_ns;
            if over && self.line.answered() == self.flow.number() {
                return Ok(latencies);
            }
            while !over
                && self.flow.number() - self.line.answered() < FLOOD_WINDOW
                && self.line.unwritten() < UNWRITTEN_BYTES_MAX
            {
                let number = self.flow.append(&mut self.line.out);
                made_at[(number % FLOOD_WINDOW) as usize] = now;
            }
            self.line.write()?;
            self.line.read(&mut |heard| {
                if let Heard::Answer(number) = heard {
                    latencies.record(ticks.ns(ticks.now() - made_at[(number % FLOOD_WINDOW) as usize]));
                }
            })?;
        }
    }
}
