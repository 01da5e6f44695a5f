//! A reader of the feed rebuilds the engine's books exactly, from the live stream and from any snapshot.

use api::binary::depth::{Depth, DepthError};
use api::binary::feed::FeedEncoder;
use api::binary::market::{FLAG_LAST_IN_EVENT, LEVEL_UPDATE_BYTES_MAX, MarketMessage, OrderDelete, read_levels};
use api::binary::snapshot::{SnapshotError, SnapshotReader, write_snapshot};
use api::binary::stream::SessionSeq;
use api::binary::top::{TOP_LEVELS_MAX, TopState, bbo};
use api::instruments::Instruments;
use book::command::{Command, Side};
use book::engine::{Capacity, Engine};
use book::event::Event;
use book::testing::workload::{Profile, Workload};
use book::units::{Seq, Stamp, TsNs};
use std::collections::BTreeMap;
use zerocopy::little_endian::{U32, U64};

/// An engine under seeded flow, its feed, and a reader of the feed.
struct Run {
    engine: Engine,
    instruments: Instruments,
    workload: Workload,
    feed: FeedEncoder,
    depth: Depth,
    seq: u64,
    ts: TsNs,
    sent: Vec<Vec<u8>>,
    events: Vec<Event>,
}

impl Run {
    fn new(profile: Profile, seed: u64) -> Self {
        let workload = Workload::new(profile, seed);
        let ts = workload.now();
        let mut run = Self {
            engine: Engine::new(Capacity::default()),
            instruments: Instruments::default(),
            feed: FeedEncoder::default(),
            depth: Depth::default(),
            seq: 0,
            sent: Vec::new(),
            events: Vec::new(),
            workload,
            ts,
        };
        for command in run.workload.setup() {
            run.apply(&command);
        }
        run
    }

    /// Applies one command and gives the public messages of it.
    fn apply(&mut self, command: &Command) -> Vec<Vec<u8>> {
        self.seq += 1;
        self.ts = self.ts.max(self.workload.now());
        let stamp = Stamp { seq: Seq(self.seq), ts: self.ts };
        self.events.clear();
        self.engine.apply(stamp, command, &mut self.events);
        for event in &self.events {
            self.instruments.apply(event);
            self.workload.observe(event);
        }
        let mut messages = Vec::new();
        self.feed.encode(stamp, &self.events, &self.instruments, &mut |m| messages.push(m.to_vec()));
        for message in &messages {
            let message = MarketMessage::read(message).expect("a message of ours");
            self.depth.apply(&message).expect("the feed has no gap");
        }
        self.sent.extend(messages.iter().cloned());
        messages
    }

    fn step(&mut self) -> Vec<Vec<u8>> {
        let command = self.workload.next_command();
        self.apply(&command)
    }

    fn check_books(&self) {
        for market in self.engine.markets() {
            let instrument = self.instruments.at(market.rules.id);
            let read = self.depth.book(market.rules.id.0).expect("every market is announced");
            for side in [Side::Buy, Side::Sell] {
                let engine: Vec<_> = market
                    .book
                    .depth(self.engine.pool(), side)
                    .map(|l| (instrument.price_e9(l.price).0, instrument.qty_e8(l.qty).0, l.order_count))
                    .collect();
                let feed: Vec<_> = read.levels(side).map(|l| (l.price_e9, l.qty_e8, l.orders)).collect();
                assert_eq!(feed, engine, "command {}", self.seq);
            }
        }
    }
}

fn flags(message: &[u8]) -> Option<u8> {
    Some(match MarketMessage::read(message).expect("a message of ours") {
        MarketMessage::InstrumentDefinition(m) => m.flags,
        MarketMessage::TradingStatus(m) => m.flags,
        MarketMessage::OrderAdd(m) => m.flags,
        MarketMessage::OrderReduce(m) => m.flags,
        MarketMessage::OrderDelete(m) => m.flags,
        MarketMessage::OrderReplace(m) => m.flags,
        MarketMessage::OrderExecuted(m) => m.flags,
        _ => return None,
    })
}

#[test]
fn the_feed_rebuilds_every_book() {
    for (profile, seed) in [(Profile::Mixed, 1), (Profile::Mixed, 2), (Profile::Maker, 3), (Profile::Crosses, 4)] {
        let mut run = Run::new(profile, seed);
        let mut kinds = BTreeMap::new();
        for _ in 0..4_000 {
            let messages = run.step();
            run.check_books();
            for (idx, message) in messages.iter().enumerate() {
                let is_last = flags(message).expect("live messages have flags") & FLAG_LAST_IN_EVENT != 0;
                assert_eq!(is_last, idx + 1 == messages.len());
                *kinds.entry(MarketMessage::read(message).expect("ours").name()).or_insert(0u32) += 1;
            }
        }
        if profile == Profile::Mixed {
            for kind in ["OrderAdd", "OrderReduce", "OrderDelete", "OrderReplace", "OrderExecuted"] {
                assert!(kinds.contains_key(kind), "seed {seed} never sent {kind}: {kinds:?}");
            }
        }
    }
}

/// Orders in a snapshot have price-time priority, and the live messages after it apply without a gap.
#[test]
fn a_snapshot_and_the_messages_after_it_are_the_book() {
    let mut run = Run::new(Profile::Mixed, 7);
    for _ in 0..500 {
        run.step();
    }
    let as_of = SessionSeq(run.sent.len() as u64);
    let mut reader = SnapshotReader::default();
    let mut snapshot = None;
    write_snapshot(&run.depth, as_of, run.ts, &mut |message| {
        assert!(snapshot.is_none(), "the end is the end");
        snapshot = reader.read(message).expect("a snapshot of ours");
    });
    let mut snapshot = snapshot.expect("the snapshot is complete");
    assert_eq!(snapshot.as_of, as_of);
    for _ in 0..500 {
        run.step();
    }
    for message in &run.sent[as_of.0 as usize..] {
        snapshot.depth.apply(&MarketMessage::read(message).expect("ours")).expect("no gap after a snapshot");
    }
    let ids = |depth: &Depth| {
        let of = |book: &api::binary::depth::DepthBook, side| {
            book.orders(side).map(|o| (o.order_id, o.qty_e8)).collect::<Vec<_>>()
        };
        depth.books().map(|b| (b.rpt_seq(), of(b, Side::Buy), of(b, Side::Sell))).collect::<Vec<_>>()
    };
    assert_eq!(ids(&snapshot.depth), ids(&run.depth));
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let mut run = Run::new(Profile::Mixed, 7);
    for _ in 0..200 {
        run.step();
    }
    let mut messages = Vec::new();
    write_snapshot(&run.depth, SessionSeq(9), run.ts, &mut |m| messages.push(m.to_vec()));
    let read = |messages: &[Vec<u8>]| {
        let mut reader = SnapshotReader::default();
        messages.iter().map(|m| reader.read(m)).find(Result::is_err).map(|e| e.expect_err("an error was found"))
    };
    assert!(read(&messages).is_none());
    assert_eq!(read(&messages[1..]), Some(SnapshotError::NotBegun));
    let order = messages.len() - 2;
    let mut flipped = messages.clone();
    flipped[order][8 + 24] ^= 1;
    assert!(matches!(read(&flipped), Some(SnapshotError::Checksum { .. })));
    let mut missing = messages.clone();
    missing.remove(order);
    assert!(matches!(read(&missing), Some(SnapshotError::OrderCount { .. })));
}

#[test]
fn gaps_and_unknown_orders_are_reported() {
    let mut run = Run::new(Profile::Mixed, 11);
    for _ in 0..300 {
        run.step();
    }
    let (last, before) = run.sent.split_last().expect("messages were sent");
    let mut depth = Depth::default();
    for message in before {
        depth.apply(&MarketMessage::read(message).expect("ours")).expect("no gap");
    }
    let next = MarketMessage::read(last).expect("ours");
    let mut twice = depth.clone();
    twice.apply(&next).expect("it follows");
    assert!(matches!(twice.apply(&next), Err(DepthError::Gap { .. })));
    let unknown = |rpt_seq: u64| {
        MarketMessage::from(OrderDelete {
            event_time_ns: U64::ZERO,
            order_id: U64::new(u64::MAX),
            rpt_seq: U64::new(rpt_seq),
            instrument_id: U32::new(1),
            flags: 0,
            pad: [0; 3],
        })
    };
    let rpt_seq = depth.book(1).expect("known").rpt_seq();
    let order = u64::MAX;
    assert_eq!(depth.clone().apply(&unknown(rpt_seq + 1)), Err(DepthError::UnknownOrder { instrument: 1, order }));
    let gap = DepthError::Gap { instrument: 1, expected: rpt_seq + 1, found: rpt_seq + 2 };
    assert_eq!(depth.apply(&unknown(rpt_seq + 2)), Err(gap));
    assert_eq!(Depth::default().apply(&unknown(1)), Err(DepthError::UnknownInstrument { instrument: 1 }));
}

/// A reader of occasional conflated updates has the same levels as the book.
#[test]
fn level_updates_conflate_to_the_same_top() {
    let mut run = Run::new(Profile::Mixed, 13);
    let mut state = TopState::default();
    let mut levels_sent: BTreeMap<(u8, i64), (i64, u32)> = BTreeMap::new();
    let mut buffer = vec![0; LEVEL_UPDATE_BYTES_MAX];
    let mut updates = 0;
    for step in 0..2_000u32 {
        run.step();
        if step % 7 != 0 {
            continue;
        }
        let book = run.depth.book(1).expect("known");
        if let Some(len) = state.update(book, run.ts, &mut buffer) {
            updates += 1;
            for level in read_levels(&buffer[..len]).expect("an update of ours") {
                let key = (level.side, level.price_e9.get());
                match level.qty_e8.get() {
                    0 => drop(levels_sent.remove(&key).expect("a removed level was sent before")),
                    qty => drop(levels_sent.insert(key, (qty, level.orders.get()))),
                }
            }
        }
        let now: BTreeMap<_, _> = [Side::Buy, Side::Sell]
            .into_iter()
            .flat_map(|side| {
                book.top(side, TOP_LEVELS_MAX).map(move |l| ((side as u8, l.price_e9), (l.qty_e8, l.orders)))
            })
            .collect();
        assert_eq!(levels_sent, now);
        let best = bbo(book, run.ts);
        assert_eq!(book.levels(Side::Buy).next().map(|l| l.price_e9).unwrap_or(i64::MAX), best.bid_px_e9.get());
    }
    assert!(100 < updates, "the flow moved the top only {updates} times");
}

#[test]
fn a_feed_resumes_where_it_stopped() {
    let mut run = Run::new(Profile::Mixed, 17);
    for _ in 0..300 {
        run.step();
    }
    run.feed = FeedEncoder::resume(run.feed.rpt_seqs().to_vec());
    for _ in 0..300 {
        run.step();
        run.check_books();
    }
}
