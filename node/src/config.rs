//! What an operator decides before the node starts: one TOML file, environment variables over it, checked as a whole.
//!
//! Invariants: a `Config` is valid, every value within its bounds; `load` reports all mistakes at once; the node and
//! `pinion check-config` share it. What changes trading is never here: that is a command in the log.

mod exposure;
mod human;
mod places;
mod production;
mod reader;
pub mod secrets;
mod sections;

pub use exposure::Exposure;
pub use human::{parse_bytes, parse_duration, show_bytes, show_duration};
pub use reader::{ConfigError, ENV_PREFIX};

use book::command::CodMode;
use reader::Reader;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wal::head::HeadConfig;
use wal::segment::Geometry;
use wal::units::Timeline;

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub node: NodeConfig,
    pub journal: JournalConfig,
    pub store: StoreConfig,
    pub snapshot: SnapshotConfig,
    pub shadow: ShadowConfig,
    pub listen: ListenConfig,
    pub session: SessionConfig,
    pub limits: LimitsConfig,
    pub export: ExportConfig,
    pub log: LogConfig,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Env {
    Dev,
    Prod,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Reactor, gateway and engine on one pinned core.
    Single,
    /// Gateway and engine on a core each.
    Pipeline,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    Spin,
    Backoff,
}

/// Which pages the kernel is asked to put under the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HugePages {
    /// Whatever it puts there by itself.
    Off,
    /// Transparent huge pages, where the machine allows them.
    Advise,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    pub env: Env,
    pub data_dir: PathBuf,
    pub name: String,
    pub threads: Threads,
    /// The first pinned core; a pipeline takes the next as well.
    pub core: usize,
    pub idle: Idle,
    /// Orders and markets that memory is set aside for at start; more are possible and cost an allocation.
    pub orders_capacity: usize,
    pub markets_capacity: usize,
    pub huge_pages: HugePages,
    /// Touch all memory that is set aside for orders at start, so that trading never meets a page fault there.
    pub prefault: bool,
}

impl NodeConfig {
    pub fn pinned_cores(&self) -> Vec<usize> {
        match self.threads {
            Threads::Single => vec![self.core],
            Threads::Pipeline => vec![self.core, self.core + 1],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalSyncMode {
    /// Nothing is acknowledged before it is synced.
    Always,
    /// Acknowledged when applied, synced every `interval`: a power cut may lose that much.
    Interval,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    pub sync: JournalSyncMode,
    pub interval: Duration,
    /// Lets `env = "prod"` start with `sync = "interval"`.
    pub accept_loss: bool,
    pub segment_bytes: u64,
    pub segments: u32,
    pub frame_bytes_max: usize,
    pub frames_in_flight: usize,
}

impl JournalConfig {
    /// Of a new data directory; an existing one keeps what its IDENTITY says.
    pub fn geometry(&self) -> Geometry {
        Geometry { segment_count: self.segments, segment_bytes: self.segment_bytes }
    }

    pub fn head(&self, timeline: Timeline, geometry: Geometry) -> HeadConfig {
        HeadConfig {
            timeline,
            geometry,
            frame_bytes_max: self.frame_bytes_max,
            frames_in_flight_max: self.frames_in_flight,
        }
    }
}

/// How much of the log stays in the store; zero is all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    pub retain_bytes: u64,
    pub retain_for: Duration,
    pub ballast_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotConfig {
    pub every_commands: u64,
    pub every: Duration,
    pub keep: u32,
    /// Take one at a clean stop too, so that the next start is short.
    pub on_stop: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowConfig {
    /// Commands behind which the live engine ends a frame with a hash of its state.
    pub check_every_commands: u64,
    /// What is kept is read again at this pace; zero: never.
    pub patrol_bytes_per_second: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Port 0 takes a free one.
    pub address: SocketAddr,
    pub tls: Option<TlsFiles>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenConfig {
    pub orders: Listener,
    pub market: Listener,
    pub http: Listener,
    pub ops: Listener,
    /// Bearer token of the admin API, which is closed without one.
    pub ops_token_file: Option<PathBuf>,
    /// Bearer token of `/metrics`, which is open without one.
    pub metrics_token_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Silence of the node after which it sends a heartbeat.
    pub heartbeat: Duration,
    /// Silence of the client after which its connection is lost.
    pub idle_timeout: Duration,
    pub login_timeout: Duration,
    /// What a new session starts with.
    pub cancel_on_disconnect: CodMode,
    pub cancel_window: Duration,
    /// After a start of the node, how long a session may take to come back before it counts as disconnected.
    pub restart_window: Duration,
    /// Sequenced messages kept in memory per session, for one that reconnects.
    pub resend_max: usize,
    /// Messages that wait for a slow reader; beyond, it is disconnected.
    pub queue_max: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    pub connections_max: usize,
    pub connections_per_address_max: usize,
    pub ops_connections_max: usize,
    /// Failed logins of one address within `login_failure_window`; beyond, it is turned away at once.
    pub login_failures_max: u32,
    pub login_failure_window: Duration,
    pub requests_per_second_address: u32,
    pub requests_per_second_key: u32,
    pub requests_per_second_account: u32,
    pub frame_bytes_max: usize,
    pub body_bytes_max: usize,
    pub header_bytes_max: usize,
    pub header_timeout: Duration,
    pub json_depth_max: u32,
    pub ws_subscriptions: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportConfig {
    /// Where the Postgres URL is read from; no export without it.
    pub url_file: Option<PathBuf>,
    pub batch_rows: u32,
    pub max_delay: Duration,
    pub schema: String,
    pub retain_max_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    pub level: tracing::Level,
    pub format: LogFormat,
    /// Standard error where there is none.
    pub dir: Option<PathBuf>,
    pub file_bytes_max: u64,
    pub files_max: u32,
}

/// Everything that is wrong with a configuration, in the order of its sections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    pub path: PathBuf,
    pub errors: Vec<ConfigError>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, error) in self.errors.iter().enumerate() {
            let end = if idx + 1 < self.errors.len() { "\n" } else { "" };
            write!(f, "{}: {error}{end}", self.path.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// How the binary that reads the configuration was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    Debug,
    Release,
}

/// How far a configuration is looked at.
#[derive(Clone, Copy)]
enum Checks {
    Values,
    All(Build),
}

impl Build {
    pub fn of_this_binary() -> Self {
        if cfg!(debug_assertions) { Self::Debug } else { Self::Release }
    }
}

impl Config {
    /// Reads and checks the file, with this process's environment over it.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::load_with(path, &[])
    }

    /// The same with values over both, each under its `section.key`.
    pub fn load_with(path: &Path, overrides: &[(&str, &str)]) -> Result<Self, ConfigErrors> {
        Self::load_checked(path, overrides, Checks::All(Build::of_this_binary()))
    }

    /// For tools that only want to know where a node is: neither its directories nor its secrets are looked at, and
    /// production's demands are the node's own business.
    pub fn load_values(path: &Path) -> Result<Self, ConfigErrors> {
        Self::load_checked(path, &[], Checks::Values)
    }

    /// Every default, for tools that know only where the data shall lie.
    pub fn of_defaults(data_dir: &Path) -> Self {
        let required = [("node.data_dir", "/")];
        let config = Self::checked("", Path::new("/"), [], &required, Checks::Values);
        let mut config = config.expect("every default lies within its own bounds");
        config.node.data_dir = data_dir.to_owned();
        config
    }

    fn load_checked(path: &Path, overrides: &[(&str, &str)], checks: Checks) -> Result<Self, ConfigErrors> {
        let failed = |why: String| {
            let error = ConfigError { key: String::new(), value: None, why, allowed: None };
            ConfigErrors { path: path.to_owned(), errors: vec![error] }
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
        // The file's own directory, so that relative paths mean the same wherever the process was started.
        let base = std::path::absolute(path).map_err(|error| failed(error.to_string()))?;
        let base = base.parent().unwrap_or(Path::new("/"));
        let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self::checked(&text, base, variables, overrides, checks)
            .map_err(|errors| ConfigErrors { path: path.to_owned(), errors })
    }

    /// `text` as the file in directory `base` would give it: nothing is taken from the process.
    pub fn from_parts(
        text: &str,
        base: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
        overrides: &[(&str, &str)],
        build: Build,
    ) -> Result<Self, Vec<ConfigError>> {
        Self::checked(text, base, variables, overrides, Checks::All(build))
    }

    /// The same without a look at the machine: neither directories nor secrets, and any build will do.
    pub fn of_text(
        text: &str,
        base: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<ConfigError>> {
        Self::checked(text, base, variables, &[], Checks::Values)
    }

    fn checked(
        text: &str,
        base: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
        overrides: &[(&str, &str)],
        checks: Checks,
    ) -> Result<Self, Vec<ConfigError>> {
        let table = text.parse::<toml::Table>().map_err(|error| vec![not_toml(text, &error)])?;
        let mut reader = Reader::new(table, base);
        reader.set_from_environment(variables);
        for (key, value) in overrides {
            reader.set(key, value);
        }
        let config = sections::read(&mut reader);
        if let Checks::All(build) = checks {
            places::check(&config, &mut reader);
            production::check(&config, build, &mut reader);
        }
        let errors = reader.finish();
        if errors.is_empty() { Ok(config) } else { Err(errors) }
    }
}

fn not_toml(text: &str, error: &toml::de::Error) -> ConfigError {
    let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let why = format!("line {line}: not TOML: {}", error.message().replace('\n', " "));
    ConfigError { key: String::new(), value: None, why, allowed: None }
}

impl ListenConfig {
    /// Every listener with its name in the configuration.
    pub fn all(&self) -> [(&'static str, &Listener); 4] {
        [("orders", &self.orders), ("market", &self.market), ("http", &self.http), ("ops", &self.ops)]
    }
}
