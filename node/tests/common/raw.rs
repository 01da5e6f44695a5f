//! A socket without the client library: it sends any bytes, and shows the packets that come back.

use super::{PASSWORD, PATIENCE};
use api::binary::login::{LoginRequest, SessionName};
use api::binary::soup::{PacketKind, append_packet};
use api::binary::stream::SessionSeq;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub(crate) struct Raw {
    pub socket: TcpStream,
    inbox: Vec<u8>,
}

/// Type byte and payload of a packet.
pub(crate) type RawPacket = (u8, Vec<u8>);

impl Raw {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("the node listens");
        Self::of(socket)
    }

    /// Connects from another of the loopback's addresses.
    pub(crate) fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let socket = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.bind(SocketAddr::new(source, 0)).expect("loopback has this address");
            socket.connect(address).await.expect("the node listens").into_std().expect("tokio gives the socket back")
        });
        socket.set_nonblocking(false).expect("the socket is open");
        Self::of(socket)
    }

    fn of(socket: TcpStream) -> Self {
        socket.set_nodelay(true).expect("a TCP socket");
        Self { socket, inbox: Vec::new() }
    }

    /// Connects and logs in.
    pub(crate) fn login(address: SocketAddr, user: &str, from: SessionSeq) -> Self {
        let mut raw = Self::connect(address);
        raw.send(&login_packet(user, PASSWORD, SessionName::BLANK, from));
        let (kind, _) = raw.packet().expect("an answer to the login");
        assert_eq!(kind, PacketKind::Accepted as u8, "the login is accepted");
        raw
    }

    /// Sends bytes; an error is ignored, because the node may have closed the connection.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    /// The next packet that is not a heartbeat; `None` when the node closed the connection instead.
    pub(crate) fn packet(&mut self) -> Option<RawPacket> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let packet = self.packet_until(deadline)?;
            if packet.0 != PacketKind::ServerHeartbeat as u8 {
                return Some(packet);
            }
        }
    }

    /// The next packet, heartbeats included.
    pub(crate) fn any_packet(&mut self) -> Option<RawPacket> {
        self.packet_until(Instant::now() + PATIENCE)
    }

    fn packet_until(&mut self, deadline: Instant) -> Option<RawPacket> {
        loop {
            if let Some(packet) = self.split() {
                return Some(packet);
            }
            if !self.read(deadline) {
                return None;
            }
        }
    }

    /// Reads until the node closes the connection; returns all packets but heartbeats.
    pub(crate) fn until_closed(&mut self) -> Vec<RawPacket> {
        std::iter::from_fn(|| self.packet()).collect()
    }

    fn split(&mut self) -> Option<RawPacket> {
        let &[high, low, kind, ..] = self.inbox.as_slice() else { return None };
        let len = 2 + usize::from(u16::from_be_bytes([high, low]));
        if self.inbox.len() < len {
            return None;
        }
        let payload = self.inbox[3..len].to_vec();
        self.inbox.drain(..len);
        Some((kind, payload))
    }

    /// Reads the bytes that have arrived; returns false when the connection is closed.
    fn read(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "the node neither answered nor closed the connection in time");
        self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).expect("a valid timeout");
        let mut buffer = [0; 65536];
        match self.socket.read(&mut buffer) {
            Ok(0) => false,
            Ok(len) => {
                self.inbox.extend_from_slice(&buffer[..len]);
                true
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => true,
            Err(_) => false,
        }
    }

    /// Ends the connection with a reset instead of a FIN.
    pub(crate) fn reset(self) {
        // A close is a reset with a zero linger, which the stable standard library does not offer.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let _guard = runtime.enter();
        self.socket.set_nonblocking(true).expect("the socket is open");
        let socket = tokio::net::TcpStream::from_std(self.socket).expect("the socket is open");
        socket.set_zero_linger().expect("a TCP socket");
    }
}

pub(crate) fn login_packet(user: &str, password: &str, session: SessionName, from: SessionSeq) -> Vec<u8> {
    let login = LoginRequest { user, password: password.as_bytes(), session, sequence: from };
    let mut packet = Vec::new();
    append_packet(PacketKind::Login, &login.write().expect("fits its fields"), &mut packet);
    packet
}

pub(crate) fn unsequenced(message: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    append_packet(PacketKind::Unsequenced, message, &mut packet);
    packet
}

/// Number of connections at `address` that the kernel shows as established.
pub(crate) fn connections_of(address: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("/proc is mounted");
    let local = format!("0100007F:{:04X}", address.port());
    table.lines().filter(|line| line.split_whitespace().nth(1) == Some(&local) && line.contains(" 01 ")).count()
}
