//! Orders for a node under test, one batch answered before the next is sent.

use super::Running;
use api::binary::stream::SessionSeq;
use api::client::OrderClient;
use book::ids::ClOrdId;
use std::time::{Duration, Instant};
use tools::client::market_data::{definition, follow};
use tools::client::setup::Credentials;
use tools::load_generator::connection::Line;
use tools::load_generator::flow::{Flow, Grid, Profile};
use tools::terminal::clock::fresh_cl_ord_id;
use tools::verbs::load::Tally;

const BATCH: usize = 50;
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

pub struct Traffic {
    line: Line,
    next: ClOrdId,
    tally: Tally,
}

impl Traffic {
    pub fn new(running: &Running, login: &Credentials) -> Self {
        let addresses = running.node().addresses;
        // The feed is behind the admin's answer by a moment.
        follow(addresses.market, "BTCUSDT").expect("announced");
        let grid = Grid::of(&definition(addresses.market, "BTCUSDT").expect("announced"));
        let client = OrderClient::connect(addresses.orders, &login.user, &login.password, SessionSeq::HEAD);
        let flow = Flow::new(Profile::Mixed, grid, 600_000, 200, 7);
        let line = Line::new(client.expect("logged in"), flow, false);
        Self { line, next: fresh_cl_ord_id(), tally: Tally::new() }
    }

    /// Sends so many commands, and waits until each is answered: they are in the log then.
    pub fn commands(&mut self, count: usize) {
        let mut left = count;
        while 0 < left {
            for _ in 0..left.min(BATCH) {
                self.next = ClOrdId(self.next.0 + 1);
                self.line.send(self.next, Instant::now()).expect("sent");
            }
            left -= left.min(BATCH);
            self.line.flush().expect("sent");
            while 0 < self.line.waiting() {
                assert!(self.line.receive_within(ANSWER_WITHIN, &mut self.tally).expect("connected"), "no answer");
            }
        }
    }
}
