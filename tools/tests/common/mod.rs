//! A node in this process, with a directory of its own and ports from the system, and the paths of the recorded days.
#![allow(dead_code)] // Each test binary uses its own part of this.

mod local_setup;
pub(crate) mod page;
pub(crate) mod process;
pub(crate) mod raw_log;
pub(crate) mod s3;
pub(crate) mod trading;
pub(crate) mod traffic;

use api::decimal::{PriceE9, QtyE8};
use book::units::{Ppm, Seq};
use local_setup::LocalSetup;
use node::config::Config;
use node::config::build::Build;
use node::topology::{Node, start};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tools::client::setup::{Credentials, NewMarket, Setup};
use wal::directory::Directory;
use wal::identity::{FORMAT_NEWEST, Identity};
use wal::segment::Geometry;
use wal::units::{Lsn, NodeId, Timeline};

const ONE: i64 = 100_000_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// A data directory with a small head, and the configuration for it.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self::empty();
        let geometry = Geometry { segment_count: 4, segment_bytes: 16 << 20 };
        let identity = Identity {
            format: FORMAT_NEWEST,
            node_id: NodeId([7; 16]),
            timeline: Timeline(1),
            seq_base: Lsn(0),
            geometry,
        };
        Directory::create(&place.data_dir(), &identity, 1 << 20).expect("created");
        place
    }

    /// Without a data directory.
    pub(crate) fn empty() -> Self {
        // Beside the build, hence on a real disk: /tmp may be a tmpfs, which has no O_DIRECT everywhere.
        let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let dir = tempfile::tempdir_in(base).expect("a temporary directory");
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn config(&self) -> Config {
        self.config_with("")
    }

    /// `more` continues the section `listen`; paths are relative to `path()`.
    pub(crate) fn config_with(&self, more: &str) -> Config {
        let text = "[node]\nenv = \"dev\"\ndata_dir = \"data\"\nidle = \"backoff\"\n\
             [listen]\norders = \"127.0.0.1:0\"\nmarket = \"127.0.0.1:0\"\nops = \"127.0.0.1:0\"\n";
        // Whatever else fills the disk of the machine that tests.
        let overrides = [("store.intake_stop_percent", "100")];
        Config::from_parts(&format!("{text}{more}"), self.dir.path(), [], &overrides, Build::of_this_binary())
            .expect("a valid configuration")
    }

    pub(crate) fn start(&self) -> Running {
        self.start_with("")
    }

    /// `more` as in `config_with`; other sections may follow in it.
    pub(crate) fn start_with(&self, more: &str) -> Running {
        Running { node: Some(start(&self.config_with(more), |_| {}).expect("the node starts")) }
    }
}

/// A serving node; stopped when dropped.
pub(crate) struct Running {
    node: Option<Node>,
}

impl Running {
    pub(crate) fn node(&self) -> &Node {
        self.node.as_ref().expect("serving")
    }

    pub(crate) fn setup(&self) -> LocalSetup {
        LocalSetup::new(Arc::clone(&self.node().admin)).expect("a runtime")
    }

    /// Waits until the shadow has written the history of every command: after that the node adds nothing to its log by
    /// itself. It asks for it, because commands without rows, such as the end of a connection, wait for the next that
    /// have some.
    pub(crate) fn settle(&self) {
        let (status, port) = (&self.node().status, &self.node().port);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let settled = runtime.block_on(async {
            let written = async {
                while status.watermarks.history.get().0 < status.watermarks.durable.get().0 {
                    port.wait_for_history(Seq(status.watermarks.durable.get().0)).await.expect("the shadow answers");
                }
            };
            tokio::time::timeout(PATIENCE, written).await
        });
        settled.unwrap_or_else(|_| panic!("the history is not written in {PATIENCE:?}"));
    }

    /// Takes a snapshot and returns its sequence.
    pub(crate) fn snapshot(&self) -> u64 {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let covers = self.node().status.watermarks.released.get();
        let taken = runtime.block_on(self.node().port.snapshot(covers)).expect("the node runs").expect("a snapshot");
        taken.0.tail.seq.0
    }

    /// Stops the node as SIGTERM does and returns its exit code.
    pub(crate) fn stop(mut self) -> u8 {
        self.end().expect("serving")
    }

    fn end(&mut self) -> Option<u8> {
        let node = self.node.take()?;
        node.lifecycle.stop();
        Some(node.join())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Adds a market with tick 0.5 and lot 0.25, and a trader with large balances.
pub(crate) fn stage(running: &Running) -> Credentials {
    let mut setup = running.setup();
    for asset in ["BTC", "USDT"] {
        setup.ensure_asset(asset, 8).expect("added");
    }
    let market = NewMarket {
        symbol: "BTCUSDT".to_owned(),
        base: "BTC".to_owned(),
        quote: "USDT".to_owned(),
        tick: PriceE9(500_000_000),
        lot: QtyE8(ONE / 4),
        qty_max: QtyE8(1_000_000 * ONE),
        maker_fee: Ppm(0),
        taker_fee: Ppm(0),
    };
    setup.ensure_market(&market).expect("added");
    let account = setup.add_account("a trader").expect("added");
    for asset in ["BTC", "USDT"] {
        setup.deposit(account, asset, QtyE8(1_000_000_000 * ONE)).expect("booked");
    }
    setup.add_session(account, "MM1").expect("added")
}

/// The path of a recorded day; `None` on a machine without them, but CI must have them.
pub(crate) fn recorded(name: &str) -> Option<PathBuf> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("PINION_SHARED").map_or(base, PathBuf::from);
    let path = shared.join("data").join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI has the recorded days; {} is missing", path.display());
    eprintln!("{} is not here, so this test proves nothing: set PINION_SHARED", path.display());
    None
}
