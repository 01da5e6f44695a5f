//! Clients that trade as fast as they are answered, and remember every byte: the oracle of the crash tests.

use super::process::Start;
use super::{PASSWORD, Running, limit, until};
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
/// Orders of each trader that are answered before a load is long enough to be cut. A frame answers no more than a window of
/// them, so the log has more than a hundred frames of it, however slow the disk is.
pub const LOAD_ORDERS: u64 = 2_000;
const _: () = assert!(100 * WINDOW < LOAD_ORDERS);

/// A load under way: how far each of its traders has come, and whether they shall stop.
pub struct Load {
    stop: AtomicBool,
    /// Orders that were answered in this load, by trader.
    answered: Vec<AtomicU64>,
}

impl Load {
    fn of(traders: usize) -> Self {
        Self { stop: AtomicBool::new(false), answered: (0..traders).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Waits until so many orders of every trader are answered, so that the length of a load is an amount and no time.
    pub fn until_answered(&self, orders: u64) {
        let reached = || self.answered.iter().all(|answered| orders <= answered.load(Ordering::Relaxed));
        until("every trader is answered", reached);
    }
}

/// What is wrong with the answers of a node that came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Something was acknowledged, and is not there or is another.
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

/// One session's client, over all of its connections.
pub struct Trader {
    pub user: String,
    pub market: MarketId,
    pub side: Side,
    /// What the node said, by number from 1.
    pub told: Vec<Vec<u8>>,
    /// Ids of orders that were, or may have been, sent.
    pub sent: BTreeSet<u64>,
    /// Ids of orders that the node answered.
    pub answered: BTreeSet<u64>,
    id_last: u64,
}

impl Trader {
    pub fn new(user: &str, market: MarketId, side: Side) -> Self {
        Self {
            user: user.to_owned(),
            market,
            side,
            told: Vec::new(),
            sent: BTreeSet::new(),
            answered: BTreeSet::new(),
            id_last: 0,
        }
    }

    fn next_seq(&self) -> SessionSeq {
        SessionSeq(self.told.len() as u64 + 1)
    }

    /// Trades until told to stop or the node is gone.
    fn trade(&mut self, address: SocketAddr, stop: &AtomicBool, count: &AtomicU64) {
        let Ok(mut client) = OrderClient::connect(address, &self.user, PASSWORD, self.next_seq()) else { return };
        let _ = self.trade_on(&mut client, stop, count);
    }

    fn trade_on(&mut self, client: &mut OrderClient, stop: &AtomicBool, count: &AtomicU64) -> Result<(), ClientError> {
        // What a crash left unanswered is not waited for: ids go on behind it.
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

    /// Noted before it is sent: an order that left without a note would look as if nobody had sent it.
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
        self.told.push(message);
    }

    /// Reads the session's whole stream again and holds it against what is remembered. Says what is wrong.
    pub fn check(&mut self, address: SocketAddr) -> Result<(), Wrong> {
        self.check_from(address, 0)
    }

    /// The same for what is behind the first `known` messages, which an earlier check has seen.
    pub fn check_from(&mut self, address: SocketAddr, known: usize) -> Result<(), Wrong> {
        let user = self.user.clone();
        let wrong = |what: String| Err(Wrong::Other(format!("{user}: {what}")));
        let lost = |what: String| Err(Wrong::Lost(format!("{user}: {what}")));
        let head = OrderClient::connect(address, &self.user, PASSWORD, SessionSeq::HEAD);
        let next = match head {
            Ok(client) => client.next_seq(),
            Err(error) => return wrong(format!("cannot log in: {error}")),
        };
        if next < self.next_seq() {
            let gone = self.next_seq().0 - next.0;
            return lost(format!(
                "{gone} messages are gone: {} were received, {} are left",
                self.told.len(),
                next.0 - 1
            ));
        }
        let mut client = OrderClient::connect(address, &self.user, PASSWORD, SessionSeq(known as u64 + 1))
            .map_err(|error| format!("{user}: cannot resume: {error}"))?;
        let mut whole = self.told[..known].to_vec();
        while client.next_seq() < next {
            match client.poll_raw(CHECK_POLL) {
                Ok(Some(received)) => whole.push(received.message.to_vec()),
                other => return wrong(format!("message {} does not come: {other:?}", whole.len() + 1)),
            }
        }
        if let Some(at) = self.told.iter().zip(&whole).position(|(then, now)| then != now) {
            return lost(format!("message {} was {:?} and is {:?}", at + 1, self.told[at], whole[at]));
        }
        let mut seen = BTreeSet::new();
        for id in whole.iter().filter_map(|message| first_answer(message)) {
            if !seen.insert(id) {
                return wrong(format!("order {id} was taken twice"));
            }
            if !self.sent.contains(&id) {
                return wrong(format!("order {id} was sent by nobody"));
            }
        }
        if let Some(gone) = self.answered.difference(&seen).next() {
            return lost(format!("order {gone} was acknowledged and is not known"));
        }
        // What the node knows beyond what had arrived was under way when it was cut: known from now on.
        self.answered = seen;
        self.told = whole;
        Ok(())
    }
}

/// The order whose fate this message decides first: taken or refused.
fn first_answer(message: &[u8]) -> Option<u64> {
    match Answer::read(message).expect("the node speaks its own protocol") {
        Answer::OrderAccepted(m) => Some(m.cl_ord_id.get()),
        Answer::OrderRejected(m) => Some(m.cl_ord_id.get()),
        _ => None,
    }
}

/// Every session trades on a thread of its own while `meanwhile` runs; then all of them stop.
pub fn trade_while<T>(traders: &mut [Trader], address: SocketAddr, meanwhile: impl FnOnce(&Load) -> T) -> T {
    let load = Load::of(traders.len());
    std::thread::scope(|scope| {
        for (trader, count) in traders.iter_mut().zip(&load.answered) {
            scope.spawn(|| trader.trade(address, &load.stop, count));
        }
        // Also when `meanwhile` panics: its panic shall be seen, not waited for.
        let _stop = StopAtEnd(&load.stop);
        meanwhile(&load)
    })
}

/// A market, and two clients that trade with each other on it.
pub fn two_traders(running: &Running) -> Vec<Trader> {
    let market = running.add_market();
    let add = |(user, side)| {
        running.add_trader(user);
        Trader::new(user, market, side)
    };
    [("MM1", Side::Sell), ("MM2", Side::Buy)].map(add).into()
}

/// Trades until the node has taken so many commands more.
pub fn trade_so_many(running: &Running, traders: &mut [Trader], commands: u64) {
    let status = &running.node().status;
    let aim = status.commands.get() + commands;
    trade_while(traders, running.orders(), |_| until("the load moves on", || aim <= status.commands.get()));
}

/// Starts the node and kills it in the middle of the load.
pub fn trade_and_kill(start: &Start, traders: &mut [Trader]) {
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
