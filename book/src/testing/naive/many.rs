//! Commands over many orders at once, and the decisions of the gateway and of administrators.

use super::{Account, Key, Market, Naive, Order, Turn, Unended, at, at_mut};
use crate::command::*;
use crate::engine::{CANCELS_PER_COMMAND_MAX, VISITS_FIRST_MAX, VISITS_PER_COMMAND_MAX};
use crate::event::*;
use crate::fees::FeeAsset;
use crate::ids::*;
use crate::intake::{Intake, IntakeState};
use crate::reject::RejectReason;
use crate::rules::Rules;
use crate::units::{PriceTicks, QtyLots};

impl Naive {
    pub(super) fn mass_cancel(&mut self, mass: &MassCancel, turn: Turn) {
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
        let walk = if by_market { self.in_book_order(mass.market) } else { self.of_account(account) };
        let upto = if by_market { None } else { Some(self.upto(turn)) };
        let fits = |o: &Order| {
            (mass.scope != MassScope::Session || o.session == mass.session)
                && (mass.market.is_none() || o.market == mass.market)
                && mass.side.is_none_or(|side| o.side == side)
                && mass.price_min.is_none_or(|min| min.0 <= o.price)
                && mass.price_max.is_none_or(|max| o.price <= max.0)
                && (mass.cancel_group == 0 || o.cancel_group == mass.cancel_group)
                && (!spares_halted || self.lets_cancel(o.market))
        };
        let (visited, next) = self.handled(walk, fits, turn);
        let (count, more) = (visited.len() as u32, next.is_some());
        visited.iter().for_each(|order| self.end(order, reason, by));
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
        self.unfinished(Unfinished::MassCancel(MassCancel { continued: true, ..*mass }), next, 0, upto);
    }

    pub(super) fn admit_mass(&mut self, mass: &MassCancel) -> Result<AccountId, RejectReason> {
        let session = at(&self.sessions, mass.session.0);
        let account = match session {
            Some(session) => {
                let own = mass.account.is_none() || mass.account == session.account;
                let lifts = mass.block == BlockChange::Lift;
                let lifts_operators = lifts && (mass.scope == MassScope::Account || session.by_operator);
                let allowed = own
                    && !session.drop_copy
                    && !session.removed
                    && mass.scope != MassScope::Market
                    && !lifts_operators;
                allowed.then_some(session.account)
            }
            None if !mass.session.is_none() || mass.scope == MassScope::Session => None,
            None if mass.scope == MassScope::Market => Some(AccountId::NONE),
            None => at(&self.accounts, mass.account.0).map(|_| mass.account),
        };
        let (account, by_client) = (account.ok_or(RejectReason::NotAuthorised)?, session.is_some());
        let is_blocked = match mass.scope {
            MassScope::Account => at(&self.accounts, account.0).is_some_and(|account| account.blocked),
            _ => session.is_some_and(|session| session.blocked),
        };
        let kills = mass.block == BlockChange::Set && !is_blocked;
        if by_client && !mass.continued && !kills && !self.passes_requests(mass.session, true) {
            return Err(RejectReason::Throttled);
        }
        let needs_market = mass.scope == MassScope::Market || !mass.market.is_none();
        if needs_market {
            let market = at(&self.markets, mass.market.0).filter(|market| !market.removed);
            let market = market.ok_or(RejectReason::UnknownInstrument)?;
            let halted = self.rules == Rules::One && market.status == MarketStatus::Halt;
            if by_client && mass.block != BlockChange::Set && halted {
                return Err(RejectReason::NotTrading);
            }
        }
        Ok(account)
    }

    /// Buys from the highest, then sells from the lowest.
    fn in_book_order(&self, market: MarketId) -> Vec<Order> {
        let queues = &self.market(market).queues;
        let buys = queues[Side::Buy.idx()].values().rev().flatten();
        let sells = queues[Side::Sell.idx()].values().flatten();
        buys.chain(sells).map(|id| self.orders[id]).collect()
    }

    pub(super) fn of_account(&self, account: AccountId) -> Vec<Order> {
        self.orders.values().filter(|o| o.account == account).copied().collect()
    }

    /// The youngest order that a command is about: the youngest when it came.
    pub(super) fn upto(&self, turn: Turn) -> OrderId {
        let Turn::Next(_, Some(upto)) = turn else { return OrderId(self.number) };
        upto
    }

    /// The orders of a walk that one command looks at, and the one before which it stops.
    fn visited(&self, walk: Vec<Order>, turn: Turn) -> (Vec<Order>, Option<OrderId>) {
        let (mut walk, visits_max) = match turn {
            Turn::First => (walk, VISITS_FIRST_MAX),
            Turn::Next(at, Some(upto)) => {
                let left = walk.into_iter().filter(|order| at <= order.id && order.id <= upto).collect();
                (left, VISITS_PER_COMMAND_MAX)
            }
            Turn::Next(at, None) => {
                let begin = walk.iter().position(|order| order.id == at).unwrap_or(0);
                (walk[begin..].to_vec(), VISITS_PER_COMMAND_MAX)
            }
        };
        let visits_max = if self.rules == Rules::One { usize::MAX } else { visits_max as usize };
        let next = walk.get(visits_max).map(|order| order.id);
        walk.truncate(visits_max);
        (walk, next)
    }

    /// Those of them that it handles, and the one before which it stops.
    pub(super) fn handled(
        &self,
        walk: Vec<Order>,
        fits: impl Fn(&Order) -> bool,
        turn: Turn,
    ) -> (Vec<Order>, Option<OrderId>) {
        let (visited, next) = self.visited(walk, turn);
        let mut handled: Vec<Order> = visited.into_iter().filter(fits).collect();
        let next = handled.get(CANCELS_PER_COMMAND_MAX as usize).map_or(next, |order| Some(order.id));
        handled.truncate(CANCELS_PER_COMMAND_MAX as usize);
        (handled, next)
    }

    pub(super) fn end(&mut self, order: &Order, reason: CancelReason, by: (SessionId, ClOrdId)) {
        self.take_out(order.id);
        self.name_ends(order.id);
        self.canceled(order, reason, true, by);
    }

    pub(super) fn unfinished(&mut self, of: Unfinished, next: Option<OrderId>, count: u32, upto: Option<OrderId>) {
        if let Some(at) = next.filter(|_| self.rules == Rules::Two) {
            self.unended.extend(upto.map(|upto| Unended { of, at, from: at, upto }));
            self.events.push(Event::Unfinished(Rest { of, at, count }));
        }
    }

    pub(super) fn go_on(&mut self, rest: &Rest) {
        let found = self.unended.iter().position(|unended| unended.of == rest.of && unended.at == rest.at);
        let unended = found.map(|idx| self.unended.remove(idx));
        let upto = unended.map(|unended| unended.upto);
        let turn = Turn::Next(unended.map_or(rest.at, |unended| unended.from), upto);
        match &rest.of {
            Unfinished::MassCancel(mass) => self.mass_cancel(mass, turn),
            Unfinished::SessionDown(down) => self.session_down(down, turn, rest.count),
            Unfinished::Count(query) => self.count(query, turn, rest.count),
            Unfinished::Tell(query) => {
                let is_open = self.of_account(query.account).iter().any(|o| o.id == rest.at);
                if is_open || upto.is_some() {
                    self.tell(query, turn, rest.count);
                } else {
                    self.count(query, Turn::First, 0);
                }
            }
            Unfinished::EndLife(end) if self.rules == Rules::Two => self.end_life(end, turn),
            Unfinished::EndLife(_) => {}
        }
    }

    pub(super) fn query(&mut self, query: &Query) {
        let reads = query.session.is_none()
            || at(&self.sessions, query.session.0).is_some_and(|s| !s.removed && s.account == query.account);
        let OrderRef { order_id, cl_ord_id, client_key } = query.target;
        if !reads || at(&self.accounts, query.account.0).is_none() {
            self.reported(query, None, 0);
        } else if !self.passes_requests(query.session, order_id.is_none() && cl_ord_id.0 == 0 && client_key.is_none()) {
            self.request_refused(query.session, query.request, RejectReason::Throttled);
        } else if !order_id.is_none() || cl_ord_id.0 != 0 || !client_key.is_none() {
            let found = self.find(query.session, query.account, query.market, &query.target);
            self.reported(query, found.map(|id| self.orders[&id]).as_ref(), 0);
        } else if self.rules == Rules::One {
            let all: Vec<Order> = self.of_account(query.account).into_iter().filter(|o| is_asked(query, o)).collect();
            if all.is_empty() {
                self.reported(query, None, 0);
            }
            for (idx, order) in all.iter().take(CANCELS_PER_COMMAND_MAX as usize).enumerate() {
                self.reported(query, Some(order), (all.len() - 1 - idx) as u32);
            }
        } else {
            self.count(query, Turn::First, 0);
        }
    }

    /// Orders on one market are counted in parts, all of them at once.
    fn count(&mut self, query: &Query, turn: Turn, before: u32) {
        let (all, upto) = (self.of_account(query.account), self.upto(turn));
        let begins_again = matches!(turn, Turn::Next(at, None) if all.iter().all(|order| order.id != at));
        let before = if begins_again { 0 } else { before };
        let (visited, next) = self.visited(all, turn);
        let total = before + visited.iter().filter(|order| is_asked(query, order)).count() as u32;
        if !query.market.is_none() && next.is_some() {
            return self.unfinished(Unfinished::Count(*query), next, total, Some(upto));
        }
        let total = if query.market.is_none() { self.of_account(query.account).len() as u32 } else { total };
        match (total, turn) {
            (0, _) => self.reported(query, None, 0),
            (_, Turn::First) => self.tell(query, Turn::First, total),
            (_, Turn::Next(..)) => self.tell(query, Turn::Next(OrderId::NONE, Some(upto)), total),
        }
    }

    fn tell(&mut self, query: &Query, turn: Turn, count: u32) {
        let upto = self.upto(turn);
        let (reported, next) = self.handled(self.of_account(query.account), |o| is_asked(query, o), turn);
        let mut left = count;
        for order in reported.iter().take(count as usize) {
            left -= 1;
            self.reported(query, Some(order), left);
        }
        match next {
            _ if left == 0 => {}
            Some(_) => self.unfinished(Unfinished::Tell(*query), next, left, Some(upto)),
            None => self.reported(query, None, 0),
        }
    }

    /// A request that names no order is refused.
    pub(super) fn request_refused(&mut self, session: SessionId, request: ClOrdId, reason: RejectReason) {
        self.events.push(Event::Rejected(Rejected {
            session,
            cl_ord_id: request,
            client_key: ClientKey::NONE,
            account: at(&self.sessions, session.0).map_or(AccountId::NONE, |s| s.account),
            market: MarketId::NONE,
            reason,
            template: 0,
        }));
    }

    fn reported(&mut self, query: &Query, order: Option<&Order>, remaining: u32) {
        self.events.push(Event::OrderStatus(OrderStatus {
            session: query.session,
            request: query.request,
            order_id: order.map_or(OrderId::NONE, |o| o.id),
            cl_ord_id: order.map_or(query.target.cl_ord_id, |o| o.cl_ord_id),
            account: query.account,
            market: order.map_or(query.market, |o| o.market),
            side: order.map_or(Side::Buy, |o| o.side),
            price: PriceTicks(order.map_or(0, |o| o.price)),
            leaves: QtyLots(order.map_or(0, |o| o.leaves)),
            cum: QtyLots(order.map_or(0, |o| o.cum)),
            post_only: order.is_some_and(|o| o.post_only),
            remaining,
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

    pub(super) fn administer(&mut self, actor: Actor, admin: &Admin) {
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
            Admin::AddSession(spec) => self.add_session(spec),
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
            Admin::AcknowledgeTornEnd { .. } => {}
            Admin::WithdrawFees(_)
            | Admin::SetClientNamesMax { .. }
            | Admin::BeginRun(_)
            | Admin::RemoveMarket { .. } => self.administer_since_two(admin),
            Admin::BeginSessionLife { .. }
            | Admin::RemoveSession { .. }
            | Admin::SetSessionPassword { .. }
            | Admin::DisconnectSession { .. } => self.administer_session(admin),
            Admin::SetRules { version } => self.set_rules(*version),
            Admin::SetIntake(wanted) => self.set_intake(actor, *wanted),
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

    /// What only later rules have.
    fn administer_since_two(&mut self, admin: &Admin) {
        match admin {
            Admin::WithdrawFees(funds) => {
                *self.fees.entry(funds.asset).or_default() -= i128::from(funds.amount.0);
            }
            Admin::BeginRun(spec) => {
                let skipped = spec.life.map_or(0, |tag| (1 << 34) + u64::from(tag.0) * (1 << 14));
                self.skipped += skipped;
            }
            Admin::RemoveMarket { market } => self.market_mut(*market).removed = true,
            Admin::SetClientNamesMax { max } => self.order_names.max = *max as usize,
            _ => {}
        }
    }

    fn set_intake(&mut self, actor: Actor, wanted: Intake) {
        let operators = self.intake == IntakeState::StoppedByOperator;
        match (actor, wanted) {
            _ if self.rules == Rules::One => {}
            (Actor::Node, Intake::All) if !operators => self.intake = IntakeState::All,
            (Actor::Node, Intake::Cancels) if !operators => self.intake = IntakeState::StoppedByNode,
            (Actor::Node, _) => {}
            (_, Intake::All) => self.intake = IntakeState::All,
            (_, Intake::Cancels) => self.intake = IntakeState::StoppedByOperator,
        }
    }

    pub(super) fn account_mut(&mut self, id: AccountId) -> &mut Account {
        &mut self.accounts[id.0 as usize - 1]
    }

    pub(super) fn add_market(&mut self, spec: &MarketSpec) {
        let scale = |asset: AssetId| 10u128.pow(u32::from(self.scales[asset.0 as usize - 1]));
        self.markets.push(Market {
            removed: false,
            base: spec.base,
            quote: spec.quote,
            quote_per_tick_lot: u128::from(spec.tick_e9) * u128::from(spec.lot_e8) * scale(spec.quote) / 10u128.pow(17),
            fees_in_quote: spec.fees.paid_in() == FeeAsset::Quote,
            base_per_lot: u128::from(spec.lot_e8) * scale(spec.base) / 10u128.pow(8),
            limits: spec.limits,
            maker_ppm: i128::from(spec.fees.maker().0),
            taker_ppm: i128::from(spec.fees.taker().0),
            status: spec.status,
            last_price: None,
            trade_count: 0,
            queues: Default::default(),
        });
    }
}

fn is_asked(query: &Query, order: &Order) -> bool {
    query.market.is_none() || order.market == query.market
}
