//! Drives a recorded day through a node's order port and proves it on the node's public feed.
//!
//! ```text
//!  day --commands, up to WINDOW ahead--> order port          what was sent and not yet proved: WINDOW at most
//!  answers, in the order of the commands ---+
//!  live feed, in the order of the log ------+--> prove: command by command, the book as it was after each
//! ```
//! One session sends everything, because only within one session is the order of arrival given. Its one account trades
//! with itself (`StpMode::None`): what a day proves is the book, and money that never leaves an account never runs out.
//!
//! Which feed messages a command caused is known, not guessed: answers say whether it changed the public book, the feed
//! closes every command's messages with `lastInEvent`, and both carry the command's time. The book that is checked is
//! built from those messages alone, so it is exactly the book after that command, however far ahead the sender is.

use crate::client::market_data::PublicHeader;
use crate::recorded_day::day::{Act, Check, Day, DayCommand, ExpectedTop, ExpectedTrade, Life, SHARE_E8};
use crate::recorded_day::published_book::PublishedBook;
use anyhow::{Context, Result, bail, ensure};
use api::binary::depth::DepthBook;
use api::binary::market::{MarketMessage, OrderExecuted};
use api::binary::orders::{Answer, CancelOrder, LIQUIDITY_TAKER, MassCancel, NewOrder, ReplaceOrder, TIF_IOC};
use api::binary::reasons::reason_of;
use api::binary::requests::Target;
use api::client::{BookFollower, OrderClient};
use api::decimal::{PriceE9, QtyE8};
use book::command::{MassScope, Side, StpMode};
use book::ids::{ClOrdId, MarketId};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use zerocopy::little_endian::U32;

/// Commands sent and not yet proved. Bounds what the node has to keep for us; keeps its journal's frames full.
const WINDOW: usize = 4096;
/// The node says nothing for so long: something is wrong.
const PATIENCE: Duration = Duration::from_secs(15);

/// The outcome of a day, and where it first went otherwise.
#[derive(Debug, Default)]
pub struct Proof {
    pub commands: u64,
    pub trades_expected: u64,
    pub trades_equal: u64,
    pub rows_checked: u64,
    pub rows_equal: u64,
    pub difference_first: Option<String>,
    pub differences: u64,
    pub elapsed: Duration,
}

impl Proof {
    pub fn holds(&self) -> bool {
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
    /// What it is called now: an amendment gives it a new name.
    cl_ord_id: ClOrdId,
    price: PriceE9,
    /// The whole of it, less what amendments took off. What traded away stays in it, because only the node knows that.
    shares: i64,
}

/// What a command did, as the session was told.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// It changed the public book, at this time.
    Public {
        ts_ns: u64,
    },
    /// It took effect and nobody but its owner can see it.
    Silent,
    Refused {
        reason: u16,
    },
    /// A mass cancel's part; the rest follows as a command of its own.
    Continued {
        ts_ns: u64,
    },
}

pub struct Replay<'a> {
    orders: OrderClient,
    feed: BookFollower,
    market: MarketId,
    price_unit: PriceE9,
    published: Option<&'a PublishedBook>,
    /// By the day's own ids. A dead id may be entered again, and then means the new order.
    entered: HashMap<u64, Entered>,
    /// The day's ids by the exchange's.
    names: HashMap<u64, u64>,
    cl_ord_id_first: u64,
    sent: usize,
    trades: Vec<OrderExecuted>,
    proof: Proof,
}

impl<'a> Replay<'a> {
    pub fn new(
        orders: OrderClient,
        feed: BookFollower,
        market: MarketId,
        cl_ord_id_first: ClOrdId,
        day: &Day,
        published: Option<&'a PublishedBook>,
    ) -> Result<Self> {
        ensure!(published.is_some() || !day.needs_book(), "the day refers to rows of its published book: give --book");
        let book = feed.depth().book(market.0).context("the market is not in the node's snapshot")?;
        ensure!(book.order_count() == 0, "the market has orders already; a day starts from the empty book");
        Ok(Self {
            orders,
            feed,
            market,
            price_unit: day.price_unit,
            published,
            entered: HashMap::new(),
            names: HashMap::new(),
            cl_ord_id_first: cl_ord_id_first.0,
            sent: 0,
            trades: Vec::new(),
            proof: Proof::default(),
        })
    }

    /// Runs the whole day; `progress` hears how many commands are proved, now and then.
    pub fn run(mut self, day: &Day, mut progress: impl FnMut(usize)) -> Result<Proof> {
        let started = Instant::now();
        for (idx, command) in day.commands.iter().enumerate() {
            if self.sent - idx <= WINDOW / 2 {
                self.send_ahead(day, idx + WINDOW)?;
                progress(idx);
            }
            self.prove(idx, command).with_context(|| format!("line {}", command.line))?;
        }
        self.proof.commands = day.commands.len() as u64;
        self.proof.elapsed = started.elapsed();
        self.orders.logout()?;
        Ok(self.proof)
    }

    fn send_ahead(&mut self, day: &Day, until: usize) -> Result<()> {
        let until = until.min(day.commands.len());
        for command in &day.commands[self.sent..until] {
            self.send(command).with_context(|| format!("line {}", command.line))?;
            self.sent += 1;
        }
        self.orders.flush()?;
        Ok(())
    }

    /// The `idx`-th command is the `idx`-th client order id: what an answer is about needs no table.
    fn cl_ord_id(&self, idx: usize) -> ClOrdId {
        ClOrdId(self.cl_ord_id_first + idx as u64)
    }

    fn send(&mut self, command: &DayCommand) -> Result<()> {
        let cl_ord_id = self.cl_ord_id(self.sent);
        let market = self.market;
        match command.act {
            Act::New { id, side, price, shares, life } => {
                self.entered.insert(id, Entered { cl_ord_id, price, shares });
                let mut order = NewOrder::limit(cl_ord_id, market, side, price, QtyE8(shares * SHARE_E8));
                order.stp_mode = StpMode::None as u8;
                if life == Life::Immediate {
                    order.tif = TIF_IOC;
                }
                self.orders.queue(&order)?;
            }
            Act::Cancel { id } => {
                let target = Target::ClOrdId(self.entered(id)?.cl_ord_id);
                self.orders.queue(&CancelOrder::new(cl_ord_id, target, market))?;
            }
            Act::Reduce { id, shares } => {
                let order = self.entered(id)?;
                let Entered { cl_ord_id: before, price, .. } = *order;
                order.cl_ord_id = cl_ord_id;
                order.shares -= shares;
                // As a whole quantity: the sender is ahead of the trades and cannot know what is open.
                let qty = QtyE8(order.shares * SHARE_E8);
                self.orders.queue(&ReplaceOrder::total(cl_ord_id, Target::ClOrdId(before), market, price, qty))?;
            }
            Act::Clear => {
                let all = MassCancel::all(cl_ord_id, MassScope::Account);
                self.orders.queue(&MassCancel { instrument_id: U32::new(market.0), ..all })?;
            }
        }
        Ok(())
    }

    fn entered(&mut self, id: u64) -> Result<&mut Entered> {
        self.entered.get_mut(&id).with_context(|| format!("order {id} was never entered"))
    }

    /// Waits for what the command did, takes in what the feed says of it, and compares both with the day.
    fn prove(&mut self, idx: usize, command: &DayCommand) -> Result<()> {
        self.trades.clear();
        loop {
            match self.outcome(self.cl_ord_id(idx), command)? {
                Outcome::Public { ts_ns } => self.take_public(ts_ns)?,
                Outcome::Silent => {}
                Outcome::Refused { reason } => {
                    let why = reason_of(reason).map_or(format!("reason {reason}"), |reason| format!("{reason:?}"));
                    self.proof.differ(command.line, &format!("the node refused {:?}: {why}", command.act));
                }
                Outcome::Continued { ts_ns } => {
                    self.take_public(ts_ns)?;
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

    /// Reads answers up to the one that tells what the command did. What lies between belongs to earlier commands.
    fn outcome(&mut self, cl_ord_id: ClOrdId, command: &DayCommand) -> Result<Outcome> {
        let id = cl_ord_id.0;
        loop {
            let answer = self.orders.poll(PATIENCE)?;
            let answer = answer.with_context(|| format!("no answer from the node in {} s", PATIENCE.as_secs()))?;
            match answer.message {
                Answer::OrderAccepted(m) if m.cl_ord_id.get() == id => {
                    let Act::New { id, life, .. } = command.act else {
                        bail!("a new order was answered, none was sent")
                    };
                    self.names.insert(m.order_id.get(), id);
                    if life == Life::Rests {
                        return Ok(Outcome::Public { ts_ns: m.transact_time_ns.get() });
                    }
                    // An immediate order is public only where it trades: its next message tells.
                }
                Answer::OrderExecuted(m) if m.cl_ord_id.get() == id && m.liquidity == LIQUIDITY_TAKER => {
                    return Ok(Outcome::Public { ts_ns: m.transact_time_ns.get() });
                }
                Answer::OrderCanceled(m) if m.req_cl_ord_id.get() == id && command.act != Act::Clear => {
                    return Ok(Outcome::Public { ts_ns: m.transact_time_ns.get() });
                }
                Answer::OrderCanceled(m) if m.cl_ord_id.get() == id => return Ok(Outcome::Silent),
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
                        (0, _) => Outcome::Silent,
                        (_, 0) => Outcome::Public { ts_ns },
                        _ => Outcome::Continued { ts_ns },
                    });
                }
                _ => {}
            }
        }
    }

    /// Takes in the feed's messages of one command: up to the one that closes it.
    fn take_public(&mut self, ts_ns: u64) -> Result<()> {
        loop {
            let received = self.feed.poll(PATIENCE)?;
            let received = received.with_context(|| format!("no feed from the node in {} s", PATIENCE.as_secs()))?;
            let Some(header) = PublicHeader::of(&received.message).filter(|h| h.instrument == self.market.0) else {
                continue;
            };
            ensure!(
                header.ts_ns == ts_ns,
                "the feed's next change of this market is of {} ns, the answer says {ts_ns} ns: somebody else trades here",
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
        self.proof.trades_expected += command.trades.len() as u64;
        for (idx, expected) in command.trades.iter().enumerate() {
            let found = self.trades.get(idx).map(|executed| self.as_of_day(executed));
            let equal = found.is_some_and(|found| found == (expected.maker, expected.price, expected.shares));
            if equal {
                self.proof.trades_equal += 1;
            } else {
                let found = found.map_or("nothing".to_owned(), |(maker, price, shares)| trade(maker, price, shares));
                let ExpectedTrade { line, maker, price, shares } = *expected;
                self.proof.differ(line, &format!("the node traded {found}, not {}", trade(maker, price, shares)));
            }
        }
        if let Some(extra) = self.trades.get(command.trades.len()) {
            let (maker, price, shares) = self.as_of_day(extra);
            self.proof.differ(command.line, &format!("the node also traded {}", trade(maker, price, shares)));
        }
    }

    /// A trade by the day's name of its maker; 0 where the day does not know it.
    fn as_of_day(&self, executed: &OrderExecuted) -> (u64, PriceE9, i64) {
        let maker = self.names.get(&executed.order_id.get()).copied().unwrap_or(0);
        let shares = executed.qty_e8.get() / SHARE_E8;
        (maker, PriceE9(executed.price_e9.get()), shares)
    }

    fn check(&mut self, line: u32, check: &Check) -> Result<()> {
        let difference = match check {
            Check::Row(row) => {
                let published = self.published.expect("asked for at the start");
                let difference = published.compare(*row, self.price_unit, self.book()?)?;
                difference.map(|difference| format!("row {row}: {difference}"))
            }
            Check::Top { bid, ask } => compare_top(self.book()?, bid, ask),
        };
        self.proof.rows_checked += 1;
        match difference {
            None => self.proof.rows_equal += 1,
            Some(difference) => self.proof.differ(line, &difference),
        }
        Ok(())
    }
}

fn compare_top(book: &DepthBook, bid: &Option<ExpectedTop>, ask: &Option<ExpectedTop>) -> Option<String> {
    for (name, side, expected) in [("bid", Side::Buy, bid), ("ask", Side::Sell, ask)] {
        let found = book.levels(side).next().map(|level| ExpectedTop {
            price: PriceE9(level.price_e9),
            shares: level.qty_e8 / SHARE_E8,
            orders: level.orders,
        });
        if found != *expected {
            return Some(format!("the best {name} is {}, not {}", show_top(&found), show_top(expected)));
        }
    }
    None
}

fn show_top(top: &Option<ExpectedTop>) -> String {
    match top {
        Some(top) => format!("{} x {} in {} orders", top.shares, top.price, top.orders),
        None => "empty".to_owned(),
    }
}

fn trade(maker: u64, price: PriceE9, shares: i64) -> String {
    format!("{shares} at {price} with order {maker}")
}
