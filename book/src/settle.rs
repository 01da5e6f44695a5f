//! The money of a fill: both payments, both fees, and the release of the buyer's price improvement.
//!
//! Invariants: a fill is settled completely before the next one is made; the house never pays more in rebates than the
//! same trade brought it in fees; after the fill both orders hold exactly what their open quantities need.

use crate::accounts::{Accounts, FillMoney};
use crate::admit::Owner;
use crate::cl_ord_index::ClOrdIndex;
use crate::command::{FeeTier, Side};
use crate::engine::{Tape, canceled};
use crate::event::{CancelReason, Event, Fill, FillSide, Reduced, Sink};
use crate::fees::{FEE_TIERS, FeeAsset, fee_on, scaled_fee};
use crate::ids::{AssetId, TradeId};
use crate::instrument::MarketRules;
use crate::mutation::{self, Mutation, Planted};
use crate::names::Names;
use crate::open_orders::{Lists, OpenOrders};
use crate::order_book::{MatchHandler, Taker, Treatment};
use crate::rules::Rules;
use crate::session::Sessions;
use crate::slab::Order;
use crate::units::{FeeUnits, PriceTicks, QtyLots, TsNs, Units};

/// What is released to a buyer that trades below its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refund {
    /// The difference to the limit price, at which the order was held.
    ToLimit,
    /// Nothing: a market order holds exactly what it will pay.
    Nothing,
}

/// Settles every fill of one incoming order, and exists for one command.
pub(crate) struct Settlement<'a, S: Sink> {
    pub rules: &'a MarketRules,
    pub tape: &'a mut Tape,
    pub accounts: &'a mut Accounts,
    pub sessions: &'a mut Sessions,
    pub open: &'a mut OpenOrders,
    pub index: &'a mut ClOrdIndex,
    pub names: &'a mut Names,
    pub now: TsNs,
    pub tiers: &'a [FeeTier; FEE_TIERS],
    pub version: Rules,
    pub trade_ids_skipped: u64,
    pub owner: Owner,
    /// The incoming order as it was before it took anything. Its present quantities are in `Taker`.
    pub taker_order: Order,
    pub refund: Refund,
    pub sink: &'a mut S,
}

/// The fees of both sides. A negative one is a rebate: a share of the other side's fee, in the other side's asset.
#[derive(Clone, Copy, Debug)]
struct Fees {
    maker: FeeUnits,
    taker: FeeUnits,
}

impl Fees {
    /// At most one side has a rebate, and the other side's fee pays it.
    fn new(maker: FeeUnits, taker: FeeUnits) -> Self {
        assert!(maker.rebate() <= taker.charge(), "a maker's rebate is paid from the taker's fee");
        assert!(taker.rebate() <= maker.charge(), "a taker's rebate is paid from the maker's fee");
        Self { maker, taker }
    }
}

impl<S: Sink> MatchHandler for Settlement<'_, S> {
    #[inline]
    fn treatment(&mut self, slot: u32, maker: &Order) -> Treatment {
        // A filled maker leaves these lists when its money is settled, some tens of nanoseconds from now.
        self.open.fetch(slot);
        self.index.fetch(maker.session, maker.cl_ord_id);
        self.owner.treatment(maker, self.accounts)
    }

    #[inline]
    fn fill(&mut self, maker: &Order, taker: &Taker, qty: QtyLots) {
        assert!(maker.market == self.rules.id, "a maker rests on the market in which it is taken");
        self.tape.trade_count += 1;
        self.tape.last_price = Some(maker.price);
        let money = self.money(maker, taker.side, qty);
        let fees = self.fees(maker, taker.side, &money);
        self.sink.push(Event::Fill(Fill {
            trade_id: TradeId(self.trade_ids_skipped + self.tape.trade_count),
            market: maker.market,
            price: maker.price,
            qty,
            taker_side: taker.side,
            maker: fill_side(maker, maker.leaves, maker.cum, fees.maker),
            taker: fill_side(&self.taker_order, taker.leaves, taker.cum, fees.taker),
        }));
        self.accounts.exchange(&money, self.sink);
        match self.rules.fees.paid_in() {
            FeeAsset::Received => {
                self.book_fees(maker, taker.side, fees);
                if taker.side == Side::Buy && self.refund == Refund::ToLimit && maker.price < taker.limit {
                    self.release_surplus(maker, taker, qty, &money);
                }
            }
            // A buyer pays its fee from what it held for it, which is available only after the release.
            FeeAsset::Quote => {
                self.release_surplus(maker, taker, qty, &money);
                self.book_fees(maker, taker.side, fees);
            }
        }
    }

    #[inline]
    fn maker_filled(&mut self, slot: u32, maker: &Order) {
        self.delist(slot, maker);
    }

    fn maker_canceled(&mut self, slot: u32, maker: &Order) {
        self.delist(slot, maker);
        mutation::when(Mutation::CanceledMakerCounted, || self.tape.count_opened());
        self.sink.push(Event::Canceled(canceled(maker, CancelReason::SelfTrade, true)));
        self.release(maker, maker.price, maker.leaves);
    }

    fn maker_reduced(&mut self, maker: &Order, qty: QtyLots) {
        self.sink.push(Event::Reduced(reduced(maker, maker.leaves, maker.cum, qty, true)));
        self.release(maker, maker.price, qty);
    }

    fn taker_reduced(&mut self, taker: &Taker, qty: QtyLots) {
        let order = self.taker_order;
        let mut event = reduced(&order, taker.leaves, taker.cum, qty, false);
        let is_hidden = (Rules::Two <= self.version).planted(Mutation::LimitOfMarketOrderShown, |_| false);
        if is_hidden && self.refund == Refund::Nothing {
            // The limit of a market order is the end of the band, and no price of the order.
            event.price = PriceTicks(0);
        }
        self.sink.push(Event::Reduced(event));
        if taker.side == Side::Sell || self.refund == Refund::ToLimit {
            self.release(&order, taker.limit, qty);
        }
    }
}

impl<S: Sink> Settlement<'_, S> {
    /// Releases what the buyer held for the lots of a fill and did not pay for them: its price improvement, and what it
    /// held for the fee.
    #[inline]
    fn release_surplus(&mut self, maker: &Order, taker: &Taker, qty: QtyLots, money: &FillMoney) {
        let (buyer, held_at) = match (taker.side, self.refund) {
            (Side::Buy, Refund::ToLimit) => (&self.taker_order, taker.limit),
            (Side::Buy, Refund::Nothing) => (&self.taker_order, maker.price),
            (Side::Sell, _) => (maker, maker.price),
        };
        let held = self.rules.hold(Side::Buy, held_at, qty);
        let surplus = held.minus(money.quote_units, "a buyer pays at most what it holds at its limit");
        let surplus = surplus.planted(Mutation::ImprovementKept, |_| Units(0));
        self.accounts.release(buyer.account, self.rules.quote, surplus, buyer.id, self.sink);
    }

    #[inline]
    fn money(&self, maker: &Order, taker_side: Side, qty: QtyLots) -> FillMoney {
        let (buyer, seller) = match taker_side {
            Side::Buy => (&self.taker_order, maker),
            Side::Sell => (maker, &self.taker_order),
        };
        FillMoney {
            base: self.rules.base,
            quote: self.rules.quote,
            buyer: buyer.account,
            seller: seller.account,
            buyer_order: buyer.id,
            seller_order: seller.id,
            base_units: self.rules.hold(Side::Sell, maker.price, qty),
            quote_units: self
                .rules
                .worth(maker.price, qty)
                .expect("admission computed the worth of at least this much"),
        }
    }

    /// The amounts on which the taker and the maker pay fees, in this order.
    #[inline]
    fn charged_on(&self, taker_side: Side, money: &FillMoney) -> (Units, Units) {
        match (self.rules.fees.paid_in(), taker_side) {
            (FeeAsset::Quote, _) => (money.quote_units, money.quote_units),
            (FeeAsset::Received, Side::Buy) => (money.base_units, money.quote_units),
            (FeeAsset::Received, Side::Sell) => (money.quote_units, money.base_units),
        }
    }

    #[inline]
    fn fees(&self, maker: &Order, taker_side: Side, money: &FillMoney) -> Fees {
        let tier = |account| self.tiers[usize::from(self.accounts.at(account).fee_tier)];
        let fees = self.rules.fees;
        let maker_rate = scaled_fee(fees, fees.maker(), tier(maker.account).maker_scale);
        let taker_rate = scaled_fee(fees, fees.taker(), tier(self.taker_order.account).taker_scale);
        let (taker_amount, maker_amount) = self.charged_on(taker_side, money);
        if maker_rate.0 < 0 {
            let taker = fee_on(taker_amount, taker_rate);
            let share = fee_on(taker_amount, maker_rate);
            return Fees::new(FeeUnits(share.0.max(-taker.0)), taker);
        }
        if taker_rate.0 < 0 {
            let maker = fee_on(maker_amount, maker_rate);
            let share = fee_on(maker_amount, taker_rate);
            return Fees::new(maker, FeeUnits(share.0.max(-maker.0)));
        }
        Fees::new(fee_on(maker_amount, maker_rate), fee_on(taker_amount, taker_rate))
    }

    /// Charges both fees before it pays a rebate, so that the fee of the same trade always covers it.
    #[inline]
    fn book_fees(&mut self, maker: &Order, taker_side: Side, fees: Fees) {
        let taker_asset = self.rules.fee_asset(taker_side);
        let maker_asset = self.rules.fee_asset(taker_side.opposite());
        let taker = self.taker_order;
        self.charge(&taker, taker_asset, fees.taker);
        self.charge(maker, maker_asset, fees.maker);
        self.rebate(&taker, maker_asset, fees.taker);
        self.rebate(maker, taker_asset, fees.maker);
    }

    #[inline]
    fn charge(&mut self, order: &Order, asset: AssetId, fee: FeeUnits) {
        let amount = fee.charge().planted(Mutation::FeeForgotten, |_| Units(0));
        self.accounts.charge_fee(order.account, asset, amount, order.id, self.sink);
    }

    #[inline]
    fn rebate(&mut self, order: &Order, asset: AssetId, fee: FeeUnits) {
        self.accounts.pay_rebate(order.account, asset, fee.rebate(), order.id, self.sink);
    }

    /// Releases what `qty` of an order held at `price`.
    fn release(&mut self, order: &Order, price: PriceTicks, qty: QtyLots) {
        let side = order.traits.side();
        let amount = self.rules.hold(side, price, qty);
        self.accounts.release(order.account, self.rules.paid_in(side), amount, order.id, self.sink);
    }

    #[inline]
    fn delist(&mut self, slot: u32, maker: &Order) {
        self.tape.count_closed();
        let lists = Lists {
            accounts: &mut *self.accounts,
            sessions: &mut *self.sessions,
            open: &mut *self.open,
            index: &mut *self.index,
            names: &mut *self.names,
        };
        lists.remove(slot, maker, self.now);
    }
}

fn fill_side(order: &Order, leaves: QtyLots, cum: QtyLots, fee: FeeUnits) -> FillSide {
    FillSide {
        order_id: order.id,
        cl_ord_id: order.cl_ord_id,
        account: order.account,
        session: order.session,
        leaves,
        cum,
        fee,
    }
}

fn reduced(order: &Order, leaves: QtyLots, cum: QtyLots, qty: QtyLots, was_resting: bool) -> Reduced {
    Reduced {
        order_id: order.id,
        session: order.session,
        cl_ord_id: order.cl_ord_id,
        account: order.account,
        market: order.market,
        side: order.traits.side(),
        price: order.price,
        qty,
        leaves,
        cum,
        was_resting,
    }
}
