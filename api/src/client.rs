//! A blocking client of the order entry and market data ports, over plain TCP: for customers, tools, tests and benches.
//!
//! A client belongs to one thread. `poll` receives, and also sends the heartbeats that keep the connection alive: call
//! it at least every few seconds. Requests are sent in order; `queue` adds one to a batch, which `flush` writes at
//! once.
//!
//! Invariant: `next_seq` is the number of the first sequenced message that `poll` has not returned, so a new connection
//! that resumes from it neither misses nor repeats a message.

use crate::binary::depth::{Depth, DepthError};
use crate::binary::login::{LoginAccepted, LoginReject, LoginRequest, PASSWORD_BYTES, SessionName, USER_BYTES};
use crate::binary::market::MarketMessage;
use crate::binary::orders::{Answer, CancelOrder, MassCancel, NewOrder, ReplaceOrder, SetSession, StatusRequest};
use crate::binary::sbe::{Framed, Message, SbeError};
use crate::binary::snapshot::{Snapshot, SnapshotError, SnapshotReader};
use crate::binary::soup::{PACKET_HEADER_BYTES, PAYLOAD_BYTES_MAX, PacketError, PacketKind, append_packet, packet_len};
use crate::binary::stream::SessionSeq;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::ops::Range;
use std::time::{Duration, Instant};
use thiserror::Error;
use zerocopy::IntoBytes;

const HEARTBEAT: Duration = Duration::from_secs(1);
const SILENCE_MAX: Duration = Duration::from_secs(15);
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// A login may wait at the node for its turn, when many come at once. A client that gives up loses its place.
const LOGIN_MAX: Duration = Duration::from_secs(120);
/// A write that takes longer means that the node has stopped reading.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// Room for several of the largest packets, so that bytes are rarely moved to make room for the next read.
const INBOX_BYTES: usize = 1 << 17;
/// A batch that grows beyond this is written without waiting for `flush`.
const OUTBOX_BYTES_MAX: usize = 1 << 16;
/// The market data port accepts any user name and password.
const MARKET_USER: &str = "public";

/// Why a call of the client failed. After `Message` and `MessageTooLong` the connection goes on; after any other error
/// connect again and resume.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error("connecting to {addr}: {source}")]
    Connect { addr: String, source: std::io::Error },
    #[error("{doing}: {source}")]
    Io { doing: &'static str, source: std::io::Error },
    #[error("the node rejected the login: {0}")]
    LoginRejected(LoginReject),
    #[error(
        "the login does not fit its packet: a user name has at most {USER_BYTES} bytes, a password {PASSWORD_BYTES}"
    )]
    LoginTooLong,
    #[error("the node did not answer the login within {} s", LOGIN_MAX.as_secs())]
    LoginUnanswered,
    #[error("the node closed the connection; connect again and resume from {}", next.0)]
    Closed { next: SessionSeq },
    #[error("nothing received for {} s; connect again and resume from {}", SILENCE_MAX.as_secs(), next.0)]
    Silent { next: SessionSeq },
    #[error("end of session: the node sends no further messages under this session name")]
    Ended,
    #[error("malformed packet from the node: {0}")]
    Packet(#[from] PacketError),
    #[error("packet type {kind:?} with {len} bytes, which a node does not send in this state")]
    Unexpected { kind: PacketKind, len: usize },
    #[error("a message of {len} bytes, a packet carries at most {PAYLOAD_BYTES_MAX}")]
    MessageTooLong { len: usize },
    /// The message is skipped and the connection goes on: a newer node may send messages that this version does not
    /// know.
    #[error("message from the node: {0}")]
    Message(#[from] SbeError),
    #[error("snapshot: {0}")]
    Snapshot(#[from] SnapshotError),
    #[error("book: {0}")]
    Depth(#[from] DepthError),
}

/// A message and its number in the stream; `None` for unsequenced messages (`StageTimes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<M> {
    pub seq: Option<SessionSeq>,
    pub message: M,
}

/// A connection to the order entry port, of a trading session or a drop copy.
#[derive(Debug)]
pub struct OrderClient {
    connection: Connection,
}

impl OrderClient {
    /// Connects, logs in and resumes the session's stream.
    ///
    /// `resume_from` is the first number to receive: `next_seq` of the last connection, `SessionSeq::FIRST` for the
    /// stream from its beginning, `SessionSeq::HEAD` for new messages only.
    pub fn connect(
        addr: impl ToSocketAddrs,
        user: &str,
        password: &str,
        resume_from: SessionSeq,
    ) -> Result<Self, ClientError> {
        let login =
            LoginRequest { user, password: password.as_bytes(), session: SessionName::BLANK, sequence: resume_from };
        Connection::open(addr, &login).map(|connection| Self { connection })
    }

    /// The name of the stream, as the node announced it.
    pub fn session_name(&self) -> SessionName {
        self.connection.name
    }

    /// Number of the next sequenced message: resume from it after a disconnect.
    pub fn next_seq(&self) -> SessionSeq {
        self.connection.next
    }

    pub fn new_order(&mut self, order: &NewOrder) -> Result<(), ClientError> {
        self.send(order)
    }

    pub fn amend(&mut self, replace: &ReplaceOrder) -> Result<(), ClientError> {
        self.send(replace)
    }

    pub fn cancel(&mut self, cancel: &CancelOrder) -> Result<(), ClientError> {
        self.send(cancel)
    }

    pub fn mass_cancel(&mut self, mass: &MassCancel) -> Result<(), ClientError> {
        self.send(mass)
    }

    pub fn status(&mut self, request: &StatusRequest) -> Result<(), ClientError> {
        self.send(request)
    }

    pub fn set_session(&mut self, set: &SetSession) -> Result<(), ClientError> {
        self.send(set)
    }

    /// Sends bytes as a message without checking them.
    pub fn send_raw(&mut self, message: &[u8]) -> Result<(), ClientError> {
        self.connection.queue(message)?;
        self.connection.flush()
    }

    /// Adds a request to the batch.
    pub fn queue<M: Message>(&mut self, request: &M) -> Result<(), ClientError> {
        self.connection.queue(Framed::new(*request).as_bytes())
    }

    /// Writes the batch.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.connection.flush()
    }

    /// The next answer; `None` when none arrives within `timeout`.
    pub fn poll(&mut self, timeout: Duration) -> Result<Option<Received<Answer>>, ClientError> {
        let Some(raw) = self.connection.poll(timeout)? else { return Ok(None) };
        Ok(Some(Received { seq: raw.seq, message: Answer::read(raw.message)? }))
    }

    /// The bytes of the next answer; `None` when none arrives within `timeout`.
    pub fn poll_raw(&mut self, timeout: Duration) -> Result<Option<Received<&[u8]>>, ClientError> {
        self.connection.poll(timeout)
    }

    /// Logs out, which the node does not count as a disconnect: cancel-on-logout applies.
    pub fn logout(mut self) -> Result<(), ClientError> {
        self.connection.logout()
    }

    fn send<M: Message>(&mut self, request: &M) -> Result<(), ClientError> {
        self.queue(request)?;
        self.flush()
    }
}

/// A connection to the market data port, for the stream `SessionName::LIVE`, `SNAP` or `TOP`.
#[derive(Debug)]
pub struct MarketClient {
    connection: Connection,
}

impl MarketClient {
    /// Connects to a stream. `from` is the first number to receive, `SessionSeq::HEAD` for new messages only.
    pub fn connect(addr: impl ToSocketAddrs, stream: SessionName, from: SessionSeq) -> Result<Self, ClientError> {
        let login = LoginRequest { user: MARKET_USER, password: b"", session: stream, sequence: from };
        Connection::open(addr, &login).map(|connection| Self { connection })
    }

    pub fn next_seq(&self) -> SessionSeq {
        self.connection.next
    }

    pub fn poll(&mut self, timeout: Duration) -> Result<Option<Received<MarketMessage>>, ClientError> {
        let Some(raw) = self.connection.poll(timeout)? else { return Ok(None) };
        Ok(Some(Received { seq: raw.seq, message: MarketMessage::read(raw.message)? }))
    }

    /// The bytes of the next message, for `market::read_levels` and `SnapshotReader`.
    pub fn poll_raw(&mut self, timeout: Duration) -> Result<Option<Received<&[u8]>>, ClientError> {
        self.connection.poll(timeout)
    }

    pub fn logout(mut self) -> Result<(), ClientError> {
        self.connection.logout()
    }
}

/// The books of all instruments, kept up to date from the live stream.
#[derive(Debug)]
pub struct BookFollower {
    depth: Depth,
    client: MarketClient,
}

/// Receives a snapshot and joins the live stream at the message after it.
pub fn book_sync(addr: impl ToSocketAddrs + Clone) -> Result<BookFollower, ClientError> {
    let mut snapshots = MarketClient::connect(addr.clone(), SessionName::SNAP, SessionSeq::FIRST)?;
    let mut reader = SnapshotReader::default();
    let Snapshot { depth, as_of } = loop {
        // No message within the timeout is not a failure: a silent and a closed connection are errors of `poll_raw`.
        if let Some(raw) = snapshots.poll_raw(HEARTBEAT)?
            && let Some(snapshot) = reader.read(raw.message)?
        {
            break snapshot;
        }
    };
    let client = MarketClient::connect(addr, SessionName::LIVE, as_of.next())?;
    Ok(BookFollower { depth, client })
}

/// How a follower went on after a disconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// At the message after the last one: nothing was missed.
    AtTheNextMessage,
    /// From a snapshot, because the next message was no longer in the node's memory: the books are right, and the
    /// messages in between were not seen.
    FromSnapshot,
}

impl BookFollower {
    /// Connects again after a disconnect, also after a restart of the node. An error that is `NoSession` means that the
    /// node has never said what this follower has read: the books are of another node, or of a life of the streams that
    /// is over. Then begin with `book_sync`, and look for the reason.
    pub fn resume(&mut self, addr: impl ToSocketAddrs + Clone) -> Result<Resumed, ClientError> {
        match MarketClient::connect(addr.clone(), SessionName::LIVE, self.next_seq()) {
            Ok(client) => {
                self.client = client;
                Ok(Resumed::AtTheNextMessage)
            }
            Err(ClientError::LoginRejected(LoginReject::Gone)) => {
                *self = book_sync(addr)?;
                Ok(Resumed::FromSnapshot)
            }
            Err(error) => Err(error),
        }
    }

    pub fn depth(&self) -> &Depth {
        &self.depth
    }

    pub fn next_seq(&self) -> SessionSeq {
        self.client.next_seq()
    }

    /// Applies the next live message and returns it; `None` when none arrives within `timeout`. After an error the
    /// books may be incomplete: start again with `book_sync`.
    pub fn poll(&mut self, timeout: Duration) -> Result<Option<Received<MarketMessage>>, ClientError> {
        let received = self.client.poll(timeout)?;
        if let Some(received) = &received {
            self.depth.apply(&received.message)?;
        }
        Ok(received)
    }
}

/// How the socket waits at present. Stored, because changing it costs a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    None,
    UpTo(Duration),
}

/// A logged-in connection. Invariant: `inbox[start..end]` are the bytes received and not yet returned.
#[derive(Debug)]
struct Connection {
    socket: TcpStream,
    wait: Wait,
    inbox: Box<[u8]>,
    start: usize,
    end: usize,
    outbox: Vec<u8>,
    received_at: Instant,
    sent_at: Instant,
    /// Until the login is accepted the node is silent.
    is_accepted: bool,
    name: SessionName,
    next: SessionSeq,
}

impl Connection {
    fn open(addr: impl ToSocketAddrs, login: &LoginRequest<'_>) -> Result<Self, ClientError> {
        let payload = login.write().ok_or(ClientError::LoginTooLong)?;
        let socket = connect_any(addr)?;
        let io = |doing| move |source| ClientError::Io { doing, source };
        socket.set_nodelay(true).map_err(io("switching Nagle's algorithm off"))?;
        socket.set_write_timeout(Some(WRITE_MAX)).map_err(io("setting the write timeout"))?;
        socket.set_read_timeout(Some(HEARTBEAT)).map_err(io("setting the read timeout"))?;
        let now = Instant::now();
        let mut connection = Self {
            socket,
            wait: Wait::UpTo(HEARTBEAT),
            inbox: vec![0; INBOX_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            outbox: Vec::with_capacity(OUTBOX_BYTES_MAX + PACKET_HEADER_BYTES + PAYLOAD_BYTES_MAX),
            received_at: now,
            sent_at: now,
            is_accepted: false,
            name: SessionName::BLANK,
            next: SessionSeq::FIRST,
        };
        append_packet(PacketKind::Login, &payload, &mut connection.outbox);
        connection.flush()?;
        connection.await_login()?;
        Ok(connection)
    }

    fn await_login(&mut self) -> Result<(), ClientError> {
        let deadline = Instant::now() + LOGIN_MAX;
        while let Some((kind, payload)) = self.packet(deadline)? {
            let payload = &self.inbox[payload];
            match kind {
                PacketKind::Debug | PacketKind::ServerHeartbeat => continue,
                PacketKind::Accepted => {
                    let unexpected = ClientError::Unexpected { kind, len: payload.len() };
                    let accepted = LoginAccepted::read(payload).ok_or(unexpected)?;
                    self.is_accepted = true;
                    self.name = accepted.session;
                    self.next = accepted.sequence;
                    return Ok(());
                }
                PacketKind::Rejected => {
                    let unexpected = ClientError::Unexpected { kind, len: payload.len() };
                    return Err(LoginReject::read(payload).map_or(unexpected, ClientError::LoginRejected));
                }
                kind => return Err(ClientError::Unexpected { kind, len: payload.len() }),
            }
        }
        Err(ClientError::LoginUnanswered)
    }

    fn poll(&mut self, timeout: Duration) -> Result<Option<Received<&[u8]>>, ClientError> {
        let deadline = Instant::now() + timeout;
        while let Some((kind, payload)) = self.packet(deadline)? {
            match kind {
                PacketKind::Debug | PacketKind::ServerHeartbeat => {}
                PacketKind::Sequenced => {
                    let seq = self.next;
                    self.next = seq.next();
                    return Ok(Some(Received { seq: Some(seq), message: &self.inbox[payload] }));
                }
                PacketKind::Unsequenced => return Ok(Some(Received { seq: None, message: &self.inbox[payload] })),
                PacketKind::EndOfSession => return Err(ClientError::Ended),
                kind => return Err(ClientError::Unexpected { kind, len: payload.len() }),
            }
        }
        Ok(None)
    }

    /// The next packet: its kind, and the range of the inbox that holds its payload until the next call.
    fn packet(&mut self, deadline: Instant) -> Result<Option<(PacketKind, Range<usize>)>, ClientError> {
        loop {
            let unread = &self.inbox[self.start..self.end];
            if let Some(len) = packet_len(unread)?
                && len <= unread.len()
            {
                let kind = PacketKind::new(unread[PACKET_HEADER_BYTES - 1]).expect("packet_len has checked the type");
                let payload = self.start + PACKET_HEADER_BYTES..self.start + len;
                self.start += len;
                return Ok(Some((kind, payload)));
            }
            let now = Instant::now();
            if HEARTBEAT <= now - self.sent_at {
                append_packet(PacketKind::ClientHeartbeat, &[], &mut self.outbox);
                self.flush()?;
            }
            if !self.fill(now, deadline)? {
                return Ok(None);
            }
        }
    }

    /// Reads the bytes that have arrived; `false` when none arrive before the deadline.
    fn fill(&mut self, now: Instant, deadline: Instant) -> Result<bool, ClientError> {
        self.make_room();
        let heartbeat_at = self.sent_at + HEARTBEAT;
        let left = deadline.min(heartbeat_at).saturating_duration_since(now);
        // Rounded up to milliseconds, so that repeated polls with one timeout do not change the socket's timeout.
        let left_ms = left.as_micros().div_ceil(1_000) as u64;
        self.set_wait(if left.is_zero() { Wait::None } else { Wait::UpTo(Duration::from_millis(left_ms)) })?;
        match self.socket.read(&mut self.inbox[self.end..]) {
            Ok(0) => Err(ClientError::Closed { next: self.next }),
            Ok(len) => {
                self.end += len;
                self.received_at = Instant::now();
                Ok(true)
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(true),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let now = Instant::now();
                if self.is_accepted && SILENCE_MAX <= now - self.received_at {
                    return Err(ClientError::Silent { next: self.next });
                }
                Ok(now < deadline)
            }
            Err(e) if e.kind() == ErrorKind::ConnectionReset => Err(ClientError::Closed { next: self.next }),
            Err(source) => Err(ClientError::Io { doing: "reading from the node", source }),
        }
    }

    /// Moves unread bytes to the front when there is not room for the largest packet after them.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.inbox.len() - self.start < PACKET_HEADER_BYTES + PAYLOAD_BYTES_MAX {
            self.inbox.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }

    fn set_wait(&mut self, wait: Wait) -> Result<(), ClientError> {
        if self.wait == wait {
            return Ok(());
        }
        let doing = "setting the read timeout";
        let io = |source| ClientError::Io { doing, source };
        if (self.wait == Wait::None) != (wait == Wait::None) {
            self.socket.set_nonblocking(wait == Wait::None).map_err(io)?;
        }
        if let Wait::UpTo(timeout) = wait {
            self.socket.set_read_timeout(Some(timeout)).map_err(io)?;
        }
        self.wait = wait;
        Ok(())
    }

    fn queue(&mut self, message: &[u8]) -> Result<(), ClientError> {
        if PAYLOAD_BYTES_MAX < message.len() {
            return Err(ClientError::MessageTooLong { len: message.len() });
        }
        append_packet(PacketKind::Unsequenced, message, &mut self.outbox);
        if OUTBOX_BYTES_MAX < self.outbox.len() { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ClientError> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        // Writes block, so the socket must not be in non-blocking mode.
        if self.wait == Wait::None {
            self.set_wait(Wait::UpTo(HEARTBEAT))?;
        }
        let written = self.socket.write_all(&self.outbox);
        self.outbox.clear();
        self.sent_at = Instant::now();
        match written {
            Ok(()) => Ok(()),
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                Err(ClientError::Closed { next: self.next })
            }
            Err(source) => Err(ClientError::Io { doing: "writing to the node", source }),
        }
    }

    fn logout(&mut self) -> Result<(), ClientError> {
        append_packet(PacketKind::Logout, &[], &mut self.outbox);
        self.flush()
    }
}

fn connect_any(addr: impl ToSocketAddrs) -> Result<TcpStream, ClientError> {
    let addrs = addr.to_socket_addrs().map_err(|source| ClientError::Io { doing: "resolving the address", source })?;
    let mut failed = ClientError::Io { doing: "resolving the address", source: ErrorKind::NotFound.into() };
    for addr in addrs {
        match TcpStream::connect_timeout(&addr, CONNECT_MAX) {
            Ok(socket) => return Ok(socket),
            Err(source) => failed = ClientError::Connect { addr: addr.to_string(), source },
        }
    }
    Err(failed)
}
