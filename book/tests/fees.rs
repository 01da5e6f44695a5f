//! What a market charges: fees paid in quote, rates that round too far, and earned fees that are paid out.

#[path = "support/house.rs"]
mod house;

use book::command::*;
use book::event::Event;
use book::fees::{FeeAsset, MarketFees, fee_on};
use book::ids::{AccountId, AssetId, ClientKey, MarketId};
use book::reject::{AdminReason, RejectReason};
use book::rules::RulesVersion;
use book::units::{FeeUnits, Ppm, PriceTicks, QtyLots, Units};
use house::{House, MAKER, TAKER, market};

const QUOTE: AssetId = AssetId(1);
const BASE: AssetId = AssetId(2);
const MARKET: MarketId = MarketId(2);

/// A house under rules 2 with a second market, in which both sides pay so many parts per million in quote.
fn house(maker: i32, taker: i32) -> House {
    let mut house = House::new();
    house.admin(Admin::SetRules { version: RulesVersion(2) });
    house.admin(Admin::AddMarket(spec(MarketFees::new(Ppm(maker), Ppm(taker), FeeAsset::Quote))));
    house
}

fn spec(fees: MarketFees) -> MarketSpec {
    let mut spec = market("BTC-USQ");
    (spec.limits.notional_min, spec.fees) = (Units(100), fees);
    spec
}

fn place(house: &mut House, account: AccountId, side: Side, kind: OrderKind, tif: Tif) -> Vec<Event> {
    let order = house.order(account, side, 1, 1, tif, StpMode::None);
    let events = house.apply(Command::Place(PlaceOrder { market: MARKET, kind, ..order }));
    house.engine.verify().expect("each account holds what its orders need");
    events
}

fn limit(price: u32, qty: u64) -> OrderKind {
    OrderKind::Limit { price: PriceTicks(price), qty: QtyLots(qty) }
}

fn owned(house: &House, account: AccountId, asset: AssetId) -> (u64, u64) {
    let account = house.engine.accounts().get(account).expect("an account of the house");
    (account.available(asset).0, account.held(asset).0)
}

fn fees(house: &House, asset: AssetId) -> u64 {
    house.engine.accounts().asset(asset).expect("an asset of the house").fees.0
}

fn refusal(house: &mut House, admin: Admin) -> Option<AdminReason> {
    match house.apply(Command::Admin(Box::new(admin)))[..] {
        [Event::AdminRejected { reason }] => Some(reason),
        _ => None,
    }
}

/// Leaves an account exactly so much quote.
fn leave(house: &mut House, account: AccountId, amount: u64) {
    let (available, _) = owned(house, account, QUOTE);
    let reference = ClientKey(1_000_000 + house.log.len() as u128);
    let funds = FundsMove { account, asset: QUOTE, amount: Units(available - amount), reference };
    house.admin(Admin::Withdraw(funds));
}

#[test]
fn a_buyer_holds_the_fee_and_gets_back_what_it_does_not_pay() {
    let mut house = house(0, 2_000);
    let free = house.place(MAKER, Side::Buy, 300, 1, Tif::Ioc, StpMode::None);
    assert!(matches!(free[..], [Event::Accepted(_), Event::Canceled(_)]), "{free:?}");
    place(&mut house, MAKER, Side::Sell, limit(300, 5), Tif::Gtc);
    let before = owned(&house, TAKER, QUOTE).0;
    // A lot at 305 with a fee of 0.61, rounded up to 1: 306 each.
    let events = place(&mut house, TAKER, Side::Buy, limit(305, 8), Tif::Gtc);
    let [Event::Accepted(_), Event::Fill(fill), Event::Rested(_)] = events[..] else { panic!("{events:?}") };
    assert_eq!((fill.maker.fee, fill.taker.fee), (FeeUnits(0), FeeUnits(3)), "1,500 at 0.2 percent");
    assert_eq!(owned(&house, TAKER, QUOTE), (before - 1_503 - 3 * 306, 3 * 306));
    assert_eq!(owned(&house, TAKER, BASE), ((1 << 40) + 5, 0), "a buyer gets all that it bought");
    assert_eq!((fees(&house, QUOTE), fees(&house, BASE)), (3, 0));
    // As a maker it pays nothing here, and all that it held for the fee comes back.
    place(&mut house, MAKER, Side::Sell, limit(305, 3), Tif::Ioc);
    assert_eq!(owned(&house, TAKER, QUOTE), (before - 1_503 - 3 * 305, 0));
    assert_eq!(house.replayed().state_hash(), house.hash());
}

#[test]
fn a_fully_invested_buyer_pays_the_fee() {
    for (has, fills) in [(1_006, true), (1_005, false)] {
        let mut house = house(1_000, 5_000);
        place(&mut house, MAKER, Side::Sell, limit(1_000, 1), Tif::Gtc);
        leave(&mut house, TAKER, has - 1);
        assert_eq!(owned(&house, TAKER, QUOTE).0, has - 1);
        let events = place(&mut house, TAKER, Side::Buy, limit(1_000, 1), Tif::Ioc);
        let refused = matches!(&events[..], [Event::Rejected(r)] if r.reason == RejectReason::InsufficientFunds);
        assert_eq!(!refused, fills, "{events:?}");
        if fills {
            assert_eq!(owned(&house, TAKER, QUOTE), (0, 0));
        }
    }
}

#[test]
fn a_market_order_by_quote_spends_its_amount_with_the_fee() {
    let mut house = house(0, 10_000);
    place(&mut house, MAKER, Side::Sell, limit(1_000, 10), Tif::Gtc);
    let before = owned(&house, TAKER, QUOTE).0;
    // Two lots with their fees are 2,020; three would be 3,030.
    let kind = OrderKind::MarketByQuote { quote: Units(3_029) };
    let events = place(&mut house, TAKER, Side::Buy, kind, Tif::Ioc);
    assert!(matches!(events[1], Event::Fill(fill) if fill.qty == QtyLots(2)), "{events:?}");
    assert_eq!(owned(&house, TAKER, QUOTE), (before - 2_020, 0));
    let (before, kind) = (owned(&house, TAKER, QUOTE).0, OrderKind::Market { qty: QtyLots(3) });
    place(&mut house, TAKER, Side::Buy, kind, Tif::Ioc);
    assert_eq!(owned(&house, TAKER, QUOTE), (before - 3_030, 0));
}

#[test]
fn a_rebate_is_paid_in_quote_and_a_tier_raises_no_fee_above_what_is_held() {
    let mut house = house(-1_000, 3_000);
    house.admin(Admin::SetFeeTier {
        tier: 1,
        fees: FeeTier { maker_scale: Ppm(1_000_000), taker_scale: Ppm(2_000_000) },
    });
    house.admin(Admin::SetAccountFeeTier { account: TAKER, tier: 1 });
    place(&mut house, MAKER, Side::Buy, limit(1_000, 10), Tif::Gtc);
    assert_eq!(owned(&house, MAKER, QUOTE).1, 10_030);
    let (maker, taker) = (owned(&house, MAKER, QUOTE), owned(&house, TAKER, QUOTE));
    let events = place(&mut house, TAKER, Side::Sell, limit(1_000, 10), Tif::Ioc);
    assert!(
        matches!(events[1], Event::Fill(fill) if fill.maker.fee == FeeUnits(-10) && fill.taker.fee == FeeUnits(30))
    );
    assert_eq!(owned(&house, MAKER, QUOTE), (maker.0 + 30 + 10, 0));
    assert_eq!(owned(&house, TAKER, QUOTE), (taker.0 + 10_000 - 30, 0));
    assert_eq!(fees(&house, QUOTE), 20);
}

#[test]
fn what_resting_orders_hold_for_the_fee_does_not_change_under_them() {
    let mut house = house(0, 2_000);
    let set = |maker, taker| Admin::SetMarketFees { market: MARKET, maker_fee: Ppm(maker), taker_fee: Ppm(taker) };
    place(&mut house, MAKER, Side::Buy, limit(1_000, 1), Tif::Gtc);
    assert_eq!(refusal(&mut house, set(0, 2_001)), Some(AdminReason::OrdersHoldFee));
    assert_eq!(refusal(&mut house, set(1_000, 2_000)), None, "the higher fee is the same");
    place(&mut house, TAKER, Side::Sell, limit(1_000, 1), Tif::Ioc);
    assert_eq!(refusal(&mut house, set(0, 2_001)), None);
    assert_eq!(house.replayed().state_hash(), house.hash());
}

/// Whether rules refuse what can round to more than a hundredth, at creation and when fees or limits change.
fn fees_round_to_a_hundredth_at_most(rules: u16) -> bool {
    let mut house = House::new();
    if rules > 1 {
        house.admin(Admin::SetRules { version: RulesVersion(rules) });
    }
    let received = MarketFees::received(Ppm(0), Ppm(1));
    let add = |name, fees, notional_min| {
        let mut spec = MarketSpec { fees, ..market(name) };
        spec.limits.notional_min = Units(notional_min);
        Admin::AddMarket(spec)
    };
    // A lot is one unit of base; a rebate alone rounds too.
    let mut rounds = vec![add("A", received, 100), add("B", MarketFees::received(Ppm(-1), Ppm(1)), 100)];
    if rules > 1 {
        rounds.push(add("C", MarketFees::new(Ppm(1), Ppm(0), FeeAsset::Quote), 99));
    }
    rounds.push(Admin::SetMarketFees { market: MarketId(1), maker_fee: Ppm(0), taker_fee: Ppm(1) });
    let refused = rounds.into_iter().all(|admin| refusal(&mut house, admin) == Some(AdminReason::FeeRounds));
    if rules > 1 && refused {
        assert_eq!(refusal(&mut house, add("D", MarketFees::NONE, 0)), None);
        assert_eq!(refusal(&mut house, add("E", MarketFees::new(Ppm(1), Ppm(1), FeeAsset::Quote), 100)), None);
        let limits = MarketLimits { notional_min: Units(99), ..market("E").limits };
        let lower = Admin::SetMarketLimits { market: MarketId(3), limits };
        assert_eq!(refusal(&mut house, lower), Some(AdminReason::FeeRounds));
    }
    refused
}

#[test]
fn fees_that_take_more_than_a_hundredth_are_refused_from_rules_2_on() {
    assert!(fees_round_to_a_hundredth_at_most(2));
    assert!(!fees_round_to_a_hundredth_at_most(1));
    let mut house = House::new();
    let quote = Admin::AddMarket(spec(MarketFees::new(Ppm(1), Ppm(1), FeeAsset::Quote)));
    assert_eq!(refusal(&mut house, quote), Some(AdminReason::OutOfRange));
}

#[test]
fn earned_fees_leave_custody_once_for_each_reference() {
    let mut house = house(0, 10_000);
    place(&mut house, MAKER, Side::Sell, limit(1_000, 10), Tif::Gtc);
    place(&mut house, TAKER, Side::Buy, limit(1_000, 10), Tif::Ioc);
    assert_eq!(fees(&house, QUOTE), 100);
    let custody = |house: &House| house.engine.accounts().asset(QUOTE).expect("quote").custody.0;
    let (before, reference) = (custody(&house), ClientKey(77_000));
    let pay = |amount, reference| {
        Admin::WithdrawFees(FundsMove { account: AccountId::NONE, asset: QUOTE, amount: Units(amount), reference })
    };
    assert_eq!(refusal(&mut house, pay(101, reference)), Some(AdminReason::InsufficientFunds));
    let paid = house.apply(Command::Admin(Box::new(pay(60, reference))));
    assert!(matches!(paid[..], [Event::FundsMoved { available: Units(40), repeated: false, .. }]), "{paid:?}");
    let again = house.apply(Command::Admin(Box::new(pay(60, reference))));
    assert!(matches!(again[..], [Event::FundsMoved { available: Units(40), repeated: true, .. }]), "{again:?}");
    assert_eq!(refusal(&mut house, pay(61, reference)), Some(AdminReason::ReferenceConflict));
    assert_eq!((fees(&house, QUOTE), custody(&house)), (40, before - 60));
    let of_account = FundsMove { account: MAKER, asset: QUOTE, amount: Units(1), reference: ClientKey(77_001) };
    assert_eq!(refusal(&mut house, Admin::WithdrawFees(of_account)), Some(AdminReason::UnknownAccount));
    assert_eq!(house.replayed().state_hash(), house.hash());
}

#[test]
fn a_choice_of_the_asset_is_part_of_the_state_hash_and_of_snapshots() {
    let hash = |paid_in| {
        let mut house = House::new();
        house.admin(Admin::SetRules { version: RulesVersion(2) });
        house.admin(Admin::AddMarket(spec(MarketFees::new(Ppm(0), Ppm(0), paid_in))));
        house.hash()
    };
    assert_ne!(hash(FeeAsset::Received), hash(FeeAsset::Quote));
    let both = [FeeAsset::Received, FeeAsset::Quote];
    for (paid_in, taker) in both.into_iter().flat_map(|paid_in| [-100_000, 0, 100_000].map(|taker| (paid_in, taker))) {
        let fees = MarketFees::new(Ppm(7), Ppm(taker), paid_in);
        assert_eq!((fees.maker(), fees.taker(), fees.paid_in()), (Ppm(7), Ppm(taker), paid_in));
    }
    assert_eq!(fee_on(Units(1), Ppm(1)), FeeUnits(1), "rounded up");
}

#[cfg(feature = "mutation")]
#[test]
fn a_fee_that_takes_a_lot_or_is_not_held_is_noticed() {
    use book::mutation::{Mutation, assert_noticed};
    assert_noticed(Mutation::FeeTakesLot, || assert!(fees_round_to_a_hundredth_at_most(2)));
    assert_noticed(Mutation::FeeNotHeld, a_buyer_holds_the_fee_and_gets_back_what_it_does_not_pay);
}
