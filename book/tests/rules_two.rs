//! What rules 2 change: each outcome under both versions, and the fault that gives the old one under the new rules.

#[path = "support/house.rs"]
mod house;

use book::command::*;
use book::engine::{CANCELS_PER_COMMAND_MAX, VISITS_PER_COMMAND_MAX};
use book::event::Event;
use book::ids::{AccountId, ClOrdId, ClientKey, MarketId, OrderId, SessionId};
use book::intake::{Intake, IntakeState};
use book::reject::{AdminReason, RejectReason};
use book::rules::RulesVersion;
use book::units::{Ppm, PriceTicks, QtyLots, Units};
use house::{House, MAKER, TAKER, session};

const MARKET: MarketId = MarketId(1);
const OWN: SessionId = SessionId(MAKER.0);

fn house(rules: u16) -> House {
    let mut house = House::new();
    if rules > 1 {
        house.admin(Admin::SetRules { version: RulesVersion(rules) });
    }
    house
}

fn rests(house: &mut House, side: Side, price: u32, qty: u64) -> OrderId {
    match house.place(MAKER, side, price, qty, Tif::Gtc, StpMode::None)[..] {
        [Event::Accepted(accepted), Event::Rested(_)] => accepted.order_id,
        ref other => panic!("{other:?}"),
    }
}

fn target(order_id: OrderId) -> OrderRef {
    OrderRef { order_id, cl_ord_id: ClOrdId(0), client_key: ClientKey::NONE }
}

fn amend(house: &mut House, session: SessionId, order: OrderId, price: u32, qty: u64) -> Option<RejectReason> {
    let events = house.apply(Command::Amend(AmendOrder {
        session,
        cl_ord_id: ClOrdId(1_000 + house.log.len() as u64),
        account: MAKER,
        market: MARKET,
        target: target(order),
        price: PriceTicks(price),
        qty: QtyLots(qty),
        qty_means: AmendQty::Total,
    }));
    refused(&events)
}

fn refused(events: &[Event]) -> Option<RejectReason> {
    events.iter().find_map(|event| match event {
        Event::CancelRejected(rejected) => Some(rejected.reason),
        Event::Rejected(rejected) => Some(rejected.reason),
        _ => None,
    })
}

fn mass(block: BlockChange, session: SessionId) -> Command {
    let every_order = MassCancel::every_order(MassScope::Session, MAKER, MarketId::NONE, block);
    Command::MassCancel(MassCancel { session, ..every_order })
}

fn limits(house: &mut House, qty_min: u64, notional_min: u64) {
    let qty_max = QtyLots(1_000_000);
    let limits =
        MarketLimits { qty_min: QtyLots(qty_min), qty_max, notional_min: Units(notional_min), price_band: Ppm(0) };
    house.admin(Admin::SetMarketLimits { market: MARKET, limits });
}

fn halt(house: &mut House) {
    house.admin(Admin::SetMarketStatus { market: MARKET, status: MarketStatus::Halt });
}

/// Whether a session's amendment of another session's order is refused, while it may cancel that order.
fn only_own_orders_are_amended(rules: u16) -> bool {
    let mut house = house(rules);
    house.admin(Admin::AddSession(session(MAKER, "M2")));
    let (order, other) = (rests(&mut house, Side::Sell, 100, 5), SessionId(3));
    let outcome = amend(&mut house, other, order, 101, 5);
    let is_own = amend(&mut house, OWN, order, 102, 5).is_none();
    let cancel =
        CancelOrder { session: other, cl_ord_id: ClOrdId(1), account: MAKER, market: MARKET, target: target(order) };
    let canceled = house.apply(Command::Cancel(cancel));
    assert!(is_own && matches!(canceled[..], [Event::Canceled(_)]), "{canceled:?}");
    outcome == Some(RejectReason::NotAuthorised)
}

/// Whether an amendment to less than a new order may have is refused: below the quantity, below the value, and with a
/// part that is filled already, which counts.
fn amendments_pass_the_minima(rules: u16) -> bool {
    let mut house = house(rules);
    let order = rests(&mut house, Side::Sell, 100, 10);
    limits(&mut house, 5, 600);
    let below = [
        amend(&mut house, OWN, order, 100, 4) == Some(RejectReason::QtyRange),
        amend(&mut house, OWN, order, 100, 5) == Some(RejectReason::Notional),
    ];
    if below != [true; 2] {
        return false;
    }
    house.place(TAKER, Side::Buy, 100, 6, Tif::Ioc, StpMode::None);
    let filled = amend(&mut house, OWN, order, 100, 7);
    assert_eq!(filled, None, "seven with the six that are filled are enough");
    true
}

/// Whether a client may cancel in a halt, one order and all of them, and take quantity off.
fn a_halt_lets_out(rules: u16) -> bool {
    let mut house = house(rules);
    let orders = [(); 3].map(|()| rests(&mut house, Side::Sell, 100, 5));
    halt(&mut house);
    assert_eq!(amend(&mut house, OWN, orders[0], 100, 6), Some(RejectReason::NotTrading), "no more is added");
    let smaller = amend(&mut house, OWN, orders[0], 100, 4).is_none();
    let cancel =
        CancelOrder { session: OWN, cl_ord_id: ClOrdId(1), account: MAKER, market: MARKET, target: target(orders[1]) };
    let single = refused(&house.apply(Command::Cancel(cancel))).is_none();
    house.apply(mass(BlockChange::Keep, OWN));
    let left = house.engine.pool().orders.iter().count();
    smaller && single && left == 0
}

/// Whether the largest number is refused as an id and not used up.
fn ids_end_at_two_to_the_63(rules: u16) -> bool {
    let mut house = house(rules);
    let bid = house.order(MAKER, Side::Buy, 10, 1, Tif::Gtc, StpMode::None);
    let order = |id: u64| PlaceOrder { cl_ord_id: ClOrdId(id), ..bid };
    let too_large = |house: &mut House, id| {
        let amend = AmendOrder {
            session: OWN,
            cl_ord_id: ClOrdId(id),
            account: MAKER,
            market: MARKET,
            target: target(OrderId(1 << 40)),
            price: PriceTicks(10),
            qty: QtyLots(1),
            qty_means: AmendQty::Open,
        };
        let replace = CancelReplace { place: order(id), target: target(OrderId(1)), mode: ReplaceMode::AllowFailure };
        let refuse = Refuse {
            session: OWN,
            cl_ord_id: ClOrdId(id),
            market: MARKET,
            reason: RejectReason::Unsupported,
            template: 1,
            consumes_id: true,
            target: target(OrderId::NONE),
        };
        [
            refused(&house.apply(Command::Place(order(id)))) == Some(RejectReason::Malformed),
            refused(&house.apply(Command::Amend(amend))) == Some(RejectReason::Malformed),
            refused(&house.apply(Command::CancelReplace(replace))) == Some(RejectReason::Malformed),
            refused(&house.apply(Command::Refuse(refuse))) == Some(RejectReason::Unsupported),
        ]
    };
    let refusals = [u64::MAX, 1 << 63].map(|id| too_large(&mut house, id));
    let largest = refused(&house.apply(Command::Place(order(ClOrdId::MAX.0)))).is_none();
    let rested = house.engine.pool().orders.iter().count() == 1;
    refusals == [[true; 4]; 2] && largest && rested
}

/// Whether a market order that self-trade prevention makes smaller is reported without a price.
fn a_market_order_has_no_price(rules: u16) -> bool {
    let mut house = house(rules);
    rests(&mut house, Side::Sell, 100, 1);
    let order = house.order(MAKER, Side::Buy, 0, 0, Tif::Ioc, StpMode::Decrement);
    let kind = OrderKind::Market { qty: QtyLots(2) };
    let events = house.apply(Command::Place(PlaceOrder { kind, ..order }));
    let reduced = events.iter().find_map(|event| match event {
        Event::Reduced(reduced) if !reduced.was_resting => Some(reduced.price),
        _ => None,
    });
    reduced.expect("the order meets its own") == PriceTicks(0)
}

/// Whether an order that cannot rest is let in although the account has all the orders it may have.
fn what_cannot_rest_takes_no_place(rules: u16) -> bool {
    let mut house = house(rules);
    house.admin(Admin::SetAccountLimits { account: MAKER, open_orders_max: 1 });
    rests(&mut house, Side::Sell, 100, 1);
    let full = house.place(MAKER, Side::Sell, 100, 1, Tif::Gtc, StpMode::None);
    assert_eq!(refused(&full), Some(RejectReason::MaxOpenOrders));
    let fleeting = house.place(MAKER, Side::Sell, 100, 1, Tif::Ioc, StpMode::None);
    refused(&fleeting).is_none()
}

/// Whether a session whose throttle is used up may go on as soon as it has another one.
fn a_new_throttle_begins_empty(rules: u16) -> bool {
    let mut house = house(rules);
    let throttle = |orders_per_second| Throttle { orders_per_second, burst: 1 };
    house.admin(Admin::SetSessionThrottle { session: OWN, throttle: throttle(1) });
    let first = house.place(MAKER, Side::Sell, 100, 1, Tif::Gtc, StpMode::None);
    let second = house.place(MAKER, Side::Sell, 100, 1, Tif::Gtc, StpMode::None);
    assert_eq!((refused(&first), refused(&second)), (None, Some(RejectReason::Throttled)));
    house.admin(Admin::SetSessionThrottle { session: OWN, throttle: throttle(1_000) });
    let raised = house.place(MAKER, Side::Sell, 100, 1, Tif::Gtc, StpMode::None);
    refused(&raised).is_none()
}

/// Whether a client that lifts an operator's block of its session is refused, while it lifts its own.
fn an_operators_block_stays(rules: u16) -> bool {
    let mut house = house(rules);
    for block in [BlockChange::Set, BlockChange::Lift] {
        assert_eq!(refused(&house.apply(mass(block, OWN))), None, "its own kill switch is its own");
    }
    house.admin(Admin::SetSessionBlock { session: OWN, blocked: true });
    house.apply(mass(BlockChange::Set, OWN));
    let lifted = refused(&house.apply(mass(BlockChange::Lift, OWN)));
    let blocked = refused(&house.place(MAKER, Side::Sell, 100, 1, Tif::Gtc, StpMode::None));
    house.admin(Admin::SetSessionBlock { session: OWN, blocked: false });
    assert_eq!(refused(&house.place(MAKER, Side::Sell, 100, 1, Tif::Gtc, StpMode::None)), None);
    (lifted, blocked) == (Some(RejectReason::NotAuthorised), Some(RejectReason::KillSwitch))
}

/// The events of a command and of what continues it, and how many commands that were.
fn in_parts(house: &mut House, command: Command) -> (Vec<Event>, usize) {
    let mut events = house.apply(command);
    let mut count = 1;
    while let Some(Event::Unfinished(rest)) = events.last().copied().filter(|_| count < 9) {
        events.extend(house.apply(Command::Continue(rest)));
        count += 1;
    }
    (events, count)
}

/// Whether each of more open orders than one command tells is reported, the last one with none to come.
fn every_open_order_is_reported(rules: u16) -> bool {
    let mut house = house(rules);
    let count = CANCELS_PER_COMMAND_MAX + 1;
    for _ in 0..count {
        rests(&mut house, Side::Buy, 10, 1);
    }
    let query = Query {
        session: OWN,
        request: ClOrdId(1),
        account: MAKER,
        market: MarketId::NONE,
        target: target(OrderId::NONE),
    };
    let (events, _) = in_parts(&mut house, Command::Query(query));
    let remaining = events.iter().filter_map(|event| match event {
        Event::OrderStatus(status) => Some(status.remaining),
        _ => None,
    });
    remaining.eq((0..count).rev())
}

/// Whether a mass cancel that meets many orders which do not fit is done in parts, each of which begins where the one
/// before it stopped.
fn what_does_not_fit_is_visited_in_parts(rules: u16) -> bool {
    let mut house = house(rules);
    for _ in 0..VISITS_PER_COMMAND_MAX + 1 {
        rests(&mut house, Side::Buy, 10, 1);
    }
    rests(&mut house, Side::Sell, 20, 1);
    let Command::MassCancel(all) = mass(BlockChange::Keep, OWN) else { unreachable!("a mass cancel") };
    let (_, parts) = in_parts(&mut house, Command::MassCancel(MassCancel { side: Some(Side::Sell), ..all }));
    parts == 2 && house.engine.pool().orders.iter().count() == VISITS_PER_COMMAND_MAX as usize + 1
}

/// Whether an account's parent is its master, of any kind but never an agent.
fn a_parent_is_a_master(rules: u16) -> bool {
    let mut house = house(rules);
    let mut add = |name: &str, kind, parent| {
        let spec = AccountSpec { name: name.to_owned(), kind, parent, fee_tier: 0 };
        house.apply(Command::Admin(Box::new(Admin::AddAccount(spec))))[0]
    };
    let (none, agent, maker) = (AccountId::NONE, AccountId(3), AccountId(4));
    add("agent", AccountKind::Agent, none);
    add("maker", AccountKind::MarketMaker, none);
    for (name, kind, parent) in [("sub", AccountKind::Client, MAKER), ("desk", AccountKind::Agent, maker)] {
        let own = add(name, kind, parent);
        assert!(matches!(own, Event::AccountAdded { .. }), "{own:?}");
    }
    let refused = Event::AdminRejected { reason: AdminReason::ParentKind };
    [("a", AccountKind::Client), ("b", AccountKind::Agent)].map(|(name, kind)| add(name, kind, agent)) == [refused; 2]
}

/// Whether the exchange can be set to accept no new orders, while cancels and amendments that reduce go on.
fn a_stopped_intake_takes_only_risk_off(rules: u16) -> bool {
    let mut house = house(rules);
    let order = rests(&mut house, Side::Sell, 100, 5);
    let set = |intake| Command::Admin(Box::new(Admin::SetIntake(intake)));
    house.apply(set(Intake::Cancels));
    let new = refused(&house.place(MAKER, Side::Sell, 100, 1, Tif::Gtc, StpMode::None));
    let added = amend(&mut house, OWN, order, 101, 5);
    assert_eq!(amend(&mut house, OWN, order, 100, 4), None, "to less");
    let canceled = house.apply(mass(BlockChange::Keep, OWN));
    assert!(matches!(canceled.last(), Some(Event::MassCanceled(done)) if 1 <= done.count), "{canceled:?}");
    assert_eq!(house.replayed().state_hash(), house.hash());
    house.apply(set(Intake::All));
    assert_eq!(refused(&house.place(MAKER, Side::Sell, 100, 1, Tif::Gtc, StpMode::None)), None);
    [new, added] == [Some(RejectReason::IntakeStopped); 2]
}

/// Whether the node lifts its own stops of the intake, and leaves an operator's.
fn an_operators_stop_of_the_intake_stays(rules: u16) -> bool {
    let mut house = house(rules);
    let act = |house: &mut House, actor, intake| {
        let act = Act::Admin(Admin::SetIntake(intake));
        house.apply(Command::Acted(Box::new(Acted { actor, ..Acted::by_ops(act) })));
        house.engine.intake()
    };
    let steps = [
        (Actor::Node, Intake::Cancels, IntakeState::StoppedByNode),
        (Actor::Node, Intake::All, IntakeState::All),
        (Actor::Node, Intake::Cancels, IntakeState::StoppedByNode),
        (Actor::Ops, Intake::Cancels, IntakeState::StoppedByOperator),
        (Actor::Node, Intake::All, IntakeState::StoppedByOperator),
        (Actor::Node, Intake::Cancels, IntakeState::StoppedByOperator),
        (Actor::Ops, Intake::All, IntakeState::All),
    ];
    steps.into_iter().all(|(actor, intake, expected)| act(&mut house, actor, intake) == expected)
}

type Outcome = fn(u16) -> bool;

/// Whether a narrow band around a low price still allows its neighbours.
fn a_band_reaches_a_tick(rules: u16) -> bool {
    let mut house = house(rules);
    let (qty_min, qty_max) = (QtyLots(1), QtyLots(100));
    let limits = MarketLimits { qty_min, qty_max, notional_min: Units(0), price_band: Ppm(1_000) };
    house.admin(Admin::SetMarketLimits { market: MARKET, limits });
    rests(&mut house, Side::Sell, 10, 1);
    house.place(TAKER, Side::Buy, 10, 1, Tif::Ioc, StpMode::None);
    let refused_at =
        |house: &mut House, price| refused(&house.place(MAKER, Side::Sell, price, 1, Tif::Gtc, StpMode::None));
    assert_eq!(refused_at(&mut house, 12), Some(RejectReason::PriceBand));
    refused_at(&mut house, 11).is_none() && refused_at(&mut house, 9).is_none()
}

const OUTCOMES: [(&str, Outcome); 15] = [
    ("BandOfNothing", a_band_reaches_a_tick),
    ("ForeignAmended", only_own_orders_are_amended),
    ("AmendedUnmeasured", amendments_pass_the_minima),
    ("HaltKeepsOrders", a_halt_lets_out),
    ("LastIdTaken", ids_end_at_two_to_the_63),
    ("LimitOfMarketOrderShown", a_market_order_has_no_price),
    ("FleetingTakesPlace", what_cannot_rest_takes_no_place),
    ("ThrottleStaysFull", a_new_throttle_begins_empty),
    ("OperatorsBlockLifted", an_operators_block_stays),
    ("AgentIsParent", a_parent_is_a_master),
    ("StatusEndsAfterOnePart", every_open_order_is_reported),
    ("VisitedWithoutBound", what_does_not_fit_is_visited_in_parts),
    ("PartsFromTheHead", what_does_not_fit_is_visited_in_parts),
    ("IntakeIgnored", a_stopped_intake_takes_only_risk_off),
    ("NodeLiftsForOperator", an_operators_stop_of_the_intake_stays),
];

#[test]
fn rules_2_have_the_new_outcomes_and_rules_1_the_old_ones() {
    for (fault, holds) in OUTCOMES {
        assert!(holds(2), "the outcome that {fault} would change");
        assert!(!holds(1), "old logs replay as they were recorded: what {fault} would give");
    }
}

#[cfg(feature = "mutation")]
#[test]
fn an_old_outcome_under_new_rules_is_noticed() {
    use book::mutation::{Mutation, plant, reached};
    for (fault, holds) in OUTCOMES {
        plant(Some(Mutation::named(fault).expect("a planted fault")));
        let noticed = !holds(2);
        assert!(reached() > 0, "{fault} is never reached");
        plant(None);
        assert!(noticed, "{fault} is not noticed");
    }
}

#[test]
fn a_suspended_account_takes_part_in_nothing_but_cancels() {
    let mut house = house(2);
    let order = rests(&mut house, Side::Sell, 100, 5);
    house.admin(Admin::SetAccountStatus { account: MAKER, status: AccountStatus::Suspended });
    let new = house.place(MAKER, Side::Sell, 100, 1, Tif::Gtc, StpMode::None);
    assert_eq!(refused(&new), Some(RejectReason::AccountNotTrading));
    assert_eq!(amend(&mut house, OWN, order, 101, 5), Some(RejectReason::AccountNotTrading));
    assert_eq!(amend(&mut house, OWN, order, 100, 4), None);
    let events = house.apply(mass(BlockChange::Keep, OWN));
    assert!(matches!(events.last(), Some(Event::MassCanceled(done)) if done.count == 1 && !done.more), "{events:?}");
    assert_eq!(house.engine.accounts().get(MAKER).map(|account| account.open_count), Some(0));
    assert_eq!(house.replayed().state_hash(), house.hash());
}
