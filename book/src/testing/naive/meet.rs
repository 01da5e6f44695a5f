//! What an incoming order does to the other side: planned to its end, then carried out, with its money.

use super::{Deed, End, Naive, Order, Plan, traded};
use crate::command::*;
use crate::event::*;
use crate::ids::*;
use crate::order_book::FILLS_PER_COMMAND_MAX;
use crate::units::*;

impl Naive {
    pub(super) fn crosses(&self, order: &Order) -> bool {
        let queues = &self.market(order.market).queues[order.side.opposite().idx()];
        match order.side {
            Side::Buy => queues.keys().next().is_some_and(|&ask| ask <= order.price),
            Side::Sell => queues.keys().next_back().is_some_and(|&bid| bid >= order.price),
        }
    }

    /// The other side's orders from the best price on, oldest first.
    pub(super) fn makers(&self, order: &Order) -> Vec<OrderId> {
        let queues = &self.market(order.market).queues[order.side.opposite().idx()];
        match order.side {
            Side::Buy => queues.range(..=order.price).flat_map(|(_, q)| q).copied().collect(),
            Side::Sell => queues.range(order.price..).rev().flat_map(|(_, q)| q).copied().collect(),
        }
    }

    /// What an order does until `qty` or `quote` is used up. `End::Done` also when the next lot costs more than is
    /// left.
    pub(super) fn plan(&self, order: &Order, qty: u64, quote: u128) -> Plan {
        let (mut qty_left, mut quote_left) = (qty, quote);
        let mut plan = Plan { steps: Vec::new(), end: End::Done };
        for id in self.makers(order) {
            let maker = self.orders[&id];
            let lot_cost = self.spent(order, maker.price, 1);
            let affordable = u64::try_from(quote_left / lot_cost).unwrap_or(u64::MAX);
            let meets = maker.leaves.min(qty_left).min(affordable);
            if qty_left == 0 || quote_left == 0 {
                return plan;
            }
            if plan.steps.len() == FILLS_PER_COMMAND_MAX as usize {
                return Plan { end: End::FillLimit, ..plan };
            }
            let deed = if self.is_own(order, &maker) { order.stp } else { StpMode::None };
            match deed {
                StpMode::CancelTaker => return Plan { end: End::SelfTrade, ..plan },
                StpMode::CancelMaker => plan.steps.push((id, Deed::CancelMaker, 0)),
                StpMode::CancelBoth => {
                    plan.steps.push((id, Deed::CancelMaker, 0));
                    return Plan { end: End::SelfTrade, ..plan };
                }
                StpMode::None | StpMode::Decrement if meets == 0 => return plan,
                StpMode::None | StpMode::Decrement => {
                    let deed = if deed == StpMode::None { Deed::Trade } else { Deed::Decrement };
                    plan.steps.push((id, deed, meets));
                    qty_left -= meets;
                    quote_left -= lot_cost * u128::from(meets);
                    if deed == Deed::Decrement && qty_left == 0 {
                        return Plan { end: End::SelfTrade, ..plan };
                    }
                }
            }
            if meets < maker.leaves && deed != StpMode::CancelMaker {
                return plan;
            }
        }
        plan.end = if qty_left == 0 || quote_left == 0 { End::Done } else { End::OutOfReach };
        plan
    }

    pub(super) fn is_own(&self, order: &Order, maker: &Order) -> bool {
        let family = |id: AccountId| if self.account(id).parent.is_none() { id } else { self.account(id).parent };
        let group = order.stp_group != 0 && order.stp_group == maker.stp_group;
        order.account == maker.account || (group && family(order.account) == family(maker.account))
    }

    pub(super) fn cost(&self, order: &Order, plan: &Plan) -> u128 {
        let trades = plan.steps.iter().filter(|step| step.1 == Deed::Trade);
        trades.map(|&(id, _, qty)| self.spent(order, self.orders[&id].price, qty)).sum()
    }

    pub(super) fn worth_of(&self, plan: &Plan) -> u128 {
        let trades = plan.steps.iter().filter(|step| step.1 == Deed::Trade);
        trades.map(|&(id, _, qty)| self.worth(self.orders[&id].market, self.orders[&id].price, qty)).sum()
    }

    pub(super) fn carry_out(&mut self, order: &mut Order, plan: &Plan) -> End {
        for &(id, deed, qty) in &plan.steps {
            match deed {
                Deed::Trade => self.trade(order, id, qty),
                Deed::CancelMaker => self.remove_maker(id),
                Deed::Decrement => {
                    order.leaves -= qty;
                    self.reduced(order, qty, false);
                    if self.orders[&id].leaves == qty {
                        self.remove_maker(id);
                    } else {
                        let maker = self.orders.get_mut(&id).expect("a planned maker is open");
                        maker.leaves -= qty;
                        let maker = *maker;
                        self.reduced(&maker, qty, true);
                    }
                }
            }
        }
        plan.end
    }

    pub(super) fn remove_maker(&mut self, id: OrderId) {
        let maker = self.take_out(id);
        self.name_ends(id);
        self.canceled(&maker, CancelReason::SelfTrade, true, (SessionId::NONE, ClOrdId(0)));
    }

    pub(super) fn trade(&mut self, taker: &mut Order, maker_id: OrderId, qty: u64) {
        let maker = self.orders.get_mut(&maker_id).expect("a planned maker is open");
        maker.leaves -= qty;
        maker.cum += qty;
        taker.leaves -= qty;
        taker.cum += qty;
        let maker = *maker;
        let base_units = self.need(taker.market, Side::Sell, 0, qty) as i128;
        let quote_units = self.worth(taker.market, maker.price, qty) as i128;
        let skipped = self.skipped;
        let market = self.market_mut(taker.market);
        market.last_price = Some(maker.price);
        market.trade_count += 1;
        let (base, quote, trade_id) = (market.base, market.quote, TradeId(skipped + market.trade_count));
        let (buyer, seller) =
            if taker.side == Side::Buy { (taker.account, maker.account) } else { (maker.account, taker.account) };
        self.move_money(seller, buyer, base, base_units);
        self.move_money(buyer, seller, quote, quote_units);
        let (taker_gets, maker_gets) = if self.market(taker.market).fees_in_quote {
            ((quote, quote_units), (quote, quote_units))
        } else if taker.side == Side::Buy {
            ((base, base_units), (quote, quote_units))
        } else {
            ((quote, quote_units), (base, base_units))
        };
        let (taker_fee, maker_fee) = self.charge(taker, &maker, taker_gets, maker_gets);
        let side_of = |order: &Order, fee: i128| FillSide {
            order_id: order.id,
            cl_ord_id: order.cl_ord_id,
            account: order.account,
            session: order.session,
            leaves: QtyLots(order.leaves),
            cum: QtyLots(order.cum),
            fee: FeeUnits(fee as i64),
        };
        self.events.push(Event::Fill(Fill {
            trade_id,
            market: taker.market,
            price: PriceTicks(maker.price),
            qty: QtyLots(qty),
            taker_side: taker.side,
            maker: side_of(&maker, maker_fee),
            taker: side_of(taker, taker_fee),
        }));
        if maker.leaves == 0 {
            self.take_out(maker_id);
            self.name_ends(maker_id);
        }
    }

    pub(super) fn move_money(&mut self, from: AccountId, to: AccountId, asset: AssetId, amount: i128) {
        *self.owned.entry((from, asset)).or_default() -= amount;
        *self.owned.entry((to, asset)).or_default() += amount;
    }

    /// A fee is rounded up and paid from what was received, or by both sides in quote; a rebate is rounded down and
    /// paid from the other's fee.
    pub(super) fn charge(
        &mut self,
        taker: &Order,
        maker: &Order,
        taker_gets: (AssetId, i128),
        maker_gets: (AssetId, i128),
    ) -> (i128, i128) {
        let market = self.market(taker.market);
        let most = if market.fees_in_quote { 1_000_000 } else { i128::MAX };
        let scale = |ppm: i128, scale: i128| if ppm > 0 { div_up(ppm * scale.min(most), 1_000_000) } else { ppm };
        let tier = |id: AccountId| *self.tiers.get(&self.account(id).tier).unwrap_or(&(1_000_000, 1_000_000));
        let maker_ppm = scale(market.maker_ppm, tier(maker.account).0);
        let taker_ppm = scale(market.taker_ppm, tier(taker.account).1);
        let fee = |gets: i128, ppm: i128| div_up(gets * ppm.max(0), 1_000_000);
        let rebate = |gets: i128, ppm: i128, paid: i128| (gets * (-ppm).max(0) / 1_000_000).min(paid);
        let taker_fee = fee(taker_gets.1, taker_ppm);
        let maker_fee = fee(maker_gets.1, maker_ppm);
        let to_maker = rebate(taker_gets.1, maker_ppm, taker_fee);
        let to_taker = rebate(maker_gets.1, taker_ppm, maker_fee);
        self.pay_house(taker.account, taker_gets.0, taker_fee);
        self.pay_house(maker.account, maker_gets.0, maker_fee);
        self.pay_house(taker.account, maker_gets.0, -to_taker);
        self.pay_house(maker.account, taker_gets.0, -to_maker);
        (taker_fee - to_taker, maker_fee - to_maker)
    }

    pub(super) fn pay_house(&mut self, account: AccountId, asset: AssetId, amount: i128) {
        *self.owned.entry((account, asset)).or_default() -= amount;
        *self.fees.entry(asset).or_default() += amount;
    }

    /// Whether a fill-or-kill order would stay short of its quantity or leave some of its amount that buys a lot.
    pub(super) fn is_short(&self, plan: &Plan, place: &PlaceOrder, order: &Order) -> bool {
        let OrderKind::MarketByQuote { quote } = place.kind else { return traded(plan) < order.leaves };
        let spending = self.plan(order, u64::MAX, u128::from(quote.0));
        spending.end != End::Done || spending.steps.iter().any(|step| step.1 == Deed::Decrement)
    }
}

fn div_up(amount: i128, by: i128) -> i128 {
    (amount + by - 1) / by
}
