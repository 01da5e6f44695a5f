//! The bodies of the admin API, as the edge reads them and the `pinion` tool writes them.
//!
//! Amounts, prices and quantities are decimal text: JSON numbers lose digits. Accounts, markets and sessions go by name;
//! accounts also by number. Unknown fields are refused, so that a typing error changes nothing.

use book::command::{AccountKind, AccountStatus, CodMode, CodScope, MarketStatus};
use serde::{Deserialize, Serialize};

/// An account, by the number it was given or by its name.
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
    /// One lot where it is not given.
    pub min_qty: Option<String>,
    /// As much as can be counted where it is not given.
    pub max_qty: Option<String>,
    pub min_notional: Option<String>,
    #[serde(default)]
    pub price_band_ppm: i32,
    #[serde(default)]
    pub maker_fee_ppm: i32,
    #[serde(default)]
    pub taker_fee_ppm: i32,
    #[serde(default)]
    pub status: StatusWord,
}

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

/// One market, or every market that is not closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetMarketStatus {
    pub market: Option<String>,
    #[serde(default)]
    pub all: bool,
    pub status: StatusWord,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetMarketFees {
    pub market: String,
    pub maker_fee_ppm: i32,
    pub taker_fee_ppm: i32,
}

/// What is not given stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetMarketLimits {
    pub market: String,
    pub min_qty: Option<String>,
    pub max_qty: Option<String>,
    pub min_notional: Option<String>,
    pub price_band_ppm: Option<i32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetFeeTier {
    pub tier: u8,
    pub maker_scale_ppm: i32,
    pub taker_scale_ppm: i32,
}

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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetAccountBlock {
    pub account: AccountRef,
    pub blocked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelModeWord {
    Off,
    Disconnect,
    Logout,
    Both,
}

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
    #[serde(default)]
    pub orders_per_second: u32,
    #[serde(default)]
    pub burst: u32,
    /// `session.cancel_on_disconnect` of the configuration where it is not given.
    pub cancel_on_disconnect: Option<CancelModeWord>,
    #[serde(default)]
    pub cancel_scope: CancelScopeWord,
    /// `session.cancel_window` of the configuration where it is not given.
    pub cancel_window_ms: Option<u32>,
}

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
    pub orders_per_second: u32,
    pub burst: u32,
}

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
    /// A public key as `openssl pkey -pubout` prints it.
    pub ed25519: Option<String>,
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Zero is never.
    #[serde(default)]
    pub expires_ns: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeKey {
    pub key: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveFunds {
    pub account: AccountRef,
    pub asset: String,
    pub amount: String,
    #[serde(rename = "ref")]
    pub reference: String,
}

/// All orders of an account, of a market, or of an account on a market.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelAll {
    pub account: Option<AccountRef>,
    pub market: Option<String>,
    /// Also refuse new orders of the account until the block is lifted.
    #[serde(default)]
    pub block: bool,
}

impl PermissionWord {
    /// The permission as the state keeps it.
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
