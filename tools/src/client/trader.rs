//! One request on an order session: log in, send it, read every answer to it, log out.

use crate::client::node_address::NodeAddress;
use crate::terminal::answer_text::{answer_json, answer_text, is_refusal};
use anyhow::{Context, Result, bail};
use api::binary::orders::{Answer, StatusRequest};
use api::binary::requests::Target;
use api::binary::stream::SessionSeq;
use api::client::OrderClient;
use book::ids::{ClOrdId, MarketId};
use clap::Args;
use node::status::exit;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The options of verbs that trade: a session's log-in, and the node's addresses.
#[derive(Args, Clone, Debug)]
pub struct Trader {
    /// Log-in name of the session
    #[arg(long)]
    pub user: String,
    #[arg(long, env = "PINION_PASSWORD", hide_env_values = true)]
    pub password: String,
    /// The node's configuration, for its addresses
    #[arg(long, value_name = "FILE", env = "PINION_CONFIG")]
    pub config: Option<PathBuf>,
    /// Order entry [default: 127.0.0.1:9001]
    #[arg(long, value_name = "ADDR")]
    pub orders: Option<SocketAddr>,
    /// Market data, for the market's number, tick and lot [default: 127.0.0.1:9002]
    #[arg(long, value_name = "ADDR")]
    pub market_data: Option<SocketAddr>,
    /// Print one line of JSON per answer
    #[arg(long)]
    pub json: bool,
    /// Print what would be sent, and send nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// When the answers to a request are complete.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// With the status of this order, which is requested right after the request.
    StatusOf(Target),
    /// With the last report of a mass cancel.
    MassCanceled,
}

impl Trader {
    pub fn orders_address(&self) -> Result<SocketAddr> {
        Ok(self.addresses().resolve()?.orders)
    }

    pub fn market_address(&self) -> Result<SocketAddr> {
        Ok(self.addresses().resolve()?.market)
    }

    fn addresses(&self) -> NodeAddress {
        let (config, orders, market) = (self.config.clone(), self.orders, self.market_data);
        NodeAddress { config, orders, market, ..NodeAddress::default() }
    }

    /// Sends one request and prints every answer to it. The exit code is 1 when the node refuses it.
    pub fn ask(&self, id: ClOrdId, send: impl FnOnce(&mut OrderClient) -> Result<()>, until: Until) -> Result<u8> {
        let address = self.orders_address()?;
        let mut client = OrderClient::connect(address, &self.user, &self.password, SessionSeq::HEAD)
            .with_context(|| format!("logging in as {} at {address} (--user, --password, --orders)", self.user))?;
        send(&mut client)?;
        // A session's requests are answered in order: after this answer, none is about the request.
        let asked = ClOrdId(id.0 + 1);
        if let Until::StatusOf(target) = until {
            client.status(&StatusRequest::one(asked, target, MarketId::NONE))?;
        }
        let mut code = exit::OK;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let Some(received) = client.poll(deadline.saturating_duration_since(Instant::now()))? else {
                let seconds = ANSWER_TIMEOUT.as_secs();
                bail!("no answer from {address} within {seconds} s; the request may still take effect");
            };
            let answer = received.message;
            self.print(&answer);
            if is_refusal(&answer) {
                code = exit::FAILED;
            }
            let is_last = match answer {
                Answer::OrderStatus(m) => m.req_cl_ord_id.get() == asked.0,
                Answer::MassCancelReport(m) => matches!(until, Until::MassCanceled) && m.more == 0,
                Answer::OrderRejected(_) => matches!(until, Until::MassCanceled),
                _ => false,
            };
            if is_last {
                client.logout()?;
                return Ok(code);
            }
        }
    }

    fn print(&self, answer: &Answer) {
        let line = if self.json { answer_json(answer).map(|v| v.to_string()) } else { answer_text(answer) };
        if let Some(line) = line {
            println!("{line}");
        }
    }
}
