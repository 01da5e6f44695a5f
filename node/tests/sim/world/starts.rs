//! A process comes up, on what the last one left or on a damaged copy of it.

use super::{World, compare_hashes};
use crate::broken::{Broken, Checked, Invariant, ensure};
use crate::disk::End;
use crate::exchange::{self, Exchange};
use crate::journal::{Issued, segment_path};
use crate::options::Fault;
use std::path::Path;
use wal::segment::{SEGMENT_HEADER_BYTES, SegmentIdx};
use wal::table::Family;

/// What a start on a damaged copy must do. Where it may do either, it must not serve what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Must {
    Start,
    Refuse,
    Either,
}

impl World<'_> {
    pub(super) fn start(&mut self) -> Checked {
        let node = loop {
            let cut = self.faults && self.options.has(Fault::CutInRecovery) && self.rng.one_in(2);
            if cut {
                self.disk.cut_after(Some(self.rng.below(60)));
            }
            match exchange::boot(&self.disk, self.options, self.now) {
                Ok(node) => break node,
                Err(_) if self.disk.is_cut() => {
                    self.struck.note(Fault::CutInRecovery);
                    let end = self.rng.pick(&[End::Killed, End::PowerCut]);
                    self.disk.end(end, &mut self.rng);
                }
                Err(error) => return Err(Broken::new(Invariant::StartRefused, error.to_string())),
            }
        };
        self.disk.cut_after(None);
        self.starts += 1;
        self.admit(node)
    }

    /// Holds a started node against what must be there.
    fn admit(&mut self, node: Exchange) -> Checked {
        let recovered = node.log.tail.seq.0;
        self.trace.number(recovered);
        ensure(self.oracle.seq() <= recovered, Invariant::DurableLost, || {
            format!("{} were durable, {recovered} are there", self.oracle.seq())
        })?;
        ensure(recovered <= self.oracle.seq_written(), Invariant::NeverWritten, || {
            format!("{} were written, {recovered} are there", self.oracle.seq_written())
        })?;
        self.oracle.cut(recovered);
        self.oracle.advance(recovered)?;
        self.oracle.verify()?;
        compare_hashes(&node, &self.oracle)?;
        for client in self.clients.iter_mut().chain([&mut self.drop_copy]) {
            client.check_early(&self.oracle)?;
            client.forget(&self.oracle);
        }
        self.reader.check_early(&self.oracle)?;
        self.reader.forget(&self.oracle);
        self.mark_noted_ns = 0;
        if self.options.has(Fault::LostTail) {
            self.old_image = Some((self.disk.image(), recovered));
        }
        self.node = Some(node);
        Ok(())
    }

    /// A start on a damaged copy: it must refuse, or serve what is right, or be unable to know.
    pub(super) fn start_damaged(&mut self, damage: Fault, issued: &[Issued]) -> Checked {
        let image = self.disk.image();
        let Some((must, what)) = self.damage(damage, issued) else { return Ok(()) };
        self.struck.note(damage);
        let started = exchange::boot(&self.disk, self.options, self.now);
        let started = started.map(|node| (node.log.tail.seq.0, node.engine.engine().state_hash()));
        self.disk.put_back(&image);
        let (seq, hash) = match started {
            Ok(served) => served,
            Err(error) => {
                self.refused += 1;
                return ensure(must != Must::Start, Invariant::StartRefused, || {
                    format!("{what} can be done without, and yet: {error}")
                });
            }
        };
        ensure(must != Must::Refuse, Invariant::DamageAccepted, || format!("{what} is damaged, and that is served"))?;
        let missing = seq + 1;
        let attested = issued.iter().any(|frame| {
            frame.synced && seq < frame.op.seq_first.0 && missing <= frame.seq_known_durable && damage == Fault::BitRot
        });
        let noted = missing <= self.mark_promised;
        ensure(self.oracle.seq() <= seq || !(attested || noted), Invariant::DamageAccepted, || {
            let durable = self.oracle.seq();
            format!("{what}: {seq} of {durable} are there; attested {attested}, mark {}", self.mark_promised)
        })?;
        let right = self.oracle.state_hash_at(seq)?;
        ensure(hash == right, Invariant::DamageAccepted, || format!("{what}: at sequence {seq} another state"))
    }

    /// Does the damage, and says to what; `None` where there is nothing of the kind.
    fn damage(&mut self, damage: Fault, issued: &[Issued]) -> Option<(Must, &'static str)> {
        if damage == Fault::LostTail {
            let (old, _) = self.old_image.as_ref()?;
            self.disk.put_back_but(old, &exchange::mark_path());
            return Some((Must::Either, "an old copy"));
        }
        match self.rng.below(8) {
            0 => self.rot_row(Family::Log).then_some((Must::Either, "a row of the log")),
            1 => self.rot_row(Family::Meta).then_some((Must::Either, "a row of the metadata")),
            // No start reads any.
            2 => self.rot_row(Family::History).then_some((Must::Start, "a row of the history")),
            3 => self.rot_snapshot(),
            // The other slot tells as much about a log that is whole.
            4 => self
                .rot_file(&exchange::mark_path(), exchange::mark_byte)
                .then_some((Must::Start, "a slot of the mark")),
            5 => {
                let path = segment_path(SegmentIdx(self.rng.below(self.options.segment_count)));
                let rotten = self.rot_file(&path, |at| at % SEGMENT_HEADER_BYTES);
                rotten.then_some((Must::Refuse, "a segment's header"))
            }
            _ => {
                // Among the newest frames: older ones are in the store.
                let newest = &issued[issued.len().saturating_sub(6)..];
                let frame = newest.get(self.rng.below(newest.len().max(1) as u32) as usize)?;
                let Issued { op, frame_bytes, .. } = frame;
                let rotten =
                    self.rot_file(&segment_path(op.place.segment), |at| op.place.offset as usize + at % frame_bytes);
                rotten.then_some((Must::Either, "a frame of the head"))
            }
        }
    }

    fn rot_row(&mut self, family: Family) -> bool {
        self.disk.flip_row_bit(family, &mut self.rng)
    }

    fn rot_file(&mut self, path: &Path, place: impl FnOnce(usize) -> usize) -> bool {
        let (at, bit) = (self.rng.number() as usize, self.rng.below(8));
        self.disk.flip_file_bit(path, place(at), bit)
    }

    /// Nobody needs a snapshot where the log reaches back to its beginning, or to another snapshot.
    fn rot_snapshot(&mut self) -> Option<(Must, &'static str)> {
        let whole = self.disk.image();
        let rotten = self.disk.flip_some_file_bit(".snap", &mut self.rng)?;
        let (base, snapshots) = exchange::beginnings(&whole, self.options);
        let spared = base == 0 || snapshots.iter().any(|(path, seq)| *path != rotten && base <= *seq);
        Some(if spared { (Must::Start, "a snapshot that is not the only one") } else { (Must::Either, "a snapshot") })
    }
}
