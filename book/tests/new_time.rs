//! Log time that lay in the future and is set back: what was remembered then neither locks a session out nor is
//! forgotten.

#[path = "support/house.rs"]
mod house;
#[path = "support/pieces.rs"]
mod pieces;

use book::command::*;
use book::engine::Engine;
use book::event::Event;
use book::ids::{ClOrdId, ClientKey, SessionId};
use book::new_time::SetBack;
use book::reject::RejectReason;
use book::rules::RulesVersion;
use book::units::{Seq, Stamp, TsNs};
use house::{House, MAKER};
use pieces::{load, save};

const FAR: TsNs = TsNs(2_000_000_000_000_000_000);
const NOW: TsNs = TsNs(1_700_000_000_000_000_000);

fn apply(engine: &mut Engine, ts: TsNs, command: &Command) -> Vec<Event> {
    let seq = Seq(engine.stamp().seq.0 + 1);
    let mut events = Vec::new();
    engine.apply(Stamp { seq, ts }, command, &mut events);
    events
}

#[test]
fn what_was_stored_in_the_future_is_of_the_new_time() {
    let mut house = House::new();
    house.admin(Admin::SetRules { version: RulesVersion(2) });
    house.place(MAKER, Side::Buy, 10, 1, Tif::Gtc, StpMode::None);
    assert_eq!(house.replayed().state_hash(), house.hash());
    let throttle = Throttle { orders_per_second: 1, burst: 1 };
    house.admin(Admin::SetSessionThrottle { session: SessionId(MAKER.0), throttle });
    let plain = house.order(MAKER, Side::Sell, 100, 1, Tif::Gtc, StpMode::None);
    let named = PlaceOrder {
        session: SessionId::NONE,
        cl_ord_id: ClOrdId(0),
        client_key: ClientKey(7),
        tif: Tif::Ioc,
        ..plain
    };
    let engine = &mut house.engine;
    for order in [plain, named] {
        let events = apply(engine, FAR, &Command::Place(order));
        assert!(matches!(events[0], Event::Accepted(_)), "{events:?}");
    }
    let next = Command::Place(PlaceOrder { cl_ord_id: ClOrdId(plain.cl_ord_id.0 + 1), ..plain });
    let refused = |events: &[Event]| matches!(events, [Event::Rejected(r)] if r.reason == RejectReason::Throttled);
    assert!(refused(&apply(engine, FAR, &next)));

    assert_eq!(engine.set_time_back(NOW), SetBack { throttles: 1, names: 1 });
    assert_eq!(engine.stamp().ts, NOW);
    engine.verify().expect("the state is consistent");
    // The snapshot with which the timeline begins.
    let mut loaded = load(&save(engine)).expect("its parts agree");
    assert_eq!(loaded.state_hash(), engine.state_hash());
    let later = TsNs(NOW.0 + 1);
    let again = apply(&mut loaded, later, &Command::Place(named));
    assert!(matches!(again[..], [Event::Repeated(_)]), "a name still has its first outcome: {again:?}");
    let other = Command::Place(PlaceOrder { cl_ord_id: ClOrdId(plain.cl_ord_id.0 + 2), ..plain });
    let events = apply(&mut loaded, later, &other);
    assert!(matches!(events[0], Event::Accepted(_)), "the session may trade at once: {events:?}");
    // A day later the name is free.
    let day = TsNs(NOW.0 + 24 * 3_600_000_000_000);
    let new = apply(&mut loaded, day, &Command::Place(named));
    assert!(matches!(new[0], Event::Accepted(_)), "{new:?}");
}
