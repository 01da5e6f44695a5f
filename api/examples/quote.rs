//! A market maker's first session: quote both sides, amend, resume after a cut, pull the kill switch.
//!
//! `pinion demo` prints the PINION_ variables that this reads. `docs/QUICKSTART.md` says what each step does and
//! prints; `docs/examples/python/quote.py` does and prints the same.
#![allow(clippy::print_stdout)] // A program that shows what it does.

use api::binary::market::InstrumentDefinition;
use api::binary::orders::{
    Answer, EXEC_POST_ONLY, MassCancel, NewOrder, ReplaceOrder, SIDE_BUY, SetSession, StatusRequest,
};
use api::binary::requests::Target;
use api::binary::stream::SessionSeq;
use api::client::{OrderClient, book_sync};
use api::decimal::{PriceE9, QtyE8};
use book::command::{CodMode, CodScope, MassScope, Side};
use book::ids::{ClOrdId, MarketId};
use std::error::Error;
use std::time::Duration;

const GRACE_MS: u32 = 10_000;
const BID: PriceE9 = PriceE9(59_000_000_000_000);
const ASK: PriceE9 = PriceE9(61_000_000_000_000);
const QTY: QtyE8 = QtyE8(25_000_000);
const QTY_MORE: QtyE8 = QtyE8(30_000_000);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Reads and prints answers up to the first one of this kind.
macro_rules! read_until {
    ($client:expr, $kind:ident) => {
        read_until(&mut $client, |answer| if let Answer::$kind(m) = answer { Some(m) } else { None })
    };
}

fn main() -> Outcome<()> {
    let definition = find_market(&setting("PINION_MARKET")?)?;
    let market = MarketId(definition.instrument_id.get());
    let tick = definition.tick_size_e9.get();
    let mut client = log_in(SessionSeq::HEAD)?;

    // Orders outlive a lost connection by the grace window. The answer says which ids are used up.
    client.set_session(&SetSession::cancel_on_disconnect(ClOrdId(0), CodMode::Both, CodScope::Session, GRACE_MS))?;
    let used = read_until!(client, SessionState)?.last_cl_ord_id.get();
    let [bid, ask, bid_amended, ask_amended, late] = std::array::from_fn(|idx| ClOrdId(used + 1 + idx as u64));

    // Quote both sides.
    client.new_order(&limit(bid, market, Side::Buy, BID))?;
    client.new_order(&limit(ask, market, Side::Sell, ASK))?;
    read_until!(client, OrderAccepted)?;
    read_until!(client, OrderAccepted)?;

    // Amend the bid: a tick higher and for more.
    let amended = |target, id, price| ReplaceOrder::open(id, Target::ClOrdId(target), market, PriceE9(price), QTY_MORE);
    client.amend(&amended(bid, bid_amended, BID.0 + tick))?;
    read_until!(client, OrderReplaced)?;

    // Amend the ask, and lose the connection before the answer is read.
    client.amend(&amended(ask, ask_amended, ASK.0 - tick))?;
    let next = client.next_seq();
    drop(client);
    println!("cut");

    // Resume from the next message. What may not have arrived is sent again: under its id it takes effect once.
    let mut client = log_in(next)?;
    client.amend(&amended(ask, ask_amended, ASK.0 - tick))?;
    read_until!(client, OrderReplaced)?;

    // What is open now?
    client.status(&StatusRequest::all(ClOrdId(0), market))?;
    while 0 < read_until!(client, OrderStatus)?.remaining.get() {}

    // Kill switch: cancel all orders of the session, and refuse new ones until an administrator lifts the block.
    client.mass_cancel(&MassCancel { block_new_orders: 1, ..MassCancel::all(ClOrdId(0), MassScope::Session) })?;
    while read_until!(client, MassCancelReport)?.more == 1 {}
    client.new_order(&limit(late, market, Side::Buy, BID))?;
    read_until!(client, OrderRejected)?;
    client.logout()?;
    println!("logged out");
    Ok(())
}

/// The market's definition: a snapshot of the public market data begins with all of them.
fn find_market(symbol: &str) -> Outcome<InstrumentDefinition> {
    let feed = book_sync(setting("PINION_MARKET_DATA")?)?;
    let is_wanted = |name: &[u8]| name.strip_prefix(symbol.as_bytes()).is_some_and(|pad| pad.iter().all(|b| *b == 0));
    let book = feed.depth().books().find(|book| is_wanted(&book.definition().symbol));
    let book = book.ok_or_else(|| format!("there is no market {symbol} in the snapshot; is PINION_MARKET right?"))?;
    let (tick, lot) = (book.definition().tick_size_e9.get(), book.definition().lot_size_e8.get());
    println!("market    {symbol}: instrument {}, tick {}, lot {}", book.instrument(), PriceE9(tick), QtyE8(lot));
    Ok(*book.definition())
}

fn log_in(resume_from: SessionSeq) -> Outcome<OrderClient> {
    let (address, user, password) = (setting("PINION_ORDERS")?, setting("PINION_USER")?, setting("PINION_PASSWORD")?);
    let client = OrderClient::connect(address, &user, &password, resume_from)?;
    println!("login     {}, next message {}", client.session_name().as_str(), client.next_seq().0);
    Ok(client)
}

fn setting(name: &str) -> Outcome<String> {
    std::env::var(name).map_err(|_| format!("{name} is not set: `pinion demo` prints a line that sets it").into())
}

/// An order that rests until it is cancelled. Post-only: it is refused where it would trade at once.
fn limit(id: ClOrdId, market: MarketId, side: Side, price: PriceE9) -> NewOrder {
    NewOrder { exec_inst: EXEC_POST_ONLY, ..NewOrder::limit(id, market, side, price, QTY) }
}

fn read_until<M>(client: &mut OrderClient, wanted: impl Fn(Answer) -> Option<M>) -> Outcome<M> {
    loop {
        let received = client.poll(ANSWER_WITHIN)?.ok_or("no answer within 10 s")?;
        let number = received.seq.map_or(String::from("-"), |seq| seq.0.to_string());
        println!("{number:>6}    {}", describe(&received.message));
        if let Some(message) = wanted(received.message) {
            return Ok(message);
        }
        let reason = match received.message {
            Answer::OrderRejected(m) => m.reason,
            Answer::CancelRejected(m) => m.reason,
            _ => continue,
        };
        return Err(format!("refused with reason {reason}: see Reject reasons in docs/protocol/ORDER-ENTRY.md").into());
    }
}

fn describe(answer: &Answer) -> String {
    let side = |side: u8| if side == SIDE_BUY { "buy" } else { "sell" };
    let price = |price_e9: zerocopy::little_endian::I64| PriceE9(price_e9.get());
    let qty = |qty_e8: zerocopy::little_endian::I64| QtyE8(qty_e8.get());
    match answer {
        Answer::SessionState(m) => {
            let (open, used, grace_ms) = (m.open_orders, m.last_cl_ord_id, m.cod_window_ms);
            format!("session   {open} open orders, last client id {used}, grace {grace_ms} ms")
        }
        Answer::OrderAccepted(m) => {
            format!("accepted  {}: {} {} at {}", m.cl_ord_id, side(m.side), qty(m.qty_e8), price(m.price_e9))
        }
        Answer::OrderReplaced(m) => {
            let (target, id, leaves) = (m.orig_cl_ord_id, m.cl_ord_id, qty(m.leaves_qty_e8));
            format!("replaced  {target} by {id}: {} {leaves} at {}", side(m.side), price(m.price_e9))
        }
        Answer::OrderExecuted(m) => {
            format!("executed  {}: {} {} at {}", m.cl_ord_id, side(m.side), qty(m.last_qty_e8), price(m.last_px_e9))
        }
        Answer::OrderStatus(m) => {
            format!("open      {}: {} {} at {}", m.cl_ord_id, side(m.side), qty(m.leaves_qty_e8), price(m.price_e9))
        }
        Answer::OrderCanceled(m) => {
            format!("canceled  {}: {} {}, reason {}", m.cl_ord_id, side(m.side), qty(m.canceled_qty_e8), m.reason)
        }
        Answer::MassCancelReport(m) => {
            let new_orders = if m.kill_switch_active == 1 { "blocked" } else { "accepted" };
            format!("report    {} orders canceled, new orders are {new_orders}", m.affected_orders)
        }
        Answer::OrderRejected(m) => format!("rejected  {}: reason {}", m.cl_ord_id, m.reason),
        other => format!("{other:?}"),
    }
}
