//! Setting up a node in this process, through its own admin port.

use anyhow::{Context, Result, bail};
use api::decimal::QtyE8;
use book::command::{
    AccountKind, AccountSpec, Admin, CodMode, CodScope, FundsMove, MarketLimits, MarketSpec, MarketStatus, SessionSpec,
    Throttle,
};
use book::event::Event;
use book::fees::MarketFees;
use book::ids::{AccountId, AssetId, ClientKey, Symbol, UserName};
use book::units::{Ppm, QtyLots, Units};
use node::config::secrets::NewPassword;
use node::rings::admin_port::AdminPort;
use std::sync::Arc;
use std::time::Duration;
use tools::client::setup::{Credentials, NewMarket, Setup};

/// A node in this process.
pub(crate) struct LocalSetup {
    port: Arc<AdminPort>,
    runtime: tokio::runtime::Runtime,
    /// Every asset that was added, with its id and scale.
    assets: Vec<(String, AssetId, u8)>,
}

impl LocalSetup {
    pub(crate) fn new(port: Arc<AdminPort>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self { port, runtime: runtime.context("starting a runtime")?, assets: Vec::new() })
    }

    fn submit(&self, admin: Admin) -> Result<Vec<Event>> {
        let answer = self.runtime.block_on(async {
            let answer = self.port.submit(admin.into());
            tokio::pin!(answer);
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut answer => break outcome,
                    // The answers move only when the port is polled, and no other thread does that here.
                    () = tokio::time::sleep(Duration::from_millis(1)) => { self.port.poll(); }
                }
            }
        });
        Ok(answer?.events)
    }

    fn asset(&self, symbol: &str) -> Result<(AssetId, u8)> {
        let known = self.assets.iter().find(|(name, ..)| name == symbol);
        known.map(|(_, id, scale)| (*id, *scale)).with_context(|| format!("asset {symbol} was not added"))
    }
}

impl Setup for LocalSetup {
    fn ensure_asset(&mut self, symbol: &str, scale: u8) -> Result<()> {
        let name = Symbol::new(symbol).with_context(|| format!("{symbol:?} is not the name of an asset"))?;
        match self.submit(Admin::AddAsset { symbol: name, scale })?[..] {
            [Event::AssetAdded(asset)] => self.assets.push((symbol.to_owned(), asset.id, scale)),
            [Event::AdminRejected { reason }] => bail!("adding asset {symbol}: {reason}"),
            ref other => bail!("adding asset {symbol}: {other:?}"),
        }
        Ok(())
    }

    fn ensure_market(&mut self, market: &NewMarket) -> Result<()> {
        let spec = MarketSpec {
            symbol: Symbol::new(&market.symbol)
                .with_context(|| format!("{:?} is not the name of a market", market.symbol))?,
            base: self.asset(&market.base)?.0,
            quote: self.asset(&market.quote)?.0,
            tick_e9: market.tick.0.unsigned_abs(),
            lot_e8: market.lot.0.unsigned_abs(),
            limits: MarketLimits {
                qty_min: QtyLots(1),
                qty_max: QtyLots((market.qty_max.0 / market.lot.0).unsigned_abs()),
                notional_min: Units(0),
                price_band: Ppm(0),
            },
            fees: MarketFees::received(market.maker_fee, market.taker_fee),
            status: MarketStatus::Trading,
        };
        match self.submit(Admin::AddMarket(spec))?[..] {
            [Event::MarketAdded(_)] => Ok(()),
            [Event::AdminRejected { reason }] => bail!("adding market {}: {reason}", market.symbol),
            ref other => bail!("adding market {}: {other:?}", market.symbol),
        }
    }

    fn add_account(&mut self, name: &str) -> Result<AccountId> {
        let spec =
            AccountSpec { name: name.to_owned(), kind: AccountKind::Client, parent: AccountId::NONE, fee_tier: 0 };
        match self.submit(Admin::AddAccount(spec))?[..] {
            [Event::AccountAdded { account }] => Ok(account),
            [Event::AdminRejected { reason }] => bail!("adding account {name}: {reason}"),
            ref other => bail!("adding account {name}: {other:?}"),
        }
    }

    fn deposit(&mut self, account: AccountId, asset: &str, amount: QtyE8) -> Result<()> {
        let (id, scale) = self.asset(asset)?;
        let per_unit = 10i64.pow(book::instrument::QTY_WIRE_SCALE - u32::from(scale));
        let reference = format!("{}/{asset}", account.0);
        let key = u128::from_le_bytes(std::array::from_fn(|idx| reference.as_bytes().get(idx).copied().unwrap_or(0)));
        let amount = Units((amount.0 / per_unit).unsigned_abs());
        let funds = FundsMove { account, asset: id, amount, reference: ClientKey(key) };
        match self.submit(Admin::Deposit(funds))?[..] {
            [Event::FundsMoved { .. }] => Ok(()),
            [Event::AdminRejected { reason }] => bail!("depositing {asset}: {reason}"),
            ref other => bail!("depositing {asset}: {other:?}"),
        }
    }

    fn add_session(&mut self, account: AccountId, user: &str) -> Result<Credentials> {
        let drawn = NewPassword::draw()?;
        let spec = SessionSpec {
            account,
            user: UserName::new(user)
                .with_context(|| format!("{user:?} is not a user name: 1 to 6 letters and digits"))?,
            password_hash: drawn.hash,
            drop_copy: false,
            throttle: Throttle::default(),
            cod_mode: CodMode::Off,
            cod_scope: CodScope::Session,
            cod_window_ms: 0,
        };
        match self.submit(Admin::AddSession(spec))?[..] {
            [Event::SessionAdded { .. }] => {
                Ok(Credentials { user: user.to_owned(), password: drawn.password.expose().to_owned() })
            }
            [Event::AdminRejected { reason }] => bail!("adding session {user}: {reason}"),
            ref other => bail!("adding session {user}: {other:?}"),
        }
    }
}
