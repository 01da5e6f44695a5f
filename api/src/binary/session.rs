//! The node's side of one connection, without the socket: bytes and time in, bytes and calls out.
//!
//! ```text
//! AwaitLogin --L--> Authenticating --accept--> Open --O, Z, error--> Closed
//!     |                    '-------reject-------------------------------^
//!     '---- login timeout, any packet but a login, malformed packet ----^
//! ```
//! The first packet must be a login. The caller verifies it and calls `accept` or `reject`. The caller also keeps the
//! numbered messages (`stream`) and sends them through here, so that heartbeats know when the connection is idle.
//!
//! Invariants: what a session does follows from the bytes, not from how they were cut into chunks; sequenced packets
//! carry consecutive numbers from the one that `accept` announced; `Output::close` is called once, last.

use crate::binary::login::{LoginAccepted, LoginError, LoginReject, LoginRequest, SessionName};
use crate::binary::soup::{PacketError, PacketKind, PacketReader, packet_header};
use crate::binary::stream::SessionSeq;
use book::units::TsNs;
use thiserror::Error;

const MS_NS: u64 = 1_000_000;

/// Default heartbeat interval: the node sends a heartbeat when it has sent nothing else for this long.
pub const HEARTBEAT_MS: u32 = 1_000;
/// Default login timeout: the node closes a connection whose login has not arrived by then.
pub const LOGIN_MS_MAX: u32 = 15_000;
/// Default silence limit: the node closes a connection from which it has received nothing for this long.
pub const SILENCE_MS: u32 = 15_000;
/// Smallest silence limit. A shorter one would close healthy connections, because clients send a heartbeat a second.
pub const SILENCE_MS_MIN: u32 = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    AwaitLogin,
    Authenticating,
    Open,
    Closed,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CloseReason {
    #[error("malformed packet: {0}")]
    Packet(#[from] PacketError),
    #[error("no login within the login timeout")]
    NoLogin,
    #[error("malformed login: {0}")]
    MalformedLogin(#[from] LoginError),
    #[error("packet type {kind:?} before the login was accepted")]
    NotLoggedIn { kind: PacketKind },
    #[error("packet type {kind:?}, which a client does not send on an open session")]
    Unexpected { kind: PacketKind },
    #[error("nothing received within the silence limit")]
    Silent,
    #[error("login rejected")]
    LoginRejected,
    #[error("logout by the client")]
    LoggedOut,
    #[error("end of session: the stream has ended")]
    Ended,
    #[error("malformed application message")]
    Protocol,
    #[error("an operator has begun a new life of this session: log in with a blank session name and sequence 0")]
    NewLife,
    #[error("an operator has changed the password of this session")]
    PasswordChanged,
    #[error("an operator has removed this session")]
    Removed,
    #[error("an operator has disconnected this session")]
    Disconnected,
}

impl CloseReason {
    /// Whether no message will follow under the name of the stream.
    fn ends_stream(self) -> bool {
        matches!(self, Self::Ended | Self::NewLife | Self::Removed)
    }
}

/// Whether the session goes on with the bytes at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// The receiver of messages is full. The session stops after this message; the caller keeps the remaining bytes and
    /// passes them again later.
    Pause,
}

/// The outbound side of a connection. Calls come in the order in which the bytes must be sent.
pub trait Output {
    /// Appends bytes to what the connection sends.
    fn send(&mut self, bytes: &[u8]);

    /// The session's last call: send the bytes appended so far, then close the connection.
    fn close(&mut self, reason: CloseReason);
}

/// The receiver of a client's requests, for calls that process received bytes.
pub trait Inbound: Output {
    /// Verify the login, then call `Session::accept` or `Session::reject`.
    fn login_requested(&mut self, login: &LoginRequest<'_>);

    /// Decode an application message. It counts as received whatever the result is.
    fn message(&mut self, bytes: &[u8]) -> Flow;

    /// The client ends the connection deliberately; `close` follows.
    fn logout_requested(&mut self);
}

/// Timeouts of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// From accepting the connection to its login.
    pub login_ms: u32,
    /// Without a byte from the client.
    pub silence_ms: u32,
    /// Without a byte to the client; then a heartbeat is sent.
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
    received_at: TsNs,
    sent_at: TsNs,
    /// Number of the next sequenced packet; `HEAD` until the login is accepted.
    next: SessionSeq,
    limits: SessionLimits,
}

impl Session {
    /// A connection that was just accepted.
    pub fn new(now: TsNs) -> Self {
        Self {
            state: State::AwaitLogin,
            reader: PacketReader::default(),
            received_at: now,
            sent_at: now,
            next: SessionSeq::HEAD,
            limits: SessionLimits::default(),
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// Replaces the default timeouts. A silence limit below `SILENCE_MS_MIN` is raised to it.
    pub fn set_limits(&mut self, limits: SessionLimits) {
        self.limits = SessionLimits { silence_ms: limits.silence_ms.max(SILENCE_MS_MIN), ..limits };
    }

    /// Processes received bytes and returns how many: all of them, unless `Inbound::message` paused. Bytes that arrive
    /// after the close are discarded.
    pub fn on_bytes(&mut self, now: TsNs, bytes: &[u8], inbound: &mut impl Inbound) -> usize {
        let mut rest = bytes;
        if self.state != State::Closed && !bytes.is_empty() && self.state != State::AwaitLogin {
            self.received_at = now;
        }
        // Moved out of `self` while a packet borrows it; an empty reader allocates nothing.
        let mut reader = std::mem::take(&mut self.reader);
        while self.state != State::Closed {
            match reader.read(&mut rest) {
                Ok(Some(packet)) => {
                    if self.on_packet(now, packet.kind, packet.payload, inbound) == Flow::Pause {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => self.close(error.into(), inbound),
            }
        }
        self.reader = reader;
        if self.state == State::Closed { bytes.len() } else { bytes.len() - rest.len() }
    }

    fn on_packet(&mut self, now: TsNs, kind: PacketKind, payload: &[u8], inbound: &mut impl Inbound) -> Flow {
        use PacketKind::{ClientHeartbeat, Debug, Login, Logout, Unsequenced};
        match (self.state, kind) {
            (_, Debug) => {}
            (State::Open, Unsequenced) => return inbound.message(payload),
            (State::Open | State::Authenticating, ClientHeartbeat) => {}
            (State::AwaitLogin, Login) => self.on_login(now, payload, inbound),
            (State::Open | State::Authenticating, Logout) => {
                inbound.logout_requested();
                self.close(CloseReason::LoggedOut, inbound);
            }
            (State::Open, kind) => self.close(CloseReason::Unexpected { kind }, inbound),
            (_, kind) => self.close(CloseReason::NotLoggedIn { kind }, inbound),
        }
        Flow::Continue
    }

    fn on_login(&mut self, now: TsNs, payload: &[u8], inbound: &mut impl Inbound) {
        match LoginRequest::read(payload) {
            Ok(login) => {
                self.state = State::Authenticating;
                self.received_at = now;
                inbound.login_requested(&login);
            }
            Err(error) => self.close(error.into(), inbound),
        }
    }

    /// Accepts the login: the first sequenced packet will carry the number `next`.
    ///
    /// Returns false and does nothing when the client has closed the connection meanwhile.
    pub fn accept(&mut self, now: TsNs, name: SessionName, next: SessionSeq, out: &mut impl Output) -> bool {
        if self.state != State::Authenticating {
            return false;
        }
        assert!(SessionSeq::FIRST <= next, "the caller has replaced HEAD by the number it stands for");
        assert!(self.next == SessionSeq::HEAD, "a connection is logged in once");
        self.next = next;
        self.state = State::Open;
        self.received_at = now;
        self.send(now, PacketKind::Accepted, &LoginAccepted { session: name, sequence: next }.write(), out);
        true
    }

    /// Received bytes wait for their turn at the caller, which receives no more until then: the client is not silent.
    pub fn bytes_wait(&mut self, now: TsNs) {
        if self.state == State::Open {
            self.received_at = now;
        }
    }

    /// The login has waited for its turn, and its password is verified now: what the client has to be heard from within
    /// the silence limit counts from here. While it waits the caller does not call `on_tick`.
    pub fn turn_begins(&mut self, now: TsNs) {
        if self.state == State::Authenticating {
            self.received_at = now;
        }
    }

    /// Rejects the login and closes. Does nothing when the client has closed the connection meanwhile.
    pub fn reject(&mut self, now: TsNs, why: LoginReject, out: &mut impl Output) {
        if self.state == State::Authenticating {
            self.send(now, PacketKind::Rejected, &[why as u8], out);
            self.close(CloseReason::LoginRejected, out);
        }
    }

    /// Sends the next message of the session's stream and returns the number that the client counts for it.
    #[inline]
    pub fn send_sequenced(&mut self, now: TsNs, message: &[u8], out: &mut impl Output) -> SessionSeq {
        assert!(self.state == State::Open, "messages are sent on open sessions");
        let seq = self.next;
        self.next = seq.next();
        assert!(SessionSeq::FIRST <= seq && seq < self.next, "numbers start at 1 and are given once");
        self.send(now, PacketKind::Sequenced, message, out);
        seq
    }

    /// Sends a message outside the stream. It has no number and is never resent.
    #[inline]
    pub fn send_unsequenced(&mut self, now: TsNs, message: &[u8], out: &mut impl Output) {
        assert!(self.state == State::Open, "messages are sent on open sessions");
        self.send(now, PacketKind::Unsequenced, message, out);
    }

    /// Ends the stream, so that no message will follow under its name, and closes.
    pub fn end_of_session(&mut self, now: TsNs, out: &mut impl Output) {
        if self.state == State::Open {
            self.send(now, PacketKind::EndOfSession, &[], out);
        }
        self.close(CloseReason::Ended, out);
    }

    /// Sends the reason as text, ends the stream where the reason is such a one, and closes.
    pub fn end_because(&mut self, now: TsNs, reason: CloseReason, out: &mut impl Output) {
        if self.state == State::Open {
            self.send(now, PacketKind::Debug, reason.to_string().as_bytes(), out);
            if reason.ends_stream() {
                self.send(now, PacketKind::EndOfSession, &[], out);
            }
        }
        self.close(reason, out);
    }

    /// Closes for a reason that the caller has found, such as a message that does not decode.
    pub fn close(&mut self, reason: CloseReason, out: &mut impl Output) {
        if self.state != State::Closed {
            self.state = State::Closed;
            out.close(reason);
        }
    }

    /// Sends a due heartbeat and enforces the timeouts. Call it at `next_deadline`; earlier calls do nothing.
    pub fn on_tick(&mut self, now: TsNs, out: &mut impl Output) {
        if self.state != State::Closed && self.silent_at() <= now {
            let reason = if self.state == State::AwaitLogin { CloseReason::NoLogin } else { CloseReason::Silent };
            return self.close(reason, out);
        }
        if self.state == State::Open && self.heartbeat_at() <= now {
            self.send(now, PacketKind::ServerHeartbeat, &[], out);
        }
    }

    /// When `on_tick` has work to do; `None` after the close.
    pub fn next_deadline(&self) -> Option<TsNs> {
        match self.state {
            State::AwaitLogin | State::Authenticating => Some(self.silent_at()),
            State::Open => Some(self.silent_at().min(self.heartbeat_at())),
            State::Closed => None,
        }
    }

    /// Received bytes do not extend the login timeout: a client that sends one byte at a time would hold its connection
    /// without ever logging in.
    fn silent_at(&self) -> TsNs {
        let limit_ms = if self.state == State::AwaitLogin { self.limits.login_ms } else { self.limits.silence_ms };
        TsNs(self.received_at.0.saturating_add(u64::from(limit_ms) * MS_NS))
    }

    fn heartbeat_at(&self) -> TsNs {
        TsNs(self.sent_at.0.saturating_add(u64::from(self.limits.heartbeat_ms) * MS_NS))
    }

    #[inline]
    fn send(&mut self, now: TsNs, kind: PacketKind, payload: &[u8], out: &mut impl Output) {
        self.sent_at = now;
        out.send(&packet_header(kind, payload.len()));
        if !payload.is_empty() {
            out.send(payload);
        }
    }
}
