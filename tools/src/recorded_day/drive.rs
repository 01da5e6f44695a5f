//! Sends a recorded day to a node's order port and compares the node's public feed with it.
//!
//! ```text
//!  day --commands, up to WINDOW ahead--> order port          sent and not yet compared: WINDOW at most
//!  answers, in the order of the commands ---+
//!  live feed, in the order of the log ------+--> compare: command by command, the book as it was after each
//! ```
//! One session sends everything, because the order of arrival is given only within a session. Its one account trades
//! with itself (`StpMode::None`): a day proves the book, and money that never leaves an account never runs out.
//!
//! The feed messages of a command are known exactly: the answers say whether it changed the public book, the feed ends
//! every command's messages with `lastInEvent`, and both carry the command's time. The book that is checked is built
//! from those messages alone, so it is the book after that command, however far ahead the sender is.

use crate::client::market_data::PublicHeader;
use crate::recorded_day::day::{Action, Check, Day, DayCommand, ExpectedTop, ExpectedTrade, SHARE_E8, TimeInForce};
use crate::recorded_day::published_book::PublishedBook;
use anyhow::{Context, Result, bail, ensure};
use api::binary::depth::{DepthBook, Level};
use api::binary::market::{MarketMessage, OrderExecuted};
use api::binary::orders::{Answer, CancelOrder, LIQUIDITY_TAKER, MassCancel, NewOrder, ReplaceOrder, TIF_IOC};
use api::binary::reasons::reason_of;
use api::binary::requests::Target;
use api::client::{BookFollower, OrderClient};
use api::decimal::{PriceE9, QtyE8};
use api::instruments::saturated_sum;
use book::command::{MassScope, Side, StpMode};
use book::ids::{ClOrdId, MarketId};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use zerocopy::little_endian::U32;

/// Commands sent and not yet compared. It bounds the answers that the node queues for this session, and is large enough
/// to keep the frames of the node's journal full.
const WINDOW: usize = 4096;
/// A node that sends nothing for this long has failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// The outcome of a day, with its first difference.
#[derive(Debug, Default)]
pub struct Comparison {
    pub commands: u64,
    pub trades_expected: u64,
    pub trades_equal: u64,
    pub rows_checked: u64,
    pub rows_equal: u64,
    pub difference_first: Option<String>,
    pub differences: u64,
    pub elapsed: Duration,
}

impl Comparison {
    pub fn is_equal(&self) -> bool {
        self.differences == 0 && self.trades_equal == self.trades_expected && self.rows_equal == self.rows_checked
    }

    fn differ(&mut self, line: u32, what: &str) {
        self.differences += 1;
        self.difference_first.get_or_insert_with(|| format!("line {line}: {what}"));
    }
}

/// An order of the day as the sender knows it.
#[derive(Clone, Copy, Debug)]
struct Entered {
    /// Its current client order id: an amendment changes it.
    cl_ord_id: ClOrdId,
    price: PriceE9,
    /// The total quantity, less reductions. It includes what has traded, because only the node knows that.
    shares: i64,
}

/// The effect of a command, as its answers describe it.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// It changed the public book, at this time.
    Public {
        ts_ns: u64,
    },
    /// It took effect without a change of the public book.
    NotPublic,
    Refused {
        reason: u16,
    },
    /// One part of a mass cancel; the next part follows as a command of its own.
    Continued {
        ts_ns: u64,
    },
}

pub struct DayReplay<'a> {
    orders: OrderClient,
    feed: BookFollower,
    market: MarketId,
    price_unit: PriceE9,
    published: Option<&'a PublishedBook>,
    /// By the day's own ids. The id of an order that is gone may be entered again, and then means the new order.
    entered: HashMap<u64, Entered>,
    /// The day's own ids, by the exchange's order ids.
    day_ids: HashMap<u64, u64>,
    cl_ord_id_first: u64,
    sent: usize,
    /// The trades of the command that is being compared.
    trades: Vec<OrderExecuted>,
    comparison: Comparison,
}

impl<'a> DayReplay<'a> {
    pub fn new(
        orders: OrderClient,
        feed: BookFollower,
        market: MarketId,
        cl_ord_id_first: ClOrdId,
        day: &Day,
        published: Option<&'a PublishedBook>,
    ) -> Result<Self> {
        ensure!(published.is_some() || !day.needs_book(), "the day refers to rows of its published book; give --book");
        let book = feed.depth().book(market.0).context("the market is not in the node's snapshot")?;
        ensure!(
            book.order_count() == 0,
            "the market has {} open orders, and a day starts from the empty book; give another --symbol",
            book.order_count()
        );
        Ok(Self {
            orders,
            feed,
            market,
            price_unit: day.price_unit,
            published,
            entered: HashMap::new(),
            day_ids: HashMap::new(),
            cl_ord_id_first: cl_ord_id_first.0,
            sent: 0,
            trades: Vec::new(),
            comparison: Comparison::default(),
        })
    }

    /// Sends and compares every command of the day. `progress` is called from time to time with the number of commands
    /// compared.
    pub fn run(mut self, day: &Day, mut progress: impl FnMut(usize)) -> Result<Comparison> {
        let started = Instant::now();
        for (idx, command) in day.commands.iter().enumerate() {
            if self.sent - idx <= WINDOW / 2 {
                self.send_ahead(day, idx + WINDOW)?;
                progress(idx);
            }
            self.compare(idx, command).with_context(|| format!("comparing line {}", command.line))?;
        }
        self.comparison.commands = day.commands.len() as u64;
        self.comparison.elapsed = started.elapsed();
        self.orders.logout()?;
        Ok(self.comparison)
    }

    fn send_ahead(&mut self, day: &Day, until: usize) -> Result<()> {
        let until = until.min(day.commands.len());
        for command in &day.commands[self.sent..until] {
            self.send(command).with_context(|| format!("sending line {}", command.line))?;
            self.sent += 1;
        }
        self.orders.flush()?;
        Ok(())
    }

    /// The `idx`-th command has the `idx`-th client order id, so an answer is matched without a table.
    fn cl_ord_id(&self, idx: usize) -> ClOrdId {
        ClOrdId(self.cl_ord_id_first + idx as u64)
    }

    fn send(&mut self, command: &DayCommand) -> Result<()> {
        let cl_ord_id = self.cl_ord_id(self.sent);
        let market = self.market;
        match command.action {
            Action::New { id, side, price, shares, tif } => {
                self.entered.insert(id, Entered { cl_ord_id, price, shares });
                let mut order = NewOrder::limit(cl_ord_id, market, side, price, QtyE8(shares * SHARE_E8));
                order.stp_mode = StpMode::None as u8;
                if tif == TimeInForce::Ioc {
                    order.tif = TIF_IOC;
                }
                self.orders.queue(&order)?;
            }
            Action::Cancel { id } => {
                let target = Target::ClOrdId(self.entered(id)?.cl_ord_id);
                self.orders.queue(&CancelOrder::new(cl_ord_id, target, market))?;
            }
            Action::Reduce { id, shares } => {
                let order = self.entered(id)?;
                let Entered { cl_ord_id: before, price, .. } = *order;
                order.cl_ord_id = cl_ord_id;
                order.shares = order.shares.saturating_sub(shares);
                // As a total quantity: the sender is ahead of the trades and cannot know what is open. A day that takes
                // more off an order than it had gives one below zero, which the node refuses.
                let qty = QtyE8(order.shares.saturating_mul(SHARE_E8));
                self.orders.queue(&ReplaceOrder::total(cl_ord_id, Target::ClOrdId(before), market, price, qty))?;
            }
            Action::Clear => {
                let all = MassCancel::all(cl_ord_id, MassScope::Account);
                self.orders.queue(&MassCancel { instrument_id: U32::new(market.0), ..all })?;
            }
        }
        Ok(())
    }

    fn entered(&mut self, id: u64) -> Result<&mut Entered> {
        self.entered.get_mut(&id).with_context(|| format!("order {id} was never entered"))
    }

    /// Waits for the command's answers and its messages in the feed, and compares both with the day.
    fn compare(&mut self, idx: usize, command: &DayCommand) -> Result<()> {
        self.trades.clear();
        loop {
            match self.outcome(self.cl_ord_id(idx), command)? {
                Outcome::Public { ts_ns } => self.read_public(ts_ns)?,
                Outcome::NotPublic => {}
                Outcome::Refused { reason } => {
                    let why = reason_of(reason).map_or(format!("reason {reason}"), |reason| format!("{reason:?}"));
                    self.comparison.differ(command.line, &format!("the node refused {:?}: {why}", command.action));
                }
                Outcome::Continued { ts_ns } => {
                    self.read_public(ts_ns)?;
                    continue;
                }
            }
            break;
        }
        self.compare_trades(command);
        for (line, check) in &command.checks {
            self.check(*line, check)?;
        }
        Ok(())
    }

    /// Reads answers up to the one that determines the command's outcome. Others on the way are about earlier commands.
    fn outcome(&mut self, cl_ord_id: ClOrdId, command: &DayCommand) -> Result<Outcome> {
        let id = cl_ord_id.0;
        loop {
            let answer = self.orders.poll(ANSWER_TIMEOUT)?;
            let answer =
                answer.with_context(|| format!("no answer from the node within {} s", ANSWER_TIMEOUT.as_secs()))?;
            match answer.message {
                Answer::OrderAccepted(m) if m.cl_ord_id.get() == id => {
                    let Action::New { id, tif, .. } = command.action else {
                        bail!("the node accepted a new order, and none was sent")
                    };
                    self.day_ids.insert(m.order_id.get(), id);
                    if tif == TimeInForce::Gtc {
                        return Ok(Outcome::Public { ts_ns: m.transact_time_ns.get() });
                    }
                    // An immediate order is public only where it trades, which its next answer shows.
                }
                Answer::OrderExecuted(m) if m.cl_ord_id.get() == id && m.liquidity == LIQUIDITY_TAKER => {
                    return Ok(Outcome::Public { ts_ns: m.transact_time_ns.get() });
                }
                Answer::OrderCanceled(m) if m.req_cl_ord_id.get() == id && command.action != Action::Clear => {
                    return Ok(Outcome::Public { ts_ns: m.transact_time_ns.get() });
                }
                Answer::OrderCanceled(m) if m.cl_ord_id.get() == id => return Ok(Outcome::NotPublic),
                Answer::OrderReplaced(m) if m.cl_ord_id.get() == id => {
                    return Ok(Outcome::Public { ts_ns: m.transact_time_ns.get() });
                }
                Answer::OrderRejected(m) if m.cl_ord_id.get() == id => {
                    return Ok(Outcome::Refused { reason: m.reason.get() });
                }
                Answer::CancelRejected(m) if m.cl_ord_id.get() == id => {
                    return Ok(Outcome::Refused { reason: m.reason.get() });
                }
                Answer::MassCancelReport(m) if m.cl_ord_id.get() == id => {
                    let ts_ns = m.transact_time_ns.get();
                    return Ok(match (m.affected_orders.get(), m.more) {
                        (0, _) => Outcome::NotPublic,
                        (_, 0) => Outcome::Public { ts_ns },
                        _ => Outcome::Continued { ts_ns },
                    });
                }
                _ => {}
            }
        }
    }

    /// Reads the feed's messages of one command, up to its last one.
    fn read_public(&mut self, ts_ns: u64) -> Result<()> {
        loop {
            let received = self.feed.poll(ANSWER_TIMEOUT)?;
            let received = received
                .with_context(|| format!("no market data from the node within {} s", ANSWER_TIMEOUT.as_secs()))?;
            let Some(header) = PublicHeader::of(&received.message).filter(|h| h.instrument == self.market.0) else {
                continue;
            };
            ensure!(
                header.ts_ns == ts_ns,
                "the next change of this market in the feed is of {} ns, and the answer is of {ts_ns} ns: another session \
                 trades on this market; use one of its own",
                header.ts_ns
            );
            if let MarketMessage::OrderExecuted(executed) = received.message {
                self.trades.push(executed);
            }
            if header.is_last {
                return Ok(());
            }
        }
    }

    fn book(&self) -> Result<&DepthBook> {
        self.feed.depth().book(self.market.0).context("the market is not in the feed")
    }

    fn compare_trades(&mut self, command: &DayCommand) {
        self.comparison.trades_expected += command.trades.len() as u64;
        for (idx, expected) in command.trades.iter().enumerate() {
            let found = self.trades.get(idx).map(|executed| self.as_of_day(executed));
            let equal = found.is_some_and(|found| found == (expected.maker, expected.price, expected.shares));
            if equal {
                self.comparison.trades_equal += 1;
            } else {
                let found = found.map_or("nothing".to_owned(), |(maker, price, shares)| trade(maker, price, shares));
                let ExpectedTrade { line, maker, price, shares } = *expected;
                self.comparison.differ(line, &format!("the node traded {found}, not {}", trade(maker, price, shares)));
            }
        }
        if let Some(extra) = self.trades.get(command.trades.len()) {
            let (maker, price, shares) = self.as_of_day(extra);
            self.comparison.differ(command.line, &format!("the node also traded {}", trade(maker, price, shares)));
        }
    }

    /// A trade under the day's own id of its maker; 0 where the day has no such order.
    fn as_of_day(&self, executed: &OrderExecuted) -> (u64, PriceE9, i64) {
        let maker = self.day_ids.get(&executed.order_id.get()).copied().unwrap_or(0);
        let shares = executed.qty_e8.get() / SHARE_E8;
        (maker, PriceE9(executed.price_e9.get()), shares)
    }

    fn check(&mut self, line: u32, check: &Check) -> Result<()> {
        let difference = match check {
            Check::Row(row) => {
                let published = self.published.expect("`new` refuses a day that needs a book and has none");
                let difference = published.compare(*row, self.price_unit, self.book()?)?;
                difference.map(|difference| format!("row {row}: {difference}"))
            }
            Check::Top { bid, ask } => compare_top(self.book()?, bid, ask),
        };
        self.comparison.rows_checked += 1;
        match difference {
            None => self.comparison.rows_equal += 1,
            Some(difference) => self.comparison.differ(line, &difference),
        }
        Ok(())
    }
}

fn compare_top(book: &DepthBook, bid: &Option<ExpectedTop>, ask: &Option<ExpectedTop>) -> Option<String> {
    for (name, side, expected) in [("bid", Side::Buy, bid), ("ask", Side::Sell, ask)] {
        let found = book.levels(side).next();
        let wanted = expected.map(|ExpectedTop { price, shares, orders }| {
            let qty_e8 = saturated_sum(i128::from(shares) * i128::from(SHARE_E8));
            Level { price_e9: price.0, qty_e8, orders }
        });
        if found != wanted {
            return Some(format!("the best {name} is {}, not {}", show_top(found), show_top(wanted)));
        }
    }
    None
}

fn show_top(top: Option<Level>) -> String {
    match top {
        Some(Level { price_e9, qty_e8, orders }) => {
            format!("{} x {} in {orders} orders", QtyE8(qty_e8), PriceE9(price_e9))
        }
        None => "empty".to_owned(),
    }
}

fn trade(maker: u64, price: PriceE9, shares: i64) -> String {
    format!("{shares} at {price} with order {maker}")
}
