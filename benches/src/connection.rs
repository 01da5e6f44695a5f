//! The bench's own line to a node: one socket that never waits, driven by a spinning thread.
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

/// What a packet of the node says.
#[derive(Clone, Copy, Debug)]
pub enum Heard {
    /// The answer to the command of this number.
    Answer(u64),
    Stages(StageTimes),
}

pub struct Line {
    socket: TcpStream,
    reader: PacketReader,
    inbox: Box<[u8]>,
    /// Packets to be written; `written` of them are.
    pub out: Vec<u8>,
    written: usize,
    /// Number of the answer heard last.
    answered: u64,
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Line {
    /// Logs the bench's one trader in; the answer heard next belongs to the command after `answered`.
    pub fn open(address: SocketAddr, answered: u64) -> Result<Self> {
        let mut line = Self::dial(address, USER, answered, INBOX_BYTES)?;
        line.await_login()?;
        Ok(line)
    }

    /// Connects and sends the log-in, without waiting for its answer. A read takes at most `inbox_bytes`.
    pub fn dial(address: SocketAddr, user: &str, answered: u64, inbox_bytes: usize) -> Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut line = Self {
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
        append_packet(PacketKind::Login, &login.write().context("a login")?, &mut line.out);
        line.write()?;
        Ok(line)
    }

    /// Waits until the log-in is accepted.
    pub fn await_login(&mut self) -> Result<()> {
        let deadline = Instant::now() + LOGIN_MAX;
        while Instant::now() < deadline {
            let Some(len) = self.fill()? else { continue };
            let mut chunk = &self.inbox[..len];
            if let Some(packet) = self.reader.read(&mut chunk)? {
                ensure!(packet.kind == PacketKind::Accepted, "the login was answered with {:?}", packet.kind);
                ensure!(chunk.is_empty(), "nothing follows a login unasked");
                return Ok(());
            }
        }
        bail!("no answer to the login")
    }

    /// Asks for the stage times of every answer.
    pub fn ask_for_stages(&mut self) -> Result<()> {
        let mut set = SetSession::cancel_on_disconnect(ClOrdId(0), CodMode::Off, CodScope::Session, 0);
        set.stage_times = 1;
        append_packet(PacketKind::Unsequenced, Framed::new(set).as_bytes(), &mut self.out);
        self.write()
    }

    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Bytes that the socket has not taken yet.
    pub fn unwritten(&self) -> usize {
        self.out.len() - self.written
    }

    /// Writes what the socket takes now.
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

    /// Shows what has come, if anything has.
    #[inline]
    pub fn read(&mut self, see: &mut impl FnMut(Heard)) -> Result<()> {
        let Some(len) = self.fill()? else { return Ok(()) };
        let mut chunk = &self.inbox[..len];
        while let Some(packet) = self.reader.read(&mut chunk)? {
            match packet.kind {
                PacketKind::Sequenced => {
                    if let Some(number) = number_of(packet.payload)? {
                        self.answered += 1;
                        ensure!(number == self.answered, "answer {number} came where {} was due", self.answered);
                        see(Heard::Answer(number));
                    }
                }
                PacketKind::Unsequenced => {
                    let block = Block::split(packet.payload, ORDERS_SCHEMA)?;
                    see(Heard::Stages(*block.body::<StageTimes>()?));
                }
                PacketKind::ServerHeartbeat => {}
                kind => bail!("a packet of type {kind:?} came"),
            }
        }
        Ok(())
    }

    /// Sleeps until there is something to read, or for this long: an open loop leaves its core to the node's other threads
    /// while nothing is due.
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

/// The number of the command that is answered; none for what answers no command of the flow. A reject ends the bench.
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
