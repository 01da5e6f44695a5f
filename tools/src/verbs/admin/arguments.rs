//! The flags of `pinion admin`, and the request that each of its forms stands for.

use anyhow::{Context, Result};
use api::admin::{
    AccountRef, AccountStatusWord, AddAccount, AddAsset, AddKey, AddMarket, AddSession, CancelAll, CancelModeWord,
    CancelScopeWord, KindWord, MoveFunds, PermissionWord, RevokeKey, SetAccountBlock, SetAccountFeeTier,
    SetAccountLimits, SetAccountStatus, SetFeeTier, SetMarketFees, SetMarketLimits, SetMarketStatus, SetSessionBlock,
    SetSessionThrottle, StatusWord,
};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::PathBuf;

/// A request to the admin API.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    Get { path: &'static str },
    Post { path: &'static str, body: Value },
}

#[derive(Subcommand, Debug)]
pub enum What {
    /// Add an asset
    #[command(subcommand)]
    Asset(Asset),
    /// Add a market
    #[command(subcommand)]
    Market(Market),
    /// Add an account, or change its status
    #[command(subcommand)]
    Account(Account),
    /// Add a binary port session, block or throttle it
    #[command(subcommand)]
    Session(Session),
    /// Add or revoke an API key
    #[command(subcommand)]
    Key(Key),
    /// Change fees: of a market, of a tier, or an account's tier
    #[command(subcommand)]
    Fee(Fee),
    /// Change limits of a market or of an account
    #[command(subcommand)]
    Limit(Limit),
    /// Book money that came in
    Deposit(Funds),
    /// Book money that goes out
    Withdraw(Funds),
    /// Stop everything on a market, cancels of clients included
    Halt(Markets),
    /// Let a market trade
    Resume(Markets),
    /// Take nothing but cancels
    CancelOnly(Markets),
    /// Take nothing but post-only orders and cancels
    PostOnly(Markets),
    /// End a market, for good
    Close(OneMarket),
    /// Cancel the open orders of an account, of a market, or of an account on a market
    CancelAll(Cancel),
    /// Show everything that has a name
    List,
}

#[derive(Subcommand, Debug)]
pub enum Asset {
    /// Add an asset
    Add {
        symbol: String,
        /// Decimal places
        #[arg(long)]
        scale: u8,
    },
}

#[derive(Subcommand, Debug)]
pub enum Market {
    /// Add a market
    Add(Box<NewMarket>),
}

#[derive(Args, Debug)]
pub struct NewMarket {
    symbol: String,
    #[arg(long)]
    base: String,
    #[arg(long)]
    quote: String,
    /// Smallest step of a price, in the quote asset
    #[arg(long)]
    tick: String,
    /// Smallest step of a quantity, in the base asset
    #[arg(long)]
    lot: String,
    #[command(flatten)]
    limits: MarketLimits,
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    maker_fee_ppm: i32,
    #[arg(long, default_value_t = 0)]
    taker_fee_ppm: i32,
    /// trading, halt, cancel-only or post-only
    #[arg(long, default_value = "trading", value_parser = word::<StatusWord>)]
    status: StatusWord,
}

#[derive(Args, Debug)]
pub struct MarketLimits {
    #[arg(long)]
    min_qty: Option<String>,
    #[arg(long)]
    max_qty: Option<String>,
    /// Smallest price times quantity, in the quote asset
    #[arg(long)]
    min_notional: Option<String>,
    /// Largest distance of a price from the last trade's; 0 is none
    #[arg(long)]
    price_band_ppm: Option<i32>,
}

#[derive(Subcommand, Debug)]
pub enum Account {
    /// Add an account
    Add {
        name: String,
        /// client, market-maker, agent or house
        #[arg(long, default_value = "client", value_parser = word::<KindWord>)]
        kind: KindWord,
        #[arg(long, value_parser = account)]
        parent: Option<AccountRef>,
        #[arg(long, default_value_t = 0)]
        fee_tier: u8,
    },
    /// Activate, suspend or close an account
    Status {
        #[arg(value_parser = account)]
        account: AccountRef,
        /// active, suspended or closed
        #[arg(value_parser = word::<AccountStatusWord>)]
        status: AccountStatusWord,
    },
    /// Take no new orders of an account (the kill switch)
    Block {
        #[arg(value_parser = account)]
        account: AccountRef,
    },
    /// Take orders again
    Unblock {
        #[arg(value_parser = account)]
        account: AccountRef,
    },
}

#[derive(Subcommand, Debug)]
pub enum Session {
    /// Add a session; its password is shown once
    Add(NewSession),
    /// Take no new orders of a session
    Block { user: String },
    /// Take orders again
    Unblock { user: String },
    /// Change how many orders a session may send
    Throttle {
        user: String,
        /// 0 is no limit
        #[arg(long)]
        orders_per_second: u32,
        #[arg(long, default_value_t = 0)]
        burst: u32,
    },
}

#[derive(Args, Debug)]
pub struct NewSession {
    /// Number or name
    #[arg(long, value_parser = account)]
    account: AccountRef,
    /// Log-in name, 1 to 6 letters and digits
    #[arg(long)]
    user: String,
    /// Reads the account's stream and may not trade
    #[arg(long)]
    drop_copy: bool,
    /// 0 is no limit
    #[arg(long, default_value_t = 0)]
    orders_per_second: u32,
    #[arg(long, default_value_t = 0)]
    burst: u32,
    /// off, disconnect, logout or both [default: as the node is configured]
    #[arg(long, value_parser = word::<CancelModeWord>)]
    cancel_on_disconnect: Option<CancelModeWord>,
    /// session or account
    #[arg(long, default_value = "session", value_parser = word::<CancelScopeWord>)]
    cancel_scope: CancelScopeWord,
    /// How long a lost client may take to come back [default: as the node is configured]
    #[arg(long)]
    cancel_window_ms: Option<u32>,
}

#[derive(Subcommand, Debug)]
pub enum Key {
    /// Add an API key
    Add {
        /// Number or name
        #[arg(long, value_parser = account)]
        account: AccountRef,
        /// Some of read,trade,withdraw
        #[arg(long, required = true, value_delimiter = ',', value_parser = word::<PermissionWord>)]
        permissions: Vec<PermissionWord>,
        /// File with an Ed25519 public key (openssl pkey -in KEY -pubout)
        #[arg(long, value_name = "PUBLIC_PEM")]
        ed25519: Option<PathBuf>,
        /// Where the key may be used from, such as 10.0.0.0/8 [default: everywhere]
        #[arg(long, value_delimiter = ',', value_name = "CIDR,..")]
        addresses: Vec<String>,
        /// When the key ends, in nanoseconds since 1970; 0 is never
        #[arg(long, default_value_t = 0)]
        expires_ns: u64,
    },
    /// End a key
    Revoke { key: String },
}

#[derive(Subcommand, Debug)]
pub enum Fee {
    /// Fees of a market
    Market {
        market: String,
        #[arg(long, allow_negative_numbers = true)]
        maker_fee_ppm: i32,
        #[arg(long)]
        taker_fee_ppm: i32,
    },
    /// How a tier scales every market's fees; 1000000 leaves them as they are
    Tier {
        tier: u8,
        #[arg(long)]
        maker_scale_ppm: i32,
        #[arg(long)]
        taker_scale_ppm: i32,
    },
    /// The tier of an account
    Account {
        #[arg(value_parser = account)]
        account: AccountRef,
        #[arg(long)]
        tier: u8,
    },
}

#[derive(Subcommand, Debug)]
pub enum Limit {
    /// Limits of a market; what is not given stays
    Market {
        market: String,
        #[command(flatten)]
        limits: MarketLimits,
    },
    /// Open orders of an account
    Account {
        #[arg(value_parser = account)]
        account: AccountRef,
        #[arg(long)]
        open_orders_max: u32,
    },
}

#[derive(Args, Debug)]
pub struct Funds {
    /// Number or name
    #[arg(long, value_parser = account)]
    account: AccountRef,
    #[arg(long)]
    asset: String,
    #[arg(long)]
    amount: String,
    /// The payment's own name: the same again changes nothing
    #[arg(long = "ref", value_name = "REF")]
    reference: String,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct Markets {
    market: Option<String>,
    /// Every market that is not closed
    #[arg(long)]
    all: bool,
}

#[derive(Args, Debug)]
pub struct OneMarket {
    market: String,
}

#[derive(Args, Debug)]
pub struct Cancel {
    /// Number or name
    #[arg(long, value_parser = account, required_unless_present = "market")]
    account: Option<AccountRef>,
    #[arg(long)]
    market: Option<String>,
    /// Also take no new orders of the account
    #[arg(long, requires = "account")]
    block: bool,
}

/// A word of the API; people may write `-` where JSON has `_`.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(Value::String(text.replace('-', "_"))).map_err(|error| error.to_string())
}

/// Digits are a number, anything else is a name.
fn account(text: &str) -> Result<AccountRef, String> {
    if text.is_empty() {
        return Err("a number or a name".to_owned());
    }
    Ok(text.parse().map_or_else(|_| AccountRef::Name(text.to_owned()), AccountRef::Id))
}

fn post(path: &'static str, request: impl Serialize) -> Result<Call> {
    Ok(Call::Post { path, body: serde_json::to_value(request)? })
}

impl What {
    pub fn call(&self) -> Result<Call> {
        match self {
            Self::Asset(Asset::Add { symbol, scale }) => {
                post("/admin/asset/add", AddAsset { symbol: symbol.clone(), scale: *scale })
            }
            Self::Market(Market::Add(market)) => post("/admin/market/add", market.request()),
            Self::Account(account) => account.call(),
            Self::Session(session) => session.call(),
            Self::Key(key) => key.call(),
            Self::Fee(fee) => fee.call(),
            Self::Limit(limit) => limit.call(),
            Self::Deposit(funds) => post("/admin/deposit", funds.request()),
            Self::Withdraw(funds) => post("/admin/withdraw", funds.request()),
            Self::Halt(markets) => markets.call(StatusWord::Halt),
            Self::Resume(markets) => markets.call(StatusWord::Trading),
            Self::CancelOnly(markets) => markets.call(StatusWord::CancelOnly),
            Self::PostOnly(markets) => markets.call(StatusWord::PostOnly),
            Self::Close(one) => Markets { market: Some(one.market.clone()), all: false }.call(StatusWord::Closed),
            Self::CancelAll(cancel) => {
                let (account, market) = (cancel.account.clone(), cancel.market.clone());
                post("/admin/cancel-all", CancelAll { account, market, block: cancel.block })
            }
            Self::List => Ok(Call::Get { path: "/admin/registry" }),
        }
    }
}

impl NewMarket {
    fn request(&self) -> AddMarket {
        AddMarket {
            symbol: self.symbol.clone(),
            base: self.base.clone(),
            quote: self.quote.clone(),
            tick: self.tick.clone(),
            lot: self.lot.clone(),
            min_qty: self.limits.min_qty.clone(),
            max_qty: self.limits.max_qty.clone(),
            min_notional: self.limits.min_notional.clone(),
            price_band_ppm: self.limits.price_band_ppm.unwrap_or(0),
            maker_fee_ppm: self.maker_fee_ppm,
            taker_fee_ppm: self.taker_fee_ppm,
            status: self.status,
        }
    }
}

impl Account {
    fn call(&self) -> Result<Call> {
        match self {
            Self::Add { name, kind, parent, fee_tier } => {
                let (name, parent) = (name.clone(), parent.clone());
                post("/admin/account/add", AddAccount { name, kind: *kind, parent, fee_tier: *fee_tier })
            }
            Self::Status { account, status } => {
                post("/admin/account/status", SetAccountStatus { account: account.clone(), status: *status })
            }
            Self::Block { account } => {
                post("/admin/account/block", SetAccountBlock { account: account.clone(), blocked: true })
            }
            Self::Unblock { account } => {
                post("/admin/account/block", SetAccountBlock { account: account.clone(), blocked: false })
            }
        }
    }
}

impl Session {
    fn call(&self) -> Result<Call> {
        match self {
            Self::Add(session) => post("/admin/session/add", session.request()),
            Self::Block { user } => post("/admin/session/block", SetSessionBlock { user: user.clone(), blocked: true }),
            Self::Unblock { user } => {
                post("/admin/session/block", SetSessionBlock { user: user.clone(), blocked: false })
            }
            Self::Throttle { user, orders_per_second, burst } => {
                let (user, orders_per_second) = (user.clone(), *orders_per_second);
                post("/admin/session/throttle", SetSessionThrottle { user, orders_per_second, burst: *burst })
            }
        }
    }
}

impl NewSession {
    fn request(&self) -> AddSession {
        AddSession {
            account: self.account.clone(),
            user: self.user.clone(),
            drop_copy: self.drop_copy,
            orders_per_second: self.orders_per_second,
            burst: self.burst,
            cancel_on_disconnect: self.cancel_on_disconnect,
            cancel_scope: self.cancel_scope,
            cancel_window_ms: self.cancel_window_ms,
        }
    }
}

impl Key {
    fn call(&self) -> Result<Call> {
        match self {
            Self::Add { account, permissions, ed25519, addresses, expires_ns } => {
                let read = |path: &PathBuf| {
                    std::fs::read_to_string(path).with_context(|| format!("--ed25519 {}", path.display()))
                };
                let request = AddKey {
                    account: account.clone(),
                    permissions: permissions.clone(),
                    ed25519: ed25519.as_ref().map(read).transpose()?,
                    addresses: addresses.clone(),
                    expires_ns: *expires_ns,
                };
                post("/admin/key/add", request)
            }
            Self::Revoke { key } => post("/admin/key/revoke", RevokeKey { key: key.clone() }),
        }
    }
}

impl Fee {
    fn call(&self) -> Result<Call> {
        match self {
            Self::Market { market, maker_fee_ppm, taker_fee_ppm } => {
                let (maker_fee_ppm, taker_fee_ppm) = (*maker_fee_ppm, *taker_fee_ppm);
                post("/admin/market/fees", SetMarketFees { market: market.clone(), maker_fee_ppm, taker_fee_ppm })
            }
            Self::Tier { tier, maker_scale_ppm, taker_scale_ppm } => {
                let (maker_scale_ppm, taker_scale_ppm) = (*maker_scale_ppm, *taker_scale_ppm);
                post("/admin/fee-tier", SetFeeTier { tier: *tier, maker_scale_ppm, taker_scale_ppm })
            }
            Self::Account { account, tier } => {
                post("/admin/account/fee-tier", SetAccountFeeTier { account: account.clone(), tier: *tier })
            }
        }
    }
}

impl Limit {
    fn call(&self) -> Result<Call> {
        match self {
            Self::Market { market, limits } => {
                let request = SetMarketLimits {
                    market: market.clone(),
                    min_qty: limits.min_qty.clone(),
                    max_qty: limits.max_qty.clone(),
                    min_notional: limits.min_notional.clone(),
                    price_band_ppm: limits.price_band_ppm,
                };
                post("/admin/market/limits", request)
            }
            Self::Account { account, open_orders_max } => {
                let (account, open_orders_max) = (account.clone(), *open_orders_max);
                post("/admin/account/limits", SetAccountLimits { account, open_orders_max })
            }
        }
    }
}

impl Funds {
    fn request(&self) -> MoveFunds {
        MoveFunds {
            account: self.account.clone(),
            asset: self.asset.clone(),
            amount: self.amount.clone(),
            reference: self.reference.clone(),
        }
    }
}

impl Markets {
    fn call(&self, status: StatusWord) -> Result<Call> {
        post("/admin/market/status", SetMarketStatus { market: self.market.clone(), all: self.all, status })
    }
}
