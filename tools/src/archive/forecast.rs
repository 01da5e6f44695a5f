//! `pinion backup run --dry-run`: what a first round would find and ship. Nothing is written anywhere.

use super::catalog::Catalog;
use super::claim;
use super::destination::Destination;
use super::error::{BackupError, Result};
use super::key::Key;
use super::shipper::{check_continues, check_timeline, last_piece};
use serde_json::{Value, json};
use std::path::Path;
use wal::directory::Directory;
use wal::identity::Identity;
use wal::recover::Inspection;
use wal::units::{Lsn, Tail};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    pub identity: Identity,
    /// Whether there is no backup yet where it would go.
    pub made: bool,
    /// The newest sequence in the backup, and in the node's log.
    pub seq_shipped: Lsn,
    pub seq_node: Lsn,
    /// Commands that would be shipped.
    pub commands: u64,
    /// What the node has forgotten since: first and last.
    pub gap: Option<(Lsn, Lsn)>,
}

/// `None`: there is not even a place. What a round would refuse is refused here.
pub fn forecast(data_dir: &Path, destination: Option<&Destination>) -> Result<Forecast> {
    let directory = Directory::open_read_only(data_dir)?;
    let identity = *directory.identity();
    let found = destination.map(|destination| shipped_to(destination, &identity)).transpose()?.flatten();
    let inspection = Inspection::open(&directory)?;
    let (base, seq_node) = (inspection.base()?.seq, inspection.tail().seq);
    let shipped = found.flatten();
    let gap = shipped.filter(|shipped| shipped.seq < base).map(|shipped| (shipped.seq.next(), base));
    if let (Some(destination), Some(shipped), None) = (destination, shipped, gap) {
        check_continues(destination, &inspection, shipped)?;
    }
    let seq_shipped = shipped.map_or(Lsn::ZERO, |shipped| shipped.seq);
    let commands = seq_node.0 - seq_shipped.max(base).0;
    Ok(Forecast { identity, made: found.is_none(), seq_shipped, seq_node, commands, gap })
}

/// Where the backup of this timeline ends, if it has begun, if there is one.
fn shipped_to(destination: &Destination, identity: &Identity) -> Result<Option<Option<Tail>>> {
    let node_id = match claim::read(destination) {
        Err(BackupError::NoBackup { .. }) => return Ok(None),
        node_id => node_id?,
    };
    if node_id != identity.node_id {
        let (place, have) = (destination.to_string(), identity.node_id);
        return Err(BackupError::OtherNode { place, have, found: node_id });
    }
    let catalog = Catalog::read(destination)?;
    check_timeline(destination, &catalog, identity.timeline)?;
    let key = Key::Identity(identity.timeline);
    if destination.find(key)?.is_some_and(|text| text != identity.to_text().as_bytes()) {
        return Err(BackupError::Differs { object: destination.name_of(key) });
    }
    let kept = catalog.of(identity.timeline);
    let last = kept.map(|kept| last_piece(destination, node_id, kept)).transpose()?.flatten();
    Ok(Some(last.map(|header| header.after)))
}

impl Forecast {
    pub fn as_json(&self, place: &str) -> Value {
        let gap = self.gap.map(|(first, last)| json!({ "seq_first": first.0, "seq_last": last.0 }));
        json!({
            "dry_run": true, "place": place, "place_made": self.made, "node_id": self.identity.node_id.to_string(),
            "timeline": self.identity.timeline.0, "seq_shipped": self.seq_shipped.0, "seq_node": self.seq_node.0,
            "commands": self.commands, "gap": gap,
        })
    }

    pub fn as_text(&self, place: &str) -> String {
        let Identity { node_id, timeline, .. } = self.identity;
        let mut text = format!("would ship  node {node_id}, timeline {timeline}, to {place}\n");
        text += &match self.made {
            true => "place       holds no backup: it would be made one\n".to_owned(),
            false => format!("place       has this timeline up to sequence {}\n", self.seq_shipped),
        };
        if let Some((first, last)) = self.gap {
            text += &format!("GAP         the node has forgotten sequences {first} to {last}\n");
        }
        text + &format!("log         {} commands, up to sequence {}\n", self.commands, self.seq_node)
    }
}
