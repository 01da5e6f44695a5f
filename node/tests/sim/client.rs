//! An order-entry client: it logs in, trades, loses its connection, resumes at its last message and sends again the
//! requests that were not answered.
//!
//! It checks every message: it must be the one that the oracle has under the same number.

use crate::context::Context;
use crate::options::{Fault, FloodEnd};
use crate::oracle::Oracle;
use crate::order_watch::OrderWatch;
use crate::requests::{self, Own, PRICE_ONE};
use crate::violation::{Checked, Invariant, Violation, ensure};
use crate::wire::Wire;
use api::binary::login::{LoginAccepted, LoginRequest, SessionName};
use api::binary::orders::*;
use api::binary::soup::PacketKind;
use api::binary::stream::SessionSeq;
use book::ids::SessionId;
use book::units::TsNs;
use std::collections::{BTreeMap, VecDeque};

pub(crate) const PASSWORD: &str = "pass";
/// One in so many steps a client resets a connection on which it has sent garbage.
const GARBLED_STEPS: u32 = 20;
/// One in so many steps a client logs in again beside its open connection, where it does so at all, and one in so many
/// steps the old connection ends.
const SECOND_LOGIN_STEPS: u32 = 60;
const DISPLACED_STEPS: u32 = 30;
const HEARTBEAT_NS: u64 = 1_000_000_000;
/// More orders than one command may cancel.
const FLOOD_ORDERS: usize = book::engine::CANCELS_PER_COMMAND_MAX as usize + 60;

/// The state of the one order that a client sends after all faults have ended, and that must be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastOrder {
    NotAsked,
    Asked,
    Sent(u64),
    Accepted,
}

pub(crate) struct Client {
    session: SessionId,
    user: String,
    wire: Option<Wire>,
    /// A connection that it has left open at its second login.
    displaced: Option<Wire>,
    /// The login was accepted.
    is_open: bool,
    /// Time at which it connects again after losing its connection.
    reconnect_at: TsNs,
    /// Requests without an answer have to be sent again.
    resend_due: bool,
    /// Number of the latest message, and the number requested at the latest login.
    seen: u64,
    wanted: SessionSeq,
    /// Messages received before their command is durable, where that is allowed.
    unchecked: VecDeque<(u64, Vec<u8>)>,
    last_id: u64,
    /// Requests without an answer, by their id.
    pending: BTreeMap<u64, Vec<u8>>,
    own: Vec<Own>,
    watch: OrderWatch,
    last_order: LastOrder,
    /// It has sent bytes that are not a packet; the node cannot parse anything after them.
    is_garbled: bool,
    flood: Option<FloodEnd>,
    /// An administrator should cancel its orders.
    admin_cancels: bool,
    pub answers: u64,
}

impl Client {
    pub(crate) fn new(session: SessionId, flood: Option<FloodEnd>) -> Self {
        Self {
            session,
            user: format!("U{}", session.0),
            wire: None,
            displaced: None,
            is_open: false,
            reconnect_at: TsNs(0),
            resend_due: false,
            seen: 0,
            wanted: SessionSeq::FIRST,
            unchecked: VecDeque::new(),
            last_id: 0,
            pending: BTreeMap::new(),
            own: Vec::new(),
            watch: OrderWatch::default(),
            last_order: LastOrder::NotAsked,
            is_garbled: false,
            flood,
            admin_cancels: false,
            answers: 0,
        }
    }

    /// Whether every request was answered and every message was received.
    pub(crate) fn is_done(&self, oracle: &Oracle) -> bool {
        self.pending.is_empty()
            && self.unchecked.is_empty()
            && self.seen == oracle.message_count(self.session)
            && matches!(self.last_order, LastOrder::NotAsked | LastOrder::Accepted)
    }

    /// Makes the client send one more order as soon as it can.
    pub(crate) fn ask_for_last_order(&mut self) {
        self.last_order = LastOrder::Asked;
    }

    pub(crate) fn describe(&self, oracle: &Oracle) -> String {
        let count = oracle.message_count(self.session);
        let first = self.pending.keys().next();
        format!(
            "session {}: logged in {}, {:?}, has {} of {count} messages, {} unanswered, the first {first:?}",
            self.session.0,
            self.is_open,
            self.last_order,
            self.seen,
            self.pending.len(),
        )
    }

    /// Whether an administrator should cancel all its orders now.
    pub(crate) fn take_admin_cancel(&mut self) -> bool {
        std::mem::take(&mut self.admin_cancels)
    }

    pub(crate) fn step(&mut self, context: &mut Context<'_>) -> Checked {
        self.end_displaced(context);
        let Some(mut wire) = self.wire.take() else {
            if self.reconnect_at <= context.now {
                self.connect(context);
            }
            return Ok(());
        };
        let who = format!("session {}", self.session.0);
        if !wire.listen(&who, context, |kind, payload, context| self.receive(kind, payload, context))? {
            self.lose(context);
            return Ok(());
        }
        if self.is_open && !self.is_garbled {
            self.send_requests(&mut wire, context);
        }
        self.apply_network_faults(wire, context);
        Ok(())
    }

    /// The node has ended, and with it the connection.
    pub(crate) fn node_ended(&mut self, context: &mut Context<'_>) {
        if let Some(wire) = self.wire.take() {
            wire.reset(context);
            self.lose(context);
        }
        if let Some(wire) = self.displaced.take() {
            wire.reset(context);
        }
    }

    /// Drops messages whose commands were lost in a crash before they were durable.
    pub(crate) fn forget(&mut self, oracle: &Oracle) {
        self.unchecked.clear();
        let count = oracle.message_count(self.session);
        if count < self.seen {
            self.seen = count;
            self.watch = OrderWatch::default();
            let messages = (1..=count).filter_map(|number| oracle.message(self.session, number));
            messages.filter_map(|message| Answer::read(message).ok()).for_each(|answer| {
                self.watch.receive(&answer).expect("the message was accepted before");
            });
        }
    }

    /// Logs in on another connection and leaves this one open, as a client does whose network has dropped it silently.
    fn log_in_again(&mut self, wire: Wire, context: &mut Context<'_>) {
        if let Some(older) = self.displaced.replace(wire) {
            older.reset(context);
        }
        (self.is_open, self.resend_due, self.is_garbled) = (false, false, false);
        self.connect(context);
    }

    fn end_displaced(&mut self, context: &mut Context<'_>) {
        if self.displaced.is_some()
            && context.rng.one_in(DISPLACED_STEPS)
            && let Some(wire) = self.displaced.take()
        {
            wire.reset(context);
        }
    }

    fn lose(&mut self, context: &mut Context<'_>) {
        let wait_ns = u64::from(context.rng.below(context.options.step_ns_max)) * 20;
        self.reconnect_at = TsNs(context.now.0 + wait_ns);
        (self.is_open, self.resend_due, self.is_garbled) = (false, false, false);
    }

    fn connect(&mut self, context: &mut Context<'_>) {
        let wrong = context.strikes(Fault::WrongPassword);
        let password = if wrong { "wrong" } else { PASSWORD };
        self.wanted = SessionSeq(self.seen + 1);
        let login = LoginRequest {
            user: &self.user,
            password: password.as_bytes(),
            session: SessionName::BLANK,
            sequence: self.wanted,
        };
        self.wire = Some(Wire::connect(&login, context));
    }

    fn receive(&mut self, kind: PacketKind, payload: &[u8], context: &mut Context<'_>) -> Checked<bool> {
        match kind {
            PacketKind::ServerHeartbeat | PacketKind::Debug | PacketKind::Unsequenced => Ok(true),
            PacketKind::Rejected => Ok(false),
            PacketKind::Accepted => {
                let accepted = LoginAccepted::read(payload);
                let first = accepted.map(|accepted| accepted.sequence);
                ensure(first == Some(self.wanted), Invariant::StreamDiffers, || {
                    format!("session {} requested {:?} and receives {first:?}", self.session.0, self.wanted)
                })?;
                let is_durable = context.oracle.engine().sessions().get(self.session).is_some();
                ensure(is_durable || !context.answers_wait_for_disk(), Invariant::SentBeforeDurable, || {
                    format!("session {} is open, and the durable log has no such session", self.session.0)
                })?;
                (self.is_open, self.resend_due) = (true, true);
                Ok(true)
            }
            PacketKind::Sequenced => {
                self.seen += 1;
                self.take_message(payload, context)?;
                Ok(true)
            }
            kind => Err(Violation::new(
                Invariant::Protocol,
                format!("session {} received an unexpected {kind:?}", self.session.0),
            )),
        }
    }

    fn take_message(&mut self, message: &[u8], context: &mut Context<'_>) -> Checked {
        if !context.answers_wait_for_disk() && context.oracle.message_count(self.session) < self.seen {
            self.unchecked.push_back((self.seen, message.to_vec()));
        } else {
            check(self.session, self.seen, message, context.oracle)?;
        }
        let answer = Answer::read(message)
            .map_err(|error| Violation::new(Invariant::Protocol, format!("session {}: {error}", self.session.0)))?;
        self.answers += 1;
        self.learn(&answer);
        self.check_last_order(&answer)?;
        self.watch.receive(&answer).map_err(|text| {
            Violation::new(
                Invariant::StreamDiffers,
                format!("session {} message {}: {text}", self.session.0, self.seen),
            )
        })
    }

    /// Checks the messages received early, as far as their commands are durable now.
    pub(crate) fn check_early(&mut self, oracle: &Oracle) -> Checked {
        while let Some((number, _)) = self.unchecked.front()
            && *number <= oracle.message_count(self.session)
        {
            let (number, message) = self.unchecked.pop_front().expect("the front was just seen");
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
            Answer::OrderExecuted(m) if m.leaves_qty_e8.get() == 0 => self.remove_order(m.order_id.get()),
            Answer::OrderCanceled(m) => {
                self.pending.remove(&m.req_cl_ord_id.get());
                self.remove_order(m.order_id.get());
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

    fn check_last_order(&mut self, answer: &Answer) -> Checked {
        let LastOrder::Sent(id) = self.last_order else { return Ok(()) };
        match answer {
            Answer::OrderAccepted(m) if m.cl_ord_id.get() == id => self.last_order = LastOrder::Accepted,
            Answer::OrderRejected(m) if m.cl_ord_id.get() == id => {
                let detail = format!("session {}: an acceptable order was refused: {m:?}", self.session.0);
                return Err(Violation::new(Invariant::Liveness, detail));
            }
            _ => {}
        }
        Ok(())
    }

    fn remove_order(&mut self, order_id: u64) {
        self.own.retain(|own| own.order_id != order_id);
    }

    fn send_requests(&mut self, wire: &mut Wire, context: &mut Context<'_>) {
        wire.keep_alive(HEARTBEAT_NS / 4, context);
        if std::mem::take(&mut self.resend_due) {
            self.pending.values().for_each(|message| wire.send(PacketKind::Unsequenced, message, context));
        }
        if self.last_order == LastOrder::Asked {
            self.last_id += 1;
            self.last_order = LastOrder::Sent(self.last_id);
            self.ask(self.last_id, requests::far_bid(self.last_id), wire, context);
        }
        if !context.fresh {
            return;
        }
        let burst = context.rng.below(context.options.burst + 1);
        for _ in 0..burst {
            if self.pending.len() as u32 >= context.options.window {
                return;
            }
            let (id, message) = self.request(context);
            self.ask(id, message, wire, context);
        }
    }

    fn ask(&mut self, id: u64, message: Vec<u8>, wire: &mut Wire, context: &mut Context<'_>) {
        wire.send(PacketKind::Unsequenced, &message, context);
        self.pending.insert(id, message);
    }

    /// Applies faults of the network and of the client itself.
    fn apply_network_faults(&mut self, mut wire: Wire, context: &mut Context<'_>) {
        // The node may wait for the remainder of a supposed packet, and only a reset ends that.
        let gives_up = self.is_garbled && context.rng.one_in(GARBLED_STEPS);
        if gives_up || context.strikes(Fault::Reset) {
            wire.reset(context);
            return self.lose(context);
        }
        let again = context.faults && context.options.logs_in_twice && self.is_open;
        if again && context.rng.one_in(SECOND_LOGIN_STEPS) {
            return self.log_in_again(wire, context);
        }
        if self.flood == Some(FloodEnd::Disconnect) && self.has_flooded() {
            self.flood = None;
            wire.reset(context);
            return self.lose(context);
        }
        if context.strikes(Fault::HalfClose) {
            wire.finish(context);
        } else if context.strikes(Fault::Garbage) {
            self.is_garbled |= send_garbage(&mut wire, context);
        }
        self.wire = Some(wire);
    }

    fn request(&mut self, context: &mut Context<'_>) -> (u64, Vec<u8>) {
        self.last_id += 1;
        let id = self.last_id;
        let Some(end) = self.flood else { return (id, requests::any(id, &self.own, context)) };
        if id as usize <= FLOOD_ORDERS {
            return (id, requests::far_bid(id));
        }
        if id as usize == FLOOD_ORDERS + 1 {
            return (id, requests::status_of_all(id));
        }
        // One order after another rests, all of them are asked for, then all of them are cancelled at once.
        let message = match end {
            FloodEnd::MassCancel => requests::cancel_everything(id),
            FloodEnd::KillSwitch => requests::kill(id),
            FloodEnd::Disconnect | FloodEnd::Admin => requests::far_bid(id),
        };
        if end != FloodEnd::Disconnect {
            self.flood = None;
        }
        self.admin_cancels = end == FloodEnd::Admin;
        (id, message)
    }

    /// Whether more orders than one command may cancel have been answered.
    fn has_flooded(&self) -> bool {
        FLOOD_ORDERS < self.last_id as usize && self.pending.keys().next().is_none_or(|id| FLOOD_ORDERS < *id as usize)
    }
}

fn check(session: SessionId, number: u64, message: &[u8], oracle: &Oracle) -> Checked {
    let Some(expected) = oracle.message(session, number) else {
        let count = oracle.message_count(session);
        let detail = format!("session {} received message {number}; the durable log has {count}", session.0);
        return Err(Violation::new(Invariant::SentBeforeDurable, detail));
    };
    ensure(message == expected, Invariant::StreamDiffers, || {
        let (got, expected) = (Answer::read(message), Answer::read(expected));
        format!("session {} message {number}: received {got:?}, by the log it is {expected:?}", session.0)
    })
}

/// Sends garbage; returns false where it is a packet with an invalid message, after which the node can still parse
/// others.
fn send_garbage(wire: &mut Wire, context: &mut Context<'_>) -> bool {
    let mut bytes = [context.rng.number().to_le_bytes(), context.rng.number().to_le_bytes()].concat();
    match context.rng.below(4) {
        0 => wire.send_raw(&bytes, context),
        1 => {
            // A header with a length that is larger or smaller than the payload.
            let len = u16::from_be_bytes([bytes[0], bytes[1]]) % 64;
            bytes[..2].copy_from_slice(&len.to_be_bytes());
            bytes[2] = PacketKind::Unsequenced as u8;
            wire.send_raw(&bytes, context);
        }
        _ => {
            wire.send(PacketKind::Unsequenced, &bytes, context);
            return false;
        }
    }
    true
}
