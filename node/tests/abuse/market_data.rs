//! Clients of market data that never read, or read late.

use crate::common::abused::AbusedNode;
use crate::common::raw::{Raw, connections_of, login_packet};
use crate::common::{PATIENCE, limit, next};
use api::binary::login::SessionName;
use api::binary::soup::PacketKind;
use api::binary::stream::SessionSeq;
use api::client::{BookFollower, ClientError, OrderClient, book_sync};
use book::command::Side;
use std::time::{Duration, Instant};

#[test]
fn market_data_clients_that_never_read_do_not_lock_others_out() {
    let mut abused = AbusedNode::new("[session]\nidle_timeout = \"5s\"\n", 1);
    // Enough resting orders for a snapshot that does not fit a socket.
    const ORDERS: u64 = 100_000;
    let maker = rest(&abused, "T1", ORDERS);
    let mut sleepers: Vec<Raw> = (0..8)
        .map(|_| {
            let mut raw = Raw::connect(abused.process.market);
            raw.send(&login_packet("any", "", SessionName::SNAP, SessionSeq::FIRST));
            raw
        })
        .collect();
    let deadline = Instant::now() + PATIENCE;
    let follower = loop {
        // The sleepers send heartbeats, so that only their lack of reading can end them.
        sleepers.iter_mut().for_each(|raw| raw.send(&[0, 1, b'R']));
        match book_sync(abused.process.market) {
            Ok(follower) => break follower,
            Err(ClientError::LoginRejected(_)) => {
                assert!(Instant::now() < deadline, "eight clients that do not read lock another one out")
            }
            Err(error) => panic!("{error}"),
        }
        abused.probe();
    };
    assert_eq!(order_count(&follower) as u64, ORDERS);
    drop((sleepers, maker, follower));
    abused.finish();
}

fn order_count(follower: &BookFollower) -> usize {
    follower.depth().books().map(|book| book.order_count()).sum()
}

/// Logs in a session and rests so many of its orders.
fn rest(abused: &AbusedNode, user: &str, orders: u64) -> OrderClient {
    let mut maker = abused.client(user, SessionSeq::HEAD);
    let mut known = 0;
    for id in 1..=orders {
        maker.queue(&limit(id, abused.market, Side::Sell, 100 + (id % 500) as i64, 1)).expect("connected");
        while known + 2_000 < id {
            next(&mut maker);
            known += 1;
        }
    }
    maker.flush().expect("connected");
    for _ in known..orders {
        next(&mut maker);
    }
    maker
}

/// Bytes that the kernel has accepted are delivered, also when the client sends something meanwhile.
#[test]
fn a_snapshot_is_complete_although_its_client_sends_and_reads_late() {
    let abused = AbusedNode::new("", 1);
    const ORDERS: u64 = 20_000;
    let maker = rest(&abused, "T1", ORDERS);
    let address = abused.process.market;
    let mut raw = Raw::connect(address);
    raw.send(&login_packet("any", "", SessionName::SNAP, SessionSeq::FIRST));
    // The node has closed its end of the connection: it has sent everything.
    let deadline = Instant::now() + PATIENCE;
    while connections_of(address) > 0 {
        assert!(Instant::now() < deadline, "the snapshot fits the sockets and was not sent in time");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    for _ in 0..10 {
        raw.send(&[0, 1, b'R']);
    }
    let packets = raw.until_closed();
    assert_eq!(packets.last().map(|p| p.0), Some(PacketKind::EndOfSession as u8), "the end of the session is missing");
    assert!(packets.len() as u64 > ORDERS);
    drop((raw, maker));
    abused.finish();
}
