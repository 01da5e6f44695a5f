//! The configuration of a node: what an operator decides before the node starts. One TOML file, with environment
//! variables that override it.
//!
//! Invariants: a `Config` is valid, with every value within its bounds. One check reports all mistakes at once; the
//! node and `pinion check-config` share it. Nothing here changes trading: markets, fees, limits and accounts are
//! commands in the log.
//!
//! Read in this order: the values (here), how they are loaded (`load`), read key by key (`sections`, `reader`, `human`)
//! and checked (`cores`, `paths`, `production`), secrets (`secrets`), and what a configuration opens to whom
//! (`exposure`).

pub mod build;
mod cores;
pub mod exposure;
pub mod human;
pub mod load;
mod paths;
mod production;
pub mod reader;
pub mod secrets;
mod sections;

use book::command::CodMode;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use wal::head::HeadConfig;
use wal::segment::Geometry;
use wal::units::Timeline;

/// A valid configuration.
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

/// The pages that the node asks the kernel to use for its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HugePages {
    /// The kernel's own choice.
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
    /// The first pinned core; a pipeline pins the next one as well.
    pub core: usize,
    pub idle: Idle,
    /// Orders and markets for which memory is reserved at start; more are possible and cost an allocation each time.
    pub orders_capacity: usize,
    pub markets_capacity: usize,
    pub huge_pages: HugePages,
    /// Touch all memory that is reserved for orders at start, so that trading causes no page fault there.
    pub prefault: bool,
    /// Start a pipeline although the process may use fewer cores than it needs.
    pub share_cores: bool,
    /// Memory beyond which the node is degraded; zero means what the machine or the control group has.
    pub memory_max: u64,
    /// Longest time that a stop may take; after it the process ends, whatever it waits for.
    pub stop_timeout: Duration,
    /// Difference between the node's clock and the wall clock beyond which the node is degraded.
    pub clock_error_max: Duration,
    /// How far the wall clock of a start may be after the last command of the log.
    pub clock_ahead_max: Duration,
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
    /// Acknowledge after the sync: a power cut loses no acknowledged command.
    Always,
    /// Acknowledge after apply, before the sync. A power cut can lose up to `interval` of acknowledged commands.
    Interval,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    pub sync: JournalSyncMode,
    pub interval: Duration,
    /// Allow `sync = "interval"` with `env = "prod"`.
    pub accept_loss: bool,
    pub segment_bytes: u64,
    pub segments: u32,
    pub frame_bytes_max: usize,
    pub frames_in_flight: usize,
}

impl JournalConfig {
    /// The geometry of a new data directory; an existing one keeps that of its IDENTITY file.
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

/// How much of the log the store keeps; zero in both `retain_` values keeps all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    pub retain_bytes: u64,
    pub retain_for: Duration,
    pub ballast_bytes: u64,
    /// Use of the disk, in percent, at which the node takes no new orders; 100 means never.
    pub intake_stop_percent: u64,
    /// Age of the newest backup beyond which the node is degraded; zero means never.
    pub backup_age_max: Duration,
    /// A directory to which `pinion backup run` ships: a start compares the log with it.
    pub backup_to: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotConfig {
    pub every_commands: u64,
    pub every: Duration,
    pub keep: u32,
    /// Take a snapshot at a clean stop as well, which makes the next start short.
    pub on_stop: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowConfig {
    /// Commands after which the live engine ends a frame with a hash of its state.
    pub check_every_commands: u64,
    /// Rate at which the scrubber reads the log and the snapshots again; zero disables it.
    pub patrol_bytes_per_second: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenConfig {
    /// Addresses of the listeners; port 0 chooses a free one.
    pub orders: SocketAddr,
    pub market: SocketAddr,
    pub ops: SocketAddr,
    /// Bearer token of the admin API, which is closed without it.
    pub ops_token_file: Option<PathBuf>,
    /// Bearer token of `/metrics`, which is open without it.
    pub metrics_token_file: Option<PathBuf>,
}

impl ListenConfig {
    /// Every listener with its name in the configuration.
    pub fn all(&self) -> [(&'static str, SocketAddr); 3] {
        [("orders", self.orders), ("market", self.market), ("ops", self.ops)]
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Time without a message to a client after which the node sends a heartbeat.
    pub heartbeat: Duration,
    /// Time without a message from a client after which its connection counts as lost.
    pub idle_timeout: Duration,
    pub login_timeout: Duration,
    /// Cancel on disconnect of a new session.
    pub cancel_on_disconnect: CodMode,
    pub cancel_window: Duration,
    /// Time after a start of the node for a session to log in again before it counts as disconnected.
    pub restart_window: Duration,
    /// Sequenced messages kept in memory per session for a client that reconnects.
    pub resend_max: usize,
    /// Memory for the messages of all sessions together; beyond, those of the session with the most go first.
    pub resend_bytes_max: usize,
    /// Messages that may wait for a slow client; beyond, it is disconnected.
    pub queue_max: usize,
    /// Logins that may wait for the check of their password; beyond, connections are closed when they are accepted.
    pub login_queue_max: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    pub connections_max: usize,
    pub connections_per_address_max: usize,
    /// Connections of one address, to one port, that have not sent a login; beyond, the oldest of them is closed.
    pub logins_awaited_per_address_max: usize,
    pub market_connections_max: usize,
    /// Connections to the market port from one block of addresses: a /24 of IPv4, a /64 of IPv6.
    pub market_connections_per_block_max: u32,
    pub ops_connections_max: usize,
    /// Wrong passwords of one user, at one block of addresses, within `login_failure_window`; then it is locked there.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    pub level: tracing::Level,
    pub format: LogFormat,
    /// Directory of the log files; `None` logs to standard error.
    pub dir: Option<PathBuf>,
    pub file_bytes_max: u64,
    pub files_max: u32,
}
