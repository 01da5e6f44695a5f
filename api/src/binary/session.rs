//! The server's side of one connection, without the connection: bytes and time in, bytes and happenings out.
//!
//! ```text
//! AwaitLogin --L--> Authenticating --accept--> Open --O, Z, error--> Closed
//!     |                    '-------reject-------------------------------^
//!     '---- silence, anything but a login, bytes that are no packets ---^
//! ```
//! Nothing but a login is heard before a login. The node authenticates and answers with `accept` or `reject`. The node
//! keeps the numbered messages (`stream`) and sends them through here, so that heartbeats know when the line is idle.

use crate::binary::login::{LoginAccepted, LoginReject, LoginRequest, SessionName};
use crate::binary::soup::{PacketError, PacketKind, PacketReader, packet_header};
use crate::binary::stream::SessionSeq;
use book::units::TsNs;
use thiserror::Error;

const MS_NS: u64 = 1_000_000;

/// An idle line is filled with a heartbeat after this long.
pub const HEARTBEAT_MS: u32 = 1_000;
/// No login within this time, no connection.
pub const LOGIN_MS_MAX: u32 = 15_000;
pub const SILENCE_MS: u32 = 15_000;
pub const SILENCE_MS_MIN: u32 = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    AwaitLogin,
    Authenticating,
    Open,
    Closed,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CloseReason {
    #[error("{0}")]
    Packet(#[from] PacketError),
    #[error("no login in time")]
    NoLogin,
    #[error("a login that is not one")]
    MalformedLogin,
    #[error("packet type {kind:?} before the login was accepted")]
    NotLoggedIn { kind: PacketKind },
    #[error("packet type {kind:?} is not a client's to send now")]
    Unexpected { kind: PacketKind },
    #[error("nothing was heard for too long")]
    Silent,
    #[error("the login was rejected")]
    LoginRejected,
    #[error("the client logged out")]
    LoggedOut,
    #[error("the session was ended")]
    Ended,
    #[error("an application message that is none")]
    Protocol,
}

/// Whether to go on with the bytes at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// No room downstream: the rest stays with the caller, who brings it again later.
    Pause,
}

/// What a session says. Bytes come in the order in which they have to be sent.
pub trait SessionOutput {
    fn send(&mut self, bytes: &[u8]);

    /// Authenticate, then call `accept` or `reject`.
    fn login_requested(&mut self, login: &LoginRequest<'_>);

    /// An application message to decode. It was taken in, whatever the answer is.
    fn message(&mut self, bytes: &[u8]) -> Flow;

    /// The client said goodbye; `close` follows.
    fn logout_requested(&mut self);

    /// The last thing that a session says: send what is to be sent, then close the connection.
    fn close(&mut self, reason: CloseReason);
}

/// How long a connection may be without a login, without a word from the client, without a word to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    pub login_ms: u32,
    pub silence_ms: u32,
    pub heartbeat_ms: u32,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { login_ms: LOGIN_MS_MAX, silence_ms: SILENCE_MS, heartbeat_ms: HEARTBEAT_MS }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    state: State,
    reader: PacketReader,
    heard_at: TsNs,
    sent_at: TsNs,
    limits: SessionLimits,
}

impl Session {
    /// A connection that was just accepted.
    pub fn new(now: TsNs) -> Self {
        Self {
            state: State::AwaitLogin,
            reader: PacketReader::default(),
            heard_at: now,
            sent_at: now,
            limits: SessionLimits::default(),
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// Other times than the usual ones; a silence of less than `SILENCE_MS_MIN` is taken for that.
    pub fn set_limits(&mut self, limits: SessionLimits) {
        self.limits = SessionLimits { silence_ms: limits.silence_ms.max(SILENCE_MS_MIN), ..limits };
    }

    /// Takes bytes in and tells how many: all, unless the output paused. Bytes after the end are swallowed.
    pub fn on_bytes(&mut self, now: TsNs, bytes: &[u8], out: &mut impl SessionOutput) -> usize {
        let mut rest = bytes;
        if self.state != State::Closed && !bytes.is_empty() && self.state != State::AwaitLogin {
            self.heard_at = now;
        }
        // Out of `self` while a packet borrows it; an empty reader takes no memory.
        let mut reader = std::mem::take(&mut self.reader);
        while self.state != State::Closed {
            match reader.read(&mut rest) {
                Ok(Some(packet)) => {
                    if self.on_packet(now, packet.kind, packet.payload, out) == Flow::Pause {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => self.close(error.into(), out),
            }
        }
        self.reader = reader;
        if self.state == State::Closed { bytes.len() } else { bytes.len() - rest.len() }
    }

    fn on_packet(&mut self, now: TsNs, kind: PacketKind, payload: &[u8], out: &mut impl SessionOutput) -> Flow {
        use PacketKind::{ClientHeartbeat, Debug, Login, Logout, Unsequenced};
        match (self.state, kind) {
            (_, Debug) => {}
            (State::Open, Unsequenced) => return out.message(payload),
            (State::Open | State::Authenticating, ClientHeartbeat) => {}
            (State::AwaitLogin, Login) => self.on_login(now, payload, out),
            (State::Open | State::Authenticating, Logout) => {
                out.logout_requested();
                self.close(CloseReason::LoggedOut, out);
            }
            (State::Open, kind) => self.close(CloseReason::Unexpected { kind }, out),
            (_, kind) => self.close(CloseReason::NotLoggedIn { kind }, out),
        }
        Flow::Continue
    }

    fn on_login(&mut self, now: TsNs, payload: &[u8], out: &mut impl SessionOutput) {
        match LoginRequest::read(payload) {
            Some(login) => {
                self.state = State::Authenticating;
                self.heard_at = now;
                out.login_requested(&login);
            }
            None => self.close(CloseReason::MalformedLogin, out),
        }
    }

    /// The login was good: `next` is the number of the first message that will be sent.
    ///
    /// Without effect when the client is gone meanwhile; then `false` is returned.
    pub fn accept(&mut self, now: TsNs, name: SessionName, next: SessionSeq, out: &mut impl SessionOutput) -> bool {
        if self.state != State::Authenticating {
            return false;
        }
        assert!(SessionSeq::FIRST <= next, "a wish for the head was resolved");
        self.state = State::Open;
        self.heard_at = now;
        self.send(now, PacketKind::Accepted, &LoginAccepted { session: name, sequence: next }.write(), out);
        true
    }

    pub fn reject(&mut self, now: TsNs, why: LoginReject, out: &mut impl SessionOutput) {
        if self.state == State::Authenticating {
            self.send(now, PacketKind::Rejected, &[why as u8], out);
            self.close(CloseReason::LoginRejected, out);
        }
    }

    /// Sends the next message of the session's stream.
    #[inline]
    pub fn send_sequenced(&mut self, now: TsNs, message: &[u8], out: &mut impl SessionOutput) {
        assert!(self.state == State::Open, "messages are sent to who is logged in");
        self.send(now, PacketKind::Sequenced, message, out);
    }

    /// Sends a message outside the stream, which no resume will bring back.
    #[inline]
    pub fn send_unsequenced(&mut self, now: TsNs, message: &[u8], out: &mut impl SessionOutput) {
        assert!(self.state == State::Open, "messages are sent to who is logged in");
        self.send(now, PacketKind::Unsequenced, message, out);
    }

    /// Ends the stream for good: nothing will follow under its name.
    pub fn end_of_session(&mut self, now: TsNs, out: &mut impl SessionOutput) {
        if self.state == State::Open {
            self.send(now, PacketKind::EndOfSession, &[], out);
        }
        self.close(CloseReason::Ended, out);
    }

    /// Closes for a reason that was found outside, such as a message that did not decode.
    pub fn close(&mut self, reason: CloseReason, out: &mut impl SessionOutput) {
        if self.state != State::Closed {
            self.state = State::Closed;
            out.close(reason);
        }
    }

    /// Call when `next_deadline` has come; earlier calls do nothing.
    pub fn on_tick(&mut self, now: TsNs, out: &mut impl SessionOutput) {
        if self.state != State::Closed && self.silent_at() <= now {
            let reason = if self.state == State::AwaitLogin { CloseReason::NoLogin } else { CloseReason::Silent };
            return self.close(reason, out);
        }
        if self.state == State::Open && self.heartbeat_at() <= now {
            self.send(now, PacketKind::ServerHeartbeat, &[], out);
        }
    }

    /// When `on_tick` has something to do; `None` after the end.
    pub fn next_deadline(&self) -> Option<TsNs> {
        match self.state {
            State::AwaitLogin | State::Authenticating => Some(self.silent_at()),
            State::Open => Some(self.silent_at().min(self.heartbeat_at())),
            State::Closed => None,
        }
    }

    /// Bytes do not prolong the wait for a login, or a dripping client would hold its place for ever.
    fn silent_at(&self) -> TsNs {
        let limit_ms = if self.state == State::AwaitLogin { self.limits.login_ms } else { self.limits.silence_ms };
        TsNs(self.heard_at.0.saturating_add(u64::from(limit_ms) * MS_NS))
    }

    fn heartbeat_at(&self) -> TsNs {
        TsNs(self.sent_at.0.saturating_add(u64::from(self.limits.heartbeat_ms) * MS_NS))
    }

    #[inline]
    fn send(&mut self, now: TsNs, kind: PacketKind, payload: &[u8], out: &mut impl SessionOutput) {
        self.sent_at = now;
        out.send(&packet_header(kind, payload.len()));
        if !payload.is_empty() {
            out.send(payload);
        }
    }
}
