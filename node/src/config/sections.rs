//! The one list of all keys, each with its name, default and bounds, and the relations between keys.

use super::human::{show_bytes, show_duration};
use super::reader::Reader;
use super::{
    Config, Env, HugePages, Idle, JournalConfig, JournalSyncMode, LimitsConfig, ListenConfig, LogConfig, LogFormat,
    NodeConfig, SessionConfig, ShadowConfig, SnapshotConfig, StoreConfig, Threads,
};
use book::codec::{CHECK_BYTES_MAX, RECORD_BYTES_MAX};
use book::command::CodMode;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use wal::block::{BLOCK_BYTES, padded};
use wal::frame::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, RECORD_HEADER_BYTES};
use wal::head::{FRAMES_IN_FLIGHT_DEFAULT, FRAMES_IN_FLIGHT_MAX};
use wal::segment::SEGMENTS_MAX;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const SECOND: Duration = Duration::from_secs(1);
/// The largest command must fit a frame together with the state check that may end the frame, or it could never be
/// written.
const FRAME_BYTES_MIN: u64 =
    padded(FRAME_HEADER_BYTES + 2 * RECORD_HEADER_BYTES + RECORD_BYTES_MAX + CHECK_BYTES_MAX) as u64;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Reads every key of every section and checks the relations between them.
pub(super) fn read(reader: &mut Reader) -> Config {
    let config = Config {
        node: read_node(reader),
        journal: read_journal(reader),
        store: read_store(reader),
        snapshot: read_snapshot(reader),
        shadow: read_shadow(reader),
        listen: read_listen(reader),
        session: read_session(reader),
        limits: read_limits(reader),
        log: read_log(reader),
    };
    check_relations(&config, reader);
    config
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
        huge_pages: r.word(
            "node.huge_pages",
            HugePages::Advise,
            &[("off", HugePages::Off), ("advise", HugePages::Advise)],
        ),
        prefault: r.flag("node.prefault", false),
        share_cores: r.flag("node.share_cores", false),
        memory_max: r.bytes("node.memory_max", 0, 0..=1024 * TIB),
        stop_timeout: r.duration("node.stop_timeout", 30 * SECOND, SECOND..=HOUR),
        clock_error_max: r.duration(
            "node.clock_error_max",
            Duration::from_millis(100),
            Duration::from_micros(10)..=HOUR,
        ),
        clock_ahead_max: r.duration("node.clock_ahead_max", 30 * DAY, MINUTE..=36_500 * DAY),
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
        frame_bytes_max: r.bytes("journal.frame_bytes_max", 256 * KIB, FRAME_BYTES_MIN..=FRAME_BYTES_MAX as u64)
            as usize,
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
        intake_stop_percent: r.integer("store.intake_stop_percent", 90, 50..=100),
        backup_age_max: r.duration("store.backup_age_max", Duration::ZERO, Duration::ZERO..=365 * DAY),
        backup_to: r.path("store.backup_to"),
    }
}

fn read_snapshot(r: &mut Reader) -> SnapshotConfig {
    SnapshotConfig {
        every_commands: r.integer("snapshot.every_commands", 1_000_000, 1_000..=1_000_000_000_000),
        every: r.duration("snapshot.every", Duration::from_secs(300), SECOND..=DAY),
        keep: r.integer("snapshot.keep", 5, 1..=1_000) as u32,
        on_stop: r.flag("snapshot.on_stop", true),
    }
}

fn read_shadow(r: &mut Reader) -> ShadowConfig {
    ShadowConfig {
        check_every_commands: r.integer("shadow.check_every_commands", 4_096, 16..=1_000_000_000),
        patrol_bytes_per_second: r.bytes("shadow.patrol_bytes_per_second", 4 * MIB, 0..=GIB),
    }
}

fn read_listen(r: &mut Reader) -> ListenConfig {
    // Reserved for REST and WebSocket, so that a configuration which names it is valid before and after that door.
    let _reserved = read_address(r, "listen.http", 8080);
    ListenConfig {
        orders: read_address(r, "listen.orders", 9001),
        market: read_address(r, "listen.market", 9002),
        ops: read_address(r, "listen.ops", 8081),
        ops_token_file: r.path("listen.ops_token_file"),
        metrics_token_file: r.path("listen.metrics_token_file"),
    }
}

fn read_address(r: &mut Reader, key: &str, port: u16) -> SocketAddr {
    r.address(key, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
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
        resend_bytes_max: r.bytes("session.resend_bytes_max", 512 * MIB, 16 * MIB..=64 * GIB) as usize,
        queue_max: r.integer("session.queue_max", 65_536, 16..=1 << 24) as usize,
        login_queue_max: r.integer("session.login_queue_max", 16_384, 1..=65_535) as u32,
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
        logins_awaited_per_address_max: r.integer("limits.logins_awaited_per_address_max", 64, 1..=65_535) as usize,
        market_connections_max: r.integer("limits.market_connections_max", 256, 1..=65_535) as usize,
        market_connections_per_block_max: r.integer("limits.market_connections_per_block_max", 128, 1..=65_535) as u32,
        ops_connections_max: r.integer("limits.ops_connections_max", 64, 1..=4_096) as usize,
        login_failures_max: r.integer("limits.login_failures_max", 5, 1..=1_000) as u32,
        login_failure_window: r.duration("limits.login_failure_window", 60 * SECOND, SECOND..=DAY),
        requests_per_second_address,
        requests_per_second_key,
        requests_per_second_account,
        frame_bytes_max: r.bytes("limits.frame_bytes_max", 64 * KIB, 4 * KIB..=MIB) as usize,
        body_bytes_max: r.bytes("limits.body_bytes_max", 64 * KIB, KIB..=MIB) as usize,
        // Hyper accepts no buffer for request heads below 8 KiB.
        header_bytes_max: r.bytes("limits.header_bytes_max", 16 * KIB, 8 * KIB..=256 * KIB) as usize,
        header_timeout: r.duration("limits.header_timeout", 10 * SECOND, SECOND / 10..=120 * SECOND),
        json_depth_max: r.integer("limits.json_depth_max", 16, 2..=128) as u32,
        ws_subscriptions: r.integer("limits.ws_subscriptions", 50, 1..=10_000) as u32,
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

/// Checks the relations between keys.
fn check_relations(config: &Config, r: &mut Reader) {
    let (journal, block) = (&config.journal, BLOCK_BYTES as u64);
    let multiple = "a multiple of 4096";
    for (key, bytes) in
        [("journal.segment_bytes", journal.segment_bytes), ("journal.frame_bytes_max", journal.frame_bytes_max as u64)]
    {
        if !bytes.is_multiple_of(block) {
            r.note(key, Some(bytes.to_string()), "not a multiple of the block size", Some(multiple));
        }
    }
    if journal.segment_bytes < block + journal.frame_bytes_max as u64 {
        let allowed = format!("at least journal.frame_bytes_max + 4096 = {}", block + journal.frame_bytes_max as u64);
        let value = Some(show_bytes(journal.segment_bytes));
        r.note("journal.segment_bytes", value, "does not hold its header and one complete frame", Some(&allowed));
    }
    let session = &config.session;
    if session.idle_timeout < 2 * session.heartbeat {
        let allowed = format!("at least twice session.heartbeat = {}", show_duration(2 * session.heartbeat));
        let value = Some(show_duration(session.idle_timeout));
        r.note("session.idle_timeout", value, "one late heartbeat would end the session", Some(&allowed));
    }
    check_ports(&config.listen, r);
}

/// Two listeners cannot share a port, unless it is 0, which chooses a free one for each, or their addresses differ.
fn check_ports(listen: &ListenConfig, r: &mut Reader) {
    let listeners = listen.all();
    for (idx, (name, address)) in listeners.iter().enumerate() {
        let clash = listeners[..idx].iter().find(|(_, other)| overlap(*other, *address));
        if let Some((other, _)) = clash {
            let (key, value) = (format!("listen.{name}"), Some(format!("{:?}", address.to_string())));
            let why = format!("listen.{other} has this port already");
            r.note(&key, value, &why, Some("another port, or 0 for a free one"));
        }
    }
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let same_host = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && same_host
}
