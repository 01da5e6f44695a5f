//! The place where a backup lies: a directory, or a bucket of any S3-compatible store, behind blocking calls.
//!
//! Invariants: an object is there whole or not at all, and durable when a call returns; none is ever overwritten. Both
//! kinds of store give that: S3 shows an object when its upload is complete, and refuses a second one when asked to;
//! the local one writes another name, syncs, links, and syncs the directory.

use super::error::{BackupError, Result};
use super::key::Key;
use super::unnamed::UnnamedFile;
use crate::offline::durable_directory::{self, PRIVATE};
use crate::terminal::interrupt::Interrupt;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use node::config::secrets::Secret;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::{
    Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
    WriteMultipart,
};
use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Once};
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;

/// Larger files go in parts of this size, a few at once: what a slow network has to do again after a failure.
const PART_BYTES: usize = 8 << 20;
const PARTS_AT_ONCE: usize = 4;

/// How long a call that was under way may still take after an interrupt.
const GRACE: Duration = Duration::from_secs(5);

/// One call tries a little by itself; whoever made it decides about more.
const RETRIES: usize = 3;
const RETRY_FOR: Duration = Duration::from_secs(20);

pub struct Destination {
    store: Arc<dyn ObjectStore>,
    /// As the operator wrote it.
    name: String,
    runtime: Runtime,
    interrupt: Interrupt,
}

/// Whether a place may be made where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    Existing,
    OrCreate,
}

/// What became of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Stored,
    /// Something bears that name already; it was not touched.
    There,
}

/// An object as a listing tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    pub key: Key,
    pub bytes: u64,
    /// By the store's clock.
    pub stored_at: SystemTime,
}

impl Destination {
    /// `address` is a path, `file:///path` or `s3://bucket/prefix`; credentials come from the environment, and from
    /// `secrets_file` over that.
    pub fn open(address: &str, secrets_file: Option<&Path>, how: Open, interrupt: Interrupt) -> Result<Self> {
        let store: Arc<dyn ObjectStore> = match address.split_once("://") {
            Some(("s3", place)) => open_bucket(place, secrets_file)?,
            Some(("file", path)) if path.starts_with('/') => open_directory(Path::new(path), how)?,
            Some(_) => return Err(BackupError::Address(format!("{address:?} is neither"))),
            // A slash too few would quietly make a directory of that name.
            None if address.is_empty() || address.starts_with("s3:") || address.starts_with("file:") => {
                return Err(BackupError::Address(format!("{address:?} is neither")));
            }
            None => open_directory(Path::new(address), how)?,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|source| file_error("starting a runtime for", Path::new(address), source))?;
        Ok(Self { store, name: address.trim_end_matches('/').to_owned(), runtime, interrupt })
    }

    /// How an object is told to a person.
    pub fn name_of(&self, key: Key) -> String {
        format!("{}/{key}", self.name)
    }

    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Waits, but not longer than until an interrupt.
    pub fn pause(&self, pause: Duration) {
        self.runtime.block_on(self.interrupt.set_within(pause));
    }

    /// Stores a new object.
    pub fn put_new(&self, key: Key, bytes: Vec<u8>) -> Result<Put> {
        let path = path_of(key);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let payload = PutPayload::from(bytes);
        match self.call("storing", key, self.store.put_opts(&path, payload.clone(), options)) {
            Ok(_) => Ok(Put::Stored),
            Err(BackupError::Store { cause, .. }) if matches!(*cause, StoreError::AlreadyExists { .. }) => {
                Ok(Put::There)
            }
            // A store that knows no conditions, as AWS_CONDITIONAL_PUT=disabled says: a look has to do.
            Err(BackupError::Store { cause, .. }) if matches!(*cause, StoreError::NotImplemented { .. }) => {
                if self.has(key)? {
                    return Ok(Put::There);
                }
                self.call("storing", key, self.store.put(&path, payload)).map(|_| Put::Stored)
            }
            Err(error) => Err(error),
        }
    }

    /// Stores a file as a new object, in parts.
    pub fn put_file(&self, key: Key, file: &Path) -> Result<Put> {
        let failed = |source| file_error("reading", file, source);
        let mut reader = File::open(file).map_err(failed)?;
        let bytes_total = reader.metadata().map_err(failed)?.len();
        if bytes_total <= PART_BYTES as u64 {
            let mut bytes = Vec::with_capacity(bytes_total as usize);
            reader.read_to_end(&mut bytes).map_err(failed)?;
            return self.put_new(key, bytes);
        }
        // An upload in parts cannot be told to refuse an older object; what is there stays.
        if self.has(key)? {
            return Ok(Put::There);
        }
        let upload = self.call("storing", key, self.store.put_multipart(&path_of(key)))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        if let Err(error) = self.put_parts(key, &mut upload, &mut reader, file) {
            // The store forgets parts that nobody completes, by its own rules, should this fail too.
            let _ = self.runtime.block_on(upload.abort());
            return Err(error);
        }
        self.call("storing", key, upload.finish()).map(|_| Put::Stored)
    }

    fn put_parts(&self, key: Key, upload: &mut WriteMultipart, reader: &mut File, file: &Path) -> Result<()> {
        let mut part = vec![0; PART_BYTES];
        loop {
            let len = reader.read(&mut part).map_err(|source| file_error("reading", file, source))?;
            if len == 0 {
                return Ok(());
            }
            self.call("storing", key, upload.wait_for_capacity(PARTS_AT_ONCE))?;
            // Begins the next part, as a task of its own, when one is full.
            let _entered = self.runtime.enter();
            upload.write(&part[..len]);
        }
    }

    /// The whole object.
    pub fn get(&self, key: Key) -> Result<Vec<u8>> {
        let path = path_of(key);
        let bytes = self.call("reading", key, async { self.store.get(&path).await?.bytes().await })?;
        Ok(bytes.into())
    }

    /// The whole object, or `None` where there is none.
    pub fn find(&self, key: Key) -> Result<Option<Vec<u8>>> {
        self.get(key).map(Some).or_else(none_where_absent)
    }

    /// The first `bytes` of an object, or all of a shorter one.
    pub fn get_start(&self, key: Key, bytes: usize) -> Result<Vec<u8>> {
        let path = path_of(key);
        let start = self.call("reading", key, self.store.get_range(&path, 0..bytes as u64))?;
        Ok(start.into())
    }

    /// Copies an object into a new file; durable when this returns. Returns its length.
    pub fn get_file(&self, key: Key, file: &Path) -> Result<u64> {
        let failed = |source| file_error("writing", file, source);
        let writer = File::options().write(true).create_new(true).open(file).map_err(failed)?;
        let bytes = self.copy_to(key, &writer, file)?;
        writer.sync_all().map_err(failed)?;
        Ok(bytes)
    }

    /// Copies an object into a file that goes with the process.
    pub fn get_unnamed(&self, key: Key) -> Result<UnnamedFile> {
        let unnamed = UnnamedFile::new()?;
        self.copy_to(key, unnamed.file(), &std::env::temp_dir())?;
        Ok(unnamed)
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

    /// All objects of the backup, in the order of their keys. Others in the same place are not ours to judge.
    pub fn list(&self) -> Result<Vec<Listed>> {
        self.list_of(self.store.list(None))
    }

    /// Those of them whose names come behind `key`.
    pub fn list_behind(&self, key: Key) -> Result<Vec<Listed>> {
        self.list_of(self.store.list_with_offset(None, &path_of(key)))
    }

    fn list_of(&self, objects: BoxStream<'static, object_store::Result<ObjectMeta>>) -> Result<Vec<Listed>> {
        let objects = self.call_on("listing", self.name.clone(), objects.try_collect::<Vec<_>>())?;
        let mut listed: Vec<Listed> = objects
            .into_iter()
            .filter_map(|object| {
                let key = Key::parse(object.location.as_ref())?;
                Some(Listed { key, bytes: object.size, stored_at: object.last_modified.into() })
            })
            .collect();
        listed.sort_unstable_by_key(|object| object.key);
        Ok(listed)
    }

    /// Takes an object away for good.
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
            self.interrupt.set().await;
            tokio::time::sleep(GRACE).await;
        };
        let outcome = self.runtime.block_on(async {
            tokio::select! {
                outcome = future => Some(outcome),
                () = interrupted => None,
            }
        });
        let outcome = outcome.ok_or(BackupError::Interrupted)?;
        outcome.map_err(|cause| BackupError::Store { action, object, cause: Box::new(cause) })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn none_where_absent<T>(error: BackupError) -> Result<Option<T>> {
    match error {
        BackupError::Store { cause, .. } if matches!(*cause, StoreError::NotFound { .. }) => Ok(None),
        error => Err(error),
    }
}

fn path_of(key: Key) -> ObjectPath {
    ObjectPath::from(key.to_string())
}

fn open_directory(path: &Path, how: Open) -> Result<Arc<dyn ObjectStore>> {
    if how == Open::OrCreate {
        durable_directory::make(path, PRIVATE).map_err(|source| file_error("making", path, source))?;
    } else if !path.is_dir() {
        return Err(BackupError::NoBackup { place: path.display().to_string(), claim: "such directory" });
    }
    let store = LocalFileSystem::new_with_prefix(path);
    let store = store.map_err(|cause| BackupError::Store {
        action: "opening",
        object: path.display().to_string(),
        cause: Box::new(cause),
    })?;
    Ok(Arc::new(store.with_fsync(true)))
}

fn open_bucket(place: &str, secrets_file: Option<&Path>) -> Result<Arc<dyn ObjectStore>> {
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.is_empty() {
        return Err(BackupError::Address("s3:// wants a bucket".to_owned()));
    }
    choose_cryptography();
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_FOR, ..RetryConfig::default() };
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
    if let Some(file) = secrets_file {
        for (name, value) in read_secrets(file)? {
            builder = builder.with_config(name, value);
        }
    }
    let store = builder.build().map_err(|source| BackupError::Secrets(format!("s3://{place}: {source}")))?;
    Ok(match prefix.trim_matches('/') {
        "" => Arc::new(store),
        prefix => Arc::new(PrefixStore::new(store, ObjectPath::from(prefix))),
    })
}

/// Settings of the environment's names, one a line, from a file that only its owner and its group may read.
fn read_secrets(file: &Path) -> Result<Vec<(AmazonS3ConfigKey, String)>> {
    let shown = file.display();
    let text = Secret::read_lines(file).map_err(|error| BackupError::Secrets(format!("{shown} {error}")))?;
    let lines = text.iter().map(Secret::expose).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(idx, line)| {
            let parsed = line.split_once('=').and_then(|(name, value)| {
                let key = AmazonS3ConfigKey::from_str(&name.trim().to_ascii_lowercase()).ok()?;
                Some((key, value.trim().to_owned()))
            });
            let line = idx + 1;
            parsed.ok_or_else(|| BackupError::Secrets(format!("{shown} line {line}: expected AWS_NAME=value")))
        })
        .collect()
}

/// The HTTP client asks the process which cryptography TLS uses.
fn choose_cryptography() {
    static CHOSEN: Once = Once::new();
    // Refused only where somebody chose before, which is as good.
    CHOSEN.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

pub(crate) fn file_error(doing: &'static str, path: &Path, cause: std::io::Error) -> BackupError {
    BackupError::File { doing, path: PathBuf::from(path), cause }
}
