//! The request bodies of the admin API, one struct per `POST` endpoint: clients serialize them, the ops listener parses
//! them.
//!
//! They are data, and the conversions of their words to the engine's values; names and numbers are checked by the node,
//! which knows the assets, markets and accounts. Amounts, prices and quantities are decimal text, because JSON numbers
//! lose digits. Assets, markets and sessions are named by their symbol or user name, accounts by name or number.
//! Unknown fields are refused, so that a misspelled field changes nothing. `docs/ADMINISTRATION.md` lists the
//! endpoints.

use book::command::{AccountKind, AccountStatus, CodMode, CodScope, MarketStatus};
use book::fees::FeeAsset;
use book::intake::Intake;
use serde::{Deserialize, Serialize};

/// An account, by its number or its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AccountRef {
    Id(u32),
    Name(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddAsset {
    pub symbol: String,
    /// Decimal places.
    pub scale: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddMarket {
    pub symbol: String,
    pub base: String,
    pub quote: String,
    pub tick: String,
    pub lot: String,
    /// Defaults to one lot.
    pub min_qty: Option<String>,
    /// Defaults to the largest quantity that an order can have.
    pub max_qty: Option<String>,
    /// Defaults to no minimum.
    pub min_notional: Option<String>,
    /// Largest distance from the reference price, in 1e-6 of it; 0 is no band.
    #[serde(default)]
    pub price_band_ppm: i32,
    /// In 1e-6 of the traded amount; negative is a rebate.
    #[serde(default)]
    pub maker_fee_ppm: i32,
    #[serde(default)]
    pub taker_fee_ppm: i32,
    /// In what the fees are paid: `received` (base by buyers, quote by sellers) or `quote`.
    #[serde(default)]
    pub fee_asset: FeeAssetWord,
    #[serde(default)]
    pub status: StatusWord,
}

/// The asset in which a market's fees are paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeeAssetWord {
    #[default]
    Received,
    Quote,
}

/// The status of a market.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusWord {
    #[default]
    Trading,
    Halt,
    CancelOnly,
    PostOnly,
    Closed,
}

/// Sets the status of one market (`market`), or of every market that is not closed (`all`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetMarketStatus {
    pub market: Option<String>,
    #[serde(default)]
    pub all: bool,
    pub status: StatusWord,
}

/// Takes a closed market without open orders out of the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveMarket {
    pub market: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetMarketFees {
    pub market: String,
    pub maker_fee_ppm: i32,
    pub taker_fee_ppm: i32,
}

/// Fields that are absent keep their values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetMarketLimits {
    pub market: String,
    pub min_qty: Option<String>,
    pub max_qty: Option<String>,
    pub min_notional: Option<String>,
    pub price_band_ppm: Option<i32>,
}

/// Raises the rules version of the log. The way back is closed from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RaiseRules {
    pub version: u16,
}

/// What the exchange as a whole accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntakeWord {
    All,
    /// Cancels, and amendments that only take quantity off.
    Cancels,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetIntake {
    pub intake: IntakeWord,
}

/// Says that an operator has seen that a start cut a torn end off the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcknowledgeTornEnd {
    /// The first sequence that was cut.
    pub seq: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetFeeTier {
    pub tier: u8,
    pub maker_scale_ppm: i32,
    pub taker_scale_ppm: i32,
}

/// The kind of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindWord {
    #[default]
    Client,
    MarketMaker,
    Agent,
    House,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddAccount {
    pub name: String,
    #[serde(default)]
    pub kind: KindWord,
    pub parent: Option<AccountRef>,
    #[serde(default)]
    pub fee_tier: u8,
}

/// The status of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountStatusWord {
    Active,
    Suspended,
    Closed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetAccountStatus {
    pub account: AccountRef,
    pub status: AccountStatusWord,
    /// Only suspends: the account's open orders stay and may trade.
    #[serde(default)]
    pub keep_orders: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetAccountFeeTier {
    pub account: AccountRef,
    pub tier: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetAccountLimits {
    pub account: AccountRef,
    pub open_orders_max: u32,
}

/// Blocks new orders of an account, or allows them again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetAccountBlock {
    pub account: AccountRef,
    pub blocked: bool,
}

/// When a session's orders are cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelModeWord {
    Off,
    Disconnect,
    Logout,
    Both,
}

/// Which orders are cancelled with a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelScopeWord {
    #[default]
    Session,
    Account,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddSession {
    pub account: AccountRef,
    pub user: String,
    #[serde(default)]
    pub drop_copy: bool,
    /// 0 is no limit.
    #[serde(default)]
    pub orders_per_second: u32,
    #[serde(default)]
    pub burst: u32,
    /// Defaults to `session.cancel_on_disconnect` of the configuration.
    pub cancel_on_disconnect: Option<CancelModeWord>,
    #[serde(default)]
    pub cancel_scope: CancelScopeWord,
    /// Defaults to `session.cancel_window` of the configuration.
    pub cancel_window_ms: Option<u32>,
}

/// Blocks new orders of a session, or allows them again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetSessionBlock {
    pub user: String,
    pub blocked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetSessionThrottle {
    pub user: String,
    /// 0 is no limit.
    pub orders_per_second: u32,
    pub burst: u32,
}

/// One of the acts about a session that need no more than its user name: a new life, a new password, its removal, the
/// end of its connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameSession {
    pub user: String,
}

/// What an API key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PermissionWord {
    Read,
    Trade,
    Withdraw,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddKey {
    pub account: AccountRef,
    pub permissions: Vec<PermissionWord>,
    /// The public key in PEM, as `openssl pkey -pubout` prints it.
    pub ed25519: Option<String>,
    /// Networks in CIDR notation from which the key is valid; empty is any.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Nanoseconds since 1970; 0 is no expiry.
    #[serde(default)]
    pub expires_ns: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeKey {
    pub key: String,
}

/// A deposit or a withdrawal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveFunds {
    pub account: AccountRef,
    pub asset: String,
    pub amount: String,
    /// Makes the request safe to repeat: the same reference with the same contents moves funds once.
    #[serde(rename = "ref")]
    pub reference: String,
}

/// How many names of orders are remembered in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetClientNamesMax {
    pub max: u32,
}

/// Pays earned fees out to the house.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithdrawFees {
    pub asset: String,
    pub amount: String,
    /// As in `MoveFunds`.
    #[serde(rename = "ref")]
    pub reference: String,
}

/// Cancels all orders of an account, of a market, or of an account on a market.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelAll {
    pub account: Option<AccountRef>,
    pub market: Option<String>,
    /// Also refuses new orders of the account until the block is removed.
    #[serde(default)]
    pub block: bool,
}

/// What `pinion backup run` tells the node: the last sequence that a backup has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportBackup {
    pub seq: u64,
}

impl PermissionWord {
    /// The bit of the permission in the engine's state.
    pub fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Trade => 2,
            Self::Withdraw => 4,
        }
    }
}

impl From<StatusWord> for MarketStatus {
    fn from(word: StatusWord) -> Self {
        match word {
            StatusWord::Trading => Self::Trading,
            StatusWord::Halt => Self::Halt,
            StatusWord::CancelOnly => Self::CancelOnly,
            StatusWord::PostOnly => Self::PostOnly,
            StatusWord::Closed => Self::Closed,
        }
    }
}

impl From<IntakeWord> for Intake {
    fn from(word: IntakeWord) -> Self {
        match word {
            IntakeWord::All => Self::All,
            IntakeWord::Cancels => Self::Cancels,
        }
    }
}

impl From<KindWord> for AccountKind {
    fn from(word: KindWord) -> Self {
        match word {
            KindWord::Client => Self::Client,
            KindWord::MarketMaker => Self::MarketMaker,
            KindWord::Agent => Self::Agent,
            KindWord::House => Self::House,
        }
    }
}

impl From<FeeAssetWord> for FeeAsset {
    fn from(word: FeeAssetWord) -> Self {
        match word {
            FeeAssetWord::Received => Self::Received,
            FeeAssetWord::Quote => Self::Quote,
        }
    }
}

impl From<AccountStatusWord> for AccountStatus {
    fn from(word: AccountStatusWord) -> Self {
        match word {
            AccountStatusWord::Active => Self::Active,
            AccountStatusWord::Suspended => Self::Suspended,
            AccountStatusWord::Closed => Self::Closed,
        }
    }
}

impl From<CancelModeWord> for CodMode {
    fn from(word: CancelModeWord) -> Self {
        match word {
            CancelModeWord::Off => Self::Off,
            CancelModeWord::Disconnect => Self::OnDisconnect,
            CancelModeWord::Logout => Self::OnLogout,
            CancelModeWord::Both => Self::Both,
        }
    }
}

impl From<CancelScopeWord> for CodScope {
    fn from(word: CancelScopeWord) -> Self {
        match word {
            CancelScopeWord::Session => Self::Session,
            CancelScopeWord::Account => Self::Account,
        }
    }
}
