//! What a tool needs of an administrator before it can trade: a market of its own, an account, money, a log-in.
//!
//! The admin API of a running node is one maker of it (`http_setup`); tests have one for a node in their own process.

use anyhow::{Context, Result};
use api::decimal::{PriceE9, QtyE8};
use book::ids::AccountId;
use book::units::Ppm;
use node::config::secrets::random_text;

/// A market that trades at once.
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

/// How a session logs in.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

/// Asks the exchange for things by sequenced commands. Each answer means that the thing is there, durably.
pub trait Setup {
    /// Keeps an asset of that name as it is where there is one.
    fn ensure_asset(&mut self, symbol: &str, scale: u8) -> Result<()>;
    /// Keeps a market of that name as it is where there is one.
    fn ensure_market(&mut self, market: &NewMarket) -> Result<()>;
    fn add_account(&mut self, name: &str) -> Result<AccountId>;
    fn deposit(&mut self, account: AccountId, asset: &str, amount: QtyE8) -> Result<()>;
    /// Without cancel-on-disconnect and without a throttle.
    fn add_session(&mut self, account: AccountId, user: &str) -> Result<Credentials>;
}

/// A short name that nobody has yet, most probably: 26^n of them.
pub fn fresh_name(len: usize) -> Result<String> {
    let text = random_text(8 * len).context("the system gives no randomness")?;
    let letters: String = text.chars().filter(char::is_ascii_uppercase).take(len).collect();
    if letters.len() == len { Ok(letters) } else { fresh_name(len) }
}
