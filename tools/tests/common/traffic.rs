//! Orders for a node under test; a batch is sent after the answers to the previous one.

use super::Running;
use api::binary::stream::SessionSeq;
use api::client::OrderClient;
use book::ids::ClOrdId;
use std::time::{Duration, Instant};
use tools::client::market_data::{definition, follow};
use tools::client::setup::Credentials;
use tools::load_generator::connection::Connection;
use tools::load_generator::flow::{Flow, Grid, Profile};
use tools::load_generator::tally::Tally;
use tools::terminal::clock::fresh_cl_ord_id;

const BATCH: usize = 50;
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

pub(crate) struct Traffic {
    connection: Connection,
    next: ClOrdId,
    tally: Tally,
}

impl Traffic {
    pub(crate) fn new(running: &Running, login: &Credentials) -> Self {
        let addresses = running.node().addresses;
        // The feed may announce the market after the admin's answer.
        follow(addresses.market, "BTCUSDT").expect("announced");
        let grid = Grid::of(&definition(addresses.market, "BTCUSDT").expect("announced"));
        let client = OrderClient::connect(addresses.orders, &login.user, &login.password, SessionSeq::HEAD);
        let flow = Flow::new(Profile::Mixed, grid, 600_000, 200, 7);
        let connection = Connection::new(client.expect("logged in"), flow, false);
        Self { connection, next: fresh_cl_ord_id(), tally: Tally::new() }
    }

    /// Sends so many commands and waits for the answer to each, so that they are in the log on return.
    pub(crate) fn commands(&mut self, count: usize) {
        let mut left = count;
        while 0 < left {
            for _ in 0..left.min(BATCH) {
                self.next = ClOrdId(self.next.0 + 1);
                self.connection.send(self.next, Instant::now()).expect("sent");
            }
            left -= left.min(BATCH);
            self.connection.flush().expect("sent");
            while 0 < self.connection.in_flight() {
                assert!(
                    self.connection.receive_within(ANSWER_WITHIN, &mut self.tally).expect("connected"),
                    "no answer"
                );
            }
        }
    }
}
