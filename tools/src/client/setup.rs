//! The setup that a tool needs before it can trade: a market, an account, money, a session.
//!
//! The admin API of a running node is one implementation (`http_setup`); tests have another one, for a node in their
//! own process.

use anyhow::{Context, Result};
use api::decimal::{PriceE9, QtyE8};
use book::ids::AccountId;
use book::units::Ppm;
use node::config::secrets::random_text;

/// A market to add, which trades at once.
#[derive(Clone, Debug)]
pub struct NewMarket {
    pub symbol: String,
    pub base: String,
    pub quote: String,
    pub tick: PriceE9,
    pub lot: QtyE8,
    pub qty_max: QtyE8,
    pub maker_fee: Ppm,
    pub taker_fee: Ppm,
}

/// The log-in of a session.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

/// Sets up an exchange by commands in its log. When a call returns, its command is durable.
pub trait Setup {
    /// Adds the asset. An asset of that name that exists is left unchanged.
    fn ensure_asset(&mut self, symbol: &str, scale: u8) -> Result<()>;
    /// Adds the market. A market of that name that exists is left unchanged.
    fn ensure_market(&mut self, market: &NewMarket) -> Result<()>;
    fn add_account(&mut self, name: &str) -> Result<AccountId>;
    fn deposit(&mut self, account: AccountId, asset: &str, amount: QtyE8) -> Result<()>;
    /// Adds a session without cancel-on-disconnect and without a throttle.
    fn add_session(&mut self, account: AccountId, user: &str) -> Result<Credentials>;
}

/// A random name of `len` letters: one of 26^len, so most probably not in use.
pub fn fresh_name(len: usize) -> Result<String> {
    let text = random_text(8 * len).context("the system gives no randomness")?;
    let letters: String = text.chars().filter(char::is_ascii_uppercase).take(len).collect();
    if letters.len() == len { Ok(letters) } else { fresh_name(len) }
}
