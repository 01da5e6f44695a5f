//! The lines of a scenario as commands, and the names in them as ids.

use super::{House, Line};
use book::command::*;
use book::fees::MarketFees;
use book::ids::{AccountId, AssetId, ClOrdId, ClientKey, MarketId, OrderId, SessionId, Symbol, UserName};
use book::reject::RejectReason;
use book::units::{Ppm, PriceTicks, QtyLots, TsNs, Units};

impl House {
    pub(super) fn parse<'a>(&mut self, line: &Line<'a>) -> (Command, &'a str) {
        match line.verb {
            "buy" | "sell" => {
                let side = side(line.verb);
                let label = line.word(1);
                (Command::Place(self.parse_place(line, side, 0)), label)
            }
            "replace" => {
                let place = self.parse_place(line, side(line.word(2)), 2);
                let mode =
                    if line.has("allow-failure") { ReplaceMode::AllowFailure } else { ReplaceMode::StopOnFailure };
                let target = self.target(line.word(1));
                (Command::CancelReplace(CancelReplace { target, mode, place }), line.word(3))
            }
            "cancel" => (Command::Cancel(self.parse_cancel(line)), line.word(1)),
            "amend" => (Command::Amend(self.parse_amend(line)), line.word(1)),
            "mass" => (Command::MassCancel(self.parse_mass(line)), ""),
            "down" => {
                let cause = if line.has("logout") { DownCause::Logout } else { DownCause::Disconnect };
                let session = self.session_named(line.word(0));
                (Command::SessionDown(SessionDown { session, cause, continued: line.has("continued") }), "")
            }
            "set-session" => {
                let (cod_mode, cod_scope) = cod(line);
                let session = self.session_named(line.word(0));
                let cod_window_ms = line.number("window", 0) as u32;
                let request = ClOrdId(5);
                (Command::SetSession(SetSession { session, request, cod_mode, cod_scope, cod_window_ms }), "")
            }
            "query" => {
                let account = self.account_named(line.word(0));
                let target = self.target(line.words.get(1).copied().unwrap_or("none"));
                let (session, market) = (self.via(line), self.on_any(line));
                (Command::Query(Query { session, request: ClOrdId(3), account, market, target }), line.verb)
            }
            "refuse" => (Command::Refuse(self.parse_refuse(line)), "refused"),
            _ => (Command::Admin(Box::new(self.parse_admin(line))), ""),
        }
    }

    fn parse_place(&mut self, line: &Line<'_>, side: Side, shift: usize) -> PlaceOrder {
        let at_market = line.has("market");
        let qty_word = if shift == 0 { line.word(2) } else { line.word(shift + 2) };
        let kind = match (qty_word, at_market) {
            ("quote", _) => OrderKind::MarketByQuote { quote: Units(number(line.word(shift + 3))) },
            (qty, true) => OrderKind::Market { qty: QtyLots(number(qty)) },
            (qty, false) => {
                let at = line.words.iter().position(|w| *w == "@").expect("a limit order has '@ price'");
                OrderKind::Limit { price: price(line.word(at + 1)), qty: QtyLots(number(qty)) }
            }
        };
        let lives = [("ioc", Tif::Ioc), ("fok", Tif::Fok), ("post-only", Tif::GtcPostOnly), ("gtc", Tif::Gtc)];
        let tif = lives.iter().find(|(word, _)| line.has(word)).map(|(_, tif)| *tif);
        let session = self.via(line);
        PlaceOrder {
            session,
            cl_ord_id: self.cl_ord_id(line, session),
            client_key: self.key(line.option("key", "")),
            account: self.account_named(line.word(0)),
            market: self.on(line),
            side,
            kind,
            tif: tif.unwrap_or(if matches!(kind, OrderKind::Limit { .. }) { Tif::Gtc } else { Tif::Ioc }),
            stp: stp(line.option("stp", "none")),
            stp_group: line.number("group", 0) as u16,
            cancel_group: line.number("cancel-group", 0) as u8,
            persist_on_disconnect: line.has("persist"),
            valid_until: self.until(line),
        }
    }

    /// `until=-5` is five nanoseconds before the command is applied.
    fn until(&self, line: &Line<'_>) -> TsNs {
        if line.options.contains_key("until") {
            TsNs((self.now.0 + 1).saturating_add_signed(line.number("until", 0)))
        } else {
            TsNs(0)
        }
    }

    fn parse_cancel(&mut self, line: &Line<'_>) -> CancelOrder {
        CancelOrder {
            session: self.via(line),
            cl_ord_id: ClOrdId(line.number("cl", 0) as u64),
            account: self.account_named(line.word(0)),
            market: self.on_any(line),
            target: self.target(line.word(1)),
        }
    }

    fn parse_amend(&mut self, line: &Line<'_>) -> AmendOrder {
        let session = self.via(line);
        AmendOrder {
            session,
            cl_ord_id: self.cl_ord_id(line, session),
            account: self.account_named(line.word(0)),
            market: self.on_any(line),
            target: self.target(line.word(1)),
            price: price(line.word(4)),
            qty: QtyLots(number(line.word(2))),
            qty_means: if line.has("total") { AmendQty::Total } else { AmendQty::Open },
        }
    }

    fn parse_mass(&mut self, line: &Line<'_>) -> MassCancel {
        let scope = match line.word(0) {
            "account" => MassScope::Account,
            "session" => MassScope::Session,
            "market" => MassScope::Market,
            other => panic!("'{other}' is not a scope"),
        };
        let prices = line.options.get("price").map(|text| range(text));
        MassCancel {
            session: self.via(line),
            cl_ord_id: ClOrdId(line.number("cl", 0) as u64),
            account: line.words.get(1).map_or(AccountId::NONE, |name| self.account_named(name)),
            scope,
            market: self.on_any(line),
            side: line.options.get("side").map(|text| side(text)),
            price_min: prices.map(|(low, _)| price(low)),
            price_max: prices.map(|(_, high)| price(high)),
            cancel_group: line.number("cancel-group", 0) as u8,
            block: match line.option("block", "keep") {
                "keep" => BlockChange::Keep,
                "set" => BlockChange::Set,
                "lift" => BlockChange::Lift,
                other => panic!("'{other}' is not a block"),
            },
            continued: line.has("continued"),
        }
    }

    fn parse_refuse(&mut self, line: &Line<'_>) -> Refuse {
        let session = self.session_named(line.word(0));
        let reasons = [
            RejectReason::Malformed,
            RejectReason::Unsupported,
            RejectReason::QtyStep,
            RejectReason::DuplicateClientId,
            RejectReason::BalanceOverflow,
        ];
        let reason = reasons.into_iter().find(|r| format!("{r:?}") == line.word(1)).expect("a reason of the door");
        Refuse {
            session,
            cl_ord_id: ClOrdId(line.number("cl", 0) as u64),
            target: self.target("none"),
            market: MarketId(1),
            reason,
            template: 9,
            consumes_id: line.has("consumes"),
        }
    }

    fn parse_admin(&mut self, line: &Line<'_>) -> Admin {
        match line.verb {
            "asset" => Admin::AddAsset { symbol: symbol(line.word(0)), scale: number(line.word(1)) as u8 },
            "market" => Admin::AddMarket(self.parse_market(line)),
            "account" => Admin::AddAccount(AccountSpec {
                name: line.word(0).to_owned(),
                kind: AccountKind::Client,
                parent: line.options.get("parent").map_or(AccountId::NONE, |name| self.account_named(name)),
                fee_tier: line.number("tier", 0) as u8,
            }),
            "session" => Admin::AddSession(self.parse_session(line)),
            "key" => Admin::AddKey(KeySpec {
                account: self.account_named(line.word(1)),
                key: line.word(0).to_owned(),
                permissions: line.number("permissions", 3) as u8,
                ed25519_public: vec![1; line.number("public", 0) as usize],
                addresses: vec!["10.0.0.0/8".to_owned(); line.number("addresses", 0) as usize],
                expires: TsNs(0),
            }),
            "revoke" => Admin::RevokeKey { key: line.word(0).to_owned() },
            "deposit" => Admin::Deposit(self.parse_funds(line)),
            "withdraw" => Admin::Withdraw(self.parse_funds(line)),
            "status" => {
                Admin::SetMarketStatus { market: self.market_named(line.word(0)), status: status(line.word(1)) }
            }
            "fees" => Admin::SetMarketFees {
                market: self.market_named(line.word(0)),
                maker_fee: Ppm(line.number("maker", 0) as i32),
                taker_fee: Ppm(line.number("taker", 0) as i32),
            },
            "limits" => Admin::SetMarketLimits { market: self.market_named(line.word(0)), limits: limits(line) },
            "tier" => Admin::SetFeeTier {
                tier: number(line.word(0)) as u8,
                fees: FeeTier {
                    maker_scale: Ppm(line.number("maker", 1_000_000) as i32),
                    taker_scale: Ppm(line.number("taker", 1_000_000) as i32),
                },
            },
            "account-status" => {
                let status = match line.word(1) {
                    "active" => AccountStatus::Active,
                    "suspended" => AccountStatus::Suspended,
                    _ => AccountStatus::Closed,
                };
                Admin::SetAccountStatus { account: self.account_named(line.word(0)), status }
            }
            "account-tier" => {
                Admin::SetAccountFeeTier { account: self.account_named(line.word(0)), tier: number(line.word(1)) as u8 }
            }
            "account-limit" => Admin::SetAccountLimits {
                account: self.account_named(line.word(0)),
                open_orders_max: number(line.word(1)) as u32,
            },
            "account-block" => {
                Admin::SetAccountBlock { account: self.account_named(line.word(0)), blocked: line.has("on") }
            }
            "session-block" => {
                Admin::SetSessionBlock { session: self.session_named(line.word(0)), blocked: line.has("on") }
            }
            "throttle" => {
                Admin::SetSessionThrottle { session: self.session_named(line.word(0)), throttle: throttle(line) }
            }
            other => panic!("'{other}' is not a command"),
        }
    }

    fn parse_market(&mut self, line: &Line<'_>) -> MarketSpec {
        let (base, quote) = line.word(1).split_once('/').expect("a market is of BASE/QUOTE");
        let asset = |name: &str| self.assets.get(name).copied().unwrap_or(AssetId(99));
        MarketSpec {
            symbol: symbol(line.word(0)),
            base: asset(base),
            quote: asset(quote),
            tick_e9: line.number("tick_e9", 1_000_000_000) as u64,
            lot_e8: line.number("lot_e8", 100_000_000) as u64,
            limits: limits(line),
            fees: MarketFees::received(Ppm(line.number("maker", 0) as i32), Ppm(line.number("taker", 0) as i32)),
            status: status(line.option("status", "trading")),
        }
    }

    fn parse_session(&mut self, line: &Line<'_>) -> SessionSpec {
        let (cod_mode, cod_scope) = cod(line);
        SessionSpec {
            account: self.account_named(line.word(1)),
            user: UserName::new(line.word(0)).expect("a session's name is its user"),
            password_hash: line.option("password", "$argon2id$").to_owned(),
            drop_copy: line.has("drop-copy"),
            throttle: throttle(line),
            cod_mode,
            cod_scope,
            cod_window_ms: line.number("window", 0) as u32,
        }
    }

    fn parse_funds(&mut self, line: &Line<'_>) -> FundsMove {
        FundsMove {
            account: self.account_named(line.word(0)),
            asset: self.assets.get(line.word(1)).copied().unwrap_or(AssetId(99)),
            amount: Units(number(line.word(2))),
            reference: self.key(line.option("ref", line.text)),
        }
    }

    /// Unknown names are asked for on purpose: they get ids that do not exist.
    pub(super) fn account_named(&self, name: &str) -> AccountId {
        self.accounts.get(name).copied().unwrap_or(AccountId(99))
    }

    fn market_named(&self, name: &str) -> MarketId {
        self.markets.get(name).copied().unwrap_or(MarketId(99))
    }

    fn session_named(&self, name: &str) -> SessionId {
        self.sessions.get(name).copied().unwrap_or(SessionId(99))
    }

    fn via(&self, line: &Line<'_>) -> SessionId {
        line.options.get("via").map_or(SessionId::NONE, |name| self.session_named(name))
    }

    pub(super) fn on(&self, line: &Line<'_>) -> MarketId {
        line.options.get("on").map_or(MarketId(1), |name| self.market_named(name))
    }

    fn on_any(&self, line: &Line<'_>) -> MarketId {
        line.options.get("on").map_or(MarketId::NONE, |name| self.market_named(name))
    }

    /// Client ids count up by themselves unless `cl=` names one.
    fn cl_ord_id(&mut self, line: &Line<'_>, session: SessionId) -> ClOrdId {
        if session.is_none() {
            return ClOrdId(0);
        }
        let last = self.cl_ord_ids.entry(session).or_default();
        let id = line.options.get("cl").map_or(*last + 1, |text| number(text));
        *last = id.max(*last);
        ClOrdId(id)
    }

    fn key(&mut self, name: &str) -> ClientKey {
        if name.is_empty() {
            return ClientKey::NONE;
        }
        let next = ClientKey(self.keys.len() as u128 + 1);
        *self.keys.entry(name.to_owned()).or_insert(next)
    }

    fn target(&mut self, text: &str) -> OrderRef {
        let mut target = OrderRef { order_id: OrderId::NONE, cl_ord_id: ClOrdId(0), client_key: ClientKey::NONE };
        match text.split_once(':') {
            Some(("cl", id)) => target.cl_ord_id = ClOrdId(number(id)),
            Some(("key", name)) => target.client_key = self.key(name),
            Some(("id", id)) => target.order_id = OrderId(number(id)),
            _ if text == "none" => {}
            _ => target.order_id = *self.orders.get(text).unwrap_or_else(|| panic!("there was no order '{text}'")),
        }
        target
    }
}

pub(super) fn signed(text: &str) -> i64 {
    text.replace('_', "").parse().unwrap_or_else(|_| panic!("'{text}' is not a number"))
}

/// A number, `max` for the largest of its type and `half` for the largest amount.
pub(super) fn number(text: &str) -> u64 {
    match text {
        "max" => u64::MAX,
        "half" => i64::MAX as u64,
        _ => text.replace('_', "").parse().unwrap_or_else(|_| panic!("'{text}' is not a number")),
    }
}

fn price(text: &str) -> PriceTicks {
    PriceTicks(if text == "max" { u32::MAX } else { text.parse().expect("a price is a number") })
}

fn range(text: &str) -> (&str, &str) {
    text.split_once("..").unwrap_or_else(|| panic!("'{text}' is not a range"))
}

fn side(text: &str) -> Side {
    match text {
        "buy" => Side::Buy,
        "sell" => Side::Sell,
        other => panic!("'{other}' is not a side"),
    }
}

fn stp(text: &str) -> StpMode {
    match text {
        "none" => StpMode::None,
        "cancel-taker" => StpMode::CancelTaker,
        "cancel-maker" => StpMode::CancelMaker,
        "cancel-both" => StpMode::CancelBoth,
        "decrement" => StpMode::Decrement,
        other => panic!("'{other}' is not a self-trade mode"),
    }
}

fn status(text: &str) -> MarketStatus {
    match text {
        "trading" => MarketStatus::Trading,
        "halt" => MarketStatus::Halt,
        "cancel-only" => MarketStatus::CancelOnly,
        "post-only" => MarketStatus::PostOnly,
        "closed" => MarketStatus::Closed,
        other => panic!("'{other}' is not a status"),
    }
}

fn cod(line: &Line<'_>) -> (CodMode, CodScope) {
    let mode = match line.option("cod", "off") {
        "off" => CodMode::Off,
        "disconnect" => CodMode::OnDisconnect,
        "logout" => CodMode::OnLogout,
        "both" => CodMode::Both,
        other => panic!("'{other}' is not a cancel-on-disconnect mode"),
    };
    let scope = if line.option("scope", "session") == "account" { CodScope::Account } else { CodScope::Session };
    (mode, scope)
}

fn throttle(line: &Line<'_>) -> Throttle {
    Throttle { orders_per_second: line.number("rate", 0) as u32, burst: line.number("burst", 0) as u32 }
}

fn limits(line: &Line<'_>) -> MarketLimits {
    let (qty_min, qty_max) = range(line.option("qty", "1..1000000"));
    MarketLimits {
        qty_min: QtyLots(number(qty_min)),
        qty_max: QtyLots(number(qty_max)),
        notional_min: Units(number(line.option("notional", "0"))),
        price_band: Ppm(line.number("band", 0) as i32),
    }
}

/// A symbol of letters; an empty one on the word `bad`, to be refused.
fn symbol(text: &str) -> Symbol {
    Symbol::new(text).unwrap_or_else(|| {
        let (symbol, _) = bincode::decode_from_slice(&[0u8; 16], bincode::config::standard()).expect("sixteen bytes");
        symbol
    })
}
