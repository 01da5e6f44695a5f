//! Commands: everything that changes state, as the log stores it.
//!
//! A command is a request, decoded into ticks, lots and ids, before any decision about it. Invariant: its bytes are
//! bincode 2 in the standard configuration (see `codec`), which has no names: variants are only ever appended, and a
//! struct never gains a field.

mod admin;

pub use crate::fees::FeeTier;
pub use admin::{
    AccountKind, AccountSpec, AccountStatus, Admin, CodMode, CodScope, FundsMove, KeySpec, MarketLimits, MarketSpec,
    MarketStatus, SessionSpec, Throttle,
};

use crate::ids::{AccountId, ClOrdId, ClientKey, KeyId, MarketId, OrderId, SessionId};
use crate::reject::RejectReason;
use crate::rules::{Rules, RulesVersion};
use crate::run::LifeTag;
use crate::units::{PriceTicks, QtyLots, TsNs, Units};
use bincode::{Decode, Encode};

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    Place(PlaceOrder),
    Cancel(CancelOrder),
    Amend(AmendOrder),
    /// Cancel one order and place another as one step.
    CancelReplace(CancelReplace),
    MassCancel(MassCancel),
    /// A message that the gateway refused. It is in the log because it uses up its `cl_ord_id` and gets an answer.
    Refuse(Refuse),
    Query(Query),
    SetSession(SetSession),
    /// The session's connection has ended and its grace window is over: its cancel-on-disconnect takes effect.
    SessionDown(SessionDown),
    /// In a box, because it is rare and large and would make every other command as large. Written under rules 1 only;
    /// later logs have `Acted`.
    Admin(Box<Admin>),
    /// Written by the live engine: the hash of its state before this command. It changes nothing and has no answer.
    Check(Check),
    /// What people do, with who did it.
    Acted(Box<Acted>),
    /// The first record of every start. It changes nothing and has no answer.
    Opened(Box<Opened>),
    /// The next part of a command over many orders, under rules 2. The node writes these itself.
    Continue(Rest),
    /// A connection of a session has ended, under rules 2. It comes after every command of that connection.
    ConnectionEnd(ConnectionEnd),
}

/// Who acts. Kinds are only ever appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Actor {
    /// The bearer of the operators' token, who may do everything.
    Ops,
    /// The node itself, which raises the rules of a new log, records its runs, stops and lifts the intake of new
    /// orders, and does nothing else.
    Node,
    /// The bearer of an API key, who may act for the key's own account as far as the key's permissions go.
    Key(KeyId),
}

/// What is done. Kinds are only ever appended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Act {
    Admin(Admin),
    MassCancel(MassCancel),
}

/// The longest text of `Acted`, in bytes.
pub const ACTED_TEXT_BYTES_MAX: usize = 64;

/// An act, with who did it and how. Only `actor` and `act` have an effect; the texts are for those who read the log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Acted {
    pub actor: Actor,
    /// The method and the path of a request, or the name of another way in.
    pub method: String,
    /// The address from which the request came; empty when there is none.
    pub address: String,
    /// The request's own id, as the door gave or received it; empty when there is none.
    pub request_id: String,
    pub act: Act,
}

/// The bits of `KeySpec::permissions`.
pub const PERMISSION_READ: u8 = 1 << 0;
pub const PERMISSION_TRADE: u8 = 1 << 1;
pub const PERMISSION_WITHDRAW: u8 = 1 << 2;

impl Act {
    /// The act as logs under rules 1 have it, without its actor.
    pub fn into_bare(self) -> Command {
        match self {
            Self::Admin(admin) => Command::Admin(Box::new(admin)),
            Self::MassCancel(mass) => Command::MassCancel(mass),
        }
    }
}

impl Acted {
    /// An act of the operators without a request.
    pub fn by_ops(act: Act) -> Self {
        Self::by(Actor::Ops, act)
    }

    /// An act of the node itself.
    pub fn by_node(admin: Admin) -> Self {
        Self::by(Actor::Node, Act::Admin(admin))
    }

    /// The administrator's command that this act is, if it is one.
    pub fn admin(&self) -> Option<&Admin> {
        match &self.act {
            Act::Admin(admin) => Some(admin),
            Act::MassCancel(_) => None,
        }
    }

    fn by(actor: Actor, act: Act) -> Self {
        Self { actor, method: String::new(), address: String::new(), request_id: String::new(), act }
    }
}

impl From<Admin> for Acted {
    fn from(admin: Admin) -> Self {
        Self::by_ops(Act::Admin(admin))
    }
}

/// Which build opened the log, and when: so the log itself says who wrote what follows, and where a clock has jumped.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Opened {
    /// At most `BUILD_BYTES_MAX` bytes.
    pub build: String,
    /// The format of the data directory.
    pub format: u32,
    /// The wall clock at the start. The record's own time is log time, which never runs back.
    pub wall: TsNs,
}

/// The longest name of a build in `Opened`.
pub const BUILD_BYTES_MAX: usize = 96;

impl Command {
    /// The rules version that this command asks for and that this build does not know. A log that has such a command
    /// goes on under outcomes that this build cannot give, so it is refused there and never applied.
    pub fn rules_unknown(&self) -> Option<RulesVersion> {
        let admin = match self {
            Self::Admin(admin) => admin,
            Self::Acted(acted) => acted.admin()?,
            _ => return None,
        };
        match admin {
            Admin::SetRules { version } if Rules::of(*version).is_none() => Some(*version),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Check {
    /// `Engine::check_hash` before this command.
    pub hash: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum Side {
    Buy = 1,
    Sell = 2,
}

impl Side {
    pub fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }

    pub fn idx(self) -> usize {
        self as usize - 1
    }
}

/// The kind of an order, with its price and quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum OrderKind {
    Limit {
        price: PriceTicks,
        qty: QtyLots,
    },
    Market {
        qty: QtyLots,
    },
    /// Spend (buy) or raise (sell) at most this much of the quote asset.
    MarketByQuote {
        quote: Units,
    },
}

/// Time in force: how long an order may stay open, and whether it may take.
///
/// Post-only is one of these values, because it has a meaning only for an order that rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum Tif {
    Gtc = 1,
    GtcPostOnly = 2,
    Ioc = 3,
    Fok = 4,
}

/// Self-trade prevention: what happens when an order reaches another one of its owner. The taker's mode decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum StpMode {
    None = 1,
    CancelTaker = 2,
    CancelMaker = 3,
    CancelBoth = 4,
    /// Both lose the smaller of the two quantities, and the smaller order ends.
    Decrement = 5,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PlaceOrder {
    pub session: SessionId,
    pub cl_ord_id: ClOrdId,
    pub client_key: ClientKey,
    pub account: AccountId,
    pub market: MarketId,
    pub side: Side,
    pub kind: OrderKind,
    pub tif: Tif,
    pub stp: StpMode,
    /// Orders of accounts under one parent with the same non-zero group also count as self.
    pub stp_group: u16,
    pub cancel_group: u8,
    pub persist_on_disconnect: bool,
    /// The order is refused as stale when it gets its place in the log after this time; zero means never.
    pub valid_until: TsNs,
}

/// Names one order: by `order_id`; when that is none, by the client order id on the same session; when both are none,
/// by `client_key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct OrderRef {
    pub order_id: OrderId,
    pub cl_ord_id: ClOrdId,
    pub client_key: ClientKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CancelOrder {
    pub session: SessionId,
    pub cl_ord_id: ClOrdId,
    pub account: AccountId,
    pub market: MarketId,
    pub target: OrderRef,
}

/// The meaning of the quantity of an amendment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum AmendQty {
    /// The quantity that is open after the amendment.
    Open = 1,
    /// The total quantity of the order, filled and open together, so that a fill on the way is not ordered again
    /// (in-flight mitigation).
    Total = 2,
}

/// Changes price or quantity. Only the same price with a smaller quantity keeps the place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AmendOrder {
    pub session: SessionId,
    pub cl_ord_id: ClOrdId,
    pub account: AccountId,
    pub market: MarketId,
    pub target: OrderRef,
    pub price: PriceTicks,
    pub qty: QtyLots,
    pub qty_means: AmendQty,
}

/// Whether a cancel-replace places its new order when its cancel fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum ReplaceMode {
    StopOnFailure = 1,
    AllowFailure = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CancelReplace {
    pub target: OrderRef,
    pub mode: ReplaceMode,
    pub place: PlaceOrder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum MassScope {
    /// The orders of the named session.
    Session = 1,
    /// The orders of the named account.
    Account = 2,
    /// Every order of the named market, for administrators only.
    Market = 3,
}

/// Cancels all orders that fit every given filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct MassCancel {
    pub session: SessionId,
    pub cl_ord_id: ClOrdId,
    pub account: AccountId,
    pub scope: MassScope,
    /// `NONE` means every market.
    pub market: MarketId,
    pub side: Option<Side>,
    /// Inclusive.
    pub price_min: Option<PriceTicks>,
    /// Inclusive.
    pub price_max: Option<PriceTicks>,
    /// 0 means every group.
    pub cancel_group: u8,
    /// Whether new orders of the scope are refused from now on.
    pub block: BlockChange,
    /// This command continues a mass cancel that one command could not finish. The node writes these itself.
    pub continued: bool,
}

impl MassCancel {
    /// An operator's, of every order of the scope.
    pub fn every_order(scope: MassScope, account: AccountId, market: MarketId, block: BlockChange) -> Self {
        Self {
            session: SessionId::NONE,
            cl_ord_id: ClOrdId(0),
            account,
            scope,
            market,
            side: None,
            price_min: None,
            price_max: None,
            cancel_group: 0,
            block,
            continued: false,
        }
    }
}

/// What a mass cancel does to the kill switch of its scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum BlockChange {
    Keep = 0,
    Set = 1,
    Lift = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Refuse {
    pub session: SessionId,
    pub cl_ord_id: ClOrdId,
    /// The order that the message named, for the answer.
    pub target: OrderRef,
    pub market: MarketId,
    pub reason: RejectReason,
    /// Template id of the refused message.
    pub template: u16,
    /// Whether a message of this kind uses up its id (a new order, an amendment), so that a resend of it is ignored.
    pub consumes_id: bool,
}

/// Asks for one order or for all open orders. It is a command because the answer has its place in the session's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Query {
    pub session: SessionId,
    pub request: ClOrdId,
    pub account: AccountId,
    pub market: MarketId,
    /// With all parts none: every open order of the account on this market, or on all markets when that is none too.
    pub target: OrderRef,
}

/// What a command over many orders has left to do after one part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Rest {
    pub of: Unfinished,
    /// The order with which the next part begins; none for the first one.
    pub at: OrderId,
    /// Of a query: orders counted, or still to be reported. Of a disconnect: orders cancelled.
    pub count: u32,
}

/// Kinds are only ever appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Unfinished {
    MassCancel(MassCancel),
    SessionDown(SessionDown),
    Count(Query),
    Tell(Query),
    EndLife(LifeEnd),
}

/// The end of a session's life: its orders are cancelled, then what follows begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LifeEnd {
    pub session: SessionId,
    pub then: AfterLife,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum AfterLife {
    Begins(LifeTag),
    Removed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SetSession {
    pub session: SessionId,
    pub request: ClOrdId,
    pub cod_mode: CodMode,
    pub cod_scope: CodScope,
    pub cod_window_ms: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum DownCause {
    Disconnect = 1,
    Logout = 2,
    /// A later login of the session has taken its place, and nothing is cancelled.
    Displaced = 3,
}

impl CodMode {
    /// Whether the end of a connection for this cause cancels orders.
    pub fn cancels_on(self, cause: DownCause) -> bool {
        match cause {
            DownCause::Disconnect => matches!(self, Self::OnDisconnect | Self::Both),
            DownCause::Logout => matches!(self, Self::OnLogout | Self::Both),
            DownCause::Displaced => false,
        }
    }
}

/// The end of a connection on which a session was open. The state of the session decides what it cancels, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ConnectionEnd {
    pub session: SessionId,
    pub cause: DownCause,
    /// Counts the ends of the session since the node started: it names this one in `Event::WindowBegan`.
    pub number: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SessionDown {
    pub session: SessionId,
    pub cause: DownCause,
    pub continued: bool,
}
