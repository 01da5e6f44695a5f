//! Administrative commands on their way to the engine, and their events on the way back once they are released.
//!
//! The ops listener's tasks share one ring to the engine; answers are matched to requests by number. At most
//! `REQUESTS_MAX` requests are pending; more are refused at once.

use crate::status::lifecycle::Lifecycle;
use crate::status::watermarks::Watermark;
use book::codec::{self, PayloadVersion, RECORD_BYTES_MAX};
use book::command::{Acted, Command};
use book::event::Event;
use book::units::{Seq, TsNs};
use rtrb::{Consumer, Producer, RingBuffer};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Administrative commands that may be pending at once.
pub const REQUESTS_MAX: usize = 256;

/// A command on its way to the engine.
#[derive(Debug)]
pub struct AdminRequest {
    pub number: u64,
    pub acted: Acted,
}

/// The events of a command. They may be read only once `seq` is released.
#[derive(Debug)]
pub struct AdminAnswer {
    pub number: u64,
    pub seq: u64,
    pub ts_ns: u64,
    pub events: Vec<Event>,
}

#[derive(Debug, thiserror::Error)]
pub enum AdminPortError {
    #[error("too many administrative commands are pending; try again")]
    Busy,
    #[error("the act does not fit the {RECORD_BYTES_MAX} bytes that a record of the log may have: shorten its texts")]
    TooLarge,
    #[error("the node is stopping; the log shows whether the command took effect (pinion log dump)")]
    Stopping,
}

/// The end of the ops listener.
pub struct AdminPort {
    state: Mutex<PortState>,
    released: Watermark<Seq>,
    lifecycle: Arc<Lifecycle>,
}

struct PortState {
    requests: Producer<AdminRequest>,
    answers: Consumer<AdminAnswer>,
    /// Answers that have arrived and are not yet released, oldest first.
    held: std::collections::VecDeque<AdminAnswer>,
    waiting: HashMap<u64, oneshot::Sender<AdminAnswer>>,
    number_last: u64,
}

/// The engine loop's end.
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

/// Whether the longest record of this act, at the latest time, keeps the bound of a record.
fn fits_a_record(acted: &Acted) -> bool {
    let command = Command::Acted(Box::new(acted.clone()));
    let mut record = vec![0; RECORD_BYTES_MAX];
    codec::encode(PayloadVersion::Two, TsNs(u64::MAX), &command, &mut record).is_ok()
}

impl AdminPort {
    /// Sends one command and waits until its effect is released.
    pub async fn submit(&self, acted: Acted) -> Result<AdminAnswer, AdminPortError> {
        let receiver = self.send(acted)?;
        receiver.await.map_err(|_| AdminPortError::Stopping)
    }

    /// Sends one command. A later [`AdminPort::poll`] delivers the answer, once the command is released.
    pub fn send(&self, acted: Acted) -> Result<oneshot::Receiver<AdminAnswer>, AdminPortError> {
        // Here and not on the pinned core, which could only end.
        if !fits_a_record(&acted) {
            return Err(AdminPortError::TooLarge);
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.lifecycle.is_stopping() {
            return Err(AdminPortError::Stopping);
        }
        // No more requests than the ring of answers has places, so the engine loop never finds that ring full.
        if state.waiting.len() >= REQUESTS_MAX {
            return Err(AdminPortError::Busy);
        }
        state.number_last += 1;
        let number = state.number_last;
        state.requests.push(AdminRequest { number, acted }).map_err(|_| AdminPortError::Busy)?;
        let (sender, receiver) = oneshot::channel();
        state.waiting.insert(number, sender);
        Ok(receiver)
    }

    /// Whether a command is pending: sent, and its answer not delivered yet.
    pub fn has_pending(&self) -> bool {
        !self.state.lock().unwrap_or_else(PoisonError::into_inner).waiting.is_empty()
    }

    /// Delivers released answers to the tasks that wait for them; the ops listener calls this about every millisecond.
    /// Returns how many were released.
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
                // The client may have disconnected meanwhile; the command stays in force.
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
