//! An exchange filled through `apply` with markets, accounts, balances, sessions and resting orders by the million.

use crate::exchange::{Exchange, market_spec, resting_order, session_spec, symbol};
use anyhow::{Result, ensure};
use book::command::{AccountKind, AccountSpec, Admin, Command, PlaceOrder, Side};
use book::ids::{AccountId, AssetId, ClOrdId, MarketId, SessionId};
use book::units::Units;

/// Each market pairs one of `bases` base assets, from asset 1 on, with one of as many quote assets, from `bases + 1`
/// on.
pub fn add_markets(exchange: &mut Exchange<false>, markets: u32) -> Result<()> {
    let bases = markets.isqrt() + 1;
    for number in 0..bases * 2 {
        exchange.admin(Admin::AddAsset { symbol: symbol(&format!("A{number}"))?, scale: 8 })?;
    }
    for number in 0..markets {
        let (base, quote) = (AssetId(number % bases + 1), AssetId(bases + number / bases + 1));
        exchange.admin(Admin::AddMarket(market_spec(&format!("M{number}"), base, quote)?))?;
    }
    Ok(())
}

pub fn add_accounts(exchange: &mut Exchange<false>, accounts: u32) -> Result<()> {
    for account in 1..=accounts {
        exchange.admin(Admin::AddAccount(AccountSpec {
            name: format!("client {account}"),
            kind: AccountKind::Client,
            parent: AccountId::NONE,
            fee_tier: 0,
        }))?;
    }
    Ok(())
}

/// Adds one session for each of the first accounts, under the account's number.
pub fn add_sessions(exchange: &mut Exchange<false>, sessions: u32) -> Result<()> {
    for account in 1..=sessions {
        exchange.admin(Admin::AddSession(session_spec(AccountId(account), account)?))?;
    }
    Ok(())
}

const AMOUNT: Units = Units(100_000_000_000);

/// Deposits both assets of the one market in which an account trades, so that its orders open no further balances.
pub fn add_balances(exchange: &mut Exchange<false>, accounts: u32) -> Result<()> {
    for account in 1..=accounts {
        let Some(market) = exchange.engine.market(market_of(exchange, account)) else { continue };
        let (base, quote) = (market.rules.base, market.rules.quote);
        exchange.deposit(AccountId(account), base, AMOUNT)?;
        exchange.deposit(AccountId(account), quote, AMOUNT)?;
    }
    Ok(())
}

fn market_of(exchange: &Exchange<false>, account: u32) -> MarketId {
    MarketId((account - 1) % exchange.engine.market_ids() as u32 + 1)
}

/// Places orders around the same price in every market, bids below it and asks above, each account in its own market.
pub fn rest_orders(exchange: &mut Exchange<false>, orders: u32, sessions: u32) -> Result<()> {
    for number in 0..orders {
        let account = number % sessions + 1;
        let side = if (number / sessions).is_multiple_of(2) { Side::Buy } else { Side::Sell };
        let away = (number / sessions).wrapping_mul(2_654_435_761) >> 22;
        let price = if side == Side::Buy { 99_999 - away } else { 100_001 + away };
        let market = market_of(exchange, account);
        let order = resting_order(account, market, side, price);
        let (session, cl_ord_id) = (SessionId(account), ClOrdId(u64::from(number) + 1));
        exchange.apply(&Command::Place(PlaceOrder { session, cl_ord_id, ..order }));
    }
    let resting = exchange.engine.pool().orders.len();
    ensure!(
        resting == orders as usize,
        "{resting} of {orders} orders rest; the last one's events: {:?}",
        exchange.sink.events
    );
    Ok(())
}
