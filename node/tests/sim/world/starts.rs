//! A process comes up, on what the last one left or on a damaged copy of it.

use super::{World, compare_hashes};
use crate::broken::{Broken, Checked, Invariant, ensure};
use crate::disk::End;
use crate::exchange::{self, Exchange};
use crate::journal::{Issued, segment_path};
use crate::options::Fault;
use book::state_hash::StateHash;
use wal::table::Family;

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
        let recovered = node.seq_recovered;
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

    /// A start on a damaged copy: it must refuse, or serve what is right, or be unable to know. Returns what it served.
    pub(super) fn start_damaged(&mut self, damage: Fault, issued: &[Issued]) -> Checked<Option<(u64, StateHash)>> {
        let image = self.disk.image();
        if !self.damage(damage, issued) {
            return Ok(None);
        }
        let outcome = exchange::boot(&self.disk, self.options, self.now);
        self.disk.put_back(&image);
        let Ok(node) = outcome else {
            self.refused += 1;
            return Ok(None);
        };
        let (seq, hash) = (node.seq_recovered, node.engine.engine().state_hash());
        let missing = seq + 1;
        let attested = issued.iter().any(|frame| {
            frame.synced && seq < frame.op.seq_first.0 && missing <= frame.seq_known_durable && damage == Fault::BitRot
        });
        let noted = missing <= self.mark_promised;
        ensure(self.oracle.seq() <= seq || !(attested || noted), Invariant::DamageAccepted, || {
            let durable = self.oracle.seq();
            format!("{damage:?}: {seq} of {durable} are there; attested {attested}, mark {}", self.mark_promised)
        })?;
        Ok(Some((seq, hash)))
    }

    fn damage(&mut self, damage: Fault, issued: &[Issued]) -> bool {
        if damage == Fault::LostTail {
            let Some((old, _)) = &self.old_image else { return false };
            self.disk.put_back_but(old, &exchange::mark_path());
            return true;
        }
        let (at, bit) = (self.rng.number() as usize, self.rng.below(8));
        match self.rng.below(5) {
            0 => self.disk.flip_row_bit(Family::Log, &mut self.rng),
            4 => self.disk.flip_some_file_bit(".snap", &mut self.rng),
            1 => self.disk.flip_file_bit(&exchange::mark_path(), at % 64, bit),
            _ if issued.is_empty() => false,
            _ => {
                // Among the newest frames: older ones are in the store.
                let newest = issued.len().min(6);
                let Issued { op, frame_bytes, .. } = &issued[issued.len() - 1 - at % newest];
                let offset = op.place.offset as usize + (at >> 8) % frame_bytes;
                self.disk.flip_file_bit(&segment_path(op.place.segment), offset, bit)
            }
        }
    }
}
