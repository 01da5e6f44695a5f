//! An order-entry client: it logs in, trades, loses its line, comes back where it stopped and sends again what nobody
//! answered.
//!
//! It believes nothing: every message must be the one that the oracle has under that number.

use crate::around::Around;
use crate::broken::{Broken, Checked, Invariant, ensure};
use crate::options::Fault;
use crate::oracle::Oracle;
use crate::order_watch::OrderWatch;
use crate::requests::{self, Own, PRICE_ONE};
use crate::wire::Wire;
use api::binary::login::{LoginAccepted, LoginRequest, SessionName};
use api::binary::orders::*;
use api::binary::soup::PacketKind;
use api::binary::stream::SessionSeq;
use book::ids::SessionId;
use book::units::TsNs;
use std::collections::{BTreeMap, VecDeque};

pub const PASSWORD: &str = "pass";
/// One in so many steps a client gives up a line that it has garbled.
const GARBLED_STEPS: u32 = 20;
const HEARTBEAT_NS: u64 = 1_000_000_000;
/// More than one command may cancel.
const FLOOD_ORDERS: usize = book::engine::CANCELS_PER_COMMAND_MAX as usize + 60;

/// The one order that it sends when nothing fails any more: it must be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    NotAsked,
    Asked,
    Sent(u64),
    Accepted,
}

pub struct Client {
    session: SessionId,
    user: String,
    wire: Option<Wire>,
    /// It was let in.
    is_open: bool,
    /// Without a line, when it tries again.
    back_at: TsNs,
    /// What nobody answered has to be sent again.
    again: bool,
    /// Number of the last message that it has, and what it asked for at its last log-in.
    seen: u64,
    wanted: SessionSeq,
    /// Told before the command counted, where that is allowed.
    unchecked: VecDeque<(u64, Vec<u8>)>,
    last_id: u64,
    /// Requests without an answer, by their id.
    pending: BTreeMap<u64, Vec<u8>>,
    own: Vec<Own>,
    watch: OrderWatch,
    farewell: Farewell,
    /// What it sent last was no packet: the node understands nothing behind it.
    is_garbled: bool,
    flood: bool,
    pub answers: u64,
}

impl Client {
    pub fn new(session: SessionId, flood: bool) -> Self {
        Self {
            session,
            user: format!("U{}", session.0),
            wire: None,
            is_open: false,
            back_at: TsNs(0),
            again: false,
            seen: 0,
            wanted: SessionSeq::FIRST,
            unchecked: VecDeque::new(),
            last_id: 0,
            pending: BTreeMap::new(),
            own: Vec::new(),
            watch: OrderWatch::default(),
            farewell: Farewell::NotAsked,
            is_garbled: false,
            flood,
            answers: 0,
        }
    }

    /// Everything that it asked for was answered, and everything that it may know it knows.
    pub fn is_done(&self, oracle: &Oracle) -> bool {
        self.pending.is_empty()
            && self.unchecked.is_empty()
            && self.seen == oracle.told_count(self.session)
            && matches!(self.farewell, Farewell::NotAsked | Farewell::Accepted)
    }

    /// Sends one more order as soon as it can.
    pub fn ask_for_farewell(&mut self) {
        self.farewell = Farewell::Asked;
    }

    pub fn describe(&self, oracle: &Oracle) -> String {
        let told = oracle.told_count(self.session);
        let first = self.pending.keys().next();
        format!(
            "session {}: let in {}, {:?}, has {} of {told} messages, {} unanswered, the first {first:?}",
            self.session.0,
            self.is_open,
            self.farewell,
            self.seen,
            self.pending.len(),
        )
    }

    pub fn step(&mut self, around: &mut Around<'_>) -> Checked {
        let Some(mut wire) = self.wire.take() else {
            if self.back_at <= around.now {
                self.connect(around);
            }
            return Ok(());
        };
        let who = format!("session {}", self.session.0);
        if !wire.listen(&who, around, |kind, payload, around| self.hear(kind, payload, around))? {
            self.lose(around);
            return Ok(());
        }
        if self.is_open && !self.is_garbled {
            self.speak(&mut wire, around);
        }
        self.suffer(wire, around);
        Ok(())
    }

    /// The node is gone, and with it the line.
    pub fn node_ended(&mut self, around: &mut Around<'_>) {
        if let Some(wire) = self.wire.take() {
            wire.reset(around);
            self.lose(around);
        }
    }

    /// What it was told without being durable may be gone.
    pub fn forget(&mut self, oracle: &Oracle) {
        self.unchecked.clear();
        let told = oracle.told_count(self.session);
        if told < self.seen {
            self.seen = told;
            self.watch = OrderWatch::default();
            let messages = (1..=told).filter_map(|number| oracle.told(self.session, number));
            messages.filter_map(|message| Answer::read(message).ok()).for_each(|answer| {
                self.watch.hear(&answer).expect("it was heard before");
            });
        }
    }

    fn lose(&mut self, around: &mut Around<'_>) {
        let wait_ns = u64::from(around.rng.below(around.options.step_ns_max)) * 20;
        self.back_at = TsNs(around.now.0 + wait_ns);
        (self.is_open, self.again, self.is_garbled) = (false, false, false);
    }

    fn connect(&mut self, around: &mut Around<'_>) {
        let wrong = around.strikes(Fault::WrongPassword);
        let password = if wrong { "wrong" } else { PASSWORD };
        self.wanted = SessionSeq(self.seen + 1);
        let login = LoginRequest {
            user: &self.user,
            password: password.as_bytes(),
            session: SessionName::BLANK,
            sequence: self.wanted,
        };
        self.wire = Some(Wire::connect(&login, around));
    }

    fn hear(&mut self, kind: PacketKind, payload: &[u8], around: &mut Around<'_>) -> Checked<bool> {
        match kind {
            PacketKind::ServerHeartbeat | PacketKind::Debug | PacketKind::Unsequenced => Ok(true),
            PacketKind::Rejected => Ok(false),
            PacketKind::Accepted => {
                let accepted = LoginAccepted::read(payload);
                let first = accepted.map(|accepted| accepted.sequence);
                ensure(first == Some(self.wanted), Invariant::StreamDiffers, || {
                    format!("session {} wanted {:?} and is given {first:?}", self.session.0, self.wanted)
                })?;
                (self.is_open, self.again) = (true, true);
                Ok(true)
            }
            PacketKind::Sequenced => {
                self.seen += 1;
                self.take_message(payload, around)?;
                Ok(true)
            }
            kind => Err(Broken::new(Invariant::Protocol, format!("session {} is sent {kind:?}", self.session.0))),
        }
    }

    fn take_message(&mut self, message: &[u8], around: &mut Around<'_>) -> Checked {
        if !around.is_told_late() && around.oracle.told_count(self.session) < self.seen {
            self.unchecked.push_back((self.seen, message.to_vec()));
        } else {
            check(self.session, self.seen, message, around.oracle)?;
        }
        let answer = Answer::read(message)
            .map_err(|error| Broken::new(Invariant::Protocol, format!("session {}: {error}", self.session.0)))?;
        self.answers += 1;
        self.learn(&answer);
        self.hear_of_farewell(&answer)?;
        self.watch.hear(&answer).map_err(|text| {
            Broken::new(Invariant::StreamDiffers, format!("session {} message {}: {text}", self.session.0, self.seen))
        })
    }

    /// Checks what was told early, as far as the oracle has come.
    pub fn check_early(&mut self, oracle: &Oracle) -> Checked {
        while let Some((number, _)) = self.unchecked.front()
            && *number <= oracle.told_count(self.session)
        {
            let (number, message) = self.unchecked.pop_front().expect("it is there");
            check(self.session, number, &message, oracle)?;
        }
        Ok(())
    }

    fn learn(&mut self, answer: &Answer) {
        match answer {
            Answer::OrderAccepted(m) => {
                self.pending.remove(&m.cl_ord_id.get());
                let limit = m.ord_type == ORD_TYPE_LIMIT && m.tif == TIF_GTC;
                if limit {
                    self.own.push(Own {
                        cl_ord_id: m.cl_ord_id.get(),
                        order_id: m.order_id.get(),
                        market: m.instrument_id.get(),
                        price_ticks: (m.price_e9.get() / PRICE_ONE) as u32,
                    });
                }
            }
            Answer::OrderRejected(m) => drop(self.pending.remove(&m.cl_ord_id.get())),
            Answer::CancelRejected(m) => drop(self.pending.remove(&m.cl_ord_id.get())),
            Answer::MassCancelReport(m) => drop(self.pending.remove(&m.cl_ord_id.get())),
            Answer::OrderStatus(m) => drop(self.pending.remove(&m.req_cl_ord_id.get())),
            Answer::SessionState(m) => drop(self.pending.remove(&m.req_cl_ord_id.get())),
            Answer::OrderExecuted(m) if m.leaves_qty_e8.get() == 0 => self.gone(m.order_id.get()),
            Answer::OrderCanceled(m) => {
                self.pending.remove(&m.req_cl_ord_id.get());
                self.gone(m.order_id.get());
            }
            Answer::OrderReplaced(m) => {
                self.pending.remove(&m.cl_ord_id.get());
                if let Some(own) = self.own.iter_mut().find(|own| own.order_id == m.order_id.get()) {
                    own.cl_ord_id = m.cl_ord_id.get();
                }
            }
            _ => {}
        }
    }

    fn hear_of_farewell(&mut self, answer: &Answer) -> Checked {
        let Farewell::Sent(id) = self.farewell else { return Ok(()) };
        match answer {
            Answer::OrderAccepted(m) if m.cl_ord_id.get() == id => self.farewell = Farewell::Accepted,
            Answer::OrderRejected(m) if m.cl_ord_id.get() == id => {
                let detail = format!("session {}: nothing stands against it, and yet {m:?}", self.session.0);
                return Err(Broken::new(Invariant::Liveness, detail));
            }
            _ => {}
        }
        Ok(())
    }

    fn gone(&mut self, order_id: u64) {
        self.own.retain(|own| own.order_id != order_id);
    }

    fn speak(&mut self, wire: &mut Wire, around: &mut Around<'_>) {
        wire.keep_alive(HEARTBEAT_NS / 4, around);
        if std::mem::take(&mut self.again) {
            self.pending.values().for_each(|message| wire.send(PacketKind::Unsequenced, message, around));
        }
        if self.farewell == Farewell::Asked {
            self.last_id += 1;
            self.farewell = Farewell::Sent(self.last_id);
            self.ask(self.last_id, requests::far_bid(self.last_id), wire, around);
        }
        if !around.fresh {
            return;
        }
        let burst = around.rng.below(around.options.burst + 1);
        for _ in 0..burst {
            if self.pending.len() as u32 >= around.options.window {
                return;
            }
            let (id, message) = self.request(around);
            self.ask(id, message, wire, around);
        }
    }

    fn ask(&mut self, id: u64, message: Vec<u8>, wire: &mut Wire, around: &mut Around<'_>) {
        wire.send(PacketKind::Unsequenced, &message, around);
        self.pending.insert(id, message);
    }

    /// What the network does to it, and what it does to itself.
    fn suffer(&mut self, mut wire: Wire, around: &mut Around<'_>) {
        // The node may wait for the rest of what it takes for a packet: nothing else ends that.
        let gives_up = self.is_garbled && around.rng.one_in(GARBLED_STEPS);
        if gives_up || around.strikes(Fault::Reset) {
            wire.reset(around);
            return self.lose(around);
        }
        if around.strikes(Fault::HalfClose) {
            wire.finish(around);
        } else if around.strikes(Fault::Garbage) {
            self.is_garbled |= send_garbage(&mut wire, around);
        }
        self.wire = Some(wire);
    }

    fn request(&mut self, around: &mut Around<'_>) -> (u64, Vec<u8>) {
        self.last_id += 1;
        let id = self.last_id;
        if !self.flood {
            return (id, requests::any(id, &self.own, around));
        }
        // Rests one order after another, then cancels all at once.
        self.flood = id as usize <= FLOOD_ORDERS;
        (id, if self.flood { requests::far_bid(id) } else { requests::cancel_everything(id) })
    }
}

fn check(session: SessionId, number: u64, message: &[u8], oracle: &Oracle) -> Checked {
    let Some(expected) = oracle.told(session, number) else {
        let count = oracle.told_count(session);
        let detail = format!("session {} is told message {number}; {count} count", session.0);
        return Err(Broken::new(Invariant::ToldBeforeDurable, detail));
    };
    ensure(message == expected, Invariant::StreamDiffers, || {
        let (got, expected) = (Answer::read(message), Answer::read(expected));
        format!("session {} message {number}: told {got:?}, the log says {expected:?}", session.0)
    })
}

/// False where it is a packet, though with nonsense in it: what comes behind it is understood.
fn send_garbage(wire: &mut Wire, around: &mut Around<'_>) -> bool {
    let mut bytes = [around.rng.number().to_le_bytes(), around.rng.number().to_le_bytes()].concat();
    match around.rng.below(4) {
        0 => wire.send_raw(&bytes, around),
        1 => {
            // A header that speaks of more, or of less, than comes.
            let len = u16::from_be_bytes([bytes[0], bytes[1]]) % 64;
            bytes[..2].copy_from_slice(&len.to_be_bytes());
            bytes[2] = PacketKind::Unsequenced as u8;
            wire.send_raw(&bytes, around);
        }
        _ => {
            wire.send(PacketKind::Unsequenced, &bytes, around);
            return false;
        }
    }
    true
}
