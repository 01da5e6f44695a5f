//! The limit of the sockets: a spinning thread that answers with as many bytes as a node would, with or without a
//! durable write before the answer, and the client's side of it.
//!
//! ```text
//!  client, core 0: write --> loopback --> server, core 1: read, [write 4 KiB, fdatasync], write --> loopback --> read
//! ```
//! Sockets never block and no thread sleeps: each side reads again until there is something to read.

use crate::clock::Ticks;
use crate::disk::incompressible;
use crate::fixture::NODE_CORE;
use crate::raw_write::RawWrites;
use crate::rounds::Latencies;
use anyhow::{Context, Result, ensure};
use api::binary::orders::{CANCEL_ORDER_BLOCK, NEW_ORDER_BLOCK, ORDER_ACCEPTED_BLOCK, ORDER_CANCELED_BLOCK};
use api::binary::sbe::HEADER_BYTES;
use api::binary::soup::PACKET_HEADER_BYTES;
use node::host::pin::pin_to;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use wal::block::BLOCK_BYTES;

/// Bytes of a request and of its answer, in turn: an add and a cancel, as in the flow.
pub const SIZES: [(usize, usize); 2] =
    [(wire(NEW_ORDER_BLOCK), wire(ORDER_ACCEPTED_BLOCK)), (wire(CANCEL_ORDER_BLOCK), wire(ORDER_CANCELED_BLOCK))];

const fn wire(block: usize) -> usize {
    PACKET_HEADER_BYTES + HEADER_BYTES + block
}

const BUFFER_BYTES: usize = 256;
const _: () = assert!(SIZES[0].0 < BUFFER_BYTES && SIZES[0].1 < BUFFER_BYTES);

/// A server for one connection, which ends when the client closes it, and the client's socket.
pub struct Echo {
    socket: TcpStream,
    server: JoinHandle<Result<()>>,
    turn: usize,
}

impl Echo {
    /// With `durable`, a path and a count, each request is answered after a write to that new file, which has room for
    /// so many, and a sync.
    pub fn start(durable: Option<(PathBuf, u64)>) -> Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = listener.local_addr()?;
        let server = std::thread::Builder::new().name("echo".to_owned()).spawn(move || serve(&listener, durable))?;
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, server, turn: 0 })
    }

    /// Sends one request after the other, each after the answer to the one before.
    pub fn closed_loop(&mut self, ops: u64, ticks: &Ticks) -> Result<Latencies> {
        let mut latencies = Latencies::default();
        let mut buffer = [1; BUFFER_BYTES];
        for _ in 0..ops {
            let (request, answer) = SIZES[self.turn % SIZES.len()];
            self.turn += 1;
            let started = ticks.now();
            send(&mut self.socket, &buffer[..request])?;
            ensure!(receive(&mut self.socket, &mut buffer[..answer])?, "the echo server closed the connection");
            latencies.record(ticks.ns(ticks.now() - started));
        }
        Ok(latencies)
    }

    pub fn end(self) -> Result<()> {
        drop(self.socket);
        self.server.join().expect("the echo server does not panic")
    }
}

fn serve(listener: &TcpListener, durable: Option<(PathBuf, u64)>) -> Result<()> {
    let (mut socket, _) = listener.accept()?;
    ensure!(pin_to(NODE_CORE), "there is no core {NODE_CORE} to pin to");
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    let mut writes = match durable {
        Some((path, count)) => Some(RawWrites::create(&path, &incompressible(BLOCK_BYTES), count)?),
        None => None,
    };
    let mut buffer = [1; BUFFER_BYTES];
    for turn in 0.. {
        let (request, answer) = SIZES[turn % SIZES.len()];
        if !receive(&mut socket, &mut buffer[..request])? {
            break;
        }
        if let Some(writes) = &mut writes {
            writes.write()?;
        }
        send(&mut socket, &buffer[..answer])?;
    }
    writes.map_or(Ok(()), |writes| writes.check())
}

fn send(socket: &mut TcpStream, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("sending"),
        }
    }
    Ok(())
}

/// Fills `bytes`; returns false when the other side closed before the first of them.
fn receive(socket: &mut TcpStream, bytes: &mut [u8]) -> Result<bool> {
    let mut at = 0;
    while at < bytes.len() {
        match socket.read(&mut bytes[at..]) {
            Ok(0) if at == 0 => return Ok(false),
            Ok(0) => anyhow::bail!("the other side closed after {at} of {} bytes of a message", bytes.len()),
            Ok(len) => at += len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset && at == 0 => return Ok(false),
            Err(error) => return Err(error).context("receiving"),
        }
    }
    Ok(true)
}
