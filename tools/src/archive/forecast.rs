//! `pinion backup run --dry-run`: what a first round would find and ship. Nothing is written anywhere.

use super::catalog::Catalog;
use super::claim;
use super::continuity::{check_continues, check_timeline, newest_piece};
use super::destination::Destination;
use super::error::{BackupError, Result};
use super::key::Key;
use serde_json::{Value, json};
use std::path::Path;
use wal::directory::Directory;
use wal::identity::Identity;
use wal::recover::Inspection;
use wal::units::{Lsn, Tail};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    pub identity: Identity,
    /// Whether the place is no backup yet, so that the round would make it one.
    pub is_new_place: bool,
    /// The newest sequence in the backup.
    pub seq_shipped: Lsn,
    /// The newest sequence in the node's log.
    pub seq_node: Lsn,
    /// Commands that would be shipped.
    pub commands: u64,
    /// Sequences that the node has truncated before they were shipped: first and last.
    pub gap: Option<(Lsn, Lsn)>,
}

/// The state of the place before the round.
enum Place {
    NoBackup,
    /// The backup of this node, with the end of this timeline's log in it.
    Backup {
        shipped: Option<Tail>,
    },
}

/// `destination` is none where the place does not exist. Refuses what a round would refuse.
pub fn forecast(data_dir: &Path, destination: Option<&Destination>) -> Result<Forecast> {
    let directory = Directory::open_read_only(data_dir)?;
    let identity = *directory.identity();
    let place = destination.map_or(Ok(Place::NoBackup), |destination| look_up(destination, &identity))?;
    let inspection = Inspection::open(&directory)?;
    let (base, seq_node) = (inspection.base()?.seq, inspection.tail().seq);
    let (is_new_place, shipped) = match place {
        Place::NoBackup => (true, None),
        Place::Backup { shipped } => (false, shipped),
    };
    let gap = shipped.filter(|shipped| shipped.seq < base).map(|shipped| (shipped.seq.next(), base));
    if let (Some(destination), Some(shipped), None) = (destination, shipped, gap) {
        check_continues(destination, &inspection, shipped)?;
    }
    let seq_shipped = shipped.map_or(Lsn::ZERO, |shipped| shipped.seq);
    let commands = seq_node.0 - seq_shipped.max(base).0;
    Ok(Forecast { identity, is_new_place, seq_shipped, seq_node, commands, gap })
}

fn look_up(destination: &Destination, identity: &Identity) -> Result<Place> {
    let node_id = match claim::read(destination) {
        Err(BackupError::NoBackup { .. }) => return Ok(Place::NoBackup),
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
    let objects = catalog.of(identity.timeline);
    let newest = objects.map(|objects| newest_piece(destination, node_id, objects)).transpose()?.flatten();
    Ok(Place::Backup { shipped: newest.map(|header| header.after) })
}

impl Forecast {
    pub fn as_json(&self, place: &str) -> Value {
        let gap = self.gap.map(|(first, last)| json!({ "seq_first": first.0, "seq_last": last.0 }));
        json!({
            "dry_run": true, "place": place, "place_made": self.is_new_place,
            "node_id": self.identity.node_id.to_string(), "timeline": self.identity.timeline.0,
            "seq_shipped": self.seq_shipped.0, "seq_node": self.seq_node.0, "commands": self.commands, "gap": gap,
        })
    }

    pub fn as_text(&self, place: &str) -> String {
        let Identity { node_id, timeline, .. } = self.identity;
        let mut text = format!("would ship  node {node_id}, timeline {timeline}, to {place}\n");
        text += &match self.is_new_place {
            true => "place       is no backup yet, and would become one\n".to_owned(),
            false => format!("place       has this timeline up to sequence {}\n", self.seq_shipped),
        };
        if let Some((first, last)) = self.gap {
            text +=
                &format!("GAP         the node has truncated sequences {first} to {last} before they were shipped\n");
        }
        text + &format!("log         {} commands, up to sequence {}\n", self.commands, self.seq_node)
    }
}
