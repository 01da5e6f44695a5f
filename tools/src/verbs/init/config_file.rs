//! A configuration that came with a backup, changed for the directory and the machine that it is now for.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The text with another data directory and token file, both quoted. Everything else stays as the operator wrote it.
pub(super) fn moved(text: &str, data_dir: &str, token_file: &str) -> String {
    let text = set(text, "node", "data_dir", data_dir);
    set(&text, "listen", "ops_token_file", token_file)
}

/// Sets a key of a section; one that is not there begins the section.
fn set(text: &str, section: &str, key: &str, value: &str) -> String {
    let is_key = |line: &str| line.split_once('=').is_some_and(|(name, _)| name.trim() == key);
    let header = format!("[{section}]");
    let (mut lines, mut current, mut is_set): (Vec<String>, &str, bool) = (Vec::new(), "", false);
    for line in text.lines() {
        let start = line.trim_start();
        if start.starts_with('[') {
            current = start.split('#').next().unwrap_or_default().trim();
        }
        let is_here = current == header && is_key(line);
        lines.push(if is_here { format!("{key} = {value}") } else { line.to_owned() });
        is_set |= is_here;
    }
    if !is_set {
        match lines.iter().position(|line| line.trim_start().split('#').next().is_some_and(|l| l.trim() == header)) {
            Some(at) => lines.insert(at + 1, format!("{key} = {value}")),
            None => lines.extend([header, format!("{key} = {value}")]),
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The keys that name a file which does not exist: secrets and certificates are in no backup. `folder` is that of the
/// configuration.
pub(super) fn missing_files(text: &str, folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let table: Table = text.parse().context("it is not TOML")?;
    let mut missing = Vec::new();
    collect(&table, "", folder, &mut missing);
    Ok(missing)
}

fn collect(table: &Table, prefix: &str, folder: &Path, missing: &mut Vec<(String, PathBuf)>) {
    for (key, value) in table {
        match value {
            Value::Table(inner) => collect(inner, &format!("{prefix}{key}."), folder, missing),
            Value::String(path) if is_file(key) && !path.is_empty() => {
                let path = folder.join(path);
                if !path.exists() {
                    missing.push((format!("{prefix}{key}"), path));
                }
            }
            _ => {}
        }
    }
}

/// Whether a key names a file.
fn is_file(key: &str) -> bool {
    key.ends_with("_file") || key.ends_with("tls_cert") || key.ends_with("tls_key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_moved_and_keeps_the_rest() {
        let text = "# ours\n[node] # first\nname = \"x\"\ndata_dir=\"/old\"\n[listen]\nops = \"127.0.0.1:1\"\n";
        let moved = moved(text, "\"/new\"", "\"/new/secrets/ops_token\"");
        assert_eq!(
            moved,
            "# ours\n[node] # first\nname = \"x\"\ndata_dir = \"/new\"\n[listen]\nops_token_file = \
             \"/new/secrets/ops_token\"\nops = \"127.0.0.1:1\"\n"
        );
        assert_eq!(super::moved("", "1", "2"), "[node]\ndata_dir = 1\n[listen]\nops_token_file = 2\n");
    }

    #[test]
    fn files_that_are_missing_are_named_by_their_keys() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("there"), "").expect("ours");
        let text = "[export]\nurl_file = \"absent\"\n[listen]\nops_token_file = \"there\"\nname = \"no file\"\n";
        let missing = missing_files(text, dir.path()).expect("TOML");
        assert_eq!(missing, [("export.url_file".to_owned(), dir.path().join("absent"))]);
        assert!(missing_files("= 1", dir.path()).is_err());
    }
}
