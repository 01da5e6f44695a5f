//! Events: what a command did, in order, and the only output of the state machine.
//!
//! Private answers, the public feed, reporting rows and the ledger are all derived from events. Invariants: the first
//! event about an order is `Accepted` or `Rejected`, and the last one is terminal: the `Fill` that leaves nothing open,
//! or `Canceled`. An event is a plain value of fixed size, so that a sink never has to allocate. Histories store events
//! as bincode (see `codec`), where variants are only ever appended and a struct
//! never gains a field.

use crate::command::{AccountStatus, AmendQty, CodMode, CodScope, DownCause, MarketStatus, MassScope, OrderKind, Rest};
use crate::command::{Side, Tif};
use crate::ids::{AccountId, AssetId, ClOrdId, ClientKey, KeyId, MarketId, OrderId, SessionId, TradeId, UserName};
use crate::instrument::{Asset, MarketRules};
use crate::intake::IntakeState;
use crate::reject::{AdminReason, RejectReason};
use crate::rules::RulesVersion;
use crate::run::LifeTag;
use crate::units::{FeeUnits, PriceTicks, QtyLots, Seq, Units};
use bincode::{Decode, Encode};

/// Where the engine puts events as they happen.
pub trait Sink {
    /// Whether the sink wants `Event::Transfer`. The live engine moves the money without describing it; the shadow,
    /// recovery checks and tests ask for the description.
    const LEDGER: bool;

    fn push(&mut self, event: Event);
}

impl Sink for Vec<Event> {
    const LEDGER: bool = true;

    fn push(&mut self, event: Event) {
        self.push(event);
    }
}

/// Drops every event, for replay at full speed.
#[derive(Debug, Default)]
pub struct NoSink;

impl Sink for NoSink {
    const LEDGER: bool = false;

    fn push(&mut self, _event: Event) {}
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    Accepted(Accepted),
    Rejected(Rejected),
    /// The order, or what remains of it, joined the book. This one is public.
    Rested(Rested),
    Fill(Fill),
    /// A self-trade prevention took quantity off an order without a trade.
    Reduced(Reduced),
    Amended(Amended),
    Canceled(Canceled),
    CancelRejected(CancelRejected),
    MassCanceled(MassCanceled),
    OrderStatus(OrderStatus),
    /// The client had used this text id before: the outcome of its first use. Nothing was done now.
    Repeated(Repeated),
    SessionState(SessionState),
    Transfer(Transfer),

    AssetAdded(Asset),
    MarketAdded(MarketRules),
    MarketStatusChanged {
        market: MarketId,
        status: MarketStatus,
    },
    /// The fees or limits of a market changed: all its rules as they are now.
    MarketRulesChanged(MarketRules),
    FeeTierChanged {
        tier: u8,
    },
    AccountAdded {
        account: AccountId,
    },
    AccountChanged {
        account: AccountId,
        status: AccountStatus,
        fee_tier: u8,
        blocked: bool,
    },
    SessionAdded {
        session: SessionId,
        account: AccountId,
        user: UserName,
        drop_copy: bool,
    },
    SessionChanged {
        session: SessionId,
        blocked: bool,
    },
    KeyAdded {
        account: AccountId,
    },
    KeyRevoked {
        account: AccountId,
    },
    /// A deposit or withdrawal was booked. `repeated` says that it had been booked before and nothing moved now.
    FundsMoved {
        account: AccountId,
        asset: AssetId,
        amount: Units,
        available: Units,
        repeated: bool,
    },
    AdminRejected {
        reason: AdminReason,
    },
    /// From the next command on these rules are in force.
    RulesChanged {
        version: RulesVersion,
    },
    /// The command has more to do than one command may, and the node continues it. The last event of its command.
    Unfinished(Rest),
    ClientNamesMaxChanged {
        max: u32,
    },
    /// A run has begun. With a new life, so many numbers are skipped from here on; otherwise none.
    RunBegan {
        life: u32,
        tag: LifeTag,
        skipped: u64,
    },
    /// What the exchange as a whole accepts from the next command on.
    IntakeChanged {
        state: IntakeState,
    },
    /// A connection has ended, and its session's orders are cancelled when its grace window is over: the node ends it
    /// with `Command::SessionDown`, unless the session logs in before.
    WindowBegan(WindowBegan),
    /// The session's stream has a new name, and its numbers go on after so many that are skipped.
    SessionLifeBegan {
        session: SessionId,
        lives: u32,
        tag: LifeTag,
        skipped: u64,
    },
    SessionPasswordChanged {
        session: SessionId,
    },
    SessionRemoved {
        session: SessionId,
    },
    /// The node ends the session's connection, if it has one.
    SessionDisconnected {
        session: SessionId,
    },
    /// An operator has seen that a start cut the log before this sequence.
    TornEndAcknowledged {
        seq: Seq,
    },
    /// A key that was revoked long ago is remembered no more.
    KeyForgotten {
        key: KeyId,
    },
    /// A closed market has left the state.
    MarketRemoved {
        market: MarketId,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct WindowBegan {
    pub session: SessionId,
    pub cause: DownCause,
    /// That of the `ConnectionEnd`.
    pub number: u32,
    pub window_ms: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Accepted {
    pub order_id: OrderId,
    pub session: SessionId,
    pub cl_ord_id: ClOrdId,
    pub client_key: ClientKey,
    pub account: AccountId,
    pub market: MarketId,
    pub side: Side,
    pub kind: OrderKind,
    pub tif: Tif,
    /// The total quantity; for an order by quote, the quantity that the quote amount takes from the book.
    pub qty: QtyLots,
    pub persist_on_disconnect: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Rejected {
    pub session: SessionId,
    pub cl_ord_id: ClOrdId,
    pub client_key: ClientKey,
    pub account: AccountId,
    pub market: MarketId,
    pub reason: RejectReason,
    /// The template id of the message when the gateway refused it, otherwise 0.
    pub template: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Rested {
    pub order_id: OrderId,
    pub market: MarketId,
    pub side: Side,
    pub price: PriceTicks,
    pub qty: QtyLots,
}

/// One trade between a resting maker and an incoming taker, at the maker's price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Fill {
    pub trade_id: TradeId,
    pub market: MarketId,
    pub price: PriceTicks,
    pub qty: QtyLots,
    pub taker_side: Side,
    pub maker: FillSide,
    pub taker: FillSide,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FillSide {
    pub order_id: OrderId,
    pub cl_ord_id: ClOrdId,
    pub account: AccountId,
    pub session: SessionId,
    /// The quantity that is open after this fill.
    pub leaves: QtyLots,
    /// The quantity that is filled so far, this fill included.
    pub cum: QtyLots,
    /// A fee is in units of what this side received, base for the buyer and quote for the seller, or of quote where the
    /// market's fees are paid in quote. A rebate is negative: it is a share of the other side's fee of the same trade,
    /// in the asset in which that side paid it.
    pub fee: FeeUnits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Reduced {
    pub order_id: OrderId,
    pub session: SessionId,
    pub cl_ord_id: ClOrdId,
    pub account: AccountId,
    pub market: MarketId,
    pub side: Side,
    /// The order's limit. Zero for a market order, which has none; under rules 1 the worst price that it may take.
    pub price: PriceTicks,
    /// The quantity that was taken off.
    pub qty: QtyLots,
    pub leaves: QtyLots,
    pub cum: QtyLots,
    /// False for the incoming order, which was never public.
    pub was_resting: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Amended {
    pub order_id: OrderId,
    pub session: SessionId,
    /// The client order id from now on: that of the amendment when it came through the order's session.
    pub cl_ord_id: ClOrdId,
    pub cl_ord_id_before: ClOrdId,
    /// The request, by its session and id.
    pub request_session: SessionId,
    pub request_cl_ord_id: ClOrdId,
    pub account: AccountId,
    pub market: MarketId,
    pub side: Side,
    pub price: PriceTicks,
    pub price_before: PriceTicks,
    pub leaves: QtyLots,
    pub leaves_before: QtyLots,
    pub cum: QtyLots,
    pub qty_means: AmendQty,
    /// When false, the order left the book with this event. It may trade, and joins the book again by `Rested`.
    pub kept_priority: bool,
}

/// Why an order ended without being filled completely. The numbers are those of the wire schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum CancelReason {
    User = 1,
    MassCancel = 2,
    Disconnect = 3,
    KillSwitch = 4,
    /// The remainder of an immediate-or-cancel order.
    Ioc = 5,
    /// A fill-or-kill order that could not be filled completely.
    Fok = 6,
    SelfTrade = 7,
    Replaced = 11,
    Admin = 13,
    /// The remainder of a market order: the book had nothing more, or nothing more within the price band.
    NoLiquidity = 14,
    /// The command reached `FILLS_PER_COMMAND_MAX`. The remainder may not rest, because it would cross the book.
    FillLimit = 15,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Canceled {
    pub order_id: OrderId,
    /// The order, by its session and id.
    pub session: SessionId,
    pub cl_ord_id: ClOrdId,
    /// The request, by its session and id; none when the client did not ask for it.
    pub request_session: SessionId,
    pub request_cl_ord_id: ClOrdId,
    pub account: AccountId,
    pub market: MarketId,
    pub side: Side,
    pub qty: QtyLots,
    pub cum: QtyLots,
    pub reason: CancelReason,
    /// Whether the order was public. The remainder of an immediate-or-cancel order never was.
    pub was_resting: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CancelRejected {
    pub session: SessionId,
    pub cl_ord_id: ClOrdId,
    pub order_id: OrderId,
    pub target_cl_ord_id: ClOrdId,
    pub account: AccountId,
    pub market: MarketId,
    pub reason: RejectReason,
    /// True for a refused amendment, false for a refused cancel.
    pub amend: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct MassCanceled {
    pub session: SessionId,
    pub cl_ord_id: ClOrdId,
    pub account: AccountId,
    pub market: MarketId,
    pub scope: MassScope,
    /// How many orders this command cancelled.
    pub count: u32,
    /// Whether the scope is blocked now.
    pub blocked: bool,
    /// More orders fit the filter than one command may cancel. The node continues with another command.
    pub more: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OrderStatus {
    pub session: SessionId,
    pub request: ClOrdId,
    pub order_id: OrderId,
    pub cl_ord_id: ClOrdId,
    pub account: AccountId,
    pub market: MarketId,
    pub side: Side,
    pub price: PriceTicks,
    pub leaves: QtyLots,
    pub cum: QtyLots,
    pub post_only: bool,
    /// How many more answers to the same request follow.
    pub remaining: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Repeated {
    pub account: AccountId,
    pub market: MarketId,
    pub client_key: ClientKey,
    /// The command that used the id first.
    pub seq_first: Seq,
    /// Its outcome: the order, or the reason why it was rejected.
    pub outcome: Result<OrderId, RejectReason>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SessionState {
    pub session: SessionId,
    pub request: ClOrdId,
    pub cl_ord_id_last: ClOrdId,
    pub open_orders: u32,
    pub cod_mode: CodMode,
    pub cod_scope: CodScope,
    pub cod_window_ms: u32,
    pub blocked: bool,
}

/// The accounts of the ledger. The codes are those of the exchange's chart of accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum LedgerAccount {
    /// 102: what the custodian keeps for all clients and the house.
    Custody,
    /// 202: a client's money that is available.
    Available(AccountId),
    /// 212: a client's money that its open orders hold.
    Held(AccountId),
    /// 302: fees earned, less the shares of them that were paid as rebates.
    Fees,
}

/// Why money moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum TransferKind {
    Deposit = 1,
    Withdrawal = 2,
    Hold = 3,
    Release = 4,
    Trade = 5,
    Fee = 6,
    Rebate = 7,
    /// Earned fees that are paid out to the house.
    FeeWithdrawal = 40,
}

/// A balanced posting: exactly `amount` leaves one account of the ledger and enters another one of the same asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Transfer {
    pub kind: TransferKind,
    pub asset: AssetId,
    pub debit: LedgerAccount,
    pub credit: LedgerAccount,
    pub amount: Units,
    pub debit_after: Units,
    pub credit_after: Units,
    /// The order of a hold, release, trade, fee or rebate; none for deposits and withdrawals.
    pub order_id: OrderId,
}
