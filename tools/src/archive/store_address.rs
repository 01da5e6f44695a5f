//! Opens the object store that an address names: a directory, or a bucket of an S3-compatible store.

use super::error::{BackupError, Result, file_error};
use super::local_place::LocalPlace;
use super::s3_settings;
use super::store_failure::StoreFailure;
use crate::offline::durable_directory::{self, PRIVATE};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, RetryConfig};
use std::path::Path;
use std::sync::{Arc, Once};
use std::time::Duration;

/// The retries of one call; its caller decides about more.
const RETRIES: usize = 3;
const RETRY_FOR: Duration = Duration::from_secs(20);

/// Whether a directory may be created where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    Existing,
    OrCreate,
}

/// An open store.
pub(super) struct Opened {
    pub store: Arc<dyn ObjectStore>,
    /// Where it is a directory: its writer.
    pub local: Option<LocalPlace>,
}

/// The path of a place that is a directory.
pub fn local_path(address: &str) -> Option<&Path> {
    match address.split_once("://") {
        Some(("file", path)) => Some(Path::new(path)),
        Some(_) => None,
        None => Some(Path::new(address)),
    }
}

/// Opens a path, `file:///path` or `s3://bucket/prefix`. Credentials come from the environment; `secrets_file` takes
/// precedence over it.
pub(super) fn open(address: &str, secrets_file: Option<&Path>, mode: OpenMode) -> Result<Opened> {
    match address.split_once("://") {
        Some(("s3", place)) => open_bucket(place, secrets_file),
        Some(("file", path)) if path.starts_with('/') => open_directory(Path::new(path), mode),
        Some(_) => Err(BackupError::Address(format!("{address:?} is none of these"))),
        // An address with a slash too few would otherwise create a directory of that name.
        None if address.is_empty() || address.starts_with("s3:") || address.starts_with("file:") => {
            Err(BackupError::Address(format!("{address:?} is none of these")))
        }
        None => open_directory(Path::new(address), mode),
    }
}

fn open_directory(path: &Path, mode: OpenMode) -> Result<Opened> {
    if mode == OpenMode::OrCreate {
        durable_directory::make(path, PRIVATE).map_err(|source| file_error("making", path, source))?;
    } else if !path.is_dir() {
        return Err(BackupError::NoBackup { place: path.display().to_string(), missing: "such directory" });
    }
    let store = LocalFileSystem::new_with_prefix(path);
    let store = store.map_err(|cause| BackupError::Store {
        action: "opening",
        object: path.display().to_string(),
        cause: StoreFailure::from(&cause),
    })?;
    Ok(Opened { store: Arc::new(store), local: Some(LocalPlace::new(path)) })
}

fn open_bucket(place: &str, secrets_file: Option<&Path>) -> Result<Opened> {
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.is_empty() {
        return Err(BackupError::Address(format!("\"s3://{place}\" names no bucket")));
    }
    let builder = s3_settings::builder(bucket, secrets_file)?;
    install_crypto_provider();
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_FOR, ..RetryConfig::default() };
    let store = builder.with_retry(retry).build();
    let store = store.map_err(|source| BackupError::Settings(format!("opening s3://{place}: {source}")))?;
    let store: Arc<dyn ObjectStore> = match prefix.trim_matches('/') {
        "" => Arc::new(store),
        prefix => Arc::new(PrefixStore::new(store, ObjectPath::from(prefix))),
    };
    Ok(Opened { store, local: None })
}

/// The HTTP client uses the process's cryptography for TLS, which has to be installed once.
fn install_crypto_provider() {
    static INSTALLED: Once = Once::new();
    // The call fails only where a provider is installed already, which serves as well.
    INSTALLED.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}
