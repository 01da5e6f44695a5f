//! Events to the answers of the sessions that they concern.
//!
//! Invariant: the same event, stamp and execution id give the same bytes, so a stream rebuilt from the log is
//! byte-identical to the one that was sent. A message is built on the stack and passed on from there: encoding neither
//! allocates nor copies it.

use crate::binary::orders::*;
use crate::binary::reasons::wire_of;
use crate::binary::sbe::{Framed, Message, PRICE_NULL};
use crate::instruments::{Instruments, fee_e8};
use book::command::{CodMode, CodScope, MassScope, OrderKind, Side, Tif};
use book::event;
use book::event::{Event, Fill, FillSide};
use book::ids::{AssetId, ClOrdId, SessionId};
use book::instrument::MarketRules;
use book::units::{PriceTicks, QtyLots, Seq, Stamp, TsNs};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{I64, U16, U32, U64};

/// Identifies one event permanently: the log sequence of its command, with the numbers that lives of the streams have
/// skipped, then the index among the command's events.
///
/// ```text
/// 63              16 15       0
/// | log sequence    | event    |
/// ```
/// Ledger transfers have no index, because the live engine does not emit them and the shadow does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecId(u64);

pub const EXEC_EVENT_BITS: u32 = 16;
const EXEC_EVENTS_MAX: u64 = 1 << EXEC_EVENT_BITS;

const _: () = assert!(book::engine::EVENTS_PER_COMMAND_MAX as u64 <= EXEC_EVENTS_MAX);

impl ExecId {
    /// `None` for a sequence of `2^48` or more, or an index of `2^16` or more.
    pub fn new(seq: Seq, event_idx: u32) -> Option<Self> {
        let fits = seq.0 >> (u64::BITS - EXEC_EVENT_BITS) == 0 && u64::from(event_idx) < EXEC_EVENTS_MAX;
        fits.then_some(Self(seq.0 << EXEC_EVENT_BITS | u64::from(event_idx)))
    }

    pub fn get(self) -> u64 {
        self.0
    }

    /// The id with this number on the wire.
    pub fn from_wire(id: u64) -> Self {
        Self(id)
    }

    /// The log sequence of the command, with the numbers that were skipped before it.
    pub fn seq(self) -> Seq {
        Seq(self.0 >> EXEC_EVENT_BITS)
    }
}

/// Numbers the events of one command.
#[derive(Clone, Copy, Debug)]
pub struct ExecIds {
    seq: Seq,
    next_idx: u32,
}

impl ExecIds {
    /// `skipped` are the numbers that lives of the streams have skipped so far (`book::run`).
    pub fn of_command(seq: Seq, skipped: u64) -> Self {
        Self { seq: Seq(seq.0 + skipped), next_idx: 0 }
    }

    /// The id of the next event; `None` for a transfer. Call it for every event of the command, in order.
    #[inline]
    pub fn next(&mut self, event: &Event) -> Option<ExecId> {
        if matches!(event, Event::Transfer(_)) {
            return None;
        }
        let id = ExecId::new(self.seq, self.next_idx).expect("a command has fewer events than the index can count");
        assert!(id.seq() == self.seq, "an id leads back to its command");
        self.next_idx += 1;
        Some(id)
    }
}

/// What an answer contains besides the event itself.
#[derive(Clone, Copy, Debug)]
pub struct EncodeContext {
    pub stamp: Stamp,
    pub exec_id: ExecId,
    /// `gatewayInTime` of the answer. To keep resends byte-identical it must follow from the log, as `stamp.ts` does.
    pub gateway_in: TsNs,
}

/// Encodes the answer for each session that an event concerns, at most two.
///
/// Orders that were not entered by a binary session get no answer here.
#[inline]
pub fn answers(
    event: &Event,
    instruments: &Instruments,
    context: &EncodeContext,
    out: &mut impl FnMut(SessionId, &[u8]),
) {
    assert!(context.stamp.seq <= context.exec_id.seq(), "an event is identified by the command that caused it");
    let encoder = Encoder { instruments, context };
    match event {
        Event::Accepted(e) => send(e.session, || encoder.accepted(e), out),
        Event::Rejected(e) if matches!(e.template, ReplaceOrder::TEMPLATE | CancelOrder::TEMPLATE) => {
            send(e.session, || encoder.refused_cancel(e), out)
        }
        Event::Rejected(e) => send(e.session, || encoder.rejected(e), out),
        Event::Fill(e) => {
            send(e.maker.session, || encoder.executed(e, &e.maker, LIQUIDITY_MAKER), out);
            send(e.taker.session, || encoder.executed(e, &e.taker, LIQUIDITY_TAKER), out);
        }
        Event::Reduced(e) => send(e.session, || encoder.reduced(e), out),
        Event::Amended(e) => encoder.amended(e, out),
        Event::Canceled(e) => encoder.canceled(e, out),
        Event::CancelRejected(e) => send(e.session, || encoder.cancel_rejected(e), out),
        Event::MassCanceled(e) => send(e.session, || encoder.mass_canceled(e), out),
        Event::OrderStatus(e) => send(e.session, || encoder.order_status(e), out),
        Event::SessionState(e) => send(e.session, || encoder.session_state(e), out),
        // The remaining events do not concern the orders of a binary session.
        _ => {}
    }
}

#[inline]
fn send<M: Message>(session: SessionId, build: impl FnOnce() -> M, out: &mut impl FnMut(SessionId, &[u8])) {
    if !session.is_none() {
        out(session, Framed::new(build()).as_bytes());
    }
}

/// Encodes the stage times of one answer, for a session that has switched them on. They are sent unsequenced.
pub fn stage_times(times: StageTimes, out: &mut impl FnMut(&[u8])) {
    out(Framed::new(times).as_bytes());
}

struct Encoder<'a> {
    instruments: &'a Instruments,
    context: &'a EncodeContext,
}

impl Encoder<'_> {
    fn exec_id(&self) -> U64 {
        U64::new(self.context.exec_id.get())
    }

    fn transact_time(&self) -> U64 {
        U64::new(self.context.stamp.ts.0)
    }

    fn gateway_in(&self) -> U64 {
        U64::new(self.context.gateway_in.0)
    }

    #[inline]
    fn accepted(&self, e: &event::Accepted) -> OrderAccepted {
        let instrument = self.instruments.at(e.market);
        let (ord_type, price, by_quote) = match e.kind {
            OrderKind::Limit { price, .. } => (ORD_TYPE_LIMIT, instrument.price_e9(price).0, false),
            OrderKind::Market { .. } => (ORD_TYPE_MARKET, PRICE_NULL, false),
            OrderKind::MarketByQuote { .. } => (ORD_TYPE_MARKET, PRICE_NULL, true),
        };
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        let qty = I64::new(instrument.qty_e8(e.qty).0);
        OrderAccepted {
            cl_ord_id: U64::new(e.cl_ord_id.0),
            order_id: U64::new(e.order_id.0),
            exec_id: self.exec_id(),
            gateway_in_time_ns: self.gateway_in(),
            transact_time_ns: self.transact_time(),
            price_e9: I64::new(price),
            qty_e8: qty,
            leaves_qty_e8: qty,
            expire_time_ns: U64::ZERO,
            instrument_id: U32::new(e.market.0),
            account: U32::new(e.account.0),
            side: e.side as u8,
            ord_type,
            tif: tif_code(e.tif),
            exec_inst: flag(e.tif == Tif::GtcPostOnly, EXEC_POST_ONLY)
                | flag(e.persist_on_disconnect, EXEC_PERSIST_ON_DISCONNECT)
                | flag(by_quote, EXEC_QUOTE_QTY),
            status: STATUS_NEW,
            pad: [0; 3],
        }
    }

    fn rejected(&self, e: &event::Rejected) -> OrderRejected {
        OrderRejected {
            cl_ord_id: U64::new(e.cl_ord_id.0),
            exec_id: self.exec_id(),
            gateway_in_time_ns: self.gateway_in(),
            transact_time_ns: self.transact_time(),
            instrument_id: U32::new(e.market.0),
            reason: U16::new(wire_of(e.reason)),
            ref_template: U16::new(e.template),
        }
    }

    /// A replace or cancel that the decoder refused. The event does not hold its target; the client finds the request
    /// by its `clOrdId`.
    fn refused_cancel(&self, e: &event::Rejected) -> CancelRejected {
        CancelRejected {
            cl_ord_id: U64::new(e.cl_ord_id.0),
            orig_cl_ord_id: U64::ZERO,
            order_id: U64::ZERO,
            gateway_in_time_ns: self.gateway_in(),
            transact_time_ns: self.transact_time(),
            reason: U16::new(wire_of(e.reason)),
            ref_template: U16::new(e.template),
            pad: [0; 4],
        }
    }

    #[inline]
    fn executed(&self, e: &Fill, own: &FillSide, liquidity: u8) -> OrderExecuted {
        let instrument = self.instruments.at(e.market);
        let side = if liquidity == LIQUIDITY_TAKER { e.taker_side } else { e.taker_side.opposite() };
        let fee_asset = fee_asset(&instrument.rules, own, side);
        let asset = if fee_asset == instrument.rules.base { &instrument.base } else { &instrument.quote };
        OrderExecuted {
            cl_ord_id: U64::new(own.cl_ord_id.0),
            order_id: U64::new(own.order_id.0),
            exec_id: self.exec_id(),
            trade_id: U64::new(e.trade_id.0),
            transact_time_ns: self.transact_time(),
            last_px_e9: I64::new(instrument.price_e9(e.price).0),
            last_qty_e8: I64::new(instrument.qty_e8(e.qty).0),
            leaves_qty_e8: I64::new(instrument.qty_e8(own.leaves).0),
            cum_qty_e8: I64::new(instrument.qty_e8(own.cum).0),
            fee_e8: I64::new(fee_e8(own.fee, asset).0),
            gateway_in_time_ns: self.gateway_in(),
            fee_asset: U32::new(fee_asset.0),
            instrument_id: U32::new(e.market.0),
            account: U32::new(own.account.0),
            side: side as u8,
            liquidity,
            status: if own.leaves.0 == 0 { STATUS_FILLED } else { STATUS_PARTIALLY_FILLED },
            pad: [0; 9],
        }
    }

    /// Self-trade prevention has reduced the order: an unsolicited replace that keeps the place in the queue.
    fn reduced(&self, e: &event::Reduced) -> OrderReplaced {
        let ids = ReplacedIds { cl_ord_id: e.cl_ord_id, orig_cl_ord_id: e.cl_ord_id };
        let terms = ReplacedTerms {
            order_id: e.order_id,
            market: e.market,
            side: e.side,
            price: e.price,
            leaves: e.leaves,
            cum: e.cum,
            kept_priority: true,
        };
        self.replaced(ids, &terms)
    }

    /// Answers the order's session, and the requesting session where that is another one of the account.
    fn amended(&self, e: &event::Amended, out: &mut impl FnMut(SessionId, &[u8])) {
        let terms = ReplacedTerms {
            order_id: e.order_id,
            market: e.market,
            side: e.side,
            price: e.price,
            leaves: e.leaves,
            cum: e.cum,
            kept_priority: e.kept_priority,
        };
        let own = ReplacedIds { cl_ord_id: e.cl_ord_id, orig_cl_ord_id: e.cl_ord_id_before };
        send(e.session, || self.replaced(own, &terms), out);
        if e.request_session != e.session {
            let requested = ReplacedIds { cl_ord_id: e.request_cl_ord_id, orig_cl_ord_id: e.cl_ord_id_before };
            send(e.request_session, || self.replaced(requested, &terms), out);
        }
    }

    fn replaced(&self, ids: ReplacedIds, terms: &ReplacedTerms) -> OrderReplaced {
        let instrument = self.instruments.at(terms.market);
        OrderReplaced {
            cl_ord_id: U64::new(ids.cl_ord_id.0),
            orig_cl_ord_id: U64::new(ids.orig_cl_ord_id.0),
            order_id: U64::new(terms.order_id.0),
            exec_id: self.exec_id(),
            gateway_in_time_ns: self.gateway_in(),
            transact_time_ns: self.transact_time(),
            price_e9: I64::new(if terms.price.0 == 0 { PRICE_NULL } else { instrument.price_e9(terms.price).0 }),
            leaves_qty_e8: I64::new(instrument.qty_e8(terms.leaves).0),
            cum_qty_e8: I64::new(instrument.qty_e8(terms.cum).0),
            instrument_id: U32::new(terms.market.0),
            side: terms.side as u8,
            kept_priority: u8::from(terms.kept_priority),
            status: open_status(terms.cum),
            pad: [0; 1],
        }
    }

    /// Answers the order's session, and the requesting session where that is another one of the account. For the
    /// order's session such a cancel is unsolicited.
    fn canceled(&self, e: &event::Canceled, out: &mut impl FnMut(SessionId, &[u8])) {
        let is_own_request = e.request_session == e.session;
        let own_request = if is_own_request { e.request_cl_ord_id } else { ClOrdId(0) };
        send(e.session, || self.canceled_for(e, own_request), out);
        if !is_own_request {
            send(e.request_session, || self.canceled_for(e, e.request_cl_ord_id), out);
        }
    }

    fn canceled_for(&self, e: &event::Canceled, request: ClOrdId) -> OrderCanceled {
        let instrument = self.instruments.at(e.market);
        OrderCanceled {
            cl_ord_id: U64::new(e.cl_ord_id.0),
            req_cl_ord_id: U64::new(request.0),
            order_id: U64::new(e.order_id.0),
            exec_id: self.exec_id(),
            gateway_in_time_ns: self.gateway_in(),
            transact_time_ns: self.transact_time(),
            cum_qty_e8: I64::new(instrument.qty_e8(e.cum).0),
            canceled_qty_e8: I64::new(instrument.qty_e8(e.qty).0),
            instrument_id: U32::new(e.market.0),
            account: U32::new(e.account.0),
            side: e.side as u8,
            reason: e.reason as u8,
            status: STATUS_CANCELED,
            pad: [0; 5],
        }
    }

    fn cancel_rejected(&self, e: &event::CancelRejected) -> CancelRejected {
        CancelRejected {
            cl_ord_id: U64::new(e.cl_ord_id.0),
            orig_cl_ord_id: U64::new(e.target_cl_ord_id.0),
            order_id: U64::new(e.order_id.0),
            gateway_in_time_ns: self.gateway_in(),
            transact_time_ns: self.transact_time(),
            reason: U16::new(wire_of(e.reason)),
            ref_template: U16::new(if e.amend { ReplaceOrder::TEMPLATE } else { CancelOrder::TEMPLATE }),
            pad: [0; 4],
        }
    }

    fn mass_canceled(&self, e: &event::MassCanceled) -> MassCancelReport {
        MassCancelReport {
            cl_ord_id: U64::new(e.cl_ord_id.0),
            exec_id: self.exec_id(),
            transact_time_ns: self.transact_time(),
            affected_orders: U32::new(e.count),
            instrument_id: U32::new(e.market.0),
            kill_switch_active: u8::from(e.blocked),
            more: u8::from(e.more),
            // A mass cancel of a market is an administrator's and not reported to sessions, so the schema has a code
            // for every scope that occurs here.
            scope: if e.scope == MassScope::Session { SCOPE_SESSION } else { SCOPE_ACCOUNT },
            pad: [0; 5],
        }
    }

    fn order_status(&self, e: &event::OrderStatus) -> OrderStatus {
        let found = !e.order_id.is_none();
        let (price, leaves, cum, total) = match self.instruments.find(e.market) {
            Some(i) if found => {
                let total = QtyLots(e.leaves.0 + e.cum.0);
                (i.price_e9(e.price).0, i.qty_e8(e.leaves).0, i.qty_e8(e.cum).0, i.qty_e8(total).0)
            }
            _ => (PRICE_NULL, 0, 0, 0),
        };
        OrderStatus {
            req_cl_ord_id: U64::new(e.request.0),
            cl_ord_id: U64::new(e.cl_ord_id.0),
            order_id: U64::new(e.order_id.0),
            last_exec_id: self.exec_id(),
            transact_time_ns: self.transact_time(),
            price_e9: I64::new(price),
            qty_e8: I64::new(total),
            leaves_qty_e8: I64::new(leaves),
            cum_qty_e8: I64::new(cum),
            instrument_id: U32::new(e.market.0),
            account: U32::new(e.account.0),
            remaining: U32::new(e.remaining),
            side: e.side as u8,
            ord_type: ORD_TYPE_LIMIT,
            tif: TIF_GTC,
            status: if found { open_status(e.cum) } else { STATUS_REJECTED },
            exec_inst: if e.post_only { EXEC_POST_ONLY } else { 0 },
            pad: [0; 7],
        }
    }

    fn session_state(&self, e: &event::SessionState) -> SessionState {
        SessionState {
            req_cl_ord_id: U64::new(e.request.0),
            last_cl_ord_id: U64::new(e.cl_ord_id_last.0),
            transact_time_ns: self.transact_time(),
            cod_window_ms: U32::new(e.cod_window_ms),
            open_orders: U32::new(e.open_orders),
            cod_mode: cod_mode_code(e.cod_mode),
            cod_scope: if e.cod_scope == CodScope::Session { SCOPE_SESSION } else { SCOPE_ACCOUNT },
            kill_switch_active: u8::from(e.blocked),
            pad: [0; 5],
        }
    }
}

struct ReplacedIds {
    cl_ord_id: ClOrdId,
    orig_cl_ord_id: ClOrdId,
}

struct ReplacedTerms {
    order_id: book::ids::OrderId,
    market: book::ids::MarketId,
    side: Side,
    price: PriceTicks,
    leaves: QtyLots,
    cum: QtyLots,
    kept_priority: bool,
}

/// A rebate is paid out of the other side's fee, in the asset in which that side pays.
fn fee_asset(rules: &MarketRules, own: &FillSide, own_side: Side) -> AssetId {
    let payer_side = if own.fee.0 < 0 { own_side.opposite() } else { own_side };
    rules.fee_asset(payer_side)
}

fn open_status(cum: QtyLots) -> u8 {
    if cum.0 == 0 { STATUS_NEW } else { STATUS_PARTIALLY_FILLED }
}

fn tif_code(tif: Tif) -> u8 {
    match tif {
        Tif::Gtc | Tif::GtcPostOnly => TIF_GTC,
        Tif::Ioc => TIF_IOC,
        Tif::Fok => TIF_FOK,
    }
}

fn cod_mode_code(mode: CodMode) -> u8 {
    match mode {
        CodMode::Off => 0,
        CodMode::OnDisconnect => 1,
        CodMode::OnLogout => 2,
        CodMode::Both => 3,
    }
}
