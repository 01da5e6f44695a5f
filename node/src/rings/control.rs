//! Changes of reference data on their way from the engine to the gateway: assets, markets and sessions.
//!
//! A full ring stops the engine from running commands. A change is in force for the gateway once its command is
//! released.

use api::binary::decode::Sender;
use book::command::CodMode;
use book::engine::Engine;
use book::event::Event;
use book::ids::{AccountId, SessionId, UserName};
use book::units::Seq;

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
        })
    }
}

impl SessionFacts {
    pub fn sender(&self) -> Sender {
        Sender { session: self.session, account: self.account, drop_copy: self.drop_copy }
    }
}
