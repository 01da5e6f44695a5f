//! The exchange as the node runs it, without disk and sockets: a live engine with its market data, a shadow that
//! applies the bytes of the log, and a client that follows the live stream.
//!
//! Invariants, after every command: the state verifies; live and shadow have the same state, the same answers and the
//! same numbers of streams; the naive twin has said the same of orders and owns the same; the feed's books, the
//! client's books and the engine's books are the same. An act is refused when its actor can have no right to it.

use super::super::depth::check_sums;
use api::binary::depth::{Depth, DepthBook};
use api::binary::market::MarketMessage;
use api::binary::orders::Answer;
use api::binary::stream::SessionSeq;
use api::instruments::{Instrument, WIRE_AMOUNT_MAX};
use book::codec::{self, PayloadVersion};
use book::command::{Act, Actor, Admin, Command, Side};
use book::engine::{Capacity, Engine, Market};
use book::event::{Event, Sink};
use book::ids::{AccountId, OrderId, SessionId};
use book::reject::{AdminReason, RejectReason};
use book::snapshot::{Loader, Section};
use book::testing::twin::Twin;
use book::units::{Seq, Stamp, TsNs};
use node::replica::mass_cancels::Continuations;
use node::replica::public_feed::PublicFeed;
use node::replica::stream_positions::StreamPositionsLoader;
use node::replica::translate::{Outlet, Translator};
use node::replica::{Replica, StreamSink, apply_record};
use node::rings::feed_items::FeedItem;
use wal::quarantine::Quarantine;

const CAPACITY: Capacity = Capacity { orders: 64, leaves: 64, markets: 8, names: 1 };
const START_NS: u64 = 1_700_000_000_000_000_000;
const COMMAND_NS: u64 = 1_000;

/// The events of the live engine, which does not describe transfers.
#[derive(Default)]
struct LiveEvents(Vec<Event>);

impl Sink for LiveEvents {
    const LEDGER: bool = false;

    fn push(&mut self, event: Event) {
        self.0.push(event);
    }
}

type Answers = Vec<(SessionId, Vec<u8>)>;

/// The answers and the public items of one command.
#[derive(Default)]
struct Output {
    answers: Answers,
    items: Vec<FeedItem>,
}

impl Outlet for Output {
    fn answer(&mut self, session: SessionId, bytes: &[u8]) {
        self.answers.push((session, bytes.to_vec()));
    }

    fn public(&mut self, item: FeedItem) {
        self.items.push(item);
    }
}

#[derive(Default)]
struct ShadowAnswers(Answers);

impl StreamSink for ShadowAnswers {
    fn message(&mut self, session: SessionId, _number: SessionSeq, bytes: &[u8]) {
        self.0.push((session, bytes.to_vec()));
    }
}

pub(super) struct Exchange {
    pub(super) engine: Engine,
    translator: Translator,
    feed: PublicFeed,
    shadow: Replica,
    client: Depth,
    /// None after a part of a command that no part before it has announced: the node writes none, so the pages, and the
    /// twin with them, do not say what it does.
    twin: Option<Twin>,
    /// The client's next message of the live stream.
    next: SessionSeq,
    seq: Seq,
    ts: TsNs,
    /// Orders that have rested, oldest first.
    pub(super) rested: Vec<OrderId>,
}

impl Exchange {
    pub(super) fn new() -> Self {
        Self {
            engine: Engine::new(CAPACITY),
            translator: Translator::default(),
            feed: PublicFeed::new(),
            shadow: Replica::new(Engine::new(CAPACITY)),
            client: Depth::default(),
            twin: Some(Twin::default()),
            next: SessionSeq::FIRST,
            seq: Seq(0),
            ts: TsNs(START_NS),
            rested: Vec::new(),
        }
    }

    pub(super) fn wait(&mut self, ns: u64) {
        // Half of the type is 146 years from now.
        self.ts = TsNs(self.ts.0.saturating_add(ns).min(u64::MAX / 2));
    }

    pub(super) fn apply(&mut self, command: &Command) {
        self.seq = self.seq.next();
        self.wait(COMMAND_NS);
        let stamp = Stamp { seq: self.seq, ts: self.ts };
        let mut record = [0; codec::RECORD_BYTES_MAX];
        let len =
            codec::encode(PayloadVersion::Two, stamp.ts, command, &mut record).expect("every command fits a record");
        let mut live = LiveEvents::default();
        let cannot_be_allowed = cannot_be_allowed(&self.engine, command);
        self.engine.apply(stamp, command, &mut live);
        assert!(!cannot_be_allowed || is_refusal(&live.0), "an act without a right is refused: {:?}", live.0);
        self.compare_with_twin(stamp, command, &live.0);
        let mut output = Output::default();
        self.translator.translate(stamp, stamp.ts, &live.0, &mut output);
        self.follow(stamp, &record[..len], &live.0, &output.answers);
        output.items.iter().for_each(|item| self.feed.apply(item));
        self.rested.extend(live.0.iter().filter_map(|event| match event {
            Event::Rested(rested) => Some(rested.order_id),
            _ => None,
        }));
        // A new life of the streams skips numbers. It begins with a start, and clients log in anew.
        let skipped = live.0.iter().map(|event| if let Event::RunBegan { skipped, .. } = event { *skipped } else { 0 });
        self.next = SessionSeq(self.next.0 + skipped.sum::<u64>());
        self.read_live();
        self.check();
    }

    /// The naive twin has said the same of orders, and owns the same.
    fn compare_with_twin(&mut self, stamp: Stamp, command: &Command, events: &[Event]) {
        self.twin = self.twin.take().filter(|_| !is_foreign_part(command));
        if let Some(twin) = &mut self.twin {
            twin.follow(stamp, command, events).expect("the twin says the same");
            twin.compare_balances(&self.engine).expect("the twin owns the same");
        }
    }

    /// The shadow applies the record's bytes, and has the same outcome.
    fn follow(&mut self, stamp: Stamp, record: &[u8], live: &[Event], answers: &Answers) {
        let mut events: Vec<Event> = Vec::new();
        let applied = apply_record(&mut self.shadow.engine, &Quarantine::default(), stamp.seq, record, &mut events);
        assert_eq!(applied.expect("a record of ours"), stamp);
        let described: Vec<&Event> = events.iter().filter(|event| !matches!(event, Event::Transfer(_))).collect();
        assert!(described.into_iter().eq(live), "live and shadow have the same events");
        let mut sink = ShadowAnswers::default();
        self.shadow.translate(stamp, record, &events, &mut sink);
        self.shadow.continuations.follow(record, &events);
        assert_eq!(sink.0, *answers, "live and shadow have the same answers");
        for (_, answer) in answers {
            Answer::read(answer).expect("an answer can be read");
        }
    }

    /// The client applies what the live stream has for it.
    fn read_live(&mut self) {
        let (client, next) = (&mut self.client, &mut self.next);
        let read = self.feed.live().read_from(*next, &mut |seq, bytes| {
            let message = MarketMessage::read(bytes).expect("a published message can be read");
            client.apply(&message).expect("a published message fits the book");
            *next = seq.next();
        });
        read.expect("the client misses nothing");
    }

    fn check(&self) {
        self.engine.verify().expect("no command makes the state inconsistent");
        assert_eq!(self.engine.check_hash(), self.shadow.engine.check_hash(), "live and shadow have the same state");
        let positions = &self.shadow.positions;
        assert_eq!(self.feed.live().next_seq(), positions.live(), "live and shadow number the stream alike");
        let rpt_seqs: Vec<u64> = self.client.books().map(DepthBook::rpt_seq).collect();
        assert!(rpt_seqs.iter().eq(&positions.rpt_seqs()[..rpt_seqs.len()]), "and every instrument");
        for market in self.engine.markets() {
            let instrument = self.translator.instruments().at(market.rules.id);
            for depth in [self.feed.depth(), &self.client] {
                let book = depth.book(market.rules.id.0).expect("every market is announced");
                check_sums(book);
                check_book(&self.engine, market, instrument, book);
            }
        }
    }

    /// Saves a snapshot and loads it, for the live engine and for the shadow. Both go on with what was loaded.
    pub(super) fn start_again(&mut self) {
        let mut pieces: Vec<(u8, Vec<u8>)> = Vec::new();
        let saved: Result<(), ()> = self.shadow.save(PayloadVersion::One, &mut |tag, piece| {
            pieces.push((tag, piece.to_vec()));
            Ok(())
        });
        saved.expect("a vector accepts every piece");
        let (live, shadow) = (load(&pieces), load(&pieces));
        for loaded in [&live, &shadow] {
            assert_eq!(loaded.engine.state_hash(), self.engine.state_hash(), "a snapshot has the state");
            assert_eq!(loaded.continuations, self.shadow.continuations, "and the continuations");
        }
        self.feed = PublicFeed::resume(&live.engine, &live.positions);
        assert_eq!(self.feed.live().next_seq(), self.next, "the live stream goes on where it was");
        (self.engine, self.translator, self.shadow) = (live.engine, live.translator, shadow);
        self.check();
    }
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether this is a further part of a command. No input has orders enough for a command with two parts.
fn is_foreign_part(command: &Command) -> bool {
    match command {
        Command::Continue(_) => true,
        Command::MassCancel(mass) => mass.continued,
        Command::SessionDown(down) => down.continued,
        _ => false,
    }
}

/// Whether an act is of the node or of a key that can have no right to it. A key that could have the right may still
/// lack the permission.
fn cannot_be_allowed(engine: &Engine, command: &Command) -> bool {
    let Command::Acted(acted) = command else { return false };
    match acted.actor {
        Actor::Ops => false,
        Actor::Node => {
            !matches!(acted.act, Act::Admin(Admin::SetRules { .. } | Admin::BeginRun(_) | Admin::SetIntake(_)))
        }
        Actor::Key(id) => {
            let owner = engine.keys().get(id).filter(|key| !key.revoked).map(|key| key.spec.account);
            owner.is_none() || account_of(&acted.act, engine) != owner
        }
    }
}

/// The account that an act is about, for acts that a key may do.
fn account_of(act: &Act, engine: &Engine) -> Option<AccountId> {
    match act {
        Act::MassCancel(mass) => Some(mass.account),
        Act::Admin(Admin::SetAccountBlock { account, .. }) => Some(*account),
        Act::Admin(Admin::Withdraw(funds)) => Some(funds.account),
        Act::Admin(Admin::RevokeKey { key }) => engine.keys().find(key).map(|key| key.spec.account),
        Act::Admin(_) => None,
    }
}

fn is_refusal(events: &[Event]) -> bool {
    match events {
        [Event::AdminRejected { reason }] => *reason == AdminReason::NotAuthorised,
        [Event::Rejected(rejected)] => rejected.reason == RejectReason::NotAuthorised,
        _ => false,
    }
}

/// As `Replica::load` does, from memory.
fn load(pieces: &[(u8, Vec<u8>)]) -> Replica {
    let (mut loader, mut positions) = (Loader::new(Engine::new(CAPACITY)), StreamPositionsLoader::default());
    let mut continuations = Continuations::default();
    for (tag, piece) in pieces {
        match Section::of(*tag) {
            Some(section) => loader.take(section, piece).expect("a piece that was saved loads"),
            None => assert!(positions.take(*tag, piece) || continuations.take(*tag, piece), "tag {tag}"),
        }
    }
    let engine = loader.finish().expect("a state that was saved loads");
    let mut replica = Replica::new(Engine::new(CAPACITY));
    replica.translator = Translator::of(&engine);
    replica.engine = engine;
    replica.positions = positions.finish().expect("positions that were saved load");
    replica.continuations = continuations;
    replica
}

/// Both sides of a reader's book against the engine's: every order in its place, with what the wire can show of it.
fn check_book(engine: &Engine, market: &Market, instrument: &Instrument, book: &DepthBook) {
    assert_eq!(book.order_count(), market.tape.open_count as usize);
    for side in [Side::Buy, Side::Sell] {
        let queue = market.book.queue(engine.pool(), side);
        let of_engine =
            queue.map(|(_, order)| (instrument.price_e9(order.price).0, order.id.0, instrument.qty_e8(order.leaves).0));
        let of_reader = book.orders(side).map(|order| (order.price_e9, order.order_id, order.qty_e8));
        assert_eq!(places(of_reader), places(of_engine), "{side:?} of market {}", market.rules.id.0);
    }
}

/// Prices beyond the wire are one price to a reader, so the order of its queue is not the engine's.
fn places(orders: impl Iterator<Item = (i64, u64, i64)>) -> [Vec<(i64, u64, i64)>; 2] {
    let (mut beyond, shown): (Vec<_>, Vec<_>) = orders.partition(|(price, ..)| *price == WIRE_AMOUNT_MAX);
    beyond.sort_unstable();
    [beyond, shown]
}
