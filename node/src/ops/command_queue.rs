//! Where administrators' requests become commands, one at a time, and the registry follows.
//!
//! Invariant: from the moment a command is sent until the registry has taken in what it did, no other is sent; and that
//! does not end when the client goes away.

use super::answer::Done;
use super::refusal::Refusal;
use crate::ops::registry::Registry;
use crate::rings::admin_port::AdminPort;
use book::command::Command;
use book::event::Event;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

pub struct CommandQueue {
    port: Arc<AdminPort>,
    registry: RwLock<Registry>,
    /// Held while a command is under way. Administration is rare: order is worth more than speed.
    turn: tokio::sync::Mutex<()>,
}

impl CommandQueue {
    pub fn new(port: Arc<AdminPort>, registry: Registry) -> Self {
        Self { port, registry: RwLock::new(registry), turn: tokio::sync::Mutex::new(()) }
    }

    pub fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands on what has become durable. Returns how many answers.
    pub fn poll(&self) -> usize {
        self.port.poll()
    }

    /// Sends the commands that `intent` names, in order, until one is refused. Ends when all is durable.
    pub async fn execute(
        self: Arc<Self>,
        intent: impl FnOnce(&Registry) -> Result<Vec<Command>, Refusal> + Send + 'static,
    ) -> Result<Vec<Done>, Refusal> {
        // A task of its own: when the client goes away this future is dropped, and the registry must follow all the same.
        let work = tokio::spawn(async move {
            let _turn = self.turn.lock().await;
            let commands = intent(&self.registry())?;
            let mut done = Vec::with_capacity(commands.len());
            for command in commands {
                done.push(self.submit(command).await?);
            }
            Ok(done)
        });
        work.await.unwrap_or_else(|error| Err(Refusal::internal(error.to_string())))
    }

    async fn submit(&self, command: Command) -> Result<Done, Refusal> {
        let answer = self.port.submit(command.clone()).await?;
        let done = Done { seq: answer.seq, ts_ns: answer.ts_ns, command, events: answer.events };
        self.registry.write().unwrap_or_else(PoisonError::into_inner).apply(&done.command, &done.events);
        let refused = done.events.iter().find_map(|event| match event {
            Event::AdminRejected { reason } => Some(Refusal::rejected(*reason, done.seq)),
            Event::Rejected(rejected) => Some(Refusal::mass_cancel_rejected(rejected.reason, done.seq)),
            _ => None,
        });
        refused.map_or(Ok(done), Err)
    }
}
