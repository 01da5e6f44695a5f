//! A node in this process, on a directory of its own and ports that the system gives.
#![allow(dead_code)] // Each test binary uses its own part of this.

pub mod abused;
pub mod disk;
pub mod files;
pub mod load;
pub mod process;
pub mod raw;

use api::binary::orders::{Answer, NewOrder};
use api::binary::stream::SessionSeq;
use api::client::{BookFollower, OrderClient, Received, book_sync};
use api::decimal::{PriceE9, QtyE8};
use argon2::password_hash::PasswordHasher;
use argon2::{Algorithm, Argon2, Params, Version};
use book::command::{
    AccountKind, AccountSpec, Admin, CodMode, CodScope, Command, FundsMove, MarketLimits, MarketSpec, MarketStatus,
    SessionSpec, Side, Throttle,
};
use book::event::Event;
use book::ids::{AccountId, AssetId, ClOrdId, ClientKey, MarketId, Symbol, UserName};
use book::units::{Ppm, QtyLots, Units};
use node::config::{Build, Config};
use node::topology::{Node, start};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wal::directory::Directory;
use wal::identity::Identity;
use wal::segment::Geometry;
use wal::units::{Lsn, NodeId, Timeline};

pub const PASSWORD: &str = "0123456789";
/// No machine has so many: tests run beside each other, and none shall have a core to itself.
const NO_CORE: usize = 1023;
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One whole in 1e-8.
pub const ONE: i64 = 100_000_000;
/// One whole quote unit as a price in 1e-9.
pub const PRICE_ONE: i64 = 1_000_000_000;

pub fn price(whole: i64) -> PriceE9 {
    PriceE9(whole * PRICE_ONE)
}

pub fn qty(whole: i64) -> QtyE8 {
    QtyE8(whole * ONE)
}

/// A data directory with a small head, and the configuration for it.
pub struct Place {
    pub dir: TempDir,
    pub extra: String,
    threads: String,
}

impl Place {
    pub fn new() -> Self {
        Self::with("")
    }

    /// `extra` is more of the configuration.
    pub fn with(extra: &str) -> Self {
        // Beside the build, hence on a real disk: /tmp may be a tmpfs, which has no O_DIRECT everywhere.
        let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let dir = tempfile::tempdir_in(base).expect("a temporary directory");
        create_directory(&dir.path().join("data"));
        Self { dir, extra: extra.to_owned(), threads: "single".to_owned() }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn config(&self) -> Config {
        let text = self.config_text(&self.extra);
        Config::from_parts(&text, self.dir.path(), [], &[], Build::of_this_binary()).expect("a valid configuration")
    }

    /// With other threads than `single`.
    pub fn with_threads(threads: &str, extra: &str) -> Self {
        let place = Self::with(extra);
        Self { threads: threads.to_owned(), ..place }
    }

    /// A directory of a node under `base`, for disks of a test's own.
    pub fn at(base: &Path, extra: &str) -> Self {
        let dir = tempfile::tempdir_in(base).expect("a temporary directory");
        create_directory(&dir.path().join("data"));
        Self { dir, extra: extra.to_owned(), threads: "single".to_owned() }
    }

    /// `extra` may begin with more keys of `[listen]`.
    fn config_text(&self, extra: &str) -> String {
        let (data_dir, threads) = (self.data_dir(), &self.threads);
        format!(
            "[node]\nenv = \"dev\"\ndata_dir = {data_dir:?}\nidle = \"backoff\"\nthreads = {threads:?}\ncore = {NO_CORE}\n\
             [listen]\norders = \"127.0.0.1:0\"\nmarket = \"127.0.0.1:0\"\nops = \"127.0.0.1:0\"\n\
             http = \"127.0.0.1:0\"\n{extra}"
        )
    }

    /// The configuration as a file, for the binary.
    pub fn config_file(&self) -> PathBuf {
        self.config_file_with(&self.extra)
    }

    pub fn config_file_with(&self, extra: &str) -> PathBuf {
        self.config_file_in(self.dir.path(), extra)
    }

    /// The configuration as a file in `dir`, where it outlives the disk under the data directory.
    pub fn config_file_in(&self, dir: &Path, extra: &str) -> PathBuf {
        let path = dir.join("node.toml");
        std::fs::write(&path, self.config_text(extra)).expect("written");
        path
    }

    pub fn start(&self) -> Running {
        self.try_start().expect("the node starts")
    }

    pub fn try_start(&self) -> Result<Running, node::topology::error::StartError> {
        start(&self.config(), |_| {}).map(|node| Running { node: Some(node) })
    }
}

/// A new data directory with a small head.
pub fn create_directory(path: &Path) {
    let geometry = Geometry { segment_count: 4, segment_bytes: 4 << 20 };
    let identity = Identity { node_id: NodeId([9; 16]), timeline: Timeline(1), seq_base: Lsn(0), geometry };
    Directory::create(path, &identity, 1 << 20).expect("created");
}

/// A serving node; stopped when dropped.
pub struct Running {
    node: Option<Node>,
}

impl Running {
    pub fn node(&self) -> &Node {
        self.node.as_ref().expect("serving")
    }

    /// Stops as SIGTERM does and gives the exit code.
    pub fn stop(mut self) -> u8 {
        self.end().expect("serving")
    }

    fn end(&mut self) -> Option<u8> {
        let node = self.node.take()?;
        node.lifecycle.stop();
        Some(node.join())
    }

    pub fn orders(&self) -> SocketAddr {
        self.node().addresses.orders
    }

    /// Sends an administrator's command and gives its events, once they are durable.
    pub fn admin(&self, admin: Admin) -> Vec<Event> {
        self.command(Command::Admin(Box::new(admin)))
    }

    pub fn command(&self, command: Command) -> Vec<Event> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let port = &self.node().admin;
        let answer = runtime.block_on(async {
            let answer = port.submit(command);
            tokio::pin!(answer);
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut answer => break outcome,
                    () = tokio::time::sleep(Duration::from_millis(1)) => { port.poll(); }
                }
            }
        });
        answer.expect("answered").events
    }

    /// Two assets, a market with tick 1 and lot 1, no fees.
    pub fn add_market(&self) -> MarketId {
        for (symbol, id) in [("GOLD", 1), ("USD", 2)] {
            let symbol = Symbol::new(symbol).expect("valid");
            let events = self.admin(Admin::AddAsset { symbol, scale: 8 });
            assert!(matches!(events[..], [Event::AssetAdded(asset)] if asset.id == AssetId(id)), "{events:?}");
        }
        let spec = MarketSpec {
            symbol: Symbol::new("GOLDUSD").expect("valid"),
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
            maker_fee: Ppm(0),
            taker_fee: Ppm(0),
            status: MarketStatus::Trading,
        };
        match self.admin(Admin::AddMarket(spec))[..] {
            [Event::MarketAdded(rules)] => rules.id,
            ref other => panic!("{other:?}"),
        }
    }

    /// An account with plenty of both assets and a session that logs in as `user`.
    pub fn add_trader(&self, user: &str) -> AccountId {
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

    pub fn add_session(&self, account: AccountId, user: &str, cod_mode: CodMode) {
        self.add_session_spec(SessionSpec { cod_mode, ..session_spec(account, user) });
    }

    /// A session that reads along with all others of the account.
    pub fn add_drop_copy(&self, account: AccountId, user: &str) {
        self.add_session_spec(SessionSpec { drop_copy: true, ..session_spec(account, user) });
    }

    pub fn add_session_spec(&self, spec: SessionSpec) {
        let events = self.admin(Admin::AddSession(spec));
        assert!(matches!(events[..], [Event::SessionAdded { .. }]), "{events:?}");
    }

    pub fn connect(&self, user: &str, from: SessionSeq) -> OrderClient {
        OrderClient::connect(self.orders(), user, PASSWORD, from).expect("logged in")
    }

    pub fn follow(&self) -> BookFollower {
        book_sync(self.node().addresses.market).expect("a snapshot and the live stream")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// A session without throttle and without cancel-on-disconnect.
pub fn session_spec(account: AccountId, user: &str) -> SessionSpec {
    SessionSpec {
        account,
        user: UserName::new(user).expect("valid"),
        password_hash: quick_hash(PASSWORD),
        drop_copy: false,
        throttle: Throttle::default(),
        cod_mode: CodMode::Off,
        cod_scope: CodScope::Session,
        cod_window_ms: 0,
    }
}

/// A hash of the smallest cost: tests check the door, not argon2.
pub fn quick_hash(password: &str) -> String {
    let params = Params::new(Params::MIN_M_COST, 1, 1, None).expect("valid");
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon.hash_password_with_salt(password.as_bytes(), b"saltsaltsaltsalt").expect("hashed").to_string()
}

/// The next answer; panics when none comes.
pub fn next(client: &mut OrderClient) -> Received<Answer> {
    client.poll(PATIENCE).expect("connected").expect("an answer in time")
}

pub fn limit(id: u64, market: MarketId, side: Side, at: i64, lots: i64) -> NewOrder {
    NewOrder::limit(ClOrdId(id), market, side, price(at), qty(lots))
}

/// Looks again until it is so.
pub fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "in {PATIENCE:?} it did not come to this: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
