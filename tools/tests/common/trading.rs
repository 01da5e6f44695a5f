//! A session that trades with itself, and the messages that it received.

use super::Running;
use super::process::pinion;
use api::binary::login::LoginReject;
use api::binary::stream::SessionSeq;
use api::client::{ClientError, OrderClient};
use book::units::Seq;
use std::path::Path;
use std::time::Duration;
use tools::client::setup::Credentials;
use tools::offline::as_of::StateReader;

const PATIENCE: Duration = Duration::from_secs(20);

/// The first `count` messages of a session in the present life of its stream.
pub(crate) fn messages_of(running: &Running, login: &Credentials, count: u64) -> Vec<Vec<u8>> {
    let orders = running.node().addresses.orders;
    let mut client = OrderClient::connect(orders, &login.user, &login.password, SessionSeq::FIRST).expect("logged in");
    let first = client.next_seq().0;
    let mut messages = Vec::new();
    while (messages.len() as u64) < count {
        let received = client.poll_raw(PATIENCE).expect("connected").expect("another message comes");
        if let Some(seq) = received.seq {
            assert_eq!(seq.0, first + messages.len() as u64);
            messages.push(received.message.to_vec());
        }
    }
    client.logout().expect("logged out");
    messages
}

/// The number of messages that a session has at a sequence in the present life of its stream.
pub(crate) fn messages_at(dir: &Path, seq: Option<u64>) -> u64 {
    let state = StateReader::open(dir).and_then(|reader| reader.state(seq.map(Seq))).expect("a state");
    let positions = &state.replica.positions;
    positions.sessions().first().map_or(0, |next| next.0 - positions.first().0)
}

/// Whether a session may go on after the message with this number.
pub(crate) fn resumes(running: &Running, login: &Credentials, number: u64) -> bool {
    let orders = running.node().addresses.orders;
    match OrderClient::connect(orders, &login.user, &login.password, SessionSeq(number + 1)) {
        Ok(client) => client.logout().is_ok(),
        Err(ClientError::LoginRejected(LoginReject::NoSession)) => false,
        Err(other) => panic!("{other}"),
    }
}

/// Places orders that rest and trade with the tool.
pub(crate) fn trade(running: &Running, login: &Credentials, rounds: usize) {
    let addresses = running.node().addresses;
    let (orders, market) = (addresses.orders.to_string(), addresses.market.to_string());
    for round in 0..rounds {
        for (side, price) in [("buy", 100 + round % 3), ("sell", 101 - round % 2)] {
            let price = price.to_string();
            let arguments = [
                "order",
                "--user",
                &login.user,
                "--password",
                &login.password,
                "--orders",
                &orders,
                "--market-data",
                &market,
                "--market",
                "BTCUSDT",
                "--side",
                side,
                "--price",
                &price,
                "--qty",
                "0.25",
            ];
            let outcome = pinion(&arguments);
            // The node may refuse an order that would trade with the same account.
            assert!(outcome.code <= 1, "{}{}", outcome.out, outcome.err);
        }
    }
}

pub(crate) fn seq_of(running: &Running) -> u64 {
    running.node().status.watermarks.durable.get().0
}
