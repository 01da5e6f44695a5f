//! `pinion init`: makes a data directory, an admin token and a commented configuration.
//!
//! ```text
//! D/            0700, with its IDENTITY
//! D/secrets/    0700: ops_token 0600
//! D/pinion.toml or --config FILE
//! ```
//! With `--config-only` the directory exists, as one that was restored, and gets the last two.
//!
//! Invariant: no existing file is overwritten.

mod config_file;

use crate::archive::fetch::CONFIG_FROM_BACKUP;
use crate::offline::durable_directory::{self, SHARED};
use crate::terminal::failure::Failure;
use anyhow::{Context, Result};
use clap::Args;
use node::config::Config;
use node::config::build::Build;
use node::config::human::{parse_bytes, show_bytes};
use node::config::load::ConfigErrors;
use node::config::reader::{ConfigError, Origin};
use node::config::secrets::Secret;
use node::status::exit;
use serde_json::json;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use wal::directory::Directory;
use wal::identity::{FORMAT_NEWEST, Identity};
use wal::segment::Geometry;
use wal::units::{Lsn, NodeId, Timeline};

/// The configuration with every key at its default, commented out.
const TEMPLATE: &str = include_str!("../../../config/pinion.toml");

/// Make a data directory with its identity, an admin token and a commented configuration.
#[derive(Args, Debug)]
pub struct Init {
    /// The data directory: absent or empty
    #[arg(long, value_name = "D")]
    pub data_dir: PathBuf,
    #[arg(long, default_value = "dev", value_parser = ["dev", "prod"])]
    pub env: String,
    /// Where to write the configuration [default: D/pinion.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The node's name, shown by /health
    #[arg(long, default_value = "pinion")]
    pub name: String,
    /// Length of a journal segment
    #[arg(long, default_value = "64MiB", value_parser = size)]
    pub segment_bytes: u64,
    /// Number of journal segments
    #[arg(long, default_value_t = 4)]
    pub segments: u32,
    /// Size of the ballast, a file to delete when the disk is full
    #[arg(long, default_value = "64MiB", value_parser = size)]
    pub ballast_bytes: u64,
    /// For a data directory that exists, as after a restore: make its configuration, from the one that came with the
    /// backup where there is one, and an admin token where there is none
    #[arg(long)]
    pub config_only: bool,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Print what would be made, and make nothing
    #[arg(long)]
    pub dry_run: bool,
}

fn size(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or_else(|| "expected a size such as 4096 or 64MiB".to_owned())
}

/// The files that `init` makes, with absolute paths.
struct Plan {
    data_dir: PathBuf,
    config: PathBuf,
    token: PathBuf,
    text: String,
    /// Files that the configuration names and that are not there, with their keys.
    missing: Vec<(String, PathBuf)>,
}

impl Init {
    pub fn run(&self) -> Result<u8> {
        let plan = if self.config_only { self.plan_config()? } else { self.plan()? };
        if !self.dry_run {
            if self.config_only { plan.make_config()? } else { plan.make(self)? }
        }
        self.report(&plan);
        Ok(exit::OK)
    }

    /// Of a directory that exists.
    fn plan_config(&self) -> Result<Plan> {
        let directory = Directory::open_read_only(&self.data_dir)?;
        let data_dir = std::path::absolute(&self.data_dir)?;
        let config = self.config.as_deref().map_or_else(|| Ok(data_dir.join("pinion.toml")), std::path::absolute)?;
        check_config_free(&config)?;
        let token = data_dir.join("secrets").join("ops_token");
        let shipped = data_dir.join(CONFIG_FROM_BACKUP);
        let text = match std::fs::read_to_string(&shipped) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let geometry = directory.identity().geometry;
                let text = self.config_text(&data_dir, &token, geometry)?;
                self.check(&text, &data_dir)?;
                text
            }
            text => {
                let text = text.with_context(|| format!("reading {}", shipped.display()))?;
                config_file::moved(&text, &quoted(&data_dir)?, &quoted(&token)?)
            }
        };
        let folder = config.parent().unwrap_or(Path::new("/"));
        let missing =
            config_file::missing_files(&text, folder).with_context(|| format!("reading {}", shipped.display()))?;
        let missing = missing.into_iter().filter(|(_, path)| *path != token).collect();
        Ok(Plan { data_dir, config, token, text, missing })
    }

    fn plan(&self) -> Result<Plan> {
        let data_dir = std::path::absolute(&self.data_dir)?;
        let config = match &self.config {
            Some(config) => std::path::absolute(config)?,
            None => data_dir.join("pinion.toml"),
        };
        let token = data_dir.join("secrets").join("ops_token");
        check_free(&data_dir, &config)?;
        let geometry = Geometry { segment_count: self.segments, segment_bytes: self.segment_bytes };
        let text = self.config_text(&data_dir, &token, geometry)?;
        self.check(&text, &data_dir)?;
        Ok(Plan { data_dir, config, token, text, missing: Vec::new() })
    }

    fn config_text(&self, data_dir: &Path, token: &Path, geometry: Geometry) -> Result<String> {
        let mut text = TEMPLATE.to_owned();
        let name = toml::Value::String(self.name.clone()).to_string();
        let segment_bytes = format!("{:?}", show_bytes(geometry.segment_bytes));
        let ballast_bytes = format!("{:?}", show_bytes(self.ballast_bytes));
        for (key, value) in [
            ("env", format!("{:?}", self.env)),
            ("data_dir", quoted(data_dir)?),
            ("name", name),
            ("segment_bytes", segment_bytes),
            ("segments", geometry.segment_count.to_string()),
            ("ballast_bytes", ballast_bytes),
            ("ops_token_file", quoted(token)?),
        ] {
            text = set(&text, key, &value);
        }
        Ok(text)
    }

    /// Runs the node's own checks, except of the token, which does not exist yet, and of this tool's build.
    fn check(&self, text: &str, data_dir: &Path) -> Result<()> {
        let values = set(text, "env", "\"dev\"");
        let values: String =
            values.lines().filter(|line| !line.starts_with("ops_token_file")).map(|l| format!("{l}\n")).collect();
        // The file does not exist yet, so a line of it would mislead.
        let unplaced = |error| ConfigError { origin: Origin::Absent, ..error };
        Config::from_parts(&values, Path::new("/"), [], &[], Build::of_this_binary()).map(|_config| ()).map_err(
            |errors| {
                let errors = errors.into_iter().map(unplaced).collect();
                anyhow::Error::new(ConfigErrors { path: data_dir.to_owned(), errors })
            },
        )
    }

    fn report(&self, plan: &Plan) {
        if self.json {
            println!(
                "{}",
                json!({
                    "dry_run": self.dry_run,
                    "data_dir": plan.data_dir,
                    "config": plan.config,
                    "ops_token_file": plan.token,
                    "files_missing": plan.missing.iter().map(|(key, path)| json!({ "key": key, "file": path }))
                        .collect::<Vec<_>>(),
                })
            );
            return;
        }
        let (data_dir, config, token) = (plan.data_dir.display(), plan.config.display(), plan.token.display());
        if self.dry_run {
            println!("would make data directory {data_dir}, configuration {config}, admin token {token}");
            return;
        }
        println!("data directory  {data_dir}\nconfiguration   {config}\nadmin token     {token}");
        for (key, path) in &plan.missing {
            println!(
                "MISSING         {}, which {key} names: put it there, from where you keep your secrets",
                path.display()
            );
        }
        println!("next            pinion-node --config {config}");
    }
}

fn quoted(path: &Path) -> Result<String> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(toml::Value::String(text.to_owned()).to_string())
}

/// Sets a key of the commented file: its own line, whether commented out or not. None of the keys set here is in more
/// than one section.
fn set(text: &str, key: &str, value: &str) -> String {
    let is_key = |line: &str| line.strip_prefix("# ").unwrap_or(line).split_once(" = ").is_some_and(|(k, _)| k == key);
    let line = |line: &str| if is_key(line) { format!("{key} = {value}\n") } else { format!("{line}\n") };
    assert!(text.lines().filter(|line| is_key(line)).count() == 1, "the commented file has each of these keys once");
    text.lines().map(line).collect()
}

fn check_free(data_dir: &Path, config: &Path) -> Result<()> {
    let is_taken = match std::fs::read_dir(data_dir) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).with_context(|| format!("reading {}", data_dir.display())),
    };
    if is_taken {
        let message = format!(
            "making data directory {0}: {0} is not empty; give another --data-dir, or move this one away",
            data_dir.display()
        );
        return Err(Failure::of(exit::NOT_EMPTY, message));
    }
    check_config_free(config)
}

fn check_config_free(config: &Path) -> Result<()> {
    if config.exists() {
        let message = format!(
            "writing configuration {0}: {0} exists and is not overwritten; give another --config",
            config.display()
        );
        return Err(Failure::of(exit::NOT_EMPTY, message));
    }
    Ok(())
}

impl Plan {
    fn make(&self, init: &Init) -> Result<()> {
        let geometry = Geometry { segment_count: init.segments, segment_bytes: init.segment_bytes };
        let mut node_id = [0; 16];
        getrandom::fill(&mut node_id).context("drawing a node id: the system gives no randomness")?;
        let identity = Identity {
            format: FORMAT_NEWEST,
            node_id: NodeId(node_id),
            timeline: Timeline(1),
            seq_base: Lsn(0),
            geometry,
        };
        let parent = self.data_dir.parent().unwrap_or(Path::new("/"));
        durable_directory::make(parent, SHARED).with_context(|| format!("making {}", parent.display()))?;
        // A directory that existed before, such as a mount point, may be open to other users.
        if self.data_dir.exists() {
            let closed = std::fs::set_permissions(&self.data_dir, Permissions::from_mode(0o700));
            closed.with_context(|| format!("closing {} to other users", self.data_dir.display()))?;
        }
        Directory::create(&self.data_dir, &identity, init.ballast_bytes)?;
        self.make_token()?;
        self.write_config()
    }

    /// For a directory that exists. A token that is there stays.
    fn make_config(&self) -> Result<()> {
        if !self.token.exists() {
            self.make_token()?;
        }
        self.write_config()
    }

    fn make_token(&self) -> Result<()> {
        let dir = self.token.parent().context("the token is in a directory")?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("making {}", dir.display()))?;
        let token = Secret::new_token().context("drawing the admin token: the system gives no randomness")?;
        let written = token.write_new(&self.token).and_then(|()| durable_directory::sync_name(&self.token));
        written
            .and_then(|()| durable_directory::sync_name(dir))
            .with_context(|| format!("writing {}", self.token.display()))
    }

    fn write_config(&self) -> Result<()> {
        let context = || format!("writing {}", self.config.display());
        if let Some(parent) = self.config.parent() {
            durable_directory::make(parent, SHARED).with_context(context)?;
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&self.config);
        let mut file = file.with_context(context)?;
        file.write_all(self.text.as_bytes()).and_then(|()| file.sync_all()).with_context(context)?;
        durable_directory::sync_name(&self.config).with_context(context)
    }
}
