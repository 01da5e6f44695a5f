//! The port of market data, with its loop in this thread: who makes room for whom where all connections are in use, and
//! how it begins again.

mod common;

use api::binary::login::SessionName;
use api::binary::session::SessionLimits;
use api::binary::soup::PacketKind;
use api::binary::stream::SessionSeq;
use book::command::{Admin, Command, MarketLimits, MarketSpec, MarketStatus};
use book::engine::{Capacity, Engine};
use book::fees::MarketFees;
use book::ids::{AssetId, MarketId, Symbol};
use book::units::{Ppm, QtyLots, Seq, Stamp, TsNs, Units};
use common::raw::login_packet;
use node::gateway::market_data::{MarketData, MarketLimits as PortLimits};
use node::reactor::ports::Wait;
use node::reactor::uring::Reactor;
use node::replica::Replica;
use node::replica::public_feed::PublicFeed;
use node::replica::questions::{ShadowInlet, ShadowRequest, shadow_port};
use node::rings::feed_items::{FEED_ITEMS_PER_COMMAND_MAX, FeedIn, FeedItem, feed_items};
use node::status::Status;
use node::status::listeners::Limit;
use node::status::watermarks::{EngineWatermarks, watermarks};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

const STEP_NS: u64 = 1_000_000;
/// Steps within which anything that can happen has happened; in the port's time less than any of its timeouts.
const STEPS: usize = 600;

struct Port {
    reactor: Reactor,
    market: MarketData,
    items: FeedIn,
    questions: ShadowInlet,
    watermarks: EngineWatermarks,
    status: Arc<Status>,
    address: SocketAddr,
    /// The loop's time: it advances with each step, whatever the clock says.
    now: TsNs,
}

impl Port {
    fn new(connections_max: u16, logins_awaited_per_address_max: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("the listener has an address");
        let mut reactor = Reactor::new(connections_max).expect("this machine offers io_uring");
        reactor.listen(listener);
        let (writers, readers) = watermarks(Seq(0));
        let status = Arc::new(Status::new(readers.clone()));
        let limits = PortLimits {
            connections_max: u32::from(connections_max),
            logins_awaited_per_address_max,
            connections_per_block_max: u32::from(connections_max),
            session: SessionLimits { login_ms: 3_600_000, silence_ms: 3_600_000, heartbeat_ms: 3_600_000 },
        };
        let (items_in, items) = feed_items(ITEMS);
        let (shadow, questions) = shadow_port();
        let market = MarketData::new(items, PublicFeed::new(), shadow, readers.released, Arc::clone(&status), limits);
        Self { reactor, market, items: items_in, questions, watermarks: writers.engine, status, address, now: TsNs(1) }
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).expect("the kernel's queue has room");
        socket.set_nonblocking(true).expect("a TCP socket");
        socket
    }

    fn step(&mut self) {
        self.now.0 += STEP_NS;
        self.reactor.poll(Wait::Upto(Duration::from_millis(5))).expect("the ring works");
        self.market.poll(self.now, &mut self.reactor);
    }

    fn step_until(&mut self, mut reached: impl FnMut(&Self) -> bool) -> bool {
        (0..STEPS).any(|_| {
            self.step();
            reached(self)
        })
    }

    /// Whether a client that sends its login at once is answered.
    fn lets_log_in(&mut self) -> Option<TcpStream> {
        let mut socket = self.connect();
        let login = login_packet("any", "", SessionName::LIVE, SessionSeq::HEAD);
        socket.write_all(&login).expect("the kernel takes the bytes");
        let answered = self.step_until(|_| has_bytes(&mut socket) == Some(true));
        answered.then_some(socket)
    }

    fn displaced(&self) -> u64 {
        self.status.listeners.market.displaced.get()
    }
}

/// Whether bytes have arrived (`true`) or the connection has ended (`false`).
fn has_bytes(socket: &mut TcpStream) -> Option<bool> {
    let mut bytes = [0; 64];
    match socket.read(&mut bytes) {
        Ok(0) => Some(false),
        Ok(_) => {
            assert_eq!(bytes[2], PacketKind::Accepted as u8);
            Some(true)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(_) => Some(false),
    }
}

#[test]
fn silent_connections_make_room_oldest_first_and_logged_in_ones_stay() {
    let mut port = Port::new(4, 64);
    let mut readers = vec![port.lets_log_in().expect("the port is empty")];
    let mut silent: Vec<TcpStream> = (0..20).map(|_| port.connect()).collect();
    for _ in 0..2 {
        readers.push(port.lets_log_in().expect("silent connections lock a client out"));
    }
    assert_eq!(port.status.listeners.market.limit(), Some(Limit::Connections));
    assert_eq!(port.status.listeners.market.limited.get(), 1, "one episode, however many connections came");
    assert!(port.step_until(|port| port.displaced() >= 20), "only {} made room", port.displaced());
    assert!(readers.iter_mut().all(|reader| has_bytes(reader).is_none()), "a reader that has logged in was closed");
    let open = silent.iter_mut().map(has_bytes).filter(Option::is_none).count();
    assert_eq!(open, 0, "a silent connection has outlived its time on a full port");
    // Nothing is at a limit when some have left and it has been quiet for a while.
    drop(readers);
    port.step();
    port.now.0 += 60_000_000_000;
    assert!(port.step_until(|port| port.status.listeners.market.limit().is_none()), "the episode does not end");
}

#[test]
fn the_last_place_is_left_by_a_silent_connection_after_its_time() {
    let mut port = Port::new(2, 64);
    let _reader = port.lets_log_in().expect("the port is empty");
    let mut silent = port.connect();
    assert!(port.step_until(|port| port.status.market_readers.get() == 2), "it is accepted");
    assert_eq!((port.displaced(), has_bytes(&mut silent)), (0, None), "it has its time");
    port.now.0 += 1_000_000_000;
    assert!(port.lets_log_in().is_some(), "one silent connection keeps the last place");
    assert_eq!(has_bytes(&mut silent), Some(false));
}

#[test]
fn an_address_beyond_its_bound_loses_its_oldest_silent_connection() {
    let mut port = Port::new(16, 2);
    let reader = port.lets_log_in().expect("the port is empty");
    let mut silent: Vec<TcpStream> = (0..4).map(|_| port.connect()).collect();
    assert!(port.step_until(|port| port.displaced() == 2), "the bound is not kept");
    assert!(
        port.step_until(|_| silent[..2].iter_mut().all(|socket| has_bytes(socket) == Some(false))),
        "the oldest end"
    );
    assert!(silent[2..].iter_mut().all(|socket| has_bytes(socket).is_none()), "the newest stay");
    assert_eq!(port.status.listeners.market.limit(), None, "the port itself is at no limit");
    drop(reader);
}

#[cfg(feature = "mutation")]
#[test]
fn a_port_that_makes_no_room_is_noticed() {
    use node::faults::mutation::{Mutation, plant};
    plant(Some(Mutation::NoRoomMade));
    let mut port = Port::new(4, 64);
    let silent: Vec<TcpStream> = (0..20).map(|_| port.connect()).collect();
    let answered = port.lets_log_in();
    plant(None);
    assert!(answered.is_none(), "the planted fault has no effect");
    drop(silent);
}

/// Items that the ring has room for: three, and those of one command, whatever it does.
const ITEMS: usize = FEED_ITEMS_PER_COMMAND_MAX + 3;

/// Commands 1 and 2 add two assets, command 3 a market, and the others change its status. The first two are no messages
/// of the live stream, each other one is one.
fn act(seq: u64) -> Admin {
    let symbol = |text| Symbol::new(text).expect("valid");
    let (market, limits) = (MarketId(1), (QtyLots(1), QtyLots(9)));
    match seq {
        1 => Admin::AddAsset { symbol: symbol("GOLD"), scale: 8 },
        2 => Admin::AddAsset { symbol: symbol("USD"), scale: 8 },
        3 => Admin::AddMarket(MarketSpec {
            symbol: symbol("GOLDUSD"),
            base: AssetId(1),
            quote: AssetId(2),
            tick_e9: 1_000_000_000,
            lot_e8: 100_000_000,
            limits: MarketLimits { qty_min: limits.0, qty_max: limits.1, notional_min: Units(0), price_band: Ppm(0) },
            fees: MarketFees::NONE,
            status: MarketStatus::Trading,
        }),
        4 => Admin::SetMarketStatus { market, status: MarketStatus::Halt },
        _ => Admin::SetMarketStatus { market, status: MarketStatus::Trading },
    }
}

/// The state after command `upto`, and the item of that command.
fn replica(upto: u64) -> (Replica, Option<FeedItem>) {
    let mut replica = Replica::new(Engine::new(Capacity::default()));
    let mut last = None;
    for seq in 1..=upto {
        let stamp = Stamp { seq: Seq(seq), ts: TsNs(seq) };
        let mut events = Vec::new();
        replica.engine.apply(stamp, &Command::Admin(Box::new(act(seq))), &mut events);
        replica.translate(stamp, &[], &events, &mut ());
        last = events.first().map(|event| FeedItem { stamp, event: *event, last: true });
    }
    (replica, last)
}

fn item(seq: u64) -> FeedItem {
    replica(seq).1.expect("each command has one event")
}

/// The feed that has published every command up to `upto`.
fn expected(upto: u64) -> PublicFeed {
    let mut feed = PublicFeed::new();
    (1..=upto).for_each(|seq| feed.apply(&item(seq)));
    feed
}

/// A port whose feed has published commands 1 to 3 when its ring becomes full: those of 4 fill it, those of 5 are lost.
fn gapped() -> Port {
    let mut port = Port::new(4, 4);
    (1..=3).for_each(|seq| port.push(seq));
    port.release(3);
    port.step();
    assert_eq!(port.market.feed().stamp().seq, Seq(3));
    (0..4).for_each(|_| port.push(4));
    port.push(5);
    port.release(5);
    port
}

impl Port {
    /// A command of the engine whose only item is this one.
    fn push(&mut self, seq: u64) {
        self.items.begin();
        self.items.push(item(seq));
    }

    fn release(&mut self, seq: u64) {
        self.watermarks.applied.catch_up(Seq(seq));
        self.watermarks.durable.catch_up(Seq(seq));
        self.watermarks.released.catch_up(Seq(seq));
    }

    /// Answers the feed's question as a shadow that has applied commands up to `upto`.
    fn answer(&self, upto: u64) -> Seq {
        let request = self.questions.requests.try_recv().expect("the feed asks");
        let ShadowRequest::Ask { seq, question, .. } = request else { panic!("the feed takes no snapshot") };
        question(&replica(upto).0);
        seq
    }
}

#[test]
fn a_feed_whose_ring_was_full_goes_on_with_the_state_of_the_shadow() {
    let mut port = gapped();
    assert!(port.step_until(|port| port.market.is_renewing()));
    port.step();
    assert_eq!(port.answer(5), Seq(5), "the shadow is asked for what was lost");
    port.push(6);
    port.release(6);
    assert!(port.step_until(|port| !port.market.is_renewing() && port.market.feed().stamp().seq == Seq(6)));
    assert_eq!(port.market.feed().live().next_seq(), expected(6).live().next_seq());
    assert_eq!(port.status.feed_gaps.get(), 1);
}

#[test]
fn a_feed_asks_again_when_an_answer_is_too_early() {
    let mut port = gapped();
    assert!(port.step_until(|port| port.market.is_renewing()));
    port.step();
    port.answer(4);
    assert!(!port.step_until(|port| !port.market.is_renewing()), "the state lacks what was lost");
    port.answer(5);
    assert!(port.step_until(|port| !port.market.is_renewing()));
}

/// The feed waits while the items of commands 6 to 9 come and are released, and is answered with the state after 5.
fn answered_late() -> (Port, Seq) {
    let mut port = gapped();
    assert!(port.step_until(|port| port.market.is_renewing()));
    for seq in 6..=9 {
        port.push(seq);
        port.release(seq);
        port.step();
    }
    let asked = port.answer(5);
    port.step_until(|port| !port.market.is_renewing() && port.market.feed().stamp().seq == Seq(9));
    (port, asked)
}

#[test]
fn a_feed_keeps_what_follows_its_question() {
    let (port, asked) = answered_late();
    assert_eq!(asked, Seq(5), "what follows the question is not part of it");
    assert!(!port.market.is_renewing(), "a late answer is too early: under lasting load the feed would ask for ever");
    assert_eq!(port.market.feed().live().next_seq(), expected(9).live().next_seq());
}

#[cfg(feature = "mutation")]
#[test]
fn a_feed_that_discards_what_follows_is_noticed() {
    use node::faults::mutation::{Mutation, plant};
    plant(Some(Mutation::ItemsDiscarded));
    let (port, _) = answered_late();
    plant(None);
    assert!(port.market.is_renewing());
}

/// A feed that begins again while the items of commands 4 to 6 are in the ring, of which its state has 4 and 5.
fn begun_again() -> Port {
    let mut port = Port::new(4, 4);
    port.market.begin_again();
    port.step();
    (4..=6).for_each(|seq| port.push(seq));
    port.release(6);
    port.answer(5);
    assert!(port.step_until(|port| port.market.feed().stamp().seq == Seq(6)));
    port
}

#[test]
fn a_feed_that_begins_again_publishes_each_item_once() {
    let port = begun_again();
    assert_eq!(port.market.feed().live().next_seq(), expected(6).live().next_seq());
}

#[cfg(feature = "mutation")]
#[test]
fn a_feed_that_publishes_items_twice_is_noticed() {
    use node::faults::mutation::{Mutation, plant};
    plant(Some(Mutation::ItemsPublishedTwice));
    let port = begun_again();
    plant(None);
    assert_ne!(port.market.feed().live().next_seq(), expected(6).live().next_seq());
}
