//! Verifies passwords on threads of their own: one argon2 verification takes a million times as long as an order.
//!
//! ```text
//!  gateway --attempts--> | checking thread 1 | --verdicts--> gateway        one ring each way and thread
//!          --attempts--> | checking thread 2 | --verdicts-->
//! ```
//! Invariants: every attempt has one verdict, in the order of the attempts; an unknown user takes as long as a wrong
//! password. Which login is checked next, and what a verdict leads to, is for the gateway (`login_queue`).

use crate::config::{Idle, NodeConfig};
use crate::faults::fault::PanicFault;
use crate::host::threads::Life;
use crate::reactor::ports::ConnId;
use argon2::{Argon2, PasswordHash, PasswordVerifier};
use book::ids::SessionId;
use rtrb::{Consumer, Producer, RingBuffer};
use std::time::Duration;

/// Attempts at one checking thread: the one that is being verified, and the next. More wait in the login queue, where
/// each block of addresses has its turn.
pub const ATTEMPTS_MAX: usize = 2;
/// A machine with more cores has enough of them for its logins with so many.
const CHECKERS_MAX: usize = 8;
const IDLE: Duration = Duration::from_millis(1);

/// A login to verify: against the password hash of the session, or of no user when there is no such session.
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
    pub finding: Finding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The password is that of this session.
    Correct(SessionId),
    /// The user is unknown or the password is wrong.
    Wrong,
    /// The password was not verified. That says nothing about it, so the client may try again.
    NotVerified,
}

/// The gateway's end of one checking thread.
pub struct PasswordPort {
    pub attempts: Producer<Attempt>,
    pub verdicts: Consumer<Verdict>,
}

/// The verifying end, for a thread of its own.
pub struct PasswordChecker {
    attempts: Consumer<Attempt>,
    verdicts: Producer<Verdict>,
    /// The login whose password is being verified, so that a panic leaves none without a verdict.
    in_progress: Option<ConnId>,
}

pub fn password_port() -> (PasswordPort, PasswordChecker) {
    let (attempts, attempts_out) = RingBuffer::new(ATTEMPTS_MAX);
    let (verdicts, verdicts_out) = RingBuffer::new(2 * ATTEMPTS_MAX);
    let checker = PasswordChecker { attempts: attempts_out, verdicts, in_progress: None };
    (PasswordPort { attempts, verdicts: verdicts_out }, checker)
}

/// How many threads check passwords: one for each core that no pinned thread has, and one at least.
pub fn checker_count(node: &NodeConfig) -> usize {
    // Where the cores cannot be counted there is one at least.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // With a core to itself a pinned thread has kept the calling thread off it, so it is not counted here.
    let pinned = if node.idle == Idle::Spin { 0 } else { node.pinned_cores().len() };
    cores.saturating_sub(pinned).clamp(1, CHECKERS_MAX)
}

/// A hash that no password has. Verifying against it makes an unknown user take as long as a wrong password.
const UNKNOWN_USER_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

impl PasswordChecker {
    /// Verifies the waiting logins. The result is their number.
    pub fn poll(&mut self) -> usize {
        let mut count = 0;
        while !self.verdicts.is_full() {
            let Ok(attempt) = self.attempts.pop() else { break };
            count += 1;
            let conn = attempt.conn;
            self.in_progress = Some(conn);
            let finding = verify(&attempt);
            self.in_progress = None;
            self.answer(Verdict { conn, finding });
        }
        count
    }

    fn answer(&mut self, verdict: Verdict) {
        self.verdicts.push(verdict).expect("the ring has room, and this loop alone fills it");
    }

    /// Begins again after a panic: the login that was being verified is answered, and not tried again.
    fn begin_again(&mut self) {
        // The ring had room for it, and has not been filled since.
        if let Some(conn) = self.in_progress.take() {
            self.answer(Verdict { conn, finding: Finding::NotVerified });
        }
    }

    /// Runs until the gateway has dropped its end.
    #[expect(clippy::disallowed_methods, reason = "a thread of its own pauses when no login waits")]
    pub fn run(&mut self, life: Life) {
        if life == Life::Another {
            self.begin_again();
        }
        while !self.attempts.is_abandoned() {
            if self.poll() == 0 {
                std::thread::sleep(IDLE);
            }
        }
    }
}

fn verify(attempt: &Attempt) -> Finding {
    PanicFault::strike("passwords");
    let text = if attempt.session.is_some() { attempt.password_hash.as_str() } else { UNKNOWN_USER_HASH };
    let Ok(hash) = PasswordHash::new(text) else { return Finding::Wrong };
    let is_match = Argon2::default().verify_password(attempt.password.as_bytes(), &hash).is_ok();
    attempt.session.filter(|_| is_match).map_or(Finding::Wrong, Finding::Correct)
}
