//! Opens the object store that an address names: a directory, or a bucket of an S3-compatible store.

use super::error::{BackupError, Result, file_error};
use crate::offline::durable_directory::{self, PRIVATE};
use node::config::secrets::Secret;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, RetryConfig};
use std::path::Path;
use std::str::FromStr;
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

/// Opens a path, `file:///path` or `s3://bucket/prefix`. Credentials come from the environment; `secrets_file` takes
/// precedence over it.
pub fn open(address: &str, secrets_file: Option<&Path>, mode: OpenMode) -> Result<Arc<dyn ObjectStore>> {
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

fn open_directory(path: &Path, mode: OpenMode) -> Result<Arc<dyn ObjectStore>> {
    if mode == OpenMode::OrCreate {
        durable_directory::make(path, PRIVATE).map_err(|source| file_error("making", path, source))?;
    } else if !path.is_dir() {
        return Err(BackupError::NoBackup { place: path.display().to_string(), missing: "such directory" });
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
        return Err(BackupError::Address(format!("\"s3://{place}\" names no bucket")));
    }
    install_crypto_provider();
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_FOR, ..RetryConfig::default() };
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
    if let Some(file) = secrets_file {
        for (name, value) in read_secrets(file)? {
            builder = builder.with_config(name, value);
        }
    }
    let store = builder.build().map_err(|source| BackupError::Secrets(format!("opening s3://{place}: {source}")))?;
    Ok(match prefix.trim_matches('/') {
        "" => Arc::new(store),
        prefix => Arc::new(PrefixStore::new(store, ObjectPath::from(prefix))),
    })
}

/// Lines `AWS_NAME=value` of a file that only its owner and its group may read.
fn read_secrets(file: &Path) -> Result<Vec<(AmazonS3ConfigKey, String)>> {
    let shown = file.display();
    let text = Secret::read_lines(file)
        .map_err(|error| BackupError::Secrets(format!("reading secrets file {shown}: {error}")))?;
    let lines = text.iter().map(Secret::expose).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(idx, line)| {
            let parsed = line.split_once('=').and_then(|(name, value)| {
                let key = AmazonS3ConfigKey::from_str(&name.trim().to_ascii_lowercase()).ok()?;
                Some((key, value.trim().to_owned()))
            });
            let line = idx + 1;
            parsed.ok_or_else(|| {
                BackupError::Secrets(format!("reading secrets file {shown} line {line}: expected AWS_NAME=value"))
            })
        })
        .collect()
}

/// The HTTP client uses the process's cryptography for TLS, which has to be installed once.
fn install_crypto_provider() {
    static INSTALLED: Once = Once::new();
    // The call fails only where a provider is installed already, which serves as well.
    INSTALLED.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}
