//! The bench's connection to a node: one non-blocking socket, driven by a thread that spins.
//!
//! Invariant: command `n` has one answer, and answers come in the order of the commands; anything else ends the bench.

use crate::fixture::{PASSWORD, USER};
use anyhow::{Context, Result, bail, ensure};
use api::binary::login::{LoginRequest, SessionName};
use api::binary::orders::{Answer, ORDERS_SCHEMA, OrderAccepted, OrderCanceled, SetSession, StageTimes};
use api::binary::sbe::{Block, Framed, Message};
use api::binary::soup::{PacketKind, PacketReader, append_packet};
use api::binary::stream::SessionSeq;
use book::command::{CodMode, CodScope};
use book::ids::ClOrdId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

const INBOX_BYTES: usize = 1 << 18;
const LOGIN_MAX: Duration = Duration::from_secs(10);

/// A message of the node.
#[derive(Clone, Copy, Debug)]
pub enum Received {
    /// The answer to the command with this number.
    Answer(u64),
    Stages(StageTimes),
}

/// A logged-in session, or one whose login is on its way.
pub struct Connection {
    socket: TcpStream,
    reader: PacketReader,
    inbox: Box<[u8]>,
    /// Packets to be written, of which the first `written` bytes are.
    pub out: Vec<u8>,
    written: usize,
    /// Number of the latest answer.
    answered: u64,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Connection {
    /// Connects and logs the bench's one trader in; the next answer must be that of the command after `answered`.
    pub fn open(address: SocketAddr, answered: u64) -> Result<Self> {
        let mut connection = Self::start_login(address, USER, answered, INBOX_BYTES)?;
        connection.await_login()?;
        Ok(connection)
    }

    /// Connects and sends the login without waiting for its answer. One read returns at most `inbox_bytes`.
    pub fn start_login(address: SocketAddr, user: &str, answered: u64, inbox_bytes: usize) -> Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut connection = Self {
            socket,
            reader: PacketReader::default(),
            inbox: vec![1; inbox_bytes].into_boxed_slice(),
            out: Vec::with_capacity(inbox_bytes),
            written: 0,
            answered,
        };
        let login = LoginRequest {
            user,
            password: PASSWORD.as_bytes(),
            session: SessionName::BLANK,
            sequence: SessionSeq::HEAD,
        };
        append_packet(PacketKind::Login, &login.write().context("encoding the login")?, &mut connection.out);
        connection.write()?;
        Ok(connection)
    }

    /// Waits until the login is accepted.
    pub fn await_login(&mut self) -> Result<()> {
        let deadline = Instant::now() + LOGIN_MAX;
        while Instant::now() < deadline {
            let Some(len) = self.fill()? else { continue };
            let mut chunk = &self.inbox[..len];
            if let Some(packet) = self.reader.read(&mut chunk)? {
                ensure!(
                    packet.kind == PacketKind::Accepted,
                    "the login was answered with {:?}, expected Accepted",
                    packet.kind
                );
                ensure!(chunk.is_empty(), "{} bytes after the answer to the login, expected none", chunk.len());
                return Ok(());
            }
        }
        bail!("the login was not answered within {} s", LOGIN_MAX.as_secs())
    }

    /// Asks the node to send the stage times of every answer.
    pub fn ask_for_stages(&mut self) -> Result<()> {
        let mut set = SetSession::cancel_on_disconnect(ClOrdId(0), CodMode::Off, CodScope::Session, 0);
        set.stage_times = 1;
        append_packet(PacketKind::Unsequenced, Framed::new(set).as_bytes(), &mut self.out);
        self.write()
    }

    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Bytes that the socket has not accepted yet.
    pub fn unwritten(&self) -> usize {
        self.out.len() - self.written
    }

    /// Writes as many bytes as the socket accepts now.
    #[inline]
    pub fn write(&mut self) -> Result<()> {
        if self.unwritten() == 0 {
            return Ok(());
        }
        match self.socket.write(&self.out[self.written..]) {
            Ok(len) => self.written += len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("writing to the node"),
        }
        if self.unwritten() == 0 {
            self.out.clear();
            self.written = 0;
        }
        Ok(())
    }

    /// Passes every message that has arrived to `receive`; returns at once where none has.
    #[inline]
    pub fn read(&mut self, receive: &mut impl FnMut(Received)) -> Result<()> {
        let Some(len) = self.fill()? else { return Ok(()) };
        let mut chunk = &self.inbox[..len];
        while let Some(packet) = self.reader.read(&mut chunk)? {
            match packet.kind {
                PacketKind::Sequenced => {
                    if let Some(number) = number_of(packet.payload)? {
                        self.answered += 1;
                        ensure!(number == self.answered, "answer to command {number}, expected {}", self.answered);
                        receive(Received::Answer(number));
                    }
                }
                PacketKind::Unsequenced => {
                    let block = Block::split(packet.payload, ORDERS_SCHEMA)?;
                    receive(Received::Stages(*block.body::<StageTimes>()?));
                }
                PacketKind::ServerHeartbeat => {}
                kind => bail!("unexpected packet of type {kind:?}"),
            }
        }
        Ok(())
    }

    /// Sleeps until there is something to read, or at most this long. An open loop leaves its core to the node's other
    /// threads while no command is due.
    pub fn wait(&self, ns_max: u64) -> Result<()> {
        let limit = Timespec { tv_sec: (ns_max / 1_000_000_000) as i64, tv_nsec: (ns_max % 1_000_000_000) as i64 };
        let mut sockets = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut sockets, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("waiting for the node"),
        }
    }

    #[inline]
    fn fill(&mut self) -> Result<Option<usize>> {
        match self.socket.read(&mut self.inbox) {
            Ok(0) => bail!("the node closed the connection"),
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).context("reading from the node"),
        }
    }
}

/// The number of the command that a message answers; `None` where it answers no command of the flow. A reject ends the
/// bench.
#[inline]
fn number_of(message: &[u8]) -> Result<Option<u64>> {
    let block = Block::split(message, ORDERS_SCHEMA)?;
    match block.template {
        OrderAccepted::TEMPLATE => Ok(Some(block.body::<OrderAccepted>()?.cl_ord_id.get())),
        OrderCanceled::TEMPLATE => Ok(Some(block.body::<OrderCanceled>()?.req_cl_ord_id.get())),
        _ => match Answer::read(message)? {
            Answer::SessionState(_) => Ok(None),
            other => bail!("the node answered {other:?}"),
        },
    }
}
