//! The events of a command in the words of a scenario.

use super::House;
use book::command::Side;
use book::event::{Event, FillSide, LedgerAccount};
use book::ids::{AccountId, AssetId, OrderId};

impl House {
    fn order(&self, id: OrderId, label: &str) -> String {
        self.order_names.get(&id).cloned().unwrap_or_else(|| label.to_owned())
    }

    fn account(&self, id: AccountId) -> String {
        self.accounts.iter().find(|(_, known)| **known == id).map_or(format!("account {}", id.0), |(n, _)| n.clone())
    }

    fn asset(&self, id: AssetId) -> &str {
        self.assets.iter().find(|(_, known)| **known == id).map_or("?", |(name, _)| name)
    }

    pub(super) fn say(&self, event: &Event, label: &str) -> String {
        let order = |id: OrderId| self.order(id, label);
        match event {
            Event::Accepted(e) => format!("accept {} {} {}", order(e.order_id), lower(e.side), e.qty.0),
            Event::Rejected(e) if label.is_empty() => format!("reject {:?}", e.reason),
            Event::Rejected(e) => format!("reject {label} {:?}", e.reason),
            Event::Rested(e) => format!("rest {} {} {} @ {}", order(e.order_id), lower(e.side), e.qty.0, e.price.0),
            Event::Fill(e) => {
                let (taker, maker) = (order(e.taker.order_id), order(e.maker.order_id));
                let fees = match (e.taker.fee.0, e.maker.fee.0) {
                    (0, 0) => String::new(),
                    (taker, maker) => format!(" fees {taker}/{maker}"),
                };
                let still = format!("{}/{}", progress(&e.taker), progress(&e.maker));
                format!("fill {taker}/{maker} {} @ {} leaves {still}{fees}", e.qty.0, e.price.0)
            }
            Event::Reduced(e) => format!("reduce {} by {} leaves {}", order(e.order_id), e.qty.0, e.leaves.0),
            Event::Amended(e) => {
                let place = if e.kept_priority { "keeps" } else { "loses" };
                let name = order(e.order_id);
                let renamed = if e.cl_ord_id == e.cl_ord_id_before {
                    String::new()
                } else {
                    format!(" cl {} -> {}", e.cl_ord_id_before.0, e.cl_ord_id.0)
                };
                format!("amend {name} {} @ {} cum {} {place} its place{renamed}", e.leaves.0, e.price.0, e.cum.0)
            }
            Event::Canceled(e) => {
                let seen = if e.was_resting { "" } else { " never rested" };
                let by = if e.request_session.is_none() { "" } else { " on request" };
                format!("end {} {:?} {} cum {}{seen}{by}", order(e.order_id), e.reason, e.qty.0, e.cum.0)
            }
            Event::CancelRejected(e) => {
                let asked = if e.amend { "amendment" } else { "cancel" };
                format!("refuse {asked} of {}: {:?}", order(e.order_id), e.reason)
            }
            Event::MassCanceled(e) => {
                let more = if e.more { " more to come" } else { "" };
                let blocked = if e.blocked { " blocked" } else { "" };
                format!("mass {:?} {}{blocked}{more}", e.scope, e.count)
            }
            Event::OrderStatus(e) if e.order_id.is_none() => format!("status none remaining {}", e.remaining),
            Event::OrderStatus(e) => {
                let name = order(e.order_id);
                let side = lower(e.side);
                let (leaves, price, cum) = (e.leaves.0, e.price.0, e.cum.0);
                format!("status {name} {side} {leaves} @ {price} cum {cum} remaining {}", e.remaining)
            }
            Event::Repeated(e) => match e.outcome {
                Ok(id) => format!("repeat {}", order(id)),
                Err(reason) => format!("repeat of a reject {reason:?}"),
            },
            Event::SessionState(e) => format!(
                "session last {} open {} cod {:?} of {:?} window {} {}",
                e.cl_ord_id_last.0,
                e.open_orders,
                e.cod_mode,
                e.cod_scope,
                e.cod_window_ms,
                if e.blocked { "blocked" } else { "free" }
            ),
            _ => self.say_ledger_and_admin(event),
        }
    }

    fn say_ledger_and_admin(&self, event: &Event) -> String {
        match event {
            Event::Transfer(t) => format!(
                "{:?} {} {}: {} to {}, then {} and {}",
                t.kind,
                t.amount.0,
                self.asset(t.asset),
                self.place_of(t.debit),
                self.place_of(t.credit),
                t.debit_after.0,
                t.credit_after.0
            ),
            Event::FundsMoved { account, asset, amount, available, repeated } => {
                let again = if *repeated { " again" } else { "" };
                let (account, asset) = (self.account(*account), self.asset(*asset));
                format!("funds {account} {asset} {} available {}{again}", amount.0, available.0)
            }
            Event::AdminRejected { reason } => format!("refused {reason:?}"),
            Event::MarketStatusChanged { status, .. } => format!("market {status:?}"),
            Event::AccountChanged { account, status, fee_tier, blocked } => {
                let blocked = if *blocked { " blocked" } else { "" };
                format!("account {} {status:?} tier {fee_tier}{blocked}", self.account(*account))
            }
            Event::SessionChanged { blocked, .. } => format!("session {}", if *blocked { "blocked" } else { "free" }),
            Event::IntakeChanged { state } => format!("intake {state:?}"),
            Event::FeeTierChanged { tier } => format!("tier {tier} changed"),
            Event::KeyAdded { account } => format!("key of {}", self.account(*account)),
            Event::KeyRevoked { account } => format!("key of {} revoked", self.account(*account)),
            Event::MarketRulesChanged(rules) => {
                let limits = rules.limits;
                let qty = format!("{}..{}", limits.qty_min.0, limits.qty_max.0);
                let fees = format!("fees {}/{}", rules.fees.maker().0, rules.fees.taker().0);
                format!("rules qty {qty} notional {} band {} {fees}", limits.notional_min.0, limits.price_band.0)
            }
            Event::MarketAdded(rules) => {
                format!("market {} tick {} lot {}", rules.symbol, rules.quote_per_tick_lot.0, rules.base_per_lot.0)
            }
            Event::AssetAdded(asset) => format!("asset {} scale {}", asset.symbol, asset.scale),
            Event::AccountAdded { account } => format!("account number {}", account.0),
            Event::SessionAdded { session, .. } => format!("session number {}", session.0),
            other => panic!("{other:?} is an event of an order"),
        }
    }

    fn place_of(&self, place: LedgerAccount) -> String {
        match place {
            LedgerAccount::Custody => "custody".to_owned(),
            LedgerAccount::Fees => "fees".to_owned(),
            LedgerAccount::Available(account) => format!("{} free", self.account(account)),
            LedgerAccount::Held(account) => format!("{} held", self.account(account)),
        }
    }
}

fn progress(side: &FillSide) -> u64 {
    side.leaves.0
}

pub(super) fn lower(side: Side) -> &'static str {
    if side == Side::Buy { "buy" } else { "sell" }
}
