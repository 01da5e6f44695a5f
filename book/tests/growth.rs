//! No table of the state grows by being copied: each grows to a million entries here, and the bytes that every single
//! command asks of the allocator and gives back are counted.
//!
//! A table that doubles asks for all of its new memory within one command, so the largest request of a command says
//! whether any does. Bytes are counted, not times: the same on every machine.
#![allow(clippy::print_stdout, reason = "a test shows what it counted")]
#![allow(unsafe_code)]

use book::command::*;
use book::engine::{Capacity, Engine};
use book::event::{Event, NoSink};
use book::fees::MarketFees;
use book::ids::{AccountId, AssetId, ClOrdId, ClientKey, MarketId, SessionId, Symbol, UserName};
use book::rules::Rules;
use book::segments::SEGMENT_BYTES;
use book::units::{Ppm, PriceTicks, QtyLots, Stamp, TsNs, UNITS_MAX, Units};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// A command is the first to need a place in this many segments at most. An order that rests needs one in the slab, the
/// links, the leaves, the nodes and the names, and the index has further ones.
const BYTES_PER_COMMAND_MAX: usize = 8 * SEGMENT_BYTES;
const MILLION: u32 = 1_000_000;
const TRADER: AccountId = AccountId(1);

/// What one command asked for and gave back.
#[derive(Clone, Copy, Debug, Default)]
struct Bytes {
    asked: usize,
    largest: usize,
    freed: usize,
}

impl Bytes {
    fn max(self, other: Self) -> Self {
        Self {
            asked: self.asked.max(other.asked),
            largest: self.largest.max(other.largest),
            freed: self.freed.max(other.freed),
        }
    }

    fn is_bounded(self) -> bool {
        self.largest <= SEGMENT_BYTES && self.asked <= BYTES_PER_COMMAND_MAX && self.freed <= BYTES_PER_COMMAND_MAX
    }
}

/// The system's allocator, counting what the current thread asks of it.
struct Counting;

thread_local! {
    static COUNTED: Cell<Bytes> = const { Cell::new(Bytes { asked: 0, largest: 0, freed: 0 }) };
}

fn count(asked: usize, freed: usize) {
    // During a thread's end the counter is gone; and nothing is measured then.
    let _counted = COUNTED.try_with(|counted| {
        let before = counted.get();
        let largest = before.largest.max(asked);
        counted.set(Bytes { asked: before.asked + asked, largest, freed: before.freed + freed });
    });
}

// SAFETY: every call is passed on to `System` unchanged, which keeps the contract of `GlobalAlloc`; counting neither
// allocates (the cell is const-initialised and needs no destructor) nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the pointer came from `System` through this allocator, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: the pointer came from `System` through this allocator, with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `run` asks for.
fn counted(run: impl FnOnce()) -> Bytes {
    COUNTED.set(Bytes::default());
    run();
    COUNTED.get()
}

/// An exchange with one market and a rich trader, whose tables are all short.
struct Growing {
    engine: Engine,
    /// The most that one command asked for.
    most: Bytes,
    ts: TsNs,
    refused: usize,
    /// What the last command left to do.
    rest: Option<Rest>,
}

impl Growing {
    fn new(rules: Rules) -> Self {
        // A name is found in a table of fixed length, so this one is as long as that of a node would be.
        let capacity = Capacity { orders: 1, leaves: 1, markets: 1, names: MILLION as usize };
        let mut growing = Self {
            engine: Engine::new(capacity),
            most: Bytes::default(),
            ts: TsNs(1_700_000_000_000_000_000),
            refused: 0,
            rest: None,
        };
        if rules == Rules::Two {
            growing.admin(Admin::SetRules { version: rules.version() });
        }
        ["USD", "BTC"].iter().for_each(|symbol| growing.admin(asset(symbol)));
        growing.admin(market("BTC-USD"));
        growing.admin(account("trader"));
        growing.admin(session(1));
        growing.admin(deposit(TRADER, AssetId(1), UNITS_MAX >> 1, 1 << 100));
        growing.admin(deposit(TRADER, AssetId(2), UNITS_MAX >> 1, 2 << 100));
        growing.admin(Admin::SetAccountLimits { account: TRADER, open_orders_max: 1 << 22 });
        growing
    }

    fn apply(&mut self, command: &Command) {
        let stamp = Stamp { seq: self.engine.stamp().seq.next(), ts: self.ts };
        let mut outcome = Outcome::default();
        let engine = &mut self.engine;
        let bytes = counted(|| engine.apply(stamp, command, &mut outcome));
        self.refused += outcome.refused;
        self.rest = outcome.rest;
        assert!(bytes.is_bounded(), "{bytes:?} for one command: {command:?}");
        self.most = self.most.max(bytes);
    }

    fn admin(&mut self, admin: Admin) {
        self.apply(&Command::Admin(Box::new(admin)));
    }

    fn finish(&self, of: &str) {
        println!("{of}: at most {:?} for one command, {} refused", self.most, self.refused);
        assert_eq!(self.refused, 0, "{of}: a command that is refused grows nothing");
        assert!(self.most.largest > SEGMENT_BYTES / 4, "{of}: no segment was allocated, so nothing is proved");
    }
}

/// Counts what is refused, and keeps what is left to do.
#[derive(Default)]
struct Outcome {
    refused: usize,
    rest: Option<Rest>,
}

impl book::event::Sink for Outcome {
    const LEDGER: bool = false;

    fn push(&mut self, event: Event) {
        match event {
            Event::Rejected(_) | Event::AdminRejected { .. } | Event::CancelRejected(_) => self.refused += 1,
            Event::Unfinished(rest) => self.rest = Some(rest),
            _ => {}
        }
    }
}

fn asset(symbol: &str) -> Admin {
    Admin::AddAsset { symbol: Symbol::new(symbol).expect("capital letters"), scale: 0 }
}

fn market(symbol: &str) -> Admin {
    Admin::AddMarket(MarketSpec {
        symbol: Symbol::new(symbol).expect("capital letters"),
        base: AssetId(2),
        quote: AssetId(1),
        tick_e9: 1_000_000_000,
        lot_e8: 100_000_000,
        limits: MarketLimits {
            qty_min: QtyLots(1),
            qty_max: QtyLots(1 << 20),
            notional_min: Units(0),
            price_band: Ppm(0),
        },
        fees: MarketFees::NONE,
        status: MarketStatus::Trading,
    })
}

fn account(name: &str) -> Admin {
    let name = name.to_owned();
    Admin::AddAccount(AccountSpec { name, kind: AccountKind::Client, parent: AccountId::NONE, fee_tier: 0 })
}

fn session(number: u32) -> Admin {
    Admin::AddSession(SessionSpec {
        account: TRADER,
        user: UserName::new(&format!("{number}")).expect("up to six digits"),
        password_hash: "$argon2id$".to_owned(),
        drop_copy: false,
        throttle: Throttle::default(),
        cod_mode: CodMode::Off,
        cod_scope: CodScope::Session,
        cod_window_ms: 0,
    })
}

fn deposit(account: AccountId, asset: AssetId, amount: u64, reference: u128) -> Admin {
    Admin::Deposit(FundsMove { account, asset, amount: Units(amount), reference: ClientKey(reference) })
}

fn sell(number: u32, price: u32, tif: Tif) -> Command {
    Command::Place(PlaceOrder {
        session: SessionId(1),
        cl_ord_id: ClOrdId(number.into()),
        client_key: ClientKey(u128::from(number) << 64 | 7),
        account: TRADER,
        market: MarketId(1),
        side: Side::Sell,
        kind: OrderKind::Limit { price: PriceTicks(price), qty: QtyLots(1) },
        tif,
        stp: StpMode::None,
        stp_group: 0,
        cancel_group: 0,
        persist_on_disconnect: false,
        valid_until: TsNs(0),
    })
}

fn cancel(number: u32) -> Command {
    Command::Cancel(CancelOrder {
        session: SessionId(1),
        cl_ord_id: ClOrdId(u64::from(number) + u64::from(MILLION)),
        account: TRADER,
        market: MarketId(1),
        target: OrderRef {
            order_id: book::ids::OrderId::NONE,
            cl_ord_id: ClOrdId(number.into()),
            client_key: ClientKey::NONE,
        },
    })
}

/// All orders of the trader, by an operator.
fn cancel_many() -> Command {
    Command::MassCancel(MassCancel::every_order(MassScope::Account, TRADER, MarketId::NONE, BlockChange::Keep))
}

/// What an order at a price far from all others may cost in levels: a leaf, and its share of the nodes above.
const FAR_LEVEL_BYTES_MAX: usize = 1_200;

/// A million orders with a name and a price of its own each, as far from all others as can be; then all of them
/// end, half of them by commands that cancel many.
fn orders_at_far_prices() {
    let mut growing = Growing::new(Rules::Two);
    let apart = u32::MAX / MILLION;
    (1..=MILLION).for_each(|number| growing.apply(&sell(number, number * apart, Tif::Gtc)));
    let levels = &growing.engine.pool().levels;
    let each = levels.bytes_used() / MILLION as usize;
    println!("{each} bytes of levels for an order at a price of its own");
    assert!(each <= FAR_LEVEL_BYTES_MAX, "{each} bytes of levels for an order");
    assert_eq!((growing.engine.pool().orders.len(), growing.engine.names().len()), (1_000_000, 1_000_000));
    (1..=MILLION / 2).for_each(|number| growing.apply(&cancel(number)));
    growing.apply(&cancel_many());
    while let Some(rest) = growing.rest.take() {
        growing.apply(&Command::Continue(rest));
    }
    assert_eq!(growing.engine.pool().orders.len(), 0);
    growing.finish("orders");
}

#[test]
fn no_command_about_orders_copies_a_table() {
    orders_at_far_prices();
}

/// Names under rules 1 are remembered with the outcome of their first use.
fn names_of_rules_one() {
    let mut growing = Growing::new(Rules::One);
    (1..=MILLION).for_each(|number| growing.apply(&sell(number, 100, Tif::Ioc)));
    growing.finish("client ids");
}

#[test]
fn no_command_copies_the_client_ids_of_rules_one() {
    names_of_rules_one();
}

fn accounts_and_payments() {
    let mut growing = Growing::new(Rules::Two);
    for number in 2..=MILLION {
        growing.admin(account(&format!("account number {number}")));
        growing.admin(deposit(AccountId(number), AssetId(1), 1, number.into()));
    }
    assert_eq!(growing.engine.accounts().len(), MILLION as usize);
    growing.finish("accounts and payments");
}

#[test]
fn no_account_and_no_payment_copies_a_table() {
    accounts_and_payments();
}

#[test]
fn nothing_that_operators_add_copies_a_table() {
    let mut growing = Growing::new(Rules::Two);
    for number in 3..=10_000 {
        growing.admin(asset(&format!("A{number}")));
        growing.admin(deposit(TRADER, AssetId(number), 1, number.into()));
    }
    (2..=10_000).for_each(|number| growing.admin(session(number)));
    (2..=MILLION / 4).for_each(|number| growing.admin(market(&format!("M{number}"))));
    for number in 1..=MILLION / 2 {
        let spec = KeySpec {
            account: TRADER,
            key: format!("K{number}"),
            permissions: PERMISSION_TRADE,
            ed25519_public: vec![7; 32],
            addresses: Vec::new(),
            expires: TsNs(0),
        };
        growing.admin(Admin::AddKey(spec));
        growing.admin(Admin::RevokeKey { key: format!("K{number}") });
    }
    let engine = &growing.engine;
    let balances = engine.accounts().get(TRADER).map(|account| account.balances().count());
    assert_eq!((balances, engine.sessions().len(), engine.market_ids()), (Some(10_000), 10_000, 250_000));
    assert_eq!(engine.keys().len(), 500_000);
    growing.finish("what operators add");
}

/// The negative control: with a vector that doubles, one of the pushes is seen to copy all of it.
#[test]
fn a_table_that_doubles_is_noticed() {
    let mut planted: Vec<u64> = Vec::new();
    let unbounded = (0..u64::from(MILLION)).filter(|number| !counted(|| planted.push(*number)).is_bounded()).count();
    assert!((1..32).contains(&unbounded), "{unbounded} pushes were seen to copy the table");
    let mut engine = Engine::new(Capacity { orders: 1, leaves: 1, markets: 1, names: 1 });
    let stamp = Stamp { seq: engine.stamp().seq.next(), ts: TsNs(1) };
    let asks = counted(|| engine.apply(stamp, &Command::Admin(Box::new(account("first"))), &mut NoSink));
    assert!(0 < asks.asked && asks.is_bounded(), "{asks:?}");
}

#[cfg(feature = "mutation")]
#[test]
fn a_table_that_moves_at_once_is_noticed() {
    use book::mutation::{Mutation, assert_noticed};
    assert_noticed(Mutation::IndexMovedAtOnce, orders_at_far_prices);
    assert_noticed(Mutation::TableSplitAtOnce, names_of_rules_one);
}
