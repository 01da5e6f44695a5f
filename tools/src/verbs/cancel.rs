//! `pinion cancel`: cancels one order, or all orders of an account, over the binary port.

use crate::client::market_data::{definition, market_id};
use crate::client::trader::{Trader, Until};
use crate::terminal::clock::fresh_cl_ord_id;
use anyhow::{Result, bail};
use api::binary::orders::{CancelOrder, MassCancel};
use api::binary::requests::Target;
use api::client::OrderClient;
use book::command::MassScope;
use book::ids::{ClOrdId, MarketId, OrderId};
use clap::Args;
use node::status::exit;
use zerocopy::little_endian::U32;

/// Cancel one order, or every open order of the account.
#[derive(Args, Debug)]
pub struct Cancel {
    #[command(flatten)]
    trader: Trader,
    /// The exchange's id of the order
    #[arg(long, value_name = "ID", group = "which")]
    order_id: Option<u64>,
    /// The order's client order id, on the same session
    #[arg(long, value_name = "ID", group = "which")]
    cl_ord_id: Option<u64>,
    /// Every open order of the account
    #[arg(long, group = "which")]
    all: bool,
    /// Only on this market
    #[arg(long, value_name = "MARKET")]
    market: Option<String>,
}

impl Cancel {
    pub fn run(&self) -> Result<u8> {
        let market = match &self.market {
            Some(symbol) => market_id(&definition(self.trader.market_address()?, symbol)?),
            None => MarketId::NONE,
        };
        let id = fresh_cl_ord_id();
        let target = match (self.order_id, self.cl_ord_id, self.all) {
            (Some(order_id), ..) => Target::OrderId(OrderId(order_id)),
            (_, Some(cl_ord_id), _) => Target::ClOrdId(ClOrdId(cl_ord_id)),
            (.., true) => return self.all(id, market),
            _ => bail!("no order was named: give --order-id, --cl-ord-id or --all"),
        };
        if self.trader.dry_run {
            println!("would cancel {target:?} at {}", self.trader.orders_address()?);
            return Ok(exit::OK);
        }
        let send = |client: &mut OrderClient| Ok(client.cancel(&CancelOrder::new(id, target, market))?);
        self.trader.ask(id, send, Until::StatusOf(target))
    }

    fn all(&self, id: ClOrdId, market: MarketId) -> Result<u8> {
        if self.trader.dry_run {
            println!("would cancel every order of the account at {}", self.trader.orders_address()?);
            return Ok(exit::OK);
        }
        let mass = MassCancel { instrument_id: U32::new(market.0), ..MassCancel::all(id, MassScope::Account) };
        self.trader.ask(id, |client| Ok(client.mass_cancel(&mass)?), Until::MassCanceled(market))
    }
}
