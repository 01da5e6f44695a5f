//! The rows of each section, as they are stored. Invariant: a row never changes; new facts get a section of their own.

use crate::command::{
    AccountKind, AccountStatus, CodMode, CodScope, FeeTier, KeySpec, MarketLimits, MarketStatus, Throttle, Unfinished,
};
use crate::fees::MarketFees;
use crate::ids::{AccountId, AssetId, ClOrdId, ClientKey, KeyId, MarketId, OrderId, SessionId, Symbol, UserName};
use crate::intake::IntakeState;
use crate::reject::RejectReason;
use crate::rules::RulesVersion;
use crate::run::LifeTag;
use crate::running_hash::CheckState;
use crate::session::Block;
use crate::units::{PriceTicks, QtyLots, Seq, TsNs, Units};
use bincode::{Decode, Encode};

/// All that the state has once.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct HeadRow {
    pub seq: Seq,
    pub ts: TsNs,
    pub number_last: u64,
    pub slots_len: u32,
    pub fee_tiers: Vec<FeeTier>,
    pub check_state: CheckState,
}

#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct AssetRow {
    pub symbol: Symbol,
    pub scale: u8,
    pub custody: Units,
    pub fees: Units,
}

/// A row without a symbol stands for as many markets that were removed, one after the other, as it has trades.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct MarketRow {
    pub symbol: Symbol,
    pub base: AssetId,
    pub quote: AssetId,
    pub tick_e9: u64,
    pub lot_e8: u64,
    pub limits: MarketLimits,
    pub fees: MarketFees,
    pub status: MarketStatus,
    pub last_price: Option<PriceTicks>,
    pub trade_count: u64,
}

#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct AccountRow {
    pub name: String,
    pub kind: AccountKind,
    pub status: AccountStatus,
    pub fee_tier: u8,
    pub blocked: bool,
    pub parent: AccountId,
    pub open_max: u32,
    /// The empty ones too, so that after a load settling finds the balances that it found before.
    pub balances: Vec<BalanceRow>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct BalanceRow {
    pub asset: AssetId,
    pub available: Units,
    pub held: Units,
}

#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct SessionRow {
    pub account: AccountId,
    pub user: UserName,
    pub password_hash: String,
    pub drop_copy: bool,
    /// Under rules 1 it has the bytes of a `bool`.
    pub blocked: Block,
    pub cod_mode: CodMode,
    pub cod_scope: CodScope,
    pub cod_window_ms: u32,
    pub cl_ord_id_last: ClOrdId,
    pub throttle: Throttle,
    pub empty_at: TsNs,
}

#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct KeyRow {
    pub spec: KeySpec,
    pub revoked: bool,
}

/// A resting order. The rows of one level come oldest first, and the slot is in the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct OrderRow {
    pub id: OrderId,
    pub market: MarketId,
    pub price: PriceTicks,
    pub leaves: QtyLots,
    pub cum: QtyLots,
    pub account: AccountId,
    pub session: SessionId,
    pub cl_ord_id: ClOrdId,
    pub stp_group: u16,
    pub traits: u8,
    pub cancel_group: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct SlotRow(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct RulesRow(pub RulesVersion);

/// The name of an open order, whose account it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct OpenNameRow {
    pub order_id: OrderId,
    pub key: ClientKey,
    pub seq: Seq,
}

/// The name of an order that has ended. The rows come in the order of the ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct EndedNameRow {
    pub ended: TsNs,
    pub account: AccountId,
    pub key: ClientKey,
    pub order_id: OrderId,
    pub seq: Seq,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct NamesMaxRow(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct RunRow {
    pub directory: u64,
    pub may_lose: bool,
    pub life: u32,
    pub tag: LifeTag,
    pub skipped: u64,
}

/// A session that has begun a life of its own, or is removed. The rows come in the order of the sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct SessionLifeRow {
    pub session: SessionId,
    pub lives: u32,
    pub of: u32,
    pub tag: LifeTag,
    pub removed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct IntakeRow(pub IntakeState);

/// An unfinished command over an account's orders, with the slots of the first and the last order that it has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct WalkRow {
    pub of: Unfinished,
    pub at: OrderId,
    pub next: u32,
    pub last: u32,
}

/// When the requests of a session will have leaked out of their bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct RequestsRow {
    pub session: SessionId,
    pub empty_at: TsNs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct ReferenceTimeRow(pub TsNs);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct KeyHistoryRow {
    pub id: KeyId,
    pub revoked_at: TsNs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct ClientIdRow {
    pub ts: TsNs,
    pub account: AccountId,
    pub key: ClientKey,
    /// `None` when the name was used again since.
    pub first: Option<FirstUseRow>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct FirstUseRow {
    pub seq: Seq,
    pub outcome: Result<OrderId, RejectReason>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct ReferenceRow {
    pub key: ClientKey,
    pub withdrawal: bool,
    pub account: AccountId,
    pub asset: AssetId,
    pub amount: Units,
}
