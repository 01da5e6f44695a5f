//! Commands over many orders at once: mass cancel, cancel on disconnect, status queries.
//!
//! Each handles at most `CANCELS_PER_COMMAND_MAX` orders, and under rules 2 it looks at no more than
//! `VISITS_PER_COMMAND_MAX`. What is left is the next command of the log: under rules 1 the same one as `continued`,
//! from the oldest order on again; under rules 2 `Continue`, which begins with the order at which the part before it
//! stopped. If that order has ended, a part begins with the oldest again. A block takes effect with the first part, so
//! that no order is placed between two.

mod query;

use crate::command::{BlockChange, CodMode, CodScope, DownCause, MassCancel, MassScope};
use crate::command::{Rest, SessionDown, SetSession, Side, Unfinished};
use crate::engine::{CANCELS_PER_COMMAND_MAX, Engine, VISITS_PER_COMMAND_MAX};
use crate::event::{CancelReason, Event, MassCanceled, Rejected, SessionState, Sink};
use crate::ids::{AccountId, ClOrdId, ClientKey, MarketId, OrderId, SessionId};
use crate::mutation::{Mutation, Planted};
use crate::phases::lets_out;
use crate::reject::RejectReason;
use crate::rules::Rules;
use crate::session::{Block, COD_WINDOW_MS_MAX};
use crate::slab::{NIL, Order};
use crate::units::PriceTicks;

/// Which orders are meant: those that fit every condition.
#[derive(Clone, Copy, Debug)]
struct Filter {
    session: Option<SessionId>,
    market: MarketId,
    side: Option<Side>,
    price_min: PriceTicks,
    price_max: PriceTicks,
    cancel_group: u8,
    spare_persistent: bool,
}

impl Filter {
    fn admits(&self, order: &Order) -> bool {
        self.session.is_none_or(|s| order.session == s)
            && (self.market.is_none() || order.market == self.market)
            && self.side.is_none_or(|s| order.traits.side() == s)
            && self.price_min <= order.price
            && order.price <= self.price_max
            && (self.cancel_group == 0 || order.cancel_group == self.cancel_group)
            && !(self.spare_persistent && order.traits.persist_on_disconnect())
    }
}

/// What is cancelled, why, and with which order it begins.
#[derive(Clone, Copy, Debug)]
struct Sweep {
    filter: Filter,
    reason: CancelReason,
    by: (SessionId, ClOrdId),
    from: OrderId,
}

/// How far one command has come, and the order at which it stopped, if more may follow.
#[derive(Clone, Copy, Debug)]
struct Part {
    visits_left: u32,
    count: u32,
    next: Option<OrderId>,
}

impl Part {
    /// Whether the command may look at one more order; the next part begins with it otherwise.
    fn visits(&mut self, order: &Order) -> bool {
        match self.visits_left.checked_sub(1) {
            Some(left) => self.visits_left = left,
            None => self.next = Some(order.id),
        }
        self.next.is_none()
    }

    /// Whether the command may handle one more order that fits; the next part begins with it otherwise.
    fn takes(&mut self, order: &Order) -> bool {
        if self.count == CANCELS_PER_COMMAND_MAX {
            self.next = Some(order.id);
        } else {
            self.count += 1;
        }
        self.next.is_none()
    }
}

impl Engine {
    /// Continues a command where its last part stopped.
    pub(crate) fn go_on<S: Sink>(&mut self, rest: &Rest, sink: &mut S) {
        match &rest.of {
            Unfinished::MassCancel(mass) => self.mass_cancel_from(mass, rest.at, sink),
            Unfinished::SessionDown(down) => self.session_down_from(down, rest.at, rest.count, sink),
            Unfinished::Count(query) => self.count_open(query, rest, sink),
            Unfinished::Tell(query) => self.tell_open(query, rest, sink),
        }
    }

    fn new_part(&self) -> Part {
        let is_bounded = (Rules::Two <= self.rules).planted(Mutation::VisitedWithoutBound, |_| false);
        Part { visits_left: if is_bounded { VISITS_PER_COMMAND_MAX } else { u32::MAX }, count: 0, next: None }
    }

    /// Says with which order a command goes on, if it stopped at one. Under rules 1 `more` alone says that it goes on.
    fn announce<S: Sink>(&self, of: Unfinished, count: u32, part: &Part, sink: &mut S) {
        if let Some(at) = part.next.filter(|_| Rules::Two <= self.rules) {
            let at = at.planted(Mutation::PartsFromTheHead, |_| OrderId::NONE);
            sink.push(Event::Unfinished(Rest { of, at, count }));
        }
    }

    pub(crate) fn mass_cancel<S: Sink>(&mut self, mass: &MassCancel, sink: &mut S) {
        self.mass_cancel_from(mass, OrderId::NONE, sink);
    }

    fn mass_cancel_from<S: Sink>(&mut self, mass: &MassCancel, from: OrderId, sink: &mut S) {
        let account = match self.admit_mass_cancel(mass) {
            Ok(account) => account,
            Err(reason) => {
                sink.push(Event::Rejected(Rejected {
                    session: mass.session,
                    cl_ord_id: mass.cl_ord_id,
                    client_key: ClientKey::NONE,
                    account: mass.account,
                    market: mass.market,
                    reason,
                    template: 0,
                }));
                return;
            }
        };
        let blocked = self.change_block(mass, account);
        let filter = Filter {
            session: (mass.scope == MassScope::Session).then_some(mass.session),
            market: mass.market,
            side: mass.side,
            price_min: mass.price_min.unwrap_or(PriceTicks(0)),
            price_max: mass.price_max.unwrap_or(PriceTicks(u32::MAX)),
            cancel_group: mass.cancel_group,
            spare_persistent: false,
        };
        let kills = mass.block == BlockChange::Set;
        let kills = kills.planted(Mutation::RestOfKillPlain, |kills| kills && !mass.continued);
        let reason = if kills { CancelReason::KillSwitch } else { CancelReason::MassCancel };
        let by = (mass.session, mass.cl_ord_id);
        let part = match mass.scope {
            MassScope::Market => self.cancel_market(&Sweep { filter, reason, by, from }, sink),
            MassScope::Session | MassScope::Account => {
                self.cancel_filtered(account, &Sweep { filter, reason, by, from }, sink)
            }
        };
        sink.push(Event::MassCanceled(MassCanceled {
            session: mass.session,
            cl_ord_id: mass.cl_ord_id,
            account,
            market: mass.market,
            scope: mass.scope,
            count: part.count,
            blocked,
            more: part.next.is_some(),
        }));
        self.announce(Unfinished::MassCancel(MassCancel { continued: true, ..*mass }), 0, &part, sink);
    }

    /// The account whose orders are meant. A session reaches its own account only; administrators come without a
    /// session.
    fn admit_mass_cancel(&self, mass: &MassCancel) -> Result<AccountId, RejectReason> {
        if let Some(session) = self.sessions.get(mass.session) {
            let own = mass.account.is_none() || mass.account == session.account;
            // Only an operator lifts the block of an account, and a block that an operator has set.
            let lifts_operators = mass.block == BlockChange::Lift
                && (mass.scope == MassScope::Account || session.blocked == Block::Operator);
            if !own || session.drop_copy || mass.scope == MassScope::Market || lifts_operators {
                return Err(RejectReason::NotAuthorised);
            }
            return self.admit_mass_market(mass).map(|()| session.account);
        }
        if !mass.session.is_none() || mass.scope == MassScope::Session {
            return Err(RejectReason::NotAuthorised);
        }
        let account = if mass.scope == MassScope::Market { AccountId::NONE } else { mass.account };
        if mass.scope != MassScope::Market && self.accounts.get(account).is_none() {
            return Err(RejectReason::NotAuthorised);
        }
        self.admit_mass_market(mass)?;
        if mass.scope == MassScope::Market && mass.market.is_none() {
            return Err(RejectReason::UnknownInstrument);
        }
        Ok(account)
    }

    fn admit_mass_market(&self, mass: &MassCancel) -> Result<(), RejectReason> {
        if mass.market.is_none() {
            return Ok(());
        }
        let market = self.market(mass.market).ok_or(RejectReason::UnknownInstrument)?;
        let by_client = !mass.session.is_none() && mass.block != BlockChange::Set;
        let refused = by_client && !lets_out(self.rules, market.rules.status);
        if refused { Err(RejectReason::NotTrading) } else { Ok(()) }
    }

    /// Sets or lifts the kill switch of the scope. Gives whether the scope is blocked now.
    fn change_block(&mut self, mass: &MassCancel, account: AccountId) -> bool {
        // The first part has set or lifted it; a command since may have done the opposite, and that stands.
        let is_settled = mass.continued.planted(Mutation::BlockSetByEveryPart, |_| false);
        let change = if is_settled { BlockChange::Keep } else { mass.block };
        match mass.scope {
            MassScope::Session => self.sessions.get_mut(mass.session).is_some_and(|session| {
                session.blocked = match (change, session.blocked) {
                    (BlockChange::Set, Block::None) => Block::Own,
                    (BlockChange::Lift, _) => Block::None,
                    (BlockChange::Keep | BlockChange::Set, before) => before,
                };
                session.blocked.is_set()
            }),
            MassScope::Account => self.accounts.get_mut(account).is_some_and(|account| {
                account.blocked = match change {
                    BlockChange::Keep => account.blocked,
                    BlockChange::Set => true,
                    BlockChange::Lift => false,
                };
                account.blocked
            }),
            MassScope::Market => false,
        }
    }

    /// The slot of the order with which a part over an account's orders begins: the oldest one, unless a part before it
    /// stopped at an order that is still open.
    fn first_of(&self, account: AccountId, from: OrderId) -> u32 {
        let found = self.pool.orders.find(from).filter(|slot| self.pool.orders.get(*slot).account == account);
        found.unwrap_or_else(|| self.accounts.at(account).open_head)
    }

    /// Cancels the account's orders that fit, oldest first. Under rules 1 orders on a halted market stay, unless the
    /// kill switch, a disconnect or an administrator cancels them.
    fn cancel_filtered<S: Sink>(&mut self, account: AccountId, sweep: &Sweep, sink: &mut S) -> Part {
        let spares_halted = sweep.reason == CancelReason::MassCancel && !sweep.by.0.is_none();
        let mut part = self.new_part();
        let mut at = self.first_of(account, sweep.from);
        while at != NIL {
            let slot = at;
            at = self.open.younger(slot);
            let order = self.pool.orders.get(slot);
            assert!(order.account == account, "an account's list has its own orders only");
            if !part.visits(order) {
                break;
            }
            let stays = spares_halted && !lets_out(self.rules, self.markets.at(order.market.idx()).rules.status);
            if !sweep.filter.admits(order) || stays {
                continue;
            }
            if !part.takes(order) {
                break;
            }
            self.cancel_slot(slot, sweep.reason, sweep.by, sink);
        }
        part
    }

    /// Cancels the market's orders that fit, buys before sells and better prices first.
    fn cancel_market<S: Sink>(&mut self, sweep: &Sweep, sink: &mut S) -> Part {
        let market = sweep.filter.market;
        let begin = self.pool.orders.find(sweep.from).filter(|slot| self.pool.orders.get(*slot).market == market);
        let begin = begin.map(|slot| (slot, *self.pool.orders.get(slot)));
        let mut part = self.new_part();
        for side in [Side::Buy, Side::Sell] {
            let ladder = self.markets.at(market.idx()).book.ladder(side);
            let (mut level, mut at) = match begin {
                Some((_, order)) if order.traits.side() != side && side == Side::Buy => continue,
                Some((slot, order)) if order.traits.side() == side => {
                    let before = ladder.key(order.price).checked_sub(1);
                    (before.map_or(ladder.best(), |key| ladder.after(&self.pool.levels, key)), slot)
                }
                _ => (ladder.best(), NIL),
            };
            while let Some(best) = level {
                if at == NIL {
                    at = self.pool.levels.head(best.level);
                }
                at = self.cancel_level(at, sweep, &mut part, sink);
                if part.next.is_some() {
                    return part;
                }
                level = self.markets.at(market.idx()).book.ladder(side).after(&self.pool.levels, best.key);
            }
        }
        part
    }

    /// Cancels the orders that fit from this one on to the end of its queue, and gives `NIL`.
    fn cancel_level<S: Sink>(&mut self, mut at: u32, sweep: &Sweep, part: &mut Part, sink: &mut S) -> u32 {
        while at != NIL {
            let slot = at;
            let order = self.pool.orders.get(slot);
            assert!(order.market == sweep.filter.market, "a market's book has its own orders only");
            at = order.next;
            if !part.visits(order) {
                break;
            }
            if !sweep.filter.admits(order) {
                continue;
            }
            if !part.takes(order) {
                break;
            }
            self.cancel_slot(slot, CancelReason::Admin, (SessionId::NONE, ClOrdId(0)), sink);
        }
        at
    }

    pub(crate) fn session_down<S: Sink>(&mut self, down: &SessionDown, sink: &mut S) {
        self.session_down_from(down, OrderId::NONE, 0, sink);
    }

    /// `before` is how many orders the parts before this one have cancelled: after a report that says `more`, another
    /// one follows.
    fn session_down_from<S: Sink>(&mut self, down: &SessionDown, from: OrderId, before: u32, sink: &mut S) {
        let Some(session) = self.sessions.get(down.session) else { return };
        let takes_effect = matches!(
            (session.cod_mode, down.cause),
            (CodMode::Both, _)
                | (CodMode::OnDisconnect, DownCause::Disconnect)
                | (CodMode::OnLogout, DownCause::Logout)
        );
        let takes_effect = takes_effect.planted(Mutation::RestOfDisconnectKept, |takes| takes && !down.continued);
        if !takes_effect {
            return;
        }
        let account = session.account;
        let filter = Filter {
            session: (session.cod_scope == CodScope::Session).then_some(down.session),
            market: MarketId::NONE,
            side: None,
            price_min: PriceTicks(0),
            price_max: PriceTicks(u32::MAX),
            cancel_group: 0,
            spare_persistent: true,
        };
        let by = (SessionId::NONE, ClOrdId(0));
        let part = self.cancel_filtered(account, &Sweep { filter, reason: CancelReason::Disconnect, by, from }, sink);
        let canceled = before.saturating_add(part.count);
        if canceled > 0 {
            sink.push(Event::MassCanceled(MassCanceled {
                session: down.session,
                cl_ord_id: ClOrdId(0),
                account,
                market: MarketId::NONE,
                scope: if filter.session.is_some() { MassScope::Session } else { MassScope::Account },
                count: part.count,
                blocked: false,
                more: part.next.is_some(),
            }));
        }
        self.announce(Unfinished::SessionDown(SessionDown { continued: true, ..*down }), canceled, &part, sink);
    }

    pub(crate) fn set_session<S: Sink>(&mut self, set: &SetSession, sink: &mut S) {
        if let Some(session) = self.sessions.get_mut(set.session) {
            session.cod_mode = set.cod_mode;
            session.cod_scope = set.cod_scope;
            session.cod_window_ms = set.cod_window_ms.min(COD_WINDOW_MS_MAX);
        }
        if let Some(state) = self.session_state(set.session, set.request) {
            sink.push(Event::SessionState(state));
        }
    }

    /// The state of a session, as `SessionState` on the wire reports it.
    pub fn session_state(&self, id: SessionId, request: ClOrdId) -> Option<SessionState> {
        let session = self.sessions.get(id)?;
        Some(SessionState {
            session: id,
            request,
            cl_ord_id_last: session.cl_ord_id_last,
            open_orders: session.open_count,
            cod_mode: session.cod_mode,
            cod_scope: session.cod_scope,
            cod_window_ms: session.cod_window_ms,
            blocked: session.blocked.is_set(),
        })
    }
}
