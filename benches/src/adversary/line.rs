//! A connection of an attacker: it sends whatever it is given, and what it reads it forgets.
//!
//! Invariant: no call waits, so that an attack and the honest load share one thread.

use anyhow::{Context, Result};
use api::binary::login::{LoginRequest, SessionName};
use api::binary::soup::{PacketKind, append_packet};
use api::binary::stream::SessionSeq;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// Bytes that one look at a connection reads at most.
pub const READ_BYTES: usize = 64 << 10;

/// What a look at a connection has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    pub bytes: usize,
    /// The node, or the network, has ended the connection.
    pub ended: bool,
}

pub struct Line {
    socket: TcpStream,
    /// To be written, of which the first `written` bytes are.
    pub out: Vec<u8>,
    written: usize,
    /// Bytes read since the connection began.
    pub read: u64,
    /// The first bytes that were read: the node's answer to the login.
    pub first: Vec<u8>,
    /// A write has found that the node, or the network, has ended the connection.
    pub ended: bool,
}

impl Line {
    /// Connects and sends nothing. An attacker has few connections waiting, so the kernel answers at once.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(address).context("connecting to the node")?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, out: Vec::new(), written: 0, read: 0, first: Vec::new(), ended: false })
    }

    /// Connects and sends a login.
    pub fn log_in(
        address: SocketAddr,
        user: &str,
        password: &str,
        session: SessionName,
        sequence: SessionSeq,
    ) -> Result<Self> {
        let mut line = Self::connect(address)?;
        let login = LoginRequest { user, password: password.as_bytes(), session, sequence };
        append_packet(PacketKind::Login, &login.write().context("encoding the login")?, &mut line.out);
        line.write();
        Ok(line)
    }

    /// Whether the node has accepted the login.
    pub fn is_open(&self) -> bool {
        self.first.get(2) == Some(&(PacketKind::Accepted as u8))
    }

    pub fn unwritten(&self) -> usize {
        self.out.len() - self.written
    }

    /// Writes as many bytes as the socket accepts.
    pub fn write(&mut self) {
        if self.unwritten() == 0 {
            return;
        }
        match self.socket.write(&self.out[self.written..]) {
            Ok(len) => self.written += len,
            Err(error) => self.ended |= error.kind() != ErrorKind::WouldBlock,
        }
        if self.unwritten() == 0 {
            self.out.clear();
            self.written = 0;
        }
    }

    /// Reads once.
    pub fn look(&mut self, scratch: &mut [u8]) -> Look {
        match self.socket.read(scratch) {
            Ok(0) => Look { bytes: 0, ended: true },
            Ok(bytes) => {
                self.read += bytes as u64;
                let missing = 64usize.saturating_sub(self.first.len()).min(bytes);
                self.first.extend_from_slice(&scratch[..missing]);
                Look { bytes, ended: false }
            }
            Err(error) => Look { bytes: 0, ended: error.kind() != ErrorKind::WouldBlock },
        }
    }
}
