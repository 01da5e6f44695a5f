//! The port of market data, with its loop in this thread: who makes room for whom where all connections are in use, and
//! how it begins again.

mod common;

use api::binary::login::SessionName;
use api::binary::session::SessionLimits;
use api::binary::soup::PacketKind;
use api::binary::stream::SessionSeq;
use book::command::{MarketLimits, MarketSpec, MarketStatus};
use book::event::Event;
use book::ids::{AssetId, MarketId, Symbol};
use book::instrument::{Asset, MarketRules};
use book::units::{Ppm, QtyLots, Seq, Stamp, TsNs, Units};
use common::raw::login_packet;
use node::gateway::market_data::{MarketData, MarketLimits as PortLimits};
use node::reactor::ports::Wait;
use node::reactor::uring::Reactor;
use node::replica::public_feed::PublicFeed;
use node::rings::feed_items::FeedItem;
use node::status::Status;
use node::status::listeners::Limit;
use node::status::watermarks::{EngineWatermarks, watermarks};
use rtrb::{Producer, RingBuffer};
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
    items: Producer<FeedItem>,
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
            session: SessionLimits { login_ms: 3_600_000, silence_ms: 3_600_000, heartbeat_ms: 3_600_000 },
        };
        let (items_in, items) = RingBuffer::new(4);
        let market = MarketData::new(items, PublicFeed::new(), readers.released, Arc::clone(&status), limits);
        Self { reactor, market, items: items_in, watermarks: writers.engine, status, address, now: TsNs(1) }
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

/// Commands 1 and 2 add two assets, command 3 a market, and 4 and 5 change its status. The first two are no messages of
/// the live stream, each other one is one.
fn item(seq: u64) -> FeedItem {
    let symbol = |text| Symbol::new(text).expect("valid");
    let asset = |id| Asset { id: AssetId(id), symbol: symbol(["GOLD", "USD"][id as usize - 1]), scale: 8 };
    let market = MarketId(1);
    let event = match seq {
        1 | 2 => Event::AssetAdded(asset(seq as u32)),
        3 => {
            let spec = MarketSpec {
                symbol: symbol("GOLDUSD"),
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
                maker_fee: Ppm(0),
                taker_fee: Ppm(0),
                status: MarketStatus::Trading,
            };
            Event::MarketAdded(MarketRules::new(market, &spec, &asset(1), &asset(2)).expect("valid"))
        }
        4 => Event::MarketStatusChanged { market, status: MarketStatus::Halt },
        _ => Event::MarketStatusChanged { market, status: MarketStatus::Trading },
    };
    FeedItem { stamp: Stamp { seq: Seq(seq), ts: TsNs(seq) }, event, last: true }
}

/// A feed that begins again with the state after command 4, while the items of commands 4 and 5 are in the ring.
fn begun_again() -> Port {
    let mut port = Port::new(4, 4);
    let mut state = PublicFeed::new();
    for seq in 4..=5 {
        port.items.push(item(seq)).expect("the ring has room");
    }
    (1..=4).for_each(|seq| state.apply(&item(seq)));
    port.watermarks.applied.advance(Seq(5));
    port.watermarks.durable.advance(Seq(5));
    port.watermarks.released.advance(Seq(5));
    port.market.begin_again(state, Seq(4));
    port
}

#[test]
fn a_feed_that_begins_again_publishes_each_item_once() {
    let mut port = begun_again();
    port.step();
    let mut expected = PublicFeed::new();
    (1..=5).for_each(|seq| expected.apply(&item(seq)));
    assert!(port.market.is_drained());
    assert_eq!(port.market.feed().live().next_seq(), expected.live().next_seq());
    assert_eq!(port.market.feed().stamp(), expected.stamp());
}

#[cfg(feature = "mutation")]
#[test]
fn a_feed_that_publishes_items_twice_is_noticed() {
    use node::faults::mutation::{Mutation, plant};
    plant(Some(Mutation::ItemsPublishedTwice));
    let mut port = begun_again();
    plant(None);
    port.step();
    let mut expected = PublicFeed::new();
    (1..=5).for_each(|seq| expected.apply(&item(seq)));
    assert_ne!(port.market.feed().live().next_seq(), expected.live().next_seq());
}
