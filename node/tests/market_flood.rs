//! Anonymous readers of market data, in numbers: what they cost is bounded by count, and none locks others out. The
//! loop is in this thread, with sockets without a kernel.

mod common;

use api::binary::login::SessionName;
use api::binary::market::MarketMessage;
use api::binary::session::SessionLimits;
use api::binary::snapshot::{Snapshot, SnapshotReader};
use api::binary::soup::{PacketKind, packet_len};
use api::binary::stream::SessionSeq;
use book::command::{
    AccountKind, AccountSpec, Admin, CodMode, CodScope, Command, FundsMove, MarketLimits, MarketSpec, MarketStatus,
    OrderKind, PlaceOrder, SessionSpec, Side, StpMode, Throttle, Tif,
};
use book::engine::{Capacity, Engine};
use book::event::Event;
use book::fees::MarketFees;
use book::ids::{AccountId, AssetId, ClOrdId, ClientKey, MarketId, SessionId, Symbol, UserName};
use book::units::{Ppm, PriceTicks, QtyLots, Seq, Stamp, TsNs, Units};
use common::fake_sockets::FakeSockets;
use common::raw::login_packet;
use node::gateway::market_data::{MarketData, MarketLimits as PortLimits};
use node::reactor::ports::ConnId;
use node::replica::Replica;
use node::replica::public_feed::PublicFeed;
use node::replica::questions::{ShadowInlet, shadow_port};
use node::rings::feed_items::{FEED_ITEMS, FeedIn, FeedItem, feed_items};
use node::status::Status;
use node::status::watermarks::{EngineWatermarks, watermarks};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const MS_NS: u64 = 1_000_000;
const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));
const AWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 9, 7));

struct Flooded {
    market: MarketData,
    sockets: FakeSockets,
    items: FeedIn,
    watermarks: EngineWatermarks,
    status: Arc<Status>,
    now: TsNs,
    replica: Replica,
    seq: u64,
    _questions: ShadowInlet,
}

impl Flooded {
    /// A feed of so many markets, with so many orders in the first one.
    fn new(markets: u32, orders: u64) -> Self {
        let (replica, seq) = exchange(markets, orders);
        let (writers, readers) = watermarks(Seq(seq));
        let status = Arc::new(Status::new(readers.clone()));
        let (items, items_out) = feed_items(FEED_ITEMS);
        let (shadow, questions) = shadow_port();
        let limits = PortLimits {
            connections_max: 1_000,
            logins_awaited_per_address_max: 1_000,
            connections_per_block_max: 200,
            session: SessionLimits { login_ms: 15_000, silence_ms: 15_000, heartbeat_ms: 1_000 },
        };
        let feed = PublicFeed::resume(&replica.engine, &replica.positions);
        let market = MarketData::new(items_out, feed, shadow, readers.released, Arc::clone(&status), limits);
        Self {
            market,
            sockets: FakeSockets::new(),
            items,
            watermarks: writers.engine,
            status,
            now: TsNs(1_000_000 * MS_NS),
            replica,
            seq,
            _questions: questions,
        }
    }

    fn step(&mut self, ms: u64) {
        self.now.0 += ms * MS_NS;
        self.sockets.step();
        self.market.poll(self.now, &mut self.sockets);
    }

    fn subscribe(&mut self, from: IpAddr, stream: SessionName, first: SessionSeq) -> ConnId {
        let conn = self.sockets.connect(from);
        self.step(0);
        self.sockets.arrive(conn, &login_packet("any", "", stream, first));
        conn
    }

    /// A command changes the status of a market: one message of the live stream.
    fn change(&mut self, market: u32) {
        self.seq += 1;
        let stamp = Stamp { seq: Seq(self.seq), ts: TsNs(self.seq * 1_000) };
        let status = if self.seq.is_multiple_of(2) { MarketStatus::Halt } else { MarketStatus::Trading };
        let admin = Admin::SetMarketStatus { market: MarketId(market), status };
        let mut events: Vec<Event> = Vec::new();
        self.replica.engine.apply(stamp, &Command::Admin(Box::new(admin)), &mut events);
        self.items.begin();
        let last = events.len() - 1;
        for (idx, event) in events.iter().enumerate() {
            self.items.push(FeedItem { stamp, event: *event, last: idx == last });
        }
        self.watermarks.applied.catch_up(stamp.seq);
        self.watermarks.durable.catch_up(stamp.seq);
        self.watermarks.released.catch_up(stamp.seq);
    }

    fn packets(&mut self, conn: ConnId) -> Vec<(PacketKind, Vec<u8>)> {
        let bytes = self.sockets.take_sent(conn);
        let mut rest = &bytes[..];
        let mut packets = Vec::new();
        while !rest.is_empty() {
            let len = packet_len(rest).expect("complete packets").expect("complete packets");
            packets.push((PacketKind::new(rest[2]).expect("a known type"), rest[3..len].to_vec()));
            rest = &rest[len..];
        }
        packets
    }

    fn messages(&mut self, conn: ConnId) -> Vec<Vec<u8>> {
        let packets = self.packets(conn);
        packets.into_iter().filter(|(kind, _)| *kind == PacketKind::Sequenced).map(|(_, message)| message).collect()
    }

    /// The snapshot that the client has received, with whatever came in between.
    fn snapshot(&mut self, conn: ConnId) -> Snapshot {
        let mut reader = SnapshotReader::default();
        let found = self.messages(conn).iter().find_map(|message| reader.read(message).expect("a snapshot's message"));
        found.expect("a complete snapshot")
    }
}

/// The state after commands that add markets and orders, and the last command.
fn exchange(markets: u32, orders: u64) -> (Replica, u64) {
    let mut replica = Replica::new(Engine::new(Capacity { orders: 1 << 16, ..Capacity::default() }));
    let mut seq = 0;
    let mut run = |command: Command| {
        seq += 1;
        let stamp = Stamp { seq: Seq(seq), ts: TsNs(seq * 1_000) };
        let mut events = Vec::new();
        replica.engine.apply(stamp, &command, &mut events);
        replica.translate(stamp, &[], &events, &mut ());
    };
    let mut act = |admin| run(Command::Admin(Box::new(admin)));
    for symbol in ["GOLD", "USD"] {
        act(Admin::AddAsset { symbol: Symbol::new(symbol).expect("valid"), scale: 8 });
    }
    for market in 1..=markets {
        act(Admin::AddMarket(MarketSpec {
            symbol: Symbol::new(&format!("GOLD{market}")).expect("valid"),
            base: AssetId(1),
            quote: AssetId(2),
            tick_e9: 1_000_000_000,
            lot_e8: 100_000_000,
            limits: MarketLimits {
                qty_min: QtyLots(1),
                qty_max: QtyLots(9),
                notional_min: Units(0),
                price_band: Ppm(0),
            },
            fees: MarketFees::NONE,
            status: MarketStatus::Trading,
        }));
    }
    let (account, kind) = (AccountId(1), AccountKind::Client);
    act(Admin::AddAccount(AccountSpec { name: "A".to_owned(), kind, parent: AccountId::NONE, fee_tier: 0 }));
    let (asset, amount, reference) = (AssetId(2), Units(1_000_000_000 * 100_000_000), ClientKey(1));
    act(Admin::Deposit(FundsMove { account, asset, amount, reference }));
    act(Admin::AddSession(SessionSpec {
        account,
        user: UserName::new("U").expect("valid"),
        password_hash: "hash".to_owned(),
        drop_copy: false,
        throttle: Throttle::default(),
        cod_mode: CodMode::Off,
        cod_scope: CodScope::Session,
        cod_window_ms: 0,
    }));
    for id in 1..=orders {
        run(Command::Place(PlaceOrder {
            session: SessionId(1),
            cl_ord_id: ClOrdId(id),
            client_key: ClientKey::NONE,
            account,
            market: MarketId(1),
            side: Side::Buy,
            kind: OrderKind::Limit { price: PriceTicks(1 + (id % 100) as u32), qty: QtyLots(1) },
            tif: Tif::Gtc,
            stp: StpMode::None,
            stp_group: 0,
            cancel_group: 0,
            persist_on_disconnect: false,
            valid_until: TsNs(0),
        }));
    }
    (replica, seq)
}

/// A hundred readers of as many blocks ask for a snapshot of 2 MB, each after another change. Returns how many were
/// encoded.
fn snapshots_for_a_flood() -> u64 {
    const ORDERS: u64 = 40_000;
    let mut flooded = Flooded::new(3, ORDERS);
    for network in 0..100 {
        flooded.change(1);
        let from = IpAddr::V4(Ipv4Addr::new(10, 1, network, 7));
        let conn = flooded.subscribe(from, SessionName::SNAP, SessionSeq::FIRST);
        (0..50).for_each(|_| flooded.step(0));
        let snapshot = flooded.snapshot(conn);
        assert_eq!(snapshot.depth.books().map(|book| book.order_count()).sum::<usize>() as u64, ORDERS);
        // The live stream goes on from it.
        let live = flooded.market.feed().live();
        assert!(live.oldest_seq() <= snapshot.as_of.next() && snapshot.as_of < live.next_seq());
    }
    flooded.status.feed_snapshots.get()
}

#[test]
fn readers_share_snapshots_and_each_gets_a_complete_one() {
    let encoded = snapshots_for_a_flood();
    assert!((20..=35).contains(&encoded), "{encoded} snapshots of 2 MB at once");
}

/// A reader receives a snapshot of several sends so slowly that heartbeats come in between.
fn a_slow_reader_gets_its_snapshot() {
    let mut flooded = Flooded::new(1, 5_000);
    let conn = flooded.subscribe(HOME, SessionName::SNAP, SessionSeq::FIRST);
    (0..10).for_each(|_| flooded.step(1_100));
    let packets = flooded.packets(conn);
    let first = packets.iter().position(|(kind, _)| *kind == PacketKind::ServerHeartbeat);
    let end = packets.iter().position(|(kind, _)| *kind == PacketKind::EndOfSession);
    assert!(first.is_some_and(|first| Some(first) < end), "no heartbeat came in between: {first:?}, {end:?}");
    let mut reader = SnapshotReader::default();
    let messages = packets.iter().filter(|(kind, _)| *kind == PacketKind::Sequenced);
    let found = messages.filter_map(|(_, message)| reader.read(message).expect("a snapshot's message")).count();
    assert_eq!(found, 1);
}

#[test]
fn heartbeats_come_between_the_packets_of_a_snapshot() {
    a_slow_reader_gets_its_snapshot();
}

#[test]
fn a_snapshot_has_the_time_of_its_newest_command() {
    let mut flooded = Flooded::new(1, 1);
    flooded.change(1);
    let conn = flooded.subscribe(HOME, SessionName::SNAP, SessionSeq::FIRST);
    flooded.step(50);
    let expected = flooded.seq * 1_000;
    for message in flooded.messages(conn) {
        let at = match MarketMessage::read(&message).expect("ours") {
            MarketMessage::SnapshotBegin(m) => m.event_time_ns,
            MarketMessage::SnapshotEnd(m) => m.event_time_ns,
            MarketMessage::OrderAdd(m) => m.event_time_ns,
            MarketMessage::InstrumentDefinition(m) => m.event_time_ns,
            other => panic!("{other:?}"),
        };
        assert_eq!(at.get(), expected);
    }
}

/// Instruments that are looked at for ten readers of the best levels, while one of two hundred changes a hundred times.
fn looks_for_changes() -> u64 {
    let mut flooded = Flooded::new(200, 5);
    for _ in 0..10 {
        flooded.subscribe(HOME, SessionName::TOP, SessionSeq::FIRST);
    }
    (0..20).for_each(|_| flooded.step(1));
    let before = flooded.status.feed_top_looks.get();
    assert_eq!(before, 10 * 200, "each reader sees each instrument once");
    for _ in 0..100 {
        flooded.change(7);
        flooded.step(1);
    }
    flooded.status.feed_top_looks.get() - before
}

#[test]
fn readers_of_the_best_levels_cost_what_has_changed() {
    assert_eq!(looks_for_changes(), 10 * 100);
}

#[test]
fn an_update_of_the_best_levels_has_the_time_of_its_command() {
    let mut flooded = Flooded::new(2, 3);
    let conn = flooded.subscribe(HOME, SessionName::TOP, SessionSeq::FIRST);
    flooded.step(100);
    let messages = flooded.messages(conn);
    let times = messages.iter().map(|message| match MarketMessage::read(message).expect("ours") {
        MarketMessage::Bbo(m) => m.event_time_ns.get(),
        MarketMessage::LevelUpdate(m) => m.event_time_ns.get(),
        other => panic!("{other:?}"),
    });
    // The feed that a start has computed knows the time of its newest command.
    assert_eq!(times.collect::<Vec<_>>(), [flooded.seq * 1_000; 2]);
}

/// The reasons with which a reader is refused: of a message that was said and is gone, of one that was never said, and
/// of a stream that does not exist.
fn refusals() -> [Vec<u8>; 3] {
    let mut flooded = Flooded::new(1, 0);
    let next = flooded.market.feed().live().next_seq();
    assert!(SessionSeq::FIRST < next, "the definition of the market was said before");
    let unknown = SessionName::new(b"OTHER").expect("letters");
    [(SessionName::LIVE, SessionSeq::FIRST), (SessionName::LIVE, next.next()), (unknown, SessionSeq::FIRST)].map(
        |(stream, first)| {
            let conn = flooded.subscribe(HOME, stream, first);
            flooded.step(1);
            let [(PacketKind::Rejected, why)] = &flooded.packets(conn)[..] else { panic!("one answer, a rejection") };
            why.clone()
        },
    )
}

#[test]
fn a_message_that_is_gone_is_answered_otherwise_than_one_that_was_never_said() {
    assert_eq!(refusals(), [b"G", b"S", b"S"]);
}

/// So many readers of one block read the live stream from its beginning, until each has all of it: the most bytes of
/// one cycle.
fn most_bytes_in_a_cycle(readers: usize) -> usize {
    let mut flooded = Flooded::new(1, 0);
    let first = flooded.market.feed().live().next_seq();
    for _ in 0..40 {
        (0..1_000).for_each(|_| flooded.change(1));
        flooded.step(0);
    }
    let conns: Vec<ConnId> = (0..readers).map(|_| flooded.sockets.connect(HOME)).collect();
    flooded.step(1);
    for conn in &conns {
        flooded.sockets.arrive(*conn, &login_packet("any", "", SessionName::LIVE, first));
    }
    let (mut most, mut counts) = (0, vec![0; conns.len()]);
    for _ in 0..5_000 {
        flooded.step(1);
        let mut bytes = 0;
        for (conn, count) in conns.iter().zip(&mut counts) {
            let messages = flooded.messages(*conn);
            bytes += messages.iter().map(Vec::len).sum::<usize>();
            *count += messages.len();
        }
        // The last part of a replay is the newest messages, which are not paced.
        if counts.iter().all(|count| *count < 20_000) {
            most = most.max(bytes);
        }
        if counts.iter().all(|count| *count == 40_000) {
            return most;
        }
    }
    panic!("not every reader gets every message: {counts:?}");
}

#[test]
fn replays_are_paced_and_complete() {
    let most = most_bytes_in_a_cycle(30);
    assert!((1..=512 << 10).contains(&most), "{most} bytes of the past in one cycle");
}

/// Together they read more than their block may at once, so that nothing is left to grant in most cycles.
#[test]
fn a_block_that_has_used_its_burst_gets_all_of_its_replays() {
    let most = most_bytes_in_a_cycle(150);
    assert!((1..=512 << 10).contains(&most), "{most} bytes of the past in one cycle");
}

#[test]
fn a_block_of_addresses_has_so_many_connections() {
    let mut flooded = Flooded::new(1, 0);
    for _ in 0..200 {
        flooded.subscribe(HOME, SessionName::TOP, SessionSeq::FIRST);
    }
    let beyond = flooded.sockets.connect(HOME);
    flooded.step(1);
    assert!(!flooded.sockets.is_open(beyond));
    assert_eq!(flooded.status.listeners.market.refused.get(), 1);
    let other = flooded.subscribe(AWAY, SessionName::TOP, SessionSeq::FIRST);
    flooded.step(1);
    assert_eq!(flooded.packets(other).first().map(|(kind, _)| *kind), Some(PacketKind::Accepted));
}

#[cfg(feature = "mutation")]
#[test]
fn floods_that_are_not_bounded_are_noticed() {
    use node::faults::mutation::{Mutation, assert_noticed};
    assert_noticed(Mutation::SnapshotsUnpaced, || assert!(snapshots_for_a_flood() <= 35));
    assert_noticed(Mutation::SnapshotCutInPacket, a_slow_reader_gets_its_snapshot);
    assert_noticed(Mutation::GoneIsUnknown, a_message_that_is_gone_is_answered_otherwise_than_one_that_was_never_said);
    assert_noticed(Mutation::TopLooksAtAll, || assert_eq!(looks_for_changes(), 1_000));
    assert_noticed(Mutation::ReplayBeyondGrant, || assert!(most_bytes_in_a_cycle(150) <= 512 << 10));
    assert_noticed(Mutation::ReplaysUnpaced, || assert!(most_bytes_in_a_cycle(30) <= 512 << 10));
}
