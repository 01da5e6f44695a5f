//! Commands over many orders at once: mass cancel, cancel on disconnect, status queries.
//!
//! Each handles at most `CANCELS_PER_COMMAND_MAX` orders. Under rules 2 its first part looks at no more than
//! `VISITS_FIRST_MAX`, and each further one at `VISITS_PER_COMMAND_MAX`. What is left is another command of the log:
//! under rules 1 the same one as `continued`, from the oldest order on again; under rules 2 `Continue`, which goes on
//! where the part before it stopped, with the orders of an account that were open when the command came (`walks`). A
//! block takes effect with the first part. A session has one request over many orders at a time; its kill switch alone
//! may be a second one. The end of its connection makes an end that is unfinished begin again.

mod life;
mod query;

use crate::command::{BlockChange, CodScope, ConnectionEnd, MassCancel, MassScope};
use crate::command::{Rest, SessionDown, SetSession, Side, Unfinished};
use crate::engine::{CANCELS_PER_COMMAND_MAX, Engine, VISITS_FIRST_MAX, VISITS_PER_COMMAND_MAX};
use crate::event::{CancelReason, Event, MassCanceled, Rejected, SessionState, Sink, WindowBegan};
use crate::ids::{AccountId, ClOrdId, ClientKey, MarketId, OrderId, SessionId};
use crate::mutation::{Mutation, Planted};
use crate::phases::lets_out;
use crate::reject::RejectReason;
use crate::rules::Rules;
use crate::session::{Block, COD_WINDOW_MS_MAX, Request, Session};
use crate::slab::{NIL, Order};
use crate::units::PriceTicks;
use crate::walks::{Span, Walk};

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
    const EVERY: Self = Self {
        session: None,
        market: MarketId::NONE,
        side: None,
        price_min: PriceTicks(0),
        price_max: PriceTicks(u32::MAX),
        cancel_group: 0,
        spare_persistent: false,
    };

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

/// Where a part of a command begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    First,
    /// The part before it stopped at this order, and left so much of a walk. Logs of before there were walks have none.
    After {
        at: OrderId,
        span: Option<Span>,
    },
}

impl Start {
    /// The order at which the part before stopped; none for the first part.
    fn at(self) -> OrderId {
        match self {
            Self::First => OrderId::NONE,
            Self::After { at, .. } => at,
        }
    }
}

/// What is cancelled, why, and where that begins.
#[derive(Clone, Copy, Debug)]
struct Sweep {
    filter: Filter,
    reason: CancelReason,
    by: (SessionId, ClOrdId),
    start: Start,
}

/// How far one command has come, and the order at which it stopped, if more may follow.
#[derive(Clone, Copy, Debug)]
struct Part {
    visits_left: u32,
    count: u32,
    next: Option<OrderId>,
    /// The last order of the walk, if it is one over the orders of an account.
    last: u32,
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
        let start = Start::After { at: rest.at, span: self.open.walks.take(&rest.of, rest.at) };
        match &rest.of {
            Unfinished::MassCancel(mass) => self.mass_cancel_from(mass, start, sink),
            Unfinished::SessionDown(down) => self.session_down_from(down, start, rest.count, sink),
            Unfinished::Count(query) => self.count_open(query, start, rest.count, sink),
            Unfinished::Tell(query) => self.tell_open(query, start, rest.count, sink),
            Unfinished::EndLife(end) if Rules::Two <= self.rules => self.end_life(end, start, sink),
            // No command of rules 1 begins one.
            Unfinished::EndLife(_) => {}
        }
    }

    fn new_part(&self, start: Start) -> Part {
        let is_bounded = (Rules::Two <= self.rules).planted(Mutation::VisitedWithoutBound, |_| false);
        let visits_left = match start {
            _ if !is_bounded => u32::MAX,
            Start::First => VISITS_FIRST_MAX,
            Start::After { .. } => VISITS_PER_COMMAND_MAX,
        };
        Part { visits_left, count: 0, next: None, last: NIL }
    }

    /// Says with which order a command goes on, if it stopped at one, and remembers the place. Under rules 1 `more`
    /// alone says that it goes on.
    fn announce<S: Sink>(&mut self, of: Unfinished, count: u32, part: &Part, sink: &mut S) {
        if let Some(at) = part.next.filter(|_| Rules::Two <= self.rules) {
            let at = at.planted(Mutation::PartsFromTheHead, |_| OrderId::NONE);
            if part.last != NIL && !at.is_none() {
                assert!(self.pool.orders.find(at).is_some(), "a part stops at an order that is open");
                self.open.walks.begin(Walk { of, at, span: Span { next: at.slot(), last: part.last } });
            }
            sink.push(Event::Unfinished(Rest { of, at, count }));
        }
    }

    /// The orders of an account with which a part begins and ends: all of them, unless a part before it stopped.
    fn span_of(&self, account: AccountId, start: Start) -> Span {
        let (head, tail) = (self.accounts.at(account).open_head, self.accounts.at(account).open_tail);
        match start {
            Start::First => Span { next: head, last: tail },
            Start::After { span: Some(span), .. } => span.planted(Mutation::WalkTakesLaterOrders, |span| Span {
                last: if span.next == NIL { NIL } else { tail },
                ..span
            }),
            Start::After { at, span: None } => {
                let found = self.pool.orders.find(at).filter(|slot| self.pool.orders.get(*slot).account == account);
                Span { next: found.unwrap_or(head), last: tail }
            }
        }
    }

    /// Whether the orders of a walk are open ones of the account that it is about, in the order of its list.
    pub(crate) fn is_sound(&self, walk: &Walk) -> bool {
        let by_session = |id| self.sessions.get(id).map(|session| session.account);
        let account = match walk.of {
            Unfinished::MassCancel(mass) if mass.scope == MassScope::Market => None,
            Unfinished::MassCancel(mass) => by_session(mass.session).or(Some(mass.account)),
            Unfinished::SessionDown(down) => by_session(down.session),
            Unfinished::EndLife(end) => by_session(end.session),
            Unfinished::Count(query) | Unfinished::Tell(query) => Some(query.account),
        };
        let Some(account) = account.and_then(|id| self.accounts.get(id)) else { return false };
        let Span { next, last } = walk.span;
        let mut before = self.open.of(account).take_while(|slot| *slot != last);
        let comes_first = next == NIL || next == last || before.any(|slot| slot == next);
        comes_first && if last == NIL { next == NIL } else { self.open.of(account).any(|slot| slot == last) }
    }

    pub(crate) fn mass_cancel<S: Sink>(&mut self, mass: &MassCancel, sink: &mut S) {
        self.mass_cancel_from(mass, Start::First, sink);
    }

    fn mass_cancel_from<S: Sink>(&mut self, mass: &MassCancel, start: Start, sink: &mut S) {
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
            MassScope::Market => self.cancel_market(&Sweep { filter, reason, by, start }, sink),
            MassScope::Session | MassScope::Account => {
                self.cancel_filtered(account, &Sweep { filter, reason, by, start }, sink)
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
    fn admit_mass_cancel(&mut self, mass: &MassCancel) -> Result<AccountId, RejectReason> {
        if let Some(session) = self.sessions.get(mass.session) {
            let account = session.account;
            let own = mass.account.is_none() || mass.account == account;
            // Only an operator lifts the block of an account, and a block that an operator has set.
            let lifts_operators = mass.block == BlockChange::Lift
                && (mass.scope == MassScope::Account || session.blocked == Block::Operator);
            if !own || session.drop_copy || session.removed || mass.scope == MassScope::Market || lifts_operators {
                return Err(RejectReason::NotAuthorised);
            }
            let is_blocked = match mass.scope {
                MassScope::Account => self.accounts.at(account).blocked,
                MassScope::Session | MassScope::Market => session.blocked.is_set(),
            };
            let is_first_kill = mass.block == BlockChange::Set && !is_blocked;
            if !mass.continued && !is_first_kill {
                self.admit_request(mass.session, Request::OverMany)?;
            }
            return self.admit_mass_market(mass).map(|()| account);
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

    /// Whether a session may send one more request that is no order: it has not sent too many, and none over many
    /// orders is unfinished when this is one. What comes without a session is an operator's.
    fn admit_request(&mut self, session: SessionId, request: Request) -> Result<(), RejectReason> {
        let is_walking = request == Request::OverMany && self.open.walks.has_request(session);
        let is_walking = is_walking.planted(Mutation::RequestsWithoutBound, |_| false);
        let (now, is_bounded) = (self.stamp.ts, Rules::Two <= self.rules);
        let Some(session) = self.sessions.get_mut(session).filter(|_| is_bounded) else { return Ok(()) };
        if is_walking || !session.requests.take(now, request) { Err(RejectReason::Throttled) } else { Ok(()) }
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

    /// Cancels the account's orders that fit, oldest first. Under rules 1 orders on a halted market stay, unless the
    /// kill switch, a disconnect or an administrator cancels them.
    fn cancel_filtered<S: Sink>(&mut self, account: AccountId, sweep: &Sweep, sink: &mut S) -> Part {
        let spares_halted = sweep.reason == CancelReason::MassCancel && !sweep.by.0.is_none();
        let mut part = self.new_part(sweep.start);
        let Span { next: mut at, last } = self.span_of(account, sweep.start);
        part.last = last;
        while at != NIL {
            let slot = at;
            at = if slot == last { NIL } else { self.open.younger(slot) };
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
        let begin = self.pool.orders.find(sweep.start.at()).filter(|slot| self.pool.orders.get(*slot).market == market);
        let begin = begin.map(|slot| (slot, *self.pool.orders.get(slot)));
        let mut part = self.new_part(sweep.start);
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

    /// A connection of the session has ended: its orders are cancelled now, or when its window is over, or not at all.
    pub(crate) fn connection_end<S: Sink>(&mut self, end: &ConnectionEnd, sink: &mut S) {
        let session = self.sessions.get(end.session).filter(|session| !session.removed && Rules::Two <= self.rules);
        let Some(session) = session else { return };
        let ConnectionEnd { session: id, cause, number } = *end;
        if !session.cod_mode.cancels_on(cause) {
            return;
        }
        let window_ms = session.cod_window_ms.planted(Mutation::WindowIgnored, |_| 0);
        assert!(window_ms <= COD_WINDOW_MS_MAX, "every window that is set has its bound");
        if 0 < window_ms {
            return sink.push(Event::WindowBegan(WindowBegan { session: id, cause, number, window_ms }));
        }
        self.session_down(&SessionDown { session: id, cause, continued: false }, sink);
    }

    pub(crate) fn session_down<S: Sink>(&mut self, down: &SessionDown, sink: &mut S) {
        self.session_down_from(down, Start::First, 0, sink);
    }

    /// `before` is how many orders the parts before this one have cancelled: after a report that says `more`, another
    /// one follows.
    fn session_down_from<S: Sink>(&mut self, down: &SessionDown, start: Start, before: u32, sink: &mut S) {
        let Some(session) = self.sessions.get(down.session).filter(|session| !session.removed) else { return };
        let takes_effect = session.cod_mode.cancels_on(down.cause);
        let takes_effect = takes_effect.planted(Mutation::RestOfDisconnectKept, |takes| takes && !down.continued);
        if !takes_effect {
            return;
        }
        let (account, scope) = (session.account, session.cod_scope);
        let is_new = matches!(start, Start::First) && Rules::Two <= self.rules;
        if is_new.planted(Mutation::EndsPileUp, |_| false) {
            // An end before this one still has orders to visit: it visits all of them, also for this one.
            let span = self.span_of(account, start);
            if self.open.walks.begin_again(down, span) {
                return;
            }
        }
        let filter = Filter {
            session: (scope == CodScope::Session).then_some(down.session),
            spare_persistent: true,
            ..Filter::EVERY
        };
        let by = (SessionId::NONE, ClOrdId(0));
        let part = self.cancel_filtered(account, &Sweep { filter, reason: CancelReason::Disconnect, by, start }, sink);
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

    /// Under rules 2 a drop copy is refused, whose end must not cancel the orders of its account. So is a session that
    /// is removed.
    pub(crate) fn set_session<S: Sink>(&mut self, set: &SetSession, sink: &mut S) {
        let refused = |session: &&Session| session.removed || session.drop_copy && Rules::Two <= self.rules;
        let refused = self.sessions.get(set.session).filter(refused).is_some();
        let admitted = if refused.planted(Mutation::CopyCancels, |_| false) {
            Err(RejectReason::NotAuthorised)
        } else {
            self.admit_request(set.session, Request::Small)
        };
        if let Err(reason) = admitted {
            return sink.push(Event::Rejected(self.refused(set.session, set.request, reason)));
        }
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

    /// The answer to a request that is refused and names no order.
    fn refused(&self, session: SessionId, request: ClOrdId, reason: RejectReason) -> Rejected {
        Rejected {
            session,
            cl_ord_id: request,
            client_key: ClientKey::NONE,
            account: self.sessions.get(session).map_or(AccountId::NONE, |session| session.account),
            market: MarketId::NONE,
            reason,
            template: 0,
        }
    }
}
