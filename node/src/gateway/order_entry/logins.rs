//! Logins on their way, and the threads that check their passwords.
//!
//! Invariants: a login is in one place at a time: it waits for its turn, is being checked, is verified and about to be
//! let in, or is wrong and about to be rejected; a thread has as many checks as its ring has room for.

use crate::gateway::login_locks::{Claim, LoginLocks};
use crate::gateway::login_queue::LoginQueue;
use crate::gateway::passwords::{ATTEMPTS_MAX, Finding, PasswordPort};
use crate::gateway::refusal_log::RefusalLog;
use crate::gateway::verified::{Verified, VerifiedKey};
use crate::reactor::ports::ConnId;
use book::ids::SessionId;
use book::units::TsNs;
use std::collections::VecDeque;
use std::net::IpAddr;

/// Every login has a number, and is in one of these places.
pub(super) struct Logins {
    pub(super) queue: LoginQueue,
    pub(super) locks: LoginLocks,
    pub(super) checkers: Vec<Checker>,
    pub(super) key: VerifiedKey,
    /// Their passwords are verified; the sessions open in this order.
    pub(super) verified: VecDeque<VerifiedLogin>,
    /// Their passwords are wrong; rejected when they are due, in this order.
    pub(super) wrong: VecDeque<(TsNs, ConnId)>,
    number_last: u64,
    pub(super) refusal_log: RefusalLog,
    pub(super) lock_log: RefusalLog,
}

/// A login whose password was verified.
pub(super) struct VerifiedLogin {
    pub(super) conn: ConnId,
    pub(super) session: SessionId,
    pub(super) number: u64,
    /// Which of the session's passwords it was.
    pub(super) password_number: u32,
}

/// A checking thread, and what it checks, in the order of its verdicts.
pub(super) struct Checker {
    pub(super) port: PasswordPort,
    pub(super) in_check: VecDeque<InCheck>,
}

/// A login whose password is being checked. Kept here, because its connection may end meanwhile, and the outcome counts
/// all the same.
pub(super) struct InCheck {
    pub(super) conn: ConnId,
    pub(super) address: IpAddr,
    pub(super) claim: Claim,
    pub(super) number: u64,
    pub(super) session: Option<SessionId>,
    /// What is remembered if the password is right; nothing for an unknown user.
    pub(super) digest: Option<Verified>,
    /// Which of the session's passwords it is checked against.
    pub(super) password_number: u32,
}

impl Logins {
    pub(super) fn new(ports: Vec<PasswordPort>, key: VerifiedKey, queue: LoginQueue, locks: LoginLocks) -> Self {
        assert!(!ports.is_empty(), "some thread checks passwords");
        let checkers = ports.into_iter().map(|port| Checker { port, in_check: VecDeque::new() }).collect();
        Self {
            queue,
            locks,
            checkers,
            key,
            verified: VecDeque::new(),
            wrong: VecDeque::new(),
            number_last: 0,
            refusal_log: RefusalLog::default(),
            lock_log: RefusalLog::default(),
        }
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.number_last += 1;
        self.number_last
    }

    /// The checking thread that has the least to do, if one has room.
    pub(super) fn free_checker(&self) -> Option<usize> {
        let free = self.checkers.iter().enumerate().filter(|(_, checker)| checker.in_check.len() < ATTEMPTS_MAX);
        free.min_by_key(|(_, checker)| checker.in_check.len()).map(|(idx, _)| idx)
    }

    pub(super) fn next_verdict(&mut self) -> Option<(InCheck, Finding)> {
        let (checker, verdict) =
            self.checkers.iter_mut().find_map(|c| c.port.verdicts.pop().ok().map(|verdict| (c, verdict)))?;
        let checked = checker.in_check.pop_front().expect("a verdict follows an attempt");
        assert!(checked.conn == verdict.conn, "verdicts come in the order of the attempts");
        Some((checked, verdict.finding))
    }
}
