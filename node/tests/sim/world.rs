//! The simulated world on one thread: the node's loops, its disk, its connections, its clients and the time, stepped as
//! the seed chooses.
//!
//! A run sets the exchange up, trades while faults strike, ends all faults, and then waits for every answer that is
//! due.

mod starts;
mod stop;
mod strikes;

use crate::admin::{Admins, DROP_COPY};
use crate::client::Client;
use crate::context::Context;
use crate::disk::Disk;
use crate::exchange::{self, Exchange};
use crate::fault_counts::FaultCounts;
use crate::journal::DiskFaults;
use crate::options::{Fault, Options, Threads};
use crate::oracle::Oracle;
use crate::reader::Reader;
use crate::sockets::Delivery;
use crate::trace::Trace;
use crate::violation::{Checked, Invariant, Violation, ensure};
use api::binary::stream::SessionSeq;
use book::ids::{AccountId, SessionId};
use book::state_hash::StateHash;
use book::testing::workload::rng::Rng;
use book::units::TsNs;
use node::gateway::passwords::{Finding, Verdict};
use std::collections::VecDeque;

/// Steps within which a node without faults must have answered everything.
const LIVENESS_STEPS: u32 = 200_000;
const SETUP_STEPS: u32 = 100_000;
/// Interval in which the store writer raises the mark, as in `node::store_writer`.
const MARK_EVERY_NS: u64 = 100_000_000;
const START: TsNs = TsNs(1_700_000_000_000_000_000);
const PROMPT: Delivery = Delivery { skip_one_in: u32::MAX, bytes_max: 1 << 16 };

/// Totals of a run that kept every promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunResult {
    pub trace: u64,
    pub commands: u64,
    pub answers: u64,
    pub starts: u32,
    pub refused: u32,
    pub fault_counts: FaultCounts,
    pub hash: StateHash,
}

pub(crate) struct World<'o> {
    options: &'o Options,
    rng: Rng,
    now: TsNs,
    disk: Disk,
    node: Option<Exchange>,
    clients: Vec<Client>,
    drop_copy: Client,
    reader: Reader,
    admins: Admins,
    pub oracle: Oracle,
    trace: Trace,
    verdicts: VecDeque<(TsNs, Verdict)>,
    faults: bool,
    fresh: bool,
    pub step: u32,
    disk_faults: DiskFaults,
    /// Steps during which a loop or the disk pauses.
    store_writer_rests: u32,
    gateway_rests: u32,
    disk_rests: u32,
    /// Steps that a gateway on its own thread may still take after the journal has failed.
    dying: Option<u32>,
    /// Step in which the node was asked to stop.
    stop_asked: Option<u32>,
    stops: u32,
    mark_noted_ns: u64,
    /// Lower bound of the mark, from the store writer's schedule.
    mark_promised: u64,
    /// The disk as it was at the latest start, and the end of its log.
    old_image: Option<(Disk, u64)>,
    /// The oldest live message that the last process had in memory.
    live_oldest: SessionSeq,
    starts: u32,
    refused: u32,
    fault_counts: FaultCounts,
}

impl<'o> World<'o> {
    pub(crate) fn new(options: &'o Options) -> Self {
        let clients = (1..=options.clients).map(|id| Client::new(SessionId(id), options.flood.filter(|_| id == 1)));
        Self {
            options,
            rng: Rng::new(options.seed),
            now: START,
            disk: exchange::format(options),
            node: None,
            clients: clients.collect(),
            drop_copy: Client::new(DROP_COPY, None),
            reader: Reader::new(),
            admins: Admins::new(options),
            oracle: Oracle::new(),
            trace: Trace::new(),
            verdicts: VecDeque::new(),
            faults: false,
            fresh: false,
            step: 0,
            disk_faults: DiskFaults::default(),
            store_writer_rests: 0,
            gateway_rests: 0,
            disk_rests: 0,
            dying: None,
            stop_asked: None,
            stops: 0,
            mark_noted_ns: 0,
            mark_promised: 0,
            old_image: None,
            live_oldest: SessionSeq(u64::MAX),
            starts: 0,
            refused: 0,
            fault_counts: FaultCounts::default(),
        }
    }

    pub(crate) fn run(&mut self) -> Checked<RunResult> {
        self.start()?;
        self.set_up()?;
        (self.faults, self.fresh) = (true, true);
        for _ in 0..self.options.steps {
            self.take_step()?;
            self.strike()?;
        }
        self.heal()?;
        if let Some(node) = &self.node {
            compare_hashes(node, &self.oracle)?;
        }
        self.stop()?;
        self.count_failures();
        Ok(RunResult {
            trace: self.trace.value(),
            commands: self.oracle.seq(),
            answers: self.clients.iter().map(|client| client.answers).sum(),
            starts: self.starts,
            refused: self.refused,
            fault_counts: self.fault_counts,
            hash: self.oracle.engine().state_hash(),
        })
    }

    fn set_up(&mut self) -> Checked {
        for _ in 0..SETUP_STEPS {
            if self.admins.is_done() && self.all_counts() {
                return Ok(());
            }
            self.take_step()?;
        }
        Err(Violation::new(Invariant::Liveness, "the set-up is not answered"))
    }

    /// Ends all faults: every answer that is due must arrive, and then one more order of each client must be accepted.
    fn heal(&mut self) -> Checked {
        (self.faults, self.fresh) = (false, false);
        (self.store_writer_rests, self.gateway_rests, self.disk_rests) = (0, 0, 0);
        self.disk_faults = DiskFaults::default();
        self.disk.heal();
        let (mut lifted, mut asked) = (false, false);
        for _ in 0..LIVENESS_STEPS {
            if self.is_done() {
                if asked {
                    return self.reader.verify(&self.oracle);
                }
                if lifted {
                    asked = true;
                    self.clients.iter_mut().for_each(Client::ask_for_last_order);
                } else {
                    // Not before: a kill switch may have been on its way.
                    lifted = true;
                    self.admins.lift_limits();
                }
            }
            self.take_step()?;
        }
        let waiting: Vec<String> = self
            .clients
            .iter()
            .chain([&self.drop_copy])
            .filter(|client| !client.is_done(&self.oracle))
            .map(|client| client.describe(&self.oracle))
            .collect();
        let detail = format!(
            "after {LIVENESS_STEPS} steps: {waiting:?}, administrators done: {}, reader done: {}, owed: {:?}, {} of {} count",
            self.admins.is_done(),
            self.reader.is_done(&self.oracle),
            self.oracle.owed(),
            self.oracle.seq(),
            self.oracle.seq_written(),
        );
        Err(Violation::new(Invariant::Liveness, detail))
    }

    /// Whether every applied command is durable.
    fn all_counts(&self) -> bool {
        let applied = self.node.as_ref().map(|node| node.status.watermarks.applied.get().0);
        self.oracle.seq() == self.oracle.seq_written() && applied == Some(self.oracle.seq())
    }

    fn is_done(&self) -> bool {
        self.all_counts()
            && self.oracle.owed().is_empty()
            && self.admins.is_done()
            && self.clients.iter().chain([&self.drop_copy]).all(|client| client.is_done(&self.oracle))
            && self.reader.is_done(&self.oracle)
    }

    // ---- one step

    pub(crate) fn take_step(&mut self) -> Checked {
        self.step += 1;
        self.now.0 += 1 + u64::from(self.rng.below(self.options.step_ns_max));
        let action = self.rng.below(23);
        self.trace.number(u64::from(action) << 56 ^ self.now.0);
        match (action, self.options.threads) {
            (0..5, Threads::Single) => self.cycle()?,
            (0..3, Threads::Pipeline) => self.engine_cycle()?,
            (3..5, Threads::Pipeline) => self.gateway_cycle()?,
            (5..10, _) => self.disk_step(),
            (10 | 11, _) => self.store_writer_step()?,
            (12, _) => self.market_data_step(),
            (13, _) => self.password_step(),
            (14..18, _) => self.client_step()?,
            (18, _) => self.reader_step()?,
            (19 | 20, _) => self.shadow_step()?,
            (21, _) => self.resend_step(),
            _ => self.admin_step()?,
        }
        self.account()
    }

    /// Updates the oracle with the records submitted to the disk and with those that are durable.
    fn account(&mut self) -> Checked {
        let Some(node) = &mut self.node else { return Ok(()) };
        if !node.journal.records.is_empty() {
            self.oracle.written(std::mem::take(&mut node.journal.records))?;
        }
        let durable = node.journal.seq_truly_durable();
        if self.oracle.seq() < durable {
            self.oracle.advance(durable)?;
            self.trace.number(durable);
            for client in self.clients.iter_mut().chain([&mut self.drop_copy]) {
                client.check_early(&self.oracle)?;
            }
            self.reader.check_early(&self.oracle)?;
        }
        let status = &node.status;
        let (released, applied) = (status.watermarks.released.get().0, status.watermarks.applied.get().0);
        let reported = status.watermarks.durable.get().0;
        ensure(reported <= durable, Invariant::Watermark, || {
            format!("durable up to {reported}, synced up to {durable}")
        })?;
        ensure(
            released <= applied && status.watermarks.stored.get().0 <= status.watermarks.durable.get().0,
            Invariant::Watermark,
            || format!("released {released}, applied {applied}, {status:?}"),
        )
    }

    fn delivery(&mut self) -> Delivery {
        if self.faults {
            Delivery { skip_one_in: 3, bytes_max: self.rng.pick(&[7, 100, 1_500, 1 << 16]) }
        } else {
            PROMPT
        }
    }

    fn cycle(&mut self) -> Checked {
        let delivery = self.delivery();
        let Some(node) = &mut self.node else { return Ok(()) };
        node.journal.poll();
        node.orders.poll(delivery, &mut self.rng);
        node.gateway.poll_inbound(self.now, &mut node.orders);
        node.engine.poll(self.now, &mut node.journal);
        if node.journal.is_poisoned() {
            let end = self.end_of_poisoned()?;
            return self.crash(end, None);
        }
        node.gateway.poll_outbound(self.now, &mut node.orders);
        self.close_gateway();
        self.end_when_drained()
    }

    fn engine_cycle(&mut self) -> Checked {
        let Some(node) = &mut self.node else { return Ok(()) };
        node.journal.poll();
        node.engine.poll(self.now, &mut node.journal);
        if node.journal.is_poisoned() && self.dying.is_none() {
            self.dying = Some(self.rng.below(4));
        }
        self.end_when_drained()
    }

    fn gateway_cycle(&mut self) -> Checked {
        if self.dying == Some(0) {
            let end = self.end_of_poisoned()?;
            return self.crash(end, None);
        }
        self.dying = self.dying.map(|steps| steps - 1);
        if rests(&mut self.gateway_rests) {
            self.fault_counts.note(Fault::GatewayStalls);
            return Ok(());
        }
        let delivery = self.delivery();
        let Some(node) = &mut self.node else { return Ok(()) };
        node.orders.poll(delivery, &mut self.rng);
        node.gateway.poll_inbound(self.now, &mut node.orders);
        node.gateway.poll_outbound(self.now, &mut node.orders);
        self.close_gateway();
        Ok(())
    }

    fn disk_step(&mut self) {
        let pick = self.rng.below(64);
        let Some(node) = &mut self.node else { return };
        if rests(&mut self.disk_rests) {
            self.fault_counts.add(Fault::SlowDisk, u64::from(node.journal.is_busy()));
            return;
        }
        if let Some(fault) = node.journal.advance(pick, &mut self.disk_faults) {
            self.fault_counts.note(fault);
        }
    }

    fn store_writer_step(&mut self) -> Checked {
        if rests(&mut self.store_writer_rests) {
            self.fault_counts.note(Fault::StoreWriterStalls);
            return Ok(());
        }
        let Some(node) = &mut self.node else { return Ok(()) };
        let durable = node.status.watermarks.durable.get().0;
        let before = self.disk.failures();
        let outcome = node.store_writer.poll(self.now.0);
        if let Some(end) = self.end_of_step(before, outcome)? {
            return self.crash(end, None);
        }
        let Some(node) = &self.node else { return Ok(()) };
        let (stored, flushed) = (node.status.watermarks.stored.get().0, self.disk.seq_flushed());
        ensure(stored <= flushed, Invariant::Watermark, || format!("stored up to {stored}, flushed {flushed}"))?;
        if MARK_EVERY_NS <= self.now.0 - self.mark_noted_ns {
            (self.mark_noted_ns, self.mark_promised) = (self.now.0, durable);
        }
        Ok(())
    }

    fn shadow_step(&mut self) -> Checked {
        let Some(node) = &mut self.node else { return Ok(()) };
        let before = self.disk.failures();
        let failures_reported = node.failures_reported();
        let outcome = node.shadow.poll(self.now);
        self.check_failures_reported(before, failures_reported)?;
        if let Some(end) = self.end_of_step(before, outcome)? {
            return self.crash(end, None);
        }
        let Some(node) = &self.node else { return Ok(()) };
        let differs = node.status.seq_hash_differs.get();
        ensure(differs == 0, Invariant::HashDiffers, || format!("the shadow's state differs at sequence {differs}"))
    }

    fn resend_step(&mut self) {
        if let Some(node) = &mut self.node {
            node.resender.poll();
        }
    }

    fn market_data_step(&mut self) {
        let delivery = self.delivery();
        let Some(node) = &mut self.node else { return };
        node.market.poll(delivery, &mut self.rng);
        node.market_data.poll(self.now, &mut node.market);
    }

    fn password_step(&mut self) {
        let Some(node) = &mut self.node else { return };
        while let Ok(attempt) = node.attempts.pop() {
            let right = attempt.session.is_some() && attempt.password == attempt.password_hash;
            let finding = attempt.session.filter(|_| right).map_or(Finding::Wrong, Finding::Correct);
            let verdict = Verdict { conn: attempt.conn, finding };
            let wait_ns = u64::from(self.rng.below(self.options.step_ns_max));
            self.verdicts.push_back((TsNs(self.now.0 + wait_ns), verdict));
        }
        while let Some((_, verdict)) = self.verdicts.pop_front_if(|(due, _)| *due <= self.now) {
            node.verdicts.push(verdict).expect("the ring of verdicts is longer than that of attempts");
        }
    }

    fn client_step(&mut self) -> Checked {
        let pick = self.rng.below(self.clients.len() as u32 + 1) as usize;
        let Some(node) = &mut self.node else { return Ok(()) };
        let is_copy = pick == self.clients.len();
        let client = if is_copy { &mut self.drop_copy } else { &mut self.clients[pick] };
        client.step(&mut Context {
            now: self.now,
            net: &mut node.orders,
            oracle: &self.oracle,
            options: self.options,
            rng: &mut self.rng,
            trace: &mut self.trace,
            fault_counts: &mut self.fault_counts,
            faults: self.faults,
            fresh: self.fresh && !is_copy,
        })
    }

    fn reader_step(&mut self) -> Checked {
        let Some(node) = &mut self.node else { return Ok(()) };
        self.reader.step(&mut Context {
            now: self.now,
            net: &mut node.market,
            oracle: &self.oracle,
            options: self.options,
            rng: &mut self.rng,
            trace: &mut self.trace,
            fault_counts: &mut self.fault_counts,
            faults: self.faults,
            fresh: false,
        })
    }

    fn admin_step(&mut self) -> Checked {
        if self.fresh && self.rng.one_in(self.options.admin_every.div_ceil(20)) {
            self.admins.add_random(&mut self.rng);
        }
        if self.clients[0].take_admin_cancel() {
            self.admins.cancel_account(AccountId(1));
        }
        let Some(node) = &mut self.node else { return Ok(()) };
        self.admins.step(node, &self.oracle, self.options)
    }
}

fn compare_hashes(node: &Exchange, oracle: &Oracle) -> Checked {
    let (live, replayed) = (node.engine.engine().state_hash(), oracle.engine().state_hash());
    ensure(live == replayed, Invariant::HashDiffers, || {
        format!("sequence {}: the live hash is {live}, the log gives {replayed}", oracle.seq())
    })
}

fn rests(steps: &mut u32) -> bool {
    let rests = 0 < *steps;
    *steps = steps.saturating_sub(1);
    rests
}
