//! The expected output of the node: its log, applied a second time and by the naive twin.
//!
//! The log is the records that were submitted to the disk. A command counts when it is durable (or applied, where the
//! journal is synced by interval), and every message must follow from commands that count.

use crate::requests::{LOT, PRICE_ONE};
use crate::violation::{Checked, Invariant, Violation, ensure};
use book::codec;
use book::command::{Act, Command, MassCancel, Side};
use book::engine::{Capacity, Engine};
use book::event::Event;
use book::ids::SessionId;
use book::rules::Rules;
use book::state_hash::StateHash;
use book::testing::twin::Twin;
use book::units::{Seq, Stamp, TsNs};
use node::replica::public_feed::PublicFeed;
use node::replica::translate::{Outlet, Translator};
use node::rings::feed_items::FeedItem;
use std::collections::BTreeMap;

/// Commands between two comparisons of all balances, and between two full checks of the state.
const COMPARE_EVERY: u64 = 16;
const VERIFY_EVERY: u64 = 128;

/// Messages of one session, one after the other in one buffer.
#[derive(Default)]
struct Messages {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

pub(crate) struct Oracle {
    /// Records as submitted to the disk; the first has sequence 1.
    log: Vec<Vec<u8>>,
    engine: Engine,
    twin: Twin,
    translator: Translator,
    messages: Vec<Messages>,
    feed: PublicFeed,
    /// Events of administrators' commands, by sequence.
    pub admin_events: BTreeMap<u64, Vec<Event>>,
    /// The next parts of mass cancels that are not complete.
    owed: Vec<Command>,
    events: Vec<Event>,
}

pub(crate) fn small() -> Capacity {
    Capacity { orders: 256, leaves: 64, markets: 4, names: 1 }
}

impl Oracle {
    pub(crate) fn new() -> Self {
        Self {
            log: Vec::new(),
            engine: Engine::new(small()),
            twin: Twin::default(),
            translator: Translator::default(),
            messages: Vec::new(),
            feed: PublicFeed::new(),
            admin_events: BTreeMap::new(),
            owed: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Adds records that were submitted to the disk.
    pub(crate) fn written(&mut self, records: Vec<(u64, Vec<u8>)>) -> Checked {
        for (seq, record) in records {
            ensure(seq == self.log.len() as u64 + 1, Invariant::NeverWritten, || {
                format!("sequence {seq} was written after {}", self.log.len())
            })?;
            self.log.push(record);
        }
        Ok(())
    }

    pub(crate) fn seq_written(&self) -> u64 {
        self.log.len() as u64
    }

    pub(crate) fn seq(&self) -> u64 {
        self.engine.stamp().seq.0
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Ends the log at `seq`: later records were lost.
    pub(crate) fn cut(&mut self, seq: u64) {
        assert!(self.seq() <= seq, "a command that counts is never lost");
        self.log.truncate(seq as usize);
    }

    /// Lets everything up to `seq` count.
    pub(crate) fn advance(&mut self, seq: u64) -> Checked {
        while self.seq() < seq {
            let Some(record) = self.log.get(self.seq() as usize) else {
                return Err(Violation::new(
                    Invariant::NeverWritten,
                    format!("sequence {} was never written", self.seq() + 1),
                ));
            };
            let bytes = record.clone();
            let record = codec::decode(&bytes).map_err(|error| {
                Violation::new(Invariant::NeverWritten, format!("sequence {}: {error}", self.seq() + 1))
            })?;
            let stamp = Stamp { seq: Seq(self.seq() + 1), ts: record.ts };
            self.apply(stamp, codec::received(&bytes, stamp.ts), &record.command)?;
        }
        Ok(())
    }

    /// Hash of the state that the log gives up to `seq`.
    pub(crate) fn state_hash_at(&self, seq: u64) -> Checked<StateHash> {
        ensure(seq <= self.seq_written(), Invariant::NeverWritten, || {
            format!("{} records were written, a start found {seq}", self.seq_written())
        })?;
        if seq == self.seq() {
            return Ok(self.engine.state_hash());
        }
        let mut engine = Engine::new(small());
        let mut events: Vec<Event> = Vec::new();
        for (seq, record) in (1..).zip(&self.log[..seq as usize]) {
            let record = codec::decode(record)
                .map_err(|error| Violation::new(Invariant::NeverWritten, format!("sequence {seq}: {error}")))?;
            events.clear();
            engine.apply(Stamp { seq: Seq(seq), ts: record.ts }, &record.command, &mut events);
        }
        Ok(engine.state_hash())
    }

    fn apply(&mut self, stamp: Stamp, received: TsNs, command: &Command) -> Checked {
        self.events.clear();
        self.engine.apply(stamp, command, &mut self.events);
        let actor_missing = matches!(command, Command::Admin(_)) && Rules::Two <= self.engine.rules();
        ensure(!actor_missing, Invariant::ActorMissing, || format!("sequence {}: {command:?}", stamp.seq.0))?;
        let Self { events, translator, messages, feed, .. } = self;
        translator.translate(stamp, received, events, &mut Collector { messages, feed });
        if let Command::Admin(_) | Command::Acted(_) = command {
            let shown = events.iter().filter(|event| !matches!(event, Event::Transfer(_))).copied().collect();
            self.admin_events.insert(stamp.seq.0, shown);
        }
        self.follow_continuations(command);
        let outcome = self.twin.follow(stamp, command, &self.events);
        outcome.map_err(|text| Violation::new(Invariant::TwinDiffers, format!("sequence {}: {text}", stamp.seq.0)))?;
        if let Some(divergence) = self.engine.divergence() {
            return Err(Violation::new(Invariant::HashDiffers, divergence.to_string()));
        }
        self.check_conservation()?;
        if stamp.seq.0.is_multiple_of(COMPARE_EVERY) {
            self.check_balances()?;
        }
        if stamp.seq.0.is_multiple_of(VERIFY_EVERY) { self.verify() } else { Ok(()) }
    }

    fn follow_continuations(&mut self, command: &Command) {
        if let Some(idx) = self.owed.iter().position(|owed| owed == command) {
            self.owed.remove(idx);
        }
        if let Some(Event::Unfinished(rest)) = self.events.last() {
            self.owed.push(Command::Continue(*rest));
        } else if self.events.iter().any(|event| matches!(event, Event::MassCanceled(mass) if mass.more)) {
            let mut next = command.clone();
            match &mut next {
                Command::MassCancel(mass) => mass.continued = true,
                Command::SessionDown(down) => down.continued = true,
                // The node continues in its own name what an actor began.
                Command::Acted(acted) => {
                    if let Act::MassCancel(mass) = acted.act {
                        next = Command::MassCancel(MassCancel { continued: true, ..mass });
                    }
                }
                _ => {}
            }
            self.owed.push(next);
        }
    }

    /// The next parts of mass cancels that are missing.
    pub(crate) fn owed(&self) -> &[Command] {
        &self.owed
    }

    /// The last commands of the log as text.
    pub(crate) fn newest(&self, count: usize) -> Vec<String> {
        let from = self.log.len().saturating_sub(count);
        let text = |(idx, record): (usize, &Vec<u8>)| match codec::decode(record) {
            Ok(record) => format!("{} {:?}", from + idx + 1, record.command),
            Err(error) => format!("{} {error}", from + idx + 1),
        };
        self.log[from..].iter().enumerate().map(text).collect()
    }

    /// Checks for each asset that balances and fees add up to the custody.
    fn check_conservation(&self) -> Checked {
        for asset in self.engine.accounts().assets() {
            let id = asset.asset.id;
            let owned = self
                .engine
                .accounts()
                .iter()
                .map(|(_, account)| u128::from(account.available(id).0) + u128::from(account.held(id).0));
            let sum = owned.sum::<u128>() + u128::from(asset.fees.0);
            ensure(sum == u128::from(asset.custody.0), Invariant::StateInconsistent, || {
                format!("sequence {}: {} sums to {sum}, custody is {}", self.seq(), asset.asset.symbol, asset.custody.0)
            })?;
        }
        Ok(())
    }

    fn check_balances(&self) -> Checked {
        self.twin
            .compare_balances(&self.engine)
            .map_err(|text| Violation::new(Invariant::TwinDiffers, format!("sequence {}: {text}", self.seq())))
    }

    /// Checks that the feed's books have exactly the orders at rest, in the order in which they would trade.
    fn check_depth(&self) -> Checked {
        for market in self.engine.markets() {
            let id = market.rules.id;
            for side in [Side::Buy, Side::Sell] {
                let book = self.feed.depth().book(id.0);
                let published = book.into_iter().flat_map(|book| book.orders(side));
                let published = published.map(|order| (order.order_id, order.price_e9, order.qty_e8));
                let rests = market.book.queue(self.engine.pool(), side).map(|(_, order)| {
                    let (price, qty) = (i64::from(order.price.0) * PRICE_ONE, order.leaves.0 as i64 * LOT);
                    (order.id.0, price, qty)
                });
                ensure(published.eq(rests), Invariant::FeedDiffers, || {
                    format!(
                        "sequence {}: the feed of market {} {side:?} differs from the engine's book",
                        self.seq(),
                        id.0
                    )
                })?;
            }
        }
        Ok(())
    }

    /// Makes the full checks.
    pub(crate) fn verify(&self) -> Checked {
        self.check_balances()?;
        self.check_depth()?;
        let walked = self.engine.verify();
        walked
            .map_err(|error| Violation::new(Invariant::StateInconsistent, format!("sequence {}: {error}", self.seq())))
    }

    /// Number of messages of a session that count.
    pub(crate) fn message_count(&self, session: SessionId) -> u64 {
        self.messages.get(session.0 as usize - 1).map_or(0, |messages| messages.ends.len() as u64)
    }

    /// A session's message by its number; the first has number 1.
    pub(crate) fn message(&self, session: SessionId, number: u64) -> Option<&[u8]> {
        let messages = self.messages.get(session.0 as usize - 1)?;
        let idx = usize::try_from(number.checked_sub(1)?).ok()?;
        let end = *messages.ends.get(idx)?;
        let start = if idx == 0 { 0 } else { messages.ends[idx - 1] };
        Some(&messages.bytes[start..end])
    }

    pub(crate) fn feed(&self) -> &PublicFeed {
        &self.feed
    }
}

struct Collector<'a> {
    messages: &'a mut Vec<Messages>,
    feed: &'a mut PublicFeed,
}

impl Outlet for Collector<'_> {
    fn answer(&mut self, session: SessionId, bytes: &[u8]) {
        let idx = session.0 as usize - 1;
        if idx >= self.messages.len() {
            self.messages.resize_with(idx + 1, Messages::default);
        }
        let messages = &mut self.messages[idx];
        messages.bytes.extend_from_slice(bytes);
        messages.ends.push(messages.bytes.len());
    }

    fn public(&mut self, item: FeedItem) {
        self.feed.apply(&item);
    }
}
