//! The state as rows: the keys of each part, in order, and the fields of each row. Their names are a contract: fields
//! are only ever added. Amounts are counts of ticks, lots and smallest units, as their suffixes say.
//!
//! Rows are made one at a time, because a large state does not fit into memory twice.

use crate::terminal::command_json::{
    account_kind, account_status, cod_mode, cod_scope, hex, limits, market_status, side, stp, throttle,
};
use book::engine::{Engine, Market};
use book::ids::{AccountId, AssetId, KeyId, MarketId, OrderId, SessionId};
use book::slab::Order;
use node::replica::Replica;
use serde_json::{Map, Value, json};

pub type Row = Map<String, Value>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Assets,
    Markets,
    Accounts,
    Balances,
    Sessions,
    Keys,
    Orders,
}

impl Part {
    pub const ALL: [Self; 7] =
        [Self::Assets, Self::Markets, Self::Accounts, Self::Balances, Self::Sessions, Self::Keys, Self::Orders];

    pub fn name(self) -> &'static str {
        match self {
            Self::Assets => "assets",
            Self::Markets => "markets",
            Self::Accounts => "accounts",
            Self::Balances => "balances",
            Self::Sessions => "sessions",
            Self::Keys => "keys",
            Self::Orders => "orders",
        }
    }

    /// The name of one row.
    pub fn singular(self) -> &'static str {
        match self {
            Self::Assets => "asset",
            Self::Markets => "market",
            Self::Accounts => "account",
            Self::Balances => "balance",
            Self::Sessions => "session",
            Self::Keys => "key",
            Self::Orders => "order",
        }
    }

    /// The keys of all rows, in ascending order.
    pub fn keys(self, replica: &Replica) -> Vec<u64> {
        let engine = &replica.engine;
        match self {
            Self::Assets => (1..=engine.accounts().assets().len() as u64).collect(),
            Self::Markets => engine.markets().map(|market| market.rules.id.0.into()).collect(),
            Self::Accounts => (1..=engine.accounts().len() as u64).collect(),
            Self::Balances => balance_keys(engine),
            Self::Sessions => (1..=engine.sessions().len() as u64).collect(),
            Self::Keys => engine.keys().iter().map(|(id, _)| id.0.into()).collect(),
            Self::Orders => {
                let mut ids: Vec<u64> = engine.pool().orders.iter().map(|(_, order)| order.id.0).collect();
                ids.sort_unstable();
                ids
            }
        }
    }

    /// The row of a key; none where the state has no such row.
    pub fn row(self, replica: &Replica, key: u64) -> Option<Row> {
        let engine = &replica.engine;
        let id = key as u32;
        let row = match self {
            Self::Assets => asset(engine, AssetId(id))?,
            Self::Markets => market(engine.market(MarketId(id))?),
            Self::Accounts => account(engine, AccountId(id))?,
            Self::Balances => balance(engine, AccountId((key >> 32) as u32), AssetId(id))?,
            Self::Sessions => session(replica, SessionId(id))?,
            Self::Keys => api_key(engine, KeyId(id))?,
            Self::Orders => order(engine.pool().orders.get(engine.pool().orders.find(OrderId(key))?)),
        };
        match row {
            Value::Object(row) => Some(row),
            other => unreachable!("a row is an object, not {other}"),
        }
    }

    /// The row's name and key as text.
    pub fn label(self, key: u64) -> String {
        match self {
            Self::Balances => format!("balance of account {} in asset {}", key >> 32, key as u32),
            other => format!("{} {key}", other.singular()),
        }
    }
}

/// A balance that is zero again is no part of the state.
fn balance_keys(engine: &Engine) -> Vec<u64> {
    let accounts = engine.accounts().iter();
    let keys = accounts.flat_map(|(id, account)| {
        let filled = account.balances().filter(|b| b.available.0 > 0 || b.held.0 > 0);
        filled.map(move |b| u64::from(id.0) << 32 | u64::from(b.asset.0))
    });
    keys.collect()
}

fn asset(engine: &Engine, id: AssetId) -> Option<Value> {
    let book = engine.accounts().asset(id)?;
    Some(json!({
        "asset": id.0, "symbol": book.asset.symbol.as_str(), "scale": book.asset.scale,
        "custody_units": book.custody.0, "fees_units": book.fees.0,
    }))
}

fn market(market: &Market) -> Value {
    let (rules, tape) = (&market.rules, &market.tape);
    json!({
        "market": rules.id.0, "symbol": rules.symbol.as_str(), "base": rules.base.0, "quote": rules.quote.0,
        "tick_e9": rules.tick_e9, "lot_e8": rules.lot_e8, "limits": limits(&rules.limits),
        "maker_fee_ppm": rules.fees.maker().0, "taker_fee_ppm": rules.fees.taker().0,
        "fee_asset": rules.fees.paid_in().name(), "status": market_status(rules.status),
        "last_price_ticks": tape.last_price.map(|price| price.0), "trades": tape.trade_count,
        "open_orders": tape.open_count,
    })
}

fn account(engine: &Engine, id: AccountId) -> Option<Value> {
    let account = engine.accounts().get(id)?;
    Some(json!({
        "account": id.0, "name": engine.accounts().name(id), "kind": account_kind(account.kind),
        "status": account_status(account.status), "fee_tier": account.fee_tier, "blocked": account.blocked,
        "parent": (!account.parent.is_none()).then_some(account.parent.0), "open_orders": account.open_count,
        "open_orders_max": account.open_max,
    }))
}

fn balance(engine: &Engine, account: AccountId, asset: AssetId) -> Option<Value> {
    let owner = engine.accounts().get(account)?;
    let (available, held) = (owner.available(asset).0, owner.held(asset).0);
    let symbol = engine.accounts().asset(asset).map(|book| book.asset.symbol.as_str().to_owned());
    (available > 0 || held > 0).then(|| {
        json!({
            "account": account.0, "asset": asset.0, "symbol": symbol, "available_units": available, "held_units": held,
        })
    })
}

/// Password hashes are not printed.
fn session(replica: &Replica, id: SessionId) -> Option<Value> {
    let session = replica.engine.sessions().get(id)?;
    let next = replica.positions.sessions().get(id.0 as usize - 1).copied().unwrap_or(replica.positions.first());
    Some(json!({
        "session": id.0, "user": session.user.as_str(), "account": session.account.0,
        "drop_copy": session.drop_copy, "blocked": session.blocked.is_set(),
        "cancel_on_disconnect": cod_mode(session.cod_mode), "cancel_scope": cod_scope(session.cod_scope),
        "cancel_window_ms": session.cod_window_ms, "cl_ord_id_last": session.cl_ord_id_last.0,
        "throttle": throttle(&session.bucket.throttle), "throttle_empty_at_ns": session.bucket.empty_at.0,
        "open_orders": session.open_count, "messages": next.0 - 1,
        "lives": session.lives, "removed": session.removed,
    }))
}

fn api_key(engine: &Engine, id: KeyId) -> Option<Value> {
    let key = engine.keys().get(id)?;
    Some(json!({
        "key": key.spec.key, "account": key.spec.account.0, "permissions": key.spec.permissions,
        "ed25519": hex(&key.spec.ed25519_public), "addresses": key.spec.addresses,
        "expires_ns": key.spec.expires.0, "revoked": key.revoked,
    }))
}

pub fn order(order: &Order) -> Value {
    json!({
        "order": order.id.0, "market": order.market.0, "account": order.account.0, "session": order.session.0,
        "cl_ord_id": order.cl_ord_id.0, "side": side(order.traits.side()), "price_ticks": order.price.0,
        "leaves_lots": order.leaves.0, "cum_lots": order.cum.0, "post_only": order.traits.post_only(),
        "persist_on_disconnect": order.traits.persist_on_disconnect(), "stp": stp(order.traits.stp()),
        "stp_group": order.stp_group, "cancel_group": order.cancel_group,
    })
}
