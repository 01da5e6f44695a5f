//! Verifies passwords on a thread of its own: one argon2 verification takes a million times as long as an order.
//!
//! Invariants: at most `ATTEMPTS_MAX` logins wait, and the gateway rejects further ones; a failed verdict is returned
//! only after a delay, during which other logins are verified; an unknown user takes as long as a wrong password.

use crate::faults::fault::PanicFault;
use crate::host::threads::Life;
use crate::reactor::ports::ConnId;
use argon2::{Argon2, PasswordHash, PasswordVerifier};
use book::ids::SessionId;
use rtrb::{Consumer, Producer, RingBuffer};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub const ATTEMPTS_MAX: usize = 64;
const DELAY_AFTER_FAILURE: Duration = Duration::from_millis(200);
const IDLE: Duration = Duration::from_millis(1);
/// Failed verdicts that wait for their delay at once. At the limit no password is verified until one of them is due.
const DELAYED_MAX: usize = 256;

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

/// The gateway's end.
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
    /// Failed verdicts and when they are due, oldest first.
    delayed: VecDeque<(Instant, Verdict)>,
}

pub fn password_port() -> (PasswordPort, PasswordChecker) {
    let (attempts, attempts_out) = RingBuffer::new(ATTEMPTS_MAX);
    let (verdicts, verdicts_out) = RingBuffer::new(2 * ATTEMPTS_MAX);
    (
        PasswordPort { attempts, verdicts: verdicts_out },
        PasswordChecker {
            attempts: attempts_out,
            verdicts,
            in_progress: None,
            delayed: VecDeque::with_capacity(DELAYED_MAX),
        },
    )
}

/// A hash that no password has. Verifying against it makes an unknown user take as long as a wrong password.
const UNKNOWN_USER_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

impl PasswordChecker {
    /// Verifies the waiting logins and returns the verdicts that are due. The result is the number of logins verified.
    pub fn poll(&mut self) -> usize {
        let mut count = 0;
        self.return_due();
        while !self.verdicts.is_full() && self.delayed.len() < DELAYED_MAX {
            let Ok(attempt) = self.attempts.pop() else { break };
            count += 1;
            let conn = attempt.conn;
            self.in_progress = Some(conn);
            let finding = verify(&attempt);
            self.in_progress = None;
            match finding {
                Finding::Wrong => {
                    let due = Instant::now() + DELAY_AFTER_FAILURE;
                    self.delayed.push_back((due, Verdict { conn, finding }));
                }
                _ => self.answer(Verdict { conn, finding }),
            }
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

    fn return_due(&mut self) {
        let now = Instant::now();
        while self.delayed.front().is_some_and(|(due, _)| *due <= now) && !self.verdicts.is_full() {
            let Some((_, verdict)) = self.delayed.pop_front() else { return };
            self.answer(verdict);
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
