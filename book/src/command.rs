//! Everything that changes state, as it stands in the log.
//!
//! A command is what somebody asked for, already decoded into ticks, lots and ids, before any decision. Byte format:
//! bincode 2 standard configuration (see `codec`); variants and fields are only ever appended.

use crate::ids::{AccountId, AssetId, ClOrdId, ClientKey, MarketId, OrderId, SessionId, Symbol, UserName};
use crate::reject::RejectReason;
use crate::units::{Ppm, PriceTicks, QtyLots, TsNs, Units};
use bincode::{Decode, Encode};

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    Place(PlaceOrder),
    Cancel(CancelOrder),
    Amend(AmendOrder),
    /// Cancel one order and place another as one step.
    CancelReplace(CancelReplace),
    MassCancel(MassCancel),
    /// A message that the door refused; it is in the log because it uses up its `cl_ord_id` and is answered.
    Refuse(Refuse),
    Query(Query),
    SetSession(SetSession),
    /// The session's connection is gone for good: its cancel-on-disconnect takes effect.
    SessionDown(SessionDown),
    /// Boxed: rare and large, and kept from widening the commands of the hot path.
    Admin(Box<Admin>),
    /// The live engine's own: what its state hashed to just before. Changes nothing that anybody can see.
    Check(Check),
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

/// What is wanted and how the quantity is meant.
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

/// How long an order may live, and whether it may take.
///
/// Post-only is a lifetime here because it only makes sense for an order that rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum Tif {
    Gtc = 1,
    GtcPostOnly = 2,
    Ioc = 3,
    Fok = 4,
}

/// What happens when an order meets one of its own owner; the taker's mode decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum StpMode {
    None = 1,
    CancelTaker = 2,
    CancelMaker = 3,
    CancelBoth = 4,
    /// Both lose the smaller quantity, the smaller one ends.
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
    /// Refused as stale when sequenced later than this; zero is "no limit".
    pub valid_until: TsNs,
}

/// Names one order: by `order_id`, or by the client's id on the same session when `order_id` is none,
/// or by `client_key` when both are none.
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

/// How the quantity of an amendment is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum AmendQty {
    /// The quantity that shall be open from now on.
    Open = 1,
    /// The whole quantity of the order; what is filled already comes off (in-flight mitigation).
    Total = 2,
}

/// Change price or quantity. The same price with a smaller quantity keeps its place in the queue, anything else loses it.
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

/// What a failed cancel means for the new order of a cancel-replace.
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
    /// Orders of the session named.
    Session = 1,
    /// Orders of the account named.
    Account = 2,
    /// Every order of the market named; administrators only.
    Market = 3,
}

/// Cancel all orders that fit every given filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct MassCancel {
    pub session: SessionId,
    pub cl_ord_id: ClOrdId,
    pub account: AccountId,
    pub scope: MassScope,
    /// `NONE` is every market.
    pub market: MarketId,
    pub side: Option<Side>,
    /// Inclusive.
    pub price_min: Option<PriceTicks>,
    /// Inclusive.
    pub price_max: Option<PriceTicks>,
    /// 0 is every group.
    pub cancel_group: u8,
    /// Also refuse new orders of the scope until the block is lifted.
    pub block: BlockChange,
    /// The rest of a mass cancel that one command could not finish; the node adds these by itself.
    pub continued: bool,
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
    /// What the message aimed at, for the answer.
    pub target: OrderRef,
    pub market: MarketId,
    pub reason: RejectReason,
    /// Template id of the refused message.
    pub template: u16,
    /// Whether the message was of a kind that uses up its id (a new order, an amendment): a resend is then ignored.
    pub consumes_id: bool,
}

/// Ask for one order or all open orders; answered in the session's stream, hence in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Query {
    pub session: SessionId,
    pub request: ClOrdId,
    pub account: AccountId,
    pub market: MarketId,
    /// All of it none: every open order of the account on this market (or on all markets when that is none).
    pub target: OrderRef,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum CodMode {
    Off = 0,
    OnDisconnect = 1,
    OnLogout = 2,
    Both = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum CodScope {
    Session = 1,
    Account = 2,
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SessionDown {
    pub session: SessionId,
    pub cause: DownCause,
    pub continued: bool,
}

/// What an administrator changes. Every one is answered by its own event or by `AdminRejected`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Admin {
    AddAsset {
        symbol: Symbol,
        scale: u8,
    },
    AddMarket(MarketSpec),
    SetMarketStatus {
        market: MarketId,
        status: MarketStatus,
    },
    SetMarketFees {
        market: MarketId,
        maker_fee: Ppm,
        taker_fee: Ppm,
    },
    SetMarketLimits {
        market: MarketId,
        limits: MarketLimits,
    },
    SetFeeTier {
        tier: u8,
        fees: FeeTier,
    },
    AddAccount(AccountSpec),
    SetAccountStatus {
        account: AccountId,
        status: AccountStatus,
    },
    SetAccountFeeTier {
        account: AccountId,
        tier: u8,
    },
    SetAccountLimits {
        account: AccountId,
        open_orders_max: u32,
    },
    /// Lift or set the kill switch of an account.
    SetAccountBlock {
        account: AccountId,
        blocked: bool,
    },
    AddSession(SessionSpec),
    SetSessionBlock {
        session: SessionId,
        blocked: bool,
    },
    SetSessionThrottle {
        session: SessionId,
        throttle: Throttle,
    },
    AddKey(KeySpec),
    RevokeKey {
        key: String,
    },
    Deposit(FundsMove),
    Withdraw(FundsMove),
}

/// A market as its administrator describes it, in decimal wire units, before the checks of `instrument`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct MarketSpec {
    pub symbol: Symbol,
    pub base: AssetId,
    pub quote: AssetId,
    /// Tick in 1e-9 of a whole quote asset per whole base asset.
    pub tick_e9: u64,
    /// Lot in 1e-8 of a whole base asset.
    pub lot_e8: u64,
    pub limits: MarketLimits,
    pub maker_fee: Ppm,
    pub taker_fee: Ppm,
    pub status: MarketStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct MarketLimits {
    pub qty_min: QtyLots,
    pub qty_max: QtyLots,
    /// In quote units; zero is no minimum.
    pub notional_min: Units,
    /// Largest distance of a limit price from the reference price, in ppm of it; zero is no band.
    pub price_band: Ppm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum MarketStatus {
    Trading = 1,
    /// Nothing but cancels by administrators.
    Halt = 2,
    CancelOnly = 3,
    PostOnly = 4,
    /// For good: no status follows.
    Closed = 5,
}

/// Scales a market's fees for the accounts of a tier; 1,000,000 is the market's own fee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FeeTier {
    pub maker_scale: Ppm,
    pub taker_scale: Ppm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum AccountKind {
    Client = 1,
    MarketMaker = 2,
    /// An introducing agent, parent of client accounts.
    Agent = 3,
    House = 4,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum AccountStatus {
    Active = 1,
    /// Cancels and withdrawals only.
    Suspended = 2,
    /// For good.
    Closed = 3,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AccountSpec {
    /// 1 to 64 bytes, unique.
    pub name: String,
    pub kind: AccountKind,
    pub parent: AccountId,
    pub fee_tier: u8,
}

/// A leaky bucket in the log's time; a rate of zero is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Throttle {
    pub orders_per_second: u32,
    pub burst: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SessionSpec {
    pub account: AccountId,
    pub user: UserName,
    /// Argon2 hash in PHC text form; checked at the door.
    pub password_hash: String,
    /// Reads an account's stream but may not trade.
    pub drop_copy: bool,
    pub throttle: Throttle,
    pub cod_mode: CodMode,
    pub cod_scope: CodScope,
    pub cod_window_ms: u32,
}

/// The public part of an API key; secrets never enter the log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KeySpec {
    pub account: AccountId,
    /// 1 to 64 bytes, unique.
    pub key: String,
    /// Bit 0 read, bit 1 trade, bit 2 withdraw.
    pub permissions: u8,
    /// Empty for an HMAC key.
    pub ed25519_public: Vec<u8>,
    /// CIDR blocks; empty is everywhere.
    pub addresses: Vec<String>,
    /// Zero is never.
    pub expires: TsNs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FundsMove {
    pub account: AccountId,
    pub asset: AssetId,
    pub amount: Units,
    /// Required; the same reference with the same contents again changes nothing and gets the first answer.
    pub reference: ClientKey,
}
