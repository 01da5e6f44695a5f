//! Requests of a client to commands of the log.
//!
//! A request that fails a check here becomes `Command::Refuse` with the reason: a refusal is sequenced like any
//! command, because it consumes its client order id and is answered in the session's stream. An error is returned only
//! for bytes that are not a request of the schema; then the caller closes the connection.
//!
//! Invariant: the checks here run in the engine's order of precedence, so the reason that is reported does not depend
//! on which of the two found it: malformed, unsupported, not authorised, instrument, price, quantity.

use crate::binary::orders::*;
use crate::binary::sbe::{Block, Message, PRICE_NULL, SbeError};
use crate::decimal::{PriceE9, QtyE8};
use crate::instruments::{Instrument, Instruments, units_of};
use book::command::{AmendOrder, AmendQty, BlockChange, CancelOrder as Cancel, CodMode, CodScope, Command, MassScope};
use book::command::{MassCancel as Mass, OrderKind, OrderRef, PlaceOrder, Query, Refuse, SetSession as Set};
use book::command::{Side, StpMode, Tif};
use book::ids::{AccountId, ClOrdId, ClientKey, MarketId, OrderId, SessionId};
use book::reject::RejectReason;
use book::units::{PriceTicks, TsNs};
use thiserror::Error;

/// The session whose connection a message came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    pub session: SessionId,
    /// The session's own account.
    pub account: AccountId,
    /// A drop copy may send `StatusRequest` and nothing else.
    pub drop_copy: bool,
}

/// A decoded request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    Command(Command),
    /// `stage_times` switches `StageTimes` on or off for this connection. It is not part of the command, because it is
    /// not state of the exchange.
    SetSession {
        command: Command,
        stage_times: bool,
    },
}

/// The bytes are not a request of the schema. The node logs this and closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an order entry request: {0}")]
pub struct ProtocolError(#[from] pub SbeError);

/// Decodes one request. Does not allocate.
pub fn decode(bytes: &[u8], sender: &Sender, instruments: &Instruments) -> Result<Decoded, ProtocolError> {
    let block = Block::split(bytes, ORDERS_SCHEMA)?;
    let decoded = match block.template {
        NewOrder::TEMPLATE => new_order(block.body()?, sender, instruments),
        ReplaceOrder::TEMPLATE => replace_order(block.body()?, sender, instruments),
        CancelOrder::TEMPLATE => cancel_order(block.body()?, sender),
        MassCancel::TEMPLATE => mass_cancel(block.body()?, sender, instruments),
        MassQuote::TEMPLATE => mass_quote(block.body()?, sender),
        StatusRequest::TEMPLATE => status_request(block.body()?, sender),
        SetSession::TEMPLATE => return Ok(set_session(block.body()?, sender)),
        template => return Err(SbeError::UnknownTemplate { template }.into()),
    };
    Ok(Decoded::Command(decoded))
}

/// The fields of a request that its refusal repeats.
struct Refusal<'a> {
    sender: &'a Sender,
    template: u16,
    cl_ord_id: u64,
    target: OrderRef,
    market: MarketId,
    consumes_id: bool,
}

const NO_TARGET: OrderRef = OrderRef { order_id: OrderId::NONE, cl_ord_id: ClOrdId(0), client_key: ClientKey::NONE };

impl Refusal<'_> {
    fn unless_ok(self, outcome: Result<Command, RejectReason>) -> Command {
        match outcome {
            Ok(command) => command,
            Err(reason) => self.because(reason),
        }
    }

    #[cold]
    fn because(self, reason: RejectReason) -> Command {
        Command::Refuse(Refuse {
            session: self.sender.session,
            cl_ord_id: ClOrdId(self.cl_ord_id),
            target: self.target,
            market: self.market,
            reason,
            template: self.template,
            consumes_id: self.consumes_id,
        })
    }
}

fn new_order(message: &NewOrder, sender: &Sender, instruments: &Instruments) -> Command {
    let refusal = Refusal {
        sender,
        template: NewOrder::TEMPLATE,
        cl_ord_id: message.cl_ord_id.get(),
        target: NO_TARGET,
        market: MarketId(message.instrument_id.get()),
        consumes_id: true,
    };
    refusal.unless_ok(place(message, sender, instruments).map(Command::Place))
}

fn place(message: &NewOrder, sender: &Sender, instruments: &Instruments) -> Result<PlaceOrder, RejectReason> {
    let terms = Terms::read(message)?;
    terms.check_supported(message)?;
    may_trade(sender)?;
    let market = MarketId(message.instrument_id.get());
    let instrument = instruments.find(market).ok_or(RejectReason::UnknownInstrument)?;
    Ok(PlaceOrder {
        session: sender.session,
        cl_ord_id: ClOrdId(message.cl_ord_id.get()),
        client_key: ClientKey::NONE,
        account: account_or_own(message.account.get(), sender),
        market,
        side: terms.side,
        kind: order_kind(message, instrument)?,
        tif: terms.tif,
        stp: terms.stp,
        stp_group: message.stp_group.get(),
        cancel_group: message.cancel_group,
        persist_on_disconnect: message.exec_inst & EXEC_PERSIST_ON_DISCONNECT != 0,
        valid_until: TsNs(message.valid_until_ns.get()),
    })
}

/// The enumerated fields of a new order. Invariant: each has a value of its enumeration, and they do not contradict
/// each other or the fields that they apply to.
struct Terms {
    side: Side,
    tif: Tif,
    stp: StpMode,
}

impl Terms {
    fn read(message: &NewOrder) -> Result<Self, RejectReason> {
        let has = |bit: u8| message.exec_inst & bit != 0;
        let is_market = message.ord_type == ORD_TYPE_MARKET;
        let is_limit = message.ord_type == ORD_TYPE_LIMIT;
        let price_given = message.price_e9.get() != PRICE_NULL && message.price_e9.get() != 0;
        let post_only = has(EXEC_POST_ONLY) || has(EXEC_POST_ONLY_REPRICE);
        let immediate = matches!(message.tif, TIF_IOC | TIF_FOK);
        let well_formed = message.cl_ord_id.get() != 0
            && matches!(message.ord_type, ORD_TYPE_MARKET..=ORD_TYPE_STOP_LIMIT)
            && message.exec_inst & !EXEC_ALL == 0
            && 0 <= message.display_qty_e8.get()
            && 0 <= message.min_qty_e8.get()
            && (message.expire_time_ns.get() == 0 || matches!(message.tif, TIF_DAY | TIF_GTD))
            && !(post_only && (immediate || is_market))
            && !(is_market && (message.tif == TIF_GTC || price_given))
            && !(is_limit && message.price_e9.get() == PRICE_NULL)
            && (!has(EXEC_QUOTE_QTY) || is_market);
        if !well_formed {
            return Err(RejectReason::Malformed);
        }
        let tif = match message.tif {
            TIF_GTC if post_only => Tif::GtcPostOnly,
            // Day and GTD pass here, because `check_supported` refuses them with its own reason.
            TIF_GTC | TIF_DAY | TIF_GTD => Tif::Gtc,
            TIF_IOC => Tif::Ioc,
            TIF_FOK => Tif::Fok,
            _ => return Err(RejectReason::Malformed),
        };
        let side = side_of(message.side).ok_or(RejectReason::Malformed)?;
        Ok(Self { side, tif, stp: stp_mode(message.stp_mode)? })
    }

    /// Refuses values that the schema reserves for later versions.
    fn check_supported(&self, message: &NewOrder) -> Result<(), RejectReason> {
        let reserved_bits = EXEC_POST_ONLY_REPRICE | EXEC_MMP | EXEC_HIDDEN;
        let shows_all = message.display_qty_e8.get() == 0 || message.display_qty_e8.get() == message.qty_e8.get();
        let supported = matches!(message.ord_type, ORD_TYPE_MARKET | ORD_TYPE_LIMIT)
            && matches!(message.tif, TIF_GTC | TIF_IOC | TIF_FOK)
            && message.exec_inst & reserved_bits == 0
            && shows_all
            && message.min_qty_e8.get() == 0;
        if supported { Ok(()) } else { Err(RejectReason::Unsupported) }
    }
}

fn order_kind(message: &NewOrder, instrument: &Instrument) -> Result<OrderKind, RejectReason> {
    let qty = QtyE8(message.qty_e8.get());
    if message.exec_inst & EXEC_QUOTE_QTY != 0 {
        return Ok(OrderKind::MarketByQuote { quote: units_of(qty, &instrument.quote)? });
    }
    if message.ord_type == ORD_TYPE_MARKET {
        return Ok(OrderKind::Market { qty: instrument.qty_lots(qty)? });
    }
    let price = instrument.price_ticks(PriceE9(message.price_e9.get()))?;
    Ok(OrderKind::Limit { price, qty: instrument.qty_lots(qty)? })
}

fn replace_order(message: &ReplaceOrder, sender: &Sender, instruments: &Instruments) -> Command {
    let refusal = Refusal {
        sender,
        template: ReplaceOrder::TEMPLATE,
        cl_ord_id: message.cl_ord_id.get(),
        target: target(message.order_id.get(), message.orig_cl_ord_id.get()),
        market: MarketId(message.instrument_id.get()),
        consumes_id: true,
    };
    refusal.unless_ok(amend(message, sender, instruments).map(Command::Amend))
}

fn amend(message: &ReplaceOrder, sender: &Sender, instruments: &Instruments) -> Result<AmendOrder, RejectReason> {
    let target = target(message.order_id.get(), message.orig_cl_ord_id.get());
    let qty_means = match message.in_flight_mitigation {
        0 => AmendQty::Open,
        1 => AmendQty::Total,
        _ => return Err(RejectReason::Malformed),
    };
    let well_formed = message.cl_ord_id.get() != 0
        && target != NO_TARGET
        && message.price_e9.get() != PRICE_NULL
        && message.exec_inst & !EXEC_ALL == 0
        && 0 <= message.display_qty_e8.get();
    if !well_formed {
        return Err(RejectReason::Malformed);
    }
    let shows_all = message.display_qty_e8.get() == 0 || message.display_qty_e8.get() == message.qty_e8.get();
    // An order keeps the instructions that it was entered with.
    if message.exec_inst != 0 || !shows_all {
        return Err(RejectReason::Unsupported);
    }
    may_trade(sender)?;
    let market = MarketId(message.instrument_id.get());
    let instrument = instruments.find(market).ok_or(RejectReason::UnknownInstrument)?;
    Ok(AmendOrder {
        session: sender.session,
        cl_ord_id: ClOrdId(message.cl_ord_id.get()),
        account: sender.account,
        market,
        target,
        price: instrument.price_ticks(PriceE9(message.price_e9.get()))?,
        qty: instrument.qty_lots(QtyE8(message.qty_e8.get()))?,
        qty_means,
    })
}

fn cancel_order(message: &CancelOrder, sender: &Sender) -> Command {
    let target = target(message.order_id.get(), message.orig_cl_ord_id.get());
    let market = MarketId(message.instrument_id.get());
    let cl_ord_id = message.cl_ord_id.get();
    let refusal = Refusal { sender, template: CancelOrder::TEMPLATE, cl_ord_id, target, market, consumes_id: false };
    if target == NO_TARGET {
        return refusal.because(RejectReason::Malformed);
    }
    if sender.drop_copy {
        return refusal.because(RejectReason::NotAuthorised);
    }
    Command::Cancel(Cancel {
        session: sender.session,
        cl_ord_id: ClOrdId(cl_ord_id),
        account: sender.account,
        market,
        target,
    })
}

fn mass_cancel(message: &MassCancel, sender: &Sender, instruments: &Instruments) -> Command {
    let refusal = Refusal {
        sender,
        template: MassCancel::TEMPLATE,
        cl_ord_id: message.cl_ord_id.get(),
        target: NO_TARGET,
        market: MarketId(message.instrument_id.get()),
        consumes_id: false,
    };
    refusal.unless_ok(mass(message, sender, instruments).map(Command::MassCancel))
}

fn mass(message: &MassCancel, sender: &Sender, instruments: &Instruments) -> Result<Mass, RejectReason> {
    let side = match message.side {
        SIDE_BOTH => None,
        code => Some(side_of(code).ok_or(RejectReason::Malformed)?),
    };
    let block = match message.block_new_orders {
        0 => BlockChange::Keep,
        1 => BlockChange::Set,
        _ => return Err(RejectReason::Malformed),
    };
    let (low, high) = (message.low_price_e9.get(), message.high_price_e9.get());
    let market = MarketId(message.instrument_id.get());
    let has_range = low != PRICE_NULL || high != PRICE_NULL;
    // A range without a market has no tick; a range that can hold no price is a mistake of the client.
    let range_ok = !(has_range && market.is_none())
        && (low == PRICE_NULL || 0 <= low)
        && (high == PRICE_NULL || 0 < high)
        && (low == PRICE_NULL || high == PRICE_NULL || low <= high);
    if !range_ok {
        return Err(RejectReason::Malformed);
    }
    let scope = match message.scope {
        SCOPE_SESSION if message.quote_set.get() == 0 => MassScope::Session,
        SCOPE_ACCOUNT if message.quote_set.get() == 0 => MassScope::Account,
        SCOPE_SESSION..=SCOPE_QUOTE_SET => return Err(RejectReason::Unsupported),
        _ => return Err(RejectReason::Malformed),
    };
    may_trade(sender)?;
    let (price_min, price_max) = match instruments.find(market) {
        Some(instrument) => price_range(low, high, instrument.rules.tick_e9)?,
        None if market.is_none() => (None, None),
        None => return Err(RejectReason::UnknownInstrument),
    };
    Ok(Mass {
        session: sender.session,
        cl_ord_id: ClOrdId(message.cl_ord_id.get()),
        account: account_or_own(message.account.get(), sender),
        scope,
        market,
        side,
        price_min,
        price_max,
        cancel_group: message.cancel_group,
        block,
        continued: false,
    })
}

type PriceRange = (Option<PriceTicks>, Option<PriceTicks>);

/// The range in ticks. Bounds need not be multiples of the tick: the lower one is rounded up and the higher one down,
/// so that the range holds exactly the prices between them.
fn price_range(low: i64, high: i64, tick_e9: u64) -> Result<PriceRange, RejectReason> {
    let price_min = match u64::try_from(low) {
        Ok(low) if low != PRICE_NULL as u64 => {
            let ticks = u32::try_from(low.div_ceil(tick_e9)).map_err(|_| RejectReason::PriceTick)?;
            Some(PriceTicks(ticks))
        }
        _ => None,
    };
    let price_max = match u64::try_from(high) {
        // A bound above the largest price is no bound.
        Ok(high) if high != PRICE_NULL as u64 => u32::try_from(high / tick_e9).ok().map(PriceTicks),
        _ => None,
    };
    Ok((price_min, price_max))
}

fn mass_quote(message: &MassQuote, sender: &Sender) -> Command {
    let refusal = Refusal {
        sender,
        template: MassQuote::TEMPLATE,
        cl_ord_id: message.cl_ord_id.get(),
        target: NO_TARGET,
        market: MarketId::NONE,
        consumes_id: true,
    };
    refusal.because(RejectReason::Unsupported)
}

/// Open to drop copies too. The engine answers only for the session's own account.
fn status_request(message: &StatusRequest, sender: &Sender) -> Command {
    Command::Query(Query {
        session: sender.session,
        request: ClOrdId(message.cl_ord_id.get()),
        account: account_or_own(message.account.get(), sender),
        market: MarketId(message.instrument_id.get()),
        target: target(message.order_id.get(), message.orig_cl_ord_id.get()),
    })
}

fn set_session(message: &SetSession, sender: &Sender) -> Decoded {
    let refusal = Refusal {
        sender,
        template: SetSession::TEMPLATE,
        cl_ord_id: message.cl_ord_id.get(),
        target: NO_TARGET,
        market: MarketId::NONE,
        consumes_id: false,
    };
    match cancel_on_disconnect(message, sender) {
        Ok(set) => Decoded::SetSession { command: Command::SetSession(set), stage_times: message.stage_times == 1 },
        Err(reason) => Decoded::Command(refusal.because(reason)),
    }
}

fn cancel_on_disconnect(message: &SetSession, sender: &Sender) -> Result<Set, RejectReason> {
    let cod_mode = match message.cod_mode {
        0 => CodMode::Off,
        1 => CodMode::OnDisconnect,
        2 => CodMode::OnLogout,
        3 => CodMode::Both,
        _ => return Err(RejectReason::Malformed),
    };
    if 1 < message.stage_times {
        return Err(RejectReason::Malformed);
    }
    let cod_scope = match message.cod_scope {
        SCOPE_SESSION => CodScope::Session,
        SCOPE_ACCOUNT => CodScope::Account,
        SCOPE_QUOTE_SET => return Err(RejectReason::Unsupported),
        _ => return Err(RejectReason::Malformed),
    };
    may_trade(sender)?;
    Ok(Set {
        session: sender.session,
        request: ClOrdId(message.cl_ord_id.get()),
        cod_mode,
        cod_scope,
        cod_window_ms: message.cod_window_ms.get(),
    })
}

fn may_trade(sender: &Sender) -> Result<(), RejectReason> {
    if sender.drop_copy { Err(RejectReason::NotAuthorised) } else { Ok(()) }
}

/// Zero is the session's own account. The engine refuses accounts that the session may not trade for.
fn account_or_own(account: u32, sender: &Sender) -> AccountId {
    if account == 0 { sender.account } else { AccountId(account) }
}

fn target(order_id: u64, orig_cl_ord_id: u64) -> OrderRef {
    OrderRef { order_id: OrderId(order_id), cl_ord_id: ClOrdId(orig_cl_ord_id), client_key: ClientKey::NONE }
}

fn stp_mode(value: u8) -> Result<StpMode, RejectReason> {
    Ok(match value {
        1 => StpMode::None,
        2 => StpMode::CancelTaker,
        3 => StpMode::CancelMaker,
        4 => StpMode::CancelBoth,
        5 => StpMode::Decrement,
        _ => return Err(RejectReason::Malformed),
    })
}
