//! A snapshot carries every field of the state. The state here has each of them at a value that no new exchange has,
//! and the loaded one is compared with it field by field, then by what both do with further commands.
//!
//! The patterns name every field, so that one more does not compile until this test has it too.

#[path = "support/house.rs"]
mod house;
#[path = "support/pieces.rs"]
mod pieces;

use book::accounts::{Account, AssetBook, OPEN_ORDERS_DEFAULT};
use book::command::*;
use book::engine::{Engine, Tape};
use book::event::Event;
use book::ids::*;
use book::intake::Intake;
use book::keys::Key;
use book::rules::{Rules, RulesVersion};
use book::run::{LifeTag, RunSpec};
use book::session::{Bucket, Session, SessionLife};
use book::slab::Order;
use book::units::*;
use house::{House, MAKER, TAKER};
use pieces::{load, save};

const MASTER: AccountId = AccountId(3);
/// An account under the agent.
const CLIENT: AccountId = AccountId(4);
/// A throttled session of `CLIENT`.
const THROTTLED: SessionId = SessionId(3);

/// A session of `CLIENT` that has begun a life by itself, and one that is removed.
const RENEWED: SessionId = SessionId(6);
const REMOVED: SessionId = SessionId(7);

fn session(account: AccountId, user: &str) -> SessionSpec {
    SessionSpec {
        account,
        user: UserName::new(user).expect("letters and digits"),
        password_hash: format!("$argon2id${user}"),
        drop_copy: false,
        throttle: Throttle::default(),
        cod_mode: CodMode::Off,
        cod_scope: CodScope::Account,
        cod_window_ms: 77,
    }
}

fn key(name: &str, permissions: u8, expires: TsNs) -> KeySpec {
    let (ed25519_public, addresses) = (vec![9; 32], vec!["10.0.0.0/8".to_owned()]);
    KeySpec { account: CLIENT, key: name.to_owned(), permissions, ed25519_public, addresses, expires }
}

fn by(actor: Actor, act: Act) -> Command {
    Command::Acted(Box::new(Acted { actor, ..Acted::by_ops(act) }))
}

/// A limit order of `CLIENT` through its throttled session.
fn order(cl_ord_id: u64, client_key: u128) -> PlaceOrder {
    PlaceOrder {
        session: if client_key == 0 { THROTTLED } else { SessionId::NONE },
        cl_ord_id: ClOrdId(cl_ord_id),
        client_key: ClientKey(client_key),
        account: CLIENT,
        market: MarketId(1),
        side: Side::Buy,
        kind: OrderKind::Limit { price: PriceTicks(50), qty: QtyLots(3) },
        tif: Tif::GtcPostOnly,
        stp: StpMode::CancelMaker,
        stp_group: 7,
        cancel_group: 9,
        persist_on_disconnect: true,
        valid_until: TsNs(0),
    }
}

fn payment(reference: u128) -> FundsMove {
    FundsMove { account: CLIENT, asset: AssetId(1), amount: Units(1_000), reference: ClientKey(reference) }
}

fn whole() -> House {
    let mut house = House::new();
    // Under rules 2 a market of such lots has no fees, but one that has them keeps them.
    house.admin(Admin::SetMarketFees { market: MarketId(1), maker_fee: Ppm(1_000), taker_fee: Ppm(20_000) });
    let limits =
        MarketLimits { qty_min: QtyLots(2), qty_max: QtyLots(500), notional_min: Units(3), price_band: Ppm(600_000) };
    house.admin(Admin::SetMarketLimits { market: MarketId(1), limits });
    house.admin(Admin::SetRules { version: RulesVersion(2) });
    house.admin(Admin::BeginRun(RunSpec { directory: 1, may_lose: false, life: Some(LifeTag(3)) }));
    house.admin(Admin::AddAsset { symbol: Symbol::new("ETH").expect("three letters"), scale: 3 });
    add_people(&mut house);
    house.admin(Admin::AddKey(key("LIVE", PERMISSION_TRADE | PERMISSION_WITHDRAW, TsNs(1 << 40))));
    house.admin(Admin::AddKey(key("GONE", PERMISSION_TRADE, TsNs(0))));
    house.admin(Admin::RevokeKey { key: "GONE".to_owned() });
    let tier = FeeTier { maker_scale: Ppm(500_000), taker_scale: Ppm(2_000_000) };
    house.admin(Admin::SetFeeTier { tier: 2, fees: tier });
    house.admin(Admin::SetClientNamesMax { max: 70 });
    trade(&mut house);
    house.admin(Admin::SetMarketStatus { market: MarketId(1), status: MarketStatus::PostOnly });
    house.admin(Admin::SetSessionBlock { session: SessionId(4), blocked: true });
    house.admin(Admin::SetAccountStatus { account: MASTER, status: AccountStatus::Suspended });
    house.admin(Admin::SetAccountBlock { account: MASTER, blocked: true });
    // The next check starts after the first sample.
    let hash = house.engine.check_hash();
    house.apply(Command::Check(Check { hash }));
    assert_eq!(house.replayed().state_hash(), house.hash());
    house
}

fn add_people(house: &mut House) {
    let account = |name: &str, kind, parent, fee_tier| AccountSpec { name: name.to_owned(), kind, parent, fee_tier };
    house.admin(Admin::AddAccount(account("master", AccountKind::House, AccountId::NONE, 0)));
    house.admin(Admin::AddAccount(account("client", AccountKind::MarketMaker, MASTER, 2)));
    for number in 5..70 {
        house.admin(Admin::AddAccount(account(&format!("n{number}"), AccountKind::House, AccountId::NONE, 0)));
    }
    let throttle = Throttle { orders_per_second: 1, burst: 3 };
    house.admin(Admin::AddSession(SessionSpec { throttle, ..session(CLIENT, "THROTT") }));
    house.admin(Admin::AddSession(session(CLIENT, "BLOCK")));
    house.admin(Admin::AddSession(SessionSpec { drop_copy: true, ..session(CLIENT, "COPY") }));
    house.admin(Admin::AddSession(session(CLIENT, "LIFE")));
    house.admin(Admin::AddSession(session(CLIENT, "GONE")));
    house.admin(Admin::BeginSessionLife { session: RENEWED, tag: LifeTag(5) });
    house.admin(Admin::RemoveSession { session: REMOVED });
    house.admin(Admin::SetAccountLimits { account: CLIENT, open_orders_max: 4 });
    house.admin(Admin::Deposit(payment(1 << 70)));
    house.admin(Admin::Withdraw(FundsMove { amount: Units(1), ..payment(1 << 71) }));
}

/// Orders in every state in which one can rest, free slots out of order, trades with fees, and names of orders.
fn trade(house: &mut House) {
    for number in 0..70 {
        house.place(MAKER, Side::Sell, 100 + number % 7, 4, Tif::Gtc, StpMode::Decrement);
    }
    for _ in 0..2 {
        house.place(TAKER, Side::Buy, 100, 5, Tif::Gtc, StpMode::None);
    }
    let first = house.log.iter().position(|command| matches!(command, Command::Place(_))).expect("orders") as u64;
    for number in [20, 30, 25, 40, 35, 50] {
        let cl_ord_id = ClOrdId(first + number);
        let target = OrderRef { order_id: OrderId::NONE, cl_ord_id, client_key: ClientKey::NONE };
        let (session, market) = (SessionId(MAKER.0), MarketId(1));
        let cancel = CancelOrder { session, cl_ord_id: ClOrdId(1), account: MAKER, market, target };
        let events = house.apply(Command::Cancel(cancel));
        assert!(matches!(events[..], [Event::Canceled(_)]), "{events:?}");
    }
    house.apply(Command::Place(order(1, 0)));
    house.apply(Command::Place(order(2, 0)));
    house.apply(Command::Place(order(0, 500)));
    let refused = PlaceOrder { account: AccountId(99), ..order(0, 600) };
    house.apply(Command::Place(refused));
}

fn reloaded(engine: &Engine) -> Engine {
    load(&save(engine)).expect("what was saved loads")
}

/// The state in words, part by part, all but the places of price levels, which are about memory.
fn facts(engine: &Engine) -> Vec<(&'static str, String)> {
    let accounts = engine.accounts();
    let names: Vec<_> = accounts.iter().map(|(id, account)| (accounts.name(id), account)).collect();
    let sessions: Vec<_> = engine.sessions().iter().collect();
    let keys: Vec<_> = engine.keys().iter().collect();
    let markets: Vec<_> = engine.markets().map(|market| (market.rules, market.tape)).collect();
    let queue = |side| move |market: &book::engine::Market| queue_of(engine, market, side);
    let bids: Vec<_> = engine.markets().map(queue(Side::Buy)).collect();
    let asks: Vec<_> = engine.markets().map(queue(Side::Sell)).collect();
    let lists: Vec<Vec<u32>> = accounts.iter().map(|(_, account)| engine.open_orders().of(account).collect()).collect();
    let orders = &engine.pool().orders;
    let free: Vec<u32> = orders.free_slots().collect();
    vec![
        ("stamp, rules and intake", format!("{:?}", (engine.stamp(), engine.rules(), engine.intake()))),
        ("assets", format!("{:?}", accounts.assets())),
        ("markets", format!("{markets:?}")),
        ("accounts", format!("{names:?}")),
        ("sessions", format!("{sessions:?}")),
        ("keys", format!("{keys:?}")),
        ("bids", format!("{bids:?}")),
        ("asks", format!("{asks:?}")),
        ("lists", format!("{lists:?}")),
        ("slots", format!("{:?}", (orders.len(), orders.slots_len(), orders.number_last(), free))),
        ("check", format!("{:x}", engine.check_hash())),
        ("hash", engine.state_hash().to_string()),
        ("bytes", format!("{:?}", save(engine))),
    ]
}

fn queue_of(engine: &Engine, market: &book::engine::Market, side: Side) -> Vec<Order> {
    let queue = market.book.queue(engine.pool(), side);
    queue.map(|(_, order)| Order { level: 0, ..*order }).collect()
}

/// Commands whose outcomes depend on what the state remembers besides orders and money.
fn questions() -> Vec<Command> {
    let (live, gone) = (Actor::Key(KeyId(1)), Actor::Key(KeyId(2)));
    let block = Act::Admin(Admin::SetAccountBlock { account: CLIENT, blocked: false });
    let no_order = OrderRef { order_id: OrderId::NONE, cl_ord_id: ClOrdId(0), client_key: ClientKey::NONE };
    let query =
        Query { session: THROTTLED, request: ClOrdId(5), account: CLIENT, market: MarketId::NONE, target: no_order };
    let deposit = |reference| Command::Admin(Box::new(Admin::Deposit(payment(reference))));
    vec![
        by(gone, block.clone()),
        by(live, block),
        by(live, Act::Admin(Admin::Withdraw(FundsMove { amount: Units(2), ..payment(1 << 72) }))),
        // Used names and references.
        Command::Place(order(2, 0)),
        Command::Place(order(0, 500)),
        Command::Place(order(0, 600)),
        deposit(1 << 70),
        deposit(1 << 71),
        // The bucket has room for one of these, the limit of open orders for one more after it.
        Command::Place(order(10, 0)),
        Command::Place(order(11, 0)),
        Command::Place(order(0, 700)),
        Command::Place(PlaceOrder { session: SessionId(4), ..order(12, 0) }),
        Command::Place(PlaceOrder { session: REMOVED, ..order(13, 0) }),
        by(Actor::Ops, Act::Admin(Admin::BeginSessionLife { session: RENEWED, tag: LifeTag(6) })),
        Command::Query(query),
        Command::SessionDown(SessionDown { session: THROTTLED, cause: DownCause::Disconnect, continued: false }),
        Command::SessionDown(SessionDown { session: SessionId(MAKER.0), cause: DownCause::Logout, continued: false }),
    ]
}

fn apply(engine: &mut Engine, command: &Command) -> Vec<Event> {
    let seq = engine.stamp().seq.next();
    let mut events = Vec::new();
    engine.apply(Stamp { seq, ts: TsNs(engine.stamp().ts.0 + 1) }, command, &mut events);
    events
}

/// The first part in which two states differ, or the first command that they answer differently.
fn difference(one: &mut Engine, other: &mut Engine) -> Option<String> {
    let differing = |one: &Engine, other: &Engine| {
        facts(one).into_iter().zip(facts(other)).find(|(a, b)| a != b).map(|((part, _), _)| part.to_owned())
    };
    let before = differing(one, other);
    let answers = |command: Command| (apply(one, &command) != apply(other, &command)).then(|| format!("{command:?}"));
    let answered = questions().into_iter().find_map(answers);
    before.or(answered).or_else(|| differing(one, other))
}

#[test]
fn every_field_survives_a_snapshot() {
    let mut house = whole();
    let mut loaded = reloaded(&house.engine);
    assert_eq!(difference(&mut house.engine, &mut loaded), None);
    loaded.verify().expect("the state is consistent");
}

/// Beside the state above, whose orders it would all refuse.
#[test]
fn a_stopped_intake_survives_a_snapshot() {
    let mut house = whole();
    let mut hashes = vec![house.engine.state_hash()];
    for actor in [Actor::Node, Actor::Ops] {
        apply(&mut house.engine, &by(actor, Act::Admin(Admin::SetIntake(Intake::Cancels))));
        let mut loaded = reloaded(&house.engine);
        hashes.push(loaded.state_hash());
        assert_eq!(hashes.last(), Some(&house.engine.state_hash()));
        assert_eq!(difference(&mut house.engine, &mut loaded), None);
    }
    hashes.dedup();
    assert_eq!(hashes.len(), 3, "who has stopped it is a part of the state");
}

/// Each part of each kind of row, in some row of the state: without this a field that is forgotten could be one that is
/// never set.
#[test]
fn the_state_has_every_field_set() {
    let House { engine, .. } = whole();
    assert_ne!(engine.rules(), Rules::One);
    set_in_some(engine.sessions().iter().map(|(_, session)| session_is_set(session)));
    set_in_some(engine.keys().iter().map(|(_, key)| key_is_set(key)));
    set_in_some(engine.accounts().iter().map(|(_, account)| account_is_set(account)));
    set_in_some(engine.accounts().assets().iter().map(asset_is_set));
    set_in_some(engine.markets().map(market_is_set));
    set_in_some(engine.pool().orders.iter().map(|(_, order)| order_is_set(order)));
    let free: Vec<u32> = engine.pool().orders.free_slots().collect();
    assert!(!free.is_sorted() && !free.iter().rev().is_sorted(), "their order is of its own: {free:?}");
}

fn set_in_some<const LEN: usize>(rows: impl Iterator<Item = [bool; LEN]>) {
    let all = rows.fold([false; LEN], |all, row| std::array::from_fn(|at| all[at] || row[at]));
    assert_eq!(all, [true; LEN], "each field is set in some row");
}

fn session_is_set(session: &Session) -> [bool; 17] {
    let Session { account, user, password_hash, drop_copy, blocked, .. } = session;
    let Session { cod_mode, cod_scope, cod_window_ms, cl_ord_id_last, open_count, bucket, .. } = session;
    let Session { lives, life: SessionLife { of, tag }, removed, .. } = session;
    let Bucket { throttle: Throttle { orders_per_second, burst }, empty_at } = bucket;
    [
        account.0 != 0,
        user.is_valid(),
        !password_hash.is_empty(),
        *drop_copy,
        blocked.is_set(),
        *cod_mode != CodMode::Off,
        *cod_scope != CodScope::Session,
        *cod_window_ms != 0,
        cl_ord_id_last.0 != 0,
        *open_count != 0,
        *orders_per_second != 0,
        *burst != 0,
        empty_at.0 != 0,
        *lives != 0,
        *of != 0,
        tag.0 != 0,
        *removed,
    ]
}

fn key_is_set(key: &Key) -> [bool; 8] {
    let Key { spec, revoked, revoked_at } = key;
    let KeySpec { account, key, permissions, ed25519_public, addresses, expires } = spec;
    [
        account.0 != 0,
        !key.is_empty(),
        *permissions != 0,
        !ed25519_public.is_empty(),
        !addresses.is_empty(),
        expires.0 != 0,
        *revoked,
        revoked_at.0 != 0,
    ]
}

fn account_is_set(account: &Account) -> [bool; 8] {
    let Account { kind, status, fee_tier, blocked, parent, open_count, open_max, .. } = account;
    [
        *kind != AccountKind::Client,
        *status != AccountStatus::Active,
        *fee_tier != 0,
        *blocked,
        !parent.is_none(),
        *open_count != 0,
        *open_max != OPEN_ORDERS_DEFAULT,
        account.balances().any(|balance| balance.available.0 != 0 && balance.held.0 != 0),
    ]
}

fn asset_is_set(book: &AssetBook) -> [bool; 4] {
    let AssetBook { asset, custody, fees } = book;
    [asset.symbol.is_valid(), asset.scale != 0, custody.0 != 0, fees.0 != 0]
}

fn market_is_set(market: &book::engine::Market) -> [bool; 10] {
    let Tape { last_price, trade_count, open_count } = market.tape;
    let MarketLimits { qty_min, qty_max, notional_min, price_band } = market.rules.limits;
    [
        last_price.is_some(),
        trade_count != 0,
        open_count != 0,
        qty_min.0 > 1,
        qty_max.0 != 1_000_000,
        notional_min.0 != 0,
        price_band.0 != 0,
        market.rules.fees.maker().0 != 0,
        market.rules.fees.taker().0 != 0,
        market.rules.status != MarketStatus::Trading,
    ]
}

fn order_is_set(order: &Order) -> [bool; 14] {
    let Order { id, leaves, cum, cl_ord_id, prev, next, level, account, session, market, price, .. } = order;
    let Order { stp_group, traits, cancel_group, .. } = order;
    [
        id.slot() != 0,
        leaves.0 != 0,
        cum.0 != 0,
        cl_ord_id.0 != 0,
        *prev != book::slab::NIL,
        *next != book::slab::NIL,
        *level != book::slab::NIL,
        account.0 > 1,
        session.0 > 1,
        market.0 != 0,
        price.0 != 0,
        *stp_group != 0,
        traits.post_only() && traits.persist_on_disconnect() && traits.stp() != StpMode::None,
        *cancel_group != 0,
    ]
}

#[test]
fn a_fee_tier_survives_a_snapshot() {
    // The tiers are read by fills alone, so two accounts of two tiers trade.
    let mut house = whole();
    house.admin(Admin::SetMarketStatus { market: MarketId(1), status: MarketStatus::Trading });
    house.admin(Admin::SetAccountFeeTier { account: TAKER, tier: 2 });
    let mut loaded = reloaded(&house.engine);
    let events = house.place(TAKER, Side::Buy, 100, 3, Tif::Ioc, StpMode::None);
    let fee = events.iter().find_map(|event| if let Event::Fill(fill) = event { Some(fill.taker.fee.0) } else { None });
    assert_eq!(fee, Some(1), "three lots at two times two percent, rounded up");
    let command = house.log.last().expect("it was just placed").clone();
    let mut again = apply(&mut loaded, &command);
    again.retain(|event| !matches!(event, Event::Transfer(_)));
    assert_eq!(again, events);
}

/// The hash of the state shows each of these too, so that a node refuses such a snapshot.
#[cfg(feature = "mutation")]
#[test]
fn a_field_that_a_snapshot_forgets_is_noticed() {
    use book::mutation::{Mutation, plant};
    let forgotten = [
        Mutation::RevocationForgottenInSnapshot,
        Mutation::PermissionsForgottenInSnapshot,
        Mutation::ThrottleForgottenInSnapshot,
        Mutation::OpenLimitForgottenInSnapshot,
        Mutation::KindForgottenInSnapshot,
        Mutation::IdsForgottenInSnapshot,
        Mutation::RemovalForgottenInSnapshot,
        Mutation::LifeForgottenInSnapshot,
    ];
    for fault in forgotten {
        let mut house = whole();
        plant(Some(fault));
        let pieces = save(&house.engine);
        plant(None);
        // A session whose open order is after its last one, and a key that is not revoked and was at some time, are
        // refused before any hash is compared.
        let Ok(mut loaded) = load(&pieces) else {
            assert!([Mutation::IdsForgottenInSnapshot, Mutation::RevocationForgottenInSnapshot].contains(&fault));
            continue;
        };
        assert_ne!(loaded.state_hash(), house.engine.state_hash(), "{fault:?}");
        assert!(difference(&mut house.engine, &mut loaded).is_some(), "{fault:?}");
        let (mut live, mut loaded) = (whole().engine, load(&pieces).expect("what was saved loads"));
        let differs = questions().into_iter().any(|command| apply(&mut live, &command) != apply(&mut loaded, &command));
        // No outcome depends on the kind of an account.
        assert_eq!(differs, fault != Mutation::KindForgottenInSnapshot, "{fault:?}");
    }
}
