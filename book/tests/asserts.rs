//! Ten asserts of the book, each shown to fire: a planted fault, the commands that lead to it, and the words of the
//! panic.
//!
//! Every invariant is checked in a second place, so each case also says what the full walk finds before the command at
//! which the assert ends the process.
#![cfg(feature = "mutation")]

use book::command::*;
use book::engine::{Capacity, Engine};
use book::event::NoSink;
use book::fees::MarketFees;
use book::ids::{AccountId, AssetId, ClOrdId, ClientKey, MarketId, ORDER_SLOT_BITS, OrderId, SessionId, Symbol};
use book::mutation::{Mutation, plant};
use book::units::{Ppm, PriceTicks, QtyLots, Stamp, TsNs, Units};
use std::panic::{AssertUnwindSafe, catch_unwind};

const USD: AssetId = AssetId(1);
const BTC: AssetId = AssetId(2);
const A: AccountId = AccountId(1);
const B: AccountId = AccountId(2);

struct Case {
    fault: Mutation,
    /// The last one must end in the panic.
    commands: Vec<Command>,
    /// What the full walk finds before the last command; nothing while the state is still consistent.
    walk: Option<&'static str>,
    says: &'static str,
}

fn cases() -> [Case; 10] {
    let case = |fault, commands: &[Command], walk, says| Case { fault, commands: commands.to_vec(), walk, says };
    let first = order_id(1, 0);
    [
        case(
            Mutation::CustodyForgotten,
            &[deposit(A, USD, 2_000_000, 10)],
            None,
            "custody covers what an account owns",
        ),
        case(
            Mutation::FundsNotChecked,
            &[limit(A, Side::Buy, 1_000_000, 100)],
            None,
            "admission checks what is available before a hold",
        ),
        case(
            Mutation::HoldTooSmall,
            &[limit(A, Side::Buy, 10, 100), limit(B, Side::Sell, 10, 100)],
            Some("account 1 holds 999 of asset 1, needs 1000"),
            "an order pays at most what it holds",
        ),
        case(
            Mutation::ReleasedTwice,
            &[limit(A, Side::Buy, 10, 100), cancel(A, first)],
            None,
            "an order releases at most what it holds",
        ),
        case(
            Mutation::FeeTooHigh,
            &[limit(A, Side::Buy, 10, 100), limit(B, Side::Sell, 10, 100)],
            None,
            "a fee is at most what was received",
        ),
        case(
            Mutation::ReachTooShort,
            &[limit(A, Side::Buy, 10, 100), limit(B, Side::Sell, 10, 100)],
            None,
            "a resting order never crosses the book",
        ),
        case(
            Mutation::FillNotCounted,
            &[limit(A, Side::Buy, 10, 100), limit(B, Side::Sell, 4, 100)],
            None,
            "a fill moves quantity from open to filled and loses none",
        ),
        case(
            Mutation::BackLinkForgotten,
            &[limit(A, Side::Buy, 1, 100), limit(B, Side::Buy, 1, 100), cancel(A, first)],
            Some("slot 1 does not link to the order before it"),
            "the younger neighbour in a queue links to the order",
        ),
        case(
            Mutation::SlotGivenTwice,
            &[limit(A, Side::Buy, 1, 100), cancel(A, first), limit(A, Side::Buy, 1, 100), limit(A, Side::Buy, 1, 100)],
            Some("1 open and 1 free of 1 slots"),
            "a slot that is given to an order was free",
        ),
        case(
            Mutation::OpenListKept,
            &[limit(A, Side::Buy, 1, 100), cancel(A, first)],
            None,
            "an account without open orders has no list",
        ),
    ]
}

#[test]
fn each_planted_fault_ends_in_the_panic_of_its_assert() {
    for Case { fault, commands, walk, says } in cases() {
        let (last, before) = commands.split_last().expect("a case has commands");
        let mut engine = opened();
        plant(Some(fault));
        before.iter().for_each(|command| apply(&mut engine, command));
        let found = engine.verify().err().map(|inconsistent| inconsistent.0);
        let panic = catch_unwind(AssertUnwindSafe(|| apply(&mut engine, last))).map_err(|panic| said(&*panic));
        plant(None);
        assert_eq!(found.as_deref(), walk, "{fault:?}: what the full walk finds");
        let words = panic.expect_err("the assert fires");
        assert!(words.contains(says), "{fault:?}: the panic says '{words}'");
    }
}

/// What fires above is the fault alone: without it the same commands leave a consistent state.
#[test]
fn without_a_fault_none_of_the_asserts_fires() {
    for Case { fault, commands, .. } in cases() {
        let mut engine = opened();
        commands.iter().for_each(|command| apply(&mut engine, command));
        assert_eq!(engine.verify(), Ok(()), "the commands of {fault:?}");
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    literal.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// An exchange with a market, two accounts and money.
fn opened() -> Engine {
    let mut engine = Engine::new(Capacity { orders: 1, leaves: 1, markets: 1, names: 1 });
    let limits =
        MarketLimits { qty_min: QtyLots(1), qty_max: QtyLots(1 << 40), notional_min: Units(0), price_band: Ppm(0) };
    let market = MarketSpec {
        symbol: symbol("BTC-USD"),
        base: BTC,
        quote: USD,
        tick_e9: 1_000_000_000,
        lot_e8: 100_000_000,
        limits,
        fees: MarketFees::received(Ppm(1_000), Ppm(2_000)),
        status: MarketStatus::Trading,
    };
    apply(&mut engine, &admin(Admin::AddAsset { symbol: symbol("USD"), scale: 0 }));
    apply(&mut engine, &admin(Admin::AddAsset { symbol: symbol("BTC"), scale: 0 }));
    apply(&mut engine, &admin(Admin::AddMarket(market)));
    for (account, name) in [(A, "A"), (B, "B")] {
        let spec =
            AccountSpec { name: name.to_owned(), kind: AccountKind::Client, parent: AccountId::NONE, fee_tier: 0 };
        apply(&mut engine, &admin(Admin::AddAccount(spec)));
        let reference = u128::from(account.0) * 2;
        apply(&mut engine, &deposit(account, USD, 1_000_000, reference));
        apply(&mut engine, &deposit(account, BTC, 1_000, reference + 1));
    }
    engine.verify().expect("a new exchange is consistent");
    engine
}

fn apply(engine: &mut Engine, command: &Command) {
    let stamp = Stamp { seq: engine.stamp().seq.next(), ts: TsNs(engine.stamp().ts.0 + 1) };
    engine.apply(stamp, command, &mut NoSink);
}

fn symbol(text: &str) -> Symbol {
    Symbol::new(text).expect("a symbol of letters and a dash")
}

fn order_id(number: u64, slot: u64) -> OrderId {
    OrderId(number << ORDER_SLOT_BITS | slot)
}

fn admin(admin: Admin) -> Command {
    Command::Admin(Box::new(admin))
}

fn deposit(account: AccountId, asset: AssetId, amount: u64, reference: u128) -> Command {
    admin(Admin::Deposit(FundsMove { account, asset, amount: Units(amount), reference: ClientKey(reference) }))
}

fn limit(account: AccountId, side: Side, qty: u64, price: u32) -> Command {
    Command::Place(PlaceOrder {
        session: SessionId::NONE,
        cl_ord_id: ClOrdId(0),
        client_key: ClientKey::NONE,
        account,
        market: MarketId(1),
        side,
        kind: OrderKind::Limit { price: PriceTicks(price), qty: QtyLots(qty) },
        tif: Tif::Gtc,
        stp: StpMode::None,
        stp_group: 0,
        cancel_group: 0,
        persist_on_disconnect: false,
        valid_until: TsNs(0),
    })
}

fn cancel(account: AccountId, order_id: OrderId) -> Command {
    let target = OrderRef { order_id, cl_ord_id: ClOrdId(0), client_key: ClientKey::NONE };
    Command::Cancel(CancelOrder {
        session: SessionId::NONE,
        cl_ord_id: ClOrdId(0),
        account,
        market: MarketId::NONE,
        target,
    })
}
