//! `pinion ballast`: the file in a data directory that is there to be deleted when the disk is full.

use crate::terminal::output::print;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use node::ops::disk_watch::DiskUse;
use node::status::exit;
use serde_json::json;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use wal::directory::{Directory, ballast_path};

/// Show the ballast of a data directory, or delete it to make room on a full disk.
///
/// A node may run on the directory or not. The next start with ample room makes the ballast again.
#[derive(Args, Debug)]
pub struct Ballast {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Show the size of the ballast, and how full the disk is
    Status(Place),
    /// Delete the ballast
    Release {
        #[command(flatten)]
        place: Place,
        /// Print what would be deleted, and delete nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Args, Debug)]
struct Place {
    /// The data directory
    #[arg(long, value_name = "D", env = "PINION_DATA_DIR")]
    data_dir: PathBuf,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

impl Ballast {
    pub fn run(&self) -> Result<u8> {
        let (place, is_deleted) = match &self.what {
            What::Status(place) => (place, false),
            What::Release { place, dry_run } => (place, !dry_run),
        };
        // Refuses a place that is no data directory.
        Directory::open_read_only(&place.data_dir)?;
        let path = ballast_path(&place.data_dir);
        let bytes = std::fs::metadata(&path).map_or(0, |found| found.len());
        if is_deleted {
            delete(&path, &place.data_dir)?;
        }
        place.report(&path, bytes, is_deleted)?;
        Ok(exit::OK)
    }
}

/// Deletes the file, durably. One that is not there is no failure: the room is made.
fn delete(path: &Path, data_dir: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => File::open(data_dir).and_then(|dir| dir.sync_all()),
    }
    .with_context(|| format!("deleting {}", path.display()))
}

impl Place {
    fn report(&self, path: &Path, bytes: u64, is_deleted: bool) -> Result<()> {
        let disk = DiskUse::of(&self.data_dir);
        if self.json {
            let line = json!({
                "path": path, "bytes": bytes, "deleted": is_deleted,
                "disk_free_bytes": disk.map(|disk| disk.free_bytes),
                "disk_used_percent": disk.map(|disk| disk.used_percent),
            });
            return print(format_args!("{line}\n"));
        }
        let what = if is_deleted { "deleted" } else { "ballast" };
        let disk = disk.map_or(String::new(), |disk| {
            format!("disk     {} % used, {} bytes free\n", disk.used_percent, disk.free_bytes)
        });
        print(format_args!("{what}  {}, {bytes} bytes\n{disk}", path.display()))
    }
}
