//! The market data gateway: the live stream, snapshots, and the best levels.
//!
//! A login chooses a stream: `LIVE` (from any number still in memory), `SNAP` (one snapshot, then end of session) or
//! `TOP` (the best levels, conflated). The data is public: any user name and password are accepted.
//!
//! Invariants: an item is published only when its command is released; a slow reader delays neither the feed nor other
//! readers, and a slow feed delays no order: it loses items and takes its state from the shadow (`renewal`). A reader
//! of the live stream whose next message is no longer in memory, and any reader that reads nothing for the silence
//! limit, is disconnected and recovers by snapshot. Where the port is full, connections that have not logged in make
//! room, oldest first; a block of addresses has so many connections at most. Readers share encoded snapshots
//! (`snapshots`), and what is sent of the past is paced (`bulk`), so anonymous readers take a bounded part of this
//! thread. A reader of the best levels costs as much as has changed since its last update (`changes`).

use crate::faults::fault::PanicFault;
use crate::faults::mutation::{Mutation, Planted};
use crate::gateway::accept_ration::AcceptRation;
use crate::gateway::address_block::AddressBlock;
use crate::gateway::awaited_logins::AwaitedLogins;
use crate::gateway::send_buffer::{ControlOutput, SendBuffer};
use crate::history::History;
use crate::reactor::ports::{ConnId, Done, PauseCause, Sockets};
use crate::replica::public_feed::PublicFeed;
use crate::replica::questions::ShadowPort;
use crate::rings::feed_items::{FeedItem, FeedOut};
use crate::status::Status;
use crate::status::listeners::Episodes;
use crate::status::watermarks::Watermark;
use api::binary::login::{LoginReject, LoginRequest, SessionName};
use api::binary::session::{CloseReason, Flow, Inbound, Output, Session, SessionLimits, State};
use api::binary::stream::{SessionSeq, first_to_send};
use book::event::Event;
use book::ids::MarketId;
use book::units::{Seq, TsNs};
use bulk::Bulk;
use changes::Changes;
use filling::{Source, fill};
use reader::{Reader, Subscription};
use snapshots::Snapshots;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::oneshot::Receiver;
use wal::store::Store;

mod bulk;
mod changes;
mod filling;
mod reader;
mod renewal;
mod snapshots;

/// Items taken from the ring in one cycle, before the sockets are polled again.
const ITEMS_PER_CYCLE_MAX: usize = 4096;
const HOUSEKEEPING_NS: u64 = 50_000_000;

/// Limits from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct MarketLimits {
    pub connections_max: u32,
    /// Connections of one address that have not sent a login; beyond, its oldest one is closed.
    pub logins_awaited_per_address_max: u32,
    /// Connections of one block of addresses; beyond, its oldest one without a login is closed, or the new one.
    pub connections_per_block_max: u32,
    pub session: SessionLimits,
}

/// The state of the feed, and the command that it is as of.
type Answer = (PublicFeed, Seq);

/// Whether the feed waits for its state from the shadow.
enum Renewal {
    None,
    Due,
    Asked { answer: Receiver<Answer> },
}

/// The loop that publishes: applies released items to the feed and sends readers what they can take.
pub struct MarketData {
    items: FeedOut,
    state: PublicFeed,
    /// Items up to this command are in `state` already: it was computed from the log, and they were still in the ring.
    state_upto: Seq,
    /// Items that wait for the state before them, or were taken from the ring while others did. Oldest first.
    kept: VecDeque<FeedItem>,
    /// Items up to this command were taken from the ring and are no longer there to be published.
    dropped_upto: Seq,
    /// The command of the last item that was taken to be published.
    taken: Seq,
    shadow: ShadowPort,
    renewal: Renewal,
    snapshots: Snapshots,
    bulk: Bulk,
    changes: Changes,
    /// By connection slot.
    readers: Vec<Option<Box<Reader>>>,
    /// The reader that is served first; another one in each cycle.
    first: usize,
    /// Connections of each block of addresses that has some.
    by_block: BTreeMap<AddressBlock, u32>,
    per_block_max: u32,
    released: Watermark<Seq>,
    status: Arc<Status>,
    limits: SessionLimits,
    accept_ration: AcceptRation,
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
        let mut market = Self {
            items,
            state,
            state_upto: Seq(0),
            kept: VecDeque::new(),
            dropped_upto: Seq(0),
            taken: Seq(0),
            shadow,
            renewal: Renewal::None,
            snapshots: Snapshots::new(),
            bulk: Bulk::new(),
            changes: Changes::default(),
            readers: Vec::new(),
            first: 0,
            by_block: BTreeMap::new(),
            per_block_max: limits.connections_per_block_max,
            released,
            status,
            limits: limits.session,
            accept_ration: AcceptRation::default(),
            awaited_logins: AwaitedLogins::new(limits.logins_awaited_per_address_max, episodes),
            housekeeping_at_ns: 0,
        };
        market.mark_all();
        market
    }

    /// Puts back what the live stream had in memory before the snapshot that the start began with, so that its readers
    /// resume as far back as before the restart. Without it they take a snapshot: a history that cannot be read is
    /// reported, and stops nothing.
    pub fn remember(&mut self, store: &Store) {
        let history = Some(History::of(store)).planted(Mutation::LivePastForgotten, |_| None);
        let put_back = history.map(|history| self.state.put_back(|numbers, show| history.live(numbers, show)));
        if let Some(Err(error)) = put_back {
            tracing::error!(%error, "market data from before the snapshot cannot be read; its readers take a snapshot");
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
        reactor.hold_accepts(self.accept_ration.is_used(now));
        work += idx;
        if now.0 - self.housekeeping_at_ns >= HOUSEKEEPING_NS {
            self.housekeeping_at_ns = now.0;
            self.housekeeping(now, reactor);
        }
        work + self.flush_all(now, reactor)
    }

    pub fn is_drained(&self) -> bool {
        self.items.is_empty() && self.kept.is_empty() || self.is_renewing()
    }

    /// Takes items from the ring, or a step towards the state that is missing. Returns the work done.
    pub(super) fn poll_items(&mut self) -> usize {
        if self.is_renewing() || self.state_upto < self.items.lost_upto().max(self.dropped_upto) {
            return self.renew();
        }
        let released = self.released.get();
        if !self.kept.is_empty() {
            self.keep();
        }
        let mut count = 0;
        while count < ITEMS_PER_CYCLE_MAX
            && let Some(item) = self.next_item(released)
        {
            count += 1;
            self.taken = item.stamp.seq;
            if self.state_upto < item.stamp.seq {
                PanicFault::strike("feed");
                self.state.apply(&item);
                if let Some(market) = market_of(&item.event) {
                    self.changes.mark(market.0, item.stamp.ts);
                }
            }
        }
        self.changes.order();
        count
    }

    /// The next item, of the kept ones first: they are older than those in the ring.
    fn next_item(&mut self, released: Seq) -> Option<FeedItem> {
        let kept = self.kept.pop_front();
        if self.kept.is_empty() && self.kept.capacity() > 0 {
            self.kept = VecDeque::new();
        }
        kept.or_else(|| self.items.pop(released))
    }

    /// Every book may have changed.
    fn mark_all(&mut self) {
        let ts = self.state.stamp().ts;
        self.state.depth().books().for_each(|book| self.changes.mark(book.instrument(), ts));
        self.changes.order();
    }

    fn accepted(&mut self, now: TsNs, id: ConnId, reactor: &mut impl Sockets) {
        self.accept_ration.take(now);
        // Without an address the connection has ended already.
        let Some(address) = reactor.peer(id).map(|peer| peer.ip()) else { return reactor.close(id) };
        if !self.admit(address, reactor) {
            self.status.listeners.market.refused.add(1);
            return reactor.close(id);
        }
        if id.slot() >= self.readers.len() {
            self.readers.resize_with(id.slot() + 1, || None);
        }
        let mut protocol = Session::new(now);
        protocol.set_limits(self.limits);
        let reader = Reader {
            id,
            address,
            protocol,
            control: Vec::new(),
            subscription: Subscription::None,
            closing: false,
            sending_since: now,
        };
        self.readers[id.slot()] = Some(Box::new(reader));
        self.status.market_readers.add(1);
        if let Some(oldest) = self.awaited_logins.add(now, id, address) {
            self.displace(oldest, reactor);
        }
    }

    /// Counts a new connection of the address, unless its block has as many as it may have and none makes room.
    fn admit(&mut self, address: IpAddr, reactor: &mut impl Sockets) -> bool {
        let block = AddressBlock::of(address);
        if self.per_block_max <= self.by_block.get(&block).copied().unwrap_or(0) {
            let Some(oldest) = self.awaited_logins.oldest_of(address) else { return false };
            self.displace(oldest, reactor);
        }
        *self.by_block.entry(block).or_default() += 1;
        true
    }

    fn leave_block(&mut self, address: IpAddr) {
        let block = AddressBlock::of(address);
        let Some(count) = self.by_block.get_mut(&block) else { return };
        *count -= 1;
        if *count == 0 {
            self.by_block.remove(&block);
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
            self.log_in(now, id, name, requested, reactor);
        }
        reactor.receive(id);
    }

    fn reader(&mut self, id: ConnId) -> Option<&mut Reader> {
        self.readers.get_mut(id.slot())?.as_deref_mut().filter(|reader| reader.id == id)
    }

    fn log_in(&mut self, now: TsNs, id: ConnId, name: SessionName, requested: SessionSeq, reactor: &mut impl Sockets) {
        let name = if name.is_blank() { SessionName::LIVE } else { name };
        let subscription = match name {
            SessionName::SNAP => self.subscribe_snapshot(now, reactor).ok_or(LoginReject::NoSession),
            SessionName::TOP => Ok((Subscription::Top { sent: BTreeMap::new(), seen: 0 }, SessionSeq::FIRST)),
            SessionName::LIVE => self.subscribe_live(requested),
            _ => Err(LoginReject::NoSession),
        };
        let Some(reader) = self.reader(id) else { return };
        let mut output = ControlOutput::new(&mut reader.control);
        match subscription {
            Ok((subscription, first)) => {
                reader.protocol.accept(now, name, first, &mut output);
                reader.subscription = subscription;
            }
            Err(why) => reader.protocol.reject(now, why, &mut output),
        }
        reader.closing |= output.closed().is_some();
    }

    /// A number that is no longer in memory is answered otherwise than one that the stream has not reached: the reader
    /// of the one is late, and that of the other follows another stream.
    fn subscribe_live(&self, requested: SessionSeq) -> Result<(Subscription, SessionSeq), LoginReject> {
        let live = self.state.live();
        let first = first_to_send(requested, live.next_seq()).ok_or(LoginReject::NoSession)?;
        if first < live.oldest_seq() {
            return Err(LoginReject::Gone.planted(Mutation::GoneIsUnknown, |_| LoginReject::NoSession));
        }
        Ok((Subscription::Live { next: first }, first))
    }

    /// All books as of a live message from which the stream goes on. Where too many snapshots are still being received
    /// the readers of the oldest one are disconnected, as slow ones.
    fn subscribe_snapshot(&mut self, now: TsNs, reactor: &mut impl Sockets) -> Option<(Subscription, SessionSeq)> {
        let snapshot = self.snapshots.get(now, &self.state).or_else(|| {
            self.drop_readers_of_oldest(reactor);
            self.snapshots.get(now, &self.state)
        });
        self.status.feed_snapshots.set(self.snapshots.encoded());
        Some((Subscription::Snapshot { snapshot: snapshot?, sent: 0 }, SessionSeq::FIRST))
    }

    #[cold]
    fn drop_readers_of_oldest(&mut self, reactor: &mut impl Sockets) {
        let Some(oldest) = self.snapshots.oldest() else { return };
        let reads = |reader: &Reader| match &reader.subscription {
            Subscription::Snapshot { snapshot, .. } => Arc::ptr_eq(snapshot, oldest),
            _ => false,
        };
        let readers = self.readers.iter().flatten();
        let slow: Vec<ConnId> = readers.filter(|reader| reads(reader)).map(|reader| reader.id).collect();
        for id in slow {
            self.status.market_readers_dropped.add(1);
            self.close(id, reactor);
        }
    }

    /// Sends due heartbeats, enforces timeouts, and disconnects readers that read nothing for the silence limit.
    fn housekeeping(&mut self, now: TsNs, reactor: &mut impl Sockets) {
        self.awaited_logins.tick(now, &self.status.listeners.market);
        self.bulk.tick(now);
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

    /// Sends every reader what it can take, beginning with another one in each cycle: who comes first finds most left
    /// of what one cycle may send of the past.
    fn flush_all(&mut self, now: TsNs, reactor: &mut impl Sockets) -> usize {
        self.bulk.begin_cycle(now);
        self.first = if self.first + 1 < self.readers.len() { self.first + 1 } else { 0 };
        let slots = (self.first..self.readers.len()).chain(0..self.first);
        slots.map(|slot| self.flush(now, slot, reactor)).sum()
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
        let is_open = reader.protocol.state() == State::Open && reader.control.is_empty();
        let source = Source { state: &self.state, changes: &self.changes };
        let looks = &self.status.feed_top_looks;
        let is_too_slow = is_open && !fill(now, reader, &source, &mut self.bulk, looks, &mut buffer);
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
        if let Some(address) = self.reader(id).map(|reader| reader.address) {
            self.awaited_logins.remove(id);
            self.leave_block(address);
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
        self.by_block.clear();
        self.status.market_readers.set(0);
        // What was being published is half in the state.
        self.dropped_upto = self.dropped_upto.max(self.taken);
        self.renewal = Renewal::Due;
    }

    /// What is published so far.
    pub fn feed(&self) -> &PublicFeed {
        &self.state
    }
}

/// The instrument that an item of the feed changes.
fn market_of(event: &Event) -> Option<MarketId> {
    match event {
        Event::Rested(event) => Some(event.market),
        Event::Fill(event) => Some(event.market),
        Event::Amended(event) => Some(event.market),
        Event::Canceled(event) => Some(event.market),
        Event::Reduced(event) => Some(event.market),
        Event::MarketAdded(rules) | Event::MarketRulesChanged(rules) => Some(rules.id),
        Event::MarketStatusChanged { market, .. } | Event::MarketRemoved { market } => Some(*market),
        _ => None,
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
