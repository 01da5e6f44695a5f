//! Lives of the streams: after what clients may have seen is lost, no number is given to them twice.

#[path = "support/house.rs"]
mod house;

use book::command::*;
use book::event::Event;
use book::ids::{ORDER_NUMBER_MAX, OrderId, TradeId};
use book::reject::AdminReason;
use book::rules::RulesVersion;
use book::run::{LIFE_TAGS, LifeTag, Run, RunSpec};
use house::{House, MAKER, TAKER};

fn begin(house: &mut House, directory: u64, life: Option<u32>) -> Vec<Event> {
    let spec = RunSpec { directory, may_lose: false, life: life.map(LifeTag) };
    house.apply(Command::Acted(Box::new(Acted::by_node(Admin::BeginRun(spec)))))
}

fn ids(house: &mut House) -> (OrderId, TradeId) {
    house.place(MAKER, Side::Sell, 100, 1, Tif::Gtc, StpMode::None);
    let events = house.place(TAKER, Side::Buy, 100, 1, Tif::Ioc, StpMode::None);
    match events[..] {
        [Event::Accepted(accepted), Event::Fill(fill)] => (accepted.order_id, fill.trade_id),
        ref other => panic!("{other:?}"),
    }
}

fn two() -> House {
    let mut house = House::new();
    house.admin(Admin::SetRules { version: RulesVersion(2) });
    house
}

fn a_new_life_skips_every_number_that_may_have_been_seen() {
    let mut house = two();
    let (order, trade) = ids(&mut house);
    let events = begin(&mut house, 1, None);
    assert!(matches!(events[..], [Event::RunBegan { life: 0, skipped: 0, .. }]), "{events:?}");
    let (next_order, next_trade) = ids(&mut house);
    assert_eq!((next_order.number(), next_trade.0), (order.number() + 2, trade.0 + 1), "the same life goes on");
    let events = begin(&mut house, 2, Some(7));
    let [Event::RunBegan { life: 1, tag: LifeTag(7), skipped }] = events[..] else { panic!("{events:?}") };
    assert_eq!(skipped, (1 << 34) + (7 << 14));
    let (far_order, far_trade) = ids(&mut house);
    assert_eq!((far_order.number(), far_trade.0), (next_order.number() + skipped + 2, next_trade.0 + skipped + 1));
    assert_eq!(house.replayed().state_hash(), house.hash());
}

#[test]
fn a_new_life_goes_on_with_other_numbers() {
    a_new_life_skips_every_number_that_may_have_been_seen();
}

#[test]
fn two_restores_of_one_state_give_different_numbers() {
    let numbers = [3, 4].map(|tag| {
        let mut house = two();
        ids(&mut house);
        begin(&mut house, 2, Some(tag));
        ids(&mut house).0.number()
    });
    assert!(numbers[0].abs_diff(numbers[1]) >= 1 << 14, "{numbers:?}");
}

#[test]
fn numbers_start_again_after_the_largest_when_lives_use_them_up() {
    let mut house = two();
    let mut smallest = ORDER_NUMBER_MAX;
    for life in 0..64 {
        begin(&mut house, 2, Some((LIFE_TAGS - 1) - life % 2));
        smallest = smallest.min(ids(&mut house).0.number());
        house.engine.verify().expect("the state is consistent");
    }
    assert!(smallest < 1 << 35, "64 lives of 2^35 numbers are more than there are: {smallest}");
    let loaded = house.engine.run();
    assert_eq!(loaded.life, 64);
}

#[test]
fn a_life_needs_a_new_tag_in_range_and_rules_2() {
    let mut house = House::new();
    let refused = |events: &[Event]| match events {
        [Event::AdminRejected { reason }] => Some(*reason),
        _ => None,
    };
    assert_eq!(refused(&begin(&mut house, 1, None)), Some(AdminReason::RulesTooOld));
    house.admin(Admin::SetRules { version: RulesVersion(2) });
    assert_eq!(refused(&begin(&mut house, 1, Some(LIFE_TAGS))), Some(AdminReason::OutOfRange));
    assert_eq!(*house.engine.run(), Run::default());
    assert_eq!(refused(&begin(&mut house, 1, Some(5))), None);
    assert_eq!(refused(&begin(&mut house, 1, Some(5))), Some(AdminReason::OutOfRange));
}

#[cfg(feature = "mutation")]
#[test]
fn numbers_that_are_said_twice_are_noticed() {
    use book::mutation::{Mutation, assert_noticed};
    assert_noticed(Mutation::NumbersSaidTwice, a_new_life_skips_every_number_that_may_have_been_seen);
}
