//! The reactor: one io_uring for sockets and journal, entered by at most one system call per cycle.
//!
//! The owner of a reactor calls `poll`, looks at what is `done`, requests more operations (sends, receives, journal
//! writes), and polls again. The reactor knows no protocol, no order and no time.
//!
//! `unsafe`: the kernel reads and writes memory while an operation is in flight, so every submission has the same
//! obligation: until its completion is seen, the memory must not move, be freed or be written by us. Ownership meets
//! it: receive and send buffers are boxes in a connection's slot, which is emptied only when no operation of it is in
//! flight; journal buffers are boxes in `Head`, which does not touch a frame's bytes from `next_write` until the frame
//! is durable and released; and the ring is dropped, which closes it, before either.
#![allow(unsafe_code)]

mod accepting;

use crate::faults::fault::JournalFault;
use crate::host::slice::own_longest_slice;
use crate::reactor::ports::{ConnId, Done, Journaling, ListenerIdx, Sockets, Wait};
use io_uring::types::{Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use wal::head::{FRAMES_IN_FLIGHT_MAX, FrameTicket, Head};
use wal::poison::Poisoned;

/// Entries of the submission ring. Operations beyond it wait for the next cycle.
const RING_ENTRIES: u32 = 1024;
const COMPLETION_ENTRIES: u32 = 4096;

/// After this many idle cycles with a frame in flight, each further idle cycle yields the core. A spinning thread holds
/// its core until the next scheduler tick, even against the kernel worker of this core that performs the sync: without
/// the yield the slowest hundredth of all commands waited 4 ms (at 250 Hz), with it less than 1 ms. The first cycles do
/// not yield: a sync of usual duration needs no help, and an answer would wait for the yield.
const SPINS_BEFORE_YIELD: u32 = 1_000;

/// Cycles since the kernel was last entered. The count saturates, because a node without clients may spin for days.
#[derive(Clone, Copy, Debug, Default)]
struct Idling(u32);

impl Idling {
    #[inline]
    fn count(&mut self) {
        self.0 = self.0.saturating_add(1);
    }

    #[inline]
    fn is_long(self) -> bool {
        SPINS_BEFORE_YIELD < self.0
    }
}

/// Capacity of a connection's receive buffer.
pub const RECEIVE_BYTES: usize = 16 * 1024;
/// Capacity of a connection's send buffer.
pub const SEND_BYTES: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ReactorError {
    #[error(
        "io_uring is not available here ({0}): a container's seccomp profile or kernel.io_uring_disabled refuses it; \
         allow io_uring_setup, io_uring_enter and io_uring_register, or set kernel.io_uring_disabled=0"
    )]
    Refused(io::Error),
    #[error("io_uring: {0}")]
    Ring(io::Error),
    #[error("listening on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("another descriptor of a listener: {0}")]
    Listener(io::Error),
}

/// The journal's frames and files, driven through the same ring as the sockets.
pub struct Journal {
    pub head: Head,
    files: Vec<File>,
    fault: JournalFault,
}

struct Conn {
    stream: Option<TcpStream>,
    generation: u32,
    receive: Box<[u8]>,
    received: usize,
    send: Box<[u8]>,
    send_len: usize,
    send_at: usize,
    receiving: bool,
    sending: bool,
    closing: bool,
}

/// The listeners of a reactor.
#[derive(Default)]
struct Accepting {
    listeners: Vec<Listening>,
    /// Accepts in flight; each has one of the free slots to itself.
    in_flight: usize,
    timer_in_flight: bool,
}

struct Listening {
    socket: TcpListener,
    accepting: bool,
}

/// Sockets and journal of one thread.
pub struct Reactor {
    // Dropped first: closing the ring ends every operation, after which the buffers below may be freed.
    ring: IoUring,
    journal: Option<Journal>,
    conns: Vec<Conn>,
    free: Vec<u16>,
    accepting: Accepting,
    done: Vec<Done>,
    poisoned: Option<Poisoned>,
    asked: Asked,
    enter_count: u64,
    idling: Idling,
}

/// The operations that this cycle submits, in order of submission; what does not fit into the ring waits for the next
/// cycle. The kernel starts the operations of a submission one by one, and starting a write takes several times as long
/// as a send. So sends go first, then journal writes, then receives: an answer does not wait for a write to start, nor
/// a write for a receive on an empty socket. With `journal.sync = "interval"` this order made an order's round trip a
/// fifth shorter.
struct Asked {
    sends: Vec<squeue::Entry>,
    /// A write and the sync that is linked to it. A link holds only between neighbours of one submission.
    journal: Vec<[squeue::Entry; 2]>,
    rest: Vec<squeue::Entry>,
}

// User data of an operation: its kind in the top byte, and the connection, listener or frame in the rest.
const KIND_SHIFT: u32 = 56;
const KIND_ACCEPT: u64 = 1;
const KIND_RECEIVE: u64 = 2;
const KIND_SEND: u64 = 3;
const KIND_WRITE: u64 = 4;
const KIND_SYNC: u64 = 5;
const KIND_TIMER: u64 = 6;
const PAYLOAD_MASK: u64 = (1 << KIND_SHIFT) - 1;

fn tag(kind: u64, payload: u64) -> u64 {
    debug_assert!(payload <= PAYLOAD_MASK);
    kind << KIND_SHIFT | payload
}

impl ConnId {
    fn payload(self) -> u64 {
        u64::from(self.generation) << 16 | u64::from(self.slot)
    }

    fn from_payload(payload: u64) -> Self {
        Self { slot: payload as u16, generation: (payload >> 16) as u32 }
    }
}

impl Reactor {
    /// Must be called on the thread that will poll, because the ring is set up for a single issuer.
    pub fn new(connections_max: u16) -> Result<Self, ReactorError> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(COMPLETION_ENTRIES)
            .build(RING_ENTRIES)
            .map_err(|e| match e.raw_os_error() {
                Some(libc::EPERM | libc::ENOSYS | libc::EACCES) => ReactorError::Refused(e),
                _ => ReactorError::Ring(e),
            })?;
        let conns = (0..connections_max).map(|_| Conn::empty()).collect();
        Ok(Self {
            ring,
            journal: None,
            conns,
            free: (0..connections_max).rev().collect(),
            accepting: Accepting::default(),
            done: Vec::with_capacity(COMPLETION_ENTRIES as usize),
            poisoned: None,
            asked: Asked::new(),
            enter_count: 0,
            idling: Idling::default(),
        })
    }

    pub fn with_journal(mut self, head: Head, files: Vec<File>, fault: JournalFault) -> Self {
        assert!(self.journal.is_none(), "a reactor drives one journal");
        own_longest_slice();
        self.journal = Some(Journal { head, files, fault });
        self
    }

    /// Submits pending operations and collects completions. The only system call of a cycle; there is none if there is
    /// nothing to submit and nothing to collect.
    pub fn poll(&mut self, wait: Wait) -> Result<(), ReactorError> {
        self.done.clear();
        self.hand_over();
        self.enter(wait)?;
        self.harvest();
        if self.done.is_empty() {
            self.link_journal();
        }
        Ok(())
    }

    pub fn enter_count(&self) -> u64 {
        self.enter_count
    }

    fn enter(&mut self, wait: Wait) -> Result<(), ReactorError> {
        let in_flight = self.journal.as_ref().is_some_and(|journal| journal.head.frames_in_flight() > 0);
        let (submitter, mut sq, mut cq) = self.ring.split();
        sq.sync();
        cq.sync();
        let pending = sq.len() as u32;
        if !cq.is_empty() {
            // There are completions already: submit, and do not wait.
            if pending == 0 {
                return Ok(());
            }
        } else if pending == 0 && !sq.taskrun() && wait == Wait::Spin {
            self.idling.count();
            if in_flight && self.idling.is_long() {
                std::thread::yield_now();
            }
            return Ok(());
        }
        drop(sq);
        let waits = cq.is_empty();
        drop(cq);
        self.idling = Idling::default();
        self.enter_count += 1;
        let result = match wait {
            Wait::Upto(limit) if waits => {
                let timespec = Timespec::from(limit);
                submitter.submit_with_args(1, &SubmitArgs::new().timespec(&timespec))
            }
            // SAFETY: flags and arguments are those of a plain submit that also runs deferred completions; no pointer.
            _ => unsafe { submitter.enter::<libc::sigset_t>(pending, 0, IORING_ENTER_GETEVENTS, None) },
        };
        match result {
            Ok(_) => Ok(()),
            Err(e) => match e.raw_os_error() {
                // Timed out, interrupted, or the completion ring must be emptied first: the next cycle continues.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(ReactorError::Ring(e)),
            },
        }
    }

    fn harvest(&mut self) {
        while let Some(entry) = self.next_completion() {
            let data = entry.user_data();
            let payload = data & PAYLOAD_MASK;
            match data >> KIND_SHIFT {
                KIND_ACCEPT => self.accepted(ListenerIdx(payload as usize), stream_or_errno(entry.result())),
                KIND_RECEIVE => self.receive_done(ConnId::from_payload(payload), entry.result()),
                KIND_SEND => self.send_done(ConnId::from_payload(payload), entry.result()),
                KIND_WRITE => self.write_done(FrameTicket(payload), entry.result()),
                KIND_SYNC => self.sync_done(FrameTicket(payload), entry.result()),
                KIND_TIMER => self.pause_over(),
                kind => unreachable!("no operation of kind {kind} is submitted"),
            }
        }
    }

    fn next_completion(&mut self) -> Option<cqueue::Entry> {
        // A completion has two entries at most: the accept of a connection, and the pause that follows from it.
        if self.done.len() + 1 >= self.done.capacity() {
            return None;
        }
        self.ring.completion().next()
    }

    /// Moves operations into the submission ring, as many as fit.
    fn hand_over(&mut self) {
        let Asked { sends, journal, rest } = &mut self.asked;
        let mut queue = self.ring.submission();
        let fit = (queue.capacity() - queue.len()).min(sends.len());
        for entry in sends.drain(..fit) {
            // SAFETY: every entry points to memory that outlives its operation; see the head of this file.
            unsafe { queue.push(&entry) }.expect("room was checked");
        }
        let fit = ((queue.capacity() - queue.len()) / 2).min(journal.len());
        for linked in journal.drain(..fit) {
            // SAFETY: a frame's bytes stay where they are until it is durable and released (`Head::next_write`).
            unsafe { queue.push_multiple(&linked) }.expect("room for two was checked");
        }
        let fit = (queue.capacity() - queue.len()).min(rest.len());
        for entry in rest.drain(..fit) {
            // SAFETY: as for sends.
            unsafe { queue.push(&entry) }.expect("room was checked");
        }
    }
}

impl Asked {
    fn new() -> Self {
        Self {
            sends: Vec::with_capacity(RING_ENTRIES as usize),
            journal: Vec::with_capacity(2 * FRAMES_IN_FLIGHT_MAX),
            rest: Vec::with_capacity(RING_ENTRIES as usize),
        }
    }
}

const IORING_ENTER_GETEVENTS: u32 = 1;

// Sockets.
impl Reactor {
    fn receive_done(&mut self, id: ConnId, result: i32) {
        let Some(conn) = self.conn_mut(id) else { return };
        conn.receiving = false;
        if conn.closing {
            self.release_if_idle(id);
            return;
        }
        match result {
            bytes if bytes > 0 => {
                conn.received = bytes as usize;
                self.done.push(Done::Received { conn: id, bytes: bytes as usize });
            }
            result if result == -libc::EINTR || result == -libc::EAGAIN => self.receive(id),
            _ => self.done.push(Done::Lost { conn: id }),
        }
    }

    fn send_rest(&mut self, id: ConnId) {
        let Some(conn) = self.conn_mut(id) else { return };
        conn.sending = true;
        let rest = &conn.send[conn.send_at..conn.send_len];
        let entry = opcode::Send::new(conn.fd(), rest.as_ptr(), rest.len() as u32)
            .flags(libc::MSG_NOSIGNAL)
            .build()
            .user_data(tag(KIND_SEND, id.payload()));
        self.asked.sends.push(entry);
    }

    fn send_done(&mut self, id: ConnId, result: i32) {
        let Some(conn) = self.conn_mut(id) else { return };
        conn.sending = false;
        if conn.closing {
            self.release_if_idle(id);
            return;
        }
        match result {
            bytes if bytes > 0 => {
                conn.send_at += bytes as usize;
                if conn.send_at < conn.send_len {
                    self.send_rest(id);
                } else {
                    self.done.push(Done::Sent { conn: id });
                }
            }
            result if result == -libc::EINTR || result == -libc::EAGAIN => self.send_rest(id),
            _ => self.done.push(Done::Lost { conn: id }),
        }
    }

    fn release_if_idle(&mut self, id: ConnId) {
        let Some(conn) = self.conn_mut(id) else { return };
        if !conn.receiving && !conn.sending {
            conn.stream = None;
            conn.generation = conn.generation.wrapping_add(1);
            self.free.push(id.slot);
            self.resume_accepting();
        }
    }

    fn conn(&self, id: ConnId) -> Option<&Conn> {
        let conn = self.conns.get(id.slot())?;
        (conn.generation == id.generation && conn.stream.is_some()).then_some(conn)
    }

    fn conn_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        let conn = self.conns.get_mut(id.slot())?;
        (conn.generation == id.generation && conn.stream.is_some()).then_some(conn)
    }
}

impl Conn {
    fn empty() -> Self {
        Self {
            stream: None,
            generation: 0,
            receive: Box::default(),
            received: 0,
            send: Box::default(),
            send_len: 0,
            send_at: 0,
            receiving: false,
            sending: false,
            closing: false,
        }
    }

    /// Buffers are allocated at a slot's first use and kept, so memory grows with the number of clients.
    fn open(&mut self, stream: TcpStream) {
        if self.receive.is_empty() {
            self.receive = vec![0; RECEIVE_BYTES].into_boxed_slice();
            self.send = vec![0; SEND_BYTES].into_boxed_slice();
        }
        self.stream = Some(stream);
        self.received = 0;
        self.closing = false;
    }

    fn fd(&self) -> Fd {
        let fd: RawFd = self.stream.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        Fd(fd)
    }
}

// Journal.
impl Reactor {
    pub fn journal(&self) -> &Journal {
        self.journal.as_ref().expect("the reactor of the engine's thread drives the journal")
    }

    /// Computes the chain hash of a closed frame in a cycle without completions, when there is time for it.
    #[inline]
    fn link_journal(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.head.hash_closed_frame();
        }
    }

    fn next_journal_entries(&mut self) -> Option<[squeue::Entry; 2]> {
        let journal = self.journal.as_mut()?;
        let op = journal.head.next_write()?;
        let fd = Fd(journal.files[op.place.segment.0 as usize].as_raw_fd());
        let bytes = journal.head.bytes(op.ticket);
        let write = opcode::Write::new(fd, bytes.as_ptr(), bytes.len() as u32)
            .offset(op.place.offset)
            .build()
            .flags(squeue::Flags::IO_LINK)
            .user_data(tag(KIND_WRITE, op.ticket.0));
        let sync = opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build().user_data(tag(KIND_SYNC, op.ticket.0));
        Some([write, sync])
    }

    fn write_done(&mut self, ticket: FrameTicket, result: i32) {
        let Some(journal) = self.journal.as_mut() else { return };
        let result = journal.fault.on_write(errno_or_len(result));
        let outcome = journal.head.complete_write(ticket, result);
        self.note(outcome);
    }

    fn sync_done(&mut self, ticket: FrameTicket, result: i32) {
        let Some(journal) = self.journal.as_mut() else { return };
        // The linked write failed and the kernel cancelled this sync: the write's own completion has the reason.
        if result == -libc::ECANCELED && journal.head.poisoned().is_some() {
            return;
        }
        let result = journal.fault.on_sync(errno_or_len(result).map(|_| ()));
        let outcome = journal.head.complete_sync(ticket, result);
        self.note(outcome);
    }

    fn note(&mut self, outcome: Result<(), Poisoned>) {
        if let Err(poisoned) = outcome
            && self.poisoned.is_none()
        {
            self.poisoned = Some(poisoned);
        }
    }
}

impl Sockets for Reactor {
    #[inline]
    fn done(&self, idx: usize) -> Option<Done> {
        self.done.get(idx).copied()
    }

    #[inline]
    fn receive(&mut self, id: ConnId) {
        let Some(conn) = self.conn_mut(id) else { return };
        if conn.receiving || conn.closing {
            return;
        }
        conn.receiving = true;
        conn.received = 0;
        let (fd, at, len) = (conn.fd(), conn.receive.as_mut_ptr(), conn.receive.len() as u32);
        self.asked.rest.push(opcode::Recv::new(fd, at, len).build().user_data(tag(KIND_RECEIVE, id.payload())));
    }

    #[inline]
    fn received(&self, id: ConnId) -> &[u8] {
        self.conn(id).map_or(&[], |conn| &conn.receive[..conn.received])
    }

    #[inline]
    fn send_buffer(&mut self, id: ConnId) -> Option<&mut [u8]> {
        let conn = self.conn_mut(id)?;
        (!conn.sending && !conn.closing).then_some(&mut conn.send[..])
    }

    #[inline]
    fn send(&mut self, id: ConnId, bytes: usize) {
        let Some(conn) = self.conn_mut(id) else { return };
        assert!(!conn.sending && bytes <= conn.send.len(), "one send at a time, within the buffer");
        if bytes == 0 || conn.closing {
            return;
        }
        conn.send_len = bytes;
        conn.send_at = 0;
        self.send_rest(id);
    }

    #[inline]
    fn is_sending(&self, id: ConnId) -> bool {
        self.conn(id).is_some_and(|conn| conn.sending)
    }

    #[inline]
    fn peer(&self, id: ConnId) -> Option<SocketAddr> {
        self.conn(id)?.stream.as_ref()?.peer_addr().ok()
    }

    #[inline]
    fn finish_sending(&mut self, id: ConnId) {
        if let Some(stream) = self.conn(id).and_then(|conn| conn.stream.as_ref()) {
            // If the connection is closed already, the next receive reports it.
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
    }

    #[inline]
    fn close(&mut self, id: ConnId) {
        let Some(conn) = self.conn_mut(id) else { return };
        if !conn.closing {
            conn.closing = true;
            if let Some(stream) = &conn.stream {
                // Completes the operations in flight; fails only if the connection is closed already.
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
        }
        self.release_if_idle(id);
    }
}

impl Journaling for Reactor {
    #[inline]
    fn head(&self) -> &Head {
        &self.journal().head
    }

    #[inline]
    fn head_mut(&mut self) -> &mut Head {
        &mut self.journal.as_mut().expect("the reactor of the engine's thread drives the journal").head
    }

    #[inline]
    fn write_journal(&mut self) -> usize {
        let mut count = 0;
        while let Some(entries) = self.next_journal_entries() {
            self.asked.journal.push(entries);
            count += 1;
        }
        count
    }

    #[inline]
    fn poisoned(&self) -> Option<&Poisoned> {
        self.poisoned.as_ref()
    }
}

fn stream_or_errno(result: i32) -> Result<TcpStream, i32> {
    if result < 0 {
        return Err(-result);
    }
    // SAFETY: a successful accept returns a new descriptor, which has no other owner.
    Ok(unsafe { TcpStream::from_raw_fd(result) })
}

fn errno_or_len(result: i32) -> Result<usize, i32> {
    usize::try_from(result).map_err(|_| -result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_may_idle_for_ever() {
        let mut idling = Idling(SPINS_BEFORE_YIELD);
        assert!(!idling.is_long());
        idling.count();
        assert!(idling.is_long());
        let mut idling = Idling(u32::MAX);
        idling.count();
        assert!(idling.is_long());
    }
}
