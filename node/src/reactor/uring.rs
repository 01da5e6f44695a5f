//! The reactor: one io_uring for sockets and journal, entered by at most one system call per cycle.
//!
//! The owner of a reactor calls `poll`, looks at what is `done`, requests more operations (sends, receives, journal
//! writes), and polls again. The reactor knows no protocol, no order and no time.
//!
//! `unsafe`: the kernel reads and writes memory while an operation is in flight, so every submission has the same
//! obligation: until its completion is seen, the memory must not move, be freed or be written by us. Ownership meets
//! it: receive and send buffers are boxes in a connection's slot, which is emptied only when no operation of it is in
//! flight, and a send buffer is taken from it only when its send is completed; journal buffers are boxes in `Head`,
//! which does not touch a frame's bytes from `next_write` until the frame is durable and released; and the ring is
//! dropped, which closes it, before either.
#![allow(unsafe_code)]

mod accepting;
mod journaling;
mod send_buffers;

use crate::faults::fault::JournalFault;
use crate::host::slice::own_longest_slice;
use crate::reactor::ports::{ConnId, Done, ListenerIdx, Sockets, Wait};
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use send_buffers::{LARGE_BYTES, SendBuffers};
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
/// Capacity of the buffer that is filled for a send.
pub const SEND_BYTES: usize = LARGE_BYTES;

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
    /// Empty while nothing is sent.
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
    /// The loop wants no further connection at present.
    held: bool,
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
    /// Send buffers that no connection has.
    send_buffers: SendBuffers,
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
            send_buffers: SendBuffers::new(connections_max),
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
                    self.spare_buffer(id);
                    self.done.push(Done::Sent { conn: id });
                }
            }
            result if result == -libc::EINTR || result == -libc::EAGAIN => self.send_rest(id),
            // The receive under way ends too, after what the client has sent before.
            _ if conn.receiving => {}
            _ => self.done.push(Done::Lost { conn: id }),
        }
    }

    fn release_if_idle(&mut self, id: ConnId) {
        let Some(conn) = self.conn_mut(id) else { return };
        if !conn.receiving && !conn.sending {
            conn.stream = None;
            // An idle slot keeps its receive buffer for the next connection, and no other memory.
            let buffer = std::mem::take(&mut conn.send);
            conn.generation = conn.generation.wrapping_add(1);
            self.send_buffers.keep(buffer);
            self.free.push(id.slot);
            self.resume_accepting();
        }
    }

    /// Takes the send buffer of a connection that does not send.
    fn spare_buffer(&mut self, id: ConnId) {
        if let Some(buffer) = self.conn_mut(id).filter(|conn| !conn.sending).map(|conn| std::mem::take(&mut conn.send))
        {
            self.send_buffers.keep(buffer);
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

    /// The receive buffer is allocated at a slot's first use and kept, so memory grows with the number of clients.
    fn open(&mut self, stream: TcpStream) {
        if self.receive.is_empty() {
            self.receive = vec![0; RECEIVE_BYTES].into_boxed_slice();
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

impl Sockets for Reactor {
    #[inline]
    fn hold_accepts(&mut self, hold: bool) {
        if self.accepting.held != hold {
            self.accepting.held = hold;
            self.resume_accepting();
        }
    }

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
        let may_send = self.conn(id).is_some_and(|conn| !conn.sending && !conn.closing);
        may_send.then(|| self.send_buffers.begin(id))
    }

    #[inline]
    fn send(&mut self, id: ConnId, bytes: usize) {
        let Some(conn) = self.conn(id) else { return };
        assert!(!conn.sending && bytes <= SEND_BYTES, "one send at a time, within the buffer");
        if bytes == 0 || conn.closing {
            return;
        }
        let buffer = self.send_buffers.take(id, bytes);
        if let Some(conn) = self.conn_mut(id) {
            (conn.send, conn.send_len, conn.send_at) = (buffer, bytes, 0);
        }
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

/// Connections that may wait to be accepted, as far as the system allows (`net.core.somaxconn`). One that finds no room
/// tries again a second later.
const BACKLOG: i32 = 4_096;

/// Lets more connections wait to be accepted: the standard library asks for 128.
fn deepen_backlog(socket: &TcpListener) {
    // SAFETY: the call takes the descriptor of a socket that is open, and a number. It has no access to our memory.
    // Where it fails the backlog stays as it was.
    let _ = unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) };
}

fn stream_or_errno(result: i32) -> Result<TcpStream, i32> {
    if result < 0 {
        return Err(-result);
    }
    // SAFETY: a successful accept returns a new descriptor, which has no other owner.
    Ok(unsafe { TcpStream::from_raw_fd(result) })
}

#[cfg(test)]
mod tests {
    use super::journaling::write_then_sync;
    use super::*;
    use io_uring::types::FsyncFlags;
    use std::io::Read;
    use std::time::Duration;
    use tempfile::TempDir;
    use wal::head::WriteOp;
    use wal::units::{Lsn, Place, SegmentIdx};

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

    /// What an entry asks of the kernel.
    #[derive(Debug, PartialEq, Eq)]
    struct Request {
        code: u8,
        flags: u8,
        fd: i32,
        offset: u64,
        address: u64,
        bytes: u32,
        op_flags: u32,
        user_data: u64,
    }

    impl Request {
        /// Reads an entry as the kernel does: at the offsets of `struct io_uring_sqe`.
        fn of(entry: &squeue::Entry) -> Self {
            const { assert!(size_of::<squeue::Entry>() == 64) };
            // SAFETY: the entry is 64 bytes of integers, all of them written when it was built.
            let sqe: [u8; 64] = unsafe { std::mem::transmute_copy(entry) };
            let mut rest = &sqe[..];
            let mut take = |len: usize| {
                let mut bytes = [0; 8];
                rest.read_exact(&mut bytes[..len]).expect("the fields are within the entry");
                u64::from_le_bytes(bytes)
            };
            let (code, flags, _priority) = (take(1) as u8, take(1) as u8, take(2));
            let (fd, offset, address) = (take(4) as i32, take(8), take(8));
            let (bytes, op_flags, user_data) = (take(4) as u32, take(4) as u32, take(8));
            Self { code, flags, fd, offset, address, bytes, op_flags, user_data }
        }
    }

    const DATASYNC: u32 = FsyncFlags::DATASYNC.bits();
    static FRAME: [u8; 8192] = [7; 8192];

    /// Three segments, of which this process may only read the last.
    fn segments() -> (TempDir, Vec<File>) {
        let dir = tempfile::tempdir().expect("a directory");
        let made = ["a", "b", "c"].map(|name| File::create_new(dir.path().join(name)).expect("a file"));
        let [a, b, _] = made;
        let read_only = File::open(dir.path().join("c")).expect("it was just made");
        (dir, vec![a, b, read_only])
    }

    fn frame_in(segment: u32) -> WriteOp {
        let place = Place { segment: SegmentIdx(segment), offset: 12_288 };
        WriteOp { ticket: FrameTicket(9), place, bytes_len: FRAME.len(), seq_first: Lsn(1), seq_last: Lsn(2) }
    }

    #[test]
    fn a_write_is_linked_to_the_sync_of_the_same_segment() {
        let (_dir, files) = segments();
        for (segment, file) in (0..).zip(&files) {
            let [write, sync] = write_then_sync(&files, &frame_in(segment), &FRAME);
            let expected = Request {
                code: opcode::Write::CODE,
                flags: squeue::Flags::IO_LINK.bits(),
                fd: file.as_raw_fd(),
                offset: 12_288,
                address: FRAME.as_ptr() as u64,
                bytes: 8192,
                op_flags: 0,
                user_data: KIND_WRITE << KIND_SHIFT | 9,
            };
            assert_eq!(Request::of(&write), expected);
            let expected = Request {
                code: opcode::Fsync::CODE,
                flags: 0,
                fd: file.as_raw_fd(),
                // No range: the kernel syncs all of the file.
                offset: 0,
                address: 0,
                bytes: 0,
                op_flags: DATASYNC,
                user_data: KIND_SYNC << KIND_SHIFT | 9,
            };
            assert_eq!(Request::of(&sync), expected);
        }
    }

    /// The kernel's own answer: it cancels a sync that is linked to a write that fails, and would do any other.
    #[test]
    fn a_sync_does_not_begin_where_its_write_has_failed() {
        let (_dir, files) = segments();
        let mut reactor = Reactor::new(1).expect("this machine offers io_uring");
        for (segment, expected) in [(0, [FRAME.len() as i32, 0]), (2, [-libc::EBADF, -libc::ECANCELED])] {
            reactor.asked.journal.push(write_then_sync(&files, &frame_in(segment), &FRAME));
            reactor.hand_over();
            let mut results = Vec::new();
            for _ in 0..1_000 {
                reactor.enter(Wait::Upto(Duration::from_millis(20))).expect("the ring works");
                while let Some(entry) = reactor.next_completion() {
                    results.push((entry.user_data() >> KIND_SHIFT, entry.result()));
                }
                if results.len() == 2 {
                    break;
                }
            }
            results.sort_unstable();
            assert_eq!(results, [(KIND_WRITE, expected[0]), (KIND_SYNC, expected[1])]);
        }
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn frames_that_are_not_synced_right_are_noticed() {
        use crate::faults::mutation::{Mutation, assert_noticed};
        for fault in [Mutation::SyncUnlinked, Mutation::SyncMissing, Mutation::SyncOfOtherSegment] {
            assert_noticed(fault, a_write_is_linked_to_the_sync_of_the_same_segment);
        }
        assert_noticed(Mutation::SyncUnlinked, a_sync_does_not_begin_where_its_write_has_failed);
    }
}
