//! Checks of the paths in a configuration on this machine: directories are writable, secrets readable.

use super::Config;
use super::reader::Reader;
use crate::config::secrets::Secret;
use std::fs::OpenOptions;
use std::path::Path;

pub(super) fn check(config: &Config, r: &mut Reader) {
    if !config.node.data_dir.as_os_str().is_empty() {
        check_directory("node.data_dir", &config.node.data_dir, r);
    }
    if let Some(dir) = &config.log.dir {
        check_directory("log.dir", dir, r);
    }
    let secrets = [
        ("listen.ops_token_file", &config.listen.ops_token_file),
        ("listen.metrics_token_file", &config.listen.metrics_token_file),
    ];
    for (key, path) in secrets {
        let Some(path) = path else { continue };
        if let Err(error) = Secret::read(path) {
            r.note(key, Some(quoted(path)), &error.to_string(), Some("a file with a secret, for its owner only"));
        }
    }
}

pub(super) fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

/// Checks a directory that the node writes in; where it does not exist yet, the nearest existing one above it.
fn check_directory(key: &str, path: &Path, r: &mut Reader) {
    let Some(existing) = path.ancestors().find(|p| p.symlink_metadata().is_ok()) else { return };
    let allowed = Some("a directory in which this user may write");
    if !existing.is_dir() {
        let why = format!("{} is not a directory", existing.display());
        return r.note(key, Some(quoted(path)), &why, allowed);
    }
    if let Err(error) = probe(existing) {
        let why = format!("{} cannot be written: {error}", existing.display());
        r.note(key, Some(quoted(path)), &why, allowed);
    }
}

/// Creates a file and removes it, the one test that finds missing permissions, read-only mounts and full disks alike.
fn probe(dir: &Path) -> std::io::Result<()> {
    let path = dir.join(format!(".write-probe-{}", std::process::id()));
    OpenOptions::new().write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)
}
