//! Who may do what.

use super::{Naive, Turn, at_mut};
use crate::command::*;
use crate::event::*;
use crate::ids::*;
use crate::reject::{AdminReason, RejectReason};
use crate::rules::Rules;

impl Naive {
    pub(super) fn act(&mut self, acted: &Acted) {
        match &acted.act {
            Act::Admin(admin) if self.may(acted) => self.administer(acted.actor, admin),
            Act::MassCancel(mass) if self.may(acted) => self.mass_cancel(mass, Turn::First),
            Act::Admin(_) => self.events.push(Event::AdminRejected { reason: AdminReason::NotAuthorised }),
            Act::MassCancel(mass) => self.events.push(Event::Rejected(Rejected {
                session: mass.session,
                cl_ord_id: mass.cl_ord_id,
                client_key: ClientKey::NONE,
                account: mass.account,
                market: mass.market,
                reason: RejectReason::NotAuthorised,
                template: 0,
            })),
        }
    }

    fn may(&self, acted: &Acted) -> bool {
        let id = match acted.actor {
            Actor::Ops => return true,
            Actor::Node => {
                return matches!(
                    acted.act,
                    Act::Admin(Admin::SetRules { .. } | Admin::BeginRun(_) | Admin::SetIntake(_))
                );
            }
            Actor::Key(id) => id,
        };
        let Some(key) = super::at(&self.keys, id.0) else { return false };
        let expired = key.spec.expires.0 != 0 && key.spec.expires < self.now;
        if key.revoked || expired {
            return false;
        }
        let (account, needs) = match &acted.act {
            Act::MassCancel(mass) if mass.scope == MassScope::Account && mass.session == SessionId::NONE => {
                (mass.account, PERMISSION_TRADE)
            }
            Act::Admin(Admin::SetAccountBlock { account, .. }) => (*account, PERMISSION_TRADE),
            Act::Admin(Admin::Withdraw(funds)) => (funds.account, PERMISSION_WITHDRAW),
            Act::Admin(Admin::RevokeKey { key: name }) => return *name == key.spec.key,
            Act::Admin(_) | Act::MassCancel(_) => return false,
        };
        account == key.spec.account && key.spec.permissions & needs == needs
    }

    /// Whether a session may send one more request that is no order: 1,000 a second, or 20 over many orders, from a
    /// store of two seconds; and only one over many orders at a time.
    pub(super) fn passes_requests(&mut self, session: SessionId, over_many: bool) -> bool {
        let by_session = |unended: &&super::Unended| match unended.of {
            Unfinished::MassCancel(mass) => mass.session == session,
            Unfinished::Count(query) | Unfinished::Tell(query) => query.session == session,
            Unfinished::SessionDown(_) | Unfinished::EndLife(_) => false,
        };
        let is_busy = over_many && self.unended.iter().find(by_session).is_some();
        let (now, is_bounded) = (u128::from(self.now.0), self.rules == Rules::Two);
        let Some(session) = at_mut(&mut self.sessions, session.0).filter(|_| is_bounded) else { return true };
        let drained_at = session.requests_drained_at.max(now) + if over_many { 50_000_000 } else { 1_000_000 };
        let passes = !is_busy && drained_at <= now + 2_000_000_000;
        if passes {
            session.requests_drained_at = drained_at;
        }
        passes
    }

    /// Whether the throttle of a session lets one more order through now; if so, the order counts.
    pub(super) fn passes_throttle(&mut self, session: SessionId) -> bool {
        let now = u128::from(self.now.0);
        let Some(session) = at_mut(&mut self.sessions, session.0) else { return true };
        let Throttle { orders_per_second: rate, burst } = session.throttle;
        if rate == 0 {
            return true;
        }
        let drain_ns = u128::from(1_000_000_000 / rate);
        let drained_at = session.drained_at.max(now) + drain_ns;
        let passes = drained_at <= now + drain_ns * u128::from(burst.max(1));
        if passes {
            session.drained_at = drained_at;
        }
        passes
    }
}
