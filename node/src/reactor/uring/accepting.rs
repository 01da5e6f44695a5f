//! Accepting connections: one accept per listener at a time, and only while a slot is free for its connection.
//!
//! ```text
//!             a slot is free                       no slot is left, or no descriptor
//!  paused ------------------------> accepting ------------------------------------------> paused
//!     ^------- timer, or the end of a connection, tries again
//! ```
//! Invariants: a connection has a descriptor of this process only if it has a slot, so however many clients connect,
//! they take no more descriptors than there are slots; the others wait in the kernel's queue of the listener. A paused
//! listener costs nothing until a connection ends or the timer passes. A listener accepts one connection in a poll, and
//! none while its loop holds accepts.

use super::{Accepting, KIND_ACCEPT, KIND_TIMER, Listening, Reactor, deepen_backlog, tag};
use crate::faults::mutation::{Mutation, Planted};
use crate::reactor::ports::{ConnId, Done, ListenerIdx, PauseCause, Sockets};
use io_uring::types::{Fd, Timespec};
use io_uring::{opcode, squeue};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::ptr;

/// After a pause of this length a paused listener tries again, or reports again that there is no slot.
const PAUSE_NS: u32 = 250_000_000;
/// Read by the kernel when the timer is submitted, hence at an address of its own.
static PAUSE: Timespec = Timespec::new().nsec(PAUSE_NS);

impl Accepting {
    fn entry(&self, idx: usize) -> squeue::Entry {
        let fd = Fd(self.listeners[idx].socket.as_raw_fd());
        opcode::Accept::new(fd, ptr::null_mut(), ptr::null_mut())
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(tag(KIND_ACCEPT, idx as u64))
    }

    fn has_paused(&self) -> bool {
        self.in_flight < self.listeners.len()
    }
}

impl Reactor {
    /// Accepts connections on `listener` from now on; their `Done::Accepted` carries the index returned.
    pub fn listen(&mut self, socket: TcpListener) -> ListenerIdx {
        deepen_backlog(&socket);
        self.accepting.listeners.push(Listening { socket, accepting: false });
        self.resume_accepting();
        ListenerIdx(self.accepting.listeners.len() - 1)
    }

    /// Lets paused listeners accept again, as far as there are slots. To be called when a slot becomes free.
    #[inline]
    pub(super) fn resume_accepting(&mut self) {
        if self.accepting.has_paused() {
            self.accept_where_paused();
        }
    }

    fn accept_where_paused(&mut self) {
        if self.accepting.held {
            return;
        }
        for idx in 0..self.accepting.listeners.len() {
            if !self.accepting.listeners[idx].accepting && self.accepting.in_flight < self.free.len() {
                self.accepting.listeners[idx].accepting = true;
                self.accepting.in_flight += 1;
                self.asked.rest.push(self.accepting.entry(idx));
            }
        }
    }

    pub(super) fn accepted(&mut self, listener: ListenerIdx, outcome: Result<TcpStream, i32>) {
        self.accepting.listeners[listener.0].accepting = false;
        self.accepting.in_flight -= 1;
        match outcome {
            Ok(stream) => {
                self.admit(listener, stream);
                if self.accepting.in_flight == self.free.len() {
                    return self.pause(listener, PauseCause::NoSlot);
                }
            }
            // This one connection failed; another is accepted at once.
            Err(libc::ECONNABORTED | libc::EPROTO | libc::EINTR | libc::EAGAIN) => {}
            // Too few descriptors or too little memory, mostly. Asking again at once would spin.
            Err(errno) => {
                self.pause(listener, PauseCause::Failed { errno });
                let waits = true.planted(Mutation::AcceptAgainAtOnce, |_| false);
                if waits {
                    return;
                }
            }
        }
        self.resume_accepting();
    }

    /// Gives the connection a slot and starts to receive.
    fn admit(&mut self, listener: ListenerIdx, stream: TcpStream) {
        let slot = self.free.pop().expect("an accept is in flight only while a slot is free for it");
        // If the connection is closed already, the first receive reports it.
        let _ = stream.set_nodelay(true);
        let conn = &mut self.conns[usize::from(slot)];
        conn.open(stream);
        let id = ConnId { slot, generation: conn.generation };
        self.done.push(Done::Accepted { conn: id, listener });
        self.receive(id);
    }

    fn pause(&mut self, listener: ListenerIdx, cause: PauseCause) {
        self.done.push(Done::AcceptPaused { listener, cause });
        if !self.accepting.timer_in_flight {
            self.accepting.timer_in_flight = true;
            self.asked.rest.push(opcode::Timeout::new(&PAUSE).build().user_data(tag(KIND_TIMER, 0)));
        }
    }

    /// Tries again. A listener for which there is still no slot is reported once more.
    pub(super) fn pause_over(&mut self) {
        self.accepting.timer_in_flight = false;
        self.resume_accepting();
        for idx in 0..self.accepting.listeners.len() {
            // Without a free slot beside those of the accepts in flight; it may also be held.
            let is_full = self.accepting.in_flight == self.free.len();
            if is_full && !self.accepting.listeners[idx].accepting {
                self.pause(ListenerIdx(idx), PauseCause::NoSlot);
            }
        }
    }
}
