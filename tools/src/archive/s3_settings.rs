//! The settings of an S3 store, from the environment and a secrets file, checked before a client is made of them.
//!
//! Invariant: a value that no client can use is refused here, by the name of its variable; the client would panic or
//! name none.

use super::error::{BackupError, Result};
use node::config::secrets::Secret;
use object_store::ClientConfigKey;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use reqwest::Url;
use std::path::Path;
use std::str::FromStr;

/// A bucket's name has so many bytes.
const BUCKET_BYTES: std::ops::RangeInclusive<usize> = 3..=63;

/// A value, and the variable that it comes from.
struct Setting {
    /// As in messages: `AWS_ENDPOINT`, or `AWS_ENDPOINT (secrets file F, line 3)`.
    origin: String,
    key: AmazonS3ConfigKey,
    value: String,
}

/// Settings of a client, each checked. Those of `secrets_file` take precedence over the environment.
pub(super) fn builder(bucket: &str, secrets_file: Option<&Path>) -> Result<AmazonS3Builder> {
    check_bucket(bucket)?;
    let mut settings = of_environment()?;
    if let Some(file) = secrets_file {
        settings.extend(of_file(file)?);
    }
    settings.iter().try_for_each(check)?;
    let builder = settings
        .iter()
        .fold(AmazonS3Builder::new(), |builder, setting| builder.with_config(setting.key, setting.value.as_str()));
    check_together(&builder, &settings)?;
    Ok(builder.with_bucket_name(bucket))
}

fn wrong(message: String) -> BackupError {
    BackupError::Settings(message)
}

fn check_bucket(bucket: &str) -> Result<()> {
    let is_allowed = |c: u8| c.is_ascii_alphanumeric() || b".-_".contains(&c);
    if BUCKET_BYTES.contains(&bucket.len()) && bucket.bytes().all(is_allowed) {
        return Ok(());
    }
    Err(wrong(format!(
        "--to or --from names the bucket {bucket:?}: a bucket's name has 3 to 63 letters, digits, dots and hyphens"
    )))
}

/// Variables AWS_NAME that a client has a use for.
fn of_environment() -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Some(origin) = name.to_str().filter(|name| name.starts_with("AWS_")) else { continue };
        let Ok(key) = AmazonS3ConfigKey::from_str(&origin.to_ascii_lowercase()) else { continue };
        let value = value.into_string().map_err(|_| wrong(format!("{origin} is not text")))?;
        settings.push(Setting { origin: origin.to_owned(), key, value });
    }
    Ok(settings)
}

/// Lines `AWS_NAME=value` of a file that only its owner and its group may read.
fn of_file(file: &Path) -> Result<Vec<Setting>> {
    let shown = file.display();
    let text = Secret::read_lines(file).map_err(|error| wrong(format!("reading secrets file {shown}: {error}")))?;
    let lines = text.iter().map(Secret::expose).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(idx, line)| {
            let line_number = idx + 1;
            let parsed = line.split_once('=').and_then(|(name, value)| {
                let key = AmazonS3ConfigKey::from_str(&name.trim().to_ascii_lowercase()).ok()?;
                let origin = format!("{} (secrets file {shown}, line {line_number})", name.trim());
                Some(Setting { origin, key, value: value.trim().to_owned() })
            });
            parsed.ok_or_else(|| {
                wrong(format!("reading secrets file {shown} line {line_number}: expected AWS_NAME=value"))
            })
        })
        .collect()
}

/// Checks a value by itself. No message has the value of a key.
fn check(Setting { origin, key, value }: &Setting) -> Result<()> {
    use AmazonS3ConfigKey::{
        AccessKeyId, DefaultRegion, Endpoint, MetadataEndpoint, Region, S3Endpoint, SecretAccessKey, StsEndpoint, Token,
    };
    if let Some(at) = value.find(char::is_control) {
        return Err(wrong(format!("{origin} has a control character, such as a line break, at byte {at}")));
    }
    match key {
        AccessKeyId | SecretAccessKey | Token | Region | DefaultRegion if value.is_empty() => {
            Err(wrong(format!("{origin} is empty; set it, or remove it")))
        }
        AccessKeyId | SecretAccessKey | Token if !value.bytes().all(|c| c.is_ascii_graphic()) => {
            Err(wrong(format!("{origin} has a space or a character that is not ASCII")))
        }
        Region | DefaultRegion if !value.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c)) => {
            Err(wrong(format!("{origin} is {value:?}: a region has letters, digits and hyphens, as us-east-1")))
        }
        Endpoint | S3Endpoint | StsEndpoint | MetadataEndpoint => check_endpoint(origin, value),
        _ => Ok(()),
    }
}

fn check_endpoint(origin: &str, value: &str) -> Result<()> {
    let expected = "expected https://HOST or https://HOST:PORT";
    if value.is_empty() {
        return Err(wrong(format!("{origin} is empty: {expected}, or remove it")));
    }
    let refused = |why: &str| Err(wrong(format!("{origin} is {value:?}: {why}; {expected}")));
    // A name and port without a scheme would be taken for a scheme.
    if !value.starts_with("http://") && !value.starts_with("https://") {
        return refused("it has no scheme");
    }
    match Url::parse(value) {
        Err(error) => refused(&error.to_string()),
        Ok(url) if url.port() == Some(0) => refused("port 0 is none"),
        Ok(url) if url.host_str().is_none_or(str::is_empty) => refused("it names no host"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Err(wrong(format!("{origin} has a user or a password: {expected}")))
        }
        Ok(_) => Ok(()),
    }
}

/// Checks values that depend on each other.
fn check_together(builder: &AmazonS3Builder, settings: &[Setting]) -> Result<()> {
    let value = |key: AmazonS3ConfigKey| builder.get_config_value(&key);
    let has = |key: AmazonS3ConfigKey| value(key).is_some();
    for (one, other, name, missing) in [
        (
            AmazonS3ConfigKey::AccessKeyId,
            AmazonS3ConfigKey::SecretAccessKey,
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
        ),
        (
            AmazonS3ConfigKey::SecretAccessKey,
            AmazonS3ConfigKey::AccessKeyId,
            "AWS_SECRET_ACCESS_KEY",
            "AWS_ACCESS_KEY_ID",
        ),
    ] {
        if has(one) && !has(other) {
            return Err(wrong(format!("{name} is set and {missing} is not: set both, or none")));
        }
    }
    let allow = value(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp));
    let is_allowed =
        allow.is_some_and(|allow| matches!(allow.to_ascii_lowercase().as_str(), "1" | "true" | "on" | "yes" | "y"));
    let plain = settings
        .iter()
        .rev()
        .find(|setting| matches!(setting.key, AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint));
    match plain.filter(|setting| setting.value.starts_with("http://") && !is_allowed) {
        Some(setting) => Err(wrong(format!(
            "{} is {:?}, without TLS: use https://, or set AWS_ALLOW_HTTP=true",
            setting.origin, setting.value
        ))),
        None => Ok(()),
    }
}
