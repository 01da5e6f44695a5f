//! The ends of connections and of lives: what a session's end cancels follows from its state, and a new life has
//! nothing of the one before.

#[path = "support/house.rs"]
mod house;
#[path = "support/pieces.rs"]
mod pieces;

use book::command::*;
use book::engine::{CANCELS_PER_COMMAND_MAX, VISITS_FIRST_MAX};
use book::event::{CancelReason, Event, WindowBegan};
use book::ids::{ClOrdId, MarketId, SessionId};
use book::reject::{AdminReason, RejectReason};
use book::rules::RulesVersion;
use book::run::{LIFE_TAGS, LifeTag, RunSpec};
use book::session::COD_WINDOW_MS_MAX;
use house::{House, MAKER, TAKER, session};

const OWN: SessionId = SessionId(MAKER.0);
const COPY: SessionId = SessionId(3);

/// An exchange whose third session is a drop copy of `MAKER`.
fn house(rules: u16) -> House {
    let mut house = House::new();
    house.admin(Admin::AddSession(SessionSpec { drop_copy: true, cod_mode: CodMode::Off, ..session(MAKER, "COPY") }));
    if rules > 1 {
        house.admin(Admin::SetRules { version: RulesVersion(rules) });
    }
    house
}

fn rest(house: &mut House) {
    let events = house.place(MAKER, Side::Sell, 100, 5, Tif::Gtc, StpMode::None);
    assert!(matches!(events[..], [Event::Accepted(_), Event::Rested(_)]), "{events:?}");
}

fn set(house: &mut House, session: SessionId, cod_mode: CodMode, cod_window_ms: u32) -> Vec<Event> {
    let (request, cod_scope) = (ClOrdId(5), CodScope::Account);
    house.apply(Command::SetSession(SetSession { session, request, cod_mode, cod_scope, cod_window_ms }))
}

fn end(house: &mut House, session: SessionId, cause: DownCause) -> Vec<Event> {
    house.apply(Command::ConnectionEnd(ConnectionEnd { session, cause, number: 7 }))
}

fn act(house: &mut House, admin: Admin) -> Vec<Event> {
    house.apply(Command::Acted(Box::new(Acted::by_ops(Act::Admin(admin)))))
}

fn open(house: &House) -> usize {
    house.engine.pool().orders.len()
}

fn refused(events: &[Event]) -> Option<AdminReason> {
    events.iter().find_map(|event| if let Event::AdminRejected { reason } = event { Some(*reason) } else { None })
}

fn the_state_decides_what_an_end_cancels() {
    use DownCause::{Disconnect, Displaced, Logout};
    for (mode, cause, cancels) in [
        (CodMode::Off, Disconnect, false),
        (CodMode::OnDisconnect, Disconnect, true),
        (CodMode::OnDisconnect, Logout, false),
        (CodMode::OnLogout, Disconnect, false),
        (CodMode::OnLogout, Logout, true),
        (CodMode::Both, Disconnect, true),
        (CodMode::Both, Logout, true),
        (CodMode::Both, Displaced, false),
    ] {
        let mut house = house(2);
        rest(&mut house);
        set(&mut house, OWN, mode, 0);
        end(&mut house, OWN, cause);
        assert_eq!(open(&house) == 0, cancels, "{mode:?} {cause:?}");
        rest(&mut house);
        set(&mut house, OWN, mode, 9);
        let events = end(&mut house, OWN, cause);
        let window = Event::WindowBegan(WindowBegan { session: OWN, cause, number: 7, window_ms: 9 });
        assert_eq!(events, if cancels { vec![window] } else { vec![] }, "{mode:?} {cause:?}");
        assert_ne!(open(&house), 0, "nothing is cancelled before the window is over");
        house.apply(Command::SessionDown(SessionDown { session: OWN, cause, continued: false }));
        assert_eq!(open(&house) == 0, cancels, "{mode:?} {cause:?}");
        assert_eq!(house.replayed().state_hash(), house.hash());
    }
}

#[test]
fn the_end_of_a_connection_cancels_what_the_state_says() {
    the_state_decides_what_an_end_cancels();
}

#[test]
fn under_rules_1_the_end_of_a_connection_changes_nothing() {
    let mut house = house(1);
    rest(&mut house);
    assert_eq!(end(&mut house, OWN, DownCause::Disconnect), vec![]);
    assert_eq!(open(&house), 1);
}

fn a_copy_is_refused() {
    let mut house = house(2);
    rest(&mut house);
    for (mode, window) in [(CodMode::Both, 0), (CodMode::Off, COD_WINDOW_MS_MAX)] {
        let events = set(&mut house, COPY, mode, window);
        let [Event::Rejected(rejected)] = events[..] else { panic!("{events:?}") };
        assert_eq!((rejected.session, rejected.cl_ord_id, rejected.account), (COPY, ClOrdId(5), MAKER));
        assert_eq!(rejected.reason, RejectReason::NotAuthorised);
        end(&mut house, COPY, DownCause::Disconnect);
        assert_eq!(open(&house), 1, "the end of a drop copy cancels nothing");
    }
}

#[test]
fn a_drop_copy_never_cancels_on_disconnect() {
    a_copy_is_refused();
}

/// Logs of rules 1 may have a drop copy that has switched it on. It is off from the raise on, and no snapshot has it.
#[test]
fn the_raise_of_the_rules_switches_it_off_for_drop_copies() {
    let mut house = house(1);
    rest(&mut house);
    let on = set(&mut house, COPY, CodMode::Both, 0);
    assert!(matches!(on[..], [Event::SessionState(state)] if state.cod_mode == CodMode::Both), "{on:?}");
    assert!(pieces::load(&pieces::save(&house.engine)).is_ok(), "a state of rules 1 may have it");
    house.admin(Admin::SetRules { version: RulesVersion(2) });
    assert_eq!(house.engine.sessions().get(COPY).map(|copy| copy.cod_mode), Some(CodMode::Off));
    end(&mut house, COPY, DownCause::Disconnect);
    assert_eq!(open(&house), 1);
    assert_eq!(house.replayed().state_hash(), house.hash());
    let loaded = pieces::load(&pieces::save(&house.engine)).expect("what was saved loads");
    assert_eq!(loaded.state_hash(), house.hash());
}

fn last_id(house: &House) -> u64 {
    house.engine.sessions().get(OWN).map_or(0, |session| session.cl_ord_id_last.0)
}

/// A session that has used its last id is silent for ever, but for a new life.
fn a_life_begins_with_no_order_and_every_id() {
    let mut house = house(2);
    house.place(TAKER, Side::Sell, 110, 1, Tif::Gtc, StpMode::None);
    rest(&mut house);
    let last =
        PlaceOrder { cl_ord_id: ClOrdId::MAX, ..house.order(MAKER, Side::Sell, 101, 1, Tif::Gtc, StpMode::None) };
    let events = house.apply(Command::Place(last));
    assert!(matches!(events[..], [Event::Accepted(_), Event::Rested(_)]), "{events:?}");
    assert_eq!(house.place(MAKER, Side::Sell, 102, 1, Tif::Gtc, StpMode::None), vec![], "no id is left");
    let events = act(&mut house, Admin::BeginSessionLife { session: OWN, tag: LifeTag(9) });
    let [Event::Canceled(one), Event::Canceled(two), Event::SessionLifeBegan { session, lives, tag, skipped }] =
        events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((one.reason, two.reason), (CancelReason::Admin, CancelReason::Admin));
    assert_eq!((session, lives, tag, skipped), (OWN, 1, LifeTag(9), LifeTag(9).numbers_skipped()));
    assert_eq!((last_id(&house), open(&house)), (0, 1), "the other session's order stays");
    let first = PlaceOrder { cl_ord_id: ClOrdId(1), ..house.order(MAKER, Side::Sell, 101, 1, Tif::Gtc, StpMode::None) };
    let events = house.apply(Command::Place(first));
    assert!(matches!(events[..], [Event::Accepted(_), Event::Rested(_)]), "{events:?}");
    assert_eq!(house.replayed().state_hash(), house.hash());
    let mut loaded = pieces::load(&pieces::save(&house.engine)).expect("what was saved loads");
    assert_eq!(loaded.state_hash(), house.hash());
    loaded.verify().expect("the state is consistent");
    let stamp = book::units::Stamp { seq: loaded.stamp().seq.next(), ts: loaded.stamp().ts };
    let mut events = Vec::new();
    loaded.apply(stamp, &Command::Place(first), &mut events);
    assert_eq!(events, vec![], "a resend within the life is ignored");
}

#[test]
fn a_new_life_begins_with_no_order_and_every_client_order_id() {
    a_life_begins_with_no_order_and_every_id();
}

fn an_end_of_a_life_without_its_first_part_cancels_all() {
    for then in [AfterLife::Begins(LifeTag(9)), AfterLife::Removed] {
        let mut house = house(2);
        rest(&mut house);
        let events = house.place(MAKER, Side::Sell, 101, 1, Tif::Gtc, StpMode::None);
        let [Event::Accepted(_), Event::Rested(younger)] = events[..] else { panic!("{events:?}") };
        let of = Unfinished::EndLife(LifeEnd { session: OWN, then });
        house.apply(Command::Continue(Rest { of, at: younger.order_id, count: 0 }));
        assert_eq!(open(&house), 0, "{then:?}");
    }
}

#[test]
fn an_end_of_a_life_whose_first_part_was_quarantined_cancels_every_order() {
    an_end_of_a_life_without_its_first_part_cancels_all();
}

#[test]
fn a_life_needs_a_session_another_tag_and_rules_2() {
    let life = |session, tag| Admin::BeginSessionLife { session, tag: LifeTag(tag) };
    assert_eq!(refused(&act(&mut house(1), life(OWN, 1))), Some(AdminReason::RulesTooOld));
    let mut house = house(2);
    assert_eq!(refused(&act(&mut house, life(SessionId(99), 1))), Some(AdminReason::UnknownSession));
    assert_eq!(refused(&act(&mut house, life(OWN, LIFE_TAGS))), Some(AdminReason::OutOfRange));
    assert_eq!(refused(&act(&mut house, life(OWN, 1))), None);
    assert_eq!(refused(&act(&mut house, life(OWN, 1))), Some(AdminReason::OutOfRange));
    // A life of all streams ends it, and its tag names the session's stream too.
    let run = RunSpec { directory: 1, may_lose: false, life: Some(LifeTag(2)) };
    house.apply(Command::Acted(Box::new(Acted::by_node(Admin::BeginRun(run)))));
    let own_life = |house: &House| house.engine.sessions().get(OWN).and_then(|own| own.life_in(house.engine.run()));
    assert_eq!(own_life(&house), None);
    assert_eq!(refused(&act(&mut house, life(OWN, 2))), Some(AdminReason::OutOfRange));
    assert_eq!(refused(&act(&mut house, life(OWN, 1))), None);
    assert_eq!(own_life(&house), Some(LifeTag(1)));
    assert_eq!(house.replayed().state_hash(), house.hash());
}

/// More orders than one command cancels: the rest follows in parts, and the life begins with the last of them.
#[test]
fn a_life_begins_once_the_last_order_is_cancelled() {
    let mut house = house(2);
    house.admin(Admin::SetAccountLimits { account: MAKER, open_orders_max: 10_000 });
    for _ in 0..CANCELS_PER_COMMAND_MAX + 5 {
        rest(&mut house);
    }
    let mut events = act(&mut house, Admin::RemoveSession { session: OWN });
    let mut parts = 1;
    while let Some(Event::Unfinished(next)) = events.last().copied() {
        events = house.apply(Command::Continue(next));
        parts += 1;
    }
    assert_eq!((parts, open(&house)), (2, 0));
    assert_eq!(events.last(), Some(&Event::SessionRemoved { session: OWN }));
    assert_eq!(house.replayed().state_hash(), house.hash());
}

fn a_removed_session_is_gone() {
    let mut house = house(2);
    rest(&mut house);
    act(&mut house, Admin::AddSession(session(MAKER, "OTHER")));
    let other = PlaceOrder { session: SessionId(4), ..house.order(MAKER, Side::Sell, 104, 1, Tif::Gtc, StpMode::None) };
    house.apply(Command::Place(other));
    set(&mut house, OWN, CodMode::Both, 0);
    let events = act(&mut house, Admin::RemoveSession { session: OWN });
    assert!(matches!(events[..], [Event::Canceled(_), Event::SessionRemoved { session: OWN }]), "{events:?}");
    // The end of its connection comes after it, and cancels nothing of its account.
    assert_eq!(end(&mut house, OWN, DownCause::Disconnect), vec![]);
    assert_eq!(open(&house), 1);
    let events = house.place(MAKER, Side::Sell, 100, 5, Tif::Gtc, StpMode::None);
    assert!(matches!(events[..], [Event::Rejected(e)] if e.reason == RejectReason::NotAuthorised), "{events:?}");
    let events = set(&mut house, OWN, CodMode::Both, 0);
    assert!(matches!(events[..], [Event::Rejected(e)] if e.reason == RejectReason::NotAuthorised), "{events:?}");
    let unknown = [
        Admin::RemoveSession { session: OWN },
        Admin::BeginSessionLife { session: OWN, tag: LifeTag(1) },
        Admin::SetSessionPassword { session: OWN, password_hash: "$argon2id$new".to_owned() },
        Admin::DisconnectSession { session: OWN },
        Admin::SetSessionBlock { session: OWN, blocked: true },
        Admin::SetSessionThrottle { session: OWN, throttle: Throttle::default() },
    ];
    for admin in unknown {
        assert_eq!(refused(&act(&mut house, admin)), Some(AdminReason::UnknownSession));
    }
    let again = act(&mut house, Admin::AddSession(session(MAKER, "M")));
    assert_eq!(refused(&again), Some(AdminReason::NameTaken), "its history is no other session's");
    assert_eq!(house.replayed().state_hash(), house.hash());
    let loaded = pieces::load(&pieces::save(&house.engine)).expect("what was saved loads");
    assert_eq!(loaded.state_hash(), house.hash());
}

#[test]
fn a_removed_session_does_nothing_and_its_name_is_taken() {
    a_removed_session_is_gone();
}

#[test]
fn a_removed_drop_copy_makes_room_for_another() {
    let mut house = house(2);
    let copy = |user: &str| SessionSpec { drop_copy: true, cod_mode: CodMode::Off, ..session(MAKER, user) };
    assert_eq!(refused(&act(&mut house, Admin::AddSession(copy("C2")))), None);
    assert_eq!(refused(&act(&mut house, Admin::AddSession(copy("C3")))), Some(AdminReason::LimitReached));
    act(&mut house, Admin::RemoveSession { session: COPY });
    assert_eq!(refused(&act(&mut house, Admin::AddSession(copy("C3")))), None);
    let loaded = pieces::load(&pieces::save(&house.engine)).expect("two are left");
    assert_eq!(loaded.state_hash(), house.hash());
}

#[test]
fn a_password_and_a_disconnect_leave_a_trace() {
    let mut house = house(2);
    let before = house.hash();
    let events = act(&mut house, Admin::SetSessionPassword { session: OWN, password_hash: "$argon2id$new".to_owned() });
    assert_eq!(events, vec![Event::SessionPasswordChanged { session: OWN }]);
    assert_eq!(house.engine.sessions().get(OWN).map(|own| own.password_hash.as_str()), Some("$argon2id$new"));
    assert_ne!(house.hash(), before);
    let empty = act(&mut house, Admin::SetSessionPassword { session: OWN, password_hash: String::new() });
    assert_eq!(refused(&empty), Some(AdminReason::OutOfRange));
    let events = act(&mut house, Admin::DisconnectSession { session: OWN });
    assert_eq!(events, vec![Event::SessionDisconnected { session: OWN }]);
    assert_eq!(house.replayed().state_hash(), house.hash());
    assert_eq!(house.engine.market(MarketId(1)).map(|market| market.tape.open_count), Some(0));
}

/// Its orders are cancelled in parts, and between two of them it places none.
fn a_session_whose_life_ends_does_not_act() {
    let mut house = house(2);
    for _ in 0..VISITS_FIRST_MAX + 5 {
        rest(&mut house);
    }
    let events = act(&mut house, Admin::BeginSessionLife { session: OWN, tag: LifeTag(5) });
    let Some(Event::Unfinished(next)) = events.last().copied() else { panic!("five orders are left: {events:?}") };
    let events = house.place(MAKER, Side::Sell, 100, 5, Tif::Gtc, StpMode::None);
    assert!(
        matches!(events[..], [Event::Rejected(rejected)] if rejected.reason == RejectReason::NotAuthorised),
        "{events:?}"
    );
    let loaded = pieces::load(&pieces::save(&house.engine)).expect("it loads");
    assert_eq!((loaded.state_hash(), loaded.verify()), (house.hash(), Ok(())));
    let events = house.apply(Command::Continue(next));
    assert!(matches!(events.last(), Some(Event::SessionLifeBegan { .. })), "{events:?}");
    assert_eq!(open(&house), 0);
}

#[test]
fn a_session_places_nothing_while_its_life_ends() {
    a_session_whose_life_ends_does_not_act();
}

#[cfg(feature = "mutation")]
#[test]
fn an_end_that_takes_or_leaves_the_wrong_things_is_noticed() {
    use book::mutation::{Mutation, assert_noticed};
    for (fault, test) in [
        (Mutation::WindowIgnored, the_state_decides_what_an_end_cancels as fn()),
        (Mutation::CopyCancels, a_copy_is_refused),
        (Mutation::IdsOutliveLife, a_life_begins_with_no_order_and_every_id),
        (Mutation::OrdersOutliveLife, a_life_begins_with_no_order_and_every_id),
        (Mutation::OrphanGoesOn, an_end_of_a_life_without_its_first_part_cancels_all),
        (Mutation::RemovedTrades, a_removed_session_is_gone),
        (Mutation::EndingTrades, a_session_whose_life_ends_does_not_act),
        (Mutation::RemovedNameGiven, a_removed_session_is_gone),
    ] {
        assert_noticed(fault, test);
    }
}
