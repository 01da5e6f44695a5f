//! A session's orders by its messages alone: each order is accepted first, its quantities add up, and it ends once.
//!
//! This check is independent of the engine and the log, so it finds defects that every application of the log has in
//! common.

use api::binary::orders::*;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
struct Watched {
    /// Filled and open quantity; the open quantity of an order for a quote amount is unknown.
    cum_qty_e8: i64,
    leaves_qty_e8: Option<i64>,
    is_over: bool,
    /// Identifies the event that cancelled it; zero before.
    canceled_by: u64,
}

#[derive(Default)]
pub(crate) struct OrderWatch {
    orders: BTreeMap<u64, Watched>,
}

impl OrderWatch {
    /// Checks the next message; the error says what is wrong with it.
    pub(crate) fn receive(&mut self, answer: &Answer) -> Result<(), String> {
        match answer {
            Answer::OrderAccepted(m) => self.accepted(m),
            Answer::OrderExecuted(m) => self.executed(m),
            Answer::OrderReplaced(m) => self.replaced(m),
            Answer::OrderCanceled(m) => self.canceled(m),
            _ => Ok(()),
        }
    }

    fn accepted(&mut self, m: &OrderAccepted) -> Result<(), String> {
        let by_quote = m.exec_inst & EXEC_QUOTE_QTY != 0;
        let leaves_qty_e8 = (!by_quote).then_some(m.leaves_qty_e8.get());
        let watched = Watched { cum_qty_e8: 0, leaves_qty_e8, is_over: false, canceled_by: 0 };
        let sound = m.leaves_qty_e8 == m.qty_e8 && (by_quote || 0 < m.qty_e8.get());
        let is_new = self.orders.insert(m.order_id.get(), watched).is_none();
        if is_new && sound { Ok(()) } else { Err(format!("accepted twice, or with a wrong quantity: {m:?}")) }
    }

    fn executed(&mut self, m: &OrderExecuted) -> Result<(), String> {
        let order = self.open(m.order_id.get())?;
        let (last, leaves, cum) = (m.last_qty_e8.get(), m.leaves_qty_e8.get(), m.cum_qty_e8.get());
        let adds_up = order.leaves_qty_e8.is_none_or(|before| leaves == before - last);
        if last <= 0 || leaves < 0 || cum != order.cum_qty_e8 + last || !adds_up {
            return Err(format!("{order:?} cannot be followed by {m:?}"));
        }
        order.cum_qty_e8 = cum;
        if let Some(open) = &mut order.leaves_qty_e8 {
            *open = leaves;
            order.is_over = leaves == 0;
        }
        Ok(())
    }

    fn replaced(&mut self, m: &OrderReplaced) -> Result<(), String> {
        let order = self.open(m.order_id.get())?;
        let leaves = m.leaves_qty_e8.get();
        let kept = m.kept_priority == 0 || order.leaves_qty_e8.is_none_or(|before| leaves <= before);
        // Self-trade prevention may reduce the quantity to zero, and then cancels the order.
        if leaves < 0 || m.cum_qty_e8.get() != order.cum_qty_e8 || !kept {
            return Err(format!("{order:?} cannot be followed by {m:?}"));
        }
        order.leaves_qty_e8 = order.leaves_qty_e8.map(|_before| leaves);
        Ok(())
    }

    /// A cancel of another session's order is answered to both sessions, and a drop copy has both answers.
    fn canceled(&mut self, m: &OrderCanceled) -> Result<(), String> {
        let (by, requested) = (m.exec_id.get(), m.req_cl_ord_id.get() != 0);
        if requested && self.orders.get(&m.order_id.get()).is_none_or(|order| order.canceled_by == by) {
            return Ok(());
        }
        let order = self.open(m.order_id.get())?;
        let adds_up = order.leaves_qty_e8.is_none_or(|open| m.canceled_qty_e8.get() == open);
        if m.cum_qty_e8.get() != order.cum_qty_e8 || !adds_up {
            return Err(format!("{order:?} cannot end with {m:?}"));
        }
        (order.is_over, order.canceled_by) = (true, by);
        Ok(())
    }

    fn open(&mut self, order_id: u64) -> Result<&mut Watched, String> {
        match self.orders.get_mut(&order_id) {
            None => Err(format!("order {order_id} was never accepted")),
            Some(order) if order.is_over => Err(format!("order {order_id} has ended")),
            Some(order) => Ok(order),
        }
    }
}
