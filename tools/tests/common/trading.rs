//! A session that trades with itself, and what it was told.

use super::Running;
use super::process::pinion;
use api::binary::stream::SessionSeq;
use api::client::OrderClient;
use book::units::Seq;
use std::path::Path;
use std::time::Duration;
use tools::client::setup::Credentials;
use tools::offline::as_of::Past;

const PATIENCE: Duration = Duration::from_secs(20);

/// Every message of a session from the first on.
pub fn past_of(running: &Running, login: &Credentials, count: u64) -> Vec<Vec<u8>> {
    let orders = running.node().addresses.orders;
    let mut client = OrderClient::connect(orders, &login.user, &login.password, SessionSeq::FIRST).expect("logged in");
    let mut messages = Vec::new();
    while (messages.len() as u64) < count {
        let received = client.poll_raw(PATIENCE).expect("connected").expect("more is to come");
        if let Some(seq) = received.seq {
            assert_eq!(seq.0, messages.len() as u64 + 1);
            messages.push(received.message.to_vec());
        }
    }
    client.logout().expect("said goodbye");
    messages
}

pub fn messages_at(dir: &Path, seq: Option<u64>) -> u64 {
    let moment = Past::open(dir).and_then(|past| past.state(seq.map(Seq))).expect("a state");
    moment.replica.positions.sessions().first().map_or(0, |next| next.0 - 1)
}

/// Orders that rest and trade, by the tool.
pub fn trade(running: &Running, login: &Credentials, rounds: usize) {
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
            // Trading with oneself is refused at times, which is an answer too.
            assert!(outcome.code <= 1, "{}{}", outcome.out, outcome.err);
        }
    }
}

pub fn seq_of(running: &Running) -> u64 {
    running.node().status.watermarks.durable.get().0
}
