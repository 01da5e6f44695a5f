//! A batch of the caller's rows, of history and metadata, that are written together.

use std::borrow::Cow;

use crate::store::keys::caller_key;
use crate::table::{Change, Family};

#[derive(Clone, Debug, Default)]
pub struct Rows(Vec<Row>);

#[derive(Clone, Debug)]
enum Row {
    PutHistory { key: Vec<u8>, value: Vec<u8> },
    DeleteHistory { key: Vec<u8> },
    PutMeta { key: Vec<u8>, value: Vec<u8> },
}

impl Rows {
    pub fn new() -> Rows {
        Rows::default()
    }

    pub fn put_history(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.push(Row::PutHistory { key: key.into(), value: value.into() });
    }

    pub fn delete_history(&mut self, key: impl Into<Vec<u8>>) {
        self.0.push(Row::DeleteHistory { key: key.into() });
    }

    pub fn put_meta(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.push(Row::PutMeta { key: key.into(), value: value.into() });
    }

    pub(super) fn into_changes(self) -> Vec<Change<'static>> {
        let change = |row| match row {
            Row::PutHistory { key, value } => put(Family::History, key, value),
            Row::DeleteHistory { key } => Change::Delete { family: Family::History, key },
            Row::PutMeta { key, value } => put(Family::Meta, caller_key(&key), value),
        };
        self.0.into_iter().map(change).collect()
    }
}

fn put(family: Family, key: Vec<u8>, value: Vec<u8>) -> Change<'static> {
    Change::Put { family, key, value: Cow::Owned(value) }
}
