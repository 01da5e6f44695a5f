//! `pinion order`: places one order over the binary port and prints every answer to it.

use crate::client::market_data::{definition, market_id};
use crate::client::trader::{Trader, Until};
use crate::terminal::clock::fresh_cl_ord_id;
use anyhow::{Context, Result, bail, ensure};
use api::binary::market::InstrumentDefinition;
use api::binary::orders::{EXEC_PERSIST_ON_DISCONNECT, EXEC_POST_ONLY, NewOrder, TIF_FOK, TIF_GTC, TIF_IOC};
use api::binary::requests::Target;
use api::decimal::{PriceE9, QtyE8};
use book::command::Side;
use book::ids::ClOrdId;
use clap::{Args, ValueEnum};
use node::status::exit;

/// Place one order, print every answer to it, and what is open of it then.
#[derive(Args, Debug)]
pub struct Order {
    #[command(flatten)]
    trader: Trader,
    /// The market's name
    #[arg(long, value_name = "MARKET")]
    market: String,
    #[arg(long, value_enum)]
    side: SideWord,
    #[arg(long = "type", value_enum, default_value = "limit")]
    order_type: TypeWord,
    /// Price, a decimal number and a multiple of the market's tick
    #[arg(long)]
    price: Option<String>,
    /// Quantity, a decimal number and a multiple of the market's lot
    #[arg(long)]
    qty: String,
    /// Time in force [default: gtc for a limit order, ioc for a market order]
    #[arg(long, value_enum)]
    tif: Option<TifWord>,
    /// Refuse the order where it would trade at once
    #[arg(long)]
    post_only: bool,
    /// Client order id, larger than every id that the session has used [default: from the time of day]
    #[arg(long, value_name = "ID")]
    cl_ord_id: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SideWord {
    Buy,
    Sell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TypeWord {
    Limit,
    Market,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TifWord {
    Gtc,
    Ioc,
    Fok,
}

impl Order {
    pub fn run(&self) -> Result<u8> {
        let definition = definition(self.trader.market_address()?, &self.market)?;
        let cl_ord_id = self.cl_ord_id.map_or_else(fresh_cl_ord_id, ClOrdId);
        let order = self.order(cl_ord_id, &definition)?;
        if self.trader.dry_run {
            println!("would send {order:?} to {}", self.trader.orders_address()?);
            return Ok(exit::OK);
        }
        let send = |client: &mut api::client::OrderClient| Ok(client.new_order(&order)?);
        self.trader.ask(cl_ord_id, send, Until::Placed(Target::ClOrdId(cl_ord_id)))
    }

    fn order(&self, cl_ord_id: ClOrdId, definition: &InstrumentDefinition) -> Result<NewOrder> {
        let market = market_id(definition);
        let side = if self.side == SideWord::Buy { Side::Buy } else { Side::Sell };
        let qty = on_grid("--qty", &self.qty, QtyE8::parse(&self.qty)?.0, definition.lot_size_e8.get(), show_qty)?;
        let order = match (self.order_type, &self.price) {
            (TypeWord::Market, None) => NewOrder::market(cl_ord_id, market, side, QtyE8(qty)),
            (TypeWord::Limit, Some(price)) => {
                let parsed = PriceE9::parse(price).with_context(|| format!("--price {price:?}"))?;
                let price = on_grid("--price", price, parsed.0, definition.tick_size_e9.get(), show_price)?;
                NewOrder::limit(cl_ord_id, market, side, PriceE9(price), QtyE8(qty))
            }
            (TypeWord::Market, Some(_)) => bail!("--type market has no price; omit --price"),
            (TypeWord::Limit, None) => bail!("--type limit needs a price; give --price"),
        };
        let tif = match (self.tif, self.order_type) {
            (None, TypeWord::Limit) | (Some(TifWord::Gtc), TypeWord::Limit) => TIF_GTC,
            (None | Some(TifWord::Ioc), _) => TIF_IOC,
            (Some(TifWord::Fok), _) => TIF_FOK,
            (Some(TifWord::Gtc), TypeWord::Market) => bail!("a market order does not rest; give --tif ioc or fok"),
        };
        ensure!(!self.post_only || tif == TIF_GTC, "--post-only is for orders that rest; give --tif gtc");
        // This tool logs out at once, and a resting order has to stay open after that.
        let rests = if tif == TIF_GTC { EXEC_PERSIST_ON_DISCONNECT } else { 0 };
        let post_only = if self.post_only { EXEC_POST_ONLY } else { 0 };
        Ok(NewOrder { tif, exec_inst: rests | post_only, ..order })
    }
}

/// The node would refuse a value that is not a multiple of the step; this error also says what the step is.
fn on_grid(name: &str, text: &str, value: i64, step: i64, show: fn(i64) -> String) -> Result<i64> {
    ensure!(0 < value, "{name} {text:?} must be above zero");
    ensure!(value % step == 0, "{name} {text:?} must be a multiple of the market's step, {}", show(step));
    Ok(value)
}

fn show_price(price_e9: i64) -> String {
    PriceE9(price_e9).to_string()
}

fn show_qty(qty_e8: i64) -> String {
    QtyE8(qty_e8).to_string()
}
