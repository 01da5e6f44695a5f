//! Rules versions: raised by an act, never lowered, part of the state; and who may do what.

#[path = "support/house.rs"]
mod house;
#[path = "support/pieces.rs"]
mod pieces;

use book::codec::{PayloadVersion, decode, encode, encode_received, received};
use book::command::*;
use book::event::Event;
use book::ids::{AccountId, AssetId, ClientKey, KeyId, MarketId};
use book::reject::{AdminReason, RejectReason};
use book::rules::{Rules, RulesVersion};
use book::snapshot::{Section, SnapshotError};
use book::units::{TsNs, Units};
use house::{House, MAKER, TAKER};
use pieces::{load, save};

fn raise(version: u16) -> Admin {
    Admin::SetRules { version: RulesVersion(version) }
}

fn acted(actor: Actor, act: Act) -> Command {
    Command::Acted(Box::new(Acted { actor, ..Acted::by_ops(act) }))
}

fn by(actor: Actor, admin: Admin) -> Command {
    acted(actor, Act::Admin(admin))
}

fn refused(events: &[Event]) -> Option<AdminReason> {
    match events {
        [Event::AdminRejected { reason }] => Some(*reason),
        _ => None,
    }
}

#[test]
fn rules_rise_and_never_fall() {
    let mut house = House::new();
    assert_eq!(house.engine.rules(), Rules::One);
    let events = house.apply(by(Actor::Ops, raise(2)));
    assert_eq!(events, [Event::RulesChanged { version: RulesVersion(2) }]);
    assert_eq!(house.engine.rules(), Rules::Two);
    for version in [1, 2] {
        let events = house.apply(by(Actor::Ops, raise(version)));
        assert_eq!(refused(&events), Some(AdminReason::RulesNotRaised), "to {version}");
    }
    assert_eq!(house.engine.rules(), Rules::Two);
    assert_eq!(house.replayed().state_hash(), house.hash());
}

#[test]
fn later_rules_are_known_as_unknown() {
    let next = Rules::NEWEST as u16 + 1;
    for command in [by(Actor::Ops, raise(next)), Command::Admin(Box::new(raise(next)))] {
        assert_eq!(command.rules_unknown(), Some(RulesVersion(next)));
    }
    for known in Rules::ALL {
        assert_eq!(by(Actor::Ops, raise(known as u16)).rules_unknown(), None);
    }
}

/// The hash of a state under rules 1 is what it was before there were rules: golden hashes elsewhere pin it.
#[test]
fn rules_are_a_part_of_the_state() {
    let (mut one, mut two) = (House::new(), House::new());
    two.apply(by(Actor::Ops, raise(2)));
    one.apply(by(Actor::Key(KeyId(9)), raise(2)));
    assert_eq!((one.engine.rules(), two.engine.rules()), (Rules::One, Rules::Two));
    assert_ne!(one.hash(), two.hash());
    for (house, has_section) in [(one, false), (two, true)] {
        let pieces = save(&house.engine);
        let loaded = load(&pieces).expect("what was saved loads");
        assert_eq!((loaded.rules(), loaded.state_hash()), (house.engine.rules(), house.hash()));
        let saves_rules = pieces.iter().any(|(section, _)| *section == Section::Rules);
        assert_eq!(saves_rules, has_section, "rules 1 leave no trace in a snapshot");
    }
}

#[test]
fn a_snapshot_of_later_rules_is_refused_as_one() {
    let mut pieces = save(&House::new().engine);
    pieces.push((Section::Rules, vec![Rules::NEWEST as u8 + 1]));
    assert!(
        matches!(load(&pieces), Err(SnapshotError::UnknownRules(version)) if version.0 == Rules::NEWEST as u16 + 1)
    );
}

fn key(account: AccountId, name: &str, permissions: u8, expires: TsNs) -> Admin {
    let (ed25519_public, addresses) = (Vec::new(), Vec::new());
    Admin::AddKey(KeySpec { account, key: name.to_owned(), permissions, ed25519_public, addresses, expires })
}

fn withdraw(account: AccountId, reference: u128) -> Act {
    let (asset, amount, reference) = (AssetId(1), Units(1), ClientKey(reference));
    Act::Admin(Admin::Withdraw(FundsMove { account, asset, amount, reference }))
}

fn cancel_all(account: AccountId, scope: MassScope) -> Act {
    Act::MassCancel(MassCancel::every_order(scope, account, MarketId(1), BlockChange::Keep))
}

/// Every kind of actor against acts of every kind: what is allowed, and that nothing else is.
#[test]
fn the_engine_checks_who_may_do_what() {
    let mut house = House::new();
    house.admin(key(MAKER, "TRADES", PERMISSION_READ | PERMISSION_TRADE, TsNs(0)));
    house.admin(key(MAKER, "PAYS", PERMISSION_WITHDRAW, TsNs(0)));
    house.admin(key(MAKER, "OLD", 0b111, TsNs(1)));
    house.admin(key(MAKER, "GONE", 0b111, TsNs(0)));
    house.admin(Admin::RevokeKey { key: "GONE".to_owned() });
    house.place(MAKER, Side::Buy, 100, 1, Tif::Gtc, StpMode::None);
    let [trades, pays, old, gone, unknown, none] = [1, 2, 3, 4, 5, 0].map(|id| Actor::Key(KeyId(id)));
    let block = |account| Act::Admin(Admin::SetAccountBlock { account, blocked: false });
    let revoke = |key: &str| Act::Admin(Admin::RevokeKey { key: key.to_owned() });
    let status = || Act::Admin(Admin::SetAccountStatus { account: MAKER, status: AccountStatus::Active });
    let everyone = [Actor::Ops, Actor::Node, trades, pays, old, gone, unknown, none];
    let table: [(Act, &[Actor]); 9] = [
        (cancel_all(MAKER, MassScope::Account), &[Actor::Ops, trades]),
        (cancel_all(TAKER, MassScope::Account), &[Actor::Ops]),
        (cancel_all(MAKER, MassScope::Market), &[Actor::Ops]),
        (block(MAKER), &[Actor::Ops, trades]),
        (block(TAKER), &[Actor::Ops]),
        (withdraw(MAKER, 1000), &[Actor::Ops, pays]),
        (withdraw(TAKER, 2000), &[Actor::Ops]),
        (status(), &[Actor::Ops]),
        (revoke("UNKNOWN"), &[Actor::Ops]),
    ];
    for (act, allowed) in table {
        for actor in everyone {
            let events = house.apply(acted(actor, act.clone()));
            let denied = matches!(events[..], [Event::AdminRejected { reason: AdminReason::NotAuthorised }])
                || matches!(&events[..], [Event::Rejected(r)] if r.reason == RejectReason::NotAuthorised);
            assert_eq!(denied, !allowed.contains(&actor), "{actor:?} {act:?}: {events:?}");
        }
    }
    assert_eq!(refused(&house.apply(acted(trades, revoke("PAYS")))), Some(AdminReason::NotAuthorised));
    assert_eq!(refused(&house.apply(acted(trades, revoke("TRADES")))), None, "a key may give itself up");
    assert_eq!(refused(&house.apply(acted(trades, block(MAKER)))), Some(AdminReason::NotAuthorised));
    assert_eq!(refused(&house.apply(by(Actor::Node, raise(2)))), None, "the node raises the rules of a new log");
    assert_eq!(house.replayed().state_hash(), house.hash());
}

#[cfg(feature = "mutation")]
#[test]
fn a_right_that_is_not_checked_is_noticed() {
    use book::mutation::{Mutation, plant};
    let mut house = House::new();
    plant(Some(Mutation::RightsNotChecked));
    let events = house.apply(acted(Actor::Key(KeyId(9)), withdraw(TAKER, 1000)));
    plant(None);
    assert_eq!(refused(&events), None, "with the fault a key that does not exist withdraws");
    let events = house.apply(acted(Actor::Key(KeyId(9)), withdraw(TAKER, 2000)));
    assert_eq!(refused(&events), Some(AdminReason::NotAuthorised));
}

/// A record says when its request reached the node, where that was before its command had a time.
#[test]
fn a_request_that_waited_reads_back_with_its_time() {
    let command = by(Actor::Ops, raise(2));
    let (mut bytes, mut plain) = ([0; 256], [0; 256]);
    let plain_len = encode(PayloadVersion::Two, TsNs(500), &command, &mut plain).expect("it fits");
    let len = encode_received(PayloadVersion::Two, TsNs(500), TsNs(500), &command, &mut bytes).expect("it fits");
    assert_eq!(bytes[..len], plain[..plain_len], "what did not wait has the bytes that it always had");
    assert_eq!(received(&bytes[..len], TsNs(500)), TsNs(500));
    let len = encode_received(PayloadVersion::Two, TsNs(200), TsNs(500), &command, &mut bytes).expect("it fits");
    assert_eq!(bytes[..len], [&[0xff, 0x82, 44, 1, 0, 0, 0, 0, 0, 0], &plain[2..plain_len]].concat());
    let record = decode(&bytes[..len]).expect("it reads back");
    assert_eq!((record.ts, &record.command), (TsNs(500), &command));
    assert_eq!(received(&bytes[..len], record.ts), TsNs(200));
    for cut in 1..len {
        assert!(decode(&bytes[..cut]).is_err(), "cut to {cut} bytes");
    }
    // Version 1 has no room for it.
    let len = encode_received(PayloadVersion::One, TsNs(200), TsNs(500), &command, &mut bytes).expect("it fits");
    assert_eq!(bytes[..len], plain[2..plain_len]);
}

/// A log may have records of both versions, one after the other: the bytes say which is which.
#[test]
fn both_payload_versions_read_back() {
    let command = by(Actor::Ops, raise(2));
    let mut bytes = [0; 256];
    let plain = encode(PayloadVersion::One, TsNs(5), &command, &mut bytes).expect("it fits");
    let first = bytes[..plain].to_vec();
    let versioned = encode(PayloadVersion::Two, TsNs(5), &command, &mut bytes).expect("it fits");
    assert_eq!(bytes[..versioned], [&[0xff, 2], &first[..]].concat());
    for bytes in [&first, &bytes[..versioned].to_vec()] {
        assert_eq!(decode(bytes).expect("it reads back").command, command);
    }
    let later = [&[0xff, 3], &first[..]].concat();
    assert!(decode(&later).expect_err("a later version").to_string().contains("version 3"));
    assert!(decode(&[0xff]).is_err());
}
