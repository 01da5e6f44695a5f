//! Checks passwords, off the pinned core: one argon2 verification takes a million times as long as an order.
//!
//! At most `ATTEMPTS_MAX` wait; a door under attack refuses, it does not queue. A wrong password is told only after a
//! pause (others are checked meanwhile), and an unknown user takes as long as a wrong password.

use crate::reactor::ports::ConnId;
use argon2::{Argon2, PasswordHash, PasswordVerifier};
use book::ids::SessionId;
use rtrb::{Consumer, Producer, RingBuffer};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub const ATTEMPTS_MAX: usize = 64;
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(200);
const IDLE: Duration = Duration::from_millis(1);
/// Refusals held back at once; at the limit nobody is checked until one is told.
const HELD_MAX: usize = 256;

/// A login to check: against this session's hash, or against nothing when there is no such user.
#[derive(Debug)]
pub struct Attempt {
    pub conn: ConnId,
    pub session: Option<SessionId>,
    pub password: String,
    pub password_hash: String,
}

#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    pub conn: ConnId,
    /// The session that may open, when the password was right.
    pub session: Option<SessionId>,
}

/// The gateway's end.
pub struct Doorbell {
    pub attempts: Producer<Attempt>,
    pub verdicts: Consumer<Verdict>,
}

/// The checking end; given a thread of its own.
pub struct Doorman {
    attempts: Consumer<Attempt>,
    verdicts: Producer<Verdict>,
    /// Refusals that are told later, oldest first.
    held: VecDeque<(Instant, Verdict)>,
}

pub fn door() -> (Doorbell, Doorman) {
    let (attempts, attempts_out) = RingBuffer::new(ATTEMPTS_MAX);
    let (verdicts, verdicts_out) = RingBuffer::new(2 * ATTEMPTS_MAX);
    (
        Doorbell { attempts, verdicts: verdicts_out },
        Doorman { attempts: attempts_out, verdicts, held: VecDeque::with_capacity(HELD_MAX) },
    )
}

/// A hash that no password has, so that an unknown user costs the same work.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

impl Doorman {
    /// Checks what waits and tells what is due. Returns how many were checked.
    pub fn poll(&mut self) -> usize {
        let mut count = 0;
        self.tell_held();
        while !self.verdicts.is_full() && self.held.len() < HELD_MAX {
            let Ok(attempt) = self.attempts.pop() else { break };
            count += 1;
            if is_right(&attempt) {
                let verdict = Verdict { conn: attempt.conn, session: attempt.session };
                self.verdicts.push(verdict).expect("room was checked, and this loop alone fills it");
            } else {
                let due = Instant::now() + PAUSE_AFTER_FAILURE;
                self.held.push_back((due, Verdict { conn: attempt.conn, session: None }));
            }
        }
        count
    }

    fn tell_held(&mut self) {
        let now = Instant::now();
        while self.held.front().is_some_and(|(due, _)| *due <= now) && !self.verdicts.is_full() {
            let Some((_, verdict)) = self.held.pop_front() else { return };
            self.verdicts.push(verdict).expect("room was checked, and this loop alone fills it");
        }
    }

    /// Runs until the gateway is gone.
    pub fn run(mut self) {
        while !self.attempts.is_abandoned() {
            if self.poll() == 0 {
                std::thread::sleep(IDLE);
            }
        }
    }
}

fn is_right(attempt: &Attempt) -> bool {
    let text = if attempt.session.is_some() { attempt.password_hash.as_str() } else { NOBODY };
    let Ok(hash) = PasswordHash::new(text) else { return false };
    let right = Argon2::default().verify_password(attempt.password.as_bytes(), &hash).is_ok();
    right && attempt.session.is_some()
}
