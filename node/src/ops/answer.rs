//! The effects of commands as JSON: ids with their names, amounts as decimal text, events in the order in which they
//! happened.

use crate::ops::registry::Registry;
use crate::status::sessions_on::SessionsOn;
use api::binary::login::SessionName;
use api::decimal::{Fixed, PriceE9, QtyE8};
use api::instruments::Instrument;
use book::command::{AccountStatus, Act, MarketStatus, Rest, Unfinished};
use book::event::Event;
use book::ids::{AccountId, AssetId, MarketId};
use book::instrument::Asset;
use book::intake::IntakeState;
use book::units::Units;
use serde_json::{Map, Value, json};

/// One executed command and its events.
#[derive(Clone, Debug)]
pub struct Done {
    pub seq: u64,
    pub ts_ns: u64,
    pub act: Act,
    pub events: Vec<Event>,
}

/// The answer to a request: the last command's sequence and time, the ids and balances that a caller needs next at the
/// top, then every event.
pub fn describe(done: &[Done], registry: &Registry) -> Map<String, Value> {
    let mut answer = Map::new();
    let mut events = Vec::new();
    for step in done {
        answer.insert("seq".to_owned(), step.seq.into());
        answer.insert("ts_ns".to_owned(), step.ts_ns.into());
        for event in &step.events {
            let Some(Value::Object(mut fields)) = describe_event(event, registry) else { continue };
            add_facts(event, &fields, &mut answer);
            fields.insert("seq".to_owned(), step.seq.into());
            events.push(Value::Object(fields));
        }
    }
    answer.insert("events".to_owned(), Value::Array(events));
    answer
}

/// Copies ids, names and balances of an event to the top of the answer.
fn add_facts(event: &Event, fields: &Map<String, Value>, answer: &mut Map<String, Value>) {
    let names: &[&str] = match event {
        Event::AssetAdded(_) => &["asset", "symbol"],
        Event::MarketAdded(_) => &["market", "symbol"],
        Event::AccountAdded { .. } => &["account", "name"],
        Event::SessionAdded { .. } => &["session", "user", "account"],
        Event::SessionLifeBegan { .. } => &["session", "lives", "stream"],
        Event::Unfinished(_) => &["session", "more"],
        Event::FundsMoved { .. } => &["account", "asset", "amount", "available", "repeated"],
        Event::MassCanceled(_) => &["canceled", "more"],
        _ => &[],
    };
    for name in names {
        if let Some(value) = fields.get(*name) {
            answer.insert((*name).to_owned(), value.clone());
        }
    }
}

/// `None` for events that no administrative command causes.
fn describe_event(event: &Event, registry: &Registry) -> Option<Value> {
    Some(match event {
        Event::AssetAdded(asset) => {
            json!({ "event": "asset_added", "asset": asset.id.0, "symbol": asset.symbol.as_str(), "scale": asset.scale })
        }
        Event::MarketAdded(rules) | Event::MarketRulesChanged(rules) => {
            let added = matches!(event, Event::MarketAdded(_));
            let mut fields = registry.instruments().find(rules.id).map(describe_market).unwrap_or_default();
            fields.insert("event".to_owned(), if added { "market_added" } else { "market_rules_changed" }.into());
            Value::Object(fields)
        }
        Event::MarketStatusChanged { market, status } => json!({
            "event": "market_status_changed",
            "market": market.0,
            "symbol": symbol_of(*market, registry),
            "status": status_word(*status),
        }),
        Event::MarketRemoved { market } => json!({ "event": "market_removed", "market": market.0 }),
        Event::ClientNamesMaxChanged { max } => json!({ "event": "client_names_max_changed", "max": max }),
        Event::IntakeChanged { state } => intake_json(*state),
        Event::TornEndAcknowledged { seq } => json!({ "event": "torn_end_acknowledged", "seq": seq.0 }),
        Event::RulesChanged { version } => json!({ "event": "rules_changed", "rules": version.0 }),
        Event::FeeTierChanged { tier } => json!({ "event": "fee_tier_changed", "tier": tier }),
        Event::AccountAdded { account } => {
            json!({ "event": "account_added", "account": account.0, "name": name_of(*account, registry) })
        }
        Event::AccountChanged { account, status, fee_tier, blocked } => json!({
            "event": "account_changed",
            "account": account.0,
            "status": account_status_word(*status),
            "fee_tier": fee_tier,
            "blocked": blocked,
        }),
        Event::KeyAdded { account } => json!({ "event": "key_added", "account": account.0 }),
        Event::KeyRevoked { account } => json!({ "event": "key_revoked", "account": account.0 }),
        Event::FundsMoved { account, asset, amount, available, repeated } => json!({
            "event": "funds_moved",
            "account": account.0,
            "asset": registry.instruments().asset(*asset).map(|a| a.symbol.as_str().to_owned()),
            "amount": amount_text(*amount, *asset, registry),
            "available": amount_text(*available, *asset, registry),
            "repeated": repeated,
        }),
        Event::Canceled(canceled) => json!({
            "event": "canceled",
            "order_id": canceled.order_id.0.to_string(),
            "account": canceled.account.0,
            "symbol": symbol_of(canceled.market, registry),
            "qty": registry.instruments().find(canceled.market).map(|m| m.qty_exact(canceled.qty).to_string()),
        }),
        Event::MassCanceled(mass) => json!({
            "event": "mass_canceled",
            "canceled": mass.count,
            "more": mass.more,
            "blocked": mass.blocked,
            "account": (!mass.account.is_none()).then_some(mass.account.0),
            "symbol": symbol_of(mass.market, registry),
        }),
        event => return describe_session_event(event),
    })
}

/// `None` for events that are not about a session.
fn describe_session_event(event: &Event) -> Option<Value> {
    Some(match event {
        Event::SessionAdded { session, account, user, drop_copy } => json!({
            "event": "session_added",
            "session": session.0,
            "account": account.0,
            "user": user.as_str(),
            "drop_copy": drop_copy,
        }),
        Event::SessionChanged { session, blocked } => {
            json!({ "event": "session_changed", "session": session.0, "blocked": blocked })
        }
        Event::SessionLifeBegan { session, lives, tag, .. } => json!({
            "event": "session_life_began",
            "session": session.0,
            "lives": lives,
            "stream": SessionName::of_life(*session, *tag).as_str(),
        }),
        Event::SessionPasswordChanged { session } => {
            json!({ "event": "session_password_changed", "session": session.0 })
        }
        Event::SessionRemoved { session } => json!({ "event": "session_removed", "session": session.0 }),
        Event::SessionDisconnected { session } => json!({ "event": "session_disconnected", "session": session.0 }),
        // What is left is done at once, before any command of a client.
        Event::Unfinished(Rest { of: Unfinished::EndLife(end), .. }) => {
            json!({ "event": "session_orders_canceled", "session": end.session.0, "more": true })
        }
        _ => return None,
    })
}

fn symbol_of(market: MarketId, registry: &Registry) -> Option<String> {
    registry.instruments().find(market).map(|m| m.rules.symbol.as_str().to_owned())
}

fn name_of(account: AccountId, registry: &Registry) -> Option<String> {
    registry.account(account).map(|entry| entry.name.clone())
}

fn amount_text(units: Units, asset: AssetId, registry: &Registry) -> Option<String> {
    registry.instruments().asset(asset).map(|asset| units_text(units, asset))
}

fn units_text(units: Units, asset: &Asset) -> String {
    Fixed { value: units.0.into(), scale: asset.scale.into() }.to_string()
}

fn intake_json(state: IntakeState) -> Value {
    json!({ "event": "intake_changed", "intake": intake_word(state), "stopped_by": stopped_by(state) })
}

pub fn intake_word(state: IntakeState) -> &'static str {
    match state {
        IntakeState::All => "all",
        IntakeState::StoppedByNode | IntakeState::StoppedByOperator => "cancels",
    }
}

/// Who has stopped the intake.
pub fn stopped_by(state: IntakeState) -> Option<&'static str> {
    match state {
        IntakeState::All => None,
        IntakeState::StoppedByNode => Some("node"),
        IntakeState::StoppedByOperator => Some("operator"),
    }
}

pub fn status_word(status: MarketStatus) -> &'static str {
    match status {
        MarketStatus::Trading => "trading",
        MarketStatus::Halt => "halt",
        MarketStatus::CancelOnly => "cancel_only",
        MarketStatus::PostOnly => "post_only",
        MarketStatus::Closed => "closed",
    }
}

fn account_status_word(status: AccountStatus) -> &'static str {
    match status {
        AccountStatus::Active => "active",
        AccountStatus::Suspended => "suspended",
        AccountStatus::Closed => "closed",
    }
}

/// A market's rules in decimal text.
fn describe_market(instrument: &Instrument) -> Map<String, Value> {
    let (rules, limits) = (&instrument.rules, &instrument.rules.limits);
    let fields = json!({
        "market": rules.id.0,
        "symbol": rules.symbol.as_str(),
        "base": instrument.base.symbol.as_str(),
        "quote": instrument.quote.symbol.as_str(),
        "tick": i64::try_from(rules.tick_e9).map(|tick| PriceE9(tick).to_string()).ok(),
        "lot": i64::try_from(rules.lot_e8).map(|lot| QtyE8(lot).to_string()).ok(),
        "min_qty": instrument.qty_exact(limits.qty_min).to_string(),
        "max_qty": instrument.qty_exact(limits.qty_max).to_string(),
        "min_notional": units_text(limits.notional_min, &instrument.quote),
        "price_band_ppm": limits.price_band.0,
        "maker_fee_ppm": rules.fees.maker().0,
        "taker_fee_ppm": rules.fees.taker().0,
        "fee_asset": rules.fees.paid_in().name(),
        "status": status_word(rules.status),
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// The registry as JSON: all assets, markets, accounts, sessions and keys.
pub fn describe_registry(registry: &Registry) -> Value {
    let asset = |a: &Asset| json!({ "asset": a.id.0, "symbol": a.symbol.as_str(), "scale": a.scale });
    let assets: Vec<Value> = registry.instruments().assets().iter().map(asset).collect();
    let markets: Vec<Map<String, Value>> = registry.instruments().all().map(describe_market).collect();
    let accounts = registry.accounts().map(|(id, entry)| {
        json!({
            "account": id.0,
            "name": entry.name,
            "parent": (!entry.parent.is_none()).then_some(entry.parent.0),
            "status": account_status_word(entry.status),
            "fee_tier": entry.fee_tier,
        })
    });
    let sessions = registry.sessions().map(|(id, entry)| {
        json!({
            "session": id.0, "user": entry.user.as_str(), "account": entry.account.0, "drop_copy": entry.drop_copy,
        })
    });
    let keys = registry.keys().map(|(key, entry)| {
        json!({
            "key": key, "account": entry.account.0, "permissions": permission_words(entry.permissions), "revoked": entry.revoked,
        })
    });
    json!({
        "assets": assets,
        "markets": markets,
        "accounts": accounts.collect::<Vec<_>>(),
        "sessions": sessions.collect::<Vec<_>>(),
        "keys": keys.collect::<Vec<_>>(),
    })
}

/// The sessions that are logged in, as JSON.
pub fn describe_sessions_on(registry: &Registry, sessions_on: &SessionsOn) -> Value {
    let on = registry.sessions().filter_map(|(id, entry)| Some((id, entry, sessions_on.get(id)?)));
    let sessions = on.map(|(id, entry, on)| {
        json!({
            "session": id.0, "user": entry.user.as_str(), "account": entry.account.0,
            "name": name_of(entry.account, registry), "drop_copy": entry.drop_copy,
            "address": on.address.to_string(), "since_ns": on.since.0, "next_seq": on.next,
        })
    });
    json!({ "sessions": sessions.collect::<Vec<_>>() })
}

fn permission_words(bits: u8) -> Vec<&'static str> {
    [(1, "read"), (2, "trade"), (4, "withdraw")]
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, word)| *word)
        .collect()
}
