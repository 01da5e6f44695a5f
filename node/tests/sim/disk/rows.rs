//! The table: three families of rows, and an open handle to them.

use super::Disk;
use super::calls::Fate;
use std::collections::BTreeMap;
use std::sync::Arc;
use wal::table::{Change, Family, Table, TableFault, TableFaultKind, Walk};

type Row = (Vec<u8>, Arc<[u8]>);
pub(super) type FamilyRows = BTreeMap<Vec<u8>, Arc<[u8]>>;
pub(super) type Rows = [Arc<FamilyRows>; 3];

pub(super) fn apply(rows: &mut Rows, batch: Vec<Change<'static>>) {
    for change in batch {
        match change {
            Change::Put { family, key, value } => {
                Arc::make_mut(&mut rows[family as usize]).insert(key, value.into_owned().into());
            }
            Change::Delete { family, key } => {
                Arc::make_mut(&mut rows[family as usize]).remove(&key);
            }
        }
    }
}

fn owned(change: Change<'_>) -> Change<'static> {
    match change {
        Change::Put { family, key, value } => Change::Put { family, key, value: value.into_owned().into() },
        Change::Delete { family, key } => Change::Delete { family, key },
    }
}

pub(super) struct OpenTable {
    pub(super) disk: Disk,
    /// The durable rows when a reader opened the table; the owner reads all rows.
    pub(super) seen: Option<Rows>,
}

impl OpenTable {
    fn rows(&self, family: Family) -> Arc<FamilyRows> {
        match &self.seen {
            Some(seen) => Arc::clone(&seen[family as usize]),
            None => Arc::clone(&self.disk.lock().rows[family as usize]),
        }
    }
}

impl Table for OpenTable {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, TableFault> {
        Ok(self.rows(family).get(key).map(|value| value.to_vec()))
    }

    fn write(&self, changes: Vec<Change<'_>>) -> Result<(), TableFault> {
        let state = &mut *self.disk.lock();
        if state.calls.next() != Fate::Done || self.seen.is_some() {
            return Err(fault());
        }
        let batch: Vec<_> = changes.into_iter().map(owned).collect();
        apply(&mut state.rows, batch.clone());
        state.unflushed.push(batch);
        Ok(())
    }

    fn flush(&self) -> Result<(), TableFault> {
        let state = &mut *self.disk.lock();
        if state.calls.next_flush() != Fate::Done {
            return Err(fault());
        }
        state.unflushed.clear();
        state.durable = state.rows.clone();
        Ok(())
    }

    /// Every row is a file of its own, so nothing of the range stays.
    fn reclaim(&self, family: Family, from: &[u8], until: &[u8]) -> Result<(), TableFault> {
        let state = &mut *self.disk.lock();
        for rows in [&mut state.rows, &mut state.durable] {
            Arc::make_mut(&mut rows[family as usize]).retain(|key, _| key.as_slice() < from || until < key.as_slice());
        }
        Ok(())
    }

    fn walk(&self, family: Family) -> Box<dyn Walk + '_> {
        Box::new(RowWalk { rows: self.rows(family), at: None })
    }
}

struct RowWalk {
    rows: Arc<FamilyRows>,
    at: Option<Row>,
}

impl RowWalk {
    fn set(&mut self, found: Option<Row>) {
        self.at = found;
    }
}

fn row((key, value): (&Vec<u8>, &Arc<[u8]>)) -> Row {
    (key.clone(), Arc::clone(value))
}

impl Walk for RowWalk {
    fn seek(&mut self, key: &[u8]) {
        let found = self.rows.range(key.to_vec()..).next().map(row);
        self.set(found);
    }

    fn seek_for_prev(&mut self, key: &[u8]) {
        let found = self.rows.range(..=key.to_vec()).next_back().map(row);
        self.set(found);
    }

    fn seek_to_last(&mut self) {
        let found = self.rows.iter().next_back().map(row);
        self.set(found);
    }

    fn next(&mut self) {
        let Some((key, _)) = self.at.take() else { return };
        let after = (std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded);
        let found = self.rows.range(after).next().map(row);
        self.set(found);
    }

    fn item(&self) -> Option<(&[u8], &[u8])> {
        self.at.as_ref().map(|(key, value)| (key.as_slice(), &**value))
    }

    fn status(&self) -> Result<(), TableFault> {
        Ok(())
    }
}

pub(super) fn fault() -> TableFault {
    TableFault { kind: TableFaultKind::Other, message: "the simulated disk fails".to_owned() }
}
