//! Commands over many orders at once: mass cancel, cancel on disconnect, status queries.
//!
//! Each handles at most `CANCELS_PER_COMMAND_MAX` orders. When orders remain, the answer says `more`, and the node
//! sends the command again as `continued`. A block takes effect with the first part, so that no order is placed between
//! two.

use crate::command::{BlockChange, CodMode, CodScope, DownCause, MassCancel, MassScope};
use crate::command::{Query, SessionDown, SetSession, Side};
use crate::engine::{CANCELS_PER_COMMAND_MAX, Engine};
use crate::event::{CancelReason, Event, MassCanceled, OrderStatus, Rejected, SessionState, Sink};
use crate::ids::{AccountId, ClOrdId, ClientKey, MarketId, OrderId, SessionId};
use crate::mutation::{Mutation, Planted};
use crate::phases::lets_out;
use crate::reject::RejectReason;
use crate::session::{Block, COD_WINDOW_MS_MAX};
use crate::slab::{NIL, Order};
use crate::units::{PriceTicks, QtyLots};

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

impl Engine {
    pub(crate) fn mass_cancel<S: Sink>(&mut self, mass: &MassCancel, sink: &mut S) {
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
        let (count, more) = match mass.scope {
            MassScope::Market => self.cancel_market(&filter, sink),
            MassScope::Session | MassScope::Account => self.cancel_filtered(account, &filter, reason, by, sink),
        };
        sink.push(Event::MassCanceled(MassCanceled {
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

    /// Cancels the account's orders that fit, oldest first. Gives how many, and whether more of them remain. Under
    /// rules 1 orders on a halted market stay, unless the kill switch, a disconnect or an administrator cancels them.
    fn cancel_filtered<S: Sink>(
        &mut self,
        account: AccountId,
        filter: &Filter,
        reason: CancelReason,
        by: (SessionId, ClOrdId),
        sink: &mut S,
    ) -> (u32, bool) {
        let spares_halted = reason == CancelReason::MassCancel && !by.0.is_none();
        let mut count = 0;
        let mut at = self.accounts.at(account).open_head;
        while at != NIL {
            let slot = at;
            at = self.open.younger(slot);
            let order = self.pool.orders.get(slot);
            assert!(order.account == account, "an account's list has its own orders only");
            let stays = spares_halted && !lets_out(self.rules, self.markets[order.market.idx()].rules.status);
            if !filter.admits(order) || stays {
                continue;
            }
            if count == CANCELS_PER_COMMAND_MAX {
                return (count, true);
            }
            self.cancel_slot(slot, reason, by, sink);
            count += 1;
        }
        (count, false)
    }

    /// Cancels the market's orders that fit, buys before sells and better prices first. Gives how many, and whether
    /// more of them remain.
    fn cancel_market<S: Sink>(&mut self, filter: &Filter, sink: &mut S) -> (u32, bool) {
        let mut count = 0;
        for side in [Side::Buy, Side::Sell] {
            let mut level = self.markets[filter.market.idx()].book.ladder(side).best();
            while let Some(best) = level {
                let mut at = self.pool.levels.head(best.level);
                while at != NIL {
                    let slot = at;
                    let order = self.pool.orders.get(slot);
                    assert!(order.market == filter.market, "a market's book has its own orders only");
                    at = order.next;
                    if !filter.admits(order) {
                        continue;
                    }
                    if count == CANCELS_PER_COMMAND_MAX {
                        return (count, true);
                    }
                    self.cancel_slot(slot, CancelReason::Admin, (SessionId::NONE, ClOrdId(0)), sink);
                    count += 1;
                }
                let ladder = self.markets[filter.market.idx()].book.ladder(side);
                level = ladder.after(&self.pool.levels, best.key);
            }
        }
        (count, false)
    }

    pub(crate) fn session_down<S: Sink>(&mut self, down: &SessionDown, sink: &mut S) {
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
        let unasked = (SessionId::NONE, ClOrdId(0));
        let (count, more) = self.cancel_filtered(account, &filter, CancelReason::Disconnect, unasked, sink);
        if count > 0 {
            sink.push(Event::MassCanceled(MassCanceled {
                session: down.session,
                cl_ord_id: ClOrdId(0),
                account,
                market: MarketId::NONE,
                scope: if filter.session.is_some() { MassScope::Session } else { MassScope::Account },
                count,
                blocked: false,
                more,
            }));
        }
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

    pub(crate) fn query<S: Sink>(&mut self, query: &Query, sink: &mut S) {
        // A drop copy may read what it may not trade, so `authorise` would be too strict here.
        let session = self.sessions.get(query.session);
        let own = query.session.is_none() || session.is_some_and(|s| s.account == query.account);
        let Some(account) = self.accounts.get(query.account).filter(|_| own) else {
            sink.push(status_of(query, None, 0));
            return;
        };
        let target = &query.target;
        let wants_all = target.order_id.is_none() && target.cl_ord_id.0 == 0 && target.client_key.is_none();
        if !wants_all {
            match self.find_own(query.session, query.account, query.market, target) {
                Ok(slot) => sink.push(status_of(query, Some(self.pool.orders.get(slot)), 0)),
                Err(_) => sink.push(status_of(query, None, 0)),
            }
            return;
        }
        let fits = |slot: &u32| query.market.is_none() || self.pool.orders.get(*slot).market == query.market;
        let total = self.open.of(account).filter(fits).count() as u32;
        if total == 0 {
            sink.push(status_of(query, None, 0));
        }
        let slots = self.open.of(account).filter(fits).take(CANCELS_PER_COMMAND_MAX as usize);
        for (idx, slot) in slots.enumerate() {
            sink.push(status_of(query, Some(self.pool.orders.get(slot)), total - 1 - idx as u32));
        }
    }
}

/// The answer to a query. Without an order it says that there is none, or none any more.
fn status_of(query: &Query, order: Option<&Order>, remaining: u32) -> Event {
    Event::OrderStatus(OrderStatus {
        session: query.session,
        request: query.request,
        order_id: order.map_or(OrderId::NONE, |o| o.id),
        cl_ord_id: order.map_or(query.target.cl_ord_id, |o| o.cl_ord_id),
        account: query.account,
        market: order.map_or(query.market, |o| o.market),
        side: order.map_or(Side::Buy, |o| o.traits.side()),
        price: order.map_or(PriceTicks(0), |o| o.price),
        leaves: order.map_or(QtyLots(0), |o| o.leaves),
        cum: order.map_or(QtyLots(0), |o| o.cum),
        post_only: order.is_some_and(|o| o.traits.post_only()),
        remaining,
    })
}
