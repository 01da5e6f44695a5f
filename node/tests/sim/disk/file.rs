//! One file, and its content after a power cut.
//!
//! Invariant: reads return `now`; undoing `unsynced` from the newest to the oldest gives the durable content.

use book::testing::workload::rng::Rng;
use wal::block::SECTOR_BYTES;

#[derive(Clone, Debug, Default)]
pub(super) struct FileState {
    now: Vec<u8>,
    /// Length that survives a power cut; later bytes were appended since.
    len_synced: usize,
    /// A sync of appended bytes has failed; no later sync makes them durable.
    growth_lost: bool,
    /// Writes since the last sync with the bytes that they replaced, oldest first.
    unsynced: Vec<Unsynced>,
}

#[derive(Clone, Debug)]
struct Unsynced {
    offset: usize,
    before: Vec<u8>,
    after: Vec<u8>,
    /// A sync of it has failed and the kernel counts it as written; a later sync does not write it again.
    lost: bool,
}

impl FileState {
    /// A file that existed before the simulation.
    pub(super) fn durable(bytes: Vec<u8>) -> Self {
        Self { len_synced: bytes.len(), now: bytes, ..Self::default() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.now
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.now.extend_from_slice(bytes);
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let range = &mut self.now[offset..offset + bytes.len()];
        self.unsynced.push(Unsynced { offset, before: range.to_vec(), after: bytes.to_vec(), lost: false });
        range.copy_from_slice(bytes);
    }

    pub(super) fn sync(&mut self) {
        let unsynced = std::mem::take(&mut self.unsynced);
        for (idx, write) in unsynced.iter().enumerate().filter(|(_, write)| write.lost) {
            let written_over = unsynced[idx..].iter().any(|later| !later.lost && later.overlaps(write));
            if !written_over {
                self.unsynced.push(write.clone());
            }
        }
        if !self.growth_lost {
            self.len_synced = self.now.len();
        }
    }

    /// Makes a sync that fails. Its writes are split into sectors, because later writes can make single sectors
    /// durable.
    pub(super) fn fail_to_sync(&mut self) {
        self.growth_lost |= self.len_synced < self.now.len();
        let unsynced = std::mem::take(&mut self.unsynced);
        self.unsynced = unsynced.iter().flat_map(Unsynced::sectors).collect();
    }

    pub(super) fn cut(&mut self, rng: &mut Rng) {
        if self.len_synced < self.now.len() {
            let grown = (self.now.len() - self.len_synced) as u32;
            self.now.truncate(self.len_synced + rng.below(grown + 1) as usize);
            self.len_synced = self.now.len();
        }
        self.growth_lost = false;
        let unsynced = std::mem::take(&mut self.unsynced);
        for write in unsynced.iter().rev() {
            self.put(write.offset, &write.before);
        }
        for write in unsynced {
            let fate = rng.below(4);
            for (idx, sector) in write.after.chunks(SECTOR_BYTES).enumerate() {
                let survives = match fate {
                    0 => true,
                    1 => false,
                    _ => rng.one_in(2),
                };
                if survives {
                    self.put(write.offset + idx * SECTOR_BYTES, sector);
                }
            }
        }
    }

    /// Returns false where the file has no such byte.
    pub(super) fn flip(&mut self, offset: usize, bit: u32) -> bool {
        let Some(byte) = self.now.get_mut(offset) else { return false };
        *byte ^= 1 << (bit % 8);
        true
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.now[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

impl Unsynced {
    fn overlaps(&self, other: &Self) -> bool {
        self.offset < other.offset + other.after.len() && other.offset < self.offset + self.after.len()
    }

    fn sectors(&self) -> impl Iterator<Item = Self> + '_ {
        let parts = self.before.chunks(SECTOR_BYTES).zip(self.after.chunks(SECTOR_BYTES)).enumerate();
        parts.map(|(idx, (before, after))| Self {
            offset: self.offset + idx * SECTOR_BYTES,
            before: before.to_vec(),
            after: after.to_vec(),
            lost: true,
        })
    }
}
