//! A node in this process, on a data directory of its own: two assets, one market, one trader or many.
//!
//! The node has the product's threads, wired by the product's own `topology`; only the ports are free ones.

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
use book::fees::MarketFees;
use book::ids::{AccountId, AssetId, ClientKey, MarketId, Symbol, UserName};
use book::units::{Ppm, QtyLots, TsNs, UNITS_MAX, Units};
use node::config::Config;
use node::config::build::Build;
use node::host::threads::leave_cores;
use node::topology::{Node, claim, start_claimed};
use std::future::Future;
use std::ops::Deref;
use std::path::Path;
use std::pin::pin;
use std::task::{Context as Waking, Poll, Waker};
use std::time::{Duration, Instant};
use wal::directory::Directory;
use wal::identity::{FORMAT_NEWEST, Identity};
use wal::recover::inspect;
use wal::units::{Lsn, NodeId, Timeline};

pub const USER: &str = "BENCH";
pub const PASSWORD: &str = "0123456789";
/// The one market that `setup_commands` makes.
pub const MARKET: MarketId = MarketId(1);
/// The core to which the node is pinned; its client is pinned to core 0.
pub const NODE_CORE: usize = 1;

/// A quantity and a price of one, in the protocol's units.
pub const QTY_ONE_E8: i64 = 100_000_000;
pub const PRICE_ONE_E9: i64 = 1_000_000_000;

const ANSWER_MAX: Duration = Duration::from_secs(20);

/// When the node acknowledges a command: `journal.sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sync {
    /// After its frame is synced.
    Always,
    /// When it is applied; the frame is synced later.
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

/// A data directory and the configuration of its node.
#[derive(Clone, Debug)]
pub struct Fixture {
    config: Config,
}

impl Fixture {
    /// Makes an empty data directory in `path`. `more` is TOML that follows the bench's own. The idle timeout is long,
    /// because a shared disk can delay an answer by many seconds, and the bench's client sends nothing meanwhile.
    pub fn build(path: &Path, sync: Sync, more: &str) -> Result<Self> {
        Self::build_with(path, sync, more, &[])
    }

    /// The same with values that override both, each under its `section.key`.
    pub fn build_with(path: &Path, sync: Sync, more: &str, values: &[(&str, &str)]) -> Result<Self> {
        let text = format!(
            "[node]\nenv = \"dev\"\ndata_dir = \"data\"\nidle = \"spin\"\ncore = {NODE_CORE}\n\
             [listen]\norders = \"127.0.0.1:0\"\nmarket = \"127.0.0.1:0\"\nops = \"127.0.0.1:0\"\n\
             [session]\nidle_timeout = \"10m\"\n[journal]\nsync = \"{}\"\n{more}",
            sync.name()
        );
        std::fs::create_dir_all(path)?;
        let config = Config::from_parts(&text, path, [], values, Build::of_this_binary())
            .map_err(|errors| anyhow!("the bench's configuration: {errors:?}"))?;
        let geometry = config.journal.geometry();
        let identity = Identity {
            format: FORMAT_NEWEST,
            node_id: NodeId([7; 16]),
            timeline: Timeline(1),
            seq_base: Lsn(0),
            geometry,
        };
        Directory::create(&config.node.data_dir, &identity, 0)?;
        Ok(Self { config })
    }

    /// Writes commands into the log of a directory that no node has used yet, thousands of them in one sync; returns
    /// their number.
    pub fn write_log(&self, commands: impl IntoIterator<Item = Command>) -> Result<u64> {
        const RECORDS_PER_FRAME: u32 = 256;
        let directory = Directory::open(&self.config.node.data_dir)?;
        let mut log = LogWriter::new(&directory, RECORDS_PER_FRAME)?;
        for (number, command) in (1..).zip(commands) {
            log.append(TsNs(number), &command)?;
        }
        Ok(log.finish()?.records)
    }

    /// Fails unless a restart recovers so many commands, so many orders at rest, and a state that verifies.
    pub fn check(&self, commands_logged: u64, resting: u64) -> Result<()> {
        let commands = self.commands()?;
        ensure!(
            commands == commands_logged,
            "the log holds {commands} commands, expected {commands_logged}: each that was answered"
        );
        let mut state = None;
        let node = self.start(|engine| {
            let resting: u64 = engine.sessions().iter().map(|(_, session)| u64::from(session.open_count)).sum();
            state = Some((engine.verify(), resting));
        })?;
        node.stop()?;
        let (verdict, rests) = state.context("the node started without a recovered engine")?;
        verdict.map_err(|fault| anyhow!("the recovered state does not verify: {fault:?}"))?;
        ensure!(rests == resting, "{rests} orders rest after the restart, expected {resting}: each that the flow left");
        Ok(())
    }

    /// Counts the commands in the log of the stopped node, without what the node records of itself.
    pub fn commands(&self) -> Result<u64> {
        let directory = Directory::open_read_only(&self.config.node.data_dir)?;
        let mut commands = 0;
        inspect(&directory, Lsn(1), |_, bytes| {
            commands += u64::from(!is_of_node(&codec::decode(bytes)?.command));
            Ok(())
        })?;
        Ok(commands)
    }

    /// Starts the node. `observe` is shown the engine as recovery left it.
    pub fn start(&self, observe: impl FnOnce(&Engine)) -> Result<RunningNode> {
        let _kept_off = leave_cores(&self.config.node);
        // A log that a bench has written has times of its own, whatever the wall clock shows.
        let claim = claim(&self.config)?.accept_clock();
        Ok(RunningNode { node: Some(start_claimed(&self.config, claim, observe)?) })
    }
}

/// Whether the node itself wrote the command: of its checks, its runs, and the connections that ended.
fn is_of_node(command: &Command) -> bool {
    match command {
        Command::Check(_) | Command::Opened(_) | Command::ConnectionEnd(_) => true,
        Command::Acted(acted) => matches!(acted.admin(), Some(Admin::BeginRun(_))),
        _ => false,
    }
}

/// A running node; stopped when dropped.
pub struct RunningNode {
    node: Option<Node>,
}

impl Deref for RunningNode {
    type Target = Node;

    fn deref(&self) -> &Node {
        self.node.as_ref().expect("only `stop` and `drop` take the node, and nothing follows them")
    }
}

impl RunningNode {
    /// Stops the node as SIGTERM does: every accepted command is stored first.
    pub fn stop(mut self) -> Result<()> {
        let code = self.end();
        ensure!(code == Some(0), "the node ended with exit code {code:?}, expected 0");
        Ok(())
    }

    fn end(&mut self) -> Option<u8> {
        let node = self.node.take()?;
        node.lifecycle.stop();
        Some(node.join())
    }

    /// Sends the commands that set the exchange up for one trader, each after the answer to the one before.
    pub fn set_up(&self) -> Result<MarketId> {
        for admin in setup_commands(&[USER.to_owned()])? {
            let events = self.admin(admin)?;
            ensure!(!matches!(events[..], [Event::AdminRejected { .. }]), "setting the exchange up: {events:?}");
        }
        Ok(MARKET)
    }

    #[expect(clippy::disallowed_methods, reason = "a benchmark waits for the node between two looks")]
    fn admin(&self, admin: Admin) -> Result<Vec<Event>> {
        let port = &self.admin;
        let mut answer = pin!(port.submit(admin.into()));
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

impl Drop for RunningNode {
    fn drop(&mut self) {
        self.end();
    }
}

fn symbol_of(text: &str) -> Result<Symbol> {
    Symbol::new(text).with_context(|| format!("{text:?} is not a symbol"))
}

/// Commands for two assets, a market with tick 1, lot 1 and no fees, and for every user an account, a session and large
/// balances of both assets.
pub fn setup_commands(users: &[String]) -> Result<Vec<Admin>> {
    let limits =
        MarketLimits { qty_min: QtyLots(1), qty_max: QtyLots(1_000_000), notional_min: Units(0), price_band: Ppm(0) };
    let market = MarketSpec {
        symbol: symbol_of("GOLDUSD")?,
        base: AssetId(1),
        quote: AssetId(2),
        tick_e9: PRICE_ONE_E9 as u64,
        lot_e8: QTY_ONE_E8 as u64,
        limits,
        fees: MarketFees::NONE,
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

/// The smallest cost that argon2 allows, because the bench measures orders and not logins.
fn password_hash() -> Result<String> {
    let params = Params::new(Params::MIN_M_COST, 1, 1, None).map_err(|e| anyhow!("argon2: {e}"))?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon.hash_password_with_salt(PASSWORD.as_bytes(), b"saltsaltsaltsalt");
    Ok(hash.map_err(|e| anyhow!("argon2: {e}"))?.to_string())
}

fn session(account: AccountId, user: &str, password_hash: &str) -> Result<SessionSpec> {
    Ok(SessionSpec {
        account,
        user: UserName::new(user).with_context(|| format!("{user:?} is not a user name"))?,
        password_hash: password_hash.to_owned(),
        drop_copy: false,
        throttle: Throttle::default(),
        cod_mode: CodMode::Off,
        cod_scope: CodScope::Session,
        cod_window_ms: 0,
    })
}
