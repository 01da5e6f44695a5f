//! What administrators change, as the log stores it. Invariant: as in `command`.

use crate::fees::{FeeAsset, FeeTier, MarketFees};
use crate::ids::{AccountId, AssetId, ClientKey, MarketId, SessionId, Symbol, UserName};
use crate::intake::Intake;
use crate::rules::{Rules, RulesVersion};
use crate::run::{LifeTag, RunSpec};
use crate::units::{Ppm, QtyLots, Seq, TsNs, Units};
use bincode::{Decode, Encode};

/// What an administrator changes. Each is answered by its own event or by `AdminRejected`.
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
    /// Raise the rules version. The way back is closed from there on: a build that does not know it refuses the log.
    SetRules {
        version: RulesVersion,
    },
    /// Pays earned fees out to the house. From rules 2 on; the account is none.
    WithdrawFees(FundsMove),
    /// How many names of orders are remembered in all. From rules 2 on.
    SetClientNamesMax {
        max: u32,
    },
    /// What a start of the node records about its run. From rules 2 on.
    BeginRun(RunSpec),
    /// What the exchange as a whole accepts. From rules 2 on.
    SetIntake(Intake),
    /// Ends the life of a session's stream and begins the next one: its orders are cancelled, and its client order ids
    /// begin anew. From rules 2 on.
    BeginSessionLife {
        session: SessionId,
        tag: LifeTag,
    },
    /// From rules 2 on.
    SetSessionPassword {
        session: SessionId,
        /// As in `SessionSpec`.
        password_hash: String,
    },
    /// Cancels a session's orders and removes it for ever: no other session gets its user name. From rules 2 on.
    RemoveSession {
        session: SessionId,
    },
    /// Asks the node to end the session's connection, and changes nothing. From rules 2 on.
    DisconnectSession {
        session: SessionId,
    },
    /// An operator has seen that a start cut a torn end off the log, whose first sequence was this one. Changes no
    /// state: it is in the log for who has seen it, and when. From rules 2 on.
    AcknowledgeTornEnd {
        seq: Seq,
    },
    /// Takes a closed market without open orders out of the state. Its id is never given again. From rules 2 on.
    RemoveMarket {
        market: MarketId,
    },
}

impl Admin {
    /// The first rules that have it.
    pub fn rules_min(&self) -> Rules {
        match self {
            Self::WithdrawFees(_)
            | Self::SetClientNamesMax { .. }
            | Self::BeginRun(_)
            | Self::SetIntake(_)
            | Self::BeginSessionLife { .. }
            | Self::SetSessionPassword { .. }
            | Self::RemoveSession { .. }
            | Self::DisconnectSession { .. }
            | Self::AcknowledgeTornEnd { .. }
            | Self::RemoveMarket { .. } => Rules::Two,
            Self::AddMarket(spec) if spec.fees.paid_in() == FeeAsset::Quote => Rules::Two,
            _ => Rules::One,
        }
    }
}

/// A market as an administrator describes it, in the decimal units of the wire, before the checks of `instrument`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct MarketSpec {
    pub symbol: Symbol,
    pub base: AssetId,
    pub quote: AssetId,
    /// The smallest price step, in 1e-9 USD for 1 BTC on a market of BTC against USD.
    pub tick_e9: u64,
    /// The smallest quantity step, in 1e-8 BTC on such a market.
    pub lot_e8: u64,
    pub limits: MarketLimits,
    pub fees: MarketFees,
    pub status: MarketStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct MarketLimits {
    pub qty_min: QtyLots,
    pub qty_max: QtyLots,
    /// The smallest price times quantity, in quote units; zero means none.
    pub notional_min: Units,
    /// The largest distance of a price from the reference price, in parts per million of it; zero means no band.
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
    /// Final: no other status can follow.
    Closed = 5,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum AccountKind {
    Client = 1,
    MarketMaker = 2,
    /// An introducing agent.
    Agent = 3,
    House = 4,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum AccountStatus {
    Active = 1,
    /// Cancels and withdrawals only.
    Suspended = 2,
    /// Final: no other status can follow.
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

/// The limits of a leaky bucket in log time; a rate of zero means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Throttle {
    pub orders_per_second: u32,
    pub burst: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SessionSpec {
    pub account: AccountId,
    pub user: UserName,
    /// An Argon2 hash in PHC text form, which the gateway checks.
    pub password_hash: String,
    /// The session gets a copy of the account's stream and may not trade.
    pub drop_copy: bool,
    pub throttle: Throttle,
    pub cod_mode: CodMode,
    pub cod_scope: CodScope,
    pub cod_window_ms: u32,
}

/// The public part of an API key. Secrets never enter the log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KeySpec {
    pub account: AccountId,
    /// 1 to 64 bytes, unique.
    pub key: String,
    /// `PERMISSION_READ`, `PERMISSION_TRADE` and `PERMISSION_WITHDRAW`.
    pub permissions: u8,
    /// Empty for an HMAC key.
    pub ed25519_public: Vec<u8>,
    /// CIDR blocks from which the key may be used; none means everywhere.
    pub addresses: Vec<String>,
    /// Zero means never.
    pub expires: TsNs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FundsMove {
    pub account: AccountId,
    pub asset: AssetId,
    pub amount: Units,
    /// Required. The same reference with the same contents again changes nothing and gets the first answer.
    pub reference: ClientKey,
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
