//! A reader of market data: what it has logged in to, and how far it has been sent.

use super::snapshots::Snapshot;
use crate::reactor::ports::ConnId;
use api::binary::session::Session;
use api::binary::stream::SessionSeq;
use api::binary::top::TopState;
use book::units::TsNs;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// What a reader has logged in to, and how far it has been sent.
pub(super) enum Subscription {
    None,
    Live {
        next: SessionSeq,
    },
    /// The snapshot, and how many bytes of it are sent.
    Snapshot {
        snapshot: Arc<Snapshot>,
        sent: usize,
    },
    /// The snapshot is sent and the sending direction is shut down. The client closes the connection, or the node does
    /// at `ends`: a close while the client still sends would reset the connection and could discard the snapshot's end.
    SnapshotSent {
        ends: TsNs,
    },
    /// The levels of each instrument as of its last update, and the version of the newest change that was looked at.
    Top {
        sent: BTreeMap<u32, TopState>,
        seen: u64,
    },
}

impl Subscription {
    /// Whether all of a snapshot has been passed to the connection.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self, Self::Snapshot { snapshot, sent } if *sent == snapshot.len())
    }
}

/// A connection to the market port.
pub(super) struct Reader {
    pub(super) id: ConnId,
    pub(super) address: IpAddr,
    pub(super) protocol: Session,
    /// Bytes to send before the next message.
    pub(super) control: Vec<u8>,
    pub(super) subscription: Subscription,
    /// The connection closes when its control bytes are sent.
    pub(super) closing: bool,
    /// When the last send began.
    pub(super) sending_since: TsNs,
}
