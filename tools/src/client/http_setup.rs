//! Setting up through a running node's admin API: one JSON request per command.

use crate::client::ops_client::OpsClient;
use crate::client::setup::{Credentials, NewMarket, Setup};
use anyhow::{Context, Result, bail};
use api::decimal::QtyE8;
use book::ids::AccountId;
use serde_json::{Value, json};

pub struct HttpSetup {
    ops: OpsClient,
}

impl HttpSetup {
    /// `ops` must have the administrator's token.
    pub fn new(ops: OpsClient) -> Self {
        Self { ops }
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self.ops.post(path, body)?;
        match answer.status {
            200 => Ok(answer.body),
            status => bail!("POST {path}: the node answered {status} {}", answer.body),
        }
    }

    /// Whether the registry's list (`assets`, `markets`) has an entry with that symbol.
    fn has(&self, list: &str, symbol: &str) -> Result<bool> {
        let answer = self.ops.get("/admin/registry")?;
        let entries = answer.body[list].as_array();
        let entries = entries
            .with_context(|| format!("GET /admin/registry: the node answered {} {}", answer.status, answer.body))?;
        Ok(entries.iter().any(|entry| entry["symbol"] == symbol))
    }
}

impl Setup for HttpSetup {
    fn ensure_asset(&mut self, symbol: &str, scale: u8) -> Result<()> {
        if !self.has("assets", symbol)? {
            self.post("/admin/asset/add", &json!({ "symbol": symbol, "scale": scale }))?;
        }
        Ok(())
    }

    fn ensure_market(&mut self, market: &NewMarket) -> Result<()> {
        if self.has("markets", &market.symbol)? {
            return Ok(());
        }
        let body = json!({
            "symbol": market.symbol,
            "base": market.base,
            "quote": market.quote,
            "tick": market.tick.to_string(),
            "lot": market.lot.to_string(),
            "max_qty": market.qty_max.to_string(),
            "maker_fee_ppm": market.maker_fee.0,
            "taker_fee_ppm": market.taker_fee.0,
        });
        self.post("/admin/market/add", &body).map(|_answer| ())
    }

    fn add_account(&mut self, name: &str) -> Result<AccountId> {
        let answer = self.post("/admin/account/add", &json!({ "name": name }))?;
        let account = answer["account"].as_u64().and_then(|id| u32::try_from(id).ok());
        account.map(AccountId).with_context(|| format!("POST /admin/account/add: the answer has no account: {answer}"))
    }

    fn deposit(&mut self, account: AccountId, asset: &str, amount: QtyE8) -> Result<()> {
        let reference = format!("setup {} {asset}", account.0);
        let body = json!({ "account": account.0, "asset": asset, "amount": amount.to_string(), "ref": reference });
        self.post("/admin/deposit", &body).map(|_answer| ())
    }

    fn add_session(&mut self, account: AccountId, user: &str) -> Result<Credentials> {
        let body = json!({ "account": account.0, "user": user, "cancel_on_disconnect": "off" });
        let answer = self.post("/admin/session/add", &body)?;
        let password = answer["password"].as_str();
        let password = password.context("POST /admin/session/add: the answer has no password")?.to_owned();
        Ok(Credentials { user: user.to_owned(), password })
    }
}
