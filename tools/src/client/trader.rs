//! One request on an order session: log in, send it, read every answer to it, log out.

use crate::client::node_address::NodeAddress;
use crate::terminal::answer_text::{answer_json, answer_text, is_refusal};
use anyhow::{Context, Result, bail};
use api::binary::orders::{Answer, OrderStatus, StatusRequest};
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
    /// The same for a new order, about which there is an answer before that, unless its client order id was used.
    Placed(Target),
    /// With the last report of a mass cancel, and the status of the orders that are open on this market then.
    MassCanceled(MarketId),
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
        let asked = ClOrdId(id.0.wrapping_add(1));
        client.status(&match until {
            Until::StatusOf(target) | Until::Placed(target) => StatusRequest::one(asked, target, MarketId::NONE),
            Until::MassCanceled(market) => StatusRequest::all(asked, market),
        })?;
        let (mut code, mut is_answered) = (exit::OK, false);
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let Some(received) = client.poll(deadline.saturating_duration_since(Instant::now()))? else {
                let seconds = ANSWER_TIMEOUT.as_secs();
                bail!("no answer from {address} within {seconds} s; the request may still take effect");
            };
            let answer = received.message;
            let status = match answer {
                Answer::OrderStatus(m) if m.req_cl_ord_id.get() == asked.0 => Some(m),
                _ => None,
            };
            if let Some(status) = status {
                client.logout()?;
                self.check_end(id, until, is_answered, &status)?;
                return Ok(code);
            }
            self.print(&answer);
            is_answered |= match answer {
                Answer::OrderAccepted(m) => m.cl_ord_id.get() == id.0,
                Answer::OrderRejected(m) => m.cl_ord_id.get() == id.0,
                _ => false,
            };
            if is_refusal(&answer) {
                code = exit::FAILED;
            }
        }
    }

    /// Prints what is open after a request for one order, and fails if the request did not do what it says.
    fn check_end(&self, id: ClOrdId, until: Until, is_answered: bool, status: &OrderStatus) -> Result<()> {
        match until {
            Until::Placed(_) if !is_answered => bail!(
                "no order was placed: client order id {} was used before on session {}, or a larger one was; give a \
                 larger --cl-ord-id, or none",
                id.0,
                self.user
            ),
            Until::StatusOf(_) | Until::Placed(_) => self.print(&Answer::OrderStatus(*status)),
            Until::MassCanceled(_) if status.order_id.get() != 0 => bail!(
                "{} orders are still open: they were not cancelled, or were placed since",
                u64::from(status.remaining.get()) + 1
            ),
            Until::MassCanceled(_) => {}
        }
        Ok(())
    }

    fn print(&self, answer: &Answer) {
        let line = if self.json { answer_json(answer).map(|v| v.to_string()) } else { answer_text(answer) };
        if let Some(line) = line {
            println!("{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn trader() -> Trader {
        let (user, password) = ("MM1".to_owned(), String::new());
        Trader { user, password, config: None, orders: None, market_data: None, json: false, dry_run: false }
    }

    /// In a halt under rules 1 no order is cancelled, and the report says 0 of a book that is full.
    #[test]
    fn orders_that_stay_open_fail_a_mass_cancel() {
        let mut status = OrderStatus::new_zeroed();
        let end =
            |status: &OrderStatus| trader().check_end(ClOrdId(1), Until::MassCanceled(MarketId::NONE), false, status);
        assert!(end(&status).is_ok(), "none is open");
        status.order_id = 7.into();
        status.remaining = 4.into();
        let error = end(&status).expect_err("five are open").to_string();
        assert!(error.starts_with("5 orders are still open"), "{error}");
    }
}
