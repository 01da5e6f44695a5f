//! What an operator decides before the node starts: one TOML file, environment variables over it, checked as a whole.
//!
//! Invariants: a `Config` is valid, every value within its bounds; `load` reports all mistakes at once; the node and
//! `pinion check-config` share it. What changes trading is never here: that is a command in the log.

mod exposure;
mod human;
mod places;
mod production;
mod reader;

pub use exposure::Exposure;
pub use human::{parse_bytes, parse_duration, show_bytes, show_duration};
pub use reader::{ConfigError, ENV_PREFIX};

use book::command::CodMode;
use reader::Reader;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use wal::block::BLOCK_BYTES;
use wal::frame::FRAME_BYTES_MAX;
use wal::head::{FRAMES_IN_FLIGHT_DEFAULT, FRAMES_IN_FLIGHT_MAX, HeadConfig};
use wal::segment::{Geometry, SEGMENTS_MAX};
use wal::units::Timeline;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub node: NodeConfig,
    pub journal: JournalConfig,
    pub store: StoreConfig,
    pub snapshot: SnapshotConfig,
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
        let config = Self::read(&mut reader);
        if let Checks::All(build) = checks {
            places::check(&config, &mut reader);
            production::check(&config, build, &mut reader);
        }
        let errors = reader.finish();
        if errors.is_empty() { Ok(config) } else { Err(errors) }
    }

    fn read(reader: &mut Reader) -> Self {
        let config = Self {
            node: read_node(reader),
            journal: read_journal(reader),
            store: read_store(reader),
            snapshot: read_snapshot(reader),
            listen: read_listen(reader),
            session: read_session(reader),
            limits: read_limits(reader),
            export: read_export(reader),
            log: read_log(reader),
        };
        check_relations(&config, reader);
        config
    }
}

fn not_toml(text: &str, error: &toml::de::Error) -> ConfigError {
    let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let why = format!("line {line}: not TOML: {}", error.message().replace('\n', " "));
    ConfigError { key: String::new(), value: None, why, allowed: None }
}

fn read_node(r: &mut Reader) -> NodeConfig {
    NodeConfig {
        env: r.word("node.env", Env::Dev, &[("dev", Env::Dev), ("prod", Env::Prod)]),
        data_dir: r.path_required("node.data_dir"),
        name: r.name("node.name", "pinion", 64),
        threads: r.word(
            "node.threads",
            Threads::Single,
            &[("single", Threads::Single), ("pipeline", Threads::Pipeline)],
        ),
        core: r.integer("node.core", 1, 0..=1023) as usize,
        idle: r.word("node.idle", Idle::Backoff, &[("spin", Idle::Spin), ("backoff", Idle::Backoff)]),
        orders_capacity: r.integer("node.orders_capacity", 65_536, 1_024..=1 << 24) as usize,
        markets_capacity: r.integer("node.markets_capacity", 64, 1..=1 << 20) as usize,
    }
}

fn read_journal(r: &mut Reader) -> JournalConfig {
    let block = BLOCK_BYTES as u64;
    let microsecond = Duration::from_micros(1);
    JournalConfig {
        sync: r.word(
            "journal.sync",
            JournalSyncMode::Always,
            &[("always", JournalSyncMode::Always), ("interval", JournalSyncMode::Interval)],
        ),
        interval: r.duration_us("journal.interval_us", Duration::from_millis(1), microsecond..=10 * SECOND),
        accept_loss: r.flag("journal.accept_loss", false),
        segment_bytes: r.bytes("journal.segment_bytes", 64 * MIB, 2 * block..=16 * GIB),
        segments: r.integer("journal.segments", 4, 2..=u64::from(SEGMENTS_MAX)) as u32,
        frame_bytes_max: r.bytes("journal.frame_bytes_max", 256 * KIB, block..=FRAME_BYTES_MAX as u64) as usize,
        frames_in_flight: r.integer(
            "journal.frames_in_flight",
            FRAMES_IN_FLIGHT_DEFAULT as u64,
            1..=FRAMES_IN_FLIGHT_MAX as u64,
        ) as usize,
    }
}

fn read_store(r: &mut Reader) -> StoreConfig {
    StoreConfig {
        retain_bytes: r.bytes("store.retain_bytes", 0, 0..=1024 * TIB),
        retain_for: r.duration("store.retain_for", Duration::ZERO, Duration::ZERO..=36_500 * DAY),
        ballast_bytes: r.bytes("store.ballast_bytes", 64 * MIB, 0..=TIB),
    }
}

fn read_snapshot(r: &mut Reader) -> SnapshotConfig {
    SnapshotConfig {
        every_commands: r.integer("snapshot.every_commands", 1_000_000, 1_000..=1_000_000_000_000),
        every: r.duration("snapshot.every", Duration::from_secs(300), SECOND..=DAY),
        keep: r.integer("snapshot.keep", 5, 1..=1_000) as u32,
    }
}

fn read_listen(r: &mut Reader) -> ListenConfig {
    ListenConfig {
        orders: read_listener(r, "orders", 9001),
        market: read_listener(r, "market", 9002),
        http: read_listener(r, "http", 8080),
        ops: read_listener(r, "ops", 8081),
        ops_token_file: r.path("listen.ops_token_file"),
        metrics_token_file: r.path("listen.metrics_token_file"),
    }
}

fn read_listener(r: &mut Reader, name: &str, port: u16) -> Listener {
    let address = r.address(&format!("listen.{name}"), SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let (cert_key, key_key) = (format!("listen.{name}_tls_cert"), format!("listen.{name}_tls_key"));
    let tls = match (r.path(&cert_key), r.path(&key_key)) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
        (None, None) => None,
        (Some(_), None) => {
            r.note(&key_key, None, &format!("is missing beside {cert_key}"), Some("both or neither"));
            None
        }
        (None, Some(_)) => {
            r.note(&cert_key, None, &format!("is missing beside {key_key}"), Some("both or neither"));
            None
        }
    };
    if let Some(tls) = &tls {
        // A listener that was asked for TLS and speaks plain text would be worse than none.
        let value = Some(format!("{:?}", tls.cert));
        r.note(
            &cert_key,
            value,
            "this build does not offer TLS yet",
            Some("no key; a loopback address, TLS in front of it"),
        );
    }
    Listener { address, tls }
}

fn read_session(r: &mut Reader) -> SessionConfig {
    let modes = [
        ("off", CodMode::Off),
        ("disconnect", CodMode::OnDisconnect),
        ("logout", CodMode::OnLogout),
        ("both", CodMode::Both),
    ];
    let millisecond = Duration::from_millis(1);
    SessionConfig {
        heartbeat: r.duration("session.heartbeat", SECOND, 100 * millisecond..=60 * SECOND),
        idle_timeout: r.duration("session.idle_timeout", 15 * SECOND, 2 * SECOND..=HOUR),
        login_timeout: r.duration("session.login_timeout", 15 * SECOND, 100 * millisecond..=300 * SECOND),
        cancel_on_disconnect: r.word("session.cancel_on_disconnect", CodMode::Both, &modes),
        cancel_window: r.duration("session.cancel_window", Duration::ZERO, Duration::ZERO..=HOUR),
        restart_window: r.duration("session.restart_window", 60 * SECOND, Duration::ZERO..=DAY),
        resend_max: r.integer("session.resend_max", 65_536, 16..=1 << 24) as usize,
        queue_max: r.integer("session.queue_max", 65_536, 16..=1 << 24) as usize,
    }
}

fn read_limits(r: &mut Reader) -> LimitsConfig {
    let mut rate = |key, default| r.integer(key, default, 1..=10_000_000) as u32;
    let requests_per_second_address = rate("limits.requests_per_second_address", 100);
    let requests_per_second_key = rate("limits.requests_per_second_key", 100);
    let requests_per_second_account = rate("limits.requests_per_second_account", 1_000);
    LimitsConfig {
        connections_max: r.integer("limits.connections_max", 1_024, 1..=65_535) as usize,
        connections_per_address_max: r.integer("limits.connections_per_address_max", 256, 1..=65_535) as usize,
        ops_connections_max: r.integer("limits.ops_connections_max", 64, 1..=4_096) as usize,
        login_failures_max: r.integer("limits.login_failures_max", 5, 1..=1_000) as u32,
        login_failure_window: r.duration("limits.login_failure_window", 60 * SECOND, SECOND..=DAY),
        requests_per_second_address,
        requests_per_second_key,
        requests_per_second_account,
        frame_bytes_max: r.bytes("limits.frame_bytes_max", 64 * KIB, 4 * KIB..=MIB) as usize,
        body_bytes_max: r.bytes("limits.body_bytes_max", 64 * KIB, KIB..=MIB) as usize,
        // Hyper refuses to read heads into less than 8 KiB.
        header_bytes_max: r.bytes("limits.header_bytes_max", 16 * KIB, 8 * KIB..=256 * KIB) as usize,
        header_timeout: r.duration("limits.header_timeout", 10 * SECOND, SECOND / 10..=120 * SECOND),
        json_depth_max: r.integer("limits.json_depth_max", 16, 2..=128) as u32,
        ws_subscriptions: r.integer("limits.ws_subscriptions", 50, 1..=10_000) as u32,
    }
}

fn read_export(r: &mut Reader) -> ExportConfig {
    ExportConfig {
        url_file: r.path("export.url_file"),
        batch_rows: r.integer("export.batch_rows", 10_000, 1..=1_000_000) as u32,
        max_delay: r.duration("export.max_delay", SECOND / 5, SECOND / 1_000..=HOUR),
        schema: r.name("export.schema", "exch", 63),
        retain_max_bytes: r.bytes("export.retain_max_bytes", 16 * GIB, MIB..=1024 * TIB),
    }
}

fn read_log(r: &mut Reader) -> LogConfig {
    use tracing::Level;
    let levels = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    LogConfig {
        level: r.word("log.level", Level::INFO, &levels),
        format: r.word("log.format", LogFormat::Text, &[("text", LogFormat::Text), ("json", LogFormat::Json)]),
        dir: r.path("log.dir"),
        file_bytes_max: r.bytes("log.file_bytes_max", 64 * MIB, 64 * KIB..=16 * GIB),
        files_max: r.integer("log.files_max", 10, 1..=1_000) as u32,
    }
}

/// What no key can say alone.
fn check_relations(config: &Config, r: &mut Reader) {
    let (journal, block) = (&config.journal, BLOCK_BYTES as u64);
    let multiple = "a multiple of 4096";
    for (key, bytes) in
        [("journal.segment_bytes", journal.segment_bytes), ("journal.frame_bytes_max", journal.frame_bytes_max as u64)]
    {
        if !bytes.is_multiple_of(block) {
            r.note(key, Some(bytes.to_string()), "not a whole number of blocks", Some(multiple));
        }
    }
    if journal.segment_bytes < block + journal.frame_bytes_max as u64 {
        let allowed = format!("at least journal.frame_bytes_max + 4096 = {}", block + journal.frame_bytes_max as u64);
        let value = Some(show_bytes(journal.segment_bytes));
        r.note("journal.segment_bytes", value, "does not hold its header and one whole frame", Some(&allowed));
    }
    let session = &config.session;
    if session.idle_timeout < 2 * session.heartbeat {
        let allowed = format!("at least twice session.heartbeat = {}", show_duration(2 * session.heartbeat));
        let value = Some(show_duration(session.idle_timeout));
        r.note("session.idle_timeout", value, "one late heartbeat would end the session", Some(&allowed));
    }
    check_ports(&config.listen, r);
}

/// Two listeners cannot share a port, unless each takes a free one or they are on different addresses.
fn check_ports(listen: &ListenConfig, r: &mut Reader) {
    let listeners = listen.all();
    for (idx, (name, listener)) in listeners.iter().enumerate() {
        let clash = listeners[..idx].iter().find(|(_, other)| overlap(other.address, listener.address));
        if let Some((other, _)) = clash {
            let why = format!("listen.{other} has this port already");
            r.note(&format!("listen.{name}"), Some(format!("{:?}", listener.address.to_string())), &why, None);
        }
    }
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let same_host = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && same_host
}

impl ListenConfig {
    /// Every listener with its name in the configuration.
    pub fn all(&self) -> [(&'static str, &Listener); 4] {
        [("orders", &self.orders), ("market", &self.market), ("http", &self.http), ("ops", &self.ops)]
    }
}
