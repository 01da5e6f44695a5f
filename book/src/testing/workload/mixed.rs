//! The mixed profile: every kind of command, also with values that no honest client would send.

use super::{DEAD_LEN, Workload};
use crate::command::*;
use crate::ids::*;
use crate::reject::RejectReason;
use crate::units::*;

impl Workload {
    pub(super) fn mixed(&mut self) -> Command {
        if self.rng.one_in(400) {
            self.now.0 += u64::from(self.rng.below(14)) * 3_600_000_000_000;
        }
        let wants_more = self.live.len() < self.live_target;
        match self.rng.below(1_000) {
            0..250 if wants_more => self.quote(),
            0..100 => self.quote(),
            100..300 => self.place_anything(),
            300..400 => self.take_limit(Tif::Ioc, 30),
            400..470 => self.take_limit(Tif::Fok, 30),
            470..540 => self.take_market(),
            540..680 => self.amend_live(),
            680..820 => self.cancel_live(),
            820..860 => self.cancel_anything(),
            860..900 => self.replace(),
            900..912 => self.mass_cancel(),
            912..922 => self.session_down(),
            922..930 => self.set_session(),
            930..945 => self.query(),
            945..955 => self.refuse(),
            _ => Command::Admin(Box::new(self.admin())),
        }
    }

    /// An order whose fields are drawn from lists that also have impossible values.
    pub(super) fn place_anything(&mut self) -> Command {
        let (market, side) = (self.market(), self.side());
        let price = self.price_anything(market, side);
        let qty = self.qty_anything();
        let quote =
            self.rng.pick(&[Units(0), Units(1), Units(9_999), Units(500_000), Units(UNITS_MAX), Units(u64::MAX)]);
        let kind = match self.rng.below(8) {
            0 => OrderKind::Market { qty },
            1 => OrderKind::MarketByQuote { quote },
            _ => OrderKind::Limit { price, qty },
        };
        let tif = self.rng.pick(&[Tif::Gtc, Tif::GtcPostOnly, Tif::Ioc, Tif::Fok]);
        let mut order = self.order(side, kind, tif, market);
        match self.rng.below(16) {
            0 => order.market = MarketId(self.rng.pick(&[0, 3, u32::MAX])),
            1 => order.account = AccountId(self.rng.pick(&[0, 1, 7, u32::MAX])),
            2 => order.session = SessionId(self.rng.pick(&[0, 1, 7, u32::MAX])),
            3 => order.cl_ord_id = ClOrdId(u64::from(self.rng.below(200))),
            4 => order.valid_until = TsNs(self.rng.pick(&[1, self.now.0 - 1, self.now.0, self.now.0 + 1])),
            _ => {}
        }
        Command::Place(order)
    }

    pub(super) fn price_anything(&mut self, market: MarketId, side: Side) -> PriceTicks {
        match self.rng.below(8) {
            0 => PriceTicks(self.rng.pick(&[0, 1, 2, 63, 64, 4_095, 1 << 20, u32::MAX - 1, u32::MAX])),
            1 => PriceTicks(self.rng.number() as u32),
            2 => self.price_near(market, side.opposite()),
            _ => self.price_near(market, side),
        }
    }

    pub(super) fn qty_anything(&mut self) -> QtyLots {
        match self.rng.below(6) {
            0 => QtyLots(self.rng.pick(&[0, 1, 1_000, 1_001, 1 << 32, 1 << 40, i64::MAX as u64, u64::MAX])),
            _ => QtyLots(1 + u64::from(self.rng.below(60))),
        }
    }

    /// The id of an open order, an ended one, another account's or none.
    pub(super) fn target_anything(&mut self) -> OrderRef {
        let dead = self.dead[self.rng.below(DEAD_LEN as u32) as usize];
        let live = self.live().map_or(OrderId::NONE, |order| order.id);
        let order_id = self.rng.pick(&[dead, dead, live, OrderId(1), OrderId(u64::MAX), OrderId::NONE, OrderId::NONE]);
        let cl_ord_id = ClOrdId(self.rng.pick(&[0, 0, 1, u64::MAX]));
        let client_key = ClientKey(u128::from(self.rng.below(500)));
        OrderRef { order_id, cl_ord_id, client_key }
    }

    pub(super) fn cancel_anything(&mut self) -> Command {
        let account = self.account();
        Command::Cancel(CancelOrder {
            session: SessionId(self.rng.pick(&[0, 0, account.0, 1, 7])),
            cl_ord_id: ClOrdId(1),
            account,
            market: MarketId(self.rng.pick(&[0, 1, 2, 3])),
            target: self.target_anything(),
        })
    }

    pub(super) fn replace(&mut self) -> Command {
        let Command::Place(mut place) = self.quote() else { unreachable!("a quote is placed") };
        let target = match self.live() {
            Some(order) if !self.rng.one_in(3) => {
                (place.account, place.market, place.session) = (order.account, order.market, order.session);
                place.cl_ord_id = self.cl_ord_id(place.session);
                self.target(&order)
            }
            _ => self.target_anything(),
        };
        let mode = self.rng.pick(&[ReplaceMode::StopOnFailure, ReplaceMode::AllowFailure]);
        Command::CancelReplace(CancelReplace { target, mode, place })
    }

    pub(super) fn mass_cancel(&mut self) -> Command {
        let account = self.account();
        let scope = self.rng.pick(&[MassScope::Session, MassScope::Session, MassScope::Account, MassScope::Market]);
        let session = if scope == MassScope::Market { 0 } else { self.rng.pick(&[0, account.0, account.0, 7]) };
        let mid = self.mids[0];
        Command::MassCancel(MassCancel {
            session: SessionId(session),
            cl_ord_id: ClOrdId(9),
            account: AccountId(self.rng.pick(&[0, account.0, account.0])),
            scope,
            market: MarketId(self.rng.pick(&[0, 1, 2, 3])),
            side: self.rng.pick(&[None, Some(Side::Buy), Some(Side::Sell)]),
            price_min: self.rng.pick(&[None, Some(PriceTicks(mid - 5))]),
            price_max: self.rng.pick(&[None, Some(PriceTicks(mid + 5))]),
            cancel_group: self.rng.below(3) as u8,
            // Lifted more often than set, so that trading continues.
            block: self.rng.pick(&[BlockChange::Keep, BlockChange::Set, BlockChange::Lift, BlockChange::Lift]),
            continued: false,
        })
    }

    pub(super) fn session_down(&mut self) -> Command {
        let session = SessionId(self.rng.below(self.accounts + 2));
        let cause = self.rng.pick(&[DownCause::Disconnect, DownCause::Logout]);
        Command::SessionDown(SessionDown { session, cause, continued: false })
    }

    pub(super) fn set_session(&mut self) -> Command {
        Command::SetSession(SetSession {
            session: SessionId(self.rng.below(self.accounts + 2)),
            request: ClOrdId(5),
            cod_mode: self.rng.pick(&[CodMode::Off, CodMode::OnDisconnect, CodMode::OnLogout, CodMode::Both]),
            cod_scope: self.rng.pick(&[CodScope::Session, CodScope::Account]),
            cod_window_ms: self.rng.pick(&[0, 10_000, u32::MAX]),
        })
    }

    pub(super) fn query(&mut self) -> Command {
        let account = self.account();
        let none = OrderRef { order_id: OrderId::NONE, cl_ord_id: ClOrdId(0), client_key: ClientKey::NONE };
        let target = if self.rng.one_in(2) { none } else { self.target_anything() };
        let session = SessionId(self.rng.pick(&[0, account.0, 7]));
        Command::Query(Query { session, request: ClOrdId(3), account, market: MarketId(self.rng.below(4)), target })
    }

    pub(super) fn refuse(&mut self) -> Command {
        let session = SessionId(self.rng.below(self.accounts + 2));
        let known = 0 < session.0 && session.0 <= self.accounts;
        let cl_ord_id = if known { self.cl_ord_id(session) } else { ClOrdId(1) };
        Command::Refuse(Refuse {
            session,
            cl_ord_id,
            target: OrderRef { order_id: OrderId::NONE, cl_ord_id: ClOrdId(0), client_key: ClientKey::NONE },
            market: MarketId(1),
            reason: self.rng.pick(&[RejectReason::Malformed, RejectReason::Unsupported, RejectReason::QtyStep]),
            template: 7,
            consumes_id: self.rng.one_in(2),
        })
    }

    pub(super) fn admin(&mut self) -> Admin {
        let market = self.market();
        let account = self.account();
        let ppm = [i32::MIN, -100_001, -50, 0, 30, 100, 2_000, 100_000, i32::MAX];
        match self.rng.below(12) {
            0 => Admin::SetMarketStatus { market, status: self.market_status() },
            1..4 => Admin::SetMarketStatus { market, status: MarketStatus::Trading },
            4 => Admin::SetMarketFees {
                market,
                maker_fee: Ppm(self.rng.pick(&ppm)),
                taker_fee: Ppm(self.rng.pick(&ppm)),
            },
            5 => Admin::SetFeeTier {
                tier: self.rng.pick(&[0, 1, 1, 2, 16]),
                fees: FeeTier { maker_scale: Ppm(self.rng.pick(&ppm)), taker_scale: Ppm(self.rng.pick(&ppm)) },
            },
            6 => Admin::SetAccountFeeTier { account, tier: self.rng.pick(&[0, 1, 2, 16]) },
            7 => {
                let status = self.rng.pick(&[AccountStatus::Active, AccountStatus::Active, AccountStatus::Suspended]);
                Admin::SetAccountStatus { account, status }
            }
            8 => Admin::SetAccountBlock { account, blocked: self.rng.one_in(4) },
            9 => Admin::SetSessionBlock { session: SessionId(account.0), blocked: self.rng.one_in(4) },
            10 => Admin::Withdraw(self.payment(account)),
            _ => Admin::Deposit(self.payment(account)),
        }
    }

    pub(super) fn market_status(&mut self) -> MarketStatus {
        self.rng.pick(&[MarketStatus::Halt, MarketStatus::CancelOnly, MarketStatus::PostOnly])
    }

    /// Few references, so that they repeat, mostly with other contents.
    pub(super) fn payment(&mut self, account: AccountId) -> FundsMove {
        let asset = AssetId(1 + self.rng.below(3));
        let amount = Units(self.rng.pick(&[0, 100, 5_000, 1_000_000, UNITS_MAX, u64::MAX]));
        let tag = u128::from(self.rng.below(2_000));
        FundsMove { account, asset, amount, reference: ClientKey(tag << 64) }
    }
}
