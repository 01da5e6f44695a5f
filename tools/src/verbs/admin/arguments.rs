//! The command line of `pinion admin`.

use api::admin::{
    AccountRef, AccountStatusWord, CancelModeWord, CancelScopeWord, FeeAssetWord, IntakeWord, KindWord, PermissionWord,
    StatusWord,
};
use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::PathBuf;

#[derive(Subcommand, Debug)]
pub(super) enum What {
    /// Add an asset
    #[command(subcommand)]
    Asset(Asset),
    /// Add a market, or remove a closed one
    #[command(subcommand)]
    Market(Market),
    /// Add an account, or change its status
    #[command(subcommand)]
    Account(Account),
    /// Add a session of the binary protocol, block or throttle it
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
    /// Book a deposit into an account
    Deposit(Funds),
    /// Book a withdrawal from an account
    Withdraw(Funds),
    /// Accept no command of a client on a market, not even cancels
    Halt(Markets),
    /// Let a market trade again
    Resume(Markets),
    /// Accept only cancels on a market
    CancelOnly(Markets),
    /// Accept only post-only orders and cancels on a market
    PostOnly(Markets),
    /// Close a market; this cannot be taken back
    Close(OneMarket),
    /// Cancel the open orders of an account, of a market, or of an account on a market
    CancelAll(Cancel),
    /// Take new orders on the whole exchange, or only cancels and amendments that reduce
    Intake {
        /// all or cancels
        #[arg(value_parser = word::<IntakeWord>)]
        takes: IntakeWord,
    },
    /// Acknowledge that a start cut a torn end off the log, as /health shows it
    AcknowledgeTornEnd {
        /// The first sequence that was cut
        #[arg(long, value_name = "N")]
        seq: u64,
    },
    /// Raise the rules version, which decides the outcomes of commands; there is no way back
    #[command(subcommand)]
    Rules(Rules),
    /// List all assets, markets, accounts, sessions and keys
    List,
}

#[derive(Subcommand, Debug)]
pub(super) enum Rules {
    /// Raise the rules version; a build that does not know it refuses the log from then on
    Raise {
        /// [default: the newest that this build knows]
        #[arg(long, value_name = "VERSION")]
        to: Option<u16>,
    },
}

#[derive(Subcommand, Debug)]
pub(super) enum Asset {
    /// Add an asset
    Add {
        symbol: String,
        /// Decimal places
        #[arg(long)]
        scale: u8,
    },
}

#[derive(Subcommand, Debug)]
pub(super) enum Market {
    /// Add a market
    Add(Box<NewMarket>),
    /// Remove a closed market in which no order rests; its number is never given again
    Remove(OneMarket),
}

#[derive(Args, Debug)]
pub(super) struct NewMarket {
    pub(super) symbol: String,
    #[arg(long)]
    pub(super) base: String,
    #[arg(long)]
    pub(super) quote: String,
    /// Smallest step of a price, in the quote asset
    #[arg(long)]
    pub(super) tick: String,
    /// Smallest step of a quantity, in the base asset
    #[arg(long)]
    pub(super) lot: String,
    #[command(flatten)]
    pub(super) limits: MarketLimits,
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(super) maker_fee_ppm: i32,
    #[arg(long, default_value_t = 0)]
    pub(super) taker_fee_ppm: i32,
    /// received: buyers pay fees in base, sellers in quote; quote: both in quote, and buyers hold them beside the price
    #[arg(long, default_value = "received", value_parser = word::<FeeAssetWord>)]
    pub(super) fee_asset: FeeAssetWord,
    /// trading, halt, cancel-only or post-only
    #[arg(long, default_value = "trading", value_parser = word::<StatusWord>)]
    pub(super) status: StatusWord,
}

#[derive(Args, Debug)]
pub(super) struct MarketLimits {
    #[arg(long)]
    pub(super) min_qty: Option<String>,
    #[arg(long)]
    pub(super) max_qty: Option<String>,
    /// Smallest price times quantity, in the quote asset
    #[arg(long)]
    pub(super) min_notional: Option<String>,
    /// Largest distance of a price from the last trade's; 0 is none
    #[arg(long)]
    pub(super) price_band_ppm: Option<i32>,
}

#[derive(Subcommand, Debug)]
pub(super) enum Account {
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
        /// Suspend the account and leave its open orders, which may trade
        #[arg(long)]
        keep_orders: bool,
    },
    /// Refuse new orders of an account (the kill switch)
    Block {
        #[arg(value_parser = account)]
        account: AccountRef,
    },
    /// Accept new orders of an account again
    Unblock {
        #[arg(value_parser = account)]
        account: AccountRef,
    },
}

#[derive(Subcommand, Debug)]
pub(super) enum Session {
    /// Add a session; its password is shown once
    Add(NewSession),
    /// Refuse new orders of a session
    Block { user: String },
    /// Accept new orders of a session again
    Unblock { user: String },
    /// Cancel a session's orders, and begin its stream under a new name and its client order ids anew
    NewLife { user: String },
    /// Give a session a new password, which is shown once
    Password { user: String },
    /// Cancel a session's orders and remove it; this cannot be taken back
    Remove { user: String },
    /// End the connection of a session, which may log in again unless it is blocked
    Disconnect { user: String },
    /// Show who is logged in
    List,
    /// Limit how many orders a second a session may send
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
pub(super) struct NewSession {
    /// Number or name
    #[arg(long, value_parser = account)]
    pub(super) account: AccountRef,
    /// Log-in name, 1 to 6 letters and digits
    #[arg(long)]
    pub(super) user: String,
    /// The session receives copies of the account's messages and may not trade
    #[arg(long)]
    pub(super) drop_copy: bool,
    /// 0 is no limit
    #[arg(long, default_value_t = 0)]
    pub(super) orders_per_second: u32,
    #[arg(long, default_value_t = 0)]
    pub(super) burst: u32,
    /// off, disconnect, logout or both [default: as the node is configured]
    #[arg(long, value_parser = word::<CancelModeWord>)]
    pub(super) cancel_on_disconnect: Option<CancelModeWord>,
    /// session or account
    #[arg(long, default_value = "session", value_parser = word::<CancelScopeWord>)]
    pub(super) cancel_scope: CancelScopeWord,
    /// How long a disconnected client may take to reconnect before its orders are cancelled
    /// [default: as the node is configured]
    #[arg(long)]
    pub(super) cancel_window_ms: Option<u32>,
}

#[derive(Subcommand, Debug)]
pub(super) enum Key {
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
        /// Addresses from which the key may be used, such as 10.0.0.0/8 [default: all]
        #[arg(long, value_delimiter = ',', value_name = "CIDR,..")]
        addresses: Vec<String>,
        /// When the key expires, in nanoseconds since 1970; 0 is never
        #[arg(long, default_value_t = 0)]
        expires_ns: u64,
    },
    /// Revoke a key; this cannot be taken back
    Revoke { key: String },
}

#[derive(Subcommand, Debug)]
pub(super) enum Fee {
    /// Set the fees of a market
    Market {
        market: String,
        #[arg(long, allow_negative_numbers = true)]
        maker_fee_ppm: i32,
        #[arg(long)]
        taker_fee_ppm: i32,
    },
    /// Pay earned fees out to the house
    Withdraw {
        #[arg(long)]
        asset: String,
        #[arg(long)]
        amount: String,
        /// The payment's own reference: a repeated reference changes nothing
        #[arg(long = "ref", value_name = "REF")]
        reference: String,
    },
    /// Scale every market's fees for a tier; 1000000 leaves them unchanged
    Tier {
        tier: u8,
        #[arg(long)]
        maker_scale_ppm: i32,
        #[arg(long)]
        taker_scale_ppm: i32,
    },
    /// Set the fee tier of an account
    Account {
        #[arg(value_parser = account)]
        account: AccountRef,
        #[arg(long)]
        tier: u8,
    },
}

#[derive(Subcommand, Debug)]
pub(super) enum Limit {
    /// Set limits of a market; what is not given stays as it is
    Market {
        market: String,
        #[command(flatten)]
        limits: MarketLimits,
    },
    /// Limit the number of open orders of an account
    Account {
        #[arg(value_parser = account)]
        account: AccountRef,
        #[arg(long)]
        open_orders_max: u32,
    },
    /// Limit how many names of orders are remembered for all accounts together
    ClientNames {
        #[arg(long)]
        max: u32,
    },
}

#[derive(Args, Debug)]
pub(super) struct Funds {
    /// Number or name
    #[arg(long, value_parser = account)]
    pub(super) account: AccountRef,
    #[arg(long)]
    pub(super) asset: String,
    #[arg(long)]
    pub(super) amount: String,
    /// The payment's own reference: a repeated reference changes nothing
    #[arg(long = "ref", value_name = "REF")]
    pub(super) reference: String,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct Markets {
    pub(super) market: Option<String>,
    /// Every market that is not closed
    #[arg(long)]
    pub(super) all: bool,
}

#[derive(Args, Debug)]
pub(super) struct OneMarket {
    pub(super) market: String,
}

#[derive(Args, Debug)]
pub(super) struct Cancel {
    /// Number or name
    #[arg(long, value_parser = account, required_unless_present = "market")]
    pub(super) account: Option<AccountRef>,
    #[arg(long)]
    pub(super) market: Option<String>,
    /// Also refuse new orders of the account
    #[arg(long, requires = "account")]
    pub(super) block: bool,
}

/// A word of the API; people may write `-` where JSON has `_`.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(Value::String(text.replace('-', "_"))).map_err(|error| error.to_string())
}

/// Digits are a number, anything else is a name.
fn account(text: &str) -> Result<AccountRef, String> {
    if text.is_empty() {
        return Err("expected the account's number or name".to_owned());
    }
    Ok(text.parse().map_or_else(|_| AccountRef::Name(text.to_owned()), AccountRef::Id))
}
