//! A head on a simulated disk: completions in any order, power cut at any point, un-synced writes kept, torn by sector
//! or lost, and cut again while recovering. What was acknowledged must be there; what is there must have been appended.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::{GEOMETRY, NODE, Rng, TIMELINE, config, identity};
use wal::frame::Frame;
use wal::head::{Head, HeadPosition, WriteOp};
use wal::medium::Access;
use wal::scan::scan;
use wal::segment::{SegmentHeader, Segments};
use wal::units::{Lsn, Place, SegmentIdx, Tail};
use wal::verdict::{Verdict, judge};
use zerocopy::IntoBytes;

const SECTOR: usize = 512;
const SEEDS: u64 = 400;
/// Power cuts in one run; the log continues after each.
const CUTS: usize = 4;

#[derive(Clone, Copy, PartialEq)]
enum Disk {
    Honest,
    /// Says "synced" and keeps the bytes in its cache: the harness must notice.
    Lying,
    /// A recovery that forgets to wipe the torn end.
    HonestNoWipe,
}

/// What the platter holds, and what is only in the drive's cache.
struct Platter {
    segments: Vec<File>,
    cached: Vec<(Place, Vec<u8>)>,
}

impl Platter {
    fn persist(&self, place: Place, bytes: &[u8]) {
        self.segments[place.segment.0 as usize].write_all_at(bytes, place.offset).expect("the test's own disk works");
    }

    /// The power fails: each cached write is kept, lost, or torn at its sectors.
    fn cut(&mut self, rng: &mut Rng) {
        for (place, bytes) in std::mem::take(&mut self.cached) {
            match rng.below(4) {
                0 => self.persist(place, &bytes),
                1 => {}
                2 => self.tear(place, &bytes, |sector| sector < 1 + (bytes.len() / SECTOR) / 2),
                _ => {
                    let kept: Vec<bool> = (0..bytes.len() / SECTOR).map(|_| rng.one_in(2)).collect();
                    self.tear(place, &bytes, |sector| kept[sector]);
                }
            }
        }
    }

    fn tear(&self, place: Place, bytes: &[u8], kept: impl Fn(usize) -> bool) {
        for (sector, chunk) in bytes.chunks(SECTOR).enumerate().filter(|(sector, _)| kept(*sector)) {
            self.persist(Place { offset: place.offset + (sector * SECTOR) as u64, ..place }, chunk);
        }
    }
}

/// What the outside world knows: every record ever appended under its sequence, and the highest that was acknowledged.
struct World {
    appended: BTreeMap<Lsn, Vec<Vec<u8>>>,
    acknowledged: BTreeMap<Lsn, Vec<u8>>,
    /// What a store would hold: frames copied out, proved, never lost.
    stored: Tail,
    salt: u64,
}

/// Zeroed segments without the syncs that making them costs: here only the simulated power is cut.
fn empty_head(dir: &Path) {
    fs::create_dir_all(dir).expect("a temporary directory");
    for ordinal in (0..GEOMETRY.segment_count).map(SegmentIdx) {
        let mut bytes = vec![0; GEOMETRY.segment_bytes as usize];
        let header = SegmentHeader::new(identity().owner(), ordinal);
        bytes[..header.as_bytes().len()].copy_from_slice(header.as_bytes());
        fs::write(dir.join(ordinal.file_name()), bytes).expect("the test's own disk works");
    }
}

/// Runs one seed; the error names the promise that broke.
fn run(seed: u64, disk: Disk, dir: &Path) -> Result<u64, String> {
    empty_head(dir);
    let mut rng = Rng(seed);
    let stored = HeadPosition::fresh(NODE, TIMELINE, Lsn::ZERO).tail;
    let mut world = World { appended: BTreeMap::new(), acknowledged: BTreeMap::new(), stored, salt: 0 };
    let mut position = HeadPosition::fresh(NODE, TIMELINE, Lsn::ZERO);
    for _ in 0..CUTS {
        let files = Segments::open(dir, identity().owner(), Access::ReadWrite).expect("intact").into_files();
        let mut platter = Platter { segments: files, cached: Vec::new() };
        live(&mut rng, disk, &mut platter, &mut world, position);
        platter.cut(&mut rng);
        // Once more at any point inside the wiping: the verdict must be the same.
        let verdict = recover(dir, &world)?;
        check(dir, &verdict, &world)?;
        wipe_partly(&mut rng, disk, &platter, &verdict);
        let again = recover(dir, &world)?;
        if again.tail != verdict.tail || again.frames != verdict.frames {
            return Err("a power cut during recovery changed the log".to_owned());
        }
        wipe(disk, dir, &again);
        position = HeadPosition { tail: again.tail, seq_stored: world.stored.seq, place: again.place };
        adopt(dir, &again, &mut world);
        position.seq_stored = world.stored.seq;
    }
    Ok(position.tail.seq.0)
}

/// Appends, writes, completes and stores at random until the power is cut.
fn live(rng: &mut Rng, disk: Disk, platter: &mut Platter, world: &mut World, at: HeadPosition) {
    let mut head = Head::new(config(), at).expect("valid");
    let mut in_flight: Vec<WriteOp> = Vec::new();
    let mut written: Vec<WriteOp> = Vec::new();
    let mut durable: Vec<(Tail, Vec<u8>)> = Vec::new();
    for _ in 0..20 + rng.below(150) {
        match rng.below(6) {
            0 | 1 => append_some(rng, &mut head, world),
            2 => in_flight.extend(head.next_write().inspect(|op| {
                platter.cached.push((op.place, head.bytes(op.ticket).to_vec()));
            })),
            3 if !in_flight.is_empty() => {
                let op = in_flight.swap_remove(rng.below(in_flight.len() as u64) as usize);
                head.complete_write(op.ticket, Ok(op.bytes_len)).expect("intact");
                written.push(op);
            }
            4 if !written.is_empty() => {
                let op = written.swap_remove(rng.below(written.len() as u64) as usize);
                sync(disk, platter, &op);
                head.complete_sync(op.ticket, Ok(())).expect("intact");
            }
            _ => {
                take(&mut head, world, &mut durable);
                if rng.one_in(4) {
                    durable.drain(..).for_each(|(tail, _)| world.stored = tail);
                    head.advance_stored(world.stored.seq);
                }
            }
        }
    }
    take(&mut head, world, &mut durable);
}

fn append_some(rng: &mut Rng, head: &mut Head, world: &mut World) {
    for _ in 0..1 + rng.below(4) {
        let seq = head.seq_next();
        world.salt += 1;
        // Long enough that frames cover several sectors, and sometimes two blocks; often the same bytes as ever, so
        // that a frame which should be dead would link if it came back.
        let mut record = seq.0.to_le_bytes().to_vec();
        record.resize(8 + (seq.0 * 37 % 900) as usize, 1);
        if rng.one_in(3) {
            record.extend(world.salt.to_le_bytes());
        }
        if head.has_room(record.len()) {
            head.append(seq, &record);
            world.appended.entry(seq).or_default().push(record);
        }
    }
}

/// A sync covers the writes that had completed; here, at least the one it is linked to.
fn sync(disk: Disk, platter: &mut Platter, op: &WriteOp) {
    if disk == Disk::Lying {
        return;
    }
    let at = platter.cached.iter().position(|(place, _)| *place == op.place).expect("it was written");
    let (place, bytes) = platter.cached.remove(at);
    platter.persist(place, &bytes);
}

/// Acknowledges what is durable, as an outbox would.
fn take(head: &mut Head, world: &mut World, durable: &mut Vec<(Tail, Vec<u8>)>) {
    while let Some(bytes) = head.durable_frame().map(<[u8]>::to_vec) {
        let frame = Frame::decode(&bytes).expect("a durable frame is a frame");
        world.acknowledged.extend(frame.records().map(|(seq, record)| (seq, record.to_vec())));
        durable.push((frame.tail(), bytes.clone()));
        head.release_durable_frame();
    }
}

fn recover(dir: &Path, world: &World) -> Result<Verdict, String> {
    let segments = Segments::open(dir, identity().owner(), Access::Read).map_err(|error| error.to_string())?;
    let scanned = scan(&segments, TIMELINE, world.stored.seq).map_err(|error| error.to_string())?;
    judge(&scanned, world.stored, Lsn::ZERO).map_err(|refusal| format!("refused: {refusal:?}"))
}

/// The two promises.
fn check(dir: &Path, verdict: &Verdict, world: &World) -> Result<(), String> {
    let found = records(dir, verdict);
    for (seq, record) in world.acknowledged.range(world.stored.seq.next()..) {
        if found.get(seq) != Some(record) {
            return Err(format!("sequence {seq} was acknowledged and is lost"));
        }
    }
    for (seq, record) in &found {
        if !world.appended.get(seq).is_some_and(|appended| appended.contains(record)) {
            return Err(format!("sequence {seq} holds what was never appended"));
        }
    }
    Ok(())
}

fn records(dir: &Path, verdict: &Verdict) -> BTreeMap<Lsn, Vec<u8>> {
    let segments = Segments::open(dir, identity().owner(), Access::Read).expect("intact");
    let mut found = BTreeMap::new();
    for known in &verdict.frames {
        let mut bytes = vec![0; known.frame_bytes];
        segments.read(known.place, &mut bytes).expect("readable");
        let frame = Frame::decode(&bytes).expect("proved before");
        found.extend(frame.records().map(|(seq, record)| (seq, record.to_vec())));
    }
    found
}

fn wipe_partly(rng: &mut Rng, disk: Disk, platter: &Platter, verdict: &Verdict) {
    if disk == Disk::HonestNoWipe {
        return;
    }
    for place in verdict.cut.iter().flat_map(|cut| &cut.wipes) {
        let sectors = rng.below(9) as usize;
        platter.persist(*place, &vec![0; sectors * SECTOR]);
    }
}

fn wipe(disk: Disk, dir: &Path, verdict: &Verdict) {
    if disk == Disk::HonestNoWipe {
        return;
    }
    let segments = Segments::open(dir, identity().owner(), Access::ReadWrite).expect("intact");
    segments.wipe(verdict.cut.as_ref().map_or(&[], |cut| &cut.wipes)).expect("the test's own disk works");
}

/// What was recovered is the log now, whether it had been acknowledged or not: its readers have seen it.
fn adopt(dir: &Path, verdict: &Verdict, world: &mut World) {
    world.acknowledged.extend(records(dir, verdict));
    world.stored = verdict.tail;
}

fn run_all(disk: Disk) -> (u64, Vec<String>) {
    let temp = tempfile::TempDir::new().expect("a temporary directory");
    let mut records = 0;
    let mut broken = Vec::new();
    for seed in 0..SEEDS {
        let dir = temp.path().join(seed.to_string());
        match run(seed, disk, &dir) {
            Ok(seq_last) => records += seq_last,
            Err(promise) => broken.push(format!("seed {seed}: {promise}")),
        }
        fs::remove_dir_all(&dir).expect("the test's own directory");
    }
    (records, broken)
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_else_appears() {
    let (records, broken) = run_all(Disk::Honest);
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(records > 20 * SEEDS, "the runs were real: {records} records");
}

#[test]
fn a_disk_that_lies_about_syncs_is_caught() {
    let (_, broken) = run_all(Disk::Lying);
    assert!(broken.len() as u64 > SEEDS / 4, "only {} of {SEEDS} seeds noticed", broken.len());
    assert!(broken.iter().any(|promise| promise.contains("lost")));
}

#[test]
fn a_recovery_that_leaves_the_torn_end_is_caught() {
    let (_, broken) = run_all(Disk::HonestNoWipe);
    assert!(!broken.is_empty(), "an old tail came back and was not detected");
}

#[test]
fn a_seed_is_a_run() {
    let temp = tempfile::TempDir::new().expect("a temporary directory");
    let image = |name: &str| {
        let dir = temp.path().join(name);
        run(7, Disk::Honest, &dir).expect("holds");
        (0..GEOMETRY.segment_count)
            .map(|ordinal| fs::read(dir.join(format!("head-{ordinal:03}.seg"))).expect("readable"))
            .collect::<Vec<_>>()
    };
    assert!(image("first") == image("second"));
}
