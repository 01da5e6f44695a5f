//! Logins and connections that were not let in, by reason: what `/health` and `/metrics` say about it.

use super::gauge::Gauge;

/// Why a login that was sent did not open its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginRefusal {
    /// The user is unknown or the password is wrong. Answered with `J`.
    Wrong,
    /// The user had too many wrong passwords at these addresses. Closed without an answer.
    Locked,
    /// Another session's name, or a number that the stream does not have yet. Answered with `J`.
    NoSession,
    /// Too many logins wait. Closed without an answer.
    QueueFull,
    /// The check of the password failed. Closed without an answer.
    NotVerified,
}

impl LoginRefusal {
    const ALL: [Self; 5] = [Self::Wrong, Self::Locked, Self::NoSession, Self::QueueFull, Self::NotVerified];

    /// Its label in the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Locked => "locked",
            Self::NoSession => "no_session",
            Self::QueueFull => "queue_full",
            Self::NotVerified => "not_verified",
        }
    }
}

/// Why a connection to the orders port was closed when it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionRefusal {
    /// Its address has as many connections as it may have.
    Address,
    /// As many logins wait as may.
    LoginQueue,
    /// The node stops.
    Stopping,
}

impl ConnectionRefusal {
    const ALL: [Self; 3] = [Self::Address, Self::LoginQueue, Self::Stopping];

    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::LoginQueue => "login_queue",
            Self::Stopping => "stopping",
        }
    }
}

/// Its one writer is the gateway.
#[derive(Debug, Default)]
pub struct LoginStatus {
    /// Logins that wait for the check of their password.
    pub waiting: Gauge,
    /// Claims that were locked.
    pub locks: Gauge,
    refused: [Gauge; LoginRefusal::ALL.len()],
    connections_refused: [Gauge; ConnectionRefusal::ALL.len()],
}

impl LoginStatus {
    pub fn note(&self, why: LoginRefusal) {
        self.refused[why as usize].add(1);
    }

    pub fn note_connection(&self, why: ConnectionRefusal) {
        self.connections_refused[why as usize].add(1);
    }

    pub fn refused(&self, why: LoginRefusal) -> u64 {
        self.refused[why as usize].get()
    }

    pub fn connections_refused(&self, why: ConnectionRefusal) -> u64 {
        self.connections_refused[why as usize].get()
    }

    /// Refused logins by reason.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        LoginRefusal::ALL.into_iter().map(|why| (why.name(), self.refused(why)))
    }

    /// Refused connections by reason.
    pub fn connections(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ConnectionRefusal::ALL.into_iter().map(|why| (why.name(), self.connections_refused(why)))
    }

    pub fn refused_total(&self) -> u64 {
        self.all().map(|(_, count)| count).sum()
    }
}
