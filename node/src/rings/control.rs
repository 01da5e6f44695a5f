//! Changes of reference data on their way from the engine to the gateway: assets, markets and sessions.
//!
//! A full ring stops the engine from running commands. A change is in force for the gateway once its command is
//! released: the gate is at the reading end, where `next` is the only way to get a change, and it requires the
//! watermark. Invariant: sequences in the ring never fall.

use crate::faults::mutation::{Mutation, Planted};
use api::binary::decode::Sender;
use book::command::CodMode;
use book::engine::Engine;
use book::event::{Event, WindowBegan};
use book::ids::{AccountId, SessionId, UserName};
use book::rules::Rules;
use book::run::LifeTag;
use book::units::Seq;
use rtrb::{Consumer, Producer, RingBuffer};

/// Changes between engine and gateway.
pub const CONTROLS: usize = 1 << 10;
/// The most changes that one command can cause.
pub const CONTROLS_PER_COMMAND_MAX: usize = 4;

/// One change, in force once `seq` is released.
#[derive(Debug)]
pub struct Control {
    pub seq: Seq,
    pub change: Change,
}

#[derive(Debug)]
pub enum Change {
    /// An asset or market was added or changed: the gateway checks prices against ticks and quantities against lots.
    Instruments(Event),
    /// A session was added or changed.
    Session(Box<SessionFacts>),
    /// The window of a session that has lost its connection.
    Window(WindowBegan),
    /// An operator ends the session's connection.
    Disconnect(SessionId),
    /// The rules that are in force.
    Rules(Rules),
}

/// The gateway's end.
pub struct ControlOut {
    ring: Consumer<Control>,
}

/// A ring with room for this many changes.
pub fn control(changes: usize) -> (Producer<Control>, ControlOut) {
    let (producer, consumer) = RingBuffer::new(changes);
    (producer, ControlOut { ring: consumer })
}

impl ControlOut {
    /// The next change, if its command is released.
    #[inline]
    pub fn next(&mut self, released: Seq) -> Option<Control> {
        let seq = self.ring.peek().ok()?.seq;
        let is_in_force = (seq <= released).planted(Mutation::ControlBeforeRelease, |_| true);
        if is_in_force { self.ring.pop().ok() } else { None }
    }
}

/// What the gateway knows of a session: how to check its login, and its cancel-on-disconnect settings.
#[derive(Debug, Clone)]
pub struct SessionFacts {
    pub session: SessionId,
    pub account: AccountId,
    pub user: UserName,
    pub password_hash: String,
    pub drop_copy: bool,
    pub cod_mode: CodMode,
    pub cod_window_ms: u32,
    /// Counts the lives that it has begun by itself; the tag of the present one, if it is such a one.
    pub lives: u32,
    pub life: Option<LifeTag>,
    pub removed: bool,
}

impl SessionFacts {
    pub fn of(engine: &Engine, id: SessionId) -> Option<Self> {
        let session = engine.sessions().get(id)?;
        Some(Self {
            session: id,
            account: session.account,
            user: session.user,
            password_hash: session.password_hash.clone(),
            drop_copy: session.drop_copy,
            cod_mode: session.cod_mode,
            cod_window_ms: session.cod_window_ms,
            lives: session.lives,
            life: session.life_in(engine.run()),
            removed: session.removed,
        })
    }
}

impl SessionFacts {
    pub fn sender(&self) -> Sender {
        Sender { session: self.session, account: self.account, drop_copy: self.drop_copy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change that says which command it is of.
    fn change(seq: u64) -> Control {
        let facts = SessionFacts {
            session: SessionId(seq as u32),
            account: AccountId(1),
            user: UserName::new("U1").expect("a valid name"),
            password_hash: String::new(),
            drop_copy: false,
            cod_mode: CodMode::Off,
            cod_window_ms: 0,
            lives: 0,
            life: None,
            removed: false,
        };
        Control { seq: Seq(seq), change: Change::Session(Box::new(facts)) }
    }

    #[test]
    fn no_change_is_in_force_before_its_command_is_released() {
        let (mut inward, mut outward) = control(4);
        for seq in [7, 7, 8, 9] {
            inward.push(change(seq)).expect("there is room");
        }
        let mut in_force = |released| {
            let next = || outward.next(Seq(released));
            let changes = std::iter::from_fn(next).map(|control| match control.change {
                Change::Session(facts) => facts.session.0,
                other => panic!("{other:?}"),
            });
            changes.collect::<Vec<u32>>()
        };
        assert!(in_force(6).is_empty());
        assert_eq!(in_force(8), [7, 7, 8]);
        assert!(in_force(8).is_empty());
        assert_eq!(in_force(9), [9]);
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn a_change_that_is_in_force_too_early_is_noticed() {
        crate::faults::mutation::assert_noticed(
            Mutation::ControlBeforeRelease,
            no_change_is_in_force_before_its_command_is_released,
        );
    }
}
