//! A snapshot whose rows are each readable and do not belong together is refused, with the reason.

#[path = "support/house.rs"]
mod house;
#[path = "support/pieces.rs"]
mod pieces;

use book::command::*;
use book::ids::{AccountId, AssetId, ClOrdId, MarketId, OrderId, SessionId, UserName};
use book::rules::RulesVersion;
use book::run::{LIFE_TAGS, LIVES_MAX, LifeTag};
use book::session::Block;
use book::snapshot::Section;
use book::units::{PriceTicks, QtyLots, TsNs, Units};
use house::{House, MAKER, session};
use pieces::{Pieces, change, load, save};

type AccountRow = (String, AccountKind, AccountStatus, u8, bool, AccountId, u32, Vec<(AssetId, Units, Units)>);
type SessionRow = (AccountId, UserName, String, bool, Block, (CodMode, CodScope, u32), ClOrdId, Throttle, TsNs);
type LifeRow = (SessionId, u32, u32, LifeTag, bool);
type KeyRow = (KeySpec, bool);
type OrderRow = (OrderId, MarketId, PriceTicks, QtyLots, QtyLots, AccountId, SessionId, ClOrdId, (u16, u8, u8));

fn house() -> House {
    let mut house = idle();
    house.place(MAKER, Side::Sell, 100, 5, Tif::Gtc, StpMode::None);
    house
}

/// Without an order.
fn idle() -> House {
    let mut house = House::new();
    house.admin(Admin::AddSession(SessionSpec { drop_copy: true, cod_mode: CodMode::Off, ..session(MAKER, "COPY") }));
    house.admin(Admin::AddKey(KeySpec {
        account: MAKER,
        key: "K1".to_owned(),
        permissions: 1,
        ed25519_public: Vec::new(),
        addresses: Vec::new(),
        expires: TsNs(0),
    }));
    house
}

/// The pieces of the house with every row of a section changed.
fn changed<R: bincode::Encode + bincode::Decode<()>>(of: Section, by: impl Fn(&mut R)) -> Pieces {
    let mut pieces = save(&house().engine);
    change(&mut pieces, of, by);
    pieces
}

/// Why the pieces are refused.
fn refusal(pieces: &Pieces) -> Option<String> {
    load(pieces).err().map(|error| error.to_string())
}

fn accounts(change: impl Fn(&mut AccountRow)) -> Pieces {
    changed(Section::Accounts, change)
}

fn sessions(change: impl Fn(&mut SessionRow)) -> Pieces {
    changed(Section::Sessions, change)
}

fn keys(change: impl Fn(&mut KeySpec)) -> Pieces {
    changed(Section::Keys, |row: &mut KeyRow| change(&mut row.0))
}

fn orders(change: impl Fn(&mut OrderRow)) -> Pieces {
    changed(Section::Orders, change)
}

/// The pieces of a house under rules 2 whose first session has begun a life by itself and whose last one is removed.
fn lives(change_row: impl Fn(&mut LifeRow)) -> Pieces {
    let mut house = house();
    house.admin(Admin::SetRules { version: RulesVersion(2) });
    house.admin(Admin::BeginSessionLife { session: SessionId(1), tag: LifeTag(5) });
    house.place(MAKER, Side::Sell, 100, 5, Tif::Gtc, StpMode::None);
    house.admin(Admin::RemoveSession { session: SessionId(3) });
    let mut pieces = save(&house.engine);
    change(&mut pieces, Section::SessionLives, change_row);
    pieces
}

#[test]
fn a_session_that_no_act_has_made_is_refused() {
    assert_eq!(refusal(&lives(|_| {})), None, "the house itself loads");
    let mut copies = save(&idle().engine);
    change(&mut copies, Section::Sessions, |row: &mut SessionRow| (row.0, row.3) = (MAKER, true));
    let mut cancels = lives(|_| {});
    change(&mut cancels, Section::Sessions, |row: &mut SessionRow| row.5.0 = CodMode::Both);
    let mut old_rules = lives(|_| {});
    old_rules.retain(|(section, _)| *section != Section::Rules);
    let cases: Vec<(Pieces, &str)> = vec![
        (copies, "an account has too many drop copies"),
        (cancels, "a drop copy has cancel-on-disconnect"),
        (old_rules, "under rules 1 no session begins a life or is removed"),
        (lives(|row| row.4 = true), "a removed session has open orders"),
        (lives(|row| row.0 = SessionId(1)), "the sessions are out of order"),
        (lives(|row| row.0 = SessionId(row.0.0 + 6)), "the session is unknown"),
        (lives(|row| row.1 = 0), "the life of the session is out of range"),
        (lives(|row| row.1 = LIVES_MAX + 1), "the life of the session is out of range"),
        (lives(|row| row.2 = 1), "the life of the session is out of range"),
        (lives(|row| row.3 = LifeTag(LIFE_TAGS)), "the life of the session is out of range"),
        (lives(|row| row.4 = false), "the life of the session is out of range"),
    ];
    for (pieces, why) in cases {
        let found = refusal(&pieces).unwrap_or_else(|| panic!("a state loads although {why}"));
        assert!(found.ends_with(why), "{found}, expected: {why}");
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let whole = house();
    assert_eq!(whole.replayed().state_hash(), whole.hash());
    assert_eq!(refusal(&accounts(|_| {})), None, "the house itself loads");
    let cases: Vec<(Pieces, &str)> = vec![
        (accounts(|row| row.0.clear()), "the name is no name of an account"),
        (accounts(|row| row.0.push('\n')), "the name is no name of an account"),
        (accounts(|row| row.5 = AccountId(9)), "the parent is unknown or has a parent itself"),
        (accounts(|row| row.5 = AccountId(1)), "the parent is unknown or has a parent itself"),
        (accounts(|row| row.6 = u32::MAX), "the limit of open orders is too large"),
        (sessions(|row| row.0 = AccountId(9)), "the account is unknown"),
        (sessions(|row| row.2.clear()), "the password, the throttle or the window is out of range"),
        (sessions(|row| row.2 = "x".repeat(1_000)), "the password, the throttle or the window is out of range"),
        (sessions(|row| row.5.2 = u32::MAX), "the password, the throttle or the window is out of range"),
        (sessions(|row| row.7.burst = u32::MAX), "the password, the throttle or the window is out of range"),
        (sessions(|row| row.6 = ClOrdId(0)), "the client order id is after the session's last one"),
        (keys(|key| key.key = "a b".to_owned()), "the key is out of range"),
        (keys(|key| key.permissions = 8), "the key is out of range"),
        (keys(|key| key.ed25519_public = vec![0; 31]), "the key is out of range"),
        (keys(|key| key.account = AccountId(9)), "the account is unknown"),
        (orders(|row| row.6 = SessionId(2)), "the session may not trade for the account"),
        (orders(|row| row.6 = SessionId(3)), "the session may not trade for the account"),
        (orders(|row| row.6 = SessionId(9)), "the session is unknown"),
        (orders(|row| row.8.1 |= 1 << 7), "the traits of the order are unknown"),
        (orders(|row| row.8.1 |= 1 << 6), "a named order has no name"),
        (orders(|row| row.2 = PriceTicks(0)), "the order has nothing open, no price, or too large a quantity"),
    ];
    for (pieces, why) in cases {
        let found = refusal(&pieces).unwrap_or_else(|| panic!("a state loads although {why}"));
        assert!(found.ends_with(why), "{found}, expected: {why}");
    }
}
