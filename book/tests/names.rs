//! Names of orders under rules 2: taken by accepted orders only, for as long as is promised, within bounds that no
//! account can use up for another.

#[path = "support/house.rs"]
mod house;
#[path = "support/pieces.rs"]
mod pieces;

use book::command::*;
use book::engine::Engine;
use book::event::Event;
use book::ids::{AccountId, ClOrdId, ClientKey, MarketId, OrderId, SessionId};
use book::names::{NAME_LIFETIME_NS, NAMES_PER_ACCOUNT_MAX};
use book::reject::RejectReason;
use book::rules::RulesVersion;
use book::units::{Seq, Stamp, TsNs};
use house::{House, MAKER, TAKER};
use pieces::{load, save};

fn house() -> House {
    let mut house = House::new();
    house.admin(Admin::SetRules { version: RulesVersion(2) });
    house
}

fn named(house: &House, account: AccountId, key: u128, price: u32, tif: Tif) -> PlaceOrder {
    let order = house.order(account, Side::Sell, price, 5, tif, StpMode::None);
    PlaceOrder { client_key: ClientKey(key), session: SessionId::NONE, cl_ord_id: ClOrdId(0), ..order }
}

/// The order that the command placed, or the one that has the name.
fn answer(house: &mut House, order: PlaceOrder) -> Answer {
    let events = house.apply(Command::Place(order));
    match events[0] {
        Event::Accepted(accepted) => Answer::Placed(accepted.order_id),
        Event::Repeated(repeated) => Answer::Repeated(repeated.outcome.expect("only accepted orders take names")),
        Event::Rejected(rejected) => Answer::Refused(rejected.reason),
        other => panic!("{other:?}"),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Placed(OrderId),
    Repeated(OrderId),
    Refused(RejectReason),
}

fn place(house: &mut House, account: AccountId, key: u128, tif: Tif) -> Answer {
    let order = named(house, account, key, 100, tif);
    answer(house, order)
}

fn is_placed(answer: Answer) -> bool {
    matches!(answer, Answer::Placed(_))
}

/// Applies a command at a time of its own, after all others.
fn apply_at(engine: &mut Engine, ts: u64, order: PlaceOrder) -> Vec<Event> {
    let mut events = Vec::new();
    let seq = engine.stamp().seq.next();
    engine.apply(Stamp { seq, ts: TsNs(ts) }, &Command::Place(order), &mut events);
    events
}

#[test]
fn a_refused_order_takes_no_name_and_an_accepted_one_is_answered_again() {
    let mut house = house();
    house.place(MAKER, Side::Sell, 100, 1, Tif::Ioc, StpMode::None);
    assert!(house.engine.names().is_empty(), "an order without a name takes none");
    let zero = named(&house, MAKER, 7, 0, Tif::Gtc);
    assert_eq!(answer(&mut house, zero), Answer::Refused(RejectReason::PriceTick));
    let Answer::Placed(order) = place(&mut house, MAKER, 7, Tif::Gtc) else { panic!("the name was free") };
    assert_eq!(place(&mut house, MAKER, 7, Tif::Gtc), Answer::Repeated(order));
    assert!(is_placed(place(&mut house, TAKER, 7, Tif::Gtc)), "each account has its own names");
    let cancel = CancelOrder {
        session: SessionId::NONE,
        cl_ord_id: ClOrdId(0),
        account: MAKER,
        market: MarketId::NONE,
        target: OrderRef { order_id: OrderId::NONE, cl_ord_id: ClOrdId(0), client_key: ClientKey(7) },
    };
    assert!(
        matches!(house.apply(Command::Cancel(cancel))[..], [Event::Canceled(canceled)] if canceled.order_id == order)
    );
    assert_eq!(place(&mut house, MAKER, 7, Tif::Gtc), Answer::Repeated(order), "also after its end");
    assert_eq!(house.replayed().state_hash(), house.hash());
}

#[test]
fn only_who_may_act_for_the_account_learns_of_a_name() {
    let mut house = house();
    place(&mut house, MAKER, 7, Tif::Gtc);
    let foreign = |house: &House| {
        let order = named(house, MAKER, 7, 100, Tif::Gtc);
        PlaceOrder { session: SessionId(TAKER.0), cl_ord_id: ClOrdId(house.log.len() as u64), ..order }
    };
    let order = foreign(&house);
    assert_eq!(answer(&mut house, order), Answer::Refused(RejectReason::NotAuthorised));
    let replace = CancelReplace {
        place: foreign(&house),
        mode: ReplaceMode::StopOnFailure,
        target: OrderRef { order_id: OrderId::NONE, cl_ord_id: ClOrdId(0), client_key: ClientKey(7) },
    };
    let events = house.apply(Command::CancelReplace(replace));
    assert!(matches!(&events[..], [Event::CancelRejected(r)] if r.reason == RejectReason::NotAuthorised), "{events:?}");
}

#[test]
fn an_open_name_outlives_a_day_and_an_ended_one_does_not() {
    let mut engine = house().engine;
    let house = house();
    let fleeting = named(&house, MAKER, 1, 100, Tif::Ioc);
    let resting = named(&house, MAKER, 2, 100, Tif::Gtc);
    for order in [fleeting, resting] {
        assert!(matches!(apply_at(&mut engine, 1_000, order)[0], Event::Accepted(_)));
    }
    let later = 1_000 + NAME_LIFETIME_NS;
    assert!(matches!(apply_at(&mut engine, later - 1, fleeting)[0], Event::Repeated(_)));
    assert!(matches!(apply_at(&mut engine, later, fleeting)[0], Event::Accepted(_)), "a day after its end it is free");
    assert!(matches!(apply_at(&mut engine, later + NAME_LIFETIME_NS, resting)[0], Event::Repeated(_)));
    engine.verify().expect("the state is consistent");
}

#[test]
fn an_account_keeps_its_last_ten_thousand_names_and_those_of_its_open_orders() {
    let mut house = house();
    place(&mut house, MAKER, 1, Tif::Gtc);
    for key in 0..=u128::from(NAMES_PER_ACCOUNT_MAX) {
        assert!(is_placed(place(&mut house, MAKER, 1_000 + key, Tif::Ioc)));
    }
    assert!(is_placed(place(&mut house, MAKER, 1_000, Tif::Ioc)), "the oldest has gone");
    assert!(!is_placed(place(&mut house, MAKER, 1_002, Tif::Ioc)), "one that is young enough has not");
    assert!(!is_placed(place(&mut house, MAKER, 1, Tif::Ioc)), "nor that of the open order");
    assert_eq!(house.engine.names().len(), NAMES_PER_ACCOUNT_MAX as usize + 1);
    house.engine.verify().expect("the state is consistent");
}

/// Whether at the bound of the house the account with the most names loses its oldest one, and no other account does.
fn the_bound_takes_from_who_has_most() -> bool {
    let mut house = house();
    house.admin(Admin::SetClientNamesMax { max: 10 });
    place(&mut house, TAKER, 5, Tif::Gtc);
    for key in 0..4 {
        place(&mut house, TAKER, 10 + key, Tif::Ioc);
    }
    for key in 0..50 {
        assert!(is_placed(place(&mut house, MAKER, 100 + key, Tif::Ioc)), "no order is refused for lack of room");
    }
    let kept = (0..4).all(|key| !is_placed(place(&mut house, TAKER, 10 + key, Tif::Ioc)));
    let kept = kept && !is_placed(place(&mut house, TAKER, 5, Tif::Ioc));
    house.engine.verify().expect("the state is consistent");
    assert_eq!(house.replayed().state_hash(), house.engine.state_hash());
    kept && house.engine.names().len() == 10
}

#[test]
fn one_account_takes_no_room_from_another() {
    assert!(the_bound_takes_from_who_has_most());
}

#[test]
fn a_lowered_bound_is_reached_and_open_names_stay_above_it() {
    let mut house = house();
    for key in 0..20 {
        place(&mut house, MAKER, 100 + key, if key < 6 { Tif::Gtc } else { Tif::Ioc });
    }
    house.admin(Admin::SetClientNamesMax { max: 3 });
    for key in 0..20 {
        place(&mut house, TAKER, 200 + key, Tif::Ioc);
    }
    assert_eq!(house.engine.names().len(), 6, "the names of open orders and no other");
    for key in 0..6 {
        assert!(!is_placed(place(&mut house, MAKER, 100 + key, Tif::Gtc)));
    }
}

#[test]
fn names_survive_a_snapshot_with_their_order() {
    let mut house = house();
    house.admin(Admin::SetClientNamesMax { max: 12 });
    for key in 0..15 {
        place(&mut house, if key % 3 == 0 { TAKER } else { MAKER }, key + 1, if key < 4 { Tif::Gtc } else { Tif::Ioc });
    }
    let mut loaded = load(&save(&house.engine)).expect("a consistent state");
    assert_eq!(loaded.state_hash(), house.hash());
    // What goes next is the same on both.
    for key in 0..30 {
        let order = named(&house, if key % 2 == 0 { TAKER } else { MAKER }, 40 + key, 100, Tif::Ioc);
        let events = house.apply(Command::Place(order));
        let mut of_loaded = Vec::new();
        let seq = Seq(house.log.len() as u64);
        loaded.apply(Stamp { seq, ts: TsNs(seq.0) }, &Command::Place(order), &mut of_loaded);
        of_loaded.retain(|event| !matches!(event, Event::Transfer(_)));
        assert_eq!(of_loaded, events);
        assert_eq!(loaded.state_hash(), house.engine.state_hash());
    }
}

#[test]
fn a_name_of_before_rules_2_is_taken_for_as_long_as_it_was_said() {
    let mut house = House::new();
    let first = place(&mut house, MAKER, 7, Tif::Ioc);
    let zero = named(&house, MAKER, 8, 0, Tif::Gtc);
    assert_eq!(answer(&mut house, zero), Answer::Refused(RejectReason::PriceTick));
    house.admin(Admin::SetRules { version: RulesVersion(2) });
    let Answer::Placed(first) = first else { panic!("{first:?}") };
    assert_eq!(place(&mut house, MAKER, 7, Tif::Ioc), Answer::Repeated(first));
    assert!(is_placed(place(&mut house, MAKER, 8, Tif::Ioc)), "what was refused took no name");
    assert_eq!(house.replayed().state_hash(), house.hash());
}

#[cfg(feature = "mutation")]
#[test]
fn a_name_that_is_shown_freed_or_kept_wrongly_is_noticed() {
    use book::mutation::{Mutation, assert_noticed};
    let tests: [(Mutation, fn()); 3] = [
        (Mutation::NameShownToAll, only_who_may_act_for_the_account_learns_of_a_name),
        (Mutation::NameFreeAtEnd, a_refused_order_takes_no_name_and_an_accepted_one_is_answered_again),
        (Mutation::NamesWithoutBound, one_account_takes_no_room_from_another),
    ];
    for (fault, test) in tests {
        assert_noticed(fault, test);
    }
}
