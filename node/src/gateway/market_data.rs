//! Market-data connections: the live stream, snapshots, and the best levels, to whoever asks.
//!
//! Who logs in names a stream: `LIVE` (numbered, from any number still in memory), `SNAP` (one snapshot, then the end) or
//! `TOP` (the best levels, conflated). The feed is public: any name and password will do.
//!
//! Invariants: no reader is waited for. A live reader that falls out of memory, or that reads nothing for as long as it
//! may be silent, is disconnected and joins again by snapshot; a snapshot is written once per reader into memory of its own, at most `SNAPSHOTS_MAX` at a time; a top reader
//! gets what changed since it could last take something.

use crate::gateway::send_buffer::Filling;
use crate::reactor::ports::{ConnId, Done, Sockets, Wait};
use crate::reactor::uring::Reactor;
use crate::replica::public_feed::PublicFeed;
use crate::rings::feed_items::FeedItem;
use crate::status::Status;
use crate::status::lifecycle::Lifecycle;
use crate::status::watermarks::Watermark;
use api::binary::login::{LoginReject, LoginRequest, SessionName};
use api::binary::sbe::Framed;
use api::binary::session::{CloseReason, Flow, Session, SessionLimits, SessionOutput, State};
use api::binary::snapshot::write_snapshot;
use api::binary::soup::{PACKET_HEADER_BYTES, PacketKind, append_packet};
use api::binary::stream::{SessionSeq, StreamError, first_to_send};
use api::binary::top::{TopState, bbo};
use book::units::{Seq, TsNs};
use rtrb::Consumer;
use std::collections::BTreeMap;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Largest message of the live stream.
const LIVE_MESSAGE_BYTES_MAX: usize = 128;
/// Snapshots being read at once.
const SNAPSHOTS_MAX: usize = 8;
/// Items taken from the ring before sockets are looked at again.
const ITEMS_PER_CYCLE_MAX: usize = 4096;
const HOUSEKEEPING_NS: u64 = 50_000_000;
/// How long a stopping node waits for readers to take what was published.
const DRAIN_NS: u64 = 2_000_000_000;
/// A top reader is told about so many instruments per send at most.
const TOP_ROOM_BYTES: usize = 8 * 1024;

/// What a reader asked for.
enum Wish {
    Nothing,
    Live {
        next: SessionSeq,
    },
    /// The rest of a snapshot, packets and all.
    Snapshot {
        packets: Vec<u8>,
        sent: usize,
    },
    /// Its snapshot is on its way and the line is closed in our direction. The client closes the other, or time does:
    /// closing both at once would be a reset to a client that speaks meanwhile, and take the end of the snapshot along.
    Said {
        ends: TsNs,
    },
    /// What it was told last, by instrument, and from which instrument to go on.
    Top {
        told: BTreeMap<u32, TopState>,
        from: u32,
    },
}

struct Reader {
    id: ConnId,
    protocol: Session,
    control: Vec<u8>,
    wish: Wish,
    closing: bool,
    /// Since when it has been sent what it may not have read.
    sending_since: TsNs,
}

/// The feed's loop: takes released items in, sends to readers what they can take.
pub struct MarketGate {
    items: Consumer<FeedItem>,
    state: PublicFeed,
    readers: Vec<Option<Box<Reader>>>,
    released: Watermark<Seq>,
    status: Arc<Status>,
    limits: SessionLimits,
    housekeeping_at_ns: u64,
}

impl MarketGate {
    /// Items are published once `released` has reached their command.
    pub fn new(
        items: Consumer<FeedItem>,
        state: PublicFeed,
        released: Watermark<Seq>,
        status: Arc<Status>,
        limits: SessionLimits,
    ) -> Self {
        Self { items, state, readers: Vec::new(), released, status, limits, housekeeping_at_ns: 0 }
    }

    /// One cycle. Returns the work done.
    pub fn poll(&mut self, now: TsNs, reactor: &mut impl Sockets) -> usize {
        let mut work = self.take_items();
        let mut idx = 0;
        while let Some(done) = reactor.done(idx) {
            idx += 1;
            match done {
                Done::Accepted { conn, .. } => self.accepted(now, conn),
                Done::Received { conn, .. } => self.received(now, conn, reactor),
                Done::Sent { .. } => {}
                Done::Lost { conn } => self.close(conn, reactor),
            }
        }
        work += idx;
        if now.0 - self.housekeeping_at_ns >= HOUSEKEEPING_NS {
            self.housekeeping_at_ns = now.0;
            self.keep_house(now, reactor);
        }
        for slot in 0..self.readers.len() {
            work += self.flush(now, slot, reactor);
        }
        work
    }

    pub fn is_drained(&self) -> bool {
        self.items.is_empty()
    }

    fn take_items(&mut self) -> usize {
        let released = self.released.get();
        let mut count = 0;
        while count < ITEMS_PER_CYCLE_MAX && self.items.peek().is_ok_and(|item| item.stamp.seq <= released) {
            let Ok(item) = self.items.pop() else { break };
            self.state.apply(&item);
            count += 1;
        }
        count
    }

    fn accepted(&mut self, now: TsNs, id: ConnId) {
        if id.slot() >= self.readers.len() {
            self.readers.resize_with(id.slot() + 1, || None);
        }
        let mut protocol = Session::new(now);
        protocol.set_limits(self.limits);
        let reader =
            Reader { id, protocol, control: Vec::new(), wish: Wish::Nothing, closing: false, sending_since: now };
        self.readers[id.slot()] = Some(Box::new(reader));
        self.status.market_readers.add(1);
    }

    fn received(&mut self, now: TsNs, id: ConnId, reactor: &mut impl Sockets) {
        let Some(reader) = self.reader(id) else { return };
        let mut hearing = Hearing { control: &mut reader.control, login: None, closed: false };
        reader.protocol.on_bytes(now, reactor.received(id), &mut hearing);
        let Hearing { login, closed, .. } = hearing;
        reader.closing |= closed;
        if let Some((name, wanted)) = login {
            self.log_in(now, id, name, wanted);
        }
        reactor.receive(id);
    }

    fn reader(&mut self, id: ConnId) -> Option<&mut Reader> {
        self.readers.get_mut(id.slot())?.as_deref_mut().filter(|reader| reader.id == id)
    }

    fn log_in(&mut self, now: TsNs, id: ConnId, name: SessionName, wanted: SessionSeq) {
        let wish = match name {
            SessionName::SNAP => self.snapshot(now),
            SessionName::TOP => Some((Wish::Top { told: BTreeMap::new(), from: 0 }, SessionSeq::FIRST)),
            name if name == SessionName::LIVE || name.is_blank() => self.live(wanted),
            _ => None,
        };
        let name = if name.is_blank() { SessionName::LIVE } else { name };
        let Some(reader) = self.reader(id) else { return };
        let mut hearing = Hearing { control: &mut reader.control, login: None, closed: false };
        match wish {
            Some((wish, first)) => {
                reader.protocol.accept(now, name, first, &mut hearing);
                reader.wish = wish;
            }
            None => reader.protocol.reject(now, LoginReject::NoSession, &mut hearing),
        }
        reader.closing |= hearing.closed;
    }

    fn live(&self, wanted: SessionSeq) -> Option<(Wish, SessionSeq)> {
        let live = self.state.live();
        let first = first_to_send(wanted, live.next_seq()).filter(|first| *first >= live.oldest_seq())?;
        Some((Wish::Live { next: first }, first))
    }

    /// All of the market as of the newest live message, written out at once.
    fn snapshot(&self, now: TsNs) -> Option<(Wish, SessionSeq)> {
        let under_way = self.readers.iter().flatten().filter(|r| matches!(r.wish, Wish::Snapshot { .. })).count();
        if under_way >= SNAPSHOTS_MAX {
            return None;
        }
        let as_of = SessionSeq(self.state.live().next_seq().0 - 1);
        let mut packets = Vec::new();
        write_snapshot(self.state.depth(), as_of, now, &mut |message| {
            append_packet(PacketKind::Sequenced, message, &mut packets);
        });
        append_packet(PacketKind::EndOfSession, &[], &mut packets);
        Some((Wish::Snapshot { packets, sent: 0 }, SessionSeq::FIRST))
    }

    /// Heartbeats and silences; who does not read for as long as it may be silent is dropped.
    fn keep_house(&mut self, now: TsNs, reactor: &mut impl Sockets) {
        let unread_ns_max = self.unread_ns_max();
        for slot in 0..self.readers.len() {
            let Some(reader) = self.readers[slot].as_deref_mut() else { continue };
            let id = reader.id;
            let mut hearing = Hearing { control: &mut reader.control, login: None, closed: false };
            reader.protocol.on_tick(now, &mut hearing);
            reader.closing |= hearing.closed;
            let stuck = reactor.is_sending(id) && unread_ns_max <= now.0 - reader.sending_since.0;
            let over = matches!(reader.wish, Wish::Said { ends } if ends <= now);
            if stuck {
                self.status.market_readers_dropped.add(1);
            }
            if stuck || over {
                self.close(id, reactor);
            }
        }
    }

    fn unread_ns_max(&self) -> u64 {
        u64::from(self.limits.silence_ms) * 1_000_000
    }

    /// Sends one reader as much as one send takes.
    fn flush(&mut self, now: TsNs, slot: usize, reactor: &mut impl Sockets) -> usize {
        let unread_ns_max = self.unread_ns_max();
        let Some(reader) = self.readers[slot].as_deref_mut() else { return 0 };
        let id = reader.id;
        if matches!(reader.wish, Wish::Said { .. }) {
            return 0;
        }
        let Some(buffer) = reactor.send_buffer(id) else { return 0 };
        let mut filling = Filling::new(buffer);
        filling.drain(&mut reader.control, usize::MAX);
        let lost = reader.protocol.state() == State::Open && !fill(now, reader, &self.state, &mut filling);
        let len = filling.len();
        reactor.send(id, len);
        reader.sending_since = now;
        if len == 0 && matches!(&reader.wish, Wish::Snapshot { packets, sent } if *sent == packets.len()) {
            reactor.finish_sending(id);
            reader.wish = Wish::Said { ends: TsNs(now.0 + unread_ns_max) };
        }
        if lost {
            self.status.market_readers_dropped.add(1);
        }
        if lost || reader.closing && len == 0 {
            self.close(id, reactor);
        }
        usize::from(len > 0)
    }

    fn close(&mut self, id: ConnId, reactor: &mut impl Sockets) {
        if self.reader(id).is_some() {
            self.readers[id.slot()] = None;
            self.status.market_readers.set(self.status.market_readers.get() - 1);
        }
        reactor.close(id);
    }

    /// Runs until the engine is done and everything it released is published, or the process must end.
    pub fn run(
        mut self,
        mut reactor: Reactor,
        mut clock: crate::host::clock::Clock,
        engine_done: &std::sync::atomic::AtomicBool,
        lifecycle: &Lifecycle,
        idle: std::time::Duration,
    ) {
        let mut wait = Wait::Spin;
        let mut deadline = None;
        loop {
            if let Err(error) = reactor.poll(wait) {
                return lifecycle.fail(crate::status::exit::FAILED, error.to_string());
            }
            let now = clock.now();
            let work = self.poll(now, &mut reactor);
            self.status.feed.at_ns.set(now.0);
            self.status.feed.cycles.add(1);
            if engine_done.load(std::sync::atomic::Ordering::Acquire) {
                // Readers that keep asking must not keep the node from ending.
                let deadline = *deadline.get_or_insert(now.0 + DRAIN_NS);
                let published = self.is_drained() || lifecycle.has_failed();
                if published && work == 0 || deadline <= now.0 {
                    return;
                }
            }
            wait = if work > 0 { Wait::Spin } else { Wait::Upto(idle) };
        }
    }
}

/// Fills a send with what the reader wants next. False when it has fallen behind what is kept.
fn fill(now: TsNs, reader: &mut Reader, state: &PublicFeed, filling: &mut Filling<'_>) -> bool {
    let Reader { protocol, wish, .. } = reader;
    match wish {
        Wish::Nothing | Wish::Said { .. } => {}
        Wish::Live { next } => {
            while filling.room() >= LIVE_MESSAGE_BYTES_MAX + PACKET_HEADER_BYTES {
                match state.live().get(*next) {
                    Ok(message) => protocol.send_sequenced(now, message, filling),
                    Err(StreamError::Beyond { .. }) => break,
                    Err(StreamError::Older { .. }) => return false,
                }
                *next = next.next();
            }
        }
        Wish::Snapshot { packets, sent } => {
            let len = filling.room().min(packets.len() - *sent);
            filling.send(&packets[*sent..*sent + len]);
            *sent += len;
        }
        Wish::Top { told, from } => fill_top(now, protocol, told, from, state, filling),
    }
    true
}

/// Goes round the instruments from where the last send ended, so that none is starved by busier ones.
fn fill_top(
    now: TsNs,
    protocol: &mut Session,
    told: &mut BTreeMap<u32, TopState>,
    from: &mut u32,
    state: &PublicFeed,
    filling: &mut Filling<'_>,
) {
    let mut scratch = [0; TOP_ROOM_BYTES];
    let start = *from;
    let (before, after): (Vec<_>, Vec<_>) = state.depth().books().partition(|book| book.instrument() < start);
    for book in after.into_iter().chain(before) {
        if filling.room() < 2 * TOP_ROOM_BYTES {
            *from = book.instrument();
            return;
        }
        let known = told.entry(book.instrument()).or_default();
        if let Some(len) = known.update(book, now, &mut scratch) {
            protocol.send_sequenced(now, Framed::new(bbo(book, now)).as_bytes(), filling);
            protocol.send_sequenced(now, &scratch[..len], filling);
        }
    }
}

/// Hears a reader's session; a log-in is answered by the gate itself.
struct Hearing<'a> {
    control: &'a mut Vec<u8>,
    login: Option<(SessionName, SessionSeq)>,
    closed: bool,
}

impl SessionOutput for Hearing<'_> {
    fn send(&mut self, bytes: &[u8]) {
        self.control.extend_from_slice(bytes);
    }

    fn login_requested(&mut self, login: &LoginRequest<'_>) {
        self.login = Some((login.session, login.sequence));
    }

    /// Readers have nothing to say; what they say is ignored.
    fn message(&mut self, _bytes: &[u8]) -> Flow {
        Flow::Continue
    }

    fn logout_requested(&mut self) {}

    fn close(&mut self, _reason: CloseReason) {
        self.closed = true;
    }
}
