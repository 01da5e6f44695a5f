//! Bounds of one command and of one account, at the bound and one beyond it: what a command reaches, holds and counts,
//! and what the second parts of mass cancels do.

#[path = "support/house.rs"]
mod house;

use book::command::*;
use book::engine::{CANCELS_PER_COMMAND_MAX, EVENTS_PER_COMMAND_MAX};
use book::event::{CancelReason, Event};
use book::ids::{AccountId, AssetId, ClOrdId, ClientKey, MarketId, SessionId, UserName};
use book::order_book::FILLS_PER_COMMAND_MAX;
use book::reject::{AdminReason, RejectReason};
use book::session::DROP_COPIES_PER_ACCOUNT_MAX;
use book::units::{QtyLots, TsNs};
use house::{House, MAKER, TAKER};

const USD: AssetId = AssetId(1);
const REACHED_MAX: u64 = FILLS_PER_COMMAND_MAX as u64;

impl House {
    fn rest(&mut self, account: AccountId, side: Side, price: u32, count: u64) {
        for _ in 0..count {
            let events = self.place(account, side, price, 1, Tif::Gtc, StpMode::None);
            assert!(matches!(events.last(), Some(Event::Rested(_))), "{events:?}");
        }
    }

    fn market_buy(&mut self, account: AccountId, qty: u64, stp: StpMode) -> Vec<Event> {
        self.apply(Command::Place(PlaceOrder {
            session: SessionId(account.0),
            cl_ord_id: ClOrdId(self.log.len() as u64),
            client_key: ClientKey::NONE,
            account,
            market: MarketId(1),
            side: Side::Buy,
            kind: OrderKind::Market { qty: QtyLots(qty) },
            tif: Tif::Ioc,
            stp,
            stp_group: 0,
            cancel_group: 0,
            persist_on_disconnect: false,
            valid_until: TsNs(0),
        }))
    }

    /// What an account has available and what it holds, in USD.
    fn usd(&self, account: AccountId) -> (u64, u64) {
        let account = self.engine.accounts().get(account).expect("the account is there");
        (account.available(USD).0, account.held(USD).0)
    }

    /// Every count of open orders, by account and session and market, against the orders themselves.
    fn assert_open(&self, maker: u32, taker: u32) {
        for (account, count) in [(MAKER, maker), (TAKER, taker)] {
            assert_eq!(self.engine.accounts().get(account).map(|account| account.open_count), Some(count));
            let session = self.engine.sessions().get(SessionId(account.0));
            assert_eq!(session.map(|session| session.open_count), Some(count));
        }
        assert_eq!(self.engine.market(MarketId(1)).map(|market| market.tape.open_count), Some(maker + taker));
        self.hash();
    }

    fn kill(&mut self, scope: MassScope, continued: bool) -> Vec<Event> {
        self.apply(Command::MassCancel(MassCancel {
            session: SessionId(MAKER.0),
            cl_ord_id: ClOrdId(1),
            account: MAKER,
            scope,
            market: MarketId::NONE,
            side: None,
            price_min: None,
            price_max: None,
            cancel_group: 0,
            block: BlockChange::Set,
            continued,
        }))
    }

    fn add_copy(&mut self, account: AccountId, user: &str) -> Vec<Event> {
        self.apply(Command::Admin(Box::new(Admin::AddSession(SessionSpec {
            account,
            user: UserName::new(user).expect("letters and digits"),
            password_hash: "$argon2id$".to_owned(),
            drop_copy: true,
            throttle: Throttle::default(),
            cod_mode: CodMode::Off,
            cod_scope: CodScope::Session,
            cod_window_ms: 0,
        }))))
    }
}

fn fill_count(events: &[Event]) -> u64 {
    events.iter().filter(|event| matches!(event, Event::Fill(_))).count() as u64
}

fn canceled_for(events: &[Event], reason: CancelReason) -> u64 {
    events.iter().filter(|event| matches!(event, Event::Canceled(c) if c.reason == reason)).count() as u64
}

#[test]
fn a_market_buy_holds_no_more_than_one_command_reaches() {
    let mut house = House::new();
    house.rest(MAKER, Side::Sell, 100, REACHED_MAX + 1);
    let (available, _) = house.usd(TAKER);
    let events = house.market_buy(TAKER, REACHED_MAX + 1, StpMode::None);
    assert_eq!(fill_count(&events), REACHED_MAX);
    assert!(matches!(events.last(), Some(Event::Canceled(c)) if c.reason == CancelReason::FillLimit && c.qty.0 == 1));
    assert_eq!(house.usd(TAKER), (available - 100 * REACHED_MAX, 0), "it pays for its fills, and nothing stays held");
    house.assert_open(1, 0);
    assert_eq!(house.replayed().state_hash(), house.hash());
}

/// Own orders that are cancelled on the way count as much as fills, so that one command never makes more events than
/// its bound, and its hold covers what it can still reach.
#[test]
fn makers_that_self_trade_prevention_cancels_count_as_reached() {
    for own in [REACHED_MAX - 1, REACHED_MAX, REACHED_MAX + 1] {
        let mut house = House::new();
        house.rest(TAKER, Side::Sell, 100, own);
        house.rest(MAKER, Side::Sell, 100, 3);
        let (available, _) = house.usd(TAKER);
        let events = house.market_buy(TAKER, 3, StpMode::CancelMaker);
        let (canceled, fills) = (own.min(REACHED_MAX), REACHED_MAX.saturating_sub(own));
        assert_eq!((canceled_for(&events, CancelReason::SelfTrade), fill_count(&events)), (canceled, fills));
        assert_eq!(canceled_for(&events, CancelReason::FillLimit), 1, "the rest of the order ends: {own} own orders");
        assert!(events.len() <= EVENTS_PER_COMMAND_MAX);
        assert_eq!(house.usd(TAKER), (available - 100 * fills, 0));
        house.assert_open((3 - fills) as u32, (own - canceled) as u32);
    }
}

#[test]
fn a_maker_that_self_trade_prevention_cancels_is_counted_no_more() {
    for (mode, rests) in [(StpMode::CancelMaker, 1), (StpMode::CancelBoth, 0), (StpMode::Decrement, 0)] {
        let mut house = House::new();
        house.rest(TAKER, Side::Sell, 100, 1);
        let events = house.place(TAKER, Side::Buy, 100, 1, Tif::Gtc, mode);
        let own_ask = |event: &Event| matches!(event, Event::Canceled(c) if c.was_resting && c.side == Side::Sell);
        assert_eq!(events.iter().filter(|event| own_ask(event)).count(), 1, "{mode:?}: {events:?}");
        house.assert_open(0, rests);
    }
}

#[test]
fn an_account_has_two_drop_copies_and_no_third() {
    let mut house = House::new();
    for idx in 0..DROP_COPIES_PER_ACCOUNT_MAX {
        let events = house.add_copy(MAKER, &format!("C{idx}"));
        assert!(matches!(events[..], [Event::SessionAdded { drop_copy: true, .. }]), "{events:?}");
    }
    let sessions = house.engine.sessions().len();
    let events = house.add_copy(MAKER, "C9");
    assert!(matches!(events[..], [Event::AdminRejected { reason: AdminReason::LimitReached }]), "{events:?}");
    assert_eq!(house.engine.sessions().len(), sessions);
    // Another account's copies are counted apart.
    assert!(matches!(house.add_copy(TAKER, "C9")[..], [Event::SessionAdded { account: TAKER, .. }]));
}

/// A disconnect that reaches more orders than one command may cancel goes on until all are gone but those that persist
/// and those of other sessions.
#[test]
fn the_second_part_of_a_disconnect_cancels_the_rest() {
    let mut house = House::new();
    house.rest(MAKER, Side::Buy, 100, u64::from(CANCELS_PER_COMMAND_MAX) + 60);
    house.rest(TAKER, Side::Buy, 99, 1);
    let down = |continued| {
        Command::SessionDown(SessionDown { session: SessionId(MAKER.0), cause: DownCause::Disconnect, continued })
    };
    let first = house.apply(down(false));
    assert!(matches!(first.last(), Some(Event::MassCanceled(m)) if m.more && m.count == CANCELS_PER_COMMAND_MAX));
    house.assert_open(60, 1);
    let second = house.apply(down(true));
    assert_eq!(canceled_for(&second, CancelReason::Disconnect), 60);
    assert!(matches!(second.last(), Some(Event::MassCanceled(m)) if !m.more && m.count == 60), "{second:?}");
    house.assert_open(0, 1);
    assert_eq!(house.apply(down(true)), [], "nothing is left to be cancelled");
}

/// The second part kills as the first does: also on a market that was halted meanwhile, where a plain mass cancel of a
/// client would spare the orders.
#[test]
fn the_second_part_of_a_kill_switch_kills_the_rest() {
    for scope in [MassScope::Session, MassScope::Account] {
        let mut house = House::new();
        house.rest(MAKER, Side::Buy, 100, u64::from(CANCELS_PER_COMMAND_MAX) + 60);
        let first = house.kill(scope, false);
        assert_eq!(canceled_for(&first, CancelReason::KillSwitch), u64::from(CANCELS_PER_COMMAND_MAX));
        assert!(matches!(first.last(), Some(Event::MassCanceled(m)) if m.more && m.blocked));
        house.admin(Admin::SetMarketStatus { market: MarketId(1), status: MarketStatus::Halt });
        let second = house.kill(scope, true);
        assert_eq!(canceled_for(&second, CancelReason::KillSwitch), 60);
        assert!(matches!(second.last(), Some(Event::MassCanceled(m)) if !m.more && m.blocked && m.count == 60));
        house.assert_open(0, 0);
        let refused = house.place(MAKER, Side::Buy, 100, 1, Tif::Gtc, StpMode::None);
        assert!(matches!(refused[..], [Event::Rejected(r)] if r.reason == RejectReason::KillSwitch), "{refused:?}");
    }
}

/// What an administrator has decided between two parts stands.
#[test]
fn the_second_part_of_a_kill_switch_sets_no_block_that_was_lifted() {
    let lifts = [
        (MassScope::Session, Admin::SetSessionBlock { session: SessionId(MAKER.0), blocked: false }),
        (MassScope::Account, Admin::SetAccountBlock { account: MAKER, blocked: false }),
    ];
    for (scope, lift) in lifts {
        let mut house = House::new();
        house.rest(MAKER, Side::Buy, 100, u64::from(CANCELS_PER_COMMAND_MAX) + 1);
        house.kill(scope, false);
        house.admin(lift);
        let second = house.kill(scope, true);
        assert!(matches!(second.last(), Some(Event::MassCanceled(m)) if !m.more && !m.blocked && m.count == 1));
        house.rest(MAKER, Side::Buy, 100, 1);
        house.assert_open(1, 0);
    }
}

/// Each of these tests fails with its fault.
#[cfg(feature = "mutation")]
#[test]
fn a_bound_that_is_missed_is_noticed() {
    use book::mutation::{Mutation, assert_noticed};
    let noticed_by: [(Mutation, fn()); 7] = [
        (Mutation::HoldOneOrderTooWide, a_market_buy_holds_no_more_than_one_command_reaches),
        (Mutation::CanceledMakersNotReached, makers_that_self_trade_prevention_cancels_count_as_reached),
        (Mutation::CanceledMakerCounted, a_maker_that_self_trade_prevention_cancels_is_counted_no_more),
        (Mutation::OneCopyTooMany, an_account_has_two_drop_copies_and_no_third),
        (Mutation::RestOfDisconnectKept, the_second_part_of_a_disconnect_cancels_the_rest),
        (Mutation::RestOfKillPlain, the_second_part_of_a_kill_switch_kills_the_rest),
        (Mutation::BlockSetByEveryPart, the_second_part_of_a_kill_switch_sets_no_block_that_was_lifted),
    ];
    for (fault, test) in noticed_by {
        assert_noticed(fault, test);
    }
}
