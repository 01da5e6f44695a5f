//! Executes administrative commands one at a time, and keeps the registry up to date with their effects.
//!
//! Invariant: after a command is sent, no other is sent until the registry contains its effects, even if the client
//! that sent it disconnects.

use super::answer::Done;
use super::refusal::Refusal;
use crate::ops::registry::Registry;
use crate::rings::admin_port::AdminPort;
use book::command::{Act, Acted, Actor};
use book::event::Event;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// The request on whose behalf an act is sent, as the log will name it.
#[derive(Clone, Debug)]
pub struct Caller {
    pub method: String,
    pub address: String,
    pub request_id: String,
}

impl Caller {
    /// The bearer of the operators' token acts, because the ops listener serves no other.
    fn acted(&self, act: Act) -> Acted {
        let Self { method, address, request_id } = self.clone();
        Acted { actor: Actor::Ops, method, address, request_id, act }
    }
}

pub struct CommandQueue {
    port: Arc<AdminPort>,
    registry: RwLock<Registry>,
    /// Held while a command is pending. Administrative commands are rare, so order matters more than speed.
    turn: tokio::sync::Mutex<()>,
}

impl CommandQueue {
    pub fn new(port: Arc<AdminPort>, registry: Registry) -> Self {
        Self { port, registry: RwLock::new(registry), turn: tokio::sync::Mutex::new(()) }
    }

    pub fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers answers whose commands are released. Returns how many.
    pub fn poll(&self) -> usize {
        self.port.poll()
    }

    /// Sends the acts that `to_acts` makes, in order, until one is refused. Returns once all of them are released.
    pub async fn execute(
        self: Arc<Self>,
        caller: Caller,
        to_acts: impl FnOnce(&Registry) -> Result<Vec<Act>, Refusal> + Send + 'static,
    ) -> Result<Vec<Done>, Refusal> {
        // A task of its own: when the client disconnects this future is dropped, and the registry must be updated
        // anyway.
        let work = tokio::spawn(async move {
            let _turn = self.turn.lock().await;
            let acts = to_acts(&self.registry())?;
            let mut done = Vec::with_capacity(acts.len());
            for act in acts {
                done.push(self.submit(&caller, act).await?);
            }
            Ok(done)
        });
        work.await.unwrap_or_else(|error| Err(Refusal::internal(error.to_string())))
    }

    async fn submit(&self, caller: &Caller, act: Act) -> Result<Done, Refusal> {
        let answer = self.port.submit(caller.acted(act.clone())).await?;
        let done = Done { seq: answer.seq, ts_ns: answer.ts_ns, act, events: answer.events };
        self.registry.write().unwrap_or_else(PoisonError::into_inner).apply(&done.act, &done.events);
        let refused = done.events.iter().find_map(|event| match event {
            Event::AdminRejected { reason } => Some(Refusal::rejected(*reason, done.seq)),
            Event::Rejected(rejected) => Some(Refusal::mass_cancel_rejected(rejected.reason, done.seq)),
            _ => None,
        });
        refused.map_or(Ok(done), Err)
    }
}
