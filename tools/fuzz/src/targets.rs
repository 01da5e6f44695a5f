//! The list of all targets, in the order of the crates that have the decoders.

pub mod market_packets;

pub mod decimal;
pub mod depth;
pub mod login;
pub mod market_snapshot;
pub mod messages;
pub mod order_entry;
pub mod session;
pub mod soup;

pub mod frame;
pub mod head;
pub mod identity;
pub mod lineage;
pub mod mark;
pub mod piece;
pub mod quarantine;
pub mod snapshot_file;

pub mod command;
pub mod engine;
pub mod event;
pub mod state;

pub mod admin_body;
pub mod config;
pub mod history_row;
pub mod numbers;
pub mod sizes;

pub mod backup_claim;
pub mod backup_key;
pub mod day;
pub mod metrics;
pub mod published_book;
pub mod zip;

use crate::target::Target;

pub const ALL: &[Target] = &[
    soup::TARGET,
    login::TARGET,
    session::TARGET,
    messages::TARGET,
    order_entry::TARGET,
    depth::TARGET,
    market_snapshot::TARGET,
    decimal::TARGET,
    frame::TARGET,
    head::TARGET,
    mark::TARGET,
    identity::TARGET,
    lineage::TARGET,
    quarantine::TARGET,
    snapshot_file::TARGET,
    piece::TARGET,
    command::TARGET,
    engine::TARGET,
    event::TARGET,
    state::TARGET,
    config::TARGET,
    sizes::TARGET,
    admin_body::TARGET,
    history_row::TARGET,
    numbers::TARGET,
    backup_key::TARGET,
    backup_claim::TARGET,
    day::TARGET,
    published_book::TARGET,
    zip::TARGET,
    metrics::TARGET,
];

/// Finds a target by its name.
pub fn find(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}
