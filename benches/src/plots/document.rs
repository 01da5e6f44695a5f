//! A bench's JSON document, read with errors that name the file, the key, the value found and the kind expected.

use crate::report::Spread;
use anyhow::{Context, Result, anyhow};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A document that was read from a file.
#[derive(Clone, Debug)]
pub struct Document {
    path: PathBuf,
    value: Value,
}

/// A value in a document, with its file and key for error messages.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    path: &'a Path,
    /// A path such as `streams[0].title`; empty for the root.
    key: String,
    value: &'a Value,
}

impl Document {
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
        Self::parse(path, &text)
    }

    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let value = serde_json::from_str(text).with_context(|| format!("{}: is not JSON", path.display()))?;
        Ok(Self { path: path.to_owned(), value })
    }

    pub(super) fn root(&self) -> Part<'_> {
        Part { path: &self.path, key: String::new(), value: &self.value }
    }
}

impl<'a> Part<'a> {
    /// The value of `key`; an error where it is missing or null.
    pub fn at(&self, key: &str) -> Result<Part<'a>> {
        let full = self.join(key);
        self.find(key).ok_or_else(|| anyhow!("{}: {full}: is missing", self.path.display()))
    }

    /// The value of `key`; `None` where it is missing or null.
    pub fn find(&self, key: &str) -> Option<Part<'a>> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(Part { path: self.path, key: self.join(key), value })
    }

    pub fn items(&self) -> Result<Vec<Part<'a>>> {
        let items = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        let item = |(idx, value)| Part { path: self.path, key: format!("{}[{idx}]", self.key), value };
        Ok(items.iter().enumerate().map(item).collect())
    }

    pub fn text(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.wrong("text"))
    }

    pub fn number(&self) -> Result<f64> {
        self.value.as_f64().ok_or_else(|| self.wrong("a number"))
    }

    pub fn flag(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    pub fn numbers(&self) -> Result<Vec<f64>> {
        self.items()?.iter().map(Part::number).collect()
    }

    /// A median with its extremes, each divided by `unit`.
    pub fn spread(&self, unit: f64) -> Result<Spread> {
        let value = |key: &str| Ok::<_, anyhow::Error>(self.at(key)?.number()? / unit);
        Ok(Spread { median: value("median")?, min: value("min")?, max: value("max")? })
    }

    /// The error that this value is not `wanted`.
    pub fn wrong(&self, wanted: &str) -> anyhow::Error {
        let mut found = self.value.to_string();
        if found.chars().count() > 40 {
            found = found.chars().take(40).chain("...".chars()).collect();
        }
        anyhow!("{}: {}: {found} is not {wanted}", self.path.display(), self.key)
    }

    fn join(&self, key: &str) -> String {
        if self.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.key) }
    }
}
