//! `matchcore` 0.4: a hash map of orders, a slab of levels, balanced trees of prices.
//!
//! It offers everything that the streams ask for. It names an order by the sequence number of its command, so the
//! adapter keeps two dense tables between those names and the stream's; their cost is inside the timed part.

use crate::streams::{Cmd, Resting, Side};
use crate::subject::{Fills, Removed, Subject};
use matchcore::{
    AmendCmd, AmendPatch, CancelCmd, Command, CommandKind, CommandMeta, CommandOutcome, CommandReport, LimitOrder,
    LimitOrderPatch, NewOrder, OrderBook, OrderFlags, OrderId, OrderKind, Price, Quantity, QuantityPolicy,
    SequenceNumber, SubmitCmd, TimeInForce, Timestamp,
};

#[derive(Debug)]
pub struct Matchcore {
    book: OrderBook,
    sequence: u64,
    /// The peer's name of an order, by the stream's.
    peer_ids: Vec<u64>,
    /// The stream's name of an order, by the peer's.
    stream_ids: Vec<u32>,
}

impl Matchcore {
    pub fn new(order_id_max: u64, commands: usize) -> Self {
        // Ones, not zeros: pages of zeros fault in on first use, and the peer's time would include that.
        let peer_ids = vec![1; order_id_max as usize + 1];
        Self { book: OrderBook::new("BENCH"), sequence: 0, peer_ids, stream_ids: vec![1; commands + 1] }
    }

    fn execute(&mut self, kind: CommandKind) -> CommandOutcome {
        let meta = CommandMeta { sequence_number: SequenceNumber(self.sequence), timestamp: Timestamp(0) };
        self.sequence += 1;
        self.book.execute(&Command { meta, kind })
    }

    /// Passes on the trades of an outcome; returns their quantity.
    fn report<F: Fills>(&self, taker: u64, outcome: &CommandOutcome, fills: &mut F) -> u32 {
        let CommandOutcome::Applied(CommandReport::Submit(effects) | CommandReport::Amend(effects)) = outcome else {
            return 0;
        };
        let Some(matched) = effects.target_order().match_result() else { return 0 };
        for trade in matched.trades() {
            let maker = u64::from(self.stream_ids[trade.maker_order_id().0 as usize]);
            fills.fill(taker, maker, trade.price().0 as u32, trade.quantity().0 as u32);
        }
        matched.executed_quantity().0 as u32
    }
}

impl Subject for Matchcore {
    const NAME: &'static str = "matchcore 0.4";

    fn place<F: Fills>(&mut self, order: &Cmd, fills: &mut F) -> u32 {
        self.peer_ids[order.id as usize] = self.sequence;
        self.stream_ids[self.sequence as usize] = order.id as u32;
        let side = match order.side {
            Side::Bid => matchcore::Side::Buy,
            Side::Ask => matchcore::Side::Sell,
        };
        let tif = if order.ioc { TimeInForce::Ioc } else { TimeInForce::Gtc };
        let quantity = QuantityPolicy::Standard { quantity: Quantity(u64::from(order.qty)) };
        let limit = LimitOrder::new(Price(u64::from(order.price)), quantity, OrderFlags::new(side, false, tif));
        let outcome = self.execute(CommandKind::Submit(SubmitCmd { order: NewOrder::Limit(limit) }));
        order.qty - self.report(order.id, &outcome, fills)
    }

    fn cancel(&mut self, id: u64) -> Option<Removed> {
        let order_id = OrderId(self.peer_ids[id as usize]);
        self.execute(CommandKind::Cancel(CancelCmd { order_id, order_kind: OrderKind::Limit }));
        None
    }

    fn amend<F: Fills>(&mut self, order: &Cmd, _qty: Option<u32>, fills: &mut F) -> Option<Removed> {
        let order_id = OrderId(self.peer_ids[order.id as usize]);
        let patch = LimitOrderPatch::new().with_price(Price(u64::from(order.price)));
        let outcome = self.execute(CommandKind::Amend(AmendCmd { order_id, patch: AmendPatch::Limit(patch) }));
        self.report(order.id, &outcome, fills);
        None
    }

    fn resting(&self) -> Option<Resting> {
        let orders = self.book.limit().orders().values();
        Some(orders.fold(Resting::default(), |sum, order| Resting {
            orders: sum.orders + 1,
            qty: sum.qty + order.visible_quantity().0,
        }))
    }
}
