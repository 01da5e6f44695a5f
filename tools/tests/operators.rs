//! The operator's verbs as processes: their output, their files and their exit codes.

use node::config::Config;
use node::ops::registry::Registry;
use node::ops::{OpsServer, bind};
use node::topology;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The exit code and the output of one run of `pinion`.
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

fn pinion(arguments: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinion"));
    command.args(arguments).env_remove("PINION_CONFIG");
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    Outcome {
        code: status.code().expect("no signal"),
        out: String::from_utf8(stdout).expect("text"),
        err: String::from_utf8(stderr).expect("text"),
    }
}

impl Outcome {
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

/// A directory on a real disk: the journal needs O_DIRECT, which a tmpfs may not have.
fn place() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

/// Makes a small data directory.
fn init(data_dir: &Path, more: &[&str]) -> Outcome {
    let small = ["--segment-bytes", "1MiB", "--segments", "2", "--ballast-bytes", "0"];
    let mut arguments = vec!["init", "--data-dir", text(data_dir)];
    arguments.extend(small);
    arguments.extend(more);
    pinion(&arguments)
}

#[test]
fn init_makes_a_directory_that_a_node_can_start_on() {
    let place = place();
    let dir = place.path().join("deep").join("data");
    let made = init(&dir, &["--json", "--name", "desk-1"]).expect(0).json();
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("secrets")), 0o700);
    assert_eq!(mode(&dir.join("secrets/ops_token")), 0o600);
    assert_eq!(made["config"], text(&dir.join("pinion.toml")));
    let config = Config::load(&dir.join("pinion.toml")).expect("what init writes is valid");
    assert_eq!(config.node.name, "desk-1");
    assert_eq!((config.journal.segments, config.journal.segment_bytes), (2, 1 << 20));
    assert_eq!(config.node.data_dir, dir);
    let identity = wal::directory::Directory::open_read_only(&dir).expect("a data directory");
    assert_eq!(identity.identity().geometry.segment_count, 2);
    pinion(&["check-config", "--config", text(&dir.join("pinion.toml"))]).expect(0);
}

#[test]
fn init_overwrites_nothing() {
    let place = place();
    let (dir, other) = (place.path().join("data"), place.path().join("other"));
    init(&dir, &[]).expect(0);
    let token = std::fs::read_to_string(dir.join("secrets/ops_token")).expect("a token");
    let again = init(&dir, &[]).expect(11);
    assert!(again.err.contains("is not empty") && again.err.contains("--data-dir"), "{}", again.err);
    assert_eq!(std::fs::read_to_string(dir.join("secrets/ops_token")).expect("a token"), token);
    let taken = init(&other, &["--config", text(&dir.join("pinion.toml"))]).expect(11);
    assert!(taken.err.contains("exists and is not overwritten"), "{}", taken.err);
    assert!(!other.exists(), "init makes nothing when it refuses");
}

#[test]
fn a_dry_run_of_init_makes_nothing() {
    let place = place();
    let planned = init(&place.path().join("data"), &["--dry-run", "--json"]).expect(0).json();
    assert_eq!(planned["dry_run"], true);
    assert_eq!(names(place.path()), Vec::<String>::new());
}

#[test]
fn init_refuses_values_that_a_node_would_refuse() {
    let place = place();
    let dir = place.path().join("data");
    let refused = pinion(&["init", "--data-dir", text(&dir), "--segments", "1", "--segment-bytes", "8KiB"]).expect(3);
    assert!(
        refused.err.contains("journal.segments = 1") && refused.err.contains("journal.segment_bytes"),
        "{}",
        refused.err
    );
    pinion(&["init", "--data-dir", text(&dir), "--segment-bytes", "many"]).expect(2);
    assert!(!dir.exists());
}

#[test]
fn check_config_reports_every_error() {
    let place = place();
    let path = place.path().join("pinion.toml");
    std::fs::write(&path, "[node]\ndata_dir = '/proc/x'\ncore = 9999\ncolour = 1\n[log]\nlevel = 'loud'\n")
        .expect("ours");
    let refused = pinion(&["check-config", "--config", text(&path)]).expect(3);
    for part in ["node.data_dir", "node.core = 9999", "node.colour", "log.level = \"loud\"", "allowed: 0 to 1023"] {
        assert!(refused.err.contains(part), "{part} is missing in\n{}", refused.err);
    }
    let listed = pinion(&["check-config", "--config", text(&path), "--json"]).expect(3).json();
    assert_eq!(listed["errors"].as_array().map(Vec::len), Some(4));
    let absent = pinion(&["check-config", "--config", text(&place.path().join("absent"))]).expect(3);
    assert!(absent.err.contains("cannot be read"), "{}", absent.err);
    pinion(&["check-config"]).expect(2);
}

#[test]
fn check_config_applies_the_rules_of_production_and_shows_the_exposure() {
    let place = place();
    let path = place.path().join("pinion.toml");
    std::fs::write(&path, "[node]\ndata_dir = 'd'\n[listen]\nmarket = '0.0.0.0:9002'\n").expect("ours");
    let shown = pinion(&["check-config", "--config", text(&path), "--exposure"]).expect(0);
    let market = shown.out.lines().find(|line| line.starts_with("market")).expect("a line");
    assert!(market.contains("OTHER MACHINES") && market.contains("plain"), "{market}");
    let listed = pinion(&["check-config", "--config", text(&path), "--exposure", "--json"]).expect(0).json();
    assert_eq!(listed["exposure"].as_array().map(Vec::len), Some(5));
    let refused = pinion(&["check-config", "--config", text(&path), "--env", "prod"]).expect(3);
    assert!(
        refused.err.contains("listen.market = \"0.0.0.0:9002\": reachable from other machines without TLS"),
        "{}",
        refused.err
    );
}

#[test]
fn the_version_names_commit_and_profile() {
    let version = pinion(&["--version"]).expect(0).out;
    assert!(version.starts_with(&format!("pinion {} (commit ", env!("CARGO_PKG_VERSION"))), "{version}");
    pinion(&["--help"]).expect(0);
    pinion(&["nonsense"]).expect(2);
    pinion(&[]).expect(2);
}

#[test]
fn errors_without_a_node_say_what_to_check() {
    // The discard port, on which a machine that runs tests does not listen.
    let alone = pinion(&["status", "--url", "http://127.0.0.1:9"]).expect(1);
    assert!(alone.err.contains("is the node running"), "{}", alone.err);
    let tokenless = pinion(&["admin", "list", "--url", "http://127.0.0.1:9"]).expect(1);
    assert!(tokenless.err.contains("--token-file"), "{}", tokenless.err);
}

/// A node on a directory that `pinion init` made, in this process, with its ops listener on a free port.
struct Running {
    node: Option<topology::Node>,
    edge: Option<OpsServer>,
    config: PathBuf,
    url: String,
    place: tempfile::TempDir,
}

impl Running {
    fn start() -> Self {
        let place = place();
        let dir = place.path().join("data");
        init(&dir, &[]).expect(0);
        let path = dir.join("pinion.toml");
        let free = ["listen.orders", "listen.market", "listen.ops"].map(|key| (key, "127.0.0.1:0"));
        // Whatever else fills the disk of the machine that tests.
        let overrides: Vec<(&str, &str)> = free.into_iter().chain([("store.intake_stop_percent", "100")]).collect();
        let config = Config::load_with(&path, &overrides).expect("valid");
        let listener = bind(&config).expect("a free port");
        let mut registry = Registry::default();
        let node = topology::start(&config, |engine| registry = Registry::of(engine)).expect("the node starts");
        let edge = OpsServer::spawn(&config, listener, node.ops_handles(), registry);
        let edge = edge.expect("the edge starts");
        let url = format!("http://{}", edge.address());
        Self { node: Some(node), edge: Some(edge), config: path, url, place }
    }

    fn admin(&self, line: &str) -> Outcome {
        let mut arguments = vec!["admin"];
        arguments.extend(line.split_whitespace());
        arguments.extend(["--config", text(&self.config), "--url", &self.url]);
        pinion(&arguments)
    }

    fn done(&self, line: &str) -> Value {
        self.admin(&format!("{line} --json")).expect(0).json()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let node = self.node.take().expect("running");
        node.lifecycle.stop();
        assert_eq!(node.join(), 0, "the node ends well");
        self.edge.take().expect("running").stop();
    }
}

#[test]
fn an_exchange_is_set_up_from_the_command_line() {
    let running = Running::start();
    running.done("asset add BTC --scale 8");
    running.done("asset add USDT --scale 8");
    let market = running.done(
        "market add BTCUSDT --base BTC --quote USDT --tick 0.01 --lot 0.00001 --min-notional 5 --max-qty 9000 \
         --maker-fee-ppm 100 --taker-fee-ppm 200",
    );
    assert_eq!((market["market"].as_u64(), market["symbol"].as_str()), (Some(1), Some("BTCUSDT")));
    let account = running.done("account add alice");
    assert_eq!(account["account"], 1);
    let deposit = running.done("deposit --account 1 --asset USDT --amount 1000000 --ref R1");
    assert_eq!((deposit["available"].as_str(), deposit["repeated"].as_bool()), (Some("1000000"), Some(false)));
    assert_eq!(running.done("deposit --account alice --asset USDT --amount 1000000 --ref R1")["repeated"], true);
    assert_eq!(running.done("withdraw --account 1 --asset USDT --amount 0.5 --ref W1")["available"], "999999.5");
    let session = running.done("session add --account 1 --user MM1");
    assert_eq!((session["user"].as_str(), session["password"].as_str().map(str::len)), (Some("MM1"), Some(10)));

    let pem = running.place.path().join("key.pem");
    let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    std::fs::write(&pem, public).expect("ours");
    let key = running.done(&format!("key add --account 1 --permissions read,trade --ed25519 {}", text(&pem)));
    running.done(&format!("key revoke {}", key["key"].as_str().expect("a key")));
    let hmac = running.admin("key add --account 1 --permissions read").expect(2);
    assert!(hmac.err.contains("HMAC keys are not offered yet"), "{}", hmac.err);

    for line in [
        "fee market BTCUSDT --maker-fee-ppm -50 --taker-fee-ppm 200",
        "fee tier 2 --maker-scale-ppm 500000 --taker-scale-ppm 800000",
        "fee account alice --tier 2",
        "limit market BTCUSDT --max-qty 5000 --price-band-ppm 100000",
        "limit account alice --open-orders-max 50",
        "account block alice",
        "account unblock alice",
        "account status alice suspended --keep-orders",
        "account status alice suspended",
        "account status alice active",
        "session throttle MM1 --orders-per-second 100 --burst 10",
        "session block MM1",
        "session unblock MM1",
        "session new-life MM1",
        "session disconnect MM1",
        "halt BTCUSDT",
        "cancel-only BTCUSDT",
        "post-only BTCUSDT",
        "resume --all",
        "cancel-all --account 1",
        "cancel-all --market BTCUSDT",
    ] {
        assert!(running.done(line)["seq"].is_u64(), "{line}");
    }
    assert_eq!(running.done("session password MM1")["password"].as_str().map(str::len), Some(10));
    assert_eq!(running.done("session list")["sessions"].as_array().map(Vec::len), Some(0));
    assert_eq!(running.done("session remove MM1 --dry-run")["dry_run"], true);
    assert_eq!(running.done("session remove MM1")["events"][0]["event"], "session_removed");
    running.admin("session disconnect MM1").expect(12);
    let listed = running.done("list");
    assert_eq!(listed["markets"][0]["max_qty"], "5000");
    assert_eq!(listed["accounts"][0]["fee_tier"], 2);
    running.done("close BTCUSDT");
    let reopened = running.admin("resume BTCUSDT").expect(1);
    assert!(reopened.err.contains("status_change"), "{}", reopened.err);

    let page = pinion(&["status", "--url", &running.url]).expect(0).out;
    assert!(page.contains("status                   ok"), "{page}");
    let health = pinion(&["status", "--url", &running.url, "--json"]).expect(0).json();
    assert_eq!(health["watermarks"]["seq_durable"], health["watermarks"]["seq_applied"]);
}

#[test]
fn a_dry_run_changes_nothing_and_refusals_have_exit_codes() {
    let running = Running::start();
    running.done("asset add BTC --scale 8");
    let planned = running.done("account add bob --dry-run");
    assert_eq!(planned["dry_run"], true);
    assert_eq!(running.done("list")["accounts"].as_array().map(Vec::len), Some(0));
    running.admin("asset add BTC --scale 8").expect(1);
    running.admin("asset add btc --scale 8").expect(2);
    running.admin("halt NONE").expect(12);
    running.admin("deposit --account 1 --asset BTC --amount 1 --ref R").expect(12);
    running.admin("halt").expect(2);
    running.admin("halt BTC --all").expect(2);
    running.admin("session add --account 1").expect(2);
    let text = running.admin("account add carol").expect(0);
    assert!(text.out.contains("account: 1\n"), "{}", text.out);
}
