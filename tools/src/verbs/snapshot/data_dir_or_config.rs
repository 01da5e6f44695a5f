//! The options that name a data directory, by its path or by the node's configuration.

use crate::offline::as_of::report_missing_folder;
use anyhow::{Context, Result};
use clap::Args;
use node::config::Config;
use std::path::PathBuf;
use wal::directory::Directory;

#[derive(Args, Clone, Debug)]
pub(super) struct DataDirOrConfig {
    /// The data directory
    #[arg(long, value_name = "D", required_unless_present = "config")]
    pub data_dir: Option<PathBuf>,
    /// The node's configuration, which names the data directory
    #[arg(long, value_name = "FILE", env = "PINION_CONFIG")]
    pub config: Option<PathBuf>,
}

impl DataDirOrConfig {
    pub(super) fn config(&self) -> Result<Option<Config>> {
        Ok(self.config.as_deref().map(Config::load_values).transpose()?)
    }

    pub(super) fn path(&self) -> Result<PathBuf> {
        if let Some(path) = &self.data_dir {
            return Ok(path.clone());
        }
        Ok(self.config()?.context("no data directory was named: give --data-dir or --config")?.node.data_dir)
    }

    pub(super) fn read_only(&self) -> Result<Directory> {
        let directory = Directory::open_read_only(&self.path()?)?;
        report_missing_folder(&directory);
        Ok(directory)
    }
}
