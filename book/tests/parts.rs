//! Commands over more orders than one command may handle or look at, under rules 2: every part in the engine and in its
//! naive twin.

#[path = "support/house.rs"]
mod house;
#[path = "support/pieces.rs"]
mod pieces;

use book::command::*;
use book::engine::{CANCELS_PER_COMMAND_MAX, VISITS_FIRST_MAX, VISITS_PER_COMMAND_MAX};
use book::event::{Event, OrderStatus};
use book::ids::{AccountId, ClOrdId, ClientKey, MarketId, OrderId, SessionId};
use book::reject::RejectReason;
use book::rules::RulesVersion;
use book::testing::twin::Twin;
use book::units::{Seq, Stamp, TsNs};
use house::{House, MAKER, TAKER, market};

/// Orders that a part handles at most, and that a first part looks at.
const PART: u32 = CANCELS_PER_COMMAND_MAX;
const FIRST_PART: u32 = VISITS_FIRST_MAX;
const FIRST: MarketId = MarketId(1);
const SECOND: MarketId = MarketId(2);

/// An exchange of two markets under rules 2, beside its twin.
struct Both {
    house: House,
    twin: Twin,
}

impl Both {
    fn new() -> Self {
        let mut house = House::new();
        house.admin(Admin::AddMarket(market("SECOND")));
        house.admin(Admin::SetRules { version: RulesVersion(2) });
        let mut twin = Twin::default();
        for (seq, command) in (1..).map(Seq).zip(&house.log) {
            twin.follow(Stamp { seq, ts: TsNs(seq.0) }, command, &[]).expect("nothing is about orders");
        }
        Self { house, twin }
    }

    fn apply(&mut self, command: Command) -> Vec<Event> {
        let events = self.house.apply(command.clone());
        self.compared(&command, events)
    }

    fn compared(&mut self, command: &Command, events: Vec<Event>) -> Vec<Event> {
        self.twin.follow(self.house.engine.stamp(), command, &events).expect("both say the same");
        events
    }

    /// The events of every part.
    fn parts(&mut self, command: Command) -> Vec<Vec<Event>> {
        let mut parts = vec![self.apply(command)];
        while let Some(Event::Unfinished(rest)) = parts.last().and_then(|events| events.last()) {
            let next = Command::Continue(*rest);
            parts.push(self.apply(next));
            assert!(parts.len() < 20, "a command over many orders comes to its end");
        }
        parts
    }

    fn rest(&mut self, market: MarketId, side: Side, count: u32) {
        let price = if side == Side::Buy { 10 } else { 20 };
        for _ in 0..count {
            if market == FIRST {
                let events = self.house.place(MAKER, side, price, 1, Tif::Gtc, StpMode::None);
                let command = self.house.log.last().expect("it is the last one").clone();
                self.compared(&command, events);
                continue;
            }
            let Some(Command::Place(last)) = self.house.log.last().cloned() else { panic!("after the first market's") };
            self.apply(Command::Place(PlaceOrder { market, cl_ord_id: ClOrdId(self.house.log.len() as u64), ..last }));
        }
    }

    /// Orders that a disconnect spares.
    fn rest_for_good(&mut self, count: u32) {
        for _ in 0..count {
            let last = self.house.log.iter().rev().find_map(|command| match command {
                Command::Place(place) => Some(*place),
                _ => None,
            });
            let last = last.expect("an order was placed");
            let cl_ord_id = ClOrdId(self.house.log.len() as u64);
            self.apply(Command::Place(PlaceOrder { cl_ord_id, persist_on_disconnect: true, ..last }));
        }
    }

    fn open_count(&self) -> usize {
        self.house.engine.pool().orders.len()
    }

    /// Both own the same, and a restart has the same state.
    fn end(self) {
        self.twin.compare_balances(&self.house.engine).expect("both own the same");
        assert_eq!(self.house.replayed().state_hash(), self.house.hash());
    }
}

fn all_on(market: MarketId) -> Command {
    let target = OrderRef { order_id: OrderId::NONE, cl_ord_id: ClOrdId(0), client_key: ClientKey::NONE };
    Command::Query(Query { session: SessionId(MAKER.0), request: ClOrdId(7), account: MAKER, market, target })
}

fn mass(scope: MassScope, side: Side) -> MassCancel {
    let by_client = scope == MassScope::Session;
    MassCancel {
        session: if by_client { SessionId(MAKER.0) } else { SessionId::NONE },
        cl_ord_id: ClOrdId(u64::from(by_client)),
        account: if scope == MassScope::Market { AccountId::NONE } else { MAKER },
        scope,
        market: if scope == MassScope::Market { FIRST } else { MarketId::NONE },
        side: Some(side),
        price_min: None,
        price_max: None,
        cancel_group: 0,
        block: BlockChange::Keep,
        continued: false,
    }
}

fn statuses(parts: &[Vec<Event>]) -> Vec<OrderStatus> {
    let status = |event: &Event| if let Event::OrderStatus(status) = event { Some(*status) } else { None };
    parts.iter().flatten().filter_map(status).collect()
}

/// Each order once, oldest first, and `remaining` down to 0.
fn check_reported(parts: &[Vec<Event>], market: MarketId, count: u32) {
    let reported = statuses(parts);
    assert!(parts.iter().all(|events| events.len() <= PART as usize + 1), "one command tells a bounded number");
    assert!(reported.iter().map(|status| status.remaining).eq((0..count).rev()));
    assert!(reported.is_sorted_by(|a, b| a.order_id < b.order_id));
    assert!(market.is_none() || reported.iter().all(|status| status.market == market));
}

#[test]
fn a_status_request_tells_every_open_order_in_parts() {
    let mut both = Both::new();
    both.rest(FIRST, Side::Buy, VISITS_PER_COMMAND_MAX + 100);
    both.rest(SECOND, Side::Buy, 50);
    both.rest(FIRST, Side::Sell, PART + 100);
    let first = VISITS_PER_COMMAND_MAX + PART + 200;
    for (market, count) in [(MarketId::NONE, first + 50), (FIRST, first), (SECOND, 50)] {
        let parts = both.parts(all_on(market));
        check_reported(&parts, market, count);
        let by_count = 1 + (count.saturating_sub(FIRST_PART)).div_ceil(PART) as usize;
        assert!((by_count..=by_count + 3).contains(&parts.len()), "{} parts for {count} orders", parts.len());
    }
    let foreign = Query { account: TAKER, ..query_of(all_on(MarketId::NONE)) };
    assert_eq!(statuses(&both.parts(Command::Query(foreign))).len(), 1, "another account's orders stay its own");
    both.end();
}

#[test]
fn as_many_orders_as_one_part_has_need_no_second_one() {
    let mut both = Both::new();
    both.rest(FIRST, Side::Buy, FIRST_PART);
    for market in [MarketId::NONE, FIRST] {
        let parts = both.parts(all_on(market));
        assert_eq!(parts.len(), 1);
        check_reported(&parts, market, FIRST_PART);
    }
    let none = both.parts(all_on(SECOND));
    assert!(matches!(statuses(&none)[..], [status] if status.order_id.is_none() && status.remaining == 0));
    both.rest(FIRST, Side::Buy, 1);
    assert_eq!(both.parts(all_on(FIRST)).len(), 2);
    both.end();
}

fn query_of(command: Command) -> Query {
    let Command::Query(query) = command else { panic!("{command:?}") };
    query
}

fn cancel(order_id: OrderId) -> Command {
    let target = OrderRef { order_id, cl_ord_id: ClOrdId(0), client_key: ClientKey::NONE };
    let (session, cl_ord_id) = (SessionId(MAKER.0), ClOrdId(1));
    Command::Cancel(CancelOrder { session, cl_ord_id, account: MAKER, market: MarketId::NONE, target })
}

fn rest_of(events: &[Event]) -> Rest {
    let Some(Event::Unfinished(rest)) = events.last() else { panic!("there is no more: {events:?}") };
    *rest
}

/// Each order is reported once and in its place, also when the one at which a part stopped ends before the next.
fn a_request_goes_on_after_an_order_that_has_ended() {
    for market in [MarketId::NONE, FIRST] {
        let mut both = Both::new();
        both.rest(FIRST, Side::Buy, FIRST_PART + 10);
        let mut parts = vec![both.apply(all_on(market))];
        let rest = rest_of(&parts[0]);
        both.apply(cancel(rest.at));
        both.rest(FIRST, Side::Buy, 5);
        parts.extend(both.parts(Command::Continue(rest)));
        let reported = statuses(&parts);
        let orders: Vec<OrderId> = reported.iter().map(|status| status.order_id).filter(|id| !id.is_none()).collect();
        assert_eq!(
            orders.len() as u32,
            FIRST_PART + 9,
            "those that were open, without the one that has ended: {market:?}"
        );
        assert!(orders.is_sorted() && !orders.contains(&rest.at));
        assert_eq!(reported.last().map(|status| status.remaining), Some(0));
        both.end();
    }
}

#[test]
fn a_request_whose_place_has_ended_goes_on_after_it() {
    a_request_goes_on_after_an_order_that_has_ended();
}

/// The last order and the next one end, then all: nothing is left, and the client learns it.
#[test]
fn a_request_whose_orders_have_all_ended_comes_to_its_end() {
    for (market, scope) in [(MarketId::NONE, MassScope::Session), (FIRST, MassScope::Account)] {
        let mut both = Both::new();
        both.rest(FIRST, Side::Buy, FIRST_PART + 3);
        let rest = rest_of(&both.apply(all_on(market)));
        let left: Vec<OrderId> = both.house.engine.pool().orders.iter().map(|(_, order)| order.id).collect();
        let left = &left[FIRST_PART as usize..];
        for order_id in [left[2], left[0], left[1]] {
            both.apply(cancel(order_id));
        }
        let last = both.parts(Command::Continue(rest));
        let end = statuses(&last);
        assert_eq!(end.last().map(|status| status.remaining), Some(0));
        if market.is_none() {
            assert!(matches!(end[..], [status] if status.order_id.is_none()), "the oldest have been reported");
        } else {
            assert_eq!(end.len() as u32, FIRST_PART, "all that are left, for the others were not counted yet");
        }
        both.parts(Command::MassCancel(mass(scope, Side::Buy)));
        assert_eq!(both.open_count(), 0);
        both.end();
    }
}

fn a_mass_cancel_spares_what_is_placed_after_it() {
    let mut both = Both::new();
    both.rest(FIRST, Side::Buy, FIRST_PART + PART + 5);
    let mut rest = rest_of(&both.apply(Command::MassCancel(mass(MassScope::Session, Side::Buy))));
    for open in [PART + 5 + 2, 5 + 4] {
        both.rest(FIRST, Side::Buy, 2);
        assert_eq!(both.open_count() as u32, open);
        let events = both.apply(Command::Continue(rest));
        if open == 9 {
            assert_eq!((report(&events), both.open_count()), ((5, false), 4));
        } else {
            rest = rest_of(&events);
        }
    }
    both.end();
}

#[test]
fn orders_that_are_placed_after_a_mass_cancel_stay() {
    a_mass_cancel_spares_what_is_placed_after_it();
}

/// Two requests of a session over all its orders at a time are one too many; its kill switch always is heard.
fn requests_are_bounded() {
    let mut both = Both::new();
    both.rest(FIRST, Side::Buy, FIRST_PART + 1);
    let rest = rest_of(&both.apply(all_on(MarketId::NONE)));
    let refused =
        |events: &[Event]| matches!(events, [Event::Rejected(rejected)] if rejected.reason == RejectReason::Throttled);
    assert!(refused(&both.apply(all_on(FIRST))));
    assert!(refused(&both.apply(Command::MassCancel(mass(MassScope::Session, Side::Buy)))));
    let by_operator = Command::MassCancel(mass(MassScope::Account, Side::Sell));
    let operators = rest_of(&both.apply(by_operator));
    let kill = MassCancel { block: BlockChange::Set, ..mass(MassScope::Session, Side::Buy) };
    let killed = rest_of(&both.apply(Command::MassCancel(kill)));
    assert!(refused(&both.apply(Command::MassCancel(kill))), "it has been heard");
    let lift = MassCancel { block: BlockChange::Lift, ..kill };
    assert!(refused(&both.apply(Command::MassCancel(lift))));
    for rest in [rest, operators, killed] {
        both.parts(Command::Continue(rest));
    }
    assert_eq!(both.open_count(), 0);
    assert!(!refused(&both.apply(all_on(FIRST))));
    let answered = (0..100).take_while(|_| !refused(&both.apply(all_on(FIRST)))).count();
    assert_eq!(answered, 40 - 2, "two seconds of 20, less those before");
    both.end();
}

#[test]
fn a_session_has_one_request_over_many_orders_at_a_time_and_20_a_second() {
    requests_are_bounded();
}

/// However often a connection ends, one end of it is unfinished, and that one is about all that is open.
fn ends_of_a_connection_are_one() {
    let mut both = Both::new();
    both.rest(FIRST, Side::Buy, 1);
    both.rest_for_good(FIRST_PART + 10);
    let down = SessionDown { session: SessionId(MAKER.0), cause: DownCause::Disconnect, continued: false };
    let set = SetSession {
        session: SessionId(MAKER.0),
        request: ClOrdId(3),
        cod_mode: CodMode::Both,
        cod_scope: CodScope::Session,
        cod_window_ms: 0,
    };
    both.apply(Command::SetSession(set));
    let rest = rest_of(&both.apply(Command::SessionDown(down)));
    both.rest(FIRST, Side::Buy, 3);
    for _ in 0..3 {
        assert_eq!(both.apply(Command::SessionDown(down)), []);
    }
    // The other cause has an end of its own.
    rest_of(&both.apply(Command::SessionDown(SessionDown { cause: DownCause::Logout, ..down })));
    let loaded = pieces::load(&pieces::save(&both.house.engine)).expect("it loads");
    assert_eq!((loaded.state_hash(), loaded.verify()), (both.house.hash(), Ok(())));
    let parts = both.parts(Command::Continue(rest));
    assert_eq!(
        parts.iter().map(|events| report(events)).collect::<Vec<_>>(),
        [(3, false)],
        "what came before the last end"
    );
    assert_eq!(both.open_count() as u32, FIRST_PART + 10);
    both.end();
}

#[test]
fn an_end_that_is_unfinished_begins_again_with_the_next() {
    ends_of_a_connection_are_one();
}

/// A snapshot between two parts has the place at which the next one goes on, and what was asked so far.
fn a_snapshot_keeps_unfinished_requests() {
    let mut both = Both::new();
    both.rest(FIRST, Side::Buy, FIRST_PART + PART + 1);
    let rest = rest_of(&both.apply(Command::MassCancel(mass(MassScope::Session, Side::Buy))));
    both.rest(FIRST, Side::Buy, 3);
    both.apply(cancel(rest.at));
    let loaded = pieces::load(&pieces::save(&both.house.engine)).expect("it loads");
    assert_eq!(loaded.state_hash(), both.house.hash());
    assert_eq!(loaded.verify(), Ok(()));
}

#[test]
fn a_snapshot_keeps_where_unfinished_requests_go_on() {
    a_snapshot_keeps_unfinished_requests();
}

#[cfg(feature = "mutation")]
#[test]
fn faults_between_two_parts_are_noticed() {
    use book::mutation::{Mutation, assert_noticed};
    let ended = a_request_goes_on_after_an_order_that_has_ended;
    assert_noticed(Mutation::WalkEndsWithItsOrder, ended);
    assert_noticed(Mutation::WalkTakesLaterOrders, a_mass_cancel_spares_what_is_placed_after_it);
    assert_noticed(Mutation::RequestsWithoutBound, requests_are_bounded);
    assert_noticed(Mutation::EndsPileUp, ends_of_a_connection_are_one);
    assert_noticed(Mutation::WalksForgottenInSnapshot, a_snapshot_keeps_unfinished_requests);
    assert_noticed(Mutation::RequestsForgottenInSnapshot, a_snapshot_keeps_unfinished_requests);
}

#[test]
fn a_mass_cancel_looks_at_a_bounded_number_of_orders_and_goes_on_after_them() {
    for scope in [MassScope::Session, MassScope::Account, MassScope::Market] {
        let mut both = Both::new();
        both.rest(FIRST, Side::Buy, VISITS_PER_COMMAND_MAX + 10);
        both.rest(FIRST, Side::Sell, PART + 10);
        let parts = both.parts(Command::MassCancel(mass(scope, Side::Sell)));
        let counts: Vec<(u32, bool)> = parts.iter().map(|events| report(events)).collect();
        let second = VISITS_PER_COMMAND_MAX - (VISITS_PER_COMMAND_MAX + 10 - FIRST_PART);
        assert_eq!(counts, [(0, true), (second, true), (PART + 10 - second, false)], "{scope:?}");
        assert_eq!(both.open_count(), VISITS_PER_COMMAND_MAX as usize + 10);
        let rest: Vec<u32> =
            both.parts(Command::MassCancel(mass(scope, Side::Buy))).iter().map(|p| report(p).0).collect();
        assert_eq!(rest, [FIRST_PART, PART, PART + 10 - FIRST_PART], "{scope:?}");
        both.end();
    }
}

fn report(events: &[Event]) -> (u32, bool) {
    let found = events.iter().find_map(|event| match event {
        Event::MassCanceled(mass) => Some((mass.count, mass.more)),
        _ => None,
    });
    found.expect("every part has its report")
}

/// A part that cancels nothing says nothing, unless a report before it has said that another one follows.
#[test]
fn a_disconnect_goes_on_after_orders_of_another_session() {
    let mut both = Both::new();
    let other = SessionSpec {
        account: MAKER,
        user: book::ids::UserName::new("M2").expect("two letters"),
        password_hash: "$argon2id$".to_owned(),
        drop_copy: false,
        throttle: Throttle::default(),
        cod_mode: CodMode::Both,
        cod_scope: CodScope::Session,
        cod_window_ms: 0,
    };
    both.apply(Command::Admin(Box::new(Admin::AddSession(other))));
    both.rest(FIRST, Side::Buy, FIRST_PART);
    let down = |session| SessionDown { session, cause: DownCause::Disconnect, continued: false };
    let parts = both.parts(Command::SessionDown(down(SessionId(3))));
    assert!(matches!(parts[..], [ref none] if none.is_empty()), "it has no orders");
    both.rest(FIRST, Side::Buy, 1);
    let parts = both.parts(Command::SessionDown(down(SessionId(3))));
    assert!(matches!(&parts[..], [first, last] if first.len() == 1 && last.is_empty()), "two parts, nothing cancelled");
    let counts: Vec<u32> =
        both.parts(Command::SessionDown(down(SessionId(1)))).iter().map(|events| report(events).0).collect();
    assert_eq!((counts, both.open_count()), (vec![FIRST_PART, 1], 0));

    both.rest(FIRST, Side::Buy, 1);
    both.rest_for_good(FIRST_PART);
    let parts = both.parts(Command::SessionDown(down(SessionId(1))));
    assert_eq!(parts.iter().map(|events| report(events)).collect::<Vec<_>>(), [(1, true), (0, false)]);
    both.end();
}
