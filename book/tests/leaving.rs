//! What can leave the state does, under rules 2: references of payments and revoked keys by age, closed markets by an
//! act. What has left is not in a snapshot, a snapshot gives the same state, and under rules 1 all of it stays.

#[allow(dead_code)] // Its exchange is set up here, and time goes on elsewhere.
#[path = "support/house.rs"]
mod house;
#[path = "support/pieces.rs"]
mod pieces;

use book::command::*;
use book::engine::{Capacity, Engine};
use book::event::Event;
use book::ids::{AssetId, ClientKey, KeyId, MarketId};
use book::keys::REVOKED_KEY_LIFETIME_NS;
use book::references::REFERENCE_LIFETIME_NS;
use book::reject::{AdminReason, RejectReason};
use book::rules::{Rules, RulesVersion};
use book::snapshot::{Section, SnapshotError};
use book::units::{Stamp, TsNs, Units};
use house::{House, MAKER, TAKER, market};
use pieces::{Pieces, load, save};

/// Log time is late enough that no lifetime reaches back to its beginning.
const START: TsNs = TsNs(1_700_000_000_000_000_000);

/// A house whose log time the test chooses.
struct Aging {
    engine: Engine,
    ts: TsNs,
    log: Vec<(TsNs, Command)>,
}

impl Aging {
    fn new(rules: Rules) -> Self {
        let house = House::new();
        let engine = Engine::new(Capacity { orders: 1, leaves: 1, markets: 1, names: 1 });
        let mut aging = Self { engine, ts: START, log: Vec::new() };
        house.log.into_iter().for_each(|command| {
            aging.apply(command);
        });
        if rules == Rules::Two {
            aging.admin(Admin::SetRules { version: RulesVersion(2) });
        }
        aging
    }

    fn apply(&mut self, command: Command) -> Vec<Event> {
        let stamp = Stamp { seq: self.engine.stamp().seq.next(), ts: self.ts };
        let mut events = Vec::new();
        self.engine.apply(stamp, &command, &mut events);
        self.log.push((self.ts, command));
        events.retain(|event| !matches!(event, Event::Transfer(_)));
        events
    }

    fn admin(&mut self, admin: Admin) -> Vec<Event> {
        self.apply(Command::Acted(Box::new(admin.into())))
    }

    fn pay(&mut self, reference: u128, amount: u64) -> Vec<Event> {
        let (asset, reference) = (AssetId(1), ClientKey(reference));
        self.admin(Admin::Deposit(FundsMove { account: MAKER, asset, amount: Units(amount), reference }))
    }

    fn add_key(&mut self, name: &str) -> Vec<Event> {
        self.admin(Admin::AddKey(KeySpec {
            account: TAKER,
            key: name.to_owned(),
            permissions: PERMISSION_TRADE,
            ed25519_public: vec![7; 32],
            addresses: Vec::new(),
            expires: TsNs(0),
        }))
    }

    fn revoke(&mut self, name: &str) -> Vec<Event> {
        self.admin(Admin::RevokeKey { key: name.to_owned() })
    }

    fn set_status(&mut self, market: MarketId, status: MarketStatus) {
        let events = self.admin(Admin::SetMarketStatus { market, status });
        assert!(matches!(events[..], [Event::MarketStatusChanged { .. }]), "{events:?}");
    }

    fn bid(&mut self, market: MarketId, cl_ord_id: u64) -> Vec<Event> {
        let order = House::new().order(TAKER, Side::Buy, 100, 1, Tif::Gtc, StpMode::None);
        self.apply(Command::Place(PlaceOrder { market, cl_ord_id: book::ids::ClOrdId(cl_ord_id), ..order }))
    }

    /// A snapshot and a replay give the state, and all of them go on alike.
    fn check(&mut self) -> Pieces {
        self.engine.verify().expect("the state is consistent");
        let pieces = save(&self.engine);
        let loaded = load(&pieces).expect("a snapshot of a state can be loaded");
        assert_eq!(loaded.state_hash(), self.engine.state_hash(), "a snapshot gives the state");
        let mut replayed = Engine::new(Capacity { orders: 1, leaves: 1, markets: 1, names: 1 });
        for (ts, command) in &self.log {
            replayed.apply(Stamp { seq: replayed.stamp().seq.next(), ts: *ts }, command, &mut Vec::new());
        }
        assert_eq!(replayed.state_hash(), self.engine.state_hash(), "a replay gives the state");
        let before = std::mem::replace(&mut self.engine, loaded);
        assert_eq!(before.check_hash(), self.engine.check_hash());
        pieces
    }
}

fn rows(pieces: &Pieces, of: Section) -> usize {
    pieces.iter().filter(|(section, _)| *section == of).map(|(_, piece)| piece.len()).sum()
}

fn is_repeated(events: &[Event]) -> bool {
    matches!(events, [Event::FundsMoved { repeated: true, .. }])
}

fn is_booked(events: &[Event]) -> bool {
    matches!(events, [Event::FundsMoved { repeated: false, .. }])
}

fn is_refused(events: &[Event], why: AdminReason) -> bool {
    matches!(events, [Event::AdminRejected { reason }] if *reason == why)
}

fn a_reference_is_remembered_for_its_lifetime() {
    let mut aging = Aging::new(Rules::Two);
    assert!(is_booked(&aging.pay(100, 5)));
    aging.ts = TsNs(START.0 + REFERENCE_LIFETIME_NS - 1);
    assert!(is_booked(&aging.pay(101, 5)));
    aging.check();
    assert!(is_repeated(&aging.pay(100, 5)), "within its age a payment is not booked again");
    assert!(is_refused(&aging.pay(100, 6), AdminReason::ReferenceConflict));
    (102..106).for_each(|reference| assert!(is_booked(&aging.pay(reference, 5))));
    assert!(is_repeated(&aging.pay(100, 5)), "another payment does not make it forgotten early");
}

#[test]
fn a_payment_within_the_age_of_its_reference_is_not_booked_again() {
    a_reference_is_remembered_for_its_lifetime();
}

/// As many references as payments of the last lifetime, and two more leave with each payment.
fn old_references_leave() {
    let mut aging = Aging::new(Rules::Two);
    (0..40).for_each(|number| assert!(is_booked(&aging.pay(100 + number, 5))));
    let full = rows(&aging.check(), Section::References);
    aging.ts = TsNs(START.0 + REFERENCE_LIFETIME_NS);
    // The four of the setup, which have no time, and forty that have one.
    (0..22).for_each(|number| assert!(is_booked(&aging.pay(200 + number, 5))));
    let after = rows(&aging.check(), Section::References);
    assert!(after < full, "{after} bytes of references after {full}");
    assert_eq!(aging.engine.references().len(), 22);
    assert!(is_booked(&aging.pay(100, 5)), "a reference that has left may be used again");
    assert!(is_repeated(&aging.pay(221, 5)));
    aging.check();
}

#[test]
fn references_leave_with_the_payments_after_their_time() {
    old_references_leave();
}

/// References of rules 1 have no time: they count as old as the first that has one, and stay until then.
#[test]
fn references_of_rules_one_leave_after_the_first_that_has_a_time() {
    let mut aging = Aging::new(Rules::One);
    assert!(is_booked(&aging.pay(100, 5)));
    aging.ts = TsNs(START.0 + 2 * REFERENCE_LIFETIME_NS);
    assert!(is_booked(&aging.pay(101, 5)));
    let pieces = aging.check();
    assert_eq!((rows(&pieces, Section::ReferenceTimes), aging.engine.references().len()), (0, 6));
    aging.admin(Admin::SetRules { version: RulesVersion(2) });
    aging.ts = TsNs(aging.ts.0 + REFERENCE_LIFETIME_NS);
    assert!(is_booked(&aging.pay(102, 5)), "the first that has a time");
    assert!(is_repeated(&aging.pay(100, 5)));
    aging.ts = TsNs(aging.ts.0 + REFERENCE_LIFETIME_NS);
    (0..4).for_each(|number| assert!(is_booked(&aging.pay(200 + number, 5))));
    assert_eq!(aging.engine.references().len(), 4, "six without a time and one with a time have left");
    aging.check();
}

fn revoked_keys_leave() {
    let mut aging = Aging::new(Rules::Two);
    for number in 0..6 {
        assert!(matches!(aging.add_key(&format!("K{number}"))[..], [Event::KeyAdded { .. }]));
    }
    (0..5).for_each(|number| {
        assert!(matches!(aging.revoke(&format!("K{number}"))[..], [Event::KeyRevoked { .. }]));
    });
    aging.check();
    aging.ts = TsNs(START.0 + REVOKED_KEY_LIFETIME_NS - 1);
    assert!(matches!(aging.revoke("K0")[..], [Event::KeyRevoked { .. }]), "within its age it is known");
    assert!(is_refused(&aging.add_key("K0"), AdminReason::NameTaken));
    assert_eq!(aging.engine.keys().len(), 6);
    aging.ts = TsNs(START.0 + REVOKED_KEY_LIFETIME_NS);
    let events = aging.add_key("NEW");
    let forgotten = |id| Event::KeyForgotten { key: KeyId(id) };
    assert_eq!(events, [forgotten(1), forgotten(2), Event::KeyAdded { account: TAKER }]);
    aging.check();
    assert_eq!(aging.revoke("K5"), [forgotten(3), forgotten(4), Event::KeyRevoked { account: TAKER }]);
    assert!(is_refused(&aging.revoke("K0"), AdminReason::UnknownKey));
    assert_eq!(aging.add_key("K0"), [forgotten(5), Event::KeyAdded { account: TAKER }]);
    aging.check();
    let ids: Vec<KeyId> = aging.engine.keys().iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [6, 7, 8].map(KeyId), "the id of a key that has left is not given again");
}

#[test]
fn revoked_keys_leave_after_their_time() {
    revoked_keys_leave();
}

fn a_closed_market_leaves() {
    let mut aging = Aging::new(Rules::Two);
    (0..3).for_each(|number| {
        aging.admin(Admin::AddMarket(market(&format!("X{number}"))));
    });
    let remove = |market| Admin::RemoveMarket { market };
    let (first, second) = (MarketId(2), MarketId(3));
    assert!(is_refused(&aging.admin(remove(first)), AdminReason::StatusChange), "it is not closed");
    assert!(matches!(aging.bid(first, 1)[..], [.., Event::Rested(_)]));
    aging.set_status(first, MarketStatus::Closed);
    assert!(is_refused(&aging.admin(remove(first)), AdminReason::OrdersOpen));
    let mass = MassCancel::every_order(MassScope::Account, TAKER, first, BlockChange::Keep);
    aging.apply(Command::Acted(Box::new(Acted::by_ops(Act::MassCancel(mass)))));
    let before = rows(&aging.check(), Section::Markets);
    aging.set_status(second, MarketStatus::Closed);
    for market in [first, second] {
        assert_eq!(aging.admin(remove(market)), [Event::MarketRemoved { market }]);
        assert!(is_refused(&aging.admin(remove(market)), AdminReason::UnknownMarket));
        aging.check();
    }
    let after = rows(&aging.check(), Section::Markets);
    assert!(after < before, "{after} bytes of markets after {before}");
    let refused = aging.bid(first, 2);
    assert!(matches!(refused[..], [Event::Rejected(r)] if r.reason == RejectReason::UnknownInstrument), "{refused:?}");
    let events = aging.admin(Admin::AddMarket(market("X0")));
    assert!(matches!(events[..], [Event::MarketAdded(rules)] if rules.id == MarketId(5)), "{events:?}");
    assert!(matches!(aging.bid(MarketId(5), 3)[..], [.., Event::Rested(_)]));
    aging.check();
    let ids: Vec<MarketId> = aging.engine.markets().map(|market| market.rules.id).collect();
    assert_eq!(ids, [1, 4, 5].map(MarketId));
}

#[test]
fn a_closed_market_leaves_when_it_is_removed() {
    a_closed_market_leaves();
}

#[test]
fn under_rules_one_all_of_it_stays() {
    let mut aging = Aging::new(Rules::One);
    aging.add_key("K1");
    aging.revoke("K1");
    aging.set_status(MarketId(1), MarketStatus::Closed);
    assert!(is_refused(&aging.admin(Admin::RemoveMarket { market: MarketId(1) }), AdminReason::RulesTooOld));
    aging.ts = TsNs(START.0 + 3 * REFERENCE_LIFETIME_NS);
    (0..9).for_each(|number| assert!(is_booked(&aging.pay(100 + number, 5))));
    aging.add_key("K2");
    assert_eq!((aging.engine.references().len(), aging.engine.keys().len()), (13, 2));
    let pieces = aging.check();
    assert_eq!((rows(&pieces, Section::ReferenceTimes), rows(&pieces, Section::KeyHistory)), (0, 0));
}

/// Pieces that were changed are refused, with a reason.
#[test]
fn ages_that_do_not_fit_are_refused() {
    let mut aging = Aging::new(Rules::Two);
    aging.pay(100, 5);
    aging.add_key("K1");
    aging.add_key("K2");
    aging.revoke("K1");
    let pieces = aging.check();
    let refusal = |section: Section, change: fn(&mut Vec<u8>)| {
        let mut pieces = pieces.clone();
        let found = pieces.iter_mut().find(|(of, _)| *of == section).expect("the section is there");
        change(&mut found.1);
        load(&pieces).map(|_| ()).expect_err("it is refused")
    };
    let doubled = |piece: &mut Vec<u8>| piece.extend_from_within(..);
    assert!(matches!(refusal(Section::KeyHistory, doubled), SnapshotError::Refused { .. }));
    let many = |piece: &mut Vec<u8>| (0..5).for_each(|_| piece.extend_from_within(..));
    assert!(matches!(refusal(Section::ReferenceTimes, many), SnapshotError::Refused { .. }));
    let first_id_zero = |piece: &mut Vec<u8>| piece[0] = 0;
    assert!(matches!(refusal(Section::KeyHistory, first_id_zero), SnapshotError::Disagreement(_)));
    let rules_one = |piece: &mut Vec<u8>| piece.clear();
    assert!(matches!(refusal(Section::Rules, rules_one), SnapshotError::Disagreement(_)));
}

/// Each of these tests fails with its fault.
#[cfg(feature = "mutation")]
#[test]
fn what_stays_or_leaves_against_the_rules_is_noticed() {
    use book::mutation::{Mutation, assert_noticed};
    let noticed_by: [(Mutation, fn()); 6] = [
        (Mutation::ReferencesKept, old_references_leave),
        (Mutation::ReferenceForgottenEarly, a_reference_is_remembered_for_its_lifetime),
        (Mutation::ReferenceTimesForgottenInSnapshot, old_references_leave),
        (Mutation::RevokedKeyKept, revoked_keys_leave),
        (Mutation::RemovedWithOrders, a_closed_market_leaves),
        (Mutation::MarketRemovalForgottenInSnapshot, a_closed_market_leaves),
    ];
    for (fault, test) in noticed_by {
        assert_noticed(fault, test);
    }
}
