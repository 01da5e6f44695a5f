//! What a start records about its run, and when the streams begin a new life.
//!
//! Invariant: whatever clients may have seen and the log no longer has, ends the life in which they saw it. That is so
//! in another directory than the one that said it (a restore), where a command is skipped that had been applied (a
//! quarantine), and after a run that answered before it was durable and did not end by itself.

use book::engine::Engine;
use book::rules::Rules;
use book::run::{LIFE_TAGS, LifeTag, RunSpec};
use wal::directory::Directory;
use wal::quarantine::Quarantine;

/// The run that a start begins, which says whether the streams begin a new life. `drawn` is any number: it tells two
/// restores of one state apart.
pub fn next_run(
    engine: &Engine,
    directory: &Directory,
    quarantine: &Quarantine,
    may_lose: bool,
    drawn: u32,
) -> RunSpec {
    let before = engine.run();
    let mark = mark_of(directory, quarantine);
    let moved = before.directory != 0 && before.directory != mark;
    let mut tag = LifeTag(drawn % LIFE_TAGS);
    if tag == before.tag {
        tag = LifeTag((tag.0 + 1) % LIFE_TAGS);
    }
    RunSpec { directory: mark, may_lose, life: (moved || before.may_lose).then_some(tag) }
}

/// What the log has to record of a run: nothing where it has all of it already, or cannot have it, because its rules
/// are too old.
pub(super) fn unrecorded(engine: &Engine, run: RunSpec) -> Option<RunSpec> {
    let is_recorded = engine.run().directory == run.directory && engine.run().may_lose == run.may_lose;
    let is_due = run.life.is_some() || !is_recorded;
    (Rules::Two <= engine.rules() && is_due).then_some(run)
}

/// Stands for a directory and what is skipped in it; never zero.
fn mark_of(directory: &Directory, quarantine: &Quarantine) -> u64 {
    let identity = directory.identity();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&identity.node_id.0);
    hasher.update(&identity.timeline.0.to_le_bytes());
    for (seq, _) in quarantine.entries() {
        hasher.update(&seq.0.to_le_bytes());
    }
    let hash = hasher.finalize();
    let (first, _) = hash.as_bytes().split_first_chunk::<8>().expect("a BLAKE3 hash has 32 bytes");
    u64::from_le_bytes(*first) | 1
}
