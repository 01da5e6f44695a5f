//! Snapshots of all books: each is encoded once, for every reader that asks for it.
//!
//! Encoding a snapshot takes as long as a hundred thousand items of the feed, and anybody may ask for one. A reader
//! joins the live stream after the snapshot, so one that is a little older serves it as well. Invariants: no two
//! snapshots are of the same live message; so many bytes are encoded a second, and where they are used up a reader gets
//! the newest one there is, unless the live stream no longer goes on from it; of those that readers still receive there
//! are at most `ALIVE_MAX`.

use super::bulk::Bucket;
use crate::faults::mutation::{Mutation, Planted};
use crate::replica::public_feed::PublicFeed;
use api::binary::snapshot::write_snapshot;
use api::binary::soup::{PacketKind, append_packet, packet_len};
use api::binary::stream::SessionSeq;
use book::units::TsNs;
use std::sync::Arc;

/// Bytes of snapshots that are encoded at once, and a second. Encoding takes 3 ns a byte, so this is a tenth of the
/// time. Small books are encoded for every reader, large ones of a million orders every other second.
const ENCODED_BURST: u64 = 64 << 20;
const ENCODED_RATE: u64 = 32 << 20;
/// Snapshots in memory at once, the newest among them.
const ALIVE_MAX: usize = 4;

/// All packets of a snapshot, its end of session included.
#[derive(Debug)]
pub(super) struct Snapshot {
    as_of: SessionSeq,
    packets: Box<[u8]>,
}

impl Snapshot {
    fn encode(state: &PublicFeed, as_of: SessionSeq) -> Self {
        let mut packets = Vec::new();
        write_snapshot(state.depth(), as_of, state.stamp().ts, &mut |message| {
            append_packet(PacketKind::Sequenced, message, &mut packets);
        });
        append_packet(PacketKind::EndOfSession, &[], &mut packets);
        Self { as_of, packets: packets.into_boxed_slice() }
    }

    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    /// The complete packets from offset `sent` on that are no longer than `room` together: a heartbeat may follow them.
    pub(super) fn packets_from(&self, sent: usize, room: usize) -> &[u8] {
        let rest = &self.packets[sent..];
        let mut len = 0;
        while let Ok(Some(next)) = packet_len(&rest[len..])
            && len + next <= room
        {
            len += next;
        }
        let len = len.planted(Mutation::SnapshotCutInPacket, |_| rest.len().min(room));
        &rest[..len]
    }
}

#[derive(Debug)]
pub(super) struct Snapshots {
    /// In the order of their live messages, and none that no reader receives but the newest.
    alive: Vec<Arc<Snapshot>>,
    /// Bytes that may be encoded. One that takes all of them is the only one until there are as many again.
    budget: Bucket,
    encoded: u64,
}

impl Snapshots {
    pub(super) fn new() -> Self {
        Self { alive: Vec::new(), budget: Bucket::full(TsNs(0), ENCODED_BURST), encoded: 0 }
    }

    /// A snapshot from which the live stream goes on; `None` if it would be one more than `ALIVE_MAX`.
    pub(super) fn get(&mut self, now: TsNs, state: &PublicFeed) -> Option<Arc<Snapshot>> {
        let live = state.live();
        let as_of = SessionSeq(live.next_seq().0 - 1);
        self.drop_unread();
        self.budget.refill(now, ENCODED_RATE);
        if let Some(newest) = self.alive.last() {
            let is_followed = live.oldest_seq() <= newest.as_of.next();
            let is_paced = self.budget.is_used(newest.len() as u64).planted(Mutation::SnapshotsUnpaced, |_| false);
            if newest.as_of == as_of || is_followed && (is_paced || self.alive.len() == ALIVE_MAX) {
                return Some(Arc::clone(newest));
            }
            if self.alive.len() == ALIVE_MAX {
                return None;
            }
        }
        let snapshot = Arc::new(Snapshot::encode(state, as_of));
        self.encoded += 1;
        self.budget.spend(snapshot.len() as u64);
        self.alive.push(Arc::clone(&snapshot));
        Some(snapshot)
    }

    /// The oldest one, whose readers are the first to be disconnected where there are too many.
    pub(super) fn oldest(&self) -> Option<&Arc<Snapshot>> {
        self.alive.first()
    }

    /// The state has been replaced: its books may be others under the same number.
    pub(super) fn forget(&mut self) {
        self.alive.clear();
    }

    pub(super) fn encoded(&self) -> u64 {
        self.encoded
    }

    fn drop_unread(&mut self) {
        let newest = self.alive.len().saturating_sub(1);
        let mut idx = 0;
        self.alive.retain(|snapshot| {
            idx += 1;
            idx > newest || Arc::strong_count(snapshot) > 1
        });
    }
}
