//! What a reader is sent next, by its subscription: the newest messages at once, the past as it is granted.

use super::bulk::Bulk;
use super::changes::Changes;
use super::reader::{Reader, Subscription};
use crate::faults::mutation::{Mutation, Planted};
use crate::gateway::address_block::AddressBlock;
use crate::gateway::send_buffer::SendBuffer;
use crate::replica::public_feed::{LIVE_MESSAGE_BYTES_MAX, PublicFeed};
use crate::status::gauge::Gauge;
use api::binary::market::LEVEL_UPDATE_BYTES_MAX;
use api::binary::sbe::Framed;
use api::binary::session::{Output, Session};
use api::binary::soup::PACKET_HEADER_BYTES;
use api::binary::stream::{SessionSeq, StreamError};
use api::binary::top::{TopState, bbo};
use book::units::TsNs;
use std::collections::BTreeMap;
use zerocopy::IntoBytes;

/// Largest packet of the live stream.
const LIVE_PACKET_BYTES_MAX: usize = LIVE_MESSAGE_BYTES_MAX + PACKET_HEADER_BYTES;
/// A reader of the live stream that lags by more messages reads the past, which is paced.
const LAG_MAX: u64 = 16_384;
/// Room for one `LevelUpdate`. A send needs twice as much for an instrument, because a `Bbo` precedes its update.
const TOP_BYTES_MAX: usize = 8 * 1024;

const _: () = assert!(LEVEL_UPDATE_BYTES_MAX + PACKET_HEADER_BYTES <= TOP_BYTES_MAX);

/// What readers are sent from.
pub(super) struct Source<'a> {
    pub(super) state: &'a PublicFeed,
    pub(super) changes: &'a Changes,
}

/// Fills a send with what the reader's subscription has next. False when the next live message is no longer in memory.
pub(super) fn fill(
    now: TsNs,
    reader: &mut Reader,
    source: &Source<'_>,
    bulk: &mut Bulk,
    looks: &Gauge,
    buffer: &mut SendBuffer<'_>,
) -> bool {
    let block = AddressBlock::of(reader.address);
    let Reader { protocol, subscription, .. } = reader;
    match subscription {
        Subscription::None | Subscription::SnapshotSent { .. } => true,
        Subscription::Live { next } => fill_live(now, protocol, next, block, source.state, bulk, buffer),
        Subscription::Snapshot { snapshot, sent } => {
            let packets = snapshot.packets_from(*sent, buffer.room().min(bulk.grant(now, block)));
            buffer.send(packets);
            bulk.spend(now, block, packets.len());
            *sent += packets.len();
            true
        }
        Subscription::Top { sent, seen } => {
            let count = fill_top(now, protocol, sent, seen, source, buffer);
            if 0 < count {
                looks.add(count);
            }
            true
        }
    }
}

/// Sends the next messages of the live stream: to a reader that lags far no more bytes than it is granted.
fn fill_live(
    now: TsNs,
    protocol: &mut Session,
    next: &mut SessionSeq,
    block: AddressBlock,
    state: &PublicFeed,
    bulk: &mut Bulk,
    buffer: &mut SendBuffer<'_>,
) -> bool {
    let is_bulk = LAG_MAX < state.live().next_seq().0.saturating_sub(next.0);
    let is_bulk = is_bulk.planted(Mutation::ReplaysUnpaced, |_| false);
    let begin = buffer.len();
    let granted = if is_bulk { bulk.grant(now, block) } else { usize::MAX };
    let granted = granted.planted(Mutation::ReplayBeyondGrant, |granted| granted.saturating_add(LIVE_PACKET_BYTES_MAX));
    let granted = granted.min(buffer.room());
    let mut is_in_memory = true;
    while buffer.len() - begin + LIVE_PACKET_BYTES_MAX <= granted {
        match state.live().get(*next) {
            Ok(message) => {
                let sent = protocol.send_sequenced(now, message, buffer);
                assert!(sent == *next, "the reader counts message {} as {}", next.0, sent.0);
            }
            Err(StreamError::Beyond { .. }) => break,
            Err(StreamError::Older { .. }) => {
                is_in_memory = false;
                break;
            }
        }
        *next = next.next();
    }
    if is_bulk {
        bulk.spend(now, block, buffer.len() - begin);
    }
    is_in_memory
}

/// Sends updates of the instruments that have changed, the longest unseen change first, so that busy instruments do not
/// starve the others. Returns how many instruments were looked at.
fn fill_top(
    now: TsNs,
    protocol: &mut Session,
    sent: &mut BTreeMap<u32, TopState>,
    seen: &mut u64,
    source: &Source<'_>,
    buffer: &mut SendBuffer<'_>,
) -> u64 {
    let mut scratch = [0; TOP_BYTES_MAX];
    let since = (*seen).planted(Mutation::TopLooksAtAll, |_| 0);
    let mut count = 0;
    for (version, instrument, ts) in source.changes.since(since) {
        if buffer.room() < 2 * TOP_BYTES_MAX {
            break;
        }
        count += 1;
        *seen = version;
        let Some(book) = source.state.depth().book(instrument) else { continue };
        if let Some(len) = sent.entry(instrument).or_default().update(book, ts, &mut scratch) {
            protocol.send_sequenced(now, Framed::new(bbo(book, ts)).as_bytes(), buffer);
            protocol.send_sequenced(now, &scratch[..len], buffer);
        }
    }
    count
}
