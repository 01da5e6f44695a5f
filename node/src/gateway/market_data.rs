//! The market data gateway: the live stream, snapshots, and the best levels.
//!
//! A login chooses a stream: `LIVE` (from any number still in memory), `SNAP` (one snapshot, then end of session) or
//! `TOP` (the best levels, conflated). The data is public: any user name and password are accepted.
//!
//! Invariants: an item is published only when its command is released; a slow reader delays neither the feed nor other
//! readers, and a slow feed delays no order: it loses items and takes its state from the shadow (`renewal`). A reader
//! of the live stream whose next message is no longer in memory, and any reader that reads nothing for the silence
//! limit, is disconnected and recovers by snapshot. Where the port is full, connections that have not logged in make
//! room, oldest first. A snapshot takes memory of its own, so at most `SNAPSHOTS_MAX` are sent at a time. A reader of
//! the best levels gets the changes since its last update.

use crate::faults::fault::PanicFault;
use crate::gateway::awaited_logins::AwaitedLogins;
use crate::gateway::send_buffer::{ControlOutput, SendBuffer};
use crate::reactor::ports::{ConnId, Done, PauseCause, Sockets};
use crate::replica::public_feed::PublicFeed;
use crate::replica::questions::ShadowPort;
use crate::rings::feed_items::FeedOut;
use crate::status::Status;
use crate::status::listeners::Episodes;
use crate::status::watermarks::Watermark;
use api::binary::login::{LoginReject, LoginRequest, SessionName};
use api::binary::market::LEVEL_UPDATE_BYTES_MAX;
use api::binary::sbe::Framed;
use api::binary::session::{CloseReason, Flow, Inbound, Output, Session, SessionLimits, State};
use api::binary::snapshot::write_snapshot;
use api::binary::soup::{PACKET_HEADER_BYTES, PacketKind, append_packet};
use api::binary::stream::{SessionSeq, StreamError, first_to_send};
use api::binary::top::{TopState, bbo};
use book::units::{Seq, TsNs};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot::Receiver;
use zerocopy::IntoBytes;

mod renewal;

/// Largest message of the live stream.
const LIVE_MESSAGE_BYTES_MAX: usize = 128;
/// Snapshots that are being sent at once. At the limit the login is rejected, and the reader tries again.
const SNAPSHOTS_MAX: usize = 8;
/// Items taken from the ring in one cycle, before the sockets are polled again.
const ITEMS_PER_CYCLE_MAX: usize = 4096;
const HOUSEKEEPING_NS: u64 = 50_000_000;
/// Room for one `LevelUpdate`. A send needs twice as much for an instrument, because a `Bbo` precedes its update.
const TOP_BYTES_MAX: usize = 8 * 1024;

const _: () = assert!(LEVEL_UPDATE_BYTES_MAX + PACKET_HEADER_BYTES <= TOP_BYTES_MAX);

/// Limits from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct MarketLimits {
    pub connections_max: u32,
    /// Connections of one address that have not sent a login; beyond, its oldest one is closed.
    pub logins_awaited_per_address_max: u32,
    pub session: SessionLimits,
}

/// What a reader has logged in to, and how far it has been sent.
enum Subscription {
    None,
    Live {
        next: SessionSeq,
    },
    /// All packets of the snapshot, and how many bytes of them are sent.
    Snapshot {
        packets: Vec<u8>,
        sent: usize,
    },
    /// The snapshot is sent and the sending direction is shut down. The client closes the connection, or the node does
    /// at `ends`: a close while the client still sends would reset the connection and could discard the snapshot's end.
    SnapshotSent {
        ends: TsNs,
    },
    /// The levels of each instrument as of its last update, and the instrument at which the next send begins.
    Top {
        sent: BTreeMap<u32, TopState>,
        next_instrument: u32,
    },
}

impl Subscription {
    /// Whether all of a snapshot has been passed to the connection.
    fn is_complete(&self) -> bool {
        matches!(self, Self::Snapshot { packets, sent } if *sent == packets.len())
    }
}

struct Reader {
    id: ConnId,
    protocol: Session,
    /// Bytes to send before the next message.
    control: Vec<u8>,
    subscription: Subscription,
    /// The connection closes when its control bytes are sent.
    closing: bool,
    /// When the last send began.
    sending_since: TsNs,
}

/// The state of the feed, and the command that it is as of.
type Answer = (PublicFeed, Seq);

/// Whether the feed waits for its state from the shadow.
enum Renewal {
    None,
    Due,
    Asked {
        answer: Receiver<Answer>,
        /// Items up to this command were taken from the ring or lost.
        taken: Seq,
    },
}

/// The loop that publishes: applies released items to the feed and sends readers what they can take.
pub struct MarketData {
    items: FeedOut,
    state: PublicFeed,
    /// Items up to this command are in `state` already: it was computed from the log, and they were still in the ring.
    state_upto: Seq,
    shadow: ShadowPort,
    renewal: Renewal,
    /// By connection slot.
    readers: Vec<Option<Box<Reader>>>,
    released: Watermark<Seq>,
    status: Arc<Status>,
    limits: SessionLimits,
    awaited_logins: AwaitedLogins,
    housekeeping_at_ns: u64,
}

impl MarketData {
    /// An item is published when `released` has reached its command.
    pub fn new(
        items: FeedOut,
        state: PublicFeed,
        shadow: ShadowPort,
        released: Watermark<Seq>,
        status: Arc<Status>,
        limits: MarketLimits,
    ) -> Self {
        let connections_max = limits.connections_max as usize;
        let episodes = Episodes::new("market", "limits.market_connections_max", connections_max);
        Self {
            items,
            state,
            state_upto: Seq(0),
            shadow,
            renewal: Renewal::None,
            readers: Vec::new(),
            released,
            status,
            limits: limits.session,
            awaited_logins: AwaitedLogins::new(limits.logins_awaited_per_address_max, episodes),
            housekeeping_at_ns: 0,
        }
    }

    /// One cycle. Returns the work done.
    pub fn poll(&mut self, now: TsNs, reactor: &mut impl Sockets) -> usize {
        let mut work = self.poll_items();
        let mut idx = 0;
        while let Some(done) = reactor.done(idx) {
            idx += 1;
            match done {
                Done::Accepted { conn, .. } => self.accepted(now, conn, reactor),
                Done::AcceptPaused { cause, .. } => self.make_room(now, cause, reactor),
                Done::Received { conn, .. } => self.received(now, conn, reactor),
                Done::Sent { .. } => {}
                Done::Lost { conn } => self.close(conn, reactor),
            }
        }
        work += idx;
        if now.0 - self.housekeeping_at_ns >= HOUSEKEEPING_NS {
            self.housekeeping_at_ns = now.0;
            self.housekeeping(now, reactor);
        }
        for slot in 0..self.readers.len() {
            work += self.flush(now, slot, reactor);
        }
        work
    }

    pub fn is_drained(&self) -> bool {
        self.items.is_empty() || self.is_renewing()
    }

    /// Takes items from the ring, or a step towards the state that is missing. Returns the work done.
    pub(super) fn poll_items(&mut self) -> usize {
        if self.is_renewing() || self.state_upto < self.items.lost_upto() {
            return self.renew();
        }
        let released = self.released.get();
        let mut count = 0;
        while count < ITEMS_PER_CYCLE_MAX
            && let Some(item) = self.items.pop(released)
        {
            count += 1;
            if self.state_upto < item.stamp.seq {
                PanicFault::strike("feed");
                self.state.apply(&item);
            }
        }
        count
    }

    fn accepted(&mut self, now: TsNs, id: ConnId, reactor: &mut impl Sockets) {
        // Without an address the connection has ended already.
        let Some(peer) = reactor.peer(id) else { return reactor.close(id) };
        if id.slot() >= self.readers.len() {
            self.readers.resize_with(id.slot() + 1, || None);
        }
        let mut protocol = Session::new(now);
        protocol.set_limits(self.limits);
        let reader = Reader {
            id,
            protocol,
            control: Vec::new(),
            subscription: Subscription::None,
            closing: false,
            sending_since: now,
        };
        self.readers[id.slot()] = Some(Box::new(reader));
        self.status.market_readers.add(1);
        if let Some(oldest) = self.awaited_logins.add(now, id, peer.ip()) {
            self.displace(oldest, reactor);
        }
    }

    /// The port accepts nothing: a connection that has not sent a login is closed for the next one, the oldest first.
    fn make_room(&mut self, now: TsNs, cause: PauseCause, reactor: &mut impl Sockets) {
        if let Some(oldest) = self.awaited_logins.make_room(now, cause, &self.status.listeners.market) {
            self.displace(oldest, reactor);
        }
    }

    fn displace(&mut self, id: ConnId, reactor: &mut impl Sockets) {
        self.status.listeners.market.displaced.add(1);
        self.close(id, reactor);
    }

    fn received(&mut self, now: TsNs, id: ConnId, reactor: &mut impl Sockets) {
        let Some(reader) = self.reader(id) else { return };
        let mut inbound = ReaderInbound { output: ControlOutput::new(&mut reader.control), login: None };
        reader.protocol.on_bytes(now, reactor.received(id), &mut inbound);
        let ReaderInbound { output, login } = inbound;
        reader.closing |= output.closed().is_some();
        if let Some((name, requested)) = login {
            self.awaited_logins.remove(id);
            self.log_in(now, id, name, requested);
        }
        reactor.receive(id);
    }

    fn reader(&mut self, id: ConnId) -> Option<&mut Reader> {
        self.readers.get_mut(id.slot())?.as_deref_mut().filter(|reader| reader.id == id)
    }

    fn log_in(&mut self, now: TsNs, id: ConnId, name: SessionName, requested: SessionSeq) {
        let name = if name.is_blank() { SessionName::LIVE } else { name };
        let subscription = match name {
            SessionName::SNAP => self.subscribe_snapshot(now),
            SessionName::TOP => {
                Some((Subscription::Top { sent: BTreeMap::new(), next_instrument: 0 }, SessionSeq::FIRST))
            }
            SessionName::LIVE => self.subscribe_live(requested),
            _ => None,
        };
        let Some(reader) = self.reader(id) else { return };
        let mut output = ControlOutput::new(&mut reader.control);
        match subscription {
            Some((subscription, first)) => {
                reader.protocol.accept(now, name, first, &mut output);
                reader.subscription = subscription;
            }
            None => reader.protocol.reject(now, LoginReject::NoSession, &mut output),
        }
        reader.closing |= output.closed().is_some();
    }

    fn subscribe_live(&self, requested: SessionSeq) -> Option<(Subscription, SessionSeq)> {
        let live = self.state.live();
        let first = first_to_send(requested, live.next_seq()).filter(|first| *first >= live.oldest_seq())?;
        Some((Subscription::Live { next: first }, first))
    }

    /// All books as of the newest live message, encoded at once.
    fn subscribe_snapshot(&self, now: TsNs) -> Option<(Subscription, SessionSeq)> {
        let subscriptions = self.readers.iter().flatten().map(|reader| &reader.subscription);
        if SNAPSHOTS_MAX <= subscriptions.filter(|s| matches!(s, Subscription::Snapshot { .. })).count() {
            return None;
        }
        let as_of = SessionSeq(self.state.live().next_seq().0 - 1);
        let mut packets = Vec::new();
        write_snapshot(self.state.depth(), as_of, now, &mut |message| {
            append_packet(PacketKind::Sequenced, message, &mut packets);
        });
        append_packet(PacketKind::EndOfSession, &[], &mut packets);
        Some((Subscription::Snapshot { packets, sent: 0 }, SessionSeq::FIRST))
    }

    /// Sends due heartbeats, enforces timeouts, and disconnects readers that read nothing for the silence limit.
    fn housekeeping(&mut self, now: TsNs, reactor: &mut impl Sockets) {
        self.awaited_logins.tick(now, &self.status.listeners.market);
        let unread_ns_max = self.unread_ns_max();
        for slot in 0..self.readers.len() {
            let Some(reader) = self.readers[slot].as_deref_mut() else { continue };
            let id = reader.id;
            let mut output = ControlOutput::new(&mut reader.control);
            reader.protocol.on_tick(now, &mut output);
            reader.closing |= output.closed().is_some();
            let is_stuck = reactor.is_sending(id) && unread_ns_max <= now.0 - reader.sending_since.0;
            let is_over = matches!(reader.subscription, Subscription::SnapshotSent { ends } if ends <= now);
            if is_stuck {
                self.status.market_readers_dropped.add(1);
            }
            if is_stuck || is_over {
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
        if matches!(reader.subscription, Subscription::SnapshotSent { .. }) {
            return 0;
        }
        let Some(buffer) = reactor.send_buffer(id) else { return 0 };
        let mut buffer = SendBuffer::new(buffer);
        buffer.drain(&mut reader.control, usize::MAX);
        let is_too_slow = reader.protocol.state() == State::Open && !fill(now, reader, &self.state, &mut buffer);
        let len = buffer.len();
        reactor.send(id, len);
        reader.sending_since = now;
        if len == 0 && reader.subscription.is_complete() {
            reactor.finish_sending(id);
            reader.subscription = Subscription::SnapshotSent { ends: TsNs(now.0 + unread_ns_max) };
        }
        if is_too_slow {
            self.status.market_readers_dropped.add(1);
        }
        if is_too_slow || reader.closing && len == 0 {
            self.close(id, reactor);
        }
        usize::from(len > 0)
    }

    fn close(&mut self, id: ConnId, reactor: &mut impl Sockets) {
        if self.reader(id).is_some() {
            self.awaited_logins.remove(id);
            self.readers[id.slot()] = None;
            self.status.market_readers.set(self.status.market_readers.get() - 1);
        }
        reactor.close(id);
    }

    /// Begins again after a panic: without readers, whose connections are closed, and with a state that the shadow is
    /// asked for. Nothing is to be published until [`Self::is_renewing`] is false.
    pub fn begin_again(&mut self) {
        self.readers.clear();
        self.awaited_logins.clear();
        self.status.market_readers.set(0);
        self.renewal = Renewal::Due;
    }

    /// What is published so far.
    pub fn feed(&self) -> &PublicFeed {
        &self.state
    }
}

/// Fills a send with what the reader's subscription has next. False when the next live message is no longer in memory.
fn fill(now: TsNs, reader: &mut Reader, state: &PublicFeed, buffer: &mut SendBuffer<'_>) -> bool {
    let Reader { protocol, subscription, .. } = reader;
    match subscription {
        Subscription::None | Subscription::SnapshotSent { .. } => {}
        Subscription::Live { next } => {
            while buffer.room() >= LIVE_MESSAGE_BYTES_MAX + PACKET_HEADER_BYTES {
                match state.live().get(*next) {
                    Ok(message) => {
                        let sent = protocol.send_sequenced(now, message, buffer);
                        assert!(sent == *next, "the reader counts message {} as {}", next.0, sent.0);
                    }
                    Err(StreamError::Beyond { .. }) => break,
                    Err(StreamError::Older { .. }) => return false,
                }
                *next = next.next();
            }
        }
        Subscription::Snapshot { packets, sent } => {
            let len = buffer.room().min(packets.len() - *sent);
            buffer.send(&packets[*sent..*sent + len]);
            *sent += len;
        }
        Subscription::Top { sent, next_instrument } => fill_top(now, protocol, sent, next_instrument, state, buffer),
    }
    true
}

/// Sends updates of the instruments in turn, beginning where the last send ended, so that busy instruments do not
/// starve the others.
fn fill_top(
    now: TsNs,
    protocol: &mut Session,
    sent: &mut BTreeMap<u32, TopState>,
    next_instrument: &mut u32,
    state: &PublicFeed,
    buffer: &mut SendBuffer<'_>,
) {
    let mut scratch = [0; TOP_BYTES_MAX];
    let start = *next_instrument;
    let (before, after): (Vec<_>, Vec<_>) = state.depth().books().partition(|book| book.instrument() < start);
    for book in after.into_iter().chain(before) {
        if buffer.room() < 2 * TOP_BYTES_MAX {
            *next_instrument = book.instrument();
            return;
        }
        let top = sent.entry(book.instrument()).or_default();
        if let Some(len) = top.update(book, now, &mut scratch) {
            protocol.send_sequenced(now, Framed::new(bbo(book, now)).as_bytes(), buffer);
            protocol.send_sequenced(now, &scratch[..len], buffer);
        }
    }
}

/// Receives a reader's login. Readers send no other requests.
struct ReaderInbound<'a> {
    output: ControlOutput<'a>,
    login: Option<(SessionName, SessionSeq)>,
}

impl Output for ReaderInbound<'_> {
    fn send(&mut self, bytes: &[u8]) {
        self.output.send(bytes);
    }

    fn close(&mut self, reason: CloseReason) {
        self.output.close(reason);
    }
}

impl Inbound for ReaderInbound<'_> {
    fn login_requested(&mut self, login: &LoginRequest<'_>) {
        self.login = Some((login.session, login.sequence));
    }

    /// Ignored: the schema of market data has no requests.
    fn message(&mut self, _bytes: &[u8]) -> Flow {
        Flow::Continue
    }

    /// Nothing to do: a reader's logout has the effect of its close.
    fn logout_requested(&mut self) {}
}
