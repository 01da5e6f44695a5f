//! Configurations as text in, mistakes as text out.

use node::config::build::Build;
use node::config::human::show_duration;
use node::config::load::ConfigErrors;
use node::config::{Config, Env, Idle, JournalSyncMode, Threads};
use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const TEMPLATE: &str = include_str!("../../config/pinion.toml");

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    fn base(&self) -> &Path {
        self.dir.path()
    }

    fn secret(&self, name: &str, text: &str) {
        let path = self.base().join(name);
        std::fs::write(&path, text).expect("the directory is writable");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("the directory is writable");
    }

    fn read_with(&self, text: &str, variables: &[(&str, &str)], build: Build) -> Result<Config, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from_parts(text, self.base(), variables, &[], build)
            .map_err(|errors| errors.iter().map(|error| format!("{error}\n")).collect())
    }

    fn read(&self, text: &str) -> Result<Config, String> {
        self.read_with(text, &[], Build::Release)
    }
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

/// `text` is refused with exactly these lines.
fn check_refused(text: &str, expected: &str) {
    let refused = Fixture::new().read(text).expect_err("a refusal");
    assert_eq!(lines(&refused), lines(expected));
}

#[test]
fn a_missing_key_has_its_default() {
    let fixture = Fixture::new();
    let config = fixture.read("node.data_dir = 'd'").expect("valid");
    assert_eq!(config.node.env, Env::Dev);
    assert_eq!(config.node.data_dir, fixture.base().join("d"));
    assert_eq!((config.node.threads, config.node.idle), (Threads::Single, Idle::Backoff));
    assert_eq!(config.journal.sync, JournalSyncMode::Always);
    assert_eq!(config.journal.segment_bytes, 64 << 20);
    assert!(config.listen.all().iter().all(|(_, address)| address.ip().is_loopback()));
    assert_eq!(config.limits.connections_max, 1_024);
    assert_eq!(config.journal.interval, Duration::from_millis(1));
}

#[test]
fn the_commented_file_names_every_key_with_its_default() {
    let fixture = Fixture::new();
    let given = TEMPLATE.replace("/var/lib/pinion", "d");
    let defaults = fixture.read("node.data_dir = 'd'").expect("valid");
    assert_eq!(fixture.read(&given).expect("the file is valid as it stands"), defaults);
    // Paths have no default; those in the file are examples.
    let is_key =
        |line: &str| line.strip_prefix("# ").and_then(|rest| rest.split_once(" = ")).map(|(key, _)| key.to_owned());
    let is_path = |key: &str| key.ends_with("_file") || matches!(key, "dir" | "backup_to");
    let uncommented: String = given
        .lines()
        .map(|line| match is_key(line) {
            Some(key) if key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !is_path(&key) => {
                format!("{}\n", &line[2..])
            }
            _ => format!("{line}\n"),
        })
        .collect();
    assert_eq!(fixture.read(&uncommented).expect("every key is known and valid"), defaults);
    let named: BTreeSet<String> = given.lines().filter_map(is_key).chain(["data_dir".to_owned()]).collect();
    let probe = "x.y = 1\nnode.z = 1\njournal.z = 1\nstore.z = 1\nsnapshot.z = 1\nlisten.z = 1\nsession.z = 1\nlimits.z = 1\nlog.z = 1\n";
    let refused = fixture.read(probe).expect_err("no such keys");
    let known = refused
        .lines()
        .filter_map(|line| line.split_once("no such key; allowed: "))
        .flat_map(|(_, keys)| keys.split(", "));
    let missing: Vec<&str> = known.filter(|key| !named.contains(*key)).collect();
    assert_eq!(missing, Vec::<&str>::new(), "keys that the commented file does not show");
}

#[test]
fn all_mistakes_are_reported_at_once() {
    check_refused(
        "
        [node]
        threads = 'many'
        core = -1
        [journal]
        segments = 1
        sync = true
        colour = 'red'
        [listen]
        orders = 'localhost:9001'
        ops_token = 'hunter2'
        [trading]
        fee = 1
        ",
        "
        node.data_dir: is required; allowed: a path
        node.threads = 'many': unknown value; allowed: \"single\", \"pipeline\"
        node.core = -1: out of range; allowed: 0 to 1023
        journal.sync = true: unknown value; allowed: \"always\", \"interval\"
        journal.segments = 1: out of range; allowed: 2 to 256
        listen.orders = 'localhost:9001': not an address with a port; allowed: ADDRESS:PORT, such as 127.0.0.1:9001 or [::1]:9001; port 0 chooses a free one
        journal.colour: no such key; allowed: sync, interval_us, accept_loss, segment_bytes, segments, frame_bytes_max, frames_in_flight
        listen.ops_token: secrets are read from files only; allowed: listen.ops_token_file
        trading.fee: there is no section [trading]; allowed: node, journal, store, snapshot, shadow, listen, session, limits, log
        "
        .replace('\'', "\"")
        .as_str(),
    );
}

#[test]
fn every_number_has_its_bounds() {
    // Key, lowest, highest, just below, just above; an empty string where no value is out of range on that side.
    let cases = [
        ("node.core", "0", "1023", "-1", "1024"),
        ("node.orders_capacity", "1024", "16777216", "1023", "16777217"),
        ("node.markets_capacity", "1", "1048576", "0", "1048577"),
        ("journal.interval_us", "1", "10000000", "0", "10000001"),
        ("journal.segment_bytes", "1052672", "17179869184", "8191", "17179869185"),
        ("journal.segments", "2", "256", "1", "257"),
        ("journal.frame_bytes_max", "20480", "1048576", "20479", "1048577"),
        ("journal.frames_in_flight", "1", "16", "0", "17"),
        ("store.retain_bytes", "0", "'1024TiB'", "-1", "'1025TiB'"),
        ("store.retain_for", "'0s'", "'36500d'", "", "'36501d'"),
        ("store.ballast_bytes", "0", "'1TiB'", "-1", "1099511627777"),
        ("snapshot.every_commands", "1000", "1000000000000", "999", "1000000000001"),
        ("snapshot.every", "'1s'", "'24h'", "'999ms'", "'25h'"),
        ("snapshot.keep", "1", "1000", "0", "1001"),
        ("session.heartbeat", "'100ms'", "'7s'", "'99ms'", "'61s'"),
        ("session.idle_timeout", "'2s'", "'1h'", "'1999ms'", "'3601s'"),
        ("session.login_timeout", "'100ms'", "'300s'", "'99ms'", "'301s'"),
        ("session.cancel_window", "'0s'", "'1h'", "", "'3601s'"),
        ("session.restart_window", "'0s'", "'24h'", "", "'25h'"),
        ("session.resend_max", "16", "16777216", "15", "16777217"),
        ("session.queue_max", "16", "16777216", "15", "16777217"),
        ("limits.connections_max", "1", "65535", "0", "65536"),
        ("limits.connections_per_address_max", "1", "65535", "0", "65536"),
        ("limits.logins_awaited_per_address_max", "1", "65535", "0", "65536"),
        ("limits.market_connections_max", "1", "65535", "0", "65536"),
        ("limits.ops_connections_max", "1", "4096", "0", "4097"),
        ("limits.login_failures_max", "1", "1000", "0", "1001"),
        ("limits.login_failure_window", "'1s'", "'24h'", "'999ms'", "'25h'"),
        ("limits.requests_per_second_address", "1", "10000000", "0", "10000001"),
        ("limits.requests_per_second_key", "1", "10000000", "0", "10000001"),
        ("limits.requests_per_second_account", "1", "10000000", "0", "10000001"),
        ("limits.frame_bytes_max", "'4KiB'", "'1MiB'", "4095", "1048577"),
        ("limits.body_bytes_max", "'1KiB'", "'1MiB'", "1023", "1048577"),
        ("limits.header_bytes_max", "'8KiB'", "'256KiB'", "8191", "262145"),
        ("limits.header_timeout", "'100ms'", "'2m'", "'99ms'", "'121s'"),
        ("limits.json_depth_max", "2", "128", "1", "129"),
        ("limits.ws_subscriptions", "1", "10000", "0", "10001"),
        ("log.file_bytes_max", "'64KiB'", "'16GiB'", "65535", "17179869185"),
        ("log.files_max", "1", "1000", "0", "1001"),
    ];
    let fixture = Fixture::new();
    for (key, lowest, highest, below, above) in cases {
        for inside in [lowest, highest] {
            let text = format!("node.data_dir = 'd'\njournal.frame_bytes_max = 1048576\n{key} = {inside}");
            let text =
                if key == "journal.frame_bytes_max" { format!("node.data_dir = 'd'\n{key} = {inside}") } else { text };
            fixture.read(&text).unwrap_or_else(|refused| panic!("{key} = {inside}: {refused}"));
        }
        for outside in [below, above].iter().filter(|value| !value.is_empty()) {
            let refused = fixture.read(&format!("node.data_dir = 'd'\n{key} = {outside}")).expect_err(key);
            assert!(
                refused.starts_with(&format!("{key} = ")) && refused.contains("out of range; allowed: "),
                "{refused}"
            );
        }
    }
}

#[test]
fn values_of_the_wrong_kind_are_refused() {
    let fixture = Fixture::new();
    let values = ["true", "1.5", "'many'", "[]", "{}", "''"];
    for key in [
        "node.core",
        "node.huge_pages",
        "node.prefault",
        "journal.segment_bytes",
        "journal.interval_us",
        "session.heartbeat",
        "journal.accept_loss",
        "log.level",
    ] {
        for value in values {
            if matches!((key, value), ("journal.accept_loss" | "node.prefault", "true")) {
                continue;
            }
            let refused = fixture.read(&format!("node.data_dir = 'd'\n{key} = {value}")).expect_err(key);
            assert!(refused.starts_with(key), "{key} = {value}: {refused}");
        }
    }
    let refused = fixture.read("node.data_dir = 'd'\nsession.heartbeat = 5").expect_err("no unit");
    assert!(refused.contains("not a duration with its unit"), "{refused}");
}

#[test]
fn relations_between_keys_are_checked() {
    check_refused(
        "
        node.data_dir = 'd'
        journal.segment_bytes = '64KiB'
        session.heartbeat = '10s'
        listen.orders = '127.0.0.1:9002'
        ",
        "
        journal.segment_bytes = 64KiB: does not hold its header and one complete frame; allowed: at least journal.frame_bytes_max + 4096 = 266240
        session.idle_timeout = 15s: one late heartbeat would end the session; allowed: at least twice session.heartbeat = 20s
        listen.market = \"127.0.0.1:9002\": listen.orders has this port already; allowed: another port, or 0 for a free one
        ",
    );
    check_refused(
        "node.data_dir = 'd'\njournal.segment_bytes = 1048577",
        "journal.segment_bytes = 1048577: not a multiple of the block size; allowed: a multiple of 4096",
    );
    let free = "node.data_dir = 'd'\nlisten.orders = '127.0.0.1:0'\nlisten.market = '127.0.0.1:9002'\nlisten.ops = '[::1]:9002'";
    assert!(Fixture::new().read(free).is_ok(), "free ports and other addresses do not clash");
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_its_line() {
    check_refused("[node]\ndata_dir = ", "line 2: not TOML: string values must be quoted, expected literal string");
}

#[test]
fn the_environment_overrides_the_file() {
    let fixture = Fixture::new();
    let text = "node.data_dir = 'd'\nnode.core = 3";
    let variables = [
        ("PINION__NODE__CORE", "2"),
        ("PINION__JOURNAL__INTERVAL_US", "250us"),
        ("PINION__JOURNAL__ACCEPT_LOSS", "true"),
        ("PINION__LISTEN__ORDERS", "[::1]:0"),
        ("PINION__STORE__BALLAST_BYTES", "1MiB"),
        ("HOME", "/nowhere"),
    ];
    let config = fixture.read_with(text, &variables, Build::Release).expect("valid");
    assert_eq!(config.node.core, 2);
    assert_eq!(show_duration(config.journal.interval), "250us");
    assert!(config.journal.accept_loss);
    assert_eq!(config.listen.orders.to_string(), "[::1]:0");
    assert_eq!(config.store.ballast_bytes, 1 << 20);

    let wrong = [("PINION__NODE__COLOUR", "red"), ("PINION__CORE", "1"), ("PINION__NODE__IDLE", "sleep")];
    let refused = fixture.read_with(text, &wrong, Build::Release).expect_err("three mistakes");
    assert!(refused.contains("PINION__CORE: names no key"), "{refused}");
    assert!(refused.contains("node.idle = \"sleep\": unknown value"), "{refused}");
    assert!(refused.contains("node.colour: no such key"), "{refused}");
}

#[test]
fn paths_that_cannot_be_used_are_among_the_mistakes() {
    let fixture = Fixture::new();
    std::fs::write(fixture.base().join("file"), "").expect("the directory is writable");
    fixture.secret("open", "0123456789");
    std::fs::set_permissions(fixture.base().join("open"), Permissions::from_mode(0o644))
        .expect("the directory is writable");
    let text = "
        node.data_dir = '/proc/pinion'
        log.dir = 'file/log'
        listen.ops_token_file = 'absent'
        listen.metrics_token_file = 'open'
    ";
    let refused = fixture.read(text).expect_err("four mistakes");
    let listed: Vec<&str> = refused.lines().collect();
    assert_eq!(listed.len(), 4, "{refused}");
    assert!(listed[0].starts_with("node.data_dir = \"/proc/pinion\": /proc cannot be written"), "{refused}");
    assert!(listed[1].contains("file is not a directory"), "{refused}");
    assert!(listed[2].starts_with("listen.ops_token_file") && listed[2].contains("cannot be read"), "{refused}");
    assert!(listed[3].contains("mode 644"), "{refused}");
}

#[test]
fn keys_without_a_listener_are_unknown() {
    check_refused(
        "
        node.data_dir = 'd'
        listen.orders_tls_cert = 'c'
        export.batch_rows = 1
        ",
        "
        export.batch_rows: there is no section [export]; allowed: node, journal, store, snapshot, shadow, listen, session, limits, log
        listen.orders_tls_cert: no such key; allowed: http, orders, market, ops, ops_token_file, metrics_token_file
        ",
    );
}

#[test]
fn the_address_of_a_later_listener_is_checked_and_unused() {
    check_refused(
        "node.data_dir = 'd'\nlisten.http = 'nowhere'",
        "
        listen.http = \"nowhere\": not an address with a port; allowed: ADDRESS:PORT, such as 127.0.0.1:9001 or [::1]:9001; port 0 chooses a free one
        ",
    );
}

#[test]
fn a_mistake_has_its_line_or_its_variable() {
    let fixture = Fixture::new();
    let path = fixture.base().join("pinion.toml");
    let check = |text: &str, variables: &[(&str, &str)], overrides: &[(&str, &str)], expected: &str| {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let read = Config::from_parts(text, fixture.base(), variables, overrides, Build::Release);
        let errors = ConfigErrors { path: "pinion.toml".into(), errors: read.expect_err("a mistake") };
        assert_eq!(lines(&errors.to_string()), lines(expected));
    };
    check(
        "\n[node]\ncore = 9999\n\n[session]\nheartbeat = '10s'\ncolour = 1\n[log]\nlevel = 'info'\n",
        &[("PINION__LOG__LEVEL", "loud"), ("PINION__CORE", "1")],
        &[("node.env", "test")],
        "
        environment variable PINION__CORE: names no key; allowed: PINION__SECTION__KEY
        command line: node.env = \"test\": unknown value; allowed: \"dev\", \"prod\"
        pinion.toml: node.data_dir: is required; allowed: a path
        pinion.toml:3: node.core = 9999: out of range; allowed: 0 to 1023
        environment variable PINION__LOG__LEVEL: log.level = \"loud\": unknown value; allowed: \"error\", \"warn\", \"info\", \"debug\", \"trace\"
        pinion.toml: session.idle_timeout = 15s: one late heartbeat would end the session; allowed: at least twice session.heartbeat = 20s
        pinion.toml:7: session.colour: no such key; allowed: heartbeat, idle_timeout, login_timeout, cancel_on_disconnect, cancel_window, restart_window, resend_max, resend_bytes_max, queue_max, login_queue_max
        ",
    );
    check(
        "[node]\ndata_dir = ",
        &[],
        &[],
        "pinion.toml:2: not TOML: string values must be quoted, expected literal string",
    );
    let absent = Config::load(&path).expect_err("there is no such file").to_string();
    assert!(absent.starts_with(&format!("{}: cannot be read: ", path.display())), "{absent}");
}

#[test]
fn production_refuses_what_suits_development_only() {
    let fixture = Fixture::new();
    fixture.secret("placeholder", "changeme-changeme-changeme-changeme");
    fixture.secret("short", "x7KqP2");
    let text = "
        node.env = 'prod'
        node.data_dir = 'd'
        journal.sync = 'interval'
        listen.ops = '0.0.0.0:8081'
        listen.ops_token_file = 'placeholder'
    ";
    let refused = fixture.read_with(text, &[], Build::Debug).expect_err("five mistakes");
    for part in [
        "node.env = \"prod\": this binary is a debug build",
        "journal.sync = \"interval\": a power cut would lose acknowledged orders",
        "listen.ops = \"0.0.0.0:8081\": reachable from other machines without TLS; allowed: a loopback address, with TLS in front",
        "listen.metrics_token_file: is missing: /metrics would be open",
        "the secret is a placeholder",
    ] {
        assert!(refused.contains(part), "{part} is missing in:\n{refused}");
    }
    assert_eq!(refused.lines().count(), 5, "{refused}");
    let dev = text.replace("'prod'", "'dev'");
    assert!(fixture.read_with(&dev, &[], Build::Debug).is_ok());
    let short = "node.env = 'prod'\nnode.data_dir = 'd'\nlisten.ops_token_file = 'short'";
    let refused = fixture.read(short).expect_err("a short secret");
    assert!(refused.contains("the secret has 6 characters"), "{refused}");
}

#[test]
fn production_accepts_what_is_safe_or_accepted_explicitly() {
    let fixture = Fixture::new();
    fixture.secret("token", "kJ3nR8vXq2LmZ7tYw5BpC9dFgH4sAe6U");
    let text = "
        node.env = 'prod'
        node.data_dir = 'd'
        journal.sync = 'interval'
        journal.accept_loss = true
        listen.ops_token_file = 'token'
    ";
    assert!(fixture.read(text).is_ok());
}
