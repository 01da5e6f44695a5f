//! A price level with more than the wire can show: valid orders of clients make it, and the node, its market data and
//! its next start go on as with any other.

mod common;

use api::binary::depth::{DepthBook, Level};
use api::binary::login::SessionName;
use api::binary::market::{MarketMessage, read_levels};
use api::binary::orders::{Answer, CancelOrder, NewOrder, TIF_IOC};
use api::binary::requests::Target;
use api::binary::stream::SessionSeq;
use api::client::{BookFollower, MarketClient, OrderClient};
use api::decimal::{PriceE9, QtyE8};
use api::instruments::WIRE_AMOUNT_MAX;
use book::command::{Admin, MarketLimits, MarketSpec, MarketStatus, Side};
use book::event::Event;
use book::fees::MarketFees;
use book::ids::{AssetId, ClOrdId, MarketId, Symbol};
use book::units::{Ppm, QtyLots, Units};
use common::{NodeDir, ONE, PATIENCE, RunningNode, next};

/// Two buys of so much are more than 63 bits of 1e-8 hold.
const LOTS: i64 = 92_000_000_000;
const PRICE: PriceE9 = PriceE9(10);
const ONLY_THE_LOG: &str = "[snapshot]\nevery_commands = 1000000000\nevery = \"24h\"\non_stop = false\n";

/// A market of a coin without decimal places that costs 1e-8 of another.
fn add_market(running: &RunningNode) -> MarketId {
    let symbol = |text| Symbol::new(text).expect("the value is valid");
    for (text, scale) in [("BIG", 0), ("USDT", 8)] {
        running.admin(Admin::AddAsset { symbol: symbol(text), scale });
    }
    let limits = MarketLimits {
        qty_min: QtyLots(1),
        qty_max: QtyLots((WIRE_AMOUNT_MAX / ONE).unsigned_abs()),
        notional_min: Units(0),
        price_band: Ppm(0),
    };
    let spec = MarketSpec {
        symbol: symbol("BIGUSDT"),
        base: AssetId(1),
        quote: AssetId(2),
        tick_e9: PRICE.0.unsigned_abs(),
        lot_e8: ONE.unsigned_abs(),
        limits,
        fees: MarketFees::NONE,
        status: MarketStatus::Trading,
    };
    match running.admin(Admin::AddMarket(spec))[..] {
        [Event::MarketAdded(rules)] => rules.id,
        ref other => panic!("{other:?}"),
    }
}

fn order(id: u64, side: Side, lots: i64) -> NewOrder {
    NewOrder::limit(ClOrdId(id), MarketId(1), side, PRICE, QtyE8(lots * ONE))
}

fn bids(book: &DepthBook) -> Vec<Level> {
    book.levels(Side::Buy).collect()
}

fn orders(book: &DepthBook) -> Vec<i64> {
    book.orders(Side::Buy).map(|order| order.qty_e8).collect()
}

fn book_of(follower: &BookFollower) -> &DepthBook {
    follower.depth().book(1).expect("the market is in the feed")
}

/// Follows the live stream until the bids have these quantities.
#[track_caller]
fn follow_until(follower: &mut BookFollower, wanted: &[i64]) {
    while orders(book_of(follower)) != wanted {
        let received = follower.poll(PATIENCE).expect("the feed goes on");
        assert!(received.is_some(), "the bids are {:?} and not {wanted:?}", orders(book_of(follower)));
    }
}

/// The best bid of `TOP`, as its first two messages have it.
fn top(running: &RunningNode) -> (i64, Vec<(i64, u32)>) {
    let address = running.node().addresses.market;
    let mut client = MarketClient::connect(address, SessionName::TOP, SessionSeq::FIRST).expect("logged in");
    let first = client.poll(PATIENCE).expect("connected").expect("a message in time");
    let MarketMessage::Bbo(best) = first.message else { panic!("{first:?}") };
    let update = client.poll_raw(PATIENCE).expect("connected").expect("a message in time");
    let levels = read_levels(update.message).expect("an update of levels");
    (best.bid_qty_e8.get(), levels.map(|level| (level.qty_e8.get(), level.orders.get())).collect())
}

/// Waits for an answer of this kind and passes over the others.
fn wait_for(client: &mut OrderClient, is_it: fn(&Answer) -> bool) {
    while !is_it(&next(client).message) {}
}

/// Orders of these quantities rest at one price, and every stream of market data shows it.
#[track_caller]
fn all_readers_have(running: &RunningNode, live: &mut BookFollower, wanted: &[i64]) {
    follow_until(live, wanted);
    let sum: i128 = wanted.iter().map(|qty| i128::from(*qty)).sum();
    let (qty_e8, count) = (sum.min(i128::from(WIRE_AMOUNT_MAX)) as i64, wanted.len() as u32);
    assert_eq!(bids(book_of(live)), [Level { price_e9: PRICE.0, qty_e8, orders: count }]);
    let snapshot = running.follow();
    assert_eq!(bids(book_of(&snapshot)), bids(book_of(live)), "a snapshot of the feed has the same levels");
    assert_eq!(orders(book_of(&snapshot)), wanted, "and the same orders");
    assert_eq!(top(running), (qty_e8, vec![(qty_e8, count)]), "TOP has them too");
}

fn a_level_beyond_63_bits(extra: &str) {
    let node_dir = NodeDir::with(extra);
    let running = node_dir.start();
    let market = add_market(&running);
    running.add_trader("MM1");
    running.add_trader("MM2");
    let mut live = running.follow();
    let mut buyer = running.connect("MM1", SessionSeq::HEAD);
    for id in [1, 2] {
        buyer.new_order(&order(id, Side::Buy, LOTS)).expect("connected");
        wait_for(&mut buyer, |answer| matches!(answer, Answer::OrderAccepted(_)));
    }
    all_readers_have(&running, &mut live, &[LOTS * ONE, LOTS * ONE]);
    drop((buyer, live));
    assert_eq!(running.stop(), 0);

    let running = node_dir.start();
    let mut live = running.follow();
    let mut buyer = running.connect("MM1", SessionSeq::HEAD);
    let mut seller = running.connect("MM2", SessionSeq::HEAD);
    all_readers_have(&running, &mut live, &[LOTS * ONE, LOTS * ONE]);
    seller.new_order(&NewOrder { tif: TIF_IOC, ..order(1, Side::Sell, LOTS / 2) }).expect("connected");
    wait_for(&mut seller, |answer| matches!(answer, Answer::OrderExecuted(_)));
    all_readers_have(&running, &mut live, &[LOTS / 2 * ONE, LOTS * ONE]);
    buyer.cancel(&CancelOrder::new(ClOrdId(3), Target::ClOrdId(ClOrdId(2)), market)).expect("connected");
    wait_for(&mut buyer, |answer| matches!(answer, Answer::OrderCanceled(_)));
    all_readers_have(&running, &mut live, &[LOTS / 2 * ONE]);
    // 92,233,720,368 in all is the most that is exact in whole coins.
    buyer.new_order(&order(4, Side::Buy, 46_233_720_368)).expect("connected");
    all_readers_have(&running, &mut live, &[LOTS / 2 * ONE, 46_233_720_368 * ONE]);
    assert!(bids(book_of(&live))[0].qty_e8 < WIRE_AMOUNT_MAX);
    drop((buyer, seller, live));
    assert_eq!(running.stop(), 0);

    let running = node_dir.start();
    let mut live = running.follow();
    all_readers_have(&running, &mut live, &[LOTS / 2 * ONE, 46_233_720_368 * ONE]);
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_level_beyond_63_bits_is_traded_and_survives_a_start_from_a_snapshot() {
    a_level_beyond_63_bits("");
}

#[test]
fn a_level_beyond_63_bits_is_traded_and_survives_a_start_from_the_log() {
    a_level_beyond_63_bits(ONLY_THE_LOG);
}
