//! The administrators' way into the log: commands in, their events out once they are durable.
//!
//! The edge's threads share one ring to the engine; answers come back by request number. At most `REQUESTS_MAX` are under
//! way, more are refused at once.

use crate::status::lifecycle::Lifecycle;
use crate::status::watermarks::Watermark;
use book::command::Command;
use book::event::Event;
use book::units::Seq;
use rtrb::{Consumer, Producer, RingBuffer};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Commands of administrators under way at once.
pub const REQUESTS_MAX: usize = 256;

/// A command on its way to the engine.
#[derive(Debug)]
pub struct AdminRequest {
    pub number: u64,
    pub command: Command,
}

/// What a command did. May be looked at only when `seq` is released.
#[derive(Debug)]
pub struct AdminAnswer {
    pub number: u64,
    pub seq: u64,
    pub ts_ns: u64,
    pub events: Vec<Event>,
}

#[derive(Debug, thiserror::Error)]
pub enum AdminPortError {
    #[error("too many administrative commands are under way; try again")]
    Busy,
    #[error("the node is stopping; whether the command took effect shows in the log")]
    Stopping,
}

/// The edge's end.
pub struct AdminPort {
    state: Mutex<PortState>,
    released: Watermark<Seq>,
    lifecycle: Arc<Lifecycle>,
}

struct PortState {
    requests: Producer<AdminRequest>,
    answers: Consumer<AdminAnswer>,
    /// Answers that came and are not durable yet, oldest first.
    held: std::collections::VecDeque<AdminAnswer>,
    waiting: HashMap<u64, oneshot::Sender<AdminAnswer>>,
    number_last: u64,
}

/// The engine's end.
pub struct AdminInlet {
    pub requests: Consumer<AdminRequest>,
    pub answers: Producer<AdminAnswer>,
}

/// Answers leave the port once `released` has reached their command.
pub fn admin_port(released: Watermark<Seq>, lifecycle: Arc<Lifecycle>) -> (AdminPort, AdminInlet) {
    let (requests, requests_out) = RingBuffer::new(REQUESTS_MAX);
    let (answers_in, answers) = RingBuffer::new(REQUESTS_MAX);
    let state = PortState {
        requests,
        answers,
        held: std::collections::VecDeque::new(),
        waiting: HashMap::new(),
        number_last: 0,
    };
    let port = AdminPort { state: Mutex::new(state), released, lifecycle };
    (port, AdminInlet { requests: requests_out, answers: answers_in })
}

impl AdminPort {
    /// Sends one command and waits until what it did is durable.
    pub async fn submit(&self, command: Command) -> Result<AdminAnswer, AdminPortError> {
        let receiver = self.send(command)?;
        receiver.await.map_err(|_| AdminPortError::Stopping)
    }

    /// Sends one command. The answer comes by a later [`AdminPort::poll`], once what it did is durable.
    pub fn send(&self, command: Command) -> Result<oneshot::Receiver<AdminAnswer>, AdminPortError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.lifecycle.is_stopping() {
            return Err(AdminPortError::Stopping);
        }
        // Bounded by what is waited for, so the answers' ring can hold every answer and the engine never blocks on it.
        if state.waiting.len() >= REQUESTS_MAX {
            return Err(AdminPortError::Busy);
        }
        state.number_last += 1;
        let number = state.number_last;
        state.requests.push(AdminRequest { number, command }).map_err(|_| AdminPortError::Busy)?;
        let (sender, receiver) = oneshot::channel();
        state.waiting.insert(number, sender);
        Ok(receiver)
    }

    /// Hands released answers to whoever waits; called every millisecond or so by the edge. Returns how many.
    pub fn poll(&self) -> usize {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(answer) = state.answers.pop() {
            state.held.push_back(answer);
        }
        let released = self.released.get().0;
        let mut count = 0;
        while state.held.front().is_some_and(|a| a.seq <= released) {
            let Some(answer) = state.held.pop_front() else { break };
            if let Some(sender) = state.waiting.remove(&answer.number) {
                // Nobody waits any more when the client went away; the command stands all the same.
                let _ = sender.send(answer);
            }
            count += 1;
        }
        if self.lifecycle.is_stopping() && state.held.is_empty() && state.requests.is_abandoned() {
            state.waiting.clear();
        }
        count
    }
}
