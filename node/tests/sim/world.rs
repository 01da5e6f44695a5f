//! Everything on one thread: the node's loops, its disk, its lines, its clients and the time, stepped as the seed says.
//!
//! A run opens the house, trades while faults strike, heals everything, and then waits for every answer that is owed.

mod starts;
mod stop;
mod strikes;

use crate::admin::{Admins, DROP_COPY};
use crate::around::Around;
use crate::broken::{Broken, Checked, Invariant, ensure};
use crate::client::Client;
use crate::disk::Disk;
use crate::exchange::{self, Exchange};
use crate::journal::Mishaps;
use crate::options::{Fault, Options, Seats};
use crate::oracle::Oracle;
use crate::reader::Reader;
use crate::sockets::Weather;
use crate::struck::Struck;
use crate::trace::Trace;
use book::ids::SessionId;
use book::state_hash::StateHash;
use book::testing::workload::rng::Rng;
use book::units::TsNs;
use node::gateway::passwords::Verdict;
use std::collections::VecDeque;

/// Steps in which a healed node must have answered everything.
const LIVENESS_STEPS: u32 = 200_000;
const SETUP_STEPS: u32 = 100_000;
/// As in `node::store_writer`: how often the mark is noted.
const MARK_EVERY_NS: u64 = 100_000_000;
const START: TsNs = TsNs(1_700_000_000_000_000_000);
const FAIR: Weather = Weather { calm: u32::MAX, bytes_max: 1 << 16 };

/// What a run that kept every promise did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    pub trace: u64,
    pub commands: u64,
    pub answers: u64,
    pub starts: u32,
    pub refused: u32,
    pub struck: Struck,
    pub hash: StateHash,
}

pub struct World<'o> {
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
    mishaps: Mishaps,
    /// Steps during which a loop or the disk does nothing.
    keeper_rests: u32,
    gateway_rests: u32,
    disk_rests: u32,
    /// Steps that a gateway of its own thread may still do after the journal failed.
    dying: Option<u32>,
    /// The step in which the node was asked to stop.
    stop_asked: Option<u32>,
    stops: u32,
    mark_noted_ns: u64,
    /// What the mark holds at least, by the keeper's word.
    mark_promised: u64,
    /// The disk as it was at the last start, and how far its log went.
    old_image: Option<(Disk, u64)>,
    starts: u32,
    refused: u32,
    struck: Struck,
}

impl<'o> World<'o> {
    pub fn new(options: &'o Options) -> Self {
        let clients = (1..=options.clients).map(|id| Client::new(SessionId(id), options.flood && id == 1));
        Self {
            options,
            rng: Rng::new(options.seed),
            now: START,
            disk: exchange::format(options),
            node: None,
            clients: clients.collect(),
            drop_copy: Client::new(DROP_COPY, false),
            reader: Reader::new(),
            admins: Admins::new(options),
            oracle: Oracle::new(),
            trace: Trace::new(),
            verdicts: VecDeque::new(),
            faults: false,
            fresh: false,
            step: 0,
            mishaps: Mishaps::default(),
            keeper_rests: 0,
            gateway_rests: 0,
            disk_rests: 0,
            dying: None,
            stop_asked: None,
            stops: 0,
            mark_noted_ns: 0,
            mark_promised: 0,
            old_image: None,
            starts: 0,
            refused: 0,
            struck: Struck::default(),
        }
    }

    pub fn run(&mut self) -> Checked<Passed> {
        self.start()?;
        self.open_house()?;
        (self.faults, self.fresh) = (true, true);
        for _ in 0..self.options.steps {
            self.turn()?;
            self.strike()?;
        }
        self.heal()?;
        if let Some(node) = &self.node {
            compare_hashes(node, &self.oracle)?;
        }
        self.stop()?;
        self.count_failures();
        Ok(Passed {
            trace: self.trace.value(),
            commands: self.oracle.seq(),
            answers: self.clients.iter().map(|client| client.answers).sum(),
            starts: self.starts,
            refused: self.refused,
            struck: self.struck,
            hash: self.oracle.engine().state_hash(),
        })
    }

    fn open_house(&mut self) -> Checked {
        for _ in 0..SETUP_STEPS {
            if self.admins.is_done() && self.all_counts() {
                return Ok(());
            }
            self.turn()?;
        }
        Err(Broken::new(Invariant::Liveness, "the house does not open"))
    }

    /// Nothing fails any more: everything that is owed must come, and then everybody is served once more.
    fn heal(&mut self) -> Checked {
        (self.faults, self.fresh) = (false, false);
        (self.keeper_rests, self.gateway_rests, self.disk_rests) = (0, 0, 0);
        self.mishaps = Mishaps::default();
        self.disk.heal();
        self.admins.calm();
        let mut asked = false;
        for _ in 0..LIVENESS_STEPS {
            if self.is_done() {
                if std::mem::replace(&mut asked, true) {
                    return self.reader.verify(&self.oracle);
                }
                self.clients.iter_mut().for_each(Client::ask_for_farewell);
            }
            self.turn()?;
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
        Err(Broken::new(Invariant::Liveness, detail))
    }

    /// Everything that was applied is durable.
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

    pub fn turn(&mut self) -> Checked {
        self.step += 1;
        self.now.0 += 1 + u64::from(self.rng.below(self.options.step_ns_max));
        let action = self.rng.below(23);
        self.trace.number(u64::from(action) << 56 ^ self.now.0);
        match (action, self.options.seats) {
            (0..5, Seats::Single) => self.cycle()?,
            (0..3, Seats::Pipeline) => self.engine_cycle()?,
            (3..5, Seats::Pipeline) => self.gateway_cycle()?,
            (5..10, _) => self.disk_step(),
            (10 | 11, _) => self.keeper_step()?,
            (12, _) => self.gate_step(),
            (13, _) => self.doorman_step(),
            (14..18, _) => self.client_step()?,
            (18, _) => self.reader_step()?,
            (19 | 20, _) => self.shadow_step()?,
            (21, _) => self.historian_step(),
            _ => self.admin_step()?,
        }
        self.account()
    }

    /// What the disk was given and what counts by now.
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
        let said = status.watermarks.durable.get().0;
        ensure(said <= durable, Invariant::Watermark, || format!("durable up to {said}, synced up to {durable}"))?;
        ensure(
            released <= applied && status.watermarks.stored.get().0 <= status.watermarks.durable.get().0,
            Invariant::Watermark,
            || format!("released {released}, applied {applied}, {status:?}"),
        )
    }

    fn weather(&mut self) -> Weather {
        if self.faults { Weather { calm: 3, bytes_max: self.rng.pick(&[7, 100, 1_500, 1 << 16]) } } else { FAIR }
    }

    fn cycle(&mut self) -> Checked {
        let weather = self.weather();
        let Some(node) = &mut self.node else { return Ok(()) };
        node.journal.poll();
        node.orders.poll(weather, &mut self.rng);
        node.gateway.take_in(self.now, &mut node.orders);
        node.engine.poll(self.now, &mut node.journal);
        if node.journal.is_poisoned() {
            let end = self.end_of_poisoned()?;
            return self.crash(end, None);
        }
        node.gateway.give_out(self.now, &mut node.orders);
        self.close_door();
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
            self.struck.note(Fault::GatewayStalls);
            return Ok(());
        }
        let weather = self.weather();
        let Some(node) = &mut self.node else { return Ok(()) };
        node.orders.poll(weather, &mut self.rng);
        node.gateway.take_in(self.now, &mut node.orders);
        node.gateway.give_out(self.now, &mut node.orders);
        self.close_door();
        Ok(())
    }

    fn disk_step(&mut self) {
        let pick = self.rng.below(64);
        let Some(node) = &mut self.node else { return };
        if rests(&mut self.disk_rests) {
            self.struck.add(Fault::SlowDisk, u64::from(node.journal.is_busy()));
            return;
        }
        if let Some(fault) = node.journal.advance(pick, &mut self.mishaps) {
            self.struck.note(fault);
        }
    }

    fn keeper_step(&mut self) -> Checked {
        if rests(&mut self.keeper_rests) {
            self.struck.note(Fault::KeeperStalls);
            return Ok(());
        }
        let Some(node) = &mut self.node else { return Ok(()) };
        let durable = node.status.watermarks.durable.get().0;
        let before = self.disk.failures();
        let outcome = node.keeper.poll(self.now.0);
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
        let complaints = node.complaints();
        let outcome = node.shadow.poll(self.now);
        self.check_complaints(before, complaints)?;
        if let Some(end) = self.end_of_step(before, outcome)? {
            return self.crash(end, None);
        }
        let Some(node) = &self.node else { return Ok(()) };
        let differs = node.status.seq_hash_differs.get();
        ensure(differs == 0, Invariant::HashDiffers, || format!("the shadow parted at sequence {differs}"))
    }

    fn historian_step(&mut self) {
        if let Some(node) = &mut self.node {
            node.historian.poll();
        }
    }

    fn gate_step(&mut self) {
        let weather = self.weather();
        let Some(node) = &mut self.node else { return };
        node.market.poll(weather, &mut self.rng);
        node.gate.poll(self.now, &mut node.market);
    }

    fn doorman_step(&mut self) {
        let Some(node) = &mut self.node else { return };
        while let Ok(attempt) = node.attempts.pop() {
            let right = attempt.session.is_some() && attempt.password == attempt.password_hash;
            let verdict = Verdict { conn: attempt.conn, session: attempt.session.filter(|_| right) };
            let wait_ns = u64::from(self.rng.below(self.options.step_ns_max));
            self.verdicts.push_back((TsNs(self.now.0 + wait_ns), verdict));
        }
        while let Some((_, verdict)) = self.verdicts.pop_front_if(|(due, _)| *due <= self.now) {
            node.verdicts.push(verdict).expect("fewer attempts than verdicts");
        }
    }

    fn client_step(&mut self) -> Checked {
        let pick = self.rng.below(self.clients.len() as u32 + 1) as usize;
        let Some(node) = &mut self.node else { return Ok(()) };
        let is_copy = pick == self.clients.len();
        let client = if is_copy { &mut self.drop_copy } else { &mut self.clients[pick] };
        client.step(&mut Around {
            now: self.now,
            net: &mut node.orders,
            oracle: &self.oracle,
            options: self.options,
            rng: &mut self.rng,
            trace: &mut self.trace,
            struck: &mut self.struck,
            faults: self.faults,
            fresh: self.fresh && !is_copy,
        })
    }

    fn reader_step(&mut self) -> Checked {
        let Some(node) = &mut self.node else { return Ok(()) };
        self.reader.step(&mut Around {
            now: self.now,
            net: &mut node.market,
            oracle: &self.oracle,
            options: self.options,
            rng: &mut self.rng,
            trace: &mut self.trace,
            struck: &mut self.struck,
            faults: self.faults,
            fresh: false,
        })
    }

    fn admin_step(&mut self) -> Checked {
        if self.fresh && self.rng.one_in(self.options.admin_every.div_ceil(20)) {
            self.admins.wish(&mut self.rng);
        }
        let Some(node) = &mut self.node else { return Ok(()) };
        self.admins.step(node, &self.oracle, self.options)
    }
}

fn compare_hashes(node: &Exchange, oracle: &Oracle) -> Checked {
    let (live, replayed) = (node.engine.engine().state_hash(), oracle.engine().state_hash());
    ensure(live == replayed, Invariant::HashDiffers, || {
        format!("sequence {}: live {live}, the log makes {replayed}", oracle.seq())
    })
}

fn rests(steps: &mut u32) -> bool {
    let rests = 0 < *steps;
    *steps = steps.saturating_sub(1);
    rests
}
