//! The request to the admin API that each form of `pinion admin` sends.

use super::arguments::{
    Account, Asset, Fee, Funds, Key, Limit, Market, Markets, NewMarket, NewSession, Rules, Session, What,
};
use anyhow::{Context, Result};
use api::admin::{
    AcknowledgeTornEnd, AddAccount, AddAsset, AddKey, AddMarket, AddSession, CancelAll, MoveFunds, NameSession,
    RaiseRules, RemoveMarket, RevokeKey, SetAccountBlock, SetAccountFeeTier, SetAccountLimits, SetAccountStatus,
    SetClientNamesMax, SetFeeTier, SetIntake, SetMarketFees, SetMarketLimits, SetMarketStatus, SetSessionBlock,
    SetSessionThrottle, StatusWord, WithdrawFees,
};
use serde::Serialize;
use serde_json::Value;
use std::path::PathBuf;

/// A request to the admin API.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Call {
    Get { path: &'static str },
    Post { path: &'static str, body: Value },
}

fn post(path: &'static str, request: impl Serialize) -> Result<Call> {
    Ok(Call::Post { path, body: serde_json::to_value(request)? })
}

impl What {
    pub(super) fn call(&self) -> Result<Call> {
        match self {
            Self::Asset(Asset::Add { symbol, scale }) => {
                post("/admin/asset/add", AddAsset { symbol: symbol.clone(), scale: *scale })
            }
            Self::Market(Market::Add(market)) => post("/admin/market/add", market.request()),
            Self::Market(Market::Remove(one)) => {
                post("/admin/market/remove", RemoveMarket { market: one.market.clone() })
            }
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
            Self::Rules(Rules::Raise { to }) => {
                let newest = book::rules::Rules::NEWEST as u16;
                post("/admin/rules/raise", RaiseRules { version: to.unwrap_or(newest) })
            }
            Self::Intake { takes } => post("/admin/intake", SetIntake { intake: *takes }),
            Self::AcknowledgeTornEnd { seq } => post("/admin/torn-end/acknowledge", AcknowledgeTornEnd { seq: *seq }),
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
            fee_asset: self.fee_asset,
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
            Self::Status { account, status, keep_orders } => {
                let (account, status, keep_orders) = (account.clone(), *status, *keep_orders);
                post("/admin/account/status", SetAccountStatus { account, status, keep_orders })
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
            Self::NewLife { user } => post("/admin/session/new-life", NameSession { user: user.clone() }),
            Self::Password { user } => post("/admin/session/password", NameSession { user: user.clone() }),
            Self::Remove { user } => post("/admin/session/remove", NameSession { user: user.clone() }),
            Self::Disconnect { user } => post("/admin/session/disconnect", NameSession { user: user.clone() }),
            Self::List => Ok(Call::Get { path: "/admin/session/list" }),
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
            Self::Withdraw { asset, amount, reference } => {
                let (asset, amount, reference) = (asset.clone(), amount.clone(), reference.clone());
                post("/admin/fee/withdraw", WithdrawFees { asset, amount, reference })
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
            Self::ClientNames { max } => post("/admin/client-names/max", SetClientNamesMax { max: *max }),
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
