//! Executes administrative commands one at a time, and keeps the registry up to date with their effects.
//!
//! Invariant: after a command is sent, no other is sent until the registry contains its effects, even if the client
//! that sent it disconnects, or a panic ends what was waiting for the answer: then the shadow gives the registry anew.

use super::answer::Done;
use super::refusal::Refusal;
use crate::faults::fault::PanicFault;
use crate::host::threads::message_of;
use crate::ops::registry::Registry;
use crate::replica::questions::ShadowPort;
use crate::rings::admin_port::AdminPort;
use crate::status::Status;
use crate::status::restarts::Worker;
use book::command::{Act, Acted, Actor};
use book::event::Event;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

/// How often the registry is asked for after a panic, and the pause between: about ten seconds.
const RELOAD_ATTEMPTS: u32 = 1_000;
const RELOAD_PAUSE: Duration = Duration::from_millis(10);

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
    shadow: ShadowPort,
    status: Arc<Status>,
}

impl CommandQueue {
    pub fn new(port: Arc<AdminPort>, registry: Registry, shadow: ShadowPort, status: Arc<Status>) -> Self {
        Self { port, registry: RwLock::new(registry), turn: tokio::sync::Mutex::new(()), shadow, status }
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
            match AssertUnwindSafe(self.submit_all(&caller, to_acts)).catch_unwind().await {
                Ok(outcome) => outcome,
                Err(panic) => {
                    let message = message_of(&*panic);
                    self.status.restarts.note_request(Worker::Ops, message);
                    self.reload().await;
                    Err(Refusal::internal(message.to_owned()))
                }
            }
        });
        work.await.unwrap_or_else(|error| Err(Refusal::internal(error.to_string())))
    }

    async fn submit_all(
        &self,
        caller: &Caller,
        to_acts: impl FnOnce(&Registry) -> Result<Vec<Act>, Refusal>,
    ) -> Result<Vec<Done>, Refusal> {
        let acts = to_acts(&self.registry())?;
        let mut done = Vec::with_capacity(acts.len());
        for act in acts {
            done.push(self.submit(caller, act).await?);
        }
        Ok(done)
    }

    /// To be called before the first request that follows a panic of the ops thread.
    pub async fn begin_again(&self) {
        let _turn = self.turn.lock().await;
        self.reload().await;
    }

    /// Replaces the registry by one of the shadow's state, once no command is pending. The turn must be held.
    async fn reload(&self) {
        let released = &self.status.watermarks.released;
        for _ in 0..RELOAD_ATTEMPTS {
            if !self.port.has_pending()
                && let Ok(registry) = self.shadow.ask(released.get(), |replica| Registry::of(&replica.engine)).await
            {
                *self.registry.write().unwrap_or_else(PoisonError::into_inner) = registry;
                return;
            }
            tokio::time::sleep(RELOAD_PAUSE).await;
        }
        tracing::error!(
            "the names of accounts, sessions and keys could not be read again after a panic: restart the node"
        );
    }

    async fn submit(&self, caller: &Caller, act: Act) -> Result<Done, Refusal> {
        let answer = self.port.submit(caller.acted(act.clone())).await?;
        let done = Done { seq: answer.seq, ts_ns: answer.ts_ns, act, events: answer.events };
        PanicFault::strike("ops_command");
        self.registry.write().unwrap_or_else(PoisonError::into_inner).apply(&done.act, &done.events);
        let refused = done.events.iter().find_map(|event| match event {
            Event::AdminRejected { reason } => Some(Refusal::rejected(*reason, done.seq)),
            Event::Rejected(rejected) => Some(Refusal::mass_cancel_rejected(rejected.reason, done.seq)),
            _ => None,
        });
        refused.map_or(Ok(done), Err)
    }
}
