//! Clients that trade as fast as they are answered and remember every byte; the oracle of the crash tests.

use super::process::Start;
use super::{PASSWORD, RunningNode, limit, wait_until};
use api::binary::orders::{Answer, CancelOrder};
use api::binary::requests::Target;
use api::binary::stream::SessionSeq;
use api::client::{ClientError, OrderClient};
use book::command::Side;
use book::ids::{ClOrdId, MarketId};
use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Requests under way at once.
const WINDOW: u64 = 16;
const POLL: Duration = Duration::from_millis(20);
const CHECK_POLL: Duration = Duration::from_secs(20);
/// An order is cancelled this many orders later, if it still rests.
const CANCEL_AFTER: u64 = 40;
/// Answered orders of each trader after which a load is long enough to be interrupted. One frame contains at most a
/// window of them, so the log has more than a hundred frames of the load on a disk of any speed.
pub(crate) const LOAD_ORDERS: u64 = 2_000;
const _: () = assert!(100 * WINDOW < LOAD_ORDERS);

/// A load: the progress of each of its traders, and the flag that stops them.
pub(crate) struct Load {
    stop: AtomicBool,
    /// Orders answered in this load, by trader.
    answered: Vec<AtomicU64>,
}

impl Load {
    fn of(traders: usize) -> Self {
        Self { stop: AtomicBool::new(false), answered: (0..traders).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Waits until so many orders of every trader are answered. The length of a load is thus an amount and not a time.
    pub(crate) fn until_answered(&self, orders: u64) {
        let reached = || self.answered.iter().all(|answered| orders <= answered.load(Ordering::Relaxed));
        wait_until("every trader has its answers", reached);
    }
}

/// A violation found in the answers of a restarted node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Something acknowledged is missing or has changed.
    Lost(String),
    Other(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(what) => write!(f, "lost: {what}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl From<String> for Wrong {
    fn from(what: String) -> Self {
        Self::Other(what)
    }
}

/// The client of one session, over all of its connections.
pub(crate) struct Trader {
    pub user: String,
    pub market: MarketId,
    pub side: Side,
    /// Messages of the node; the first has number 1.
    pub received: Vec<Vec<u8>>,
    /// Ids of the orders that were, or may have been, sent.
    pub sent: BTreeSet<u64>,
    /// Ids of the orders that the node answered.
    pub answered: BTreeSet<u64>,
    id_last: u64,
}

impl Trader {
    pub(crate) fn new(user: &str, market: MarketId, side: Side) -> Self {
        Self {
            user: user.to_owned(),
            market,
            side,
            received: Vec::new(),
            sent: BTreeSet::new(),
            answered: BTreeSet::new(),
            id_last: 0,
        }
    }

    fn next_seq(&self) -> SessionSeq {
        SessionSeq(self.received.len() as u64 + 1)
    }

    /// Trades until `stop` is set or the node has ended.
    fn trade(&mut self, address: SocketAddr, stop: &AtomicBool, count: &AtomicU64) {
        let Ok(mut client) = OrderClient::connect(address, &self.user, PASSWORD, self.next_seq()) else { return };
        let _ = self.trade_on(&mut client, stop, count);
    }

    fn trade_on(&mut self, client: &mut OrderClient, stop: &AtomicBool, count: &AtomicU64) -> Result<(), ClientError> {
        // Orders that a crash left without an answer are not waited for; new ids continue after theirs.
        let before = self.id_last;
        while !stop.load(Ordering::Relaxed) {
            let answered = self.answered.range(before + 1..).count() as u64;
            let wait = if self.id_last - before - answered < WINDOW {
                self.send_one(client)?;
                Duration::ZERO
            } else {
                POLL
            };
            while let Some(received) = client.poll_raw(wait)? {
                let message = received.message.to_vec();
                self.note(message, count);
                if !wait.is_zero() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Records an order and sends it, in this order: one that was sent and not recorded would look like an invention of
    /// the node.
    fn send_one(&mut self, client: &mut OrderClient) -> Result<(), ClientError> {
        self.id_last += 1;
        let id = self.id_last;
        self.sent.insert(id);
        client.queue(&limit(id, self.market, self.side, 100 + (id % 5) as i64, 1 + (id % 7) as i64))?;
        if id > CANCEL_AFTER {
            let target = Target::ClOrdId(ClOrdId(id - CANCEL_AFTER));
            client.queue(&CancelOrder::new(ClOrdId(id - CANCEL_AFTER), target, self.market))?;
        }
        client.flush()
    }

    fn note(&mut self, message: Vec<u8>, count: &AtomicU64) {
        if let Some(id) = first_answer(&message) {
            self.answered.insert(id);
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.received.push(message);
    }

    /// Reads the session's complete stream again and compares it with the recorded messages.
    pub(crate) fn check(&mut self, address: SocketAddr) -> Result<(), Wrong> {
        self.check_from(address, 0)
    }

    /// The same for the messages after the first `known`, which an earlier check has compared.
    pub(crate) fn check_from(&mut self, address: SocketAddr, known: usize) -> Result<(), Wrong> {
        let user = self.user.clone();
        let wrong = |what: String| Err(Wrong::Other(format!("{user}: {what}")));
        let lost = |what: String| Err(Wrong::Lost(format!("{user}: {what}")));
        let head = OrderClient::connect(address, &self.user, PASSWORD, SessionSeq::HEAD);
        let next = match head {
            Ok(client) => client.next_seq(),
            Err(error) => return wrong(format!("cannot log in: {error}")),
        };
        if next < self.next_seq() {
            let missing = self.next_seq().0 - next.0;
            return lost(format!(
                "{missing} messages are missing: {} were received, the stream has {}",
                self.received.len(),
                next.0 - 1
            ));
        }
        let mut client = OrderClient::connect(address, &self.user, PASSWORD, SessionSeq(known as u64 + 1))
            .map_err(|error| format!("{user}: cannot resume: {error}"))?;
        let mut stream = self.received[..known].to_vec();
        while client.next_seq() < next {
            match client.poll_raw(CHECK_POLL) {
                Ok(Some(received)) => stream.push(received.message.to_vec()),
                other => return wrong(format!("message {} does not arrive: {other:?}", stream.len() + 1)),
            }
        }
        if let Some(at) = self.received.iter().zip(&stream).position(|(then, now)| then != now) {
            return lost(format!("message {} was {:?} and is {:?}", at + 1, self.received[at], stream[at]));
        }
        let mut seen = BTreeSet::new();
        for id in stream.iter().filter_map(|message| first_answer(message)) {
            if !seen.insert(id) {
                return wrong(format!("order {id} is in the stream twice"));
            }
            if !self.sent.contains(&id) {
                return wrong(format!("order {id} was never sent"));
            }
        }
        if let Some(missing) = self.answered.difference(&seen).next() {
            return lost(format!("order {missing} was acknowledged and is missing"));
        }
        // Answers that the client had not received yet were under way at the crash; from now on they are recorded.
        self.answered = seen;
        self.received = stream;
        Ok(())
    }
}

/// The order that this message accepts or refuses, if it does.
fn first_answer(message: &[u8]) -> Option<u64> {
    match Answer::read(message).expect("the node sends valid messages") {
        Answer::OrderAccepted(m) => Some(m.cl_ord_id.get()),
        Answer::OrderRejected(m) => Some(m.cl_ord_id.get()),
        _ => None,
    }
}

/// Lets every session trade on a thread of its own while `meanwhile` runs, then stops all of them.
pub(crate) fn trade_while<T>(traders: &mut [Trader], address: SocketAddr, meanwhile: impl FnOnce(&Load) -> T) -> T {
    let load = Load::of(traders.len());
    std::thread::scope(|scope| {
        for (trader, count) in traders.iter_mut().zip(&load.answered) {
            scope.spawn(|| trader.trade(address, &load.stop, count));
        }
        // Also when `meanwhile` panics, because the scope waits for its threads before the panic continues.
        let _stop = StopAtEnd(&load.stop);
        meanwhile(&load)
    })
}

/// Adds a market and two clients that trade with each other in it.
pub(crate) fn two_traders(running: &RunningNode) -> Vec<Trader> {
    let market = running.add_market();
    let add = |(user, side)| {
        running.add_trader(user);
        Trader::new(user, market, side)
    };
    [("MM1", Side::Sell), ("MM2", Side::Buy)].map(add).into()
}

/// Trades until the node has applied so many more commands.
pub(crate) fn trade_so_many(running: &RunningNode, traders: &mut [Trader], commands: u64) {
    let status = &running.node().status;
    let aim = status.commands.get() + commands;
    trade_while(traders, running.orders(), |_| {
        wait_until("the node applies more commands", || aim <= status.commands.get())
    });
}

/// Starts the node and kills it under load.
pub(crate) fn trade_and_kill(start: &Start, traders: &mut [Trader]) {
    let process = start.run();
    let address = process.orders;
    trade_while(traders, address, |load| {
        load.until_answered(LOAD_ORDERS);
        process.kill();
    });
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
