//! Reads a scenario, drives the engine with it, and says in the same words what happened.
//!
//! A file is lines. `== title` begins a case with a fresh exchange; what stands before the first title is set up for
//! every case. A line is a command or a question; `=>` lines below it are what must come out, all of it and in order.
//! Only an administrator's command may go without: then it must be granted. `#` begins a comment.
//!
//!     asset USD 2 · market BTC-USD BTC/USD [tick_e9= lot_e8= qty=1..9 notional= band= maker= taker= status=]
//!     account A [parent= tier=] · session s A [drop-copy rate= burst= cod= scope= window=] · deposit A USD 100 ref=r
//!     buy A o1 10 @ 100 · sell A o2 4 @ market · buy A o3 quote 500 @ market
//!         [ioc|fok|post-only|gtc via=s cl= key= stp= group= cancel-group= persist until= on=MARKET]
//!     cancel A TARGET [via= cl= on=] · amend A TARGET 5 @ 100 [total] · replace A TARGET buy o2 10 @ 99 [allow-failure]
//!         TARGET: an order's name, cl:7, key:k, id:123 or none
//!     mass account|session|market A [on= side= price=1..9 cancel-group= block= via= continued] · down s logout
//!     wait 86400000000000 · balance A USD · custody USD · book · ledger (the transfers of the last command)

use crate::ledger::Ledger;
use book::command::*;
use book::engine::{Capacity, Engine};
use book::event::{Event, FillSide, LedgerAccount};
use book::ids::{AccountId, AssetId, ClOrdId, ClientKey, MarketId, OrderId, SessionId, Symbol, UserName};
use book::reject::RejectReason;
use book::units::{Ppm, PriceTicks, QtyLots, Seq, Stamp, TsNs, Units};
use std::collections::{BTreeMap, HashMap};

/// Runs every case of a scenario and returns the text as it should read: equal to what came in when all is right.
pub fn replay(text: &str) -> String {
    let (setup, cases) = split_cases(text);
    let mut out = String::new();
    House::new("setup").run(&setup, &mut out);
    for (title, body) in cases {
        let mut house = House::new(&title);
        house.run(&setup, &mut String::new());
        out.push_str(&format!("== {title}\n"));
        house.run(&body, &mut out);
    }
    out
}

fn split_cases(text: &str) -> (String, Vec<(String, String)>) {
    let mut parts = text.split("\n== ");
    let setup = parts.next().unwrap_or_default().to_owned() + "\n";
    let case = |part: &str| {
        let (title, body) = part.split_once('\n').expect("a case has lines below its title");
        (title.to_owned(), body.trim_end_matches('\n').to_owned() + if part.ends_with("\n\n") { "\n\n" } else { "\n" })
    };
    let mut cases: Vec<(String, String)> = parts.map(case).collect();
    let last = cases.len();
    for (idx, (_, body)) in cases.iter_mut().enumerate() {
        let trimmed = body.trim_end_matches('\n').to_owned();
        *body = trimmed + if idx + 1 == last { "\n" } else { "\n\n" };
    }
    (setup.trim_end_matches('\n').to_owned() + "\n\n", cases)
}

/// One exchange and the names that the scenario gives to things.
struct House {
    title: String,
    engine: Engine,
    ledger: Ledger,
    now: TsNs,
    seq: Seq,
    assets: BTreeMap<String, AssetId>,
    markets: BTreeMap<String, MarketId>,
    accounts: BTreeMap<String, AccountId>,
    sessions: BTreeMap<String, SessionId>,
    cl_ord_ids: HashMap<SessionId, u64>,
    orders: HashMap<String, OrderId>,
    order_names: HashMap<OrderId, String>,
    keys: HashMap<String, ClientKey>,
    transfers: Vec<Event>,
}

/// A line in pieces.
struct Line<'a> {
    verb: &'a str,
    words: Vec<&'a str>,
    options: HashMap<&'a str, &'a str>,
    text: &'a str,
}

impl<'a> Line<'a> {
    fn new(text: &'a str) -> Self {
        let mut words = text.split_whitespace();
        let verb = words.next().expect("a line has a word");
        let (options, words): (Vec<_>, Vec<_>) = words.partition(|word| word.contains('='));
        let options = options.into_iter().filter_map(|word| word.split_once('=')).collect();
        Self { verb, words, options, text }
    }

    fn word(&self, idx: usize) -> &'a str {
        self.words.get(idx).unwrap_or_else(|| panic!("'{}' lacks word {}", self.text, idx + 1))
    }

    fn has(&self, flag: &str) -> bool {
        self.words.contains(&flag)
    }

    fn option(&self, name: &str, default: &'a str) -> &'a str {
        self.options.get(name).copied().unwrap_or(default)
    }

    fn number(&self, name: &str, default: i64) -> i64 {
        self.options.get(name).map_or(default, |text| signed(text))
    }
}

fn signed(text: &str) -> i64 {
    text.replace('_', "").parse().unwrap_or_else(|_| panic!("'{text}' is not a number"))
}

/// A number, `max` for the largest of its type and `half` for the largest amount.
fn number(text: &str) -> u64 {
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

impl House {
    fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            engine: Engine::new(Capacity { orders: 4, leaves: 1, markets: 1 }),
            ledger: Ledger::default(),
            now: TsNs(1_000_000_000_000_000_000),
            seq: Seq(0),
            assets: BTreeMap::new(),
            markets: BTreeMap::new(),
            accounts: BTreeMap::new(),
            sessions: BTreeMap::new(),
            cl_ord_ids: HashMap::new(),
            orders: HashMap::new(),
            order_names: HashMap::new(),
            keys: HashMap::new(),
            transfers: Vec::new(),
        }
    }

    fn run(&mut self, text: &str, out: &mut String) {
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let bare = line.split('#').next().unwrap_or_default().trim();
            if bare.starts_with("=>") {
                continue;
            }
            out.push_str(line);
            out.push('\n');
            if bare.is_empty() {
                continue;
            }
            let wants_answer = lines.peek().is_some_and(|next| next.trim_start().starts_with("=>"));
            for said in self.step(&Line::new(bare), wants_answer) {
                out.push_str(&format!("=> {said}\n"));
            }
        }
    }

    fn step(&mut self, line: &Line<'_>, wants_answer: bool) -> Vec<String> {
        match line.verb {
            "balance" => return vec![self.balance(line)],
            "custody" => return vec![self.custody(line)],
            "book" => return self.depth(line),
            "ledger" => return self.transfers.iter().map(|t| self.say(t, "")).collect(),
            "wait" => {
                self.now.0 += number(line.word(0));
                return Vec::new();
            }
            "state" => return vec![format!("open {}", self.engine.pool().orders.len())],
            _ => {}
        }
        let (command, label) = self.parse(line);
        let granted_silently = matches!(command, Command::Admin(_)) && !wants_answer;
        let events = self.apply(&command);
        self.learn(line, &events, label);
        if granted_silently {
            let refused = events.iter().find(|e| matches!(e, Event::AdminRejected { .. }));
            assert!(refused.is_none(), "{}: '{}' was refused: {refused:?}", self.title, line.text);
            return Vec::new();
        }
        let said = events.iter().filter(|e| !matches!(e, Event::Transfer(_))).map(|e| self.say(e, label));
        said.collect()
    }

    fn apply(&mut self, command: &Command) -> Vec<Event> {
        self.seq = self.seq.next();
        self.now.0 += 1;
        let mut events = Vec::new();
        self.engine.apply(Stamp { seq: self.seq, ts: self.now }, command, &mut events);
        self.ledger.follow(&events, &self.engine);
        self.transfers = events.iter().filter(|e| matches!(e, Event::Transfer(_))).copied().collect();
        events
    }

    /// Remembers the names of what the command made.
    fn learn(&mut self, line: &Line<'_>, events: &[Event], label: &str) {
        for event in events {
            match *event {
                Event::Accepted(accepted) => {
                    self.orders.insert(label.to_owned(), accepted.order_id);
                    self.order_names.insert(accepted.order_id, label.to_owned());
                }
                Event::AssetAdded(asset) => drop(self.assets.insert(line.word(0).to_owned(), asset.id)),
                Event::MarketAdded(rules) => drop(self.markets.insert(line.word(0).to_owned(), rules.id)),
                Event::AccountAdded { account } => drop(self.accounts.insert(line.word(0).to_owned(), account)),
                Event::SessionAdded { session, .. } => drop(self.sessions.insert(line.word(0).to_owned(), session)),
                _ => {}
            }
        }
    }

    // ---- words to commands

    fn parse<'a>(&mut self, line: &Line<'a>) -> (Command, &'a str) {
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
            maker_fee: Ppm(line.number("maker", 0) as i32),
            taker_fee: Ppm(line.number("taker", 0) as i32),
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

    // ---- names

    /// Unknown names are asked for on purpose: they get ids that do not exist.
    fn account_named(&self, name: &str) -> AccountId {
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

    fn on(&self, line: &Line<'_>) -> MarketId {
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

    // ---- events to words

    fn order(&self, id: OrderId, label: &str) -> String {
        self.order_names.get(&id).cloned().unwrap_or_else(|| label.to_owned())
    }

    fn account(&self, id: AccountId) -> String {
        self.accounts.iter().find(|(_, known)| **known == id).map_or(format!("account {}", id.0), |(n, _)| n.clone())
    }

    fn asset(&self, id: AssetId) -> &str {
        self.assets.iter().find(|(_, known)| **known == id).map_or("?", |(name, _)| name)
    }

    fn say(&self, event: &Event, label: &str) -> String {
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
            Event::FeeTierChanged { tier } => format!("tier {tier} changed"),
            Event::KeyAdded { account } => format!("key of {}", self.account(*account)),
            Event::KeyRevoked { account } => format!("key of {} revoked", self.account(*account)),
            Event::MarketRulesChanged(rules) => {
                let limits = rules.limits;
                let qty = format!("{}..{}", limits.qty_min.0, limits.qty_max.0);
                let fees = format!("fees {}/{}", rules.maker_fee.0, rules.taker_fee.0);
                format!("rules qty {qty} notional {} band {} {fees}", limits.notional_min.0, limits.price_band.0)
            }
            Event::MarketAdded(rules) => {
                format!("market {} tick {} lot {}", rules.symbol, rules.quote_per_tick_lot.0, rules.base_per_lot.0)
            }
            Event::AssetAdded(asset) => format!("asset {} scale {}", asset.symbol, asset.scale),
            Event::AccountAdded { account } => format!("account number {}", account.0),
            Event::SessionAdded { session, .. } => format!("session number {}", session.0),
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

    fn balance(&self, line: &Line<'_>) -> String {
        let asset = self.assets[line.word(1)];
        let account = self.engine.accounts().get(self.account_named(line.word(0))).expect("the account exists");
        format!("{} held {}", account.available(asset).0, account.held(asset).0)
    }

    fn custody(&self, line: &Line<'_>) -> String {
        let book = self.engine.accounts().asset(self.assets[line.word(0)]).expect("the asset exists");
        format!("{} fees {}", book.custody.0, book.fees.0)
    }

    fn depth(&self, line: &Line<'_>) -> Vec<String> {
        let market = self.engine.market(self.on(line)).expect("the market exists");
        let side = |side: Side| {
            let levels = market.book.depth(self.engine.pool(), side);
            levels.map(move |l| format!("{} {} @ {} of {}", lower(side), l.qty.0, l.price.0, l.order_count))
        };
        let all: Vec<String> = side(Side::Buy).chain(side(Side::Sell)).collect();
        if all.is_empty() { vec!["empty".to_owned()] } else { all }
    }
}

fn progress(side: &FillSide) -> u64 {
    side.leaves.0
}

fn lower(side: Side) -> &'static str {
    if side == Side::Buy { "buy" } else { "sell" }
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
