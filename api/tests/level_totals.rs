//! Price levels whose total is more than the wire can show: exact inside, `WIRE_AMOUNT_MAX` outside, and right again
//! when orders leave.

use api::binary::depth::{Depth, DepthBook, DepthError};
use api::binary::feed::FeedEncoder;
use api::binary::market::*;
use api::binary::orders::side_code;
use api::binary::snapshot::{SnapshotReader, write_snapshot};
use api::binary::stream::SessionSeq;
use api::binary::top::{TopState, bbo};
use api::instruments::{Instruments, WIRE_AMOUNT_MAX};
use book::command::*;
use book::engine::{Capacity, Engine};
use book::event::Event;
use book::fees::MarketFees;
use book::ids::{AccountId, AssetId, ClOrdId, ClientKey, MarketId, OrderId, SessionId, Symbol};
use book::testing::workload::rng::Rng;
use book::units::{Ppm, PriceTicks, QTY_LOTS_MAX, QtyLots, Seq, Stamp, TsNs, UNITS_MAX, Units};
use proptest::prelude::*;
use std::collections::BTreeMap;
use zerocopy::little_endian::{I64, U32, U64};

const INSTRUMENT: u32 = 1;
const SIDES: [Side; 2] = [Side::Buy, Side::Sell];

/// A reader's books, and a twin that keeps every order and adds them up.
struct Pair {
    depth: Depth,
    /// By side and price: the orders, oldest first.
    twin: BTreeMap<(u8, i64), Vec<(u64, i64)>>,
    rpt_seq: u64,
}

impl Pair {
    fn new() -> Self {
        let mut depth = Depth::default();
        let definition = InstrumentDefinition {
            event_time_ns: U64::ZERO,
            symbol: Name::default(),
            base_asset: Name::default(),
            quote_asset: Name::default(),
            tick_size_e9: I64::new(1),
            lot_size_e8: I64::new(1),
            min_qty_e8: I64::new(1),
            max_qty_e8: I64::new(WIRE_AMOUNT_MAX),
            instrument_id: U32::new(INSTRUMENT),
            state: STATE_TRADING,
            flags: 0,
            base_scale: 8,
            quote_scale: 8,
            rpt_seq: U64::ZERO,
        };
        depth.apply(&definition.into()).expect("a new instrument");
        Self { depth, twin: BTreeMap::new(), rpt_seq: 0 }
    }

    fn apply(&mut self, message: impl Into<MarketMessage>) -> Result<(), DepthError> {
        self.depth.apply(&message.into())
    }

    fn next(&mut self) -> U64 {
        self.rpt_seq += 1;
        U64::new(self.rpt_seq)
    }

    fn add(&mut self, order_id: u64, side: Side, price: i64, qty: i64) {
        let rpt_seq = self.next();
        let added = self.apply(OrderAdd {
            event_time_ns: U64::ZERO,
            order_id: U64::new(order_id),
            price_e9: I64::new(price),
            qty_e8: I64::new(qty),
            rpt_seq,
            instrument_id: U32::new(INSTRUMENT),
            side: side_code(side),
            flags: 0,
            pad: [0; 2],
        });
        added.expect("any quantity can be added to a level");
        self.twin.entry((side_code(side), price)).or_default().push((order_id, qty));
    }

    fn delete(&mut self, order_id: u64) {
        let rpt_seq = self.next();
        let (event_time_ns, order) = (U64::ZERO, U64::new(order_id));
        let (instrument_id, flags, pad) = (U32::new(INSTRUMENT), 0, [0; 3]);
        self.apply(OrderDelete { event_time_ns, order_id: order, rpt_seq, instrument_id, flags, pad })
            .expect("the order is there");
        self.set(order_id, 0);
    }

    fn reduce(&mut self, order_id: u64, qty: i64, leaves: i64) {
        let rpt_seq = self.next();
        let reduced = self.apply(OrderReduce {
            event_time_ns: U64::ZERO,
            order_id: U64::new(order_id),
            canceled_qty_e8: I64::new(qty),
            rpt_seq,
            instrument_id: U32::new(INSTRUMENT),
            flags: 0,
            pad: [0; 3],
        });
        reduced.expect("less than is open");
        self.set(order_id, leaves);
    }

    fn execute(&mut self, order_id: u64, qty: i64, leaves: i64) {
        let rpt_seq = self.next();
        self.apply(executed(order_id, qty, leaves, rpt_seq)).expect("no more than is open");
        self.set(order_id, leaves);
    }

    fn set(&mut self, order_id: u64, leaves: i64) {
        for orders in self.twin.values_mut() {
            orders.iter_mut().filter(|order| order.0 == order_id).for_each(|order| order.1 = leaves);
            orders.retain(|order| 0 < order.1);
        }
        self.twin.retain(|_, orders| !orders.is_empty());
    }

    /// The `idx`-th open order and its quantity.
    fn pick(&self, idx: usize) -> Option<(u64, i64)> {
        let orders: Vec<(u64, i64)> = self.twin.values().flatten().copied().collect();
        (!orders.is_empty()).then(|| orders[idx % orders.len()])
    }

    fn check(&self, readers: &mut Readers) {
        let book = self.depth.book(INSTRUMENT).expect("defined");
        let of_twin: BTreeMap<_, _> = self.twin.iter().map(|(key, orders)| (*key, total(orders))).collect();
        assert_eq!(shown(book), of_twin);
        readers.check(book, &of_twin);
        let mut snapshot = SnapshotReader::default();
        let mut read = None;
        write_snapshot(&self.depth, SessionSeq(9), TsNs(1), &mut |message| {
            read = snapshot.read(message).expect("a snapshot of ours");
        });
        let read = read.expect("a snapshot ends");
        assert_eq!(shown(read.depth.book(INSTRUMENT).expect("defined")), of_twin, "a snapshot has the same levels");
    }
}

fn executed(order_id: u64, qty: i64, leaves: i64, rpt_seq: U64) -> OrderExecuted {
    OrderExecuted {
        event_time_ns: U64::ZERO,
        order_id: U64::new(order_id),
        trade_id: U64::new(1),
        price_e9: I64::new(1),
        qty_e8: I64::new(qty),
        leaves_qty_e8: I64::new(leaves),
        rpt_seq,
        instrument_id: U32::new(INSTRUMENT),
        aggressor: side_code(Side::Buy),
        flags: 0,
        pad: [0; 2],
    }
}

/// By side and price: quantity on the wire and count of orders.
type Levels = BTreeMap<(u8, i64), (i64, u32)>;

fn total(orders: &[(u64, i64)]) -> (i64, u32) {
    let sum: i128 = orders.iter().map(|(_, qty)| i128::from(*qty)).sum();
    (i64::try_from(sum.min(i128::from(WIRE_AMOUNT_MAX))).expect("clamped"), orders.len() as u32)
}

fn shown(book: &DepthBook) -> Levels {
    SIDES
        .into_iter()
        .flat_map(|side| book.levels(side).map(move |l| ((side_code(side), l.price_e9), (l.qty_e8, l.orders))))
        .collect()
}

/// A reader of the best levels.
#[derive(Default)]
struct Readers {
    state: TopState,
    levels: Levels,
}

impl Readers {
    /// The test has fewer prices than `TOP` has levels, so that the levels are all of the book's.
    fn check(&mut self, book: &DepthBook, levels: &Levels) {
        let mut buffer = [0; LEVEL_UPDATE_BYTES_MAX];
        if let Some(len) = self.state.update(book, TsNs(1), &mut buffer) {
            for level in read_levels(&buffer[..len]).expect("an update of ours") {
                let key = (level.side, level.price_e9.get());
                match level.qty_e8.get() {
                    0 => drop(self.levels.remove(&key)),
                    qty => drop(self.levels.insert(key, (qty, level.orders.get()))),
                }
            }
        }
        assert_eq!(self.levels, *levels, "TOP has the same levels");
        let best = bbo(book, TsNs(1));
        let bid = levels.range(..(side_code(Side::Sell), 0)).next_back().map_or(0, |(_, level)| level.0);
        assert_eq!(best.bid_qty_e8.get(), bid);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Add {
        side: Side,
        price: i64,
        qty: i64,
    },
    Delete {
        idx: usize,
    },
    /// Takes a share of an order, in 1/256.
    Reduce {
        idx: usize,
        share: u8,
    },
    /// The same by a trade; what an order of `WIRE_AMOUNT_MAX` leaves may be more than the difference.
    Execute {
        idx: usize,
        share: u8,
        more: u8,
    },
}

fn qtys() -> impl Strategy<Value = i64> {
    prop_oneof![
        1..10i64,
        (0..10i64).prop_map(|less| WIRE_AMOUNT_MAX - less),
        (0..10i64).prop_map(|less| WIRE_AMOUNT_MAX / 2 - less),
        1..=WIRE_AMOUNT_MAX,
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let side = any::<bool>().prop_map(|buys| if buys { Side::Buy } else { Side::Sell });
    prop_oneof![
        3 => (side, 1..4i64, qtys()).prop_map(|(side, price, qty)| Step::Add { side, price, qty }),
        1 => any::<usize>().prop_map(|idx| Step::Delete { idx }),
        1 => any::<(usize, u8)>().prop_map(|(idx, share)| Step::Reduce { idx, share }),
        1 => any::<(usize, u8, u8)>().prop_map(|(idx, share, more)| Step::Execute { idx, share, more }),
    ]
}

/// At least one unit, at most all of it.
fn share_of(open: i64, share: u8) -> i64 {
    let part = i128::from(open) * (i128::from(share) + 1) / 256;
    i64::try_from(part.max(1)).expect("a part of 63 bits")
}

proptest! {
    #[test]
    fn a_level_is_the_sum_of_its_orders_however_large(steps in prop::collection::vec(steps(), 1..60)) {
        let (mut pair, mut readers) = (Pair::new(), Readers::default());
        for (idx, step) in steps.into_iter().enumerate() {
            match step {
                Step::Add { side, price, qty } => pair.add(idx as u64 + 1, side, price, qty),
                Step::Delete { idx } => if let Some((order, _)) = pair.pick(idx) { pair.delete(order) },
                Step::Reduce { idx, share } => if let Some((order, open)) = pair.pick(idx) {
                    let qty = share_of(open, share);
                    pair.reduce(order, qty, open - qty);
                },
                Step::Execute { idx, share, more } => if let Some((order, open)) = pair.pick(idx) {
                    let qty = share_of(open, share);
                    let more = if open == WIRE_AMOUNT_MAX { share_of(qty, more) } else { 0 };
                    pair.execute(order, qty, open - qty + more);
                },
            }
            pair.check(&mut readers);
        }
    }
}

#[test]
fn a_level_beyond_the_wire_comes_back_to_its_exact_total() {
    let (mut pair, mut readers) = (Pair::new(), Readers::default());
    let level = |pair: &Pair| {
        let book = pair.depth.book(INSTRUMENT).expect("defined");
        book.levels(Side::Buy).next().map(|level| (level.qty_e8, level.orders))
    };
    for id in 1..=3 {
        pair.add(id, Side::Buy, 1, 9_200_000_000_000_000_000);
        pair.check(&mut readers);
    }
    assert_eq!(level(&pair), Some((WIRE_AMOUNT_MAX, 3)));
    pair.delete(1);
    assert_eq!(level(&pair), Some((WIRE_AMOUNT_MAX, 2)));
    pair.execute(2, 9_199_999_999_999_999_999, 1);
    assert_eq!(level(&pair), Some((9_200_000_000_000_000_001, 2)));
    pair.delete(3);
    assert_eq!(level(&pair), Some((1, 1)));
    pair.execute(2, 1, 0);
    assert_eq!(level(&pair), None);
    pair.check(&mut readers);
}

#[test]
fn a_trade_that_contradicts_its_order_is_reported() {
    let mut pair = Pair::new();
    pair.add(1, Side::Sell, 1, 10);
    pair.add(2, Side::Sell, 1, WIRE_AMOUNT_MAX);
    let wrong = [(1, 3, 8), (1, 3, 6), (1, 11, 0), (1, 0, 10), (1, i64::MIN, 10), (1, 4, -1), (2, 3, i64::MAX)];
    for (order, qty, leaves) in wrong.into_iter().chain([(2, 5, WIRE_AMOUNT_MAX - 6), (2, i64::MAX, -1)]) {
        let mut depth = pair.depth.clone();
        let open = if order == 1 { 10 } else { WIRE_AMOUNT_MAX };
        let mismatch = DepthError::QtyMismatch { instrument: INSTRUMENT, order, open };
        let applied = depth.apply(&executed(order, qty, leaves, U64::new(3)).into());
        assert_eq!(applied, Err(mismatch), "{qty} traded, {leaves} left");
    }
}

/// The planted fault is the sum in 64 bits that this book once had.
/// Changes below the best levels have no update of their own.
fn updates_of_the_best_levels_have_no_gap() {
    let (mut pair, mut state, mut buffer) = (Pair::new(), TopState::default(), [0; LEVEL_UPDATE_BYTES_MAX]);
    let mut last = 0;
    for id in 1..=40 {
        // Each price is worse than all before: from the 21st on it is none of the best.
        pair.add(id, Side::Sell, id as i64, 1);
        if id == 40 {
            pair.reduce(1, 1, 0);
        }
        let book = pair.depth.book(INSTRUMENT).expect("known");
        let Some(len) = state.update(book, TsNs(7), &mut buffer) else { continue };
        let Ok(MarketMessage::LevelUpdate(update)) = MarketMessage::read(&buffer[..len]) else { panic!("an update") };
        assert_eq!(update.first_rpt_seq.get(), last + 1, "the reader takes this for a gap");
        assert_eq!(update.event_time_ns.get(), 7);
        last = update.last_rpt_seq.get();
    }
    assert_eq!(last, 41);
}

#[test]
fn the_first_number_of_an_update_follows_the_last_of_the_one_before() {
    updates_of_the_best_levels_have_no_gap();
}

#[cfg(feature = "mutation")]
#[test]
fn a_gap_between_updates_is_noticed() {
    use api::mutation::{Mutation, assert_noticed};
    assert_noticed(Mutation::TopLeavesGap, updates_of_the_best_levels_have_no_gap);
}

#[cfg(feature = "mutation")]
#[test]
fn a_total_in_64_bits_is_noticed() {
    use api::mutation::{Mutation, plant, reached};
    let mut pair = Pair::new();
    pair.add(1, Side::Buy, 1, 9_200_000_000_000_000_000);
    plant(Some(Mutation::LevelTotalNarrow));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        pair.add(2, Side::Buy, 1, 9_200_000_000_000_000_000);
    }));
    let (reached, panic) = (reached(), outcome.expect_err("a total in 64 bits ends in an assert"));
    plant(None);
    assert_eq!((reached, panic.downcast_ref()), (1, Some(&"a level sums its orders")));
}

/// An engine with a market whose orders may be larger than the wire shows, its feed, and a reader.
struct Exchange {
    engine: Engine,
    instruments: Instruments,
    feed: FeedEncoder,
    depth: Depth,
    seq: u64,
    open: Vec<OrderId>,
}

const ACCOUNTS: [AccountId; 3] = [AccountId(1), AccountId(2), AccountId(3)];
const MARKET: MarketId = MarketId(1);

impl Exchange {
    /// One lot is one unit of the base asset, and costs one unit of the quote asset a tick.
    fn new() -> Self {
        let mut exchange = Self {
            engine: Engine::new(Capacity::default()),
            instruments: Instruments::default(),
            feed: FeedEncoder::default(),
            depth: Depth::default(),
            seq: 0,
            open: Vec::new(),
        };
        let symbol = |text| Symbol::new(text).expect("valid");
        let limits = MarketLimits {
            qty_min: QtyLots(1),
            qty_max: QtyLots(QTY_LOTS_MAX),
            notional_min: Units(0),
            price_band: Ppm(0),
        };
        exchange.admin(Admin::AddAsset { symbol: symbol("BIG"), scale: 0 });
        exchange.admin(Admin::AddAsset { symbol: symbol("USDT"), scale: 8 });
        exchange.admin(Admin::AddMarket(MarketSpec {
            symbol: symbol("BIGUSDT"),
            base: AssetId(1),
            quote: AssetId(2),
            tick_e9: 10,
            lot_e8: 100_000_000,
            limits,
            fees: MarketFees::NONE,
            status: MarketStatus::Trading,
        }));
        for account in ACCOUNTS {
            let (name, kind) = (format!("c{}", account.0), AccountKind::Client);
            exchange.admin(Admin::AddAccount(AccountSpec { name, kind, parent: AccountId::NONE, fee_tier: 0 }));
            for asset in [AssetId(1), AssetId(2)] {
                let reference = ClientKey(u128::from(account.0) << 8 | u128::from(asset.0));
                let amount = Units(UNITS_MAX / ACCOUNTS.len() as u64);
                exchange.admin(Admin::Deposit(FundsMove { account, asset, amount, reference }));
            }
        }
        exchange
    }

    fn admin(&mut self, admin: Admin) {
        let events = self.apply(&Command::Admin(Box::new(admin)));
        assert!(!events.iter().any(|event| matches!(event, Event::AdminRejected { .. })), "{events:?}");
    }

    fn apply(&mut self, command: &Command) -> Vec<Event> {
        self.seq += 1;
        let stamp = Stamp { seq: Seq(self.seq), ts: TsNs(self.seq) };
        let mut events = Vec::new();
        self.engine.apply(stamp, command, &mut events);
        for event in &events {
            self.instruments.apply(event);
            if let Event::Rested(rested) = event {
                self.open.push(rested.order_id);
            }
        }
        let depth = &mut self.depth;
        self.feed.encode(stamp, &events, &self.instruments, &mut |message| {
            let message = MarketMessage::read(message).expect("a message of ours");
            depth.apply(&message).expect("the feed fits its own book");
        });
        events
    }

    /// Orders that fit the wire in every second run, and larger ones in the others.
    fn random(&mut self, rng: &mut Rng, wide: bool) -> Command {
        let account = ACCOUNTS[rng.below(3) as usize];
        let qty = match rng.below(if wide { 4 } else { 3 }) {
            0 => 1 + u64::from(rng.below(100)),
            1 => 92_000_000_000 + u64::from(rng.below(1_000_000_000)),
            2 => 1 << rng.below(if wide { 62 } else { 36 }),
            _ => (UNITS_MAX / 12) >> rng.below(4),
        };
        let price = PriceTicks(1 + rng.below(2));
        let target = self.open.get(rng.below(1 + self.open.len() as u32) as usize).copied();
        let (session, cl_ord_id) = (SessionId::NONE, ClOrdId(0));
        match (rng.below(8), target) {
            (0, Some(order_id)) => {
                let target = OrderRef { order_id, cl_ord_id, client_key: ClientKey::NONE };
                Command::Cancel(CancelOrder { session, cl_ord_id, account, market: MARKET, target })
            }
            (1..3, Some(order_id)) => {
                let target = OrderRef { order_id, cl_ord_id, client_key: ClientKey::NONE };
                let (qty, qty_means) = (QtyLots(qty), AmendQty::Open);
                Command::Amend(AmendOrder {
                    session,
                    cl_ord_id,
                    account,
                    market: MARKET,
                    target,
                    price,
                    qty,
                    qty_means,
                })
            }
            _ => Command::Place(PlaceOrder {
                session,
                cl_ord_id,
                client_key: ClientKey::NONE,
                account,
                market: MARKET,
                side: SIDES[rng.below(2) as usize],
                kind: OrderKind::Limit { price, qty: QtyLots(qty) },
                tif: Tif::Gtc,
                stp: [StpMode::None, StpMode::Decrement, StpMode::CancelMaker][rng.below(3) as usize],
                stp_group: 0,
                cancel_group: 0,
                persist_on_disconnect: false,
                valid_until: TsNs(0),
            }),
        }
    }

    /// The reader has every order with the quantity that the wire shows, and every level with its own.
    fn check(&self) -> (bool, bool) {
        let (mut wide_order, mut wide_level) = (false, false);
        let market = self.engine.markets().next().expect("there is a market");
        let instrument = self.instruments.at(MARKET);
        let book = self.depth.book(MARKET.0).expect("announced");
        for side in SIDES {
            let queue = market.book.queue(self.engine.pool(), side);
            let of_engine: Vec<(u64, i64)> =
                queue.map(|(_, order)| (order.id.0, instrument.qty_e8(order.leaves).0)).collect();
            let of_reader: Vec<(u64, i64)> = book.orders(side).map(|order| (order.order_id, order.qty_e8)).collect();
            assert_eq!(of_reader, of_engine, "command {}", self.seq);
            wide_order |= of_engine.iter().any(|order| order.1 == WIRE_AMOUNT_MAX);
            let depth = market.book.depth(self.engine.pool(), side);
            let of_engine: Vec<(i64, i64, u32)> =
                depth.map(|l| (instrument.price_e9(l.price).0, instrument.qty_e8(l.qty).0, l.order_count)).collect();
            let of_reader: Vec<(i64, i64, u32)> =
                book.levels(side).map(|level| (level.price_e9, level.qty_e8, level.orders)).collect();
            assert_eq!(of_reader, of_engine, "command {}", self.seq);
            wide_level |= of_engine.iter().any(|level| level.1 == WIRE_AMOUNT_MAX);
        }
        (wide_order, wide_level)
    }
}

#[test]
fn a_reader_follows_orders_that_are_larger_than_the_wire_shows() {
    let (mut orders, mut levels, mut narrow) = (0, 0, 0);
    for seed in 1..=20 {
        let (mut exchange, mut rng) = (Exchange::new(), Rng::new(seed));
        for _ in 0..400 {
            let command = exchange.random(&mut rng, seed % 2 == 0);
            exchange.apply(&command);
            let (wide_order, wide_level) = exchange.check();
            orders += u32::from(wide_order);
            levels += u32::from(wide_level && !wide_order);
            narrow += u32::from(!wide_level);
        }
        exchange.engine.verify().expect("consistent");
    }
    assert!(
        100 < orders && 100 < levels && 100 < narrow,
        "{orders} wide orders, {levels} wide levels, {narrow} neither"
    );
}
