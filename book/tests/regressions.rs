//! Defects of real exchanges, by the number they have in the project's list, and bounds that text cannot show.
//! Numbers 3, 4, 6, 8, 11 to 14 are in scenarios/regressions.txt; 1 and 10 belong to the log and to reporting.

#[path = "support/house.rs"]
mod house;

use book::command::*;
use book::engine::{CANCELS_PER_COMMAND_MAX, Engine};
use book::event::{CancelReason, Event};
use book::ids::{ClOrdId, ClientKey, MarketId, OrderId, SessionId};
use book::order_book::FILLS_PER_COMMAND_MAX;
use book::reject::RejectReason;
use book::units::{Ppm, QtyLots, Stamp, TsNs, Units};
use house::{House, MAKER, TAKER};

impl House {
    fn mass_cancel(&mut self, block: BlockChange, continued: bool) -> Vec<Event> {
        self.apply(Command::MassCancel(MassCancel {
            session: SessionId(MAKER.0),
            cl_ord_id: ClOrdId(1),
            account: MAKER,
            scope: MassScope::Account,
            market: MarketId::NONE,
            side: None,
            price_min: None,
            price_max: None,
            cancel_group: 0,
            block,
            continued,
        }))
    }
}

/// Id, open and filled quantity of every resting order in the order in which they would trade.
fn queue(engine: &Engine, side: Side) -> Vec<(OrderId, u64, u64)> {
    let market = engine.market(MarketId(1)).expect("the market is there");
    market.book.queue(engine.pool(), side).map(|(_, order)| (order.id, order.leaves.0, order.cum.0)).collect()
}

fn canceled_count(events: &[Event]) -> usize {
    events.iter().filter(|e| matches!(e, Event::Canceled(_))).count()
}

#[test]
fn regression_02_a_restart_keeps_cumulative_leaves_and_queue_position() {
    let mut house = House::new();
    for _ in 0..3 {
        house.place(MAKER, Side::Buy, 100, 10, Tif::Gtc, StpMode::None);
    }
    house.place(TAKER, Side::Sell, 100, 4, Tif::Gtc, StpMode::None);
    let replayed = house.replayed();
    assert_eq!(queue(&replayed, Side::Buy), queue(&house.engine, Side::Buy));
    let figures: Vec<(u64, u64)> = queue(&replayed, Side::Buy).iter().map(|(_, leaves, cum)| (*leaves, *cum)).collect();
    assert_eq!(figures, [(6, 4), (10, 0), (10, 0)]);
    assert_eq!(replayed.state_hash(), house.hash());
}

#[test]
fn regression_05_every_self_trade_mode_keeps_fifo_and_never_crosses() {
    let modes = [StpMode::None, StpMode::CancelTaker, StpMode::CancelMaker, StpMode::CancelBoth, StpMode::Decrement];
    for mode in modes {
        let mut house = House::new();
        for (account, qty) in [(TAKER, 3), (MAKER, 5), (TAKER, 7), (MAKER, 9)] {
            house.place(account, Side::Sell, 100, qty, Tif::Gtc, StpMode::None);
        }
        let before = queue(&house.engine, Side::Sell);
        let events = house.place(TAKER, Side::Buy, 101, 12, Tif::Gtc, mode);
        let after = queue(&house.engine, Side::Sell);
        house.engine.verify().expect("never crossed, nothing held without an order");
        let mut left = before.iter().filter(|(id, ..)| after.iter().any(|(other, ..)| other == id));
        assert!(
            after.iter().all(|(id, ..)| left.next().is_some_and(|(other, ..)| other == id)),
            "{mode:?} keeps order"
        );
        let own_fills = events.iter().filter(|e| matches!(e, Event::Fill(f) if f.maker.account == TAKER)).count();
        assert_eq!(own_fills > 0, mode == StpMode::None, "{mode:?}: {events:?}");
    }
}

#[test]
fn regression_07_trade_and_order_numbers_continue_after_a_restart() {
    let mut house = House::new();
    house.place(MAKER, Side::Buy, 100, 10, Tif::Gtc, StpMode::None);
    house.place(TAKER, Side::Sell, 100, 4, Tif::Gtc, StpMode::None);
    let mut restarted = House { engine: house.replayed(), log: house.log.clone() };
    let live = house.place(TAKER, Side::Sell, 100, 4, Tif::Gtc, StpMode::None);
    let after = restarted.place(TAKER, Side::Sell, 100, 4, Tif::Gtc, StpMode::None);
    assert_eq!(live, after);
    let numbers = live
        .iter()
        .find_map(|e| if let Event::Fill(f) = e { Some((f.trade_id.0, f.taker.order_id.number())) } else { None });
    assert_eq!(numbers, Some((2, 3)));
}

#[test]
#[should_panic(expected = "commands come without a gap")]
fn regression_07_a_gap_in_the_log_is_fatal() {
    let mut house = House::new();
    let query = house.log[0].clone();
    let seq = house.engine.stamp().seq.next().next();
    house.engine.apply(Stamp { seq, ts: TsNs(seq.0) }, &query, &mut Vec::new());
}

#[test]
#[should_panic(expected = "log time never runs back")]
fn regression_07_time_that_runs_back_is_fatal() {
    let mut house = House::new();
    let command = house.log[0].clone();
    let seq = house.engine.stamp().seq.next();
    house.engine.apply(Stamp { seq, ts: TsNs(0) }, &command, &mut Vec::new());
}

#[test]
fn regression_09_postings_of_an_asset_sum_to_zero() {
    let mut house = House::new();
    house.admin(Admin::SetMarketFees { market: MarketId(1), maker_fee: Ppm(-100), taker_fee: Ppm(3_000) });
    house.place(MAKER, Side::Sell, 997, 1_000, Tif::Gtc, StpMode::None);
    house.place(TAKER, Side::Buy, 1_000, 777, Tif::Gtc, StpMode::None);
    for book in house.engine.accounts().assets() {
        let owned = house.engine.accounts().iter().map(|(_, account)| {
            u128::from(account.available(book.asset.id).0) + u128::from(account.held(book.asset.id).0)
        });
        let fees = u128::from(book.fees.0);
        assert_eq!(owned.sum::<u128>() + fees, u128::from(book.custody.0), "{}", book.asset.symbol);
    }
    assert!(house.engine.accounts().assets()[1].fees.0 > 0, "there was a fee to account for");
}

#[test]
fn regression_15_a_planned_restart_keeps_every_resting_order() {
    let mut house = House::new();
    for idx in 0..500 {
        house.place(MAKER, Side::Buy, 50 + idx % 40, 1 + u64::from(idx % 7), Tif::Gtc, StpMode::None);
        house.place(TAKER, Side::Sell, 100 + idx % 40, 1 + u64::from(idx % 5), Tif::Gtc, StpMode::None);
    }
    let replayed = house.replayed();
    assert_eq!(replayed.pool().orders.len(), 1_000);
    for side in [Side::Buy, Side::Sell] {
        assert_eq!(queue(&replayed, side), queue(&house.engine, side));
    }
    assert_eq!(replayed.state_hash(), house.hash());
}

#[test]
fn a_mass_cancel_beyond_the_bound_goes_on_with_the_next_command() {
    let mut house = House::new();
    let total = CANCELS_PER_COMMAND_MAX as usize + 10;
    for _ in 0..total {
        house.place(MAKER, Side::Buy, 100, 1, Tif::Gtc, StpMode::None);
    }
    let first = house.mass_cancel(BlockChange::Set, false);
    assert_eq!(canceled_count(&first), CANCELS_PER_COMMAND_MAX as usize);
    assert!(
        matches!(first.last(), Some(Event::MassCanceled(m)) if m.more && m.blocked && m.count == CANCELS_PER_COMMAND_MAX)
    );
    // The block holds from the first of them on.
    let refused = house.place(MAKER, Side::Buy, 100, 1, Tif::Gtc, StpMode::None);
    assert!(matches!(refused[..], [Event::Rejected(r)] if r.reason == RejectReason::KillSwitch));
    let second = house.mass_cancel(BlockChange::Set, true);
    assert_eq!(canceled_count(&second), 10);
    assert!(matches!(second.last(), Some(Event::MassCanceled(m)) if !m.more && m.count == 10));
    house.hash();
}

#[test]
fn a_disconnect_beyond_the_bound_goes_on_with_the_next_command() {
    let mut house = House::new();
    for _ in 0..CANCELS_PER_COMMAND_MAX + 1 {
        house.place(MAKER, Side::Buy, 100, 1, Tif::Gtc, StpMode::None);
    }
    let down = |continued| {
        Command::SessionDown(SessionDown { session: SessionId(MAKER.0), cause: DownCause::Disconnect, continued })
    };
    let first = house.apply(down(false));
    assert!(matches!(first.last(), Some(Event::MassCanceled(m)) if m.more));
    let second = house.apply(down(true));
    assert!(matches!(second.last(), Some(Event::MassCanceled(m)) if !m.more && m.count == 1));
    house.hash();
}

#[test]
fn an_order_that_would_meet_too_many_ends_before_it_crosses() {
    let mut house = House::new();
    let makers = u64::from(FILLS_PER_COMMAND_MAX) + 5;
    for _ in 0..makers {
        house.place(MAKER, Side::Sell, 100, 1, Tif::Gtc, StpMode::None);
    }
    let killed = house.place(TAKER, Side::Buy, 100, makers, Tif::Fok, StpMode::None);
    assert!(matches!(killed[..], [Event::Accepted(_), Event::Canceled(c)] if c.reason == CancelReason::Fok));
    let events = house.place(TAKER, Side::Buy, 100, makers, Tif::Gtc, StpMode::None);
    let fills = events.iter().filter(|e| matches!(e, Event::Fill(_))).count();
    assert_eq!(fills, FILLS_PER_COMMAND_MAX as usize);
    assert!(matches!(events.last(), Some(Event::Canceled(c)) if c.reason == CancelReason::FillLimit && c.qty.0 == 5));
    house.hash();
    let whole = house.place(TAKER, Side::Buy, 100, 5, Tif::Fok, StpMode::None);
    assert_eq!(whole.iter().filter(|e| matches!(e, Event::Fill(_))).count(), 5);
    house.hash();
}

/// A market buy of an account whose own asks, in front of another's, are worth more than 2^64 units in all.
fn buy_past_own_asks() -> (House, Vec<Event>) {
    let mut house = House::new();
    let limits = MarketLimits {
        qty_min: QtyLots(1),
        qty_max: QtyLots(i64::MAX as u64),
        notional_min: Units(0),
        price_band: Ppm(0),
    };
    house.admin(Admin::SetMarketLimits { market: MarketId(1), limits });
    let (dear, heavy) = (u32::MAX, 1 << 31);
    for _ in 0..3 {
        house.place(MAKER, Side::Sell, dear, heavy, Tif::Gtc, StpMode::None);
    }
    house.place(TAKER, Side::Sell, dear, 5, Tif::Gtc, StpMode::None);
    let events = house.apply(Command::Place(PlaceOrder {
        session: SessionId(MAKER.0),
        cl_ord_id: ClOrdId(100),
        client_key: ClientKey::NONE,
        account: MAKER,
        market: MarketId(1),
        side: Side::Buy,
        kind: OrderKind::Market { qty: QtyLots(3 * heavy + 5) },
        tif: Tif::Ioc,
        stp: StpMode::Decrement,
        stp_group: 0,
        cancel_group: 0,
        persist_on_disconnect: false,
        valid_until: TsNs(0),
    }));
    (house, events)
}

/// An order by quantity has no quote budget: own asks of any worth are taken off, and what trades after them is held in
/// full.
#[test]
fn a_market_buy_is_measured_past_own_asks_of_any_worth() {
    let (house, events) = buy_past_own_asks();
    assert_eq!(canceled_count(&events), 3, "its own asks are taken off: {events:?}");
    let traded = events.iter().any(|event| matches!(event, Event::Fill(fill) if fill.qty == QtyLots(5)));
    assert!(traded, "the other's ask trades: {events:?}");
    assert_eq!(house.replayed().state_hash(), house.hash());
}

#[cfg(feature = "mutation")]
#[test]
fn a_budget_that_own_asks_spend_is_noticed() {
    use book::mutation::{Mutation, plant};
    plant(Some(Mutation::BudgetSpentByOwn));
    let outcome = std::panic::catch_unwind(buy_past_own_asks);
    plant(None);
    let panic = outcome.err().expect("what the order pays is not held");
    let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(text.contains("broken invariant"), "{text}");
}
