//! Reads the keys of a configuration one by one, each with its bounds. A mistake is noted and reading goes on, so that
//! an operator sees every mistake at once.
//!
//! Serde would stop at the first mistake, hence this reader over the parsed TOML. A key that no section has read in the
//! end is unknown.

use super::human::{parse_bytes, parse_duration, show_bytes, show_duration};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::{DeTable, DeValue};

/// Environment variables of this form override the file: `PINION__SECTION__KEY`.
pub const ENV_PREFIX: &str = "PINION__";

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the file, on this line, counted from 1.
    Line(usize),
    /// In the environment variable of this name.
    Variable(String),
    /// By the program that loads the configuration, such as `--env prod` of a tool.
    Caller,
    /// Nowhere: the key is missing, or has its default.
    Absent,
}

/// One mistake: the key, where its value was given, the value found, why it is refused, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// `section.key`, or empty where the file as such is wrong.
    pub key: String,
    pub origin: Origin,
    pub value: Option<String>,
    pub why: String,
    pub allowed: Option<String>,
}

impl ConfigError {
    /// Key, value found, reason and what is allowed, without the origin.
    pub fn description(&self) -> String {
        let named = match (self.key.as_str(), &self.value) {
            ("", _) => String::new(),
            (key, Some(value)) => format!("{key} = {value}: "),
            (key, None) => format!("{key}: "),
        };
        let allowed = self.allowed.as_ref().map_or(String::new(), |allowed| format!("; allowed: {allowed}"));
        format!("{named}{}{allowed}", self.why)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (true, Origin::Line(line)) = (self.key.is_empty(), &self.origin) {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}", self.description())
    }
}

/// A value as it stands in the file, or as text from elsewhere.
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

    /// A whole number; text from the environment counts where it is one.
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

/// All values that were given, by `section.key`, less those that were read.
pub struct Reader {
    given: BTreeMap<String, Given>,
    /// Where each value was given, those that were read included.
    origins: BTreeMap<String, Origin>,
    /// Relative paths start here: in the directory of the file, not in the working directory of the process.
    base: PathBuf,
    /// Every key that was read, given or not.
    known: Vec<String>,
    errors: Vec<ConfigError>,
}

impl Reader {
    /// Parses the text of a file in directory `base`.
    pub fn new(text: &str, base: &Path) -> Result<Self, ConfigError> {
        let origins = origins(text)?;
        let table = text.parse::<toml::Table>().map_err(|error| not_toml(text, &error))?;
        let mut reader =
            Self { given: BTreeMap::new(), origins, base: base.to_owned(), known: Vec::new(), errors: Vec::new() };
        for (section, value) in table {
            match value {
                toml::Value::Table(keys) => {
                    let keys = keys.into_iter().map(|(key, value)| (format!("{section}.{key}"), Given::File(value)));
                    reader.given.extend(keys);
                }
                _ => reader.note(&section, None, "is not in a section", Some("section.key")),
            }
        }
        Ok(reader)
    }

    /// Sets a value over any that was given before.
    pub fn set(&mut self, key: &str, text: &str, origin: Origin) {
        self.given.insert(key.to_owned(), Given::Text(text.to_owned()));
        self.origins.insert(key.to_owned(), origin);
    }

    /// Sets the value of every variable `PINION__SECTION__KEY` over the file's.
    pub fn set_from_environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(ENV_PREFIX) else { continue };
            let origin = Origin::Variable(name.clone());
            match rest.split_once("__") {
                Some((section, key)) => self.set(&format!("{section}.{key}").to_ascii_lowercase(), &text, origin),
                None => {
                    self.origins.insert(name.clone(), origin);
                    self.note(&name, None, "names no key", Some("PINION__SECTION__KEY"));
                }
            }
        }
    }

    /// Notes a mistake; its origin is that of the key's value.
    pub fn note(&mut self, key: &str, value: Option<String>, why: &str, allowed: Option<&str>) {
        let origin = self.origins.get(key).cloned().unwrap_or(Origin::Absent);
        let (why, allowed) = (why.to_owned(), allowed.map(str::to_owned));
        self.errors.push(ConfigError { key: key.to_owned(), origin, value, why, allowed });
    }

    /// All mistakes; every value that was not read has an unknown key.
    pub fn finish(mut self) -> Vec<ConfigError> {
        let unknown: Vec<String> = std::mem::take(&mut self.given).into_keys().collect();
        unknown.iter().for_each(|key| self.note_unknown(key));
        self.errors
    }

    /// The value is not shown, because it may be a secret that was written here instead of into a file.
    fn note_unknown(&mut self, key: &str) {
        let file_key = format!("{key}_file");
        if self.known.contains(&file_key) {
            return self.note(key, None, "secrets are read from files only", Some(&file_key));
        }
        let section = key.split('.').next().unwrap_or_default();
        let keys: Vec<&str> = self.known.iter().filter_map(|k| k.strip_prefix(&format!("{section}."))).collect();
        if !keys.is_empty() {
            let allowed = keys.join(", ");
            return self.note(key, None, "no such key", Some(&allowed));
        }
        let mut sections: Vec<&str> = self.known.iter().filter_map(|known| known.split('.').next()).collect();
        sections.dedup();
        let allowed = sections.join(", ");
        self.note(key, None, &format!("there is no section [{section}]"), Some(&allowed));
    }

    fn take(&mut self, key: &str) -> Option<Given> {
        self.known.push(key.to_owned());
        self.given.remove(key)
    }

    /// The value of `key` as `parse` reads it; `default` when it is not given; `default` and a note when it is wrong.
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

    /// One of several words, each with its meaning.
    pub fn word<T: Copy>(&mut self, key: &str, default: T, words: &[(&str, T)]) -> T {
        let allowed = words.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        self.value(key, default, &allowed, |given| {
            let found = given.text().and_then(|text| words.iter().find(|(word, _)| *word == text));
            found.map(|(_, meaning)| *meaning).ok_or("unknown value")
        })
    }

    /// A name of letters, digits, `-`, `_` and `.`, which every file system and every metrics label accepts.
    pub fn name(&mut self, key: &str, default: &str, len_max: usize) -> String {
        let allowed = format!("1 to {len_max} letters, digits, '-', '_', '.'");
        self.value(key, default.to_owned(), &allowed, |given| {
            let text = given.text().ok_or("not text")?;
            let ok = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            let fits = !text.is_empty() && text.len() <= len_max && text.bytes().all(ok);
            fits.then(|| text.to_owned()).ok_or("not a valid name")
        })
    }

    pub fn address(&mut self, key: &str, default: SocketAddr) -> SocketAddr {
        self.value(
            key,
            default,
            "ADDRESS:PORT, such as 127.0.0.1:9001 or [::1]:9001; port 0 chooses a free one",
            |given| given.text().and_then(|text| text.parse().ok()).ok_or("not an address with a port"),
        )
    }

    /// A path; a relative one starts in the directory of the configuration file.
    pub fn path(&mut self, key: &str) -> Option<PathBuf> {
        let base = self.base.clone();
        self.value(key, None, "a path", |given| {
            let text = given.text().filter(|text| !text.is_empty() && !text.contains('\0')).ok_or("not a path")?;
            Ok(Some(base.join(text)))
        })
    }

    /// A path that is required. The empty path that is returned without one is never used, because the note refuses the
    /// configuration.
    pub fn path_required(&mut self, key: &str) -> PathBuf {
        let absent = !self.given.contains_key(key);
        if absent {
            self.note(key, None, "is required", Some("a path"));
        }
        self.path(key).unwrap_or_default()
    }
}

/// The line of every key in the file.
fn origins(text: &str) -> Result<BTreeMap<String, Origin>, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| not_toml(text, &error))?;
    let line_ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
    let origin = |at: usize| Origin::Line(line_ends.partition_point(|end| *end < at) + 1);
    let mut origins = BTreeMap::new();
    for (section, value) in table.get_ref() {
        let name = section.get_ref();
        origins.insert(name.to_string(), origin(section.span().start));
        let DeValue::Table(keys) = value.get_ref() else { continue };
        let keys = keys.keys().map(|key| (format!("{name}.{}", key.get_ref()), origin(key.span().start)));
        origins.extend(keys);
    }
    Ok(origins)
}

fn not_toml(text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let origin = Origin::Line(text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1);
    let why = format!("not TOML: {}", error.message().replace('\n', " "));
    ConfigError { key: String::new(), origin, value: None, why, allowed: None }
}
