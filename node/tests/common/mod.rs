//! A node in this process, on a data directory of its own and free ports, and what tests do with it.
#![allow(dead_code)] // Each test binary uses a part of this module.

pub(crate) mod abused;
pub(crate) mod disk;
pub(crate) mod fake_sockets;
pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod log;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod replay;

use api::binary::orders::{Answer, NewOrder};
use api::binary::stream::SessionSeq;
use api::client::{BookFollower, OrderClient, Received, book_sync};
use api::decimal::{PriceE9, QtyE8};
use argon2::password_hash::PasswordHasher;
use argon2::{Algorithm, Argon2, Params, Version};
use book::command::{
    AccountKind, AccountSpec, Act, Acted, Admin, CodMode, CodScope, FundsMove, MarketLimits, MarketSpec, MarketStatus,
    SessionSpec, Side, Throttle,
};
use book::event::Event;
use book::fees::MarketFees;
use book::ids::{AccountId, AssetId, ClOrdId, ClientKey, MarketId, Symbol, UserName};
use book::units::{Ppm, QtyLots, Units};
use node::config::Config;
use node::config::build::Build;
use node::topology::{Node, start};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wal::directory::Directory;
use wal::identity::{FORMAT_NEWEST, Identity};
use wal::segment::Geometry;
use wal::units::{Lsn, NodeId, Timeline};

pub(crate) const PASSWORD: &str = "0123456789";
/// A core that no machine has, so that the node runs unpinned: tests run in parallel, and none may occupy a core alone.
const NO_CORE: usize = 1023;
/// Longest wait for an answer; a slow machine needs most of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A quantity of one, in units of 1e-8.
pub(crate) const ONE: i64 = 100_000_000;
/// A price of one quote unit, in units of 1e-9.
pub(crate) const PRICE_ONE: i64 = 1_000_000_000;

pub(crate) fn price(units: i64) -> PriceE9 {
    PriceE9(units * PRICE_ONE)
}

pub(crate) fn qty(units: i64) -> QtyE8 {
    QtyE8(units * ONE)
}

/// A data directory with a small head, and the configuration of its node.
pub(crate) struct NodeDir {
    pub dir: TempDir,
    pub extra: String,
    threads: String,
}

impl NodeDir {
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// `extra` is TOML that follows the configuration's first two sections.
    pub(crate) fn with(extra: &str) -> Self {
        // In the build directory, which is on a disk: /tmp may be a tmpfs, and not every tmpfs offers O_DIRECT.
        let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let dir = tempfile::tempdir_in(base).expect("a temporary directory");
        create_directory(&dir.path().join("data"));
        Self { dir, extra: extra.to_owned(), threads: "single".to_owned() }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn config(&self) -> Config {
        let text = self.config_text(&self.extra);
        // Whatever else fills the disk of the machine that tests.
        let overrides = [("store.intake_stop_percent", "100")];
        Config::from_parts(&text, self.dir.path(), [], &overrides, Build::of_this_binary())
            .expect("a valid configuration")
    }

    /// The same with `node.threads` set.
    pub(crate) fn with_threads(threads: &str, extra: &str) -> Self {
        let node_dir = Self::with(extra);
        Self { threads: threads.to_owned(), ..node_dir }
    }

    /// The same below `base`, for a test with a disk of its own.
    pub(crate) fn at(base: &Path, extra: &str) -> Self {
        let dir = tempfile::tempdir_in(base).expect("a temporary directory");
        create_directory(&dir.path().join("data"));
        Self { dir, extra: extra.to_owned(), threads: "single".to_owned() }
    }

    /// `extra` may begin with more keys of `[listen]`.
    fn config_text(&self, extra: &str) -> String {
        let (data_dir, threads) = (self.data_dir(), &self.threads);
        format!(
            "[node]\nenv = \"dev\"\ndata_dir = {data_dir:?}\nidle = \"backoff\"\nthreads = {threads:?}\ncore = {NO_CORE}\n\
             share_cores = true\n\
             [listen]\norders = \"127.0.0.1:0\"\nmarket = \"127.0.0.1:0\"\nops = \"127.0.0.1:0\"\n\
             {extra}"
        )
    }

    /// Writes the configuration to a file for the binary.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.config_file_with(&self.extra)
    }

    pub(crate) fn config_file_with(&self, extra: &str) -> PathBuf {
        self.config_file_in(self.dir.path(), extra)
    }

    /// Writes the configuration to a file in `dir`, which may lie outside of the disk that a test takes away.
    pub(crate) fn config_file_in(&self, dir: &Path, extra: &str) -> PathBuf {
        let path = dir.join("node.toml");
        std::fs::write(&path, self.config_text(extra)).expect("the file is writable");
        path
    }

    pub(crate) fn start(&self) -> RunningNode {
        self.try_start().expect("the node starts")
    }

    pub(crate) fn try_start(&self) -> Result<RunningNode, node::topology::error::StartError> {
        start(&self.config(), |_| {}).map(|node| RunningNode { node: Some(node) })
    }
}

/// Creates a data directory with a small head.
pub(crate) fn create_directory(path: &Path) {
    let geometry = Geometry { segment_count: 4, segment_bytes: 4 << 20 };
    let identity =
        Identity { format: FORMAT_NEWEST, node_id: NodeId([9; 16]), timeline: Timeline(1), seq_base: Lsn(0), geometry };
    Directory::create(path, &identity, 1 << 20).expect("the path is new");
}

/// A running node; stopped when dropped.
pub(crate) struct RunningNode {
    node: Option<Node>,
}

impl RunningNode {
    pub(crate) fn node(&self) -> &Node {
        self.node.as_ref().expect("the node runs")
    }

    /// Stops the node as SIGTERM does; returns the exit code.
    pub(crate) fn stop(mut self) -> u8 {
        self.end().expect("the node runs")
    }

    fn end(&mut self) -> Option<u8> {
        let node = self.node.take()?;
        node.lifecycle.stop();
        Some(node.join())
    }

    pub(crate) fn orders(&self) -> SocketAddr {
        self.node().addresses.orders
    }

    /// Sends an administrator's command; returns its events when they are durable.
    pub(crate) fn admin(&self, admin: Admin) -> Vec<Event> {
        self.act(Act::Admin(admin))
    }

    pub(crate) fn act(&self, act: Act) -> Vec<Event> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let port = &self.node().admin;
        let answer = runtime.block_on(async {
            let answer = port.submit(Acted::by_ops(act));
            tokio::pin!(answer);
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut answer => break outcome,
                    () = tokio::time::sleep(Duration::from_millis(1)) => { port.poll(); }
                }
            }
        });
        answer.expect("the node answered").events
    }

    /// Adds two assets and a market with tick 1, lot 1 and no fees.
    pub(crate) fn add_market(&self) -> MarketId {
        for (symbol, id) in [("GOLD", 1), ("USD", 2)] {
            let symbol = Symbol::new(symbol).expect("the value is valid");
            let events = self.admin(Admin::AddAsset { symbol, scale: 8 });
            assert!(matches!(events[..], [Event::AssetAdded(asset)] if asset.id == AssetId(id)), "{events:?}");
        }
        let spec = MarketSpec {
            symbol: Symbol::new("GOLDUSD").expect("the value is valid"),
            base: AssetId(1),
            quote: AssetId(2),
            tick_e9: PRICE_ONE as u64,
            lot_e8: ONE as u64,
            limits: MarketLimits {
                qty_min: QtyLots(1),
                qty_max: QtyLots(1_000_000),
                notional_min: Units(0),
                price_band: Ppm(0),
            },
            fees: MarketFees::NONE,
            status: MarketStatus::Trading,
        };
        match self.admin(Admin::AddMarket(spec))[..] {
            [Event::MarketAdded(rules)] => rules.id,
            ref other => panic!("{other:?}"),
        }
    }

    /// Adds an account with large balances of both assets and a session whose user is `user`.
    pub(crate) fn add_trader(&self, user: &str) -> AccountId {
        let spec =
            AccountSpec { name: user.to_owned(), kind: AccountKind::Client, parent: AccountId::NONE, fee_tier: 0 };
        let account = match self.admin(Admin::AddAccount(spec))[..] {
            [Event::AccountAdded { account }] => account,
            ref other => panic!("{other:?}"),
        };
        for asset in [1, 2] {
            let funds = FundsMove {
                account,
                asset: AssetId(asset),
                amount: Units(1_000_000_000 * ONE as u64 / 10),
                reference: ClientKey(u128::from(account.0) << 8 | u128::from(asset)),
            };
            let events = self.admin(Admin::Deposit(funds));
            assert!(matches!(events[..], [Event::FundsMoved { repeated: false, .. }]), "{events:?}");
        }
        self.add_session(account, user, CodMode::Off);
        account
    }

    pub(crate) fn add_session(&self, account: AccountId, user: &str, cod_mode: CodMode) {
        self.add_session_spec(SessionSpec { cod_mode, ..session_spec(account, user) });
    }

    /// Adds a session that receives the messages of all others of the account.
    pub(crate) fn add_drop_copy(&self, account: AccountId, user: &str) {
        self.add_session_spec(SessionSpec { drop_copy: true, ..session_spec(account, user) });
    }

    pub(crate) fn add_session_spec(&self, spec: SessionSpec) {
        let events = self.admin(Admin::AddSession(spec));
        assert!(matches!(events[..], [Event::SessionAdded { .. }]), "{events:?}");
    }

    pub(crate) fn connect(&self, user: &str, from: SessionSeq) -> OrderClient {
        OrderClient::connect(self.orders(), user, PASSWORD, from).expect("logged in")
    }

    pub(crate) fn follow(&self) -> BookFollower {
        book_sync(self.node().addresses.market).expect("a snapshot and the live stream")
    }
}

impl Drop for RunningNode {
    fn drop(&mut self) {
        self.end();
    }
}

/// A session without throttle and without cancel on disconnect.
pub(crate) fn session_spec(account: AccountId, user: &str) -> SessionSpec {
    SessionSpec {
        account,
        user: UserName::new(user).expect("the value is valid"),
        password_hash: quick_hash(PASSWORD),
        drop_copy: false,
        throttle: Throttle::default(),
        cod_mode: CodMode::Off,
        cod_scope: CodScope::Session,
        cod_window_ms: 0,
    }
}

/// A password hash of the smallest cost, because these tests do not test argon2.
pub(crate) fn quick_hash(password: &str) -> String {
    let params = Params::new(Params::MIN_M_COST, 1, 1, None).expect("the value is valid");
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon
        .hash_password_with_salt(password.as_bytes(), b"saltsaltsaltsalt")
        .expect("the parameters are valid")
        .to_string()
}

/// The next answer; panics when none arrives in time.
pub(crate) fn next(client: &mut OrderClient) -> Received<Answer> {
    client.poll(PATIENCE).expect("connected").expect("an answer in time")
}

pub(crate) fn limit(id: u64, market: MarketId, side: Side, at: i64, lots: i64) -> NewOrder {
    NewOrder::limit(ClOrdId(id), market, side, price(at), qty(lots))
}

/// Waits until `reached` returns true; panics with `what` when it does not in time.
pub(crate) fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "not reached in {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
