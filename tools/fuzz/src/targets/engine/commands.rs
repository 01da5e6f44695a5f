//! Bytes to commands: every command, every administrator's change and every actor there is, with operands at the ends
//! of what their types hold.
//!
//! Invariant: a session that is named exists, because the gateway has no other; accounts, markets, assets and orders
//! need not exist, because clients and administrators name them.

use super::operands::Operands;
use book::command::*;
use book::engine::Engine;
use book::fees::{FeeAsset, MarketFees};
use book::ids::{AccountId, AssetId, ClOrdId, ClientKey, KeyId, MarketId, OrderId, SessionId, Symbol, UserName};
use book::reject::RejectReason;
use book::rules::Rules;
use book::run::{LIFE_TAGS, LifeTag, RunSpec};
use book::session::PASSWORD_HASH_BYTES_MAX;
use book::units::{Ppm, PriceTicks, QtyLots, Seq, TsNs, UNITS_MAX, Units};

/// Bytes of one step: the kind, then its operands.
pub(super) const STEP_BYTES: usize = 16;

/// The first byte of a step. Every other byte means one of these too, so the order of the list is the weight of each.
/// Kinds are only ever appended, because stored inputs keep their meaning.
pub(super) mod kind {
    pub(crate) const PLACE: u8 = 0;
    pub(crate) const CANCEL: u8 = 6;
    pub(crate) const AMEND: u8 = 8;
    pub(crate) const CANCEL_REPLACE: u8 = 11;
    pub(crate) const MASS_CANCEL: u8 = 12;
    pub(crate) const REFUSE: u8 = 13;
    pub(crate) const QUERY: u8 = 14;
    pub(crate) const SET_SESSION: u8 = 15;
    pub(crate) const SESSION_DOWN: u8 = 16;
    pub(crate) const CHECK: u8 = 17;
    pub(crate) const ADMIN: u8 = 18;
    pub(crate) const WAIT: u8 = 21;
    pub(crate) const START_AGAIN: u8 = 22;
    pub(crate) const ACTED: u8 = 24;
    pub(crate) const OPENED: u8 = 27;
    pub(crate) const CONTINUE: u8 = 28;
    pub(crate) const CONNECTION_END: u8 = 29;
    pub(crate) const SESSION: u8 = 30;
    pub(crate) const COUNT: u8 = 31;
}

/// One step of an input.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Command(Command),
    /// Time passes.
    Wait {
        ns: u64,
    },
    /// A snapshot is saved and loaded, and the exchange goes on from there.
    StartAgain,
}

/// Reads a step for an exchange in this state, in which these orders have rested.
pub(super) fn read(step: &[u8], engine: &Engine, orders: &[OrderId]) -> Step {
    let mut operands = Operands::of(step);
    let kind = operands.byte() % kind::COUNT;
    let mut reader = Reader { operands, engine, orders };
    Step::Command(match kind {
        kind::PLACE..kind::CANCEL => Command::Place(reader.place()),
        kind::CANCEL..kind::AMEND => Command::Cancel(reader.cancel()),
        kind::AMEND..kind::CANCEL_REPLACE => Command::Amend(reader.amend()),
        kind::CANCEL_REPLACE => Command::CancelReplace(reader.cancel_replace()),
        kind::MASS_CANCEL => Command::MassCancel(reader.mass_cancel()),
        kind::REFUSE => Command::Refuse(reader.refuse()),
        kind::QUERY => Command::Query(reader.query()),
        kind::SET_SESSION => Command::SetSession(reader.set_session()),
        kind::SESSION_DOWN => Command::SessionDown(reader.session_down()),
        kind::CHECK => Command::Check(Check { hash: reader.hash() }),
        kind::ADMIN..kind::WAIT => Command::Admin(Box::new(reader.admin())),
        kind::WAIT => return Step::Wait { ns: reader.operands.number() },
        kind::ACTED..kind::OPENED => Command::Acted(Box::new(reader.acted())),
        kind::OPENED => Command::Opened(Box::new(reader.opened())),
        kind::CONTINUE => Command::Continue(reader.rest()),
        kind::CONNECTION_END => Command::ConnectionEnd(reader.connection_end()),
        kind::SESSION => Command::Acted(Box::new(Acted::by_ops(Act::Admin(reader.session_act())))),
        _ => return Step::StartAgain,
    })
}

const SIDES: [Side; 2] = [Side::Buy, Side::Sell];
const TIFS: [Tif; 4] = [Tif::Gtc, Tif::GtcPostOnly, Tif::Ioc, Tif::Fok];
const STP_MODES: [StpMode; 5] =
    [StpMode::None, StpMode::CancelTaker, StpMode::CancelMaker, StpMode::CancelBoth, StpMode::Decrement];
const COD_MODES: [CodMode; 4] = [CodMode::Off, CodMode::OnDisconnect, CodMode::OnLogout, CodMode::Both];
const COD_SCOPES: [CodScope; 2] = [CodScope::Session, CodScope::Account];
const SYMBOLS: [&str; 8] = ["A", "B", "C", "BTC", "USD", "A-B", "X/Y", "ABCDEFGHIJKLMNOP"];
const USERS: [&str; 6] = ["U1", "U2", "U3", "U4", "X", "ABCDEF"];
const NAMES: [&str; 6] = ["", "n1", "n2", "n3", "n4", "n5"];

struct Reader<'a> {
    operands: Operands<'a>,
    engine: &'a Engine,
    orders: &'a [OrderId],
}

impl Reader<'_> {
    fn session(&mut self) -> SessionId {
        SessionId(self.operands.upto(self.engine.sessions().len()))
    }

    /// Mostly the session's own account, and one too far at most.
    fn account(&mut self, session: SessionId) -> AccountId {
        let own = self.engine.sessions().get(session).map(|session| session.account);
        let any = AccountId(self.operands.upto(self.engine.accounts().len() + 1));
        own.filter(|_| any.0 % 4 != 3).unwrap_or(any)
    }

    fn market(&mut self) -> MarketId {
        MarketId(self.operands.upto(self.engine.market_ids() + 1))
    }

    fn asset(&mut self) -> AssetId {
        AssetId(self.operands.upto(self.engine.accounts().assets().len() + 1))
    }

    /// The next id of the session, mostly.
    fn cl_ord_id(&mut self, session: SessionId) -> ClOrdId {
        match self.operands.byte() {
            byte @ 250.. => ClOrdId([0, 1, 2, u64::MAX / 2, u64::MAX - 1, u64::MAX][usize::from(byte - 250)]),
            _ => {
                let last = self.engine.sessions().get(session).map_or(0, |session| session.cl_ord_id_last.0);
                ClOrdId(last.saturating_add(1))
            }
        }
    }

    fn client_key(&mut self) -> ClientKey {
        ClientKey(u128::from(self.operands.byte().saturating_sub(248)))
    }

    fn target(&mut self) -> OrderRef {
        let by = self.operands.byte();
        let known = self.orders.get(self.operands.upto(self.orders.len()) as usize);
        let (none, id) = (OrderId::NONE, known.copied().unwrap_or(OrderId(u64::from(by))));
        match by % 8 {
            0..5 => OrderRef { order_id: id, cl_ord_id: ClOrdId(0), client_key: ClientKey::NONE },
            5 => {
                let cl_ord_id = ClOrdId(u64::from(self.operands.byte()) % 16);
                OrderRef { order_id: none, cl_ord_id, client_key: ClientKey::NONE }
            }
            6 => OrderRef { order_id: none, cl_ord_id: ClOrdId(0), client_key: self.client_key() },
            _ => OrderRef { order_id: none, cl_ord_id: ClOrdId(0), client_key: ClientKey::NONE },
        }
    }

    /// The low and the high ends, and the middle.
    fn price(&mut self) -> PriceTicks {
        PriceTicks(self.operands.number() as u32)
    }

    fn qty(&mut self) -> QtyLots {
        QtyLots(self.operands.number())
    }

    /// A quantity, which may lie near one at which something ends: the market's own limit, what the account can pay,
    /// what can be counted of either asset, and what 64 bits hold.
    fn qty_near_an_end(&mut self, session: SessionId, market: MarketId, price: PriceTicks) -> QtyLots {
        let Some(rules) = self.engine.market(market).map(|market| market.rules) else { return self.qty() };
        let account = self.engine.sessions().get(session).and_then(|s| self.engine.accounts().get(s.account));
        let available = |asset| account.map_or(0, |account| account.available(asset).0);
        let cost = u64::from(price.0).saturating_mul(rules.quote_per_tick_lot.0).max(1);
        let counted = UNITS_MAX / cost;
        QtyLots(self.operands.number_near(&[
            rules.limits.qty_max.0,
            counted,
            counted.saturating_mul(2),
            u64::MAX / cost,
            UNITS_MAX / rules.base_per_lot.0,
            available(rules.quote) / cost,
            available(rules.base) / rules.base_per_lot.0,
        ]))
    }

    fn units(&mut self) -> Units {
        Units(self.operands.number())
    }

    fn fee_asset(&mut self) -> FeeAsset {
        self.operands.pick(&[FeeAsset::Received, FeeAsset::Quote])
    }

    fn ppm(&mut self) -> Ppm {
        Ppm(self.operands.number() as i32)
    }

    fn place(&mut self) -> PlaceOrder {
        let session = self.session();
        let market = self.market();
        let terms = self.operands.byte();
        let (side, tif) = (SIDES[usize::from(terms & 1)], TIFS[usize::from(terms >> 1 & 3)]);
        let stp = STP_MODES[usize::from(terms >> 3) % STP_MODES.len()];
        let price = self.price();
        let kind = match self.operands.byte() % 8 {
            0..6 => OrderKind::Limit { price, qty: self.qty_near_an_end(session, market, price) },
            6 => OrderKind::Market { qty: self.qty_near_an_end(session, market, price) },
            _ => OrderKind::MarketByQuote { quote: self.units() },
        };
        let groups = self.operands.byte();
        PlaceOrder {
            session,
            cl_ord_id: self.cl_ord_id(session),
            client_key: self.client_key(),
            account: self.account(session),
            market,
            side,
            kind,
            tif,
            stp,
            stp_group: u16::from(groups & 3),
            cancel_group: groups >> 2 & 3,
            persist_on_disconnect: groups & 16 != 0,
            valid_until: TsNs(if groups >> 5 == 7 { 1 } else { 0 }),
        }
    }

    fn cancel(&mut self) -> CancelOrder {
        let (target, session) = (self.target(), self.session());
        let cl_ord_id = self.cl_ord_id(session);
        CancelOrder { session, cl_ord_id, account: self.account(session), market: self.market(), target }
    }

    fn amend(&mut self) -> AmendOrder {
        let (target, price, qty) = (self.target(), self.price(), self.qty());
        let (qty_means, session) = (self.operands.pick(&[AmendQty::Open, AmendQty::Total]), self.session());
        let (cl_ord_id, account) = (self.cl_ord_id(session), self.account(session));
        AmendOrder { session, cl_ord_id, account, market: self.market(), target, price, qty, qty_means }
    }

    fn cancel_replace(&mut self) -> CancelReplace {
        let target = self.target();
        let mode = self.operands.pick(&[ReplaceMode::StopOnFailure, ReplaceMode::AllowFailure]);
        CancelReplace { target, mode, place: self.place() }
    }

    fn mass_cancel(&mut self) -> MassCancel {
        let session = self.session();
        let scope = self.operands.pick(&[MassScope::Session, MassScope::Account, MassScope::Market]);
        let (market, account) = (self.market(), self.account(session));
        let side = self.operands.pick(&[None, None, Some(Side::Buy), Some(Side::Sell)]);
        let range = self.operands.byte();
        MassCancel {
            session,
            cl_ord_id: self.cl_ord_id(session),
            account,
            scope,
            market,
            side,
            price_min: (range & 1 != 0).then(|| self.price()),
            price_max: (range & 2 != 0).then(|| self.price()),
            cancel_group: range >> 2 & 1,
            block: self.operands.pick(&[BlockChange::Keep, BlockChange::Lift, BlockChange::Keep, BlockChange::Set]),
            continued: range & 8 != 0,
        }
    }

    fn refuse(&mut self) -> Refuse {
        let (session, market, target) = (self.session(), self.market(), self.target());
        Refuse {
            session,
            cl_ord_id: self.cl_ord_id(session),
            target,
            market,
            reason: self.operands.pick(&[RejectReason::Malformed, RejectReason::PriceTick, RejectReason::QtyRange]),
            template: u16::from(self.operands.byte() % 8),
            consumes_id: self.operands.flag(),
        }
    }

    fn query(&mut self) -> Query {
        let (session, target) = (self.session(), self.target());
        let (request, account) = (self.cl_ord_id(session), self.account(session));
        Query { session, request, account, market: self.market(), target }
    }

    fn rest(&mut self) -> Rest {
        let of = match self.operands.byte() % 5 {
            0 => Unfinished::MassCancel(self.mass_cancel()),
            1 => Unfinished::SessionDown(self.session_down()),
            2 => Unfinished::Count(self.query()),
            3 => Unfinished::Tell(self.query()),
            _ => {
                let session = self.session();
                let tag = LifeTag(self.operands.number() as u32 % LIFE_TAGS);
                let then = self.operands.pick(&[AfterLife::Begins(tag), AfterLife::Removed]);
                Unfinished::EndLife(LifeEnd { session, then })
            }
        };
        let at = self.target().order_id;
        Rest { of, at, count: u32::from(self.operands.byte()) }
    }

    fn set_session(&mut self) -> SetSession {
        let session = self.session();
        SetSession {
            session,
            request: self.cl_ord_id(session),
            cod_mode: self.operands.pick(&COD_MODES),
            cod_scope: self.operands.pick(&COD_SCOPES),
            cod_window_ms: self.operands.number() as u32,
        }
    }

    fn session_down(&mut self) -> SessionDown {
        let cause = self.operands.pick(&[DownCause::Disconnect, DownCause::Logout]);
        SessionDown { session: self.session(), cause, continued: self.operands.flag() }
    }

    fn connection_end(&mut self) -> ConnectionEnd {
        let cause = self.operands.pick(&[DownCause::Disconnect, DownCause::Logout, DownCause::Displaced]);
        ConnectionEnd { session: self.session(), cause, number: self.operands.number() as u32 }
    }

    fn session_act(&mut self) -> Admin {
        let (kind, session) = (self.operands.byte(), self.session());
        match kind % 8 {
            0..4 => Admin::BeginSessionLife { session, tag: LifeTag(self.operands.number() as u32) },
            4 => Admin::RemoveSession { session },
            5 | 6 => {
                let len = self.operands.number() as usize % (PASSWORD_HASH_BYTES_MAX + 2);
                Admin::SetSessionPassword { session, password_hash: "h".repeat(len) }
            }
            _ => Admin::DisconnectSession { session },
        }
    }

    /// The right hash, as the live engine writes it, or mostly a wrong one.
    fn hash(&mut self) -> u64 {
        if self.operands.flag() { self.operands.number() } else { self.engine.check_hash() }
    }

    fn admin(&mut self) -> Admin {
        match self.operands.byte() % 21 {
            0 => Admin::AddAsset { symbol: self.symbol(), scale: self.operands.byte() % 10 },
            1 => Admin::AddMarket(self.market_spec()),
            2 => self.close_or_remove(),
            3 => Admin::SetMarketFees { market: self.market(), maker_fee: self.ppm(), taker_fee: self.ppm() },
            4 => Admin::SetMarketLimits { market: self.market(), limits: self.limits() },
            5 => {
                let tier = self.operands.byte() % 18;
                Admin::SetFeeTier { tier, fees: FeeTier { maker_scale: self.ppm(), taker_scale: self.ppm() } }
            }
            6 => Admin::AddAccount(AccountSpec {
                name: self.operands.pick(&NAMES).to_owned(),
                kind: self.operands.pick(&[AccountKind::Client, AccountKind::Agent, AccountKind::House]),
                parent: self.account(SessionId::NONE),
                fee_tier: self.operands.byte() % 18,
            }),
            7 => {
                let statuses = [AccountStatus::Active, AccountStatus::Suspended, AccountStatus::Closed];
                Admin::SetAccountStatus {
                    account: self.account(SessionId::NONE),
                    status: self.operands.pick(&statuses),
                }
            }
            8 => Admin::SetAccountFeeTier { account: self.account(SessionId::NONE), tier: self.operands.byte() % 18 },
            9 => Admin::SetAccountLimits {
                account: self.account(SessionId::NONE),
                open_orders_max: self.operands.number() as u32,
            },
            10 => Admin::SetAccountBlock { account: self.account(SessionId::NONE), blocked: self.operands.flag() },
            11 => Admin::AddSession(self.session_spec()),
            12 => Admin::SetSessionBlock { session: self.session(), blocked: self.operands.flag() },
            13 => Admin::SetSessionThrottle { session: self.session(), throttle: self.throttle() },
            14 => Admin::AddKey(self.key_spec()),
            15 => Admin::RevokeKey { key: self.operands.pick(&NAMES).to_owned() },
            16 => Admin::Withdraw(self.funds_move()),
            19 => Admin::BeginRun(RunSpec {
                directory: self.operands.number(),
                may_lose: self.operands.flag(),
                life: self.operands.flag().then(|| LifeTag(self.operands.number() as u32)),
            }),
            20 => Admin::AcknowledgeTornEnd { seq: Seq(self.operands.number()) },
            18 => Admin::SetClientNamesMax { max: self.operands.number() as u32 },
            17 => {
                let account = if self.operands.flag() { AccountId::NONE } else { self.account(SessionId::NONE) };
                Admin::WithdrawFees(FundsMove { account, ..self.funds_move() })
            }
            _ => Admin::Deposit(self.funds_move()),
        }
    }

    /// A market that is to be closed and is closed already is removed.
    fn close_or_remove(&mut self) -> Admin {
        let (market, status) = (self.market(), self.market_status());
        let before = self.engine.market(market).map(|market| market.rules.status);
        if status == MarketStatus::Closed && before == Some(MarketStatus::Closed) {
            return Admin::RemoveMarket { market };
        }
        Admin::SetMarketStatus { market, status }
    }

    fn opened(&mut self) -> Opened {
        let build = "b".repeat(usize::from(self.operands.byte()) % (BUILD_BYTES_MAX + 1));
        Opened { build, format: self.operands.number() as u32, wall: TsNs(self.operands.number()) }
    }

    /// An act of the operators, of the node, or of a key, which mostly is there and acts for its own account.
    fn acted(&mut self) -> Acted {
        let (by, key) = (self.operands.byte(), KeyId(self.operands.upto(self.engine.keys().len() + 1)));
        let actor = match by % 8 {
            0..2 => Actor::Ops,
            2 => Actor::Node,
            _ => Actor::Key(key),
        };
        let own = self.engine.keys().get(key).map(|key| key.spec.account).filter(|_| by < 240);
        let act = self.act(own);
        let text = "t".repeat(usize::from(self.operands.byte()) % (ACTED_TEXT_BYTES_MAX + 1));
        Acted { actor, method: text.clone(), address: text.clone(), request_id: text, act }
    }

    /// What a key may do, for `own` account where there is one; the steps of the rules; or any other act.
    fn act(&mut self, own: Option<AccountId>) -> Act {
        let kind = self.operands.byte() % 10;
        let mut account = || own.unwrap_or_else(|| AccountId(self.operands.upto(self.engine.accounts().len() + 1)));
        Act::Admin(match kind {
            0..3 => {
                let account = account();
                return Act::MassCancel(self.door_cancel(account));
            }
            3 => Admin::SetAccountBlock { account: account(), blocked: self.operands.flag() },
            4..6 => {
                let account = account();
                Admin::Withdraw(FundsMove { account, ..self.funds_move() })
            }
            6 => Admin::RevokeKey { key: self.operands.pick(&NAMES).to_owned() },
            7 => Admin::AddKey(self.key_spec()),
            8 => Admin::SetRules { version: self.operands.pick(&Rules::ALL).version() },
            _ => self.admin(),
        })
    }

    /// A mass cancel as the HTTP port makes it, which has no session; or any other.
    fn door_cancel(&mut self, account: AccountId) -> MassCancel {
        let mass = self.mass_cancel();
        match self.operands.flag() {
            true => mass,
            false => MassCancel {
                session: SessionId::NONE,
                cl_ord_id: ClOrdId(0),
                scope: MassScope::Account,
                account,
                ..mass
            },
        }
    }

    fn symbol(&mut self) -> Symbol {
        Symbol::new(self.operands.pick(&SYMBOLS)).expect("a valid symbol")
    }

    fn market_status(&mut self) -> MarketStatus {
        use MarketStatus::{CancelOnly, Closed, Halt, PostOnly, Trading};
        self.operands.pick(&[Trading, Trading, Trading, Halt, CancelOnly, PostOnly, Trading, Closed])
    }

    fn limits(&mut self) -> MarketLimits {
        let qty_max = self.qty();
        MarketLimits { qty_min: QtyLots(1), qty_max, notional_min: self.units(), price_band: self.ppm() }
    }

    fn market_spec(&mut self) -> MarketSpec {
        let (base, quote) = (self.asset(), self.asset());
        let (tick_e9, lot_e8) = (self.operands.number(), self.operands.number());
        let qty_max = self.qty();
        MarketSpec {
            symbol: self.symbol(),
            base,
            quote,
            tick_e9,
            lot_e8,
            limits: MarketLimits { qty_min: QtyLots(1), qty_max, notional_min: Units(0), price_band: Ppm(0) },
            fees: MarketFees::new(Ppm(0), self.ppm(), self.fee_asset()),
            status: MarketStatus::Trading,
        }
    }

    fn throttle(&mut self) -> Throttle {
        Throttle { orders_per_second: self.operands.number() as u32, burst: self.operands.number() as u32 }
    }

    fn session_spec(&mut self) -> SessionSpec {
        SessionSpec {
            account: self.account(SessionId::NONE),
            user: UserName::new(self.operands.pick(&USERS)).expect("a valid name"),
            password_hash: "hash".to_owned(),
            drop_copy: self.operands.flag(),
            throttle: self.throttle(),
            cod_mode: self.operands.pick(&COD_MODES),
            cod_scope: self.operands.pick(&COD_SCOPES),
            cod_window_ms: self.operands.number() as u32,
        }
    }

    fn key_spec(&mut self) -> KeySpec {
        KeySpec {
            account: self.account(SessionId::NONE),
            key: self.operands.pick(&NAMES).to_owned(),
            permissions: self.operands.byte(),
            ed25519_public: vec![7; if self.operands.flag() { 32 } else { 0 }],
            addresses: Vec::new(),
            expires: TsNs(self.operands.number()),
        }
    }

    fn funds_move(&mut self) -> FundsMove {
        let (account, asset) = (self.account(SessionId::NONE), self.asset());
        let reference = ClientKey(u128::from(self.operands.byte()));
        FundsMove { account, asset, amount: self.units(), reference }
    }
}
