//! Takes keys out of a configuration one by one, with their bounds; what is wrong is noted and reading goes on, so that
//! an operator sees every mistake at once.
//!
//! Serde would stop at the first mistake, hence a reader of our own over the parsed TOML. What nobody took in the end is
//! an unknown key.

use super::human::{parse_bytes, parse_duration, show_bytes, show_duration};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Environment variables of this form override the file: `PINION__SECTION__KEY`.
pub const ENV_PREFIX: &str = "PINION__";

/// One mistake: where, what stands there, why that cannot be, what could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// `section.key`, or empty where the file as a whole is wrong.
    pub key: String,
    pub value: Option<String>,
    pub why: String,
    pub allowed: Option<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.key.as_str(), &self.value) {
            ("", _) => {}
            (key, Some(value)) => write!(f, "{key} = {value}: ")?,
            (key, None) => write!(f, "{key}: ")?,
        }
        f.write_str(&self.why)?;
        match &self.allowed {
            Some(allowed) => write!(f, "; allowed: {allowed}"),
            None => Ok(()),
        }
    }
}

/// A value as the file or the environment gives it.
#[derive(Clone, Debug)]
pub enum Given {
    File(toml::Value),
    Text(String),
}

impl Given {
    fn text(&self) -> Option<&str> {
        match self {
            Self::File(toml::Value::String(text)) | Self::Text(text) => Some(text),
            Self::File(_) => None,
        }
    }

    /// Whole numbers; text from the environment counts as a number where it is one.
    fn integer(&self) -> Option<i128> {
        match self {
            Self::File(toml::Value::Integer(number)) => Some(i128::from(*number)),
            Self::Text(text) => text.parse().ok(),
            Self::File(_) => None,
        }
    }

    fn flag(&self) -> Option<bool> {
        match self {
            Self::File(toml::Value::Boolean(flag)) => Some(*flag),
            Self::Text(text) => text.parse().ok(),
            Self::File(_) => None,
        }
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(toml::Value::Table(_)) => f.write_str("{...}"),
            Self::File(value) => write!(f, "{value}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// All that was given, by `section.key`, less what was taken.
pub struct Reader {
    given: BTreeMap<String, Given>,
    /// Relative paths start here: where the file lies, not where the process happens to run.
    base: PathBuf,
    known: Vec<String>,
    errors: Vec<ConfigError>,
}

impl Reader {
    pub fn new(table: toml::Table, base: &Path) -> Self {
        let mut reader = Self { given: BTreeMap::new(), base: base.to_owned(), known: Vec::new(), errors: Vec::new() };
        for (section, value) in table {
            match value {
                toml::Value::Table(keys) => {
                    let keys = keys.into_iter().map(|(key, value)| (format!("{section}.{key}"), Given::File(value)));
                    reader.given.extend(keys);
                }
                _ => reader.note(&section, None, "stands outside of a section", Some("section.key")),
            }
        }
        reader
    }

    /// Replaces or adds a value, as the environment and the command line do.
    pub fn set(&mut self, key: &str, text: &str) {
        self.given.insert(key.to_owned(), Given::Text(text.to_owned()));
    }

    /// Takes every `PINION__SECTION__KEY` over the file's values.
    pub fn set_from_environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(ENV_PREFIX) else { continue };
            match rest.split_once("__") {
                Some((section, key)) => self.set(&format!("{section}.{key}").to_ascii_lowercase(), &text),
                None => self.note(&name, None, "this variable names no key", Some("PINION__SECTION__KEY")),
            }
        }
    }

    pub fn note(&mut self, key: &str, value: Option<String>, why: &str, allowed: Option<&str>) {
        let allowed = allowed.map(str::to_owned);
        self.errors.push(ConfigError { key: key.to_owned(), value, why: why.to_owned(), allowed });
    }

    /// What was noted so far; everything left over is unknown.
    pub fn finish(mut self) -> Vec<ConfigError> {
        let unknown: Vec<String> = std::mem::take(&mut self.given).into_keys().collect();
        for key in unknown {
            // The value is not shown: it may be a secret that belongs into a file.
            let file_key = format!("{key}_file");
            if self.known.contains(&file_key) {
                self.note(&key, None, &format!("secrets are read from files only: use {file_key}"), None);
                continue;
            }
            let section = key.split('.').next().unwrap_or_default();
            let kin: Vec<&str> = self.known.iter().filter_map(|k| k.strip_prefix(&format!("{section}."))).collect();
            match kin.is_empty() {
                true => {
                    let why = format!("there is no section [{section}]");
                    self.note(&key, None, &why, None);
                }
                false => {
                    let allowed = kin.join(", ");
                    self.note(&key, None, "no such key", Some(&allowed));
                }
            }
        }
        self.errors
    }

    fn take(&mut self, key: &str) -> Option<Given> {
        self.known.push(key.to_owned());
        self.given.remove(key)
    }

    /// The value of `key` as `parse` reads it, `default` when it is not given, `default` and a note when it is wrong.
    fn value<T>(&mut self, key: &str, default: T, allowed: &str, parse: impl FnOnce(&Given) -> Result<T, &str>) -> T {
        let Some(given) = self.take(key) else { return default };
        match parse(&given) {
            Ok(value) => value,
            Err(why) => {
                self.note(key, Some(given.to_string()), why, Some(allowed));
                default
            }
        }
    }

    pub fn integer(&mut self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let allowed = format!("{} to {}", range.start(), range.end());
        self.value(key, default, &allowed, |given| {
            let number = given.integer().ok_or("not a whole number")?;
            u64::try_from(number).ok().filter(|n| range.contains(n)).ok_or("out of range")
        })
    }

    pub fn bytes(&mut self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let allowed = format!("{} to {}", show_bytes(*range.start()), show_bytes(*range.end()));
        self.value(key, default, &allowed, |given| {
            let bytes = match given.integer() {
                Some(number) => u64::try_from(number).ok(),
                None => Some(given.text().and_then(parse_bytes).ok_or("not a size such as 4096 or \"64MiB\"")?),
            };
            bytes.filter(|n| range.contains(n)).ok_or("out of range")
        })
    }

    pub fn duration(&mut self, key: &str, default: Duration, range: RangeInclusive<Duration>) -> Duration {
        let allowed = format!("{} to {}", show_duration(*range.start()), show_duration(*range.end()));
        self.value(key, default, &allowed, |given| {
            let duration =
                given.text().and_then(parse_duration).ok_or("not a duration with its unit, such as \"15s\"")?;
            Some(duration).filter(|d| range.contains(d)).ok_or("out of range")
        })
    }

    /// A duration whose key ends in `_us`: a whole number of microseconds, or text with its unit.
    pub fn duration_us(&mut self, key: &str, default: Duration, range: RangeInclusive<Duration>) -> Duration {
        let allowed = format!("{} to {} microseconds", range.start().as_micros(), range.end().as_micros());
        self.value(key, default, &allowed, |given| {
            let duration = match given.integer() {
                Some(number) => u64::try_from(number).ok().map(Duration::from_micros),
                None => given.text().and_then(parse_duration),
            };
            duration
                .ok_or("not a number of microseconds")
                .and_then(|d| range.contains(&d).then_some(d).ok_or("out of range"))
        })
    }

    pub fn flag(&mut self, key: &str, default: bool) -> bool {
        self.value(key, default, "true, false", |given| given.flag().ok_or("neither true nor false"))
    }

    /// One of a few words, each with its meaning.
    pub fn word<T: Copy>(&mut self, key: &str, default: T, words: &[(&str, T)]) -> T {
        let allowed = words.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        self.value(key, default, &allowed, |given| {
            let found = given.text().and_then(|text| words.iter().find(|(word, _)| *word == text));
            found.map(|(_, meaning)| *meaning).ok_or("no such word")
        })
    }

    /// Letters, digits, `-`, `_` and `.`, so that it can stand in file names, labels and schemas.
    pub fn name(&mut self, key: &str, default: &str, len_max: usize) -> String {
        let allowed = format!("1 to {len_max} letters, digits, '-', '_', '.'");
        self.value(key, default.to_owned(), &allowed, |given| {
            let text = given.text().ok_or("not text")?;
            let ok = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            let fits = !text.is_empty() && text.len() <= len_max && text.bytes().all(ok);
            fits.then(|| text.to_owned()).ok_or("not such a name")
        })
    }

    pub fn address(&mut self, key: &str, default: SocketAddr) -> SocketAddr {
        self.value(
            key,
            default,
            "ADDRESS:PORT, such as 127.0.0.1:9001 or [::1]:9001; port 0 takes a free one",
            |given| given.text().and_then(|text| text.parse().ok()).ok_or("not an address with a port"),
        )
    }

    /// A path; relative ones start where the configuration file lies.
    pub fn path(&mut self, key: &str) -> Option<PathBuf> {
        let base = self.base.clone();
        self.value(key, None, "a path", |given| {
            let text = given.text().filter(|text| !text.is_empty() && !text.contains('\0')).ok_or("not a path")?;
            Ok(Some(base.join(text)))
        })
    }

    /// A path that has to be given. What is returned without one is never used, because the note refuses the whole.
    pub fn path_required(&mut self, key: &str) -> PathBuf {
        let absent = !self.given.contains_key(key);
        if absent {
            self.note(key, None, "is required", Some("a path"));
        }
        self.path(key).unwrap_or_default()
    }
}
