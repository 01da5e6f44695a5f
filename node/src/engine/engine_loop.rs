//! The engine loop: gives each command its sequence and time, journals it, applies it, and moves the watermark up to
//! which answers may leave.
//!
//! ```text
//!  ingress --> stamp --> stage in the journal --> apply --> outbox, feed     (answers wait there)
//!                              |                                 ^
//!                         write + sync -----------> seq_released |
//! ```
//!
//! Invariants: a command leaves the ingress only when journal, outbox and control have room for everything that it can
//! produce, so no answer is ever dropped, and only the journal is waited for; its sequence is assigned before it is
//! applied, so a crash between the two cannot use a number twice; once the journal has failed, no command is accepted,
//! applied or released.

use crate::engine::ended_lives::EndedLives;
use crate::engine::events::Events;
use crate::engine::next_run::unrecorded;
use crate::engine::opening::{Opening, begin_run};
use crate::engine::unfinished::UnfinishedCommands;
use crate::faults::fault::HashRecord;
use crate::faults::mutation::{Mutation, Planted};
use crate::reactor::ports::Journaling;
use crate::replica::mass_cancels::{Continuations, continuation};
use crate::replica::translate::{Outlet, Translator};
use crate::rings::admin_port::{AdminAnswer, AdminInlet};
use crate::rings::control::{CONTROLS_PER_COMMAND_MAX, Change, Control, SessionFacts};
use crate::rings::feed_items::{FeedIn, FeedItem};
use crate::rings::frames::FramesIn;
use crate::rings::ingress::Ingress;
use crate::rings::outbox::{Origin, OutboxIn};
use crate::rings::release_times::ReleaseTimesIn;
use crate::status::Status;
use crate::status::lifecycle::Lifecycle;
use crate::status::watermarks::{EngineWatermarks, Watermark};
use book::codec::{self, PayloadVersion};
use book::command::{Acted, Admin, Check, Command, Unfinished};
use book::engine::{Capacity, Engine};
use book::event::{Event, SessionState};
use book::ids::SessionId;
use book::look_ahead::DISTANCE_MAX;
use book::names::CLIENT_NAMES_DEFAULT;
use book::reject::AdminReason;
use book::rules::Rules;
use book::run::RunSpec;
use book::units::{Seq, Stamp, TsNs};
use rtrb::{Consumer, Producer};
use std::sync::Arc;
use wal::frame::RECORD_HEADER_BYTES;
use wal::units::Lsn;

/// Commands that one cycle runs before it looks at the disk and the sockets again.
const COMMANDS_PER_CYCLE_MAX: usize = 512;
/// A check is due after this many events, however few commands made them: this bounds what the shadow holds in memory
/// while it waits for a check.
const EVENTS_PER_CHECK_MAX: u64 = 1 << 16;
/// Bytes that every frame keeps free for a check as its last record.
const CHECK_ROOM: usize = codec::CHECK_BYTES_MAX + RECORD_HEADER_BYTES;

/// When the answers of a command may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// After its frame is written and synced. A power cut loses nothing that was acknowledged.
    Durable,
    /// After it is applied, before the sync. A power cut can lose up to `write_every_ns` of acknowledged commands.
    Applied { write_every_ns: u64 },
}

/// Commands whose answers wait for their sync also when others do not: what administrators do, and what a start and a
/// stop record.
#[derive(Clone, Copy, Debug, Default)]
struct Awaited {
    /// The first and the last of them that may not be durable yet.
    first: Seq,
    last: Seq,
}

impl Awaited {
    fn add(&mut self, seq: Seq, durable: Seq) {
        if self.last <= durable {
            self.first = seq;
        }
        self.last = seq;
    }
}

impl Release {
    /// The release rule: the last sequence whose answers may leave.
    #[inline]
    fn upto(self, durable: Seq, applied: Seq, awaited: Awaited) -> Seq {
        match self {
            Self::Durable => durable,
            Self::Applied { .. } if awaited.last <= durable => applied,
            Self::Applied { .. } => durable.max(Seq(awaited.first.0 - 1)),
        }
    }
}

/// The engine loop's ends of all rings, its watermarks, and what it shares with the process.
pub struct Wiring {
    pub ingress: Consumer<Ingress>,
    pub admin: AdminInlet,
    pub outbox: OutboxIn,
    pub release_times: ReleaseTimesIn,
    pub feed: FeedIn,
    pub frames: FramesIn,
    pub control: Producer<Control>,
    pub watermarks: EngineWatermarks,
    /// The head may overwrite what the store holds durably, up to this command.
    pub stored: Watermark<Seq>,
    /// The shadow asks for a check at or after this command, because it has something to keep.
    pub check_wanted: Watermark<Seq>,
    pub lifecycle: Arc<Lifecycle>,
    pub status: Arc<Status>,
}

/// What the engine loop is started with, beside the state and the rings.
pub struct Settings {
    pub release: Release,
    /// A frame ends with a check when this many commands have been applied since the last check.
    pub check_every: u64,
    pub opening: Opening,
}

pub struct EngineLoop {
    engine: Engine,
    translator: Translator,
    events: Events,
    wiring: Wiring,
    release: Release,
    /// When a frame was last submitted to the disk.
    written_at_ns: u64,
    /// What a start and a stop record, the last one first. They run before any other command.
    own: Vec<Command>,
    unfinished: UnfinishedCommands,
    payload: PayloadVersion,
    /// The run that the log has to know of; none once it knows.
    unrecorded: Option<RunSpec>,
    awaited: Awaited,
    ended_lives: EndedLives,
    /// A frame ends with a check when this many commands have been applied since the last check.
    check_every: u64,
    events_since_check: u64,
    /// When the last cycle began.
    cycle_at: TsNs,
    counts: Counts,
}

/// Plain counters of the hot path, published once a cycle.
#[derive(Debug, Default)]
struct Counts {
    commands: u64,
    rejects: u64,
    fills: u64,
}

impl EngineLoop {
    /// `continuations` are the rests of commands over many orders that the log began and did not finish. They go on
    /// after the record of this start.
    pub fn new(
        engine: Engine,
        translator: Translator,
        mut wiring: Wiring,
        settings: Settings,
        continuations: Continuations,
    ) -> Self {
        let Settings { release, check_every, opening } = settings;
        let release = release.planted(Mutation::AnswerBeforeSync, |_| Release::Applied { write_every_ns: 0 });
        if release == Release::Durable {
            wiring.watermarks.release_after_durable();
        }
        let (payload, run) = (opening.payload(), opening.run);
        note_exchange(&engine, &wiring.status);
        let mut own = Vec::with_capacity(64);
        own.extend(opening.into_commands(&engine).into_iter().rev());
        assert!(check_every > 1, "there is something between two checks");
        Self {
            engine,
            translator,
            events: Events::new(),
            wiring,
            release,
            written_at_ns: 0,
            own,
            unfinished: UnfinishedCommands::new(continuations),
            payload,
            unrecorded: Some(RunSpec { life: None, ..run }),
            awaited: Awaited::default(),
            ended_lives: EndedLives::default(),
            check_every,
            events_since_check: 0,
            cycle_at: TsNs(0),
            counts: Counts::default(),
        }
    }

    /// One cycle: hands durable frames to the store writer, runs commands, submits a frame when one is due, and moves
    /// the watermarks. Returns the number of frames and commands handled; zero means that the loop is idle.
    pub fn poll(&mut self, now: TsNs, reactor: &mut impl Journaling) -> usize {
        if reactor.poisoned().is_some() {
            return 0;
        }
        let mut work = self.hand_over_frames(reactor);
        work += self.take_commands(now, reactor);
        work += self.write_when_due(now, reactor);
        self.publish(now, reactor);
        work
    }

    /// Whether every accepted command is applied, durable and handed to the store writer, and the log ends with a
    /// check.
    pub fn is_drained(&self, reactor: &impl Journaling) -> bool {
        let head = reactor.head();
        self.wiring.ingress.is_empty()
            && self.own.is_empty()
            && self.unfinished.is_empty()
            && !self.engine.run().may_lose
            && self.engine.seq_checked() == self.engine.stamp().seq
            && head.seq_durable().next() == head.seq_next()
            && head.durable_frame().is_none()
    }

    /// Copies durable frames to the store writer, and frees the segments whose frames it has stored.
    fn hand_over_frames(&mut self, reactor: &mut impl Journaling) -> usize {
        let head = reactor.head_mut();
        // Before the frames: `seq_stored` is bounded by this watermark, so it must have moved first.
        self.wiring.watermarks.durable.advance(Seq(head.seq_durable().0));
        let mut count = 0;
        while let Some(frame) = head.durable_frame() {
            if !self.wiring.frames.push(frame) {
                break;
            }
            head.release_durable_frame();
            count += 1;
        }
        if count > 0 {
            self.wiring.status.frames.add(count as u64);
        }
        let stored = Lsn(self.wiring.stored.get().0);
        if head.seq_stored() < stored {
            head.advance_stored(stored);
        }
        count
    }

    /// Records the run as soon as the rules of the log have it.
    fn record_run(&mut self) {
        if Rules::Two <= self.engine.rules()
            && self.own.is_empty()
            && let Some(run) = self.unrecorded.take()
        {
            self.own.extend(unrecorded(&self.engine, run).map(begin_run));
        }
    }

    /// The end of a run that could lose answers, once nothing more comes: from there on nothing is answered before it
    /// is durable, so that the next start need not begin a new life.
    fn end_run(&mut self) {
        let run = *self.engine.run();
        let is_idle = self.own.is_empty() && self.unfinished.is_empty() && self.wiring.ingress.is_empty();
        if run.may_lose && is_idle && self.wiring.lifecycle.is_stopping() {
            self.release = Release::Durable;
            self.own.push(begin_run(RunSpec { directory: run.directory, may_lose: false, life: None }));
        }
    }

    fn take_commands(&mut self, now: TsNs, reactor: &mut impl Journaling) -> usize {
        self.record_run();
        self.end_run();
        let mut count = 0;
        while count < COMMANDS_PER_CYCLE_MAX && self.has_room(now, reactor, codec::TRADING_RECORD_BYTES_MAX) {
            if let Some(command) = self.own.pop() {
                self.run(now, now, &command, reactor);
            } else if let Some(part) = self.unfinished.next(|| !self.wiring.ingress.is_empty()) {
                self.run(now, now, &part, reactor);
            } else if let Some(ingress) = self.next_ingress() {
                self.unfinished.count_other();
                if !self.ended_lives.is_of_ended(ingress.lives_seen, &ingress.command) {
                    self.run(now, ingress.received, &ingress.command, reactor);
                }
            } else {
                break;
            }
            count += 1;
        }
        count + self.take_admin(now, reactor)
    }

    /// The next command of a client. The engine first sees the commands after it, to prefetch what they will touch.
    #[inline]
    fn next_ingress(&mut self) -> Option<Ingress> {
        let Self { engine, wiring: Wiring { ingress, .. }, .. } = self;
        if engine.looks_ahead() {
            let len = ingress.slots().min(DISTANCE_MAX + 1);
            let chunk = ingress.read_chunk(len).expect("the ring holds at least this many");
            let (front, back) = chunk.as_slices();
            engine.look_ahead(|distance| {
                let ahead = front.get(distance).or_else(|| back.get(distance - front.len()));
                ahead.map(|ingress| &ingress.command)
            });
        }
        ingress.pop().ok()
    }

    /// Runs at most one administrative command a cycle: they are rare and may be large.
    fn take_admin(&mut self, now: TsNs, reactor: &mut impl Journaling) -> usize {
        if !self.has_room(now, reactor, codec::RECORD_BYTES_MAX) || self.wiring.admin.answers.is_full() {
            return 0;
        }
        let Ok(request) = self.wiring.admin.requests.pop() else { return 0 };
        let answer = match self.refusal(&request.acted) {
            // Not recorded: a later build, which knows the version, would have another outcome.
            Some(reason) => {
                let (seq, events) = (self.engine.stamp().seq.0, vec![Event::AdminRejected { reason }]);
                AdminAnswer { number: request.number, seq, ts_ns: now.0, events }
            }
            None => {
                let command = self.recorded(request.acted);
                let seq = self.run(now, now, &command, reactor);
                let events = self.events.as_slice().to_vec();
                AdminAnswer { number: request.number, seq: seq.0, ts_ns: now.0, events }
            }
        };
        self.wiring.admin.answers.push(answer).expect("room was checked, and only this loop fills the ring");
        1
    }

    /// Why an act cannot be recorded here at all.
    fn refusal(&self, acted: &Acted) -> Option<AdminReason> {
        match acted.admin() {
            Some(Admin::SetRules { version }) if Rules::of(*version).is_none() => Some(AdminReason::RulesUnknown),
            Some(Admin::SetRules { .. }) if self.payload < PayloadVersion::Two => Some(AdminReason::FormatTooOld),
            // Builds that wrote such a log cannot read these.
            Some(admin) if self.engine.rules() < admin.rules_min() => Some(AdminReason::RulesTooOld),
            _ => None,
        }
    }

    /// The command that records an act: under rules 1 it is bare, as logs have had it since the first version; from
    /// rules 2 on, and to raise them, it says who acted.
    fn recorded(&self, acted: Acted) -> Command {
        let raises_rules = matches!(acted.admin(), Some(Admin::SetRules { .. }));
        let is_bare = (self.engine.rules() < Rules::Two && !raises_rules).planted(Mutation::ActedForgotten, |_| true);
        if is_bare { acted.act.into_bare() } else { Command::Acted(Box::new(acted)) }
    }

    /// Whether one more command can run: all of its answers and changes fit into their rings, and its record fits into
    /// the open frame. Market data is not waited for: what does not fit is lost to the feed, which knows how to go on.
    /// A full frame is submitted first, if the disk may take one more.
    #[inline]
    fn has_room(&mut self, now: TsNs, reactor: &mut impl Journaling, record_bytes: usize) -> bool {
        let Wiring { outbox, control, .. } = &self.wiring;
        let outlets_have_room = outbox.has_room() && control.slots() >= CONTROLS_PER_COMMAND_MAX;
        if !outlets_have_room {
            return false;
        }
        if reactor.head().has_room(record_bytes + CHECK_ROOM) {
            return true;
        }
        // The open frame may be full: close it and try again.
        self.write_journal(now, reactor);
        reactor.head().has_room(record_bytes + CHECK_ROOM)
    }

    /// Closes the open frame and submits it, if one more may be in flight. The frame ends with a check when one is due,
    /// asked for by the shadow, or the node stops: the shadow keeps a state only at the end of a frame whose check
    /// agreed.
    #[inline]
    fn write_journal(&mut self, now: TsNs, reactor: &mut impl Journaling) -> usize {
        let (checked, applied) = (self.engine.seq_checked().0, self.engine.stamp().seq.0);
        let due = self.check_every <= applied - checked
            || EVENTS_PER_CHECK_MAX <= self.events_since_check
            || checked < self.wiring.check_wanted.get().0
            || self.wiring.lifecycle.is_stopping();
        if due && checked < applied && reactor.head().can_write() && reactor.head().has_room(codec::CHECK_BYTES_MAX) {
            let check = Check { hash: self.engine.check_hash() };
            self.run(now, now, &Command::Check(check), reactor);
            self.events_since_check = 0;
        }
        reactor.write_journal()
    }

    /// Stamps, journals and applies one command and encodes its answers, which wait in the outbox until it is released.
    fn run(&mut self, now: TsNs, received: TsNs, command: &Command, reactor: &mut impl Journaling) -> Seq {
        let head = reactor.head_mut();
        // Assigned before apply: a crash between the two must not reuse a number that the journal has seen.
        let seq = head.seq_next();
        let record_bytes_max = record_bytes_max(command);
        let gateway_in = self.gateway_in(now, received);
        let logged = gateway_in.planted(Mutation::GatewayInUnlogged, |_| now);
        head.append_with(seq, record_bytes_max, |into| {
            let encoded = codec::encode_received(self.payload, logged, now, command, into);
            encoded.expect("an encoded command is no larger than its bound")
        });
        let stamp = Stamp { seq: Seq(seq.0), ts: now };
        self.events.clear();
        self.engine.apply(stamp, command, &mut self.events);
        HashRecord::note(&self.engine);
        self.counts.commands += 1;
        self.events_since_check += self.events.as_slice().len() as u64;
        let Wiring { outbox, feed, .. } = &mut self.wiring;
        feed.begin();
        let mut outlet = Live { origin: Origin { seq: stamp.seq, received, sequenced: stamp.ts }, outbox, feed };
        let summary = self.translator.translate(stamp, gateway_in, self.events.as_slice(), &mut outlet);
        self.counts.fills += summary.fills;
        self.counts.rejects += summary.rejects;
        if summary.more.planted(Mutation::MassCancelAbandoned, |_| false) {
            self.unfinished.push(continuation(command, self.events.as_slice()));
        }
        if changes_gateway(command) {
            self.send_changes(stamp.seq);
        }
        if matches!(command, Command::Admin(_) | Command::Acted(_) | Command::Opened(_)) {
            self.awaited.add(stamp.seq, Seq(reactor.head().seq_durable().0));
        }
        stamp.seq
    }

    /// When the request reached the node, as its answers say and its record does. Records of format 1 have no room for
    /// it, and their answers the time of the command. The gateway on its own core may have read its clock later.
    #[inline]
    fn gateway_in(&self, now: TsNs, received: TsNs) -> TsNs {
        if self.payload == PayloadVersion::One { now } else { received.min(now) }
    }

    /// Sends the gateway what it decides by: new or changed assets, markets and sessions.
    #[cold]
    fn send_changes(&mut self, seq: Seq) {
        self.ended_lives.note(self.events.as_slice());
        for event in self.events.as_slice() {
            let change = match event {
                Event::RulesChanged { .. } => {
                    note_exchange(&self.engine, &self.wiring.status);
                    Some(Change::Rules(self.engine.rules()))
                }
                Event::IntakeChanged { .. } => {
                    note_exchange(&self.engine, &self.wiring.status);
                    None
                }
                Event::WindowBegan(window) => Some(Change::Window(*window)),
                Event::SessionDisconnected { session } => Some(Change::Disconnect(*session)),
                Event::AssetAdded(_)
                | Event::MarketAdded(_)
                | Event::MarketRulesChanged(_)
                | Event::MarketRemoved { .. } => Some(Change::Instruments(*event)),
                Event::SessionAdded { session, .. }
                | Event::SessionLifeBegan { session, .. }
                | Event::SessionPasswordChanged { session }
                | Event::SessionRemoved { session }
                | Event::SessionState(SessionState { session, .. }) => {
                    SessionFacts::of(&self.engine, *session).map(|facts| Change::Session(Box::new(facts)))
                }
                _ => None,
            };
            if let Some(change) = change {
                self.wiring.control.push(Control { seq, change }).expect("room was checked before the command ran");
            }
        }
    }

    /// Submits staged commands to the disk: at once when answers wait for the sync, otherwise once per interval.
    /// Between two intervals commands gather in one frame, so that no order waits for the disk.
    fn write_when_due(&mut self, now: TsNs, reactor: &mut impl Journaling) -> usize {
        if let Release::Applied { write_every_ns } = self.release
            && now.0 - self.written_at_ns < write_every_ns
            && !self.wiring.lifecycle.is_stopping()
            && self.awaited.last.0 <= reactor.head().seq_durable().0
        {
            return 0;
        }
        let count = self.write_journal(now, reactor);
        if count > 0 {
            self.written_at_ns = now.0;
        }
        count
    }

    /// Advances the watermarks; each asserts that it rises and stays within its bounds.
    fn publish(&mut self, now: TsNs, reactor: &impl Journaling) {
        let Wiring { status, release_times, watermarks, .. } = &mut self.wiring;
        let durable = Seq(reactor.head().seq_durable().0);
        let applied = self.engine.stamp().seq;
        // At the end of a run that released what was applied, the rule is stricter than before.
        let released = self.release.upto(durable, applied, self.awaited).max(watermarks.released.get());
        if watermarks.released.get() < released {
            // Before the watermark: a reader that sees `released` also finds the time at which it was reached.
            release_times.note(released, now);
        }
        watermarks.next.advance(applied.next());
        watermarks.applied.advance(applied);
        watermarks.durable.advance(durable);
        watermarks.released.advance(released);
        status.commands.set(self.counts.commands);
        status.rejects.set(self.counts.rejects);
        status.fills.set(self.counts.fills);
        // Compared with the gauge itself, so that a test or a bench may set the maximum back to zero.
        if self.cycle_at.0 > 0 && status.engine_cycle_ns_max.get() < now.0 - self.cycle_at.0 {
            status.engine_cycle_ns_max.set(now.0 - self.cycle_at.0);
        }
        self.cycle_at = now;
        status.engine.at_ns.set(now.0);
        status.engine.cycles.add(1);
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// The output of the live engine: rings, whose readers take an item only once its command is released.
struct Live<'a> {
    origin: Origin,
    outbox: &'a mut OutboxIn,
    feed: &'a mut FeedIn,
}

impl Outlet for Live<'_> {
    #[inline]
    fn answer(&mut self, session: SessionId, bytes: &[u8]) {
        self.outbox.push(&self.origin, session, bytes);
    }

    #[inline]
    fn public(&mut self, item: FeedItem) {
        self.feed.push(item);
    }
}

/// Whether a command of this kind may change what the gateway decides by.
#[inline]
fn changes_gateway(command: &Command) -> bool {
    match command {
        Command::Admin(_) | Command::Acted(_) | Command::SetSession(_) | Command::ConnectionEnd(_) => true,
        Command::Continue(rest) => matches!(rest.of, Unfinished::EndLife(_)),
        _ => false,
    }
}

/// Shows what the exchange as a whole goes by.
#[cold]
fn note_exchange(engine: &Engine, status: &Status) {
    status.rules.set(engine.rules() as u64);
    status.intake.set(engine.intake() as u64);
}

#[inline]
fn record_bytes_max(command: &Command) -> usize {
    match command {
        Command::Admin(_) | Command::Acted(_) => codec::RECORD_BYTES_MAX,
        Command::Check(_) => codec::CHECK_BYTES_MAX,
        _ => codec::TRADING_RECORD_BYTES_MAX,
    }
}

/// The memory to set aside for the engine, from the configured numbers of orders and markets.
pub fn capacity(orders: usize, markets: usize) -> Capacity {
    Capacity { orders, leaves: (orders / 16).max(1 << 12), markets, names: CLIENT_NAMES_DEFAULT as usize }
}
