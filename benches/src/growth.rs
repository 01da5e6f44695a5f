//! The cost of a command at each point of a sweep: the commands are made once, then run on a new engine in each round.
//!
//! ```text
//! round   | set up | orders come to rest | warm-up 10 % | CPU time 45 % | one by one 45 % | verify, state hash |
//!           untimed                                       commands/s      p50, p99          equal the first run's
//! ```
//! Commands lie ready in memory, so that only the engine is timed. Rounds go over all points in turn, so that a slow
//! minute of the machine affects every point.

use crate::clock::{Ticks, thread_cpu};
use crate::exchange::Exchange;
use crate::population::{Population, Shape};
use crate::report::Spread;
use crate::rounds::{Latencies, Rounds};
use anyhow::{Context, Result, bail, ensure};
use book::command::Command;
use book::event::Event;
use book::state_hash::StateHash;
use serde_json::{Value, json};
use std::fmt::Write;

const SEED: u64 = 20_260_728;

/// The end of a run, which is the same in every run of the same commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub resting: u64,
    pub hash: StateHash,
}

/// One point: its commands and their expected outcome.
pub struct Point {
    shape: Shape,
    commands: Vec<Command>,
    outcome: Outcome,
    fills: u64,
}

/// The figures of one round.
pub struct Round {
    /// Million commands a CPU second.
    pub mops: f64,
    pub latencies: Latencies,
}

/// Counts from the events alone, independent of the engine's own.
#[derive(Default)]
struct Count {
    resting: u64,
    fills: u64,
}

impl Count {
    fn add(&mut self, events: &[Event]) -> Result<()> {
        for event in events {
            match event {
                Event::Rested(_) => self.resting += 1,
                Event::Amended(amended) if !amended.kept_priority => self.resting -= 1,
                Event::Canceled(canceled) if canceled.was_resting => self.resting -= 1,
                Event::Fill(fill) => {
                    self.fills += 1;
                    self.resting -= u64::from(fill.maker.leaves.0 == 0);
                }
                Event::Rejected(_) | Event::CancelRejected(_) => {
                    bail!("the engine refused a command of the flow: {event:?}")
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Point {
    /// Makes in an untimed run `len` commands, after those that bring the orders to rest.
    pub fn prepare(shape: Shape, len: usize) -> Result<Self> {
        let (mut exchange, mut population, mut count) = (shape.open()?, Population::new(shape, SEED), Count::default());
        for _ in 0..shape.orders {
            exchange.apply(&population.add());
            count.add(&exchange.sink.events)?;
        }
        ensure!(
            count.resting == u64::from(shape.orders),
            "{} orders came to rest, expected {}",
            count.resting,
            shape.orders
        );
        let mut commands = Vec::with_capacity(len);
        for _ in 0..len {
            let command = population.next_command(&exchange.engine);
            exchange.apply(&command);
            count.add(&exchange.sink.events)?;
            commands.push(command);
        }
        let outcome = outcome(&exchange)?;
        ensure!(
            outcome.resting == count.resting,
            "{} orders rest in the engine, {} by its events",
            outcome.resting,
            count.resting
        );
        Ok(Self { shape, commands, outcome, fills: count.fills })
    }

    /// Runs the commands on a new engine; fails unless it ends as the first run did.
    pub fn round(&self, ticks: &Ticks) -> Result<Round> {
        let (mut exchange, mut population) = (self.shape.open()?, Population::new(self.shape, SEED));
        (0..self.shape.orders).for_each(|_| exchange.apply(&population.add()));
        let (warm_up, rest) = self.commands.split_at(self.commands.len() / 10);
        let (timed, sampled) = rest.split_at(rest.len() / 2);
        warm_up.iter().for_each(|command| exchange.apply(command));
        let started = thread_cpu();
        (0..timed.len()).for_each(|at| step(&mut exchange, &timed[at..]));
        let spent = thread_cpu() - started;
        let mops = timed.len() as f64 / spent.as_secs_f64() / 1e6;
        let latencies = sample(&mut exchange, sampled, ticks);
        let found = outcome(&exchange)?;
        ensure!(found == self.outcome, "the run ended with {found:?}, expected {:?}", self.outcome);
        Ok(Round { mops, latencies })
    }
}

/// Applies the first of `rest`; the engine may look ahead at the others.
#[inline(always)]
fn step(exchange: &mut Exchange<false>, rest: &[Command]) {
    exchange.engine.look_ahead(|distance| rest.get(distance));
    exchange.apply(&rest[0]);
}

/// Times single commands. The array is filled with ones first: pages of zeros fault in on first use, and that would
/// show up as a false p99.9.
fn sample(exchange: &mut Exchange<false>, commands: &[Command], ticks: &Ticks) -> Latencies {
    let mut samples = vec![1u32; commands.len()];
    let mut before = ticks.now();
    for (at, sample) in samples.iter_mut().enumerate() {
        step(exchange, &commands[at..]);
        let after = ticks.now();
        *sample = u32::try_from(after - before).unwrap_or(u32::MAX);
        before = after;
    }
    let mut latencies = Latencies::default();
    samples.iter().for_each(|&sample| latencies.record(ticks.ns(u64::from(sample))));
    latencies
}

fn outcome(exchange: &Exchange<false>) -> Result<Outcome> {
    exchange.engine.verify()?;
    Ok(Outcome { resting: exchange.engine.pool().orders.len() as u64, hash: exchange.engine.state_hash() })
}

/// Figures for one number that grows while the others stay.
pub struct Sweep {
    /// The number that grows: markets, sessions or orders.
    pub name: &'static str,
    /// The numbers that stay, in words.
    pub fixed: String,
    pub figures: Vec<Figures>,
}

/// The rounds of one point.
pub struct Figures {
    pub value: u32,
    mops: Vec<f64>,
    latencies: Rounds,
    outcome: Outcome,
    fills: u64,
}

impl Sweep {
    /// Measures every point: the number that grows and the shape that it gives.
    pub fn measure(
        name: &'static str,
        fixed: String,
        points: &[(u32, Shape)],
        len: usize,
        rounds: usize,
        ticks: &Ticks,
    ) -> Result<Self> {
        let at = |value: u32| format!("{value} {name}");
        let prepare = |&(value, shape): &(u32, Shape)| Point::prepare(shape, len).with_context(|| at(value));
        let prepared = points.iter().map(prepare).collect::<Result<Vec<_>>>()?;
        let figures = |(&(value, _), point): (&(u32, Shape), &Point)| Figures {
            value,
            mops: Vec::new(),
            latencies: Rounds::new(at(value)),
            outcome: point.outcome,
            fills: point.fills,
        };
        let mut figures: Vec<Figures> = points.iter().zip(&prepared).map(figures).collect();
        for _ in 0..rounds {
            for (point, figures) in prepared.iter().zip(&mut figures) {
                let round = point.round(ticks).with_context(|| at(figures.value))?;
                figures.mops.push(round.mops);
                figures.latencies.push(round.latencies);
            }
        }
        Ok(Self { name, fixed, figures })
    }

    pub fn text(&self) -> String {
        let mut out = format!(
            "{}  ({})\n  {:>12}{:>9}{:>9}{:>9}{:>8}{:>20}{:>20}{:>12}{:>10}  check\n",
            self.name, self.fixed, "", "Mcmd/s", "min", "max", "noise", "p50 ns", "p99 ns", "resting", "fills"
        );
        for figures in &self.figures {
            let Some(mops) = figures.mops() else { continue };
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "  {:>12}{:>9.2}{:>9.2}{:>9.2}{:>6.0} %{:>20}{:>20}{:>12}{:>10}  EXACT",
                figures.value,
                mops.median,
                mops.min,
                mops.max,
                mops.noise_percent(),
                figures.range(0.5),
                figures.range(0.99),
                figures.outcome.resting,
                figures.fills,
            );
        }
        out
    }

    pub fn json(&self) -> Value {
        let points: Vec<Value> = self.figures.iter().map(Figures::json).collect();
        json!({ "name": self.name, "fixed": self.fixed, "points": points })
    }
}

impl Figures {
    fn mops(&self) -> Option<Spread> {
        Spread::of(self.mops.iter().copied())
    }

    /// Median (min to max) of a percentile over the rounds.
    fn range(&self, quantile: f64) -> String {
        let spread = self.latencies.spread(quantile);
        spread.map_or(String::new(), |s| format!("{:.0} ({:.0}-{:.0})", s.median, s.min, s.max))
    }

    fn json(&self) -> Value {
        let mut value = self.latencies.json(None);
        value["value"] = self.value.into();
        value["mops"] = self.mops().map(Spread::json).into();
        value["resting"] = self.outcome.resting.into();
        value["fills"] = self.fills.into();
        value["state_hash"] = self.outcome.hash.to_string().into();
        value["check"] = "EXACT".into();
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(markets: u32, accounts: u32, orders: u32) -> Shape {
        Shape { markets, accounts, orders }
    }

    #[test]
    fn every_round_ends_as_the_first_run_did() {
        let ticks = Ticks::default();
        for shape in [shape(1, 1, 1), shape(1, 3, 500), shape(10, 7, 300), shape(7, 1, 20)] {
            let point = Point::prepare(shape, 4_000).expect("the engine refuses no command of this flow");
            assert!(point.fills > 20, "{shape:?}: a flow without trades proves little, {} fills", point.fills);
            assert!(point.outcome.resting <= u64::from(shape.orders));
            let round = point.round(&ticks).expect("the same commands have the same outcome");
            assert!(round.mops > 0.0 && round.latencies.count() == 1_800);
        }
    }

    #[test]
    fn another_outcome_is_detected() {
        let mut point = Point::prepare(shape(1, 2, 50), 500).expect("the engine refuses no command of this flow");
        let last = point.commands.len() - 1;
        point.commands.swap(0, last);
        assert!(point.round(&Ticks::default()).is_err());
    }
}
