//! A node in this process, on a directory of its own: two assets, one market, one trader.
//!
//! The same threads as the product's, wired by the product's own `topology`; only the ports are whatever the system gives.

use anyhow::{Context, Result, anyhow, bail, ensure};
use argon2::password_hash::PasswordHasher;
use argon2::{Algorithm, Argon2, Params, Version};
use book::command::{
    AccountKind, AccountSpec, Admin, CodMode, CodScope, Command, FundsMove, MarketLimits, MarketSpec, MarketStatus,
    SessionSpec, Throttle,
};
use book::engine::Engine;
use book::event::Event;
use book::ids::{AccountId, AssetId, ClientKey, MarketId, Symbol, UserName};
use book::units::{Ppm, QtyLots, Units};
use node::config::{Build, Config};
use node::topology::{Node, start};
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context as Waking, Poll, Waker};
use std::time::{Duration, Instant};
use wal::directory::Directory;
use wal::identity::Identity;
use wal::units::{NodeId, Seq, Timeline};

pub const USER: &str = "BENCH";
pub const PASSWORD: &str = "0123456789";
/// The core that the node is pinned to; its client takes core 0.
pub const NODE_CORE: usize = 1;

/// One whole, in the protocol's units.
pub const QTY_ONE_E8: i64 = 100_000_000;
pub const PRICE_ONE_E9: i64 = 1_000_000_000;

const ANSWER_MAX: Duration = Duration::from_secs(20);

/// When the node acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    Always,
    Interval,
}

impl Sync {
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Interval => "interval",
        }
    }
}

/// A data directory and the configuration of the node that lives in it.
#[derive(Clone, Debug)]
pub struct House {
    config: Config,
}

impl House {
    /// Makes an empty directory at `path`. `more` is TOML behind the bench's own. The line may be silent for long: a disk
    /// that others use can keep an answer back for many seconds, and the bench's client sends nothing meanwhile.
    pub fn build(path: &Path, sync: Sync, more: &str) -> Result<Self> {
        let text = format!(
            "[node]\nenv = \"dev\"\ndata_dir = \"data\"\nidle = \"spin\"\ncore = {NODE_CORE}\n\
             [listen]\norders = \"127.0.0.1:0\"\nmarket = \"127.0.0.1:0\"\nops = \"127.0.0.1:0\"\n\
             http = \"127.0.0.1:0\"\n[session]\nidle_timeout = \"10m\"\n[journal]\nsync = \"{}\"\n{more}",
            sync.name()
        );
        std::fs::create_dir_all(path)?;
        let config = Config::from_parts(&text, path, [], &[], Build::of_this_binary())
            .map_err(|errors| anyhow!("the bench's configuration: {errors:?}"))?;
        let geometry = config.journal.geometry();
        let identity = Identity { node_id: NodeId([7; 16]), timeline: Timeline(1), seq_base: Seq(0), geometry };
        Directory::create(&config.node.data_dir, &identity, 0)?;
        Ok(Self { config })
    }

    /// Starts the node. `observe` sees the engine as recovery left it.
    pub fn open(&self, observe: impl FnOnce(&Engine)) -> Result<Open> {
        Ok(Open { node: Some(start(&self.config, observe)?) })
    }
}

/// A serving node; stopped when dropped.
pub struct Open {
    node: Option<Node>,
}

impl Open {
    pub fn node(&self) -> &Node {
        self.node.as_ref().expect("serving until closed")
    }

    /// Stops as SIGTERM does; everything taken in is stored first.
    pub fn close(mut self) -> Result<()> {
        ensure!(self.end() == Some(0), "the node ended with an error");
        Ok(())
    }

    fn end(&mut self) -> Option<u8> {
        let node = self.node.take()?;
        node.status.stopping.store(true, Ordering::Release);
        Some(node.join())
    }

    /// Two assets, a market with tick 1 and lot 1 without fees, and a trader with plenty of both.
    pub fn furnish(&self) -> Result<MarketId> {
        for symbol in ["GOLD", "USD"] {
            self.admin(Admin::AddAsset { symbol: symbol_of(symbol)?, scale: 8 })?;
        }
        let spec = MarketSpec {
            symbol: symbol_of("GOLDUSD")?,
            base: AssetId(1),
            quote: AssetId(2),
            tick_e9: PRICE_ONE_E9 as u64,
            lot_e8: QTY_ONE_E8 as u64,
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
        let market = match self.admin(Admin::AddMarket(spec))?[..] {
            [Event::MarketAdded(rules)] => rules.id,
            ref other => bail!("adding a market: {other:?}"),
        };
        let spec =
            AccountSpec { name: USER.to_owned(), kind: AccountKind::Client, parent: AccountId::NONE, fee_tier: 0 };
        let account = match self.admin(Admin::AddAccount(spec))?[..] {
            [Event::AccountAdded { account }] => account,
            ref other => bail!("adding an account: {other:?}"),
        };
        for asset in [1, 2] {
            let amount = Units(100_000_000 * QTY_ONE_E8 as u64);
            let funds = FundsMove { account, asset: AssetId(asset), amount, reference: ClientKey(u128::from(asset)) };
            self.admin(Admin::Deposit(funds))?;
        }
        self.admin(Admin::AddSession(session(account)?))?;
        Ok(market)
    }

    fn admin(&self, admin: Admin) -> Result<Vec<Event>> {
        let port = &self.node().admin;
        let mut answer = pin!(port.submit(Command::Admin(Box::new(admin))));
        let mut waking = Waking::from_waker(Waker::noop());
        let deadline = Instant::now() + ANSWER_MAX;
        while Instant::now() < deadline {
            if let Poll::Ready(outcome) = answer.as_mut().poll(&mut waking) {
                return Ok(outcome?.events);
            }
            port.poll();
            std::thread::sleep(Duration::from_micros(200));
        }
        bail!("an administrative command was not answered within {} s", ANSWER_MAX.as_secs())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.end();
    }
}

fn symbol_of(text: &str) -> Result<Symbol> {
    Symbol::new(text).context("a symbol")
}

fn session(account: AccountId) -> Result<SessionSpec> {
    // The smallest cost: the bench measures orders, not the door.
    let params = Params::new(Params::MIN_M_COST, 1, 1, None).map_err(|e| anyhow!("argon2: {e}"))?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash =
        argon.hash_password_with_salt(PASSWORD.as_bytes(), b"saltsaltsaltsalt").map_err(|e| anyhow!("argon2: {e}"))?;
    Ok(SessionSpec {
        account,
        user: UserName::new(USER).context("a user name")?,
        password_hash: hash.to_string(),
        drop_copy: false,
        throttle: Throttle::default(),
        cod_mode: CodMode::Off,
        cod_scope: CodScope::Session,
        cod_window_ms: 0,
    })
}
