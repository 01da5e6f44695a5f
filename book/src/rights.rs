//! The rights of actors: whether who acts may do it.
//!
//! Invariant: the engine itself checks the actor's rights, from its own state. A door may refuse earlier; what it lets
//! through is refused here if the actor has no right to it.

use crate::command::{Act, Acted, Actor, Admin, MassScope, PERMISSION_TRADE, PERMISSION_WITHDRAW};
use crate::engine::Engine;
use crate::event::{Event, Rejected, Sink};
use crate::ids::{AccountId, ClientKey};
use crate::keys::Key;
use crate::mutation::{Mutation, Planted};
use crate::reject::{AdminReason, RejectReason};
use crate::units::{Stamp, TsNs};

impl Engine {
    #[cold]
    pub(crate) fn act<S: Sink>(&mut self, stamp: Stamp, acted: &Acted, sink: &mut S) {
        let may = self.may(stamp.ts, acted.actor, &acted.act).planted(Mutation::RightsNotChecked, |_| true);
        match &acted.act {
            Act::Admin(admin) if may => self.administer(acted.actor, admin, sink),
            Act::MassCancel(mass) if may => self.mass_cancel(mass, sink),
            Act::Admin(_) => sink.push(Event::AdminRejected { reason: AdminReason::NotAuthorised }),
            Act::MassCancel(mass) => sink.push(Event::Rejected(Rejected {
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

    fn may(&self, now: TsNs, actor: Actor, act: &Act) -> bool {
        match actor {
            Actor::Ops => true,
            Actor::Node => {
                matches!(act, Act::Admin(Admin::SetRules { .. } | Admin::BeginRun(_) | Admin::SetIntake(_)))
            }
            Actor::Key(id) => self.keys.get(id).is_some_and(|key| key.is_valid(now) && key.may(act)),
        }
    }
}

impl Key {
    fn is_valid(&self, now: TsNs) -> bool {
        !self.revoked && (self.spec.expires.0 == 0 || now <= self.spec.expires)
    }

    /// What a key may do for its own account: with the permission to trade cancel and stop trading, with the
    /// permission to withdraw pay out; and give itself up.
    fn may(&self, act: &Act) -> bool {
        let may = |account: AccountId, permission: u8| {
            account == self.spec.account && self.spec.permissions & permission != 0
        };
        match act {
            Act::MassCancel(mass) => {
                mass.scope == MassScope::Account && mass.session.is_none() && may(mass.account, PERMISSION_TRADE)
            }
            Act::Admin(Admin::SetAccountBlock { account, .. }) => may(*account, PERMISSION_TRADE),
            Act::Admin(Admin::Withdraw(funds)) => may(funds.account, PERMISSION_WITHDRAW),
            Act::Admin(Admin::RevokeKey { key }) => *key == self.spec.key,
            Act::Admin(_) => false,
        }
    }
}
