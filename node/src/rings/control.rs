//! What the engine tells the gateway about itself: the grid of prices and quantities, and who may come in.

use api::binary::decode::Sender;
use book::command::CodMode;
use book::engine::Engine;
use book::event::Event;
use book::ids::{AccountId, SessionId, UserName};
use book::units::Seq;

/// Things to learn between engine and gateway.
pub const CONTROLS: usize = 1 << 10;
/// One command tells at most this many.
pub const CONTROLS_PER_COMMAND_MAX: usize = 4;

/// In force once `seq` is released.
#[derive(Debug)]
pub struct Control {
    pub seq: Seq,
    pub change: Change,
}

#[derive(Debug)]
pub enum Change {
    /// Assets and markets, for the grid of prices and quantities.
    Instruments(Event),
    Session(Box<SessionFacts>),
}

/// What the door has to know of a session.
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
