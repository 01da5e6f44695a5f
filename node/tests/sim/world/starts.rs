//! Starts of a process, on the disk of the one before or on a damaged copy of it.

use super::{World, compare_hashes};
use crate::disk::End;
use crate::exchange::{self, Exchange};
use crate::journal::{Issued, segment_path};
use crate::options::Fault;
use crate::violation::{Checked, Invariant, Violation, ensure};
use api::binary::stream::SessionSeq;
use std::path::Path;
use wal::segment::SEGMENT_HEADER_BYTES;
use wal::table::Family;
use wal::units::SegmentIdx;

/// The expected outcome of a start on a damaged copy. With `Either` a start must not serve a wrong state.
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
                    self.fault_counts.note(Fault::CutInRecovery);
                    let end = self.rng.pick(&[End::Killed, End::PowerCut]);
                    self.disk.end(end, &mut self.rng);
                }
                Err(error) => return Err(Violation::new(Invariant::StartRefused, error.to_string())),
            }
        };
        self.disk.cut_after(None);
        self.starts += 1;
        self.admit(node)
    }

    /// Checks that a started node has everything durable and nothing else.
    fn admit(&mut self, node: Exchange) -> Checked {
        let recovered = node.log.tail.seq.0;
        self.trace.number(recovered);
        ensure(self.oracle.seq() <= recovered, Invariant::DurableLost, || {
            format!("{} commands were durable, the start found {recovered}", self.oracle.seq())
        })?;
        ensure(recovered <= self.oracle.seq_written(), Invariant::NeverWritten, || {
            format!("{} commands were written, the start found {recovered}", self.oracle.seq_written())
        })?;
        self.oracle.cut(recovered);
        self.oracle.advance(recovered)?;
        self.oracle.verify()?;
        compare_hashes(&node, &self.oracle)?;
        self.check_live_memory(&node)?;
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

    /// Checks that the live stream can be resumed as far back as before the start, by the messages that the log gives.
    fn check_live_memory(&self, node: &Exchange) -> Checked {
        let (live, right) = (node.market_data.feed().live(), self.oracle.feed().live());
        let (oldest, before) = (live.oldest_seq(), self.live_oldest);
        ensure(oldest <= before || live.next_seq() <= before, Invariant::LiveForgotten, || {
            format!("the oldest live message in memory is {}, and was {} before the start", oldest.0, before.0)
        })?;
        ensure(live.next_seq() == right.next_seq(), Invariant::FeedDiffers, || {
            format!("the next live message is {}, in the log {}", live.next_seq().0, right.next_seq().0)
        })?;
        let differing = (oldest.0..live.next_seq().0).map(SessionSeq).find(|seq| live.get(*seq) != right.get(*seq));
        ensure(differing.is_none(), Invariant::FeedDiffers, || {
            format!("live message {differing:?} of before the start differs from the one that the log gives")
        })
    }

    /// Starts on a damaged copy: the start must refuse it, or serve a right state, or have no means to detect the
    /// damage.
    pub(super) fn start_damaged(&mut self, damage: Fault, issued: &[Issued]) -> Checked {
        let image = self.disk.image();
        let Some((must, what)) = self.damage(damage, issued) else { return Ok(()) };
        self.fault_counts.note(damage);
        let started = exchange::boot(&self.disk, self.options, self.now);
        let started = started.map(|node| (node.log.tail.seq.0, node.engine.engine().state_hash()));
        self.disk.restore(&image);
        let (seq, hash) = match started {
            Ok(served) => served,
            Err(error) => {
                self.refused += 1;
                return ensure(must != Must::Start, Invariant::StartRefused, || {
                    format!("the start does not need {what}, and was refused: {error}")
                });
            }
        };
        ensure(must != Must::Refuse, Invariant::DamageAccepted, || {
            format!("{what} is damaged, and the start was not refused")
        })?;
        let missing = seq + 1;
        let attested = issued.iter().any(|frame| {
            frame.synced && seq < frame.op.seq_first.0 && missing <= frame.seq_known_durable && damage == Fault::BitRot
        });
        let noted = missing <= self.mark_promised;
        ensure(self.oracle.seq() <= seq || !(attested || noted), Invariant::DamageAccepted, || {
            let durable = self.oracle.seq();
            format!("{what}: {seq} of {durable} commands found; attested {attested}, mark {}", self.mark_promised)
        })?;
        let right = self.oracle.state_hash_at(seq)?;
        ensure(hash == right, Invariant::DamageAccepted, || format!("{what}: a wrong state at sequence {seq}"))
    }

    /// Damages the disk; returns the expected outcome and the damaged part, or `None` where the disk has no such part.
    fn damage(&mut self, damage: Fault, issued: &[Issued]) -> Option<(Must, &'static str)> {
        if damage == Fault::LostTail {
            let (old, _) = self.old_image.as_ref()?;
            self.disk.restore_except(old, &exchange::mark_path());
            return Some((Must::Either, "an old copy"));
        }
        match self.rng.below(8) {
            0 => self.flip_in_row(Family::Log).then_some((Must::Either, "a row of the log")),
            1 => self.flip_in_row(Family::Meta).then_some((Must::Either, "a row of the metadata")),
            // A start reads of the history only what the live stream had, and does without where it is damaged.
            2 => self.flip_in_row(Family::History).then_some((Must::Start, "a row of the history")),
            3 => self.flip_in_snapshot(),
            4 => {
                // The other slot is sufficient for an intact log, unless the crash has torn that one.
                let must = if exchange::mark_slots_intact(&self.disk) == 2 { Must::Start } else { Must::Either };
                let flipped = self.flip_in_file(&exchange::mark_path(), exchange::mark_byte);
                flipped.then_some((must, "a slot of the mark"))
            }
            5 => {
                let path = segment_path(SegmentIdx(self.rng.below(self.options.segment_count)));
                let flipped = self.flip_in_file(&path, |at| at % SEGMENT_HEADER_BYTES);
                flipped.then_some((Must::Refuse, "a segment's header"))
            }
            _ => {
                // One of the newest frames, because older ones are in the store.
                let newest = &issued[issued.len().saturating_sub(6)..];
                let frame = newest.get(self.rng.below(newest.len().max(1) as u32) as usize)?;
                let Issued { op, frame_bytes, .. } = frame;
                let flipped = self
                    .flip_in_file(&segment_path(op.place.segment), |at| op.place.offset as usize + at % frame_bytes);
                flipped.then_some((Must::Either, "a frame of the head"))
            }
        }
    }

    fn flip_in_row(&mut self, family: Family) -> bool {
        self.disk.flip_row_bit(family, &mut self.rng)
    }

    fn flip_in_file(&mut self, path: &Path, offset: impl FnOnce(usize) -> usize) -> bool {
        let (at, bit) = (self.rng.number() as usize, self.rng.below(8));
        self.disk.flip_file_bit(path, offset(at), bit)
    }

    /// Damages a snapshot. A start does not need it where the log begins at the first command or another snapshot
    /// exists.
    fn flip_in_snapshot(&mut self) -> Option<(Must, &'static str)> {
        let undamaged = self.disk.image();
        let damaged = self.disk.flip_some_file_bit(".snap", &mut self.rng)?;
        let (base, snapshots) = exchange::starting_points(&undamaged, self.options);
        let spared = base == 0 || snapshots.iter().any(|(path, seq)| *path != damaged && base <= *seq);
        Some(if spared { (Must::Start, "a snapshot that is not the only one") } else { (Must::Either, "a snapshot") })
    }
}
