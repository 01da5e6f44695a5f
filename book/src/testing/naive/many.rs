//! Commands over many orders at once, and the decisions of the gateway and of administrators.

use super::{Account, Key, Market, Naive, Order, Session, at, at_mut};
use crate::command::*;
use crate::engine::CANCELS_PER_COMMAND_MAX;
use crate::event::*;
use crate::ids::*;
use crate::reject::RejectReason;
use crate::rules::Rules;

impl Naive {
    pub(super) fn mass_cancel(&mut self, mass: &MassCancel) {
        let account = match self.admit_mass(mass) {
            Ok(account) => account,
            Err(reason) => {
                return self.events.push(Event::Rejected(Rejected {
                    session: mass.session,
                    cl_ord_id: mass.cl_ord_id,
                    client_key: ClientKey::NONE,
                    account: mass.account,
                    market: mass.market,
                    reason,
                    template: 0,
                }));
            }
        };
        let block = match mass.scope {
            MassScope::Session => at_mut(&mut self.sessions, mass.session.0).map(|s| &mut s.blocked),
            MassScope::Account => at_mut(&mut self.accounts, account.0).map(|a| &mut a.blocked),
            MassScope::Market => None,
        };
        let blocked = block.is_some_and(|block| {
            *block = match mass.block {
                _ if mass.continued => *block,
                BlockChange::Keep => *block,
                BlockChange::Set => true,
                BlockChange::Lift => false,
            };
            *block
        });
        let by_market = mass.scope == MassScope::Market;
        let by = if by_market { (SessionId::NONE, ClOrdId(0)) } else { (mass.session, mass.cl_ord_id) };
        let reason = match (by_market, mass.block) {
            (true, _) => CancelReason::Admin,
            (_, BlockChange::Set) => CancelReason::KillSwitch,
            _ => CancelReason::MassCancel,
        };
        let spares_halted = reason == CancelReason::MassCancel && !mass.session.is_none();
        let mut fits: Vec<Order> = self.orders.values().copied().collect();
        fits.retain(|o| {
            (by_market || o.account == account)
                && (mass.scope != MassScope::Session || o.session == mass.session)
                && (mass.market.is_none() || o.market == mass.market)
                && mass.side.is_none_or(|side| o.side == side)
                && mass.price_min.is_none_or(|min| min.0 <= o.price)
                && mass.price_max.is_none_or(|max| o.price <= max.0)
                && (mass.cancel_group == 0 || o.cancel_group == mass.cancel_group)
                && (!spares_halted || self.lets_cancel(o.market))
        });
        if by_market {
            fits = self.in_book_order(mass.market, &fits);
        }
        let (count, more) = self.cancel_all(&fits, reason, by);
        self.events.push(Event::MassCanceled(MassCanceled {
            session: mass.session,
            cl_ord_id: mass.cl_ord_id,
            account,
            market: mass.market,
            scope: mass.scope,
            count,
            blocked,
            more,
        }));
    }

    pub(super) fn admit_mass(&self, mass: &MassCancel) -> Result<AccountId, RejectReason> {
        let session = at(&self.sessions, mass.session.0);
        let account = match session {
            Some(session) => {
                let own = mass.account.is_none() || mass.account == session.account;
                let lifts = mass.block == BlockChange::Lift;
                let lifts_operators = lifts && (mass.scope == MassScope::Account || session.by_operator);
                let allowed = own && !session.drop_copy && mass.scope != MassScope::Market && !lifts_operators;
                allowed.then_some(session.account)
            }
            None if !mass.session.is_none() || mass.scope == MassScope::Session => None,
            None if mass.scope == MassScope::Market => Some(AccountId::NONE),
            None => at(&self.accounts, mass.account.0).map(|_| mass.account),
        };
        let account = account.ok_or(RejectReason::NotAuthorised)?;
        let needs_market = mass.scope == MassScope::Market || !mass.market.is_none();
        if needs_market {
            let market = at(&self.markets, mass.market.0).ok_or(RejectReason::UnknownInstrument)?;
            let halted = self.rules == Rules::One && market.status == MarketStatus::Halt;
            if session.is_some() && mass.block != BlockChange::Set && halted {
                return Err(RejectReason::NotTrading);
            }
        }
        Ok(account)
    }

    /// Buys from the highest, then sells from the lowest.
    pub(super) fn in_book_order(&self, market: MarketId, fits: &[Order]) -> Vec<Order> {
        let queues = &self.market(market).queues;
        let buys = queues[Side::Buy.idx()].values().rev().flatten();
        let sells = queues[Side::Sell.idx()].values().flatten();
        buys.chain(sells).filter_map(|id| fits.iter().find(|o| o.id == *id)).copied().collect()
    }

    pub(super) fn cancel_all(
        &mut self,
        orders: &[Order],
        reason: CancelReason,
        by: (SessionId, ClOrdId),
    ) -> (u32, bool) {
        let max = CANCELS_PER_COMMAND_MAX as usize;
        for order in orders.iter().take(max) {
            self.take_out(order.id);
            self.canceled(order, reason, true, by);
        }
        (orders.len().min(max) as u32, orders.len() > max)
    }

    pub(super) fn session_down(&mut self, down: &SessionDown) {
        let Some(session) = at(&self.sessions, down.session.0) else { return };
        let takes_effect = match session.cod_mode {
            CodMode::Off => false,
            CodMode::OnDisconnect => down.cause == DownCause::Disconnect,
            CodMode::OnLogout => down.cause == DownCause::Logout,
            CodMode::Both => true,
        };
        let (account, by_session) = (session.account, session.cod_scope == CodScope::Session);
        let own = |o: &&Order| o.account == account && (!by_session || o.session == down.session) && !o.persist;
        let fits: Vec<Order> = self.orders.values().filter(own).copied().collect();
        if !takes_effect || fits.is_empty() {
            return;
        }
        let (count, more) = self.cancel_all(&fits, CancelReason::Disconnect, (SessionId::NONE, ClOrdId(0)));
        self.events.push(Event::MassCanceled(MassCanceled {
            session: down.session,
            cl_ord_id: ClOrdId(0),
            account,
            market: MarketId::NONE,
            scope: if by_session { MassScope::Session } else { MassScope::Account },
            count,
            blocked: false,
            more,
        }));
    }

    pub(super) fn refuse(&mut self, refuse: &Refuse) {
        let consumes = refuse.consumes_id && refuse.cl_ord_id.0 != 0 && !self.is_out_of_range(refuse.cl_ord_id);
        if consumes && !self.is_new(refuse.session, refuse.cl_ord_id) {
            return;
        }
        self.events.push(Event::Rejected(Rejected {
            session: refuse.session,
            cl_ord_id: refuse.cl_ord_id,
            client_key: ClientKey::NONE,
            account: at(&self.sessions, refuse.session.0).map_or(AccountId::NONE, |s| s.account),
            market: refuse.market,
            reason: refuse.reason,
            template: refuse.template,
        }));
    }

    pub(super) fn administer(&mut self, admin: &Admin) {
        match admin {
            Admin::AddAsset { scale, .. } => self.scales.push(*scale),
            Admin::AddMarket(spec) => self.add_market(spec),
            Admin::SetMarketStatus { market, status } => self.market_mut(*market).status = *status,
            Admin::SetMarketFees { market, maker_fee, taker_fee } => {
                let market = self.market_mut(*market);
                (market.maker_ppm, market.taker_ppm) = (i128::from(maker_fee.0), i128::from(taker_fee.0));
            }
            Admin::SetMarketLimits { market, limits } => self.market_mut(*market).limits = *limits,
            Admin::SetFeeTier { tier, fees } => {
                let scales = (i128::from(fees.maker_scale.0), i128::from(fees.taker_scale.0));
                self.tiers.insert(usize::from(*tier), scales);
            }
            Admin::AddAccount(spec) => self.accounts.push(Account {
                parent: spec.parent,
                tier: usize::from(spec.fee_tier),
                status: AccountStatus::Active,
                blocked: false,
                open_max: crate::accounts::OPEN_ORDERS_DEFAULT as usize,
            }),
            Admin::SetAccountStatus { account, status } => self.account_mut(*account).status = *status,
            Admin::SetAccountFeeTier { account, tier } => self.account_mut(*account).tier = usize::from(*tier),
            Admin::SetAccountLimits { account, open_orders_max } => {
                self.account_mut(*account).open_max = *open_orders_max as usize;
            }
            Admin::SetAccountBlock { account, blocked } => self.account_mut(*account).blocked = *blocked,
            Admin::AddSession(spec) => self.sessions.push(Session {
                account: spec.account,
                drop_copy: spec.drop_copy,
                blocked: false,
                by_operator: false,
                last: ClOrdId(0),
                cod_mode: spec.cod_mode,
                cod_scope: spec.cod_scope,
                throttle: spec.throttle,
                drained_at: 0,
            }),
            Admin::SetSessionBlock { session, blocked } => {
                let by_operator = *blocked && self.rules == Rules::Two;
                let session = &mut self.sessions[session.0 as usize - 1];
                (session.blocked, session.by_operator) = (*blocked, by_operator);
            }
            Admin::Deposit(funds) => {
                *self.owned.entry((funds.account, funds.asset)).or_default() += i128::from(funds.amount.0);
            }
            Admin::Withdraw(funds) => {
                *self.owned.entry((funds.account, funds.asset)).or_default() -= i128::from(funds.amount.0);
            }
            Admin::SetRules { version } => self.rules = Rules::of(*version).unwrap_or(self.rules),
            Admin::SetSessionThrottle { session, throttle } => {
                let rules = self.rules;
                let session = &mut self.sessions[session.0 as usize - 1];
                session.throttle = *throttle;
                if rules == Rules::Two {
                    session.drained_at = 0;
                }
            }
            Admin::AddKey(spec) => self.keys.push(Key { spec: spec.clone(), revoked: false }),
            Admin::RevokeKey { key } => {
                self.keys.iter_mut().filter(|known| known.spec.key == *key).for_each(|known| known.revoked = true);
            }
        }
    }

    pub(super) fn account_mut(&mut self, id: AccountId) -> &mut Account {
        &mut self.accounts[id.0 as usize - 1]
    }

    pub(super) fn add_market(&mut self, spec: &MarketSpec) {
        let scale = |asset: AssetId| 10u128.pow(u32::from(self.scales[asset.0 as usize - 1]));
        self.markets.push(Market {
            base: spec.base,
            quote: spec.quote,
            quote_per_tick_lot: u128::from(spec.tick_e9) * u128::from(spec.lot_e8) * scale(spec.quote) / 10u128.pow(17),
            base_per_lot: u128::from(spec.lot_e8) * scale(spec.base) / 10u128.pow(8),
            limits: spec.limits,
            maker_ppm: i128::from(spec.maker_fee.0),
            taker_ppm: i128::from(spec.taker_fee.0),
            status: spec.status,
            last_price: None,
            trade_count: 0,
            queues: Default::default(),
        });
    }
}
