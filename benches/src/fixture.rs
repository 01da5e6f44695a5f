//! A node in this process, on a directory of its own: two assets, one market, one trader or many.
//!
//! The same threads as the product's, wired by the product's own `topology`; only the ports are whatever the system gives.

use crate::log_writer::LogWriter;
use anyhow::{Context, Result, anyhow, bail, ensure};
use argon2::password_hash::PasswordHasher;
use argon2::{Algorithm, Argon2, Params, Version};
use book::codec;
use book::command::{
    AccountKind, AccountSpec, Admin, CodMode, CodScope, Command, FundsMove, MarketLimits, MarketSpec, MarketStatus,
    SessionSpec, Throttle,
};
use book::engine::Engine;
use book::event::Event;
use book::ids::{AccountId, AssetId, ClientKey, MarketId, Symbol, UserName};
use book::units::{Ppm, QtyLots, TsNs, UNITS_MAX, Units};
use node::config::{Build, Config};
use node::topology::{Node, start};
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::{Context as Waking, Poll, Waker};
use std::time::{Duration, Instant};
use wal::directory::Directory;
use wal::identity::Identity;
use wal::recover::inspect;
use wal::units::{Lsn, NodeId, Timeline};

pub const USER: &str = "BENCH";
pub const PASSWORD: &str = "0123456789";
/// The one market that `furnishing` makes.
pub const MARKET: MarketId = MarketId(1);
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
        Self::build_with(path, sync, more, &[])
    }

    /// The same with values over both, each under its `section.key`.
    pub fn build_with(path: &Path, sync: Sync, more: &str, values: &[(&str, &str)]) -> Result<Self> {
        let text = format!(
            "[node]\nenv = \"dev\"\ndata_dir = \"data\"\nidle = \"spin\"\ncore = {NODE_CORE}\n\
             [listen]\norders = \"127.0.0.1:0\"\nmarket = \"127.0.0.1:0\"\nops = \"127.0.0.1:0\"\n\
             http = \"127.0.0.1:0\"\n[session]\nidle_timeout = \"10m\"\n[journal]\nsync = \"{}\"\n{more}",
            sync.name()
        );
        std::fs::create_dir_all(path)?;
        let config = Config::from_parts(&text, path, [], values, Build::of_this_binary())
            .map_err(|errors| anyhow!("the bench's configuration: {errors:?}"))?;
        let geometry = config.journal.geometry();
        let identity = Identity { node_id: NodeId([7; 16]), timeline: Timeline(1), seq_base: Lsn(0), geometry };
        Directory::create(&config.node.data_dir, &identity, 0)?;
        Ok(Self { config })
    }

    /// Writes commands into the log of a house that no node has lived in yet; thousands of them at once.
    pub fn write_log(&self, commands: impl IntoIterator<Item = Command>) -> Result<u64> {
        const RECORDS_PER_FRAME: u32 = 256;
        let directory = Directory::open(&self.config.node.data_dir)?;
        let mut log = LogWriter::new(&directory, RECORDS_PER_FRAME)?;
        for (number, command) in (1..).zip(commands) {
            log.append(TsNs(number), &command)?;
        }
        Ok(log.finish()?.records)
    }

    /// What a restart makes of the log: so many commands, so many orders at rest, and a state that verifies.
    pub fn check(&self, logged: u64, resting: u64) -> Result<()> {
        let commands = self.commands()?;
        ensure!(commands == logged, "the log holds {commands} commands where {logged} were answered");
        let mut state = None;
        let open = self.open(|engine| {
            let resting: u64 = engine.sessions().iter().map(|(_, session)| u64::from(session.open_count)).sum();
            state = Some((engine.verify(), resting));
        })?;
        open.close()?;
        let (verdict, rests) = state.context("the node showed its engine")?;
        verdict.map_err(|fault| anyhow!("the recovered state: {fault:?}"))?;
        ensure!(rests == resting, "{rests} orders rest where the flow left {resting}");
        Ok(())
    }

    /// Commands in the whole log of the stopped node, but for the live engine's own checks.
    pub fn commands(&self) -> Result<u64> {
        let directory = Directory::open_read_only(&self.config.node.data_dir)?;
        let mut commands = 0;
        inspect(&directory, Lsn(1), |_, bytes| {
            commands += u64::from(!matches!(codec::decode(bytes)?.command, Command::Check(_)));
            Ok(())
        })?;
        Ok(commands)
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
        node.lifecycle.stop();
        Some(node.join())
    }

    /// Sends what furnishes a house for one trader, each command after the other was answered.
    pub fn furnish(&self) -> Result<MarketId> {
        for admin in furnishing(&[USER.to_owned()])? {
            let events = self.admin(admin)?;
            ensure!(!matches!(events[..], [Event::AdminRejected { .. }]), "furnishing the house: {events:?}");
        }
        Ok(MARKET)
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

/// Two assets, a market with tick 1 and lot 1 without fees, and for every user an account with plenty of both.
pub fn furnishing(users: &[String]) -> Result<Vec<Admin>> {
    let limits =
        MarketLimits { qty_min: QtyLots(1), qty_max: QtyLots(1_000_000), notional_min: Units(0), price_band: Ppm(0) };
    let market = MarketSpec {
        symbol: symbol_of("GOLDUSD")?,
        base: AssetId(1),
        quote: AssetId(2),
        tick_e9: PRICE_ONE_E9 as u64,
        lot_e8: QTY_ONE_E8 as u64,
        limits,
        maker_fee: Ppm(0),
        taker_fee: Ppm(0),
        status: MarketStatus::Trading,
    };
    let mut commands = vec![
        Admin::AddAsset { symbol: symbol_of("GOLD")?, scale: 8 },
        Admin::AddAsset { symbol: symbol_of("USD")?, scale: 8 },
        Admin::AddMarket(market),
    ];
    let amount = Units((UNITS_MAX / users.len() as u64).min(100_000_000 * QTY_ONE_E8 as u64));
    let password_hash = password_hash()?;
    for (user, account) in users.iter().zip((1..).map(AccountId)) {
        let kind = AccountKind::Client;
        commands.push(Admin::AddAccount(AccountSpec {
            name: user.clone(),
            kind,
            parent: AccountId::NONE,
            fee_tier: 0,
        }));
        for asset in [1, 2] {
            let reference = ClientKey(u128::from(account.0) << 32 | u128::from(asset));
            let funds = FundsMove { account, asset: AssetId(asset), amount, reference };
            commands.push(Admin::Deposit(funds));
        }
        commands.push(Admin::AddSession(session(account, user, &password_hash)?));
    }
    Ok(commands)
}

/// The smallest cost: the bench measures orders, not the door.
fn password_hash() -> Result<String> {
    let params = Params::new(Params::MIN_M_COST, 1, 1, None).map_err(|e| anyhow!("argon2: {e}"))?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon.hash_password_with_salt(PASSWORD.as_bytes(), b"saltsaltsaltsalt");
    Ok(hash.map_err(|e| anyhow!("argon2: {e}"))?.to_string())
}

fn session(account: AccountId, user: &str, password_hash: &str) -> Result<SessionSpec> {
    Ok(SessionSpec {
        account,
        user: UserName::new(user).context("a user name")?,
        password_hash: password_hash.to_owned(),
        drop_copy: false,
        throttle: Throttle::default(),
        cod_mode: CodMode::Off,
        cod_scope: CodScope::Session,
        cod_window_ms: 0,
    })
}
