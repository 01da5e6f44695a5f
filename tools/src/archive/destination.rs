//! The place of a backup, a directory or a bucket of any S3-compatible store, by blocking calls.
//!
//! Invariants: an object is complete or absent, and durable when a call returns; none is ever overwritten. Both kinds
//! of store guarantee that: S3 shows an object when its upload is complete, and refuses a second one when asked to; the
//! local one writes another name, syncs, links, and syncs the directory.

use super::anonymous_file::AnonymousFile;
use super::error::{BackupError, Result, file_error};
use super::key::Key;
use super::local_place::LocalPlace;
use super::put_outcome::PutOutcome;
use super::store_address::{self, OpenMode, Opened};
use super::store_failure::{FailureKind, StoreFailure};
use crate::terminal::interrupt::Interrupt;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, WriteMultipart};
use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;

/// Larger files are uploaded in parts of this size, a few at once, so that a failure repeats one part only.
const PART_BYTES: usize = 8 << 20;
const PARTS_AT_ONCE: usize = 4;

/// The time that a call under way may still take after an interrupt.
const GRACE: Duration = Duration::from_secs(5);

pub struct Destination {
    store: Arc<dyn ObjectStore>,
    /// Writes, where the place is a directory.
    local: Option<LocalPlace>,
    /// As the operator wrote it.
    name: String,
    runtime: Runtime,
    interrupt: Interrupt,
}

/// An entry of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedObject {
    pub key: Key,
    pub bytes: u64,
    /// By the store's clock.
    pub stored_at: SystemTime,
}

impl Destination {
    /// `address` is a path, `file:///path` or `s3://bucket/prefix`. Credentials come from the environment;
    /// `secrets_file` takes precedence over it.
    pub fn open(address: &str, secrets_file: Option<&Path>, mode: OpenMode, interrupt: Interrupt) -> Result<Self> {
        let Opened { store, local } = store_address::open(address, secrets_file, mode)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|source| file_error("starting a runtime for", Path::new(address), source))?;
        Ok(Self { store, local, name: address.trim_end_matches('/').to_owned(), runtime, interrupt })
    }

    /// The name of an object in messages.
    pub fn name_of(&self, key: Key) -> String {
        format!("{}/{key}", self.name)
    }

    /// The directory, where the place is one.
    pub fn directory(&self) -> Option<&Path> {
        self.local.as_ref().map(LocalPlace::root)
    }

    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Waits for `pause`, or until an interrupt.
    pub fn pause(&self, pause: Duration) {
        self.runtime.block_on(self.interrupt.wait_at_most(pause));
    }

    /// Stores a new object.
    pub fn put_new(&self, key: Key, bytes: Vec<u8>) -> Result<PutOutcome> {
        if let Some(local) = &self.local {
            return local.put_new(key, &mut bytes.as_slice()).map_err(|error| self.local_failure(key, &error));
        }
        let path = path_of(key);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let payload = PutPayload::from(bytes);
        match self.call("storing", key, self.store.put_opts(&path, payload.clone(), options)) {
            Ok(_) => Ok(PutOutcome::Stored),
            Err(BackupError::Store { cause, .. }) if cause.kind == FailureKind::AlreadyExists => {
                Ok(PutOutcome::AlreadyThere)
            }
            // A store without conditional writes, as AWS_CONDITIONAL_PUT=disabled says: check for the object first.
            Err(BackupError::Store { cause, .. }) if cause.kind == FailureKind::NotImplemented => {
                if self.has(key)? {
                    return Ok(PutOutcome::AlreadyThere);
                }
                self.call("storing", key, self.store.put(&path, payload)).map(|_| PutOutcome::Stored)
            }
            Err(error) => Err(error),
        }
    }

    /// Stores a file as a new object, in parts.
    pub fn put_file(&self, key: Key, file: &Path) -> Result<PutOutcome> {
        let failed = |source| file_error("reading", file, source);
        let mut reader = File::open(file).map_err(failed)?;
        if let Some(local) = &self.local {
            return local.put_new(key, &mut reader).map_err(|error| self.local_failure(key, &error));
        }
        let bytes_total = reader.metadata().map_err(failed)?.len();
        if bytes_total <= PART_BYTES as u64 {
            let mut bytes = Vec::with_capacity(bytes_total as usize);
            reader.read_to_end(&mut bytes).map_err(failed)?;
            return self.put_new(key, bytes);
        }
        // An upload in parts cannot be made conditional, so an existing object is looked for first.
        if self.has(key)? {
            return Ok(PutOutcome::AlreadyThere);
        }
        let upload = self.call("storing", key, self.store.put_multipart(&path_of(key)))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        if let Err(error) = self.put_parts(key, &mut upload, &mut reader, file) {
            // Should this fail too, the store deletes incomplete uploads by its own lifecycle rules.
            let _ = self.runtime.block_on(upload.abort());
            return Err(error);
        }
        self.call("storing", key, upload.finish()).map(|_| PutOutcome::Stored)
    }

    fn local_failure(&self, key: Key, error: &std::io::Error) -> BackupError {
        let cause = StoreFailure::of_file_system(error);
        BackupError::Store { action: "storing", object: self.name_of(key), cause }
    }

    fn put_parts(&self, key: Key, upload: &mut WriteMultipart, reader: &mut File, file: &Path) -> Result<()> {
        let mut part = vec![0; PART_BYTES];
        loop {
            let len = reader.read(&mut part).map_err(|source| file_error("reading", file, source))?;
            if len == 0 {
                return Ok(());
            }
            self.call("storing", key, upload.wait_for_capacity(PARTS_AT_ONCE))?;
            // A full part is uploaded by a task of its own.
            let _entered = self.runtime.enter();
            upload.write(&part[..len]);
        }
    }

    /// The complete object.
    pub fn get(&self, key: Key) -> Result<Vec<u8>> {
        let path = path_of(key);
        let bytes = self.call("reading", key, async { self.store.get(&path).await?.bytes().await })?;
        Ok(bytes.into())
    }

    /// The complete object, or `None` where there is none.
    pub fn find(&self, key: Key) -> Result<Option<Vec<u8>>> {
        self.get(key).map(Some).or_else(none_where_absent)
    }

    /// The first `bytes` of an object, or all of a shorter one.
    pub fn get_start(&self, key: Key, bytes: usize) -> Result<Vec<u8>> {
        let path = path_of(key);
        let start = self.call("reading", key, self.store.get_range(&path, 0..bytes as u64))?;
        Ok(start.into())
    }

    /// Copies an object into a new file, durably. Returns its length.
    pub fn get_file(&self, key: Key, file: &Path) -> Result<u64> {
        let failed = |source| file_error("writing", file, source);
        let writer = File::options().write(true).create_new(true).open(file).map_err(failed)?;
        let bytes = self.copy_to(key, &writer, file)?;
        writer.sync_all().map_err(failed)?;
        Ok(bytes)
    }

    /// Copies an object into a temporary file without a name.
    pub fn get_anonymous(&self, key: Key) -> Result<AnonymousFile> {
        let file = AnonymousFile::new()?;
        self.copy_to(key, file.file(), &std::env::temp_dir())?;
        Ok(file)
    }

    fn copy_to(&self, key: Key, mut writer: &File, shown: &Path) -> Result<u64> {
        let path = path_of(key);
        let mut chunks = self.call("reading", key, self.store.get(&path))?.into_stream();
        let mut bytes = 0;
        while let Some(chunk) = self.call("reading", key, chunks.try_next())? {
            writer.write_all(&chunk).map_err(|source| file_error("writing", shown, source))?;
            bytes += chunk.len() as u64;
        }
        Ok(bytes)
    }

    fn has(&self, key: Key) -> Result<bool> {
        let path = path_of(key);
        let found = self.call("looking for", key, self.store.head(&path)).map(Some).or_else(none_where_absent)?;
        Ok(found.is_some())
    }

    /// All objects of the backup, in the order of their keys. Objects with other names are ignored.
    pub fn list(&self) -> Result<Vec<ListedObject>> {
        self.list_of(self.store.list(None))
    }

    /// The objects whose names sort after `key`.
    pub fn list_after(&self, key: Key) -> Result<Vec<ListedObject>> {
        self.list_of(self.store.list_with_offset(None, &path_of(key)))
    }

    fn list_of(&self, objects: BoxStream<'static, object_store::Result<ObjectMeta>>) -> Result<Vec<ListedObject>> {
        let objects = self.call_on("listing", self.name.clone(), objects.try_collect::<Vec<_>>())?;
        let mut listed: Vec<ListedObject> = objects
            .into_iter()
            .filter_map(|object| {
                let key = Key::parse(object.location.as_ref())?;
                Some(ListedObject { key, bytes: object.size, stored_at: object.last_modified.into() })
            })
            .collect();
        listed.sort_unstable_by_key(|object| object.key);
        Ok(listed)
    }

    /// Deletes an object. One that is absent is no failure.
    pub fn delete(&self, key: Key) -> Result<()> {
        let path = path_of(key);
        self.call("deleting", key, self.store.delete(&path)).map(Some).or_else(none_where_absent).map(|_| ())
    }

    fn call<T>(
        &self,
        action: &'static str,
        key: Key,
        future: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T> {
        self.call_on(action, self.name_of(key), future)
    }

    fn call_on<T>(
        &self,
        action: &'static str,
        object: String,
        future: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T> {
        let interrupted = async {
            self.interrupt.wait().await;
            tokio::time::sleep(GRACE).await;
        };
        let outcome = self.runtime.block_on(async {
            tokio::select! {
                outcome = future => Some(outcome),
                () = interrupted => None,
            }
        });
        let outcome = outcome.ok_or(BackupError::Interrupted)?;
        outcome.map_err(|cause| BackupError::Store { action, object, cause: StoreFailure::from(&cause) })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn none_where_absent<T>(error: BackupError) -> Result<Option<T>> {
    match error {
        BackupError::Store { cause, .. } if cause.kind == FailureKind::NotFound => Ok(None),
        error => Err(error),
    }
}

fn path_of(key: Key) -> ObjectPath {
    ObjectPath::from(key.to_string())
}
