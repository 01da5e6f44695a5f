//! The attacks on a node: each is a state machine whose `step` never waits.
//!
//! Invariant: a step sends and reads a bounded amount, so that the honest load on the same thread is on time.

use super::line::{Line, READ_BYTES};
use crate::fixture::{MARKET, PASSWORD, PRICE_ONE_E9, QTY_ONE_E8};
use crate::flow::Flow;
use anyhow::Result;
use api::binary::login::SessionName;
use api::binary::orders::{CancelOrder, EXEC_POST_ONLY, MassCancel, NewOrder, StatusRequest};
use api::binary::requests::Target;
use api::binary::sbe::{Framed, Message};
use api::binary::soup::{PacketKind, append_packet};
use api::binary::stream::SessionSeq;
use api::decimal::{PriceE9, QtyE8};
use book::command::{MassScope, Side};
use book::hash_key::HashKey;
use book::ids::{ClOrdId, MarketId};
use node::topology::Addresses;
use std::collections::VecDeque;
use zerocopy::{Immutable, IntoBytes};

/// Requests that one step makes at most, and bytes that may wait for a socket.
const REQUESTS_PER_STEP: usize = 64;
const UNWRITTEN_BYTES_MAX: usize = 64 << 10;
/// Requests over all orders of an account that an attack pipelines, in all: each keeps the node busy for long, and the
/// node works off what it has accepted also when its sender has gone.
const MASS_CANCELS: u64 = 64;
const STATUS_REQUESTS: u64 = 8;
/// Connections that an attack by numbers has at once; beyond, its oldest one is closed.
const CROWD: usize = 128;
const READERS: usize = 8;
/// Prices of the bids that rest.
const BID_LEVELS: u64 = 32;

/// The user with the orders at rest.
pub const OWNER: &str = "OWNER";
/// Users of the attacks that place orders, and the ones that log in and out.
pub const PLACER: &str = "PLACER";
pub const MUTE: &str = "MUTE";
pub const VISITORS: [&str; 4] = ["VISITA", "VISITB", "VISITC", "VISITD"];

/// An attack on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    CollidingIds,
    IdleMassCancels,
    StatusOfAll,
    SparsePrices,
    RefusedOrders,
    Growth,
    Pipelining,
    NeverReads,
    WrongLogins,
    RightLogins,
    Connections,
    Snapshots,
    LiveReplays,
    LiveNeverRead,
    TopReaders,
}

impl Kind {
    pub const ALL: [Self; 15] = [
        Self::CollidingIds,
        Self::IdleMassCancels,
        Self::StatusOfAll,
        Self::SparsePrices,
        Self::RefusedOrders,
        Self::Growth,
        Self::Pipelining,
        Self::NeverReads,
        Self::WrongLogins,
        Self::RightLogins,
        Self::Connections,
        Self::Snapshots,
        Self::LiveReplays,
        Self::LiveNeverRead,
        Self::TopReaders,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::CollidingIds => "client ids that collide under a guess",
            Self::IdleMassCancels => "mass cancels that fit no order",
            Self::StatusOfAll => "status of all orders, asked at once",
            Self::SparsePrices => "prices far apart",
            Self::RefusedOrders => "refused orders",
            Self::Growth => "orders that only rest",
            Self::Pipelining => "one session pipelines plain commands",
            Self::NeverReads => "a session that never reads",
            Self::WrongLogins => "wrong log-ins in bursts",
            Self::RightLogins => "right log-ins in bursts",
            Self::Connections => "connections without a log-in",
            Self::Snapshots => "snapshots, read and asked for again",
            Self::LiveReplays => "LIVE from its beginning, again and again",
            Self::LiveNeverRead => "readers of LIVE that never read",
            Self::TopReaders => "readers of TOP",
        }
    }

    pub fn begin(self, addresses: Addresses, ids: &mut Ids) -> Result<Attack> {
        let requests = |user, make| Attack::Requests(Box::new(Requests::new(addresses, user, make)));
        let first = ids.next;
        Ok(match self {
            Self::CollidingIds => requests(PLACER, Make::Colliding { next: first }),
            Self::IdleMassCancels => requests(OWNER, Make::MassCancel),
            Self::StatusOfAll => requests(OWNER, Make::Status),
            Self::SparsePrices => requests(PLACER, Make::Sparse { next: first, resting: VecDeque::new() }),
            Self::RefusedOrders => requests(PLACER, Make::Refused { next: first }),
            Self::Growth => requests(PLACER, Make::Resting { next: first }),
            Self::Pipelining => requests(PLACER, Make::Plain { flow: Box::new(Flow::after(MARKET, first)) }),
            Self::NeverReads => {
                let requests = Requests::new(addresses, MUTE, Make::Refused { next: 1 });
                Attack::Requests(Box::new(Requests { reads: false, ..requests }))
            }
            Self::WrongLogins => Attack::Crowd(Crowd::new(addresses, Arrival::Login("guess"))),
            Self::RightLogins => Attack::Crowd(Crowd::new(addresses, Arrival::Login(PASSWORD))),
            Self::Connections => Attack::Crowd(Crowd::new(addresses, Arrival::Silent)),
            Self::Snapshots => Attack::Readers(Readers::new(addresses, SessionName::SNAP, SessionSeq::FIRST)),
            Self::LiveReplays => Attack::Readers(Readers::new(addresses, SessionName::LIVE, ids.live_first)),
            Self::LiveNeverRead => {
                Attack::Readers(Readers { reads: false, ..Readers::new(addresses, SessionName::LIVE, ids.live_first) })
            }
            Self::TopReaders => Attack::Readers(Readers::new(addresses, SessionName::TOP, SessionSeq::FIRST)),
        })
    }
}

/// Numbers that outlive an attack.
#[derive(Clone, Copy, Debug)]
pub struct Ids {
    /// The next client id of the session that places orders.
    pub next: u64,
    /// The first message of `LIVE` that the node has in memory.
    pub live_first: SessionSeq,
}

/// An attack under way.
pub enum Attack {
    Requests(Box<Requests>),
    Crowd(Crowd),
    Readers(Readers),
}

impl Attack {
    /// A bounded piece of the attack.
    pub fn step(&mut self, scratch: &mut [u8]) -> Result<()> {
        match self {
            Self::Requests(requests) => requests.step(scratch),
            Self::Crowd(crowd) => crowd.step(scratch),
            Self::Readers(readers) => readers.step(scratch),
        }
    }

    /// Ends the attack; `ids` goes on after the ids that it has used.
    pub fn end(self, ids: &mut Ids) {
        if let Self::Requests(requests) = self {
            ids.next = ids.next.max(requests.make.next_id());
        }
    }
}

/// One session that sends requests as fast as its socket accepts them.
pub struct Requests {
    at: Addresses,
    user: &'static str,
    make: Make,
    line: Option<Line>,
    reads: bool,
    asked: u64,
}

impl Requests {
    fn new(at: Addresses, user: &'static str, make: Make) -> Self {
        Self { at, user, make, line: None, reads: true, asked: 0 }
    }

    fn step(&mut self, scratch: &mut [u8]) -> Result<()> {
        let line = match &mut self.line {
            Some(line) => line,
            empty => {
                empty.insert(Line::log_in(self.at.orders, self.user, PASSWORD, SessionName::BLANK, SessionSeq::HEAD)?)
            }
        };
        if self.reads || !line.is_open() {
            let look = line.look(scratch);
            if look.ended {
                self.line = None;
                return Ok(());
            }
        }
        if line.is_open() {
            for _ in 0..REQUESTS_PER_STEP {
                if line.unwritten() >= UNWRITTEN_BYTES_MAX || self.asked == self.make.asked_max() {
                    break;
                }
                self.asked += 1;
                self.make.append(&mut line.out);
            }
        }
        line.write();
        if line.ended {
            self.line = None;
        }
        Ok(())
    }
}

/// What a session asks for.
enum Make {
    Colliding { next: u64 },
    MassCancel,
    Status,
    Sparse { next: u64, resting: VecDeque<u64> },
    Refused { next: u64 },
    Resting { next: u64 },
    Plain { flow: Box<Flow> },
}

impl Make {
    fn next_id(&self) -> u64 {
        match self {
            Self::Colliding { next } | Self::Sparse { next, .. } | Self::Refused { next } | Self::Resting { next } => {
                *next
            }
            Self::Plain { flow } => flow.number() + 1,
            Self::MassCancel | Self::Status => 0,
        }
    }

    fn asked_max(&self) -> u64 {
        match self {
            Self::MassCancel => MASS_CANCELS,
            Self::Status => STATUS_REQUESTS,
            _ => u64::MAX,
        }
    }

    fn append(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Colliding { next } => {
                *next = colliding_after(*next);
                push(bid(*next, 1 + (*next % BID_LEVELS) as i64, QTY_ONE_E8), out);
                *next += 1;
            }
            // In a group in which the session has no order.
            Self::MassCancel => {
                let all = MassCancel::all(ClOrdId(1 << 40), MassScope::Account);
                push(MassCancel { cancel_group: u8::MAX, ..all }, out);
            }
            Self::Status => push(StatusRequest::all(ClOrdId(1), MarketId::NONE), out),
            Self::Sparse { next, resting } => {
                // Above every other ask; bits in reverse order, so that each lies in the widest gap that is left.
                let price = 4_096 + i64::from((*next as u32).reverse_bits() >> 3);
                push(order(*next, Side::Sell, price, QTY_ONE_E8), out);
                resting.push_back(*next);
                *next += 1;
                if resting.len() > 500
                    && let Some(oldest) = resting.pop_front()
                {
                    push(CancelOrder::new(ClOrdId(*next), Target::ClOrdId(ClOrdId(oldest)), MARKET), out);
                    *next += 1;
                }
            }
            Self::Refused { next } => {
                push(bid(*next, 1, i64::MAX / 2), out);
                *next += 1;
            }
            Self::Resting { next } => {
                push(bid(*next, 1 + (*next % BID_LEVELS) as i64, QTY_ONE_E8), out);
                *next += 1;
            }
            Self::Plain { flow } => {
                flow.append(out);
            }
        }
    }
}

/// The next id from `from` on whose place agrees in its first bits with that of the others, under a guessed key.
fn colliding_after(from: u64) -> u64 {
    let guessed = HashKey::new(1, 2);
    (from..).find(|&id| guessed.hash(id, 2) >> 54 == 0).unwrap_or(from)
}

/// A bid that rests below the honest sessions' prices.
fn bid(id: u64, price: i64, qty_e8: i64) -> NewOrder {
    order(id, Side::Buy, price, qty_e8)
}

fn order(id: u64, side: Side, price: i64, qty_e8: i64) -> NewOrder {
    let price = PriceE9(price * PRICE_ONE_E9);
    NewOrder { exec_inst: EXEC_POST_ONLY, ..NewOrder::limit(ClOrdId(id), MARKET, side, price, QtyE8(qty_e8)) }
}

fn push<M: Message>(message: M, out: &mut Vec<u8>)
where
    Framed<M>: IntoBytes + Immutable,
{
    append_packet(PacketKind::Unsequenced, Framed::new(message).as_bytes(), out);
}

/// What each connection of a crowd does when it has connected.
#[derive(Clone, Copy, Debug)]
enum Arrival {
    Login(&'static str),
    Silent,
}

/// Many short connections: each is closed when it has its answer, or when `CROWD` newer ones have come.
pub struct Crowd {
    at: Addresses,
    arrival: Arrival,
    lines: VecDeque<Line>,
    count: usize,
}

impl Crowd {
    fn new(at: Addresses, arrival: Arrival) -> Self {
        Self { at, arrival, lines: VecDeque::with_capacity(CROWD), count: 0 }
    }

    fn step(&mut self, scratch: &mut [u8]) -> Result<()> {
        if self.lines.len() >= CROWD {
            // An answer ends a log-in; the oldest connection goes where there is none.
            let answered = |line: &mut Line| line.look(scratch) != super::line::Look::default();
            let at = self.lines.iter_mut().take(4).position(answered).unwrap_or(0);
            self.lines.remove(at);
        }
        self.count += 1;
        let user = VISITORS[self.count % VISITORS.len()];
        self.lines.push_back(match self.arrival {
            Arrival::Login(password) => {
                Line::log_in(self.at.orders, user, password, SessionName::BLANK, SessionSeq::HEAD)?
            }
            Arrival::Silent => Line::connect(self.at.orders)?,
        });
        Ok(())
    }
}

/// Readers of the market port. Each asks again as soon as it has what it asked for, or has been closed.
pub struct Readers {
    at: Addresses,
    stream: SessionName,
    first: SessionSeq,
    lines: Vec<Line>,
    next: usize,
    reads: bool,
    /// Looks in a row at which the present reader had nothing to read.
    empty: usize,
}

impl Readers {
    fn new(at: Addresses, stream: SessionName, first: SessionSeq) -> Self {
        Self { at, stream, first, lines: Vec::with_capacity(READERS), next: 0, reads: true, empty: 0 }
    }

    fn step(&mut self, scratch: &mut [u8]) -> Result<()> {
        if self.lines.len() < READERS {
            self.lines.push(self.log_in()?);
            return Ok(());
        }
        self.next = (self.next + 1) % READERS;
        if !self.reads {
            return Ok(());
        }
        let look = self.lines[self.next].look(&mut scratch[..READ_BYTES]);
        // A reader of `LIVE` that has caught up begins again; `SNAP` ends by itself; `TOP` goes on.
        self.empty = if look.bytes == 0 { self.empty + 1 } else { 0 };
        let again = self.stream == SessionName::LIVE && self.empty > READERS && self.lines[self.next].read > 1_024;
        if look.ended || again {
            self.lines[self.next] = self.log_in()?;
        }
        Ok(())
    }

    fn log_in(&self) -> Result<Line> {
        Line::log_in(self.at.market, "any", "", self.stream, self.first)
    }
}
