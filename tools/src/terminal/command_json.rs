//! A command of the log as JSON and as a line of text. The keys are a contract: they are only ever added.
//!
//! Ids and sequences are numbers; prices and quantities are counts of ticks and lots, amounts counts of the asset's
//! smallest unit, as the suffix of each key says. A field without a value is absent. Text keys are 32 hex digits.

use book::codec::Record;
use book::command::{
    AccountKind, AccountStatus, Act, Acted, Actor, Admin, AfterLife, AmendQty, BlockChange, CodMode, CodScope, Command,
    DownCause, FundsMove, LifeEnd, MarketLimits, MarketStatus, MassCancel, MassScope, OrderKind, OrderRef, PlaceOrder,
    ReplaceMode, Rest, Side, StpMode, Throttle, Tif, Unfinished,
};
use book::ids::ClientKey;
use book::intake::Intake;
use book::units::Seq;
use serde_json::{Map, Value, json};

/// One line of `pinion log dump --json`.
pub fn record_json(seq: Seq, record: &Record) -> Value {
    let mut line = Map::new();
    line.insert("seq".to_owned(), seq.0.into());
    line.insert("ts_ns".to_owned(), record.ts.0.into());
    line.insert("command".to_owned(), kind(&record.command).into());
    match fields(&record.command) {
        Value::Object(more) => line.extend(more.into_iter().filter(|(_, value)| !value.is_null())),
        other => unreachable!("fields are an object, not {other}"),
    }
    Value::Object(line)
}

/// One line of `pinion log dump`: the same fields as text.
pub fn record_text(seq: Seq, record: &Record) -> String {
    let mut line = format!("{:>10} {} {}", seq.0, record.ts.0, kind(&record.command));
    if let Value::Object(fields) = fields(&record.command) {
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            line.push_str(&format!(" {name}={value}"));
        }
    }
    line
}

/// The line of `--json` for a command that this build cannot decode.
pub fn unreadable_json(seq: Seq, why: &str) -> Value {
    json!({ "seq": seq.0, "unreadable": why })
}

pub fn unreadable_text(seq: Seq, why: &str) -> String {
    format!("{:>10} this build cannot decode it: {why}", seq.0)
}

/// The command's name, under which `pinion log stats` counts it.
pub fn kind(command: &Command) -> &'static str {
    match command {
        Command::Place(_) => "place",
        Command::Cancel(_) => "cancel",
        Command::Amend(_) => "amend",
        Command::CancelReplace(_) => "cancel_replace",
        Command::MassCancel(_) => "mass_cancel",
        Command::Refuse(_) => "refuse",
        Command::Query(_) => "query",
        Command::SetSession(_) => "set_session",
        Command::SessionDown(_) => "session_down",
        Command::ConnectionEnd(_) => "connection_end",
        Command::Admin(admin) => admin_kind(admin),
        Command::Check(_) => "check",
        // By what was done, so that it counts alike whether or not the log says who did it.
        Command::Acted(acted) => match &acted.act {
            Act::Admin(admin) => admin_kind(admin),
            Act::MassCancel(_) => "mass_cancel",
        },
        Command::Opened(_) => "opened",
        Command::Continue(_) => "continue",
    }
}

fn admin_kind(admin: &Admin) -> &'static str {
    match admin {
        Admin::AddAsset { .. } => "add_asset",
        Admin::AddMarket(_) => "add_market",
        Admin::SetMarketStatus { .. } => "set_market_status",
        Admin::SetMarketFees { .. } => "set_market_fees",
        Admin::SetMarketLimits { .. } => "set_market_limits",
        Admin::SetFeeTier { .. } => "set_fee_tier",
        Admin::AddAccount(_) => "add_account",
        Admin::SetAccountStatus { .. } => "set_account_status",
        Admin::SetAccountFeeTier { .. } => "set_account_fee_tier",
        Admin::SetAccountLimits { .. } => "set_account_limits",
        Admin::SetAccountBlock { .. } => "set_account_block",
        Admin::AddSession(_) => "add_session",
        Admin::SetSessionBlock { .. } => "set_session_block",
        Admin::SetSessionThrottle { .. } => "set_session_throttle",
        Admin::AddKey(_) => "add_key",
        Admin::RevokeKey { .. } => "revoke_key",
        Admin::Deposit(_) => "deposit",
        Admin::Withdraw(_) => "withdraw",
        Admin::SetRules { .. } => "set_rules",
        Admin::SetClientNamesMax { .. } => "set_client_names_max",
        Admin::BeginRun(_) => "begin_run",
        Admin::WithdrawFees(_) => "withdraw_fees",
        Admin::SetIntake(_) => "set_intake",
        Admin::BeginSessionLife { .. } => "begin_session_life",
        Admin::SetSessionPassword { .. } => "set_session_password",
        Admin::RemoveSession { .. } => "remove_session",
        Admin::DisconnectSession { .. } => "disconnect_session",
        Admin::AcknowledgeTornEnd { .. } => "acknowledge_torn_end",
        Admin::RemoveMarket { .. } => "remove_market",
    }
}

fn fields(command: &Command) -> Value {
    match command {
        Command::Place(c) => place(c),
        Command::Cancel(c) => json!({
            "session": nonzero(c.session.0), "cl_ord_id": nonzero(c.cl_ord_id.0), "account": c.account.0,
            "market": nonzero(c.market.0), "target": target(&c.target),
        }),
        Command::Amend(c) => json!({
            "session": nonzero(c.session.0), "cl_ord_id": c.cl_ord_id.0, "account": c.account.0, "market": c.market.0,
            "target": target(&c.target), "price_ticks": c.price.0, "qty_lots": c.qty.0,
            "qty_means": match c.qty_means { AmendQty::Open => "open", AmendQty::Total => "total" },
        }),
        Command::CancelReplace(c) => json!({
            "target": target(&c.target),
            "mode": match c.mode {
                ReplaceMode::StopOnFailure => "stop_on_failure",
                ReplaceMode::AllowFailure => "allow_failure",
            },
            "place": place(&c.place),
        }),
        Command::MassCancel(c) => mass_cancel(c),
        Command::Refuse(c) => json!({
            "session": nonzero(c.session.0), "cl_ord_id": nonzero(c.cl_ord_id.0), "target": target(&c.target),
            "market": nonzero(c.market.0), "reason": format!("{:?}", c.reason), "template": c.template,
            "consumes_id": c.consumes_id,
        }),
        Command::Query(c) => json!({
            "session": nonzero(c.session.0), "request": nonzero(c.request.0), "account": c.account.0,
            "market": nonzero(c.market.0), "target": target(&c.target),
        }),
        Command::SetSession(c) => json!({
            "session": c.session.0, "request": nonzero(c.request.0), "cancel_on_disconnect": cod_mode(c.cod_mode),
            "cancel_scope": cod_scope(c.cod_scope), "cancel_window_ms": c.cod_window_ms,
        }),
        Command::SessionDown(c) => json!({
            "session": c.session.0, "continued": c.continued, "cause": cause(c.cause),
        }),
        Command::ConnectionEnd(c) => json!({ "session": c.session.0, "cause": cause(c.cause), "number": c.number }),
        Command::Admin(admin) => admin_fields(admin),
        Command::Check(c) => json!({ "hash": format!("{:016x}", c.hash) }),
        Command::Acted(acted) => acted_fields(acted),
        Command::Opened(c) => json!({ "build": c.build, "format": c.format, "wall_ns": c.wall.0 }),
        Command::Continue(rest) => continued(rest),
    }
}

fn cause(cause: DownCause) -> &'static str {
    match cause {
        DownCause::Disconnect => "disconnect",
        DownCause::Logout => "logout",
        DownCause::Displaced => "displaced",
    }
}

/// The fields of the act, and who acted.
fn acted_fields(acted: &Acted) -> Value {
    let mut fields = match &acted.act {
        Act::Admin(admin) => admin_fields(admin),
        Act::MassCancel(mass) => mass_cancel(mass),
    };
    let actor = match acted.actor {
        Actor::Ops => json!("ops"),
        Actor::Node => json!("node"),
        Actor::Key(key) => json!({ "key": key.0 }),
    };
    fields["actor"] = actor;
    let texts = [("method", &acted.method), ("address", &acted.address), ("request_id", &acted.request_id)];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        fields[name] = json!(text);
    }
    fields
}

fn mass_cancel(c: &MassCancel) -> Value {
    json!({
        "session": nonzero(c.session.0), "cl_ord_id": nonzero(c.cl_ord_id.0), "account": nonzero(c.account.0),
        "scope": match c.scope {
            MassScope::Session => "session",
            MassScope::Account => "account",
            MassScope::Market => "market",
        },
        "market": nonzero(c.market.0), "side": c.side.map(side), "price_min_ticks": c.price_min.map(|p| p.0),
        "price_max_ticks": c.price_max.map(|p| p.0), "cancel_group": nonzero(u32::from(c.cancel_group)),
        "block": match c.block { BlockChange::Keep => "keep", BlockChange::Set => "set", BlockChange::Lift => "lift" },
        "continued": c.continued,
    })
}

/// The command that goes on, and with which order.
fn continued(rest: &Rest) -> Value {
    let (step, of) = match rest.of {
        Unfinished::MassCancel(mass) => ("cancel", Command::MassCancel(mass)),
        Unfinished::SessionDown(down) => ("cancel", Command::SessionDown(down)),
        Unfinished::Count(query) => ("count", Command::Query(query)),
        Unfinished::Tell(query) => ("tell", Command::Query(query)),
        Unfinished::EndLife(LifeEnd { session, then }) => {
            let of = match then {
                AfterLife::Begins(tag) => Admin::BeginSessionLife { session, tag },
                AfterLife::Removed => Admin::RemoveSession { session },
            };
            ("cancel", Command::Admin(Box::new(of)))
        }
    };
    json!({
        "of": kind(&of), "step": step, "order_id": nonzero(rest.at.0), "count": rest.count, "command": fields(&of),
    })
}

fn place(c: &PlaceOrder) -> Value {
    let (order_type, price, qty, quote) = match c.kind {
        OrderKind::Limit { price, qty } => ("limit", Some(price.0), Some(qty.0), None),
        OrderKind::Market { qty } => ("market", None, Some(qty.0), None),
        OrderKind::MarketByQuote { quote } => ("market_by_quote", None, None, Some(quote.0)),
    };
    json!({
        "session": nonzero(c.session.0), "cl_ord_id": nonzero(c.cl_ord_id.0), "client_key": client_key(c.client_key),
        "account": c.account.0, "market": c.market.0, "side": side(c.side), "type": order_type, "price_ticks": price,
        "qty_lots": qty, "quote_units": quote,
        "tif": match c.tif {
            Tif::Gtc => "gtc",
            Tif::GtcPostOnly => "gtc_post_only",
            Tif::Ioc => "ioc",
            Tif::Fok => "fok",
        },
        "stp": stp(c.stp),
        "stp_group": nonzero(u32::from(c.stp_group)), "cancel_group": nonzero(u32::from(c.cancel_group)),
        "persist_on_disconnect": c.persist_on_disconnect, "valid_until_ns": nonzero(c.valid_until.0),
    })
}

fn admin_fields(admin: &Admin) -> Value {
    match admin {
        Admin::AddAsset { symbol, scale } => json!({ "symbol": symbol.as_str(), "scale": scale }),
        Admin::AddMarket(m) => json!({
            "symbol": m.symbol.as_str(), "base": m.base.0, "quote": m.quote.0, "tick_e9": m.tick_e9,
            "lot_e8": m.lot_e8, "limits": limits(&m.limits), "maker_fee_ppm": m.fees.maker().0,
            "taker_fee_ppm": m.fees.taker().0, "fee_asset": m.fees.paid_in().name(),
            "status": market_status(m.status),
        }),
        Admin::SetMarketStatus { market, status } => json!({ "market": market.0, "status": market_status(*status) }),
        Admin::SetMarketFees { market, maker_fee, taker_fee } => {
            json!({ "market": market.0, "maker_fee_ppm": maker_fee.0, "taker_fee_ppm": taker_fee.0 })
        }
        Admin::SetMarketLimits { market, limits: l } => json!({ "market": market.0, "limits": limits(l) }),
        Admin::SetFeeTier { tier, fees } => {
            json!({ "tier": tier, "maker_scale_ppm": fees.maker_scale.0, "taker_scale_ppm": fees.taker_scale.0 })
        }
        Admin::AddAccount(a) => json!({
            "name": a.name, "parent": nonzero(a.parent.0), "fee_tier": a.fee_tier,
            "kind": account_kind(a.kind),
        }),
        Admin::SetAccountStatus { account, status } => {
            json!({ "account": account.0, "status": account_status(*status) })
        }
        Admin::SetAccountFeeTier { account, tier } => json!({ "account": account.0, "tier": tier }),
        Admin::SetAccountLimits { account, open_orders_max } => {
            json!({ "account": account.0, "open_orders_max": open_orders_max })
        }
        Admin::SetAccountBlock { account, blocked } => json!({ "account": account.0, "blocked": blocked }),
        Admin::BeginSessionLife { session, tag } => json!({ "session": session.0, "tag": tag.0 }),
        Admin::SetSessionPassword { session, .. }
        | Admin::RemoveSession { session }
        | Admin::DisconnectSession { session } => json!({ "session": session.0 }),
        // The hash of the password is not printed: a reader of a dump has no need of it.
        Admin::AddSession(s) => json!({
            "account": s.account.0, "user": s.user.as_str(), "drop_copy": s.drop_copy,
            "throttle": throttle(&s.throttle), "cancel_on_disconnect": cod_mode(s.cod_mode),
            "cancel_scope": cod_scope(s.cod_scope), "cancel_window_ms": s.cod_window_ms,
        }),
        Admin::SetSessionBlock { session, blocked } => json!({ "session": session.0, "blocked": blocked }),
        Admin::SetSessionThrottle { session, throttle: t } => {
            json!({ "session": session.0, "throttle": throttle(t) })
        }
        Admin::AddKey(k) => json!({
            "account": k.account.0, "key": k.key, "permissions": k.permissions,
            "ed25519": (!k.ed25519_public.is_empty()).then(|| hex(&k.ed25519_public)), "addresses": k.addresses,
            "expires_ns": nonzero(k.expires.0),
        }),
        Admin::RevokeKey { key } => json!({ "key": key }),
        Admin::Deposit(funds) | Admin::Withdraw(funds) | Admin::WithdrawFees(funds) => funds_move(funds),
        Admin::SetRules { version } => json!({ "version": version.0 }),
        Admin::SetClientNamesMax { max } => json!({ "max": max }),
        Admin::BeginRun(run) => json!({
            "directory": format!("{:016x}", run.directory), "may_lose": run.may_lose,
            "life_tag": run.life.map(|tag| tag.0),
        }),
        Admin::RemoveMarket { market } => json!({ "market": market.0 }),
        Admin::SetIntake(Intake::All) => json!({ "intake": "all" }),
        Admin::SetIntake(Intake::Cancels) => json!({ "intake": "cancels" }),
        Admin::AcknowledgeTornEnd { seq } => json!({ "seq": seq.0 }),
    }
}

fn funds_move(funds: &FundsMove) -> Value {
    json!({
        "account": funds.account.0, "asset": funds.asset.0, "amount_units": funds.amount.0,
        "reference": client_key(funds.reference),
    })
}

pub(crate) fn limits(limits: &MarketLimits) -> Value {
    json!({
        "qty_min_lots": limits.qty_min.0, "qty_max_lots": limits.qty_max.0,
        "notional_min_units": limits.notional_min.0, "price_band_ppm": limits.price_band.0,
    })
}

pub(crate) fn throttle(throttle: &Throttle) -> Value {
    json!({ "orders_per_second": throttle.orders_per_second, "burst": throttle.burst })
}

fn target(target: &OrderRef) -> Value {
    let named = [
        ("order_id", nonzero(target.order_id.0)),
        ("cl_ord_id", nonzero(target.cl_ord_id.0)),
        ("client_key", client_key(target.client_key)),
    ];
    let named: Map<String, Value> =
        named.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_owned(), value)).collect();
    if named.is_empty() { Value::Null } else { Value::Object(named) }
}

/// A number for which zero means that there is none.
pub(crate) fn nonzero(number: impl Into<u64>) -> Value {
    match number.into() {
        0 => Value::Null,
        number => number.into(),
    }
}

fn client_key(key: ClientKey) -> Value {
    if key.is_none() { Value::Null } else { format!("{:032x}", key.0).into() }
}

pub(crate) fn side(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}

pub(crate) fn cod_mode(mode: CodMode) -> &'static str {
    match mode {
        CodMode::Off => "off",
        CodMode::OnDisconnect => "disconnect",
        CodMode::OnLogout => "logout",
        CodMode::Both => "both",
    }
}

pub(crate) fn cod_scope(scope: CodScope) -> &'static str {
    match scope {
        CodScope::Session => "session",
        CodScope::Account => "account",
    }
}

pub(crate) fn market_status(status: MarketStatus) -> &'static str {
    match status {
        MarketStatus::Trading => "trading",
        MarketStatus::Halt => "halt",
        MarketStatus::CancelOnly => "cancel_only",
        MarketStatus::PostOnly => "post_only",
        MarketStatus::Closed => "closed",
    }
}

pub(crate) fn stp(mode: StpMode) -> &'static str {
    match mode {
        StpMode::None => "none",
        StpMode::CancelTaker => "cancel_taker",
        StpMode::CancelMaker => "cancel_maker",
        StpMode::CancelBoth => "cancel_both",
        StpMode::Decrement => "decrement",
    }
}

pub(crate) fn account_kind(kind: AccountKind) -> &'static str {
    match kind {
        AccountKind::Client => "client",
        AccountKind::MarketMaker => "market_maker",
        AccountKind::Agent => "agent",
        AccountKind::House => "house",
    }
}

pub(crate) fn account_status(status: AccountStatus) -> &'static str {
    match status {
        AccountStatus::Active => "active",
        AccountStatus::Suspended => "suspended",
        AccountStatus::Closed => "closed",
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use book::command::CancelOrder;
    use book::ids::{AccountId, ClOrdId, MarketId, OrderId, SessionId};
    use book::units::{PriceTicks, QtyLots, TsNs};

    fn check(command: Command, expected: &str) {
        let record = Record { ts: TsNs(5), command };
        assert_eq!(record_json(Seq(3), &record).to_string(), expected);
    }

    #[test]
    fn a_field_without_a_value_is_absent() {
        let target = OrderRef { order_id: OrderId(0), cl_ord_id: ClOrdId(9), client_key: ClientKey::NONE };
        let (session, account, market) = (SessionId(1), AccountId(2), MarketId(4));
        check(
            Command::Cancel(CancelOrder { session, cl_ord_id: ClOrdId(0), account, market, target }),
            r#"{"account":2,"command":"cancel","market":4,"seq":3,"session":1,"target":{"cl_ord_id":9},"ts_ns":5}"#,
        );
    }

    #[test]
    fn an_order_has_its_price_in_ticks_and_its_quantity_in_lots() {
        let order = PlaceOrder {
            session: SessionId(1),
            cl_ord_id: ClOrdId(7),
            client_key: ClientKey::NONE,
            account: AccountId(2),
            market: MarketId(4),
            side: Side::Sell,
            kind: OrderKind::Limit { price: PriceTicks(100), qty: QtyLots(3) },
            tif: Tif::GtcPostOnly,
            stp: StpMode::CancelTaker,
            stp_group: 0,
            cancel_group: 0,
            persist_on_disconnect: false,
            valid_until: TsNs(0),
        };
        check(
            Command::Place(order),
            concat!(
                r#"{"account":2,"cl_ord_id":7,"command":"place","market":4,"persist_on_disconnect":false,"price_ticks":100,"#,
                r#""qty_lots":3,"seq":3,"session":1,"side":"sell","stp":"cancel_taker","tif":"gtc_post_only","ts_ns":5,"#,
                r#""type":"limit"}"#
            ),
        );
    }
}
