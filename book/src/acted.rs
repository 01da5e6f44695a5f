//! What people do, with who did it: the record of an act, and the check that its actor may do it.
//!
//! Invariant: the engine itself checks the actor's rights, from its own state. A door may refuse earlier; what it lets
//! through is refused here if the actor has no right to it.

use crate::command::{Admin, Command, MassCancel, MassScope};
use crate::engine::Engine;
use crate::event::{Event, Rejected, Sink};
use crate::ids::{AccountId, ClientKey, KeyId};
use crate::mutation::{Mutation, Planted};
use crate::reject::{AdminReason, RejectReason};
use crate::session::Key;
use crate::units::{Stamp, TsNs};
use bincode::{Decode, Encode};

/// Who acts. Kinds are only ever appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Actor {
    /// The bearer of the operators' token, who may do everything.
    Ops,
    /// The node itself, which raises the rules of a new log and does nothing else.
    Node,
    /// The bearer of an API key, who may act for the key's own account as far as the key's permissions go.
    Key(KeyId),
}

/// What is done. Kinds are only ever appended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Act {
    Admin(Admin),
    MassCancel(MassCancel),
}

/// The longest text of `Acted`, in bytes.
pub const ACTED_TEXT_BYTES_MAX: usize = 64;

/// An act, with who did it and how. Only `actor` and `act` have an effect; the texts are for those who read the log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Acted {
    pub actor: Actor,
    /// The method and the path of a request, or the name of another way in.
    pub method: String,
    /// The address from which the request came; empty when there is none.
    pub address: String,
    /// The request's own id, as the door gave or received it; empty when there is none.
    pub request_id: String,
    pub act: Act,
}

/// The bits of `KeySpec::permissions`.
pub const PERMISSION_READ: u8 = 1 << 0;
pub const PERMISSION_TRADE: u8 = 1 << 1;
pub const PERMISSION_WITHDRAW: u8 = 1 << 2;

impl Act {
    /// The act as logs under rules 1 have it, without its actor.
    pub fn into_bare(self) -> Command {
        match self {
            Self::Admin(admin) => Command::Admin(Box::new(admin)),
            Self::MassCancel(mass) => Command::MassCancel(mass),
        }
    }
}

impl Acted {
    /// An act of the operators that no request of a door stands behind.
    pub fn by_ops(act: Act) -> Self {
        Self::by(Actor::Ops, act)
    }

    /// An act of the node itself.
    pub fn by_node(admin: Admin) -> Self {
        Self::by(Actor::Node, Act::Admin(admin))
    }

    /// The administrator's command that this act is, if it is one.
    pub fn admin(&self) -> Option<&Admin> {
        match &self.act {
            Act::Admin(admin) => Some(admin),
            Act::MassCancel(_) => None,
        }
    }

    fn by(actor: Actor, act: Act) -> Self {
        Self { actor, method: String::new(), address: String::new(), request_id: String::new(), act }
    }
}

impl From<Admin> for Acted {
    fn from(admin: Admin) -> Self {
        Self::by_ops(Act::Admin(admin))
    }
}

impl Engine {
    #[cold]
    pub(crate) fn act<S: Sink>(&mut self, stamp: Stamp, acted: &Acted, sink: &mut S) {
        let may = self.may(stamp.ts, acted.actor, &acted.act).planted(Mutation::RightsNotChecked, |_| true);
        match &acted.act {
            Act::Admin(admin) if may => self.administer(admin, sink),
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
            Actor::Node => matches!(act, Act::Admin(Admin::SetRules { .. })),
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
