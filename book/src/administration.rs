//! The commands of administrators: assets, markets, accounts, sessions, keys, deposits and withdrawals.
//!
//! Invariant: a command changes everything that it asks for, or it is refused and changes nothing.

use crate::accounts::{OPEN_ORDERS_MAX, is_account_name, new_account};
use crate::command::{
    AccountKind, AccountSpec, AccountStatus, Actor, Admin, AfterLife, FundsMove, KeySpec, LifeEnd, MarketSpec,
    MarketStatus, SessionSpec, Side,
};
use crate::command::{CodMode, FeeTier, MarketLimits, Throttle};
use crate::engine::{Engine, Market, Tape};
use crate::event::{Event, Sink};
use crate::fees::{FEE_TIERS, FeeAsset, MarketFees, check_fee_tier};
use crate::ids::{ACCOUNTS_MAX, AccountId, AssetId, MarketId, SessionId, Symbol};
use crate::instrument::{ASSET_SCALE_MAX, ASSETS_MAX, Asset, MARKETS_MAX, MarketRules, check_limits, check_rounding};
use crate::intake::{Intake, IntakeState};
use crate::keys::{KEYS_MAX, check_key};
use crate::mass::Start;
use crate::mutation::{Mutation, Planted};
use crate::names::CLIENT_NAMES_MAX;
use crate::order_book::OrderBook;
use crate::references::{Payment, Reference};
use crate::reject::AdminReason;
use crate::rules::{Rules, RulesVersion};
use crate::run::{LifeTag, RunSpec};
use crate::session::{
    Block, Bucket, COD_WINDOW_MS_MAX, DROP_COPIES_PER_ACCOUNT_MAX, SESSIONS_MAX, Session, check_password_hash,
    check_throttle,
};
use crate::units::{Ppm, TsNs, UNITS_MAX, Units};

type Answer = Result<Event, AdminReason>;

impl Engine {
    #[cold]
    pub(crate) fn administer<S: Sink>(&mut self, actor: Actor, admin: &Admin, sink: &mut S) {
        let answer = match admin {
            // Logs of rules 1 have recorded another reason: see `add_market`.
            Admin::AddMarket(spec) => self.add_market(spec),
            _ if self.rules < admin.rules_min() => Err(AdminReason::RulesTooOld),
            Admin::AddAsset { symbol, scale } => self.add_asset(*symbol, *scale),
            Admin::SetMarketStatus { market, status } => self.set_market_status(*market, *status),
            Admin::SetMarketFees { market, maker_fee, taker_fee } => {
                self.set_market_fees(*market, *maker_fee, *taker_fee)
            }
            Admin::SetMarketLimits { market, limits } => self.set_market_limits(*market, *limits),
            Admin::SetFeeTier { tier, fees } => self.set_fee_tier(*tier, *fees),
            Admin::AddAccount(spec) => self.add_account(spec),
            Admin::SetAccountStatus { account, status } => self.set_account_status(*account, *status),
            Admin::SetAccountFeeTier { account, tier } => self.set_account_fee_tier(*account, *tier),
            Admin::SetAccountLimits { account, open_orders_max } => self.set_account_limits(*account, *open_orders_max),
            Admin::SetAccountBlock { account, blocked } => self.set_account_block(*account, *blocked),
            Admin::AddSession(spec) => self.add_session(spec),
            Admin::SetSessionBlock { session, blocked } => self.set_session_block(*session, *blocked),
            Admin::SetSessionThrottle { session, throttle } => self.set_session_throttle(*session, *throttle),
            Admin::AddKey(spec) => self.add_key(spec, sink),
            Admin::RevokeKey { key } => self.revoke_key(key, sink),
            Admin::Deposit(funds) => self.deposit(funds, sink),
            Admin::Withdraw(funds) => self.withdraw(funds, sink),
            Admin::WithdrawFees(funds) => self.withdraw_fees(funds, sink),
            Admin::SetRules { version } => self.set_rules(*version),
            Admin::SetClientNamesMax { max } => self.set_client_names_max(*max),
            Admin::BeginRun(spec) => self.begin_run(spec),
            Admin::SetIntake(intake) => self.set_intake(actor, *intake),
            Admin::BeginSessionLife { session, tag } => match self.admit_life(*session, *tag) {
                Ok(end) => return self.end_life(&end, Start::First, sink),
                Err(reason) => Err(reason),
            },
            Admin::RemoveSession { session } => match self.session_mut(*session) {
                Ok(_) => {
                    return self.end_life(&LifeEnd { session: *session, then: AfterLife::Removed }, Start::First, sink);
                }
                Err(reason) => Err(reason),
            },
            Admin::SetSessionPassword { session, password_hash } => self.set_session_password(*session, password_hash),
            Admin::DisconnectSession { session } => {
                self.session_mut(*session).map(|_| Event::SessionDisconnected { session: *session })
            }
            Admin::AcknowledgeTornEnd { seq } => Ok(Event::TornEndAcknowledged { seq: *seq }),
            Admin::RemoveMarket { market } => self.remove_market(*market),
        };
        sink.push(answer.unwrap_or_else(|reason| Event::AdminRejected { reason }));
    }

    fn set_rules(&mut self, version: RulesVersion) -> Answer {
        let rules = Rules::of(version).expect("a log that asks for later rules is refused before it is applied");
        if rules <= self.rules {
            return Err(AdminReason::RulesNotRaised);
        }
        self.rules = rules;
        // Under rules 1 a drop copy could switch it on.
        self.sessions.copies_cancel_nothing();
        Ok(Event::RulesChanged { version })
    }

    fn begin_run(&mut self, spec: &RunSpec) -> Answer {
        if !self.run.admits(spec) {
            return Err(AdminReason::OutOfRange);
        }
        self.run.begin(spec);
        let skipped = spec.life.map_or(0, LifeTag::numbers_skipped);
        self.pool.orders.skip_numbers(skipped);
        Ok(Event::RunBegan { life: self.run.life, tag: self.run.tag, skipped })
    }

    fn set_client_names_max(&mut self, max: u32) -> Answer {
        if max == 0 || max > CLIENT_NAMES_MAX {
            return Err(AdminReason::OutOfRange);
        }
        self.names.set_max(max);
        Ok(Event::ClientNamesMaxChanged { max })
    }

    fn set_intake(&mut self, actor: Actor, intake: Intake) -> Answer {
        self.intake = intake_after(self.intake, actor, intake)?;
        Ok(Event::IntakeChanged { state: self.intake })
    }

    fn add_asset(&mut self, symbol: Symbol, scale: u8) -> Answer {
        if !symbol.is_valid() {
            return Err(AdminReason::NameInvalid);
        }
        if scale > ASSET_SCALE_MAX {
            return Err(AdminReason::ScaleTooLarge);
        }
        if self.accounts.assets().iter().any(|a| a.asset.symbol == symbol) {
            return Err(AdminReason::NameTaken);
        }
        if self.accounts.assets().len() >= ASSETS_MAX as usize {
            return Err(AdminReason::LimitReached);
        }
        let asset = Asset { id: AssetId(self.accounts.assets().len() as u32 + 1), symbol, scale };
        self.accounts.add_asset(asset);
        Ok(Event::AssetAdded(asset))
    }

    fn add_market(&mut self, spec: &MarketSpec) -> Answer {
        let base = self.accounts.asset(spec.base).ok_or(AdminReason::UnknownAsset)?.asset;
        let quote = self.accounts.asset(spec.quote).ok_or(AdminReason::UnknownAsset)?.asset;
        if self.market_names.contains(&spec.symbol) {
            return Err(AdminReason::NameTaken);
        }
        if self.markets.len() >= MARKETS_MAX as usize {
            return Err(AdminReason::LimitReached);
        }
        let knows_fees = Rules::Two <= self.rules || spec.fees.paid_in() == FeeAsset::Received;
        let fees = if knows_fees { spec.fees } else { MarketFees::REFUSED };
        let spec = &MarketSpec { fees, ..*spec };
        let rules = MarketRules::new(MarketId(self.markets.len() as u32 + 1), spec, &base, &quote)?;
        self.check_rounding(&rules)?;
        self.markets.push(Market { rules, book: OrderBook::default(), tape: Tape::default() });
        self.market_names.insert(spec.symbol);
        Ok(Event::MarketAdded(rules))
    }

    fn market_mut(&mut self, id: MarketId) -> Result<&mut Market, AdminReason> {
        let market = if id.is_none() { None } else { self.markets.get_mut(id.idx()) };
        market.filter(|market| !market.is_removed()).ok_or(AdminReason::UnknownMarket)
    }

    fn set_market_status(&mut self, id: MarketId, status: MarketStatus) -> Answer {
        let market = self.market_mut(id)?;
        if market.rules.status == MarketStatus::Closed && status != MarketStatus::Closed {
            return Err(AdminReason::StatusChange);
        }
        market.rules.status = status;
        Ok(Event::MarketStatusChanged { market: id, status })
    }

    /// Balances are of assets, which stay, so nothing but orders depends on a market.
    fn remove_market(&mut self, id: MarketId) -> Answer {
        let market = self.market_mut(id)?;
        if market.rules.status != MarketStatus::Closed {
            return Err(AdminReason::StatusChange);
        }
        if (0 < market.tape.open_count).planted(Mutation::RemovedWithOrders, |_| false) {
            return Err(AdminReason::OrdersOpen);
        }
        let symbol = market.rules.symbol;
        *market = Market::removed();
        self.market_names.remove(&symbol);
        Ok(Event::MarketRemoved { market: id })
    }

    fn set_market_fees(&mut self, id: MarketId, maker_fee: Ppm, taker_fee: Ppm) -> Answer {
        let Market { rules, book, .. } = self.market_mut(id)?;
        let before = rules.fees;
        let fees = MarketFees::new(maker_fee, taker_fee, before.paid_in());
        fees.check_rates()?;
        let rules = MarketRules { fees, ..*rules };
        // Each resting buy order holds the fee of its trade, as it was when the order came.
        let holds_change = fees.held_rate() != before.held_rate();
        if holds_change && book.ladder(Side::Buy).best().is_some() {
            return Err(AdminReason::OrdersHoldFee);
        }
        self.check_rounding(&rules)?;
        self.market_mut(id)?.rules = rules;
        Ok(Event::MarketRulesChanged(rules))
    }

    fn set_market_limits(&mut self, id: MarketId, limits: MarketLimits) -> Answer {
        let before = self.market_mut(id)?.rules;
        check_limits(&before, &limits)?;
        let rules = MarketRules { limits, ..before };
        self.check_rounding(&rules)?;
        self.market_mut(id)?.rules = rules;
        Ok(Event::MarketRulesChanged(rules))
    }

    /// Under rules 1 a fee may round to all of a lot.
    fn check_rounding(&self, rules: &MarketRules) -> Result<(), AdminReason> {
        match self.rules {
            Rules::One => Ok(()),
            Rules::Two => check_rounding(rules),
        }
    }

    fn set_fee_tier(&mut self, tier: u8, fees: FeeTier) -> Answer {
        check_fee_tier(tier, fees)?;
        self.fee_tiers[usize::from(tier)] = fees;
        Ok(Event::FeeTierChanged { tier })
    }

    fn add_account(&mut self, spec: &AccountSpec) -> Answer {
        if !is_account_name(&spec.name) {
            return Err(AdminReason::NameInvalid);
        }
        if self.accounts.find_by_name(&spec.name).is_some() {
            return Err(AdminReason::NameTaken);
        }
        if self.accounts.len() >= ACCOUNTS_MAX as usize {
            return Err(AdminReason::LimitReached);
        }
        if !spec.parent.is_none() {
            // A parent has no parent itself, so that "of one family" is one comparison.
            let parent = self.accounts.get(spec.parent).ok_or(AdminReason::UnknownAccount)?;
            if !parent.parent.is_none() {
                return Err(AdminReason::OutOfRange);
            }
            let is_agent = Rules::Two <= self.rules && parent.kind == AccountKind::Agent;
            if is_agent.planted(Mutation::AgentIsParent, |_| false) {
                return Err(AdminReason::ParentKind);
            }
        }
        check_tier_exists(spec.fee_tier)?;
        let account = self.accounts.add(new_account(spec.kind, spec.parent, spec.fee_tier), spec.name.clone());
        Ok(Event::AccountAdded { account })
    }

    fn set_account_status(&mut self, id: AccountId, status: AccountStatus) -> Answer {
        let account = self.accounts.get_mut(id).ok_or(AdminReason::UnknownAccount)?;
        let reopens = account.status == AccountStatus::Closed && status != AccountStatus::Closed;
        let closes_with_orders = status == AccountStatus::Closed && account.open_count > 0;
        if reopens || closes_with_orders {
            return Err(AdminReason::StatusChange);
        }
        account.status = status;
        self.account_changed(id)
    }

    fn set_account_fee_tier(&mut self, id: AccountId, tier: u8) -> Answer {
        check_tier_exists(tier)?;
        self.accounts.get_mut(id).ok_or(AdminReason::UnknownAccount)?.fee_tier = tier;
        self.account_changed(id)
    }

    fn set_account_limits(&mut self, id: AccountId, open_orders_max: u32) -> Answer {
        if open_orders_max > OPEN_ORDERS_MAX {
            return Err(AdminReason::OutOfRange);
        }
        self.accounts.get_mut(id).ok_or(AdminReason::UnknownAccount)?.open_max = open_orders_max;
        self.account_changed(id)
    }

    fn set_account_block(&mut self, id: AccountId, blocked: bool) -> Answer {
        self.accounts.get_mut(id).ok_or(AdminReason::UnknownAccount)?.blocked = blocked;
        self.account_changed(id)
    }

    fn account_changed(&self, id: AccountId) -> Answer {
        let account = self.accounts.get(id).ok_or(AdminReason::UnknownAccount)?;
        Ok(Event::AccountChanged {
            account: id,
            status: account.status,
            fee_tier: account.fee_tier,
            blocked: account.blocked,
        })
    }

    fn add_session(&mut self, spec: &SessionSpec) -> Answer {
        if self.accounts.get(spec.account).is_none() {
            return Err(AdminReason::UnknownAccount);
        }
        if !spec.user.is_valid() {
            return Err(AdminReason::NameInvalid);
        }
        check_password_hash(&spec.password_hash)?;
        // A drop copy only reads, so its disconnect must not cancel the account's orders.
        if spec.drop_copy && spec.cod_mode != CodMode::Off || spec.cod_window_ms > COD_WINDOW_MS_MAX {
            return Err(AdminReason::OutOfRange);
        }
        check_throttle(spec.throttle)?;
        // Also that of a removed session: a client that asks for its stream by its numbers must not be sent another's.
        let taken = self.sessions.find_by_user(spec.user);
        let is_present = |id: &SessionId| self.sessions.get(*id).is_some_and(|session| !session.removed);
        if taken.planted(Mutation::RemovedNameGiven, |taken| taken.filter(is_present)).is_some() {
            return Err(AdminReason::NameTaken);
        }
        let is_copy_of_same = |s: &Session| s.drop_copy && !s.removed && s.account == spec.account;
        let copies = self.sessions.iter().filter(|(_, s)| is_copy_of_same(s)).count();
        let copies_max = DROP_COPIES_PER_ACCOUNT_MAX.planted(Mutation::OneCopyTooMany, |max| max + 1);
        let too_many_copies = spec.drop_copy && copies >= copies_max;
        if too_many_copies || self.sessions.len() >= SESSIONS_MAX as usize {
            return Err(AdminReason::LimitReached);
        }
        let session = self.sessions.add(Session::new(spec));
        let SessionSpec { account, user, drop_copy, .. } = *spec;
        Ok(Event::SessionAdded { session, account, user, drop_copy })
    }

    /// A session that is not removed.
    pub(crate) fn session_mut(&mut self, id: SessionId) -> Result<&mut Session, AdminReason> {
        self.sessions.get_mut(id).filter(|session| !session.removed).ok_or(AdminReason::UnknownSession)
    }

    fn set_session_block(&mut self, id: SessionId, blocked: bool) -> Answer {
        let rules = self.rules;
        let session = self.session_mut(id)?;
        session.blocked = match (blocked, rules) {
            (false, _) => Block::None,
            (true, Rules::One) => Block::Own,
            (true, Rules::Two) => Block::Operator.planted(Mutation::OperatorsBlockLifted, |_| Block::Own),
        };
        Ok(Event::SessionChanged { session: id, blocked })
    }

    fn set_session_throttle(&mut self, id: SessionId, throttle: Throttle) -> Answer {
        check_throttle(throttle)?;
        let rules = self.rules;
        let session = self.session_mut(id)?;
        // A new throttle begins empty, so that a raised one frees the session at once.
        let before = session.bucket;
        let bucket = match rules {
            Rules::One => Bucket { throttle, ..before },
            Rules::Two => Bucket::new(throttle),
        };
        session.bucket = bucket.planted(Mutation::ThrottleStaysFull, |_| Bucket { throttle, ..before });
        Ok(Event::SessionChanged { session: id, blocked: session.blocked.is_set() })
    }

    fn add_key<S: Sink>(&mut self, spec: &KeySpec, sink: &mut S) -> Answer {
        if self.accounts.get(spec.account).is_none() {
            return Err(AdminReason::UnknownAccount);
        }
        check_key(spec)?;
        if self.keys.find(&spec.key).is_some() {
            return Err(AdminReason::NameTaken);
        }
        let has_room = match self.rules {
            Rules::One => self.keys.len() < KEYS_MAX as usize,
            Rules::Two => self.keys.has_room(self.stamp.ts),
        };
        if !has_room {
            return Err(AdminReason::LimitReached);
        }
        self.forget_keys(sink);
        self.keys.add(spec.clone());
        Ok(Event::KeyAdded { account: spec.account })
    }

    fn revoke_key<S: Sink>(&mut self, key: &str, sink: &mut S) -> Answer {
        let at = self.time_of_act();
        let account = self.keys.revoke(key, at).ok_or(AdminReason::UnknownKey)?.spec.account;
        self.forget_keys(sink);
        Ok(Event::KeyRevoked { account })
    }

    /// Forgets keys that were revoked long ago, under rules 2.
    fn forget_keys<S: Sink>(&mut self, sink: &mut S) {
        if Rules::Two <= self.rules {
            let forgotten = self.keys.forget(self.stamp.ts);
            forgotten.into_iter().flatten().for_each(|key| sink.push(Event::KeyForgotten { key }));
        }
    }

    fn deposit<S: Sink>(&mut self, funds: &FundsMove, sink: &mut S) -> Answer {
        let payment = self.payment(funds, false)?;
        if self.is_repeated(funds, &payment)? {
            return Ok(self.funds_moved(funds, true));
        }
        if !self.accounts.custody_has_room(funds.asset, funds.amount) {
            return Err(AdminReason::BalanceOverflow);
        }
        if self.accounts.get(funds.account).is_some_and(|a| a.status == AccountStatus::Closed) {
            return Err(AdminReason::StatusChange);
        }
        self.references.remember(self.time_of_act(), funds.reference, payment);
        self.accounts.deposit(funds.account, funds.asset, funds.amount, sink);
        Ok(self.funds_moved(funds, false))
    }

    fn withdraw<S: Sink>(&mut self, funds: &FundsMove, sink: &mut S) -> Answer {
        let payment = self.payment(funds, true)?;
        if self.is_repeated(funds, &payment)? {
            return Ok(self.funds_moved(funds, true));
        }
        let covered = (funds.amount <= self.available(funds)).planted(Mutation::FundsNotChecked, |_| true);
        if !covered {
            return Err(AdminReason::InsufficientFunds);
        }
        self.references.remember(self.time_of_act(), funds.reference, payment);
        self.accounts.withdraw(funds.account, funds.asset, funds.amount, sink);
        Ok(self.funds_moved(funds, false))
    }

    /// Pays earned fees out. The payment is that of no account, and what is reported as available is what is left.
    fn withdraw_fees<S: Sink>(&mut self, funds: &FundsMove, sink: &mut S) -> Answer {
        if !funds.account.is_none() {
            return Err(AdminReason::UnknownAccount);
        }
        let payment = self.amount(funds, true)?;
        if self.is_repeated(funds, &payment)? {
            return Ok(self.funds_moved(funds, true));
        }
        if self.available(funds) < funds.amount {
            return Err(AdminReason::InsufficientFunds);
        }
        self.references.remember(self.time_of_act(), funds.reference, payment);
        self.accounts.withdraw_fees(funds.asset, funds.amount, sink);
        Ok(self.funds_moved(funds, false))
    }

    /// The checks that every payment of an account passes.
    fn payment(&self, funds: &FundsMove, withdrawal: bool) -> Result<Payment, AdminReason> {
        if self.accounts.get(funds.account).is_none() {
            return Err(AdminReason::UnknownAccount);
        }
        self.amount(funds, withdrawal)
    }

    /// The checks that every payment passes.
    fn amount(&self, funds: &FundsMove, withdrawal: bool) -> Result<Payment, AdminReason> {
        if self.accounts.asset(funds.asset).is_none() {
            return Err(AdminReason::UnknownAsset);
        }
        if funds.amount == Units(0) {
            return Err(AdminReason::AmountZero);
        }
        if funds.amount.0 > UNITS_MAX {
            return Err(AdminReason::BalanceOverflow);
        }
        if funds.reference.is_none() {
            return Err(AdminReason::ReferenceMissing);
        }
        Ok(Payment { withdrawal, account: funds.account, asset: funds.asset, amount: funds.amount })
    }

    /// The time of a payment or a revocation, by which it is forgotten: none under rules 1.
    fn time_of_act(&self) -> TsNs {
        match self.rules {
            Rules::One => TsNs(0),
            Rules::Two => self.stamp.ts,
        }
    }

    /// Whether this very payment was already made.
    fn is_repeated(&self, funds: &FundsMove, payment: &Payment) -> Result<bool, AdminReason> {
        match self.references.check(self.time_of_act(), funds.reference, payment) {
            Reference::New => Ok(false),
            Reference::Repeated => Ok(true),
            Reference::Conflict => Err(AdminReason::ReferenceConflict),
            Reference::Full => Err(AdminReason::LimitReached),
        }
    }

    /// What may be paid out: of an account, or of the earned fees where there is no account.
    fn available(&self, funds: &FundsMove) -> Units {
        if funds.account.is_none() {
            return self.accounts.asset(funds.asset).map_or(Units(0), |book| book.fees);
        }
        self.accounts.get(funds.account).map_or(Units(0), |a| a.available(funds.asset))
    }

    fn funds_moved(&self, funds: &FundsMove, repeated: bool) -> Event {
        let FundsMove { account, asset, amount, .. } = *funds;
        Event::FundsMoved { account, asset, amount, available: self.available(funds), repeated }
    }
}

/// What the exchange accepts after an act of this actor: the table in `intake`.
fn intake_after(before: IntakeState, actor: Actor, wanted: Intake) -> Result<IntakeState, AdminReason> {
    let is_node = (actor == Actor::Node).planted(Mutation::NodeLiftsForOperator, |_| false);
    match (wanted, before) {
        (Intake::All, IntakeState::StoppedByOperator) if is_node => Err(AdminReason::StatusChange),
        (Intake::All, _) => Ok(IntakeState::All),
        (Intake::Cancels, IntakeState::StoppedByOperator) => Ok(IntakeState::StoppedByOperator),
        (Intake::Cancels, _) if is_node => Ok(IntakeState::StoppedByNode),
        (Intake::Cancels, _) => Ok(IntakeState::StoppedByOperator),
    }
}

fn check_tier_exists(tier: u8) -> Result<(), AdminReason> {
    if usize::from(tier) < FEE_TIERS { Ok(()) } else { Err(AdminReason::OutOfRange) }
}
