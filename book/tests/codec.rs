//! The bytes of the log: pinned for every command, refused when they are not one.

use book::codec::{CodecError, PayloadVersion, RECORD_BYTES_MAX, decode, encode};
use book::command::*;
use book::fees::{FeeAsset, MarketFees};
use book::ids::{AccountId, AssetId, ClOrdId, ClientKey, KeyId, MarketId, OrderId, SessionId, Symbol, UserName};
use book::intake::Intake;
use book::reject::RejectReason;
use book::rules::RulesVersion;
use book::run::LifeTag;
use book::testing::workload::{Profile, Workload};
use book::units::{Ppm, PriceTicks, QtyLots, Seq, TsNs, Units};
use proptest::prelude::*;

const TS: TsNs = TsNs(1_700_000_000_000_000_000);

fn target() -> OrderRef {
    OrderRef { order_id: OrderId(0x0123_4567_89AB_CDEF), cl_ord_id: ClOrdId(300), client_key: ClientKey(1 << 100) }
}

fn place(kind: OrderKind, side: Side, tif: Tif, stp: StpMode) -> PlaceOrder {
    PlaceOrder {
        session: SessionId(2),
        cl_ord_id: ClOrdId(70_000),
        client_key: ClientKey(0xAB),
        account: AccountId(3),
        market: MarketId(4),
        side,
        kind,
        tif,
        stp,
        stp_group: 500,
        cancel_group: 6,
        persist_on_disconnect: true,
        valid_until: TS,
    }
}

fn limits() -> MarketLimits {
    MarketLimits { qty_min: QtyLots(1), qty_max: QtyLots(1 << 40), notional_min: Units(5), price_band: Ppm(50_000) }
}

fn spec() -> MarketSpec {
    MarketSpec {
        symbol: Symbol::new("BTC-USD").expect("a symbol"),
        base: AssetId(2),
        quote: AssetId(1),
        tick_e9: 10_000_000,
        lot_e8: 1_000,
        limits: limits(),
        fees: MarketFees::received(Ppm(-50), Ppm(200)),
        status: MarketStatus::Trading,
    }
}

fn funds() -> FundsMove {
    FundsMove { account: AccountId(3), asset: AssetId(1), amount: Units(1_000_000), reference: ClientKey(0xC0FFEE) }
}

fn key() -> KeySpec {
    KeySpec {
        account: AccountId(3),
        key: "KEY1".to_owned(),
        permissions: 3,
        ed25519_public: vec![7; 2],
        addresses: vec!["10.0.0.0/8".to_owned()],
        expires: TsNs(9),
    }
}

type Named = (&'static str, Command);

/// One command of every kind, with its name in the list of bytes.
fn commands() -> Vec<Named> {
    let mut commands = order_commands();
    commands.extend(session_commands());
    commands.extend(market_commands());
    commands.extend(account_commands());
    commands.push(("check", Command::Check(Check { hash: 0x0123_4567_89ab_cdef })));
    commands.extend(acts());
    commands
}

const ID: ClOrdId = ClOrdId(71);
const SESSION: SessionId = SessionId(2);
const ACCOUNT: AccountId = AccountId(3);
const MARKET: MarketId = MarketId(4);

fn order_commands() -> Vec<Named> {
    let limit = OrderKind::Limit { price: PriceTicks(65_000), qty: QtyLots(10) };
    let market = OrderKind::Market { qty: QtyLots(11) };
    let by_quote = OrderKind::MarketByQuote { quote: Units(12) };
    let cancel = CancelOrder { session: SESSION, cl_ord_id: ID, account: ACCOUNT, market: MARKET, target: target() };
    let amend = AmendOrder {
        session: SESSION,
        cl_ord_id: ID,
        account: ACCOUNT,
        market: MARKET,
        target: target(),
        price: PriceTicks(9),
        qty: QtyLots(8),
        qty_means: AmendQty::Total,
    };
    let replace = CancelReplace {
        target: target(),
        mode: ReplaceMode::AllowFailure,
        place: place(limit, Side::Sell, Tif::GtcPostOnly, StpMode::CancelTaker),
    };
    let mass = MassCancel {
        session: SESSION,
        cl_ord_id: ID,
        account: ACCOUNT,
        scope: MassScope::Account,
        market: MARKET,
        side: Some(Side::Sell),
        price_min: Some(PriceTicks(1)),
        price_max: None,
        cancel_group: 6,
        block: BlockChange::Set,
        continued: true,
    };
    vec![
        ("place limit", Command::Place(place(limit, Side::Buy, Tif::Gtc, StpMode::None))),
        ("place market", Command::Place(place(market, Side::Sell, Tif::Ioc, StpMode::CancelMaker))),
        ("place by quote", Command::Place(place(by_quote, Side::Buy, Tif::Fok, StpMode::CancelBoth))),
        ("cancel", Command::Cancel(cancel)),
        ("amend", Command::Amend(amend)),
        ("cancel replace", Command::CancelReplace(replace)),
        ("mass cancel", Command::MassCancel(mass)),
    ]
}

fn session_commands() -> Vec<Named> {
    let refuse = Refuse {
        session: SESSION,
        cl_ord_id: ID,
        target: target(),
        market: MARKET,
        reason: RejectReason::QtyStep,
        template: 101,
        consumes_id: true,
    };
    let query = Query { session: SESSION, request: ID, account: ACCOUNT, market: MARKET, target: target() };
    let set_session = SetSession {
        session: SESSION,
        request: ID,
        cod_mode: CodMode::OnLogout,
        cod_scope: CodScope::Account,
        cod_window_ms: 5_000,
    };
    let down = SessionDown { session: SESSION, cause: DownCause::Logout, continued: false };
    vec![
        ("refuse", Command::Refuse(refuse)),
        ("query", Command::Query(query)),
        ("set session", Command::SetSession(set_session)),
        ("session down", Command::SessionDown(down)),
    ]
}

fn admin(admin: Admin) -> Command {
    Command::Admin(Box::new(admin))
}

fn market_commands() -> Vec<Named> {
    let symbol = Symbol::new("USD").expect("a symbol");
    let fees = FeeTier { maker_scale: Ppm(0), taker_scale: Ppm(500_000) };
    vec![
        ("add asset", admin(Admin::AddAsset { symbol, scale: 2 })),
        ("add market", admin(Admin::AddMarket(spec()))),
        ("market status", admin(Admin::SetMarketStatus { market: MARKET, status: MarketStatus::PostOnly })),
        ("market fees", admin(Admin::SetMarketFees { market: MARKET, maker_fee: Ppm(-1), taker_fee: Ppm(1) })),
        ("market limits", admin(Admin::SetMarketLimits { market: MARKET, limits: limits() })),
        ("fee tier", admin(Admin::SetFeeTier { tier: 3, fees })),
    ]
}

fn account_commands() -> Vec<Named> {
    let (account, session) = (ACCOUNT, SESSION);
    let throttle = Throttle { orders_per_second: 100, burst: 10 };
    let account_spec =
        AccountSpec { name: "alice".to_owned(), kind: AccountKind::Agent, parent: AccountId(1), fee_tier: 2 };
    let session_spec = SessionSpec {
        account,
        user: UserName::new("MM1").expect("a name"),
        password_hash: "$argon2id$".to_owned(),
        drop_copy: true,
        throttle,
        cod_mode: CodMode::Both,
        cod_scope: CodScope::Session,
        cod_window_ms: 10,
    };
    vec![
        ("add account", admin(Admin::AddAccount(account_spec))),
        ("account status", admin(Admin::SetAccountStatus { account, status: AccountStatus::Suspended })),
        ("account tier", admin(Admin::SetAccountFeeTier { account, tier: 3 })),
        ("account limits", admin(Admin::SetAccountLimits { account, open_orders_max: 1_000 })),
        ("account block", admin(Admin::SetAccountBlock { account, blocked: true })),
        ("add session", admin(Admin::AddSession(session_spec))),
        ("session block", admin(Admin::SetSessionBlock { session, blocked: false })),
        ("session throttle", admin(Admin::SetSessionThrottle { session, throttle })),
        ("add key", admin(Admin::AddKey(key()))),
        ("revoke key", admin(Admin::RevokeKey { key: "KEY1".to_owned() })),
        ("deposit", admin(Admin::Deposit(funds()))),
        ("withdraw", admin(Admin::Withdraw(funds()))),
    ]
}

fn acts() -> Vec<Named> {
    let text = |text: &str| text.to_owned();
    let acted = |actor, act| {
        let (method, address) = (text("POST /admin/rules/raise"), text("10.0.0.1:5000"));
        Command::Acted(Box::new(Acted { actor, method, address, request_id: text("r-1"), act }))
    };
    let raise = Act::Admin(Admin::SetRules { version: RulesVersion(2) });
    let Some((_, Command::MassCancel(mass))) = order_commands().pop() else {
        panic!("the last command about orders is a mass cancel")
    };
    let query = Query { session: SESSION, request: ID, account: ACCOUNT, market: MARKET, target: target() };
    let down = SessionDown { session: SESSION, cause: DownCause::Logout, continued: true };
    let rest = |of| Command::Continue(Rest { of, at: OrderId(300), count: 5 });
    let in_quote = MarketSpec { fees: MarketFees::new(Ppm(-50), Ppm(200), FeeAsset::Quote), ..spec() };
    let password = Admin::SetSessionPassword { session: SESSION, password_hash: text("$argon2id$") };
    let opened = Opened { build: text("pinion 0.1.0 0123abc"), format: 2, wall: TS };
    vec![
        ("acted ops", acted(Actor::Ops, raise.clone())),
        ("acted node", acted(Actor::Node, raise)),
        ("acted key", acted(Actor::Key(KeyId(300)), Act::MassCancel(mass))),
        ("opened", Command::Opened(Box::new(opened))),
        ("continue mass cancel", rest(Unfinished::MassCancel(mass))),
        ("continue session down", rest(Unfinished::SessionDown(down))),
        ("continue count", rest(Unfinished::Count(query))),
        ("continue tell", rest(Unfinished::Tell(query))),
        ("withdraw fees", acted(Actor::Ops, Act::Admin(Admin::WithdrawFees(funds())))),
        ("client names", acted(Actor::Ops, Act::Admin(Admin::SetClientNamesMax { max: 70_000 }))),
        ("market in quote", acted(Actor::Ops, Act::Admin(Admin::AddMarket(in_quote)))),
        ("set intake", acted(Actor::Node, Act::Admin(Admin::SetIntake(Intake::Cancels)))),
        (
            "connection end",
            Command::ConnectionEnd(ConnectionEnd { session: SESSION, cause: DownCause::Displaced, number: 300 }),
        ),
        (
            "continue life end",
            rest(Unfinished::EndLife(LifeEnd { session: SESSION, then: AfterLife::Begins(LifeTag(300)) })),
        ),
        ("continue removal", rest(Unfinished::EndLife(LifeEnd { session: SESSION, then: AfterLife::Removed }))),
        (
            "session life",
            acted(Actor::Ops, Act::Admin(Admin::BeginSessionLife { session: SESSION, tag: LifeTag(300) })),
        ),
        ("session password", acted(Actor::Ops, Act::Admin(password))),
        ("remove session", acted(Actor::Ops, Act::Admin(Admin::RemoveSession { session: SESSION }))),
        ("disconnect session", acted(Actor::Ops, Act::Admin(Admin::DisconnectSession { session: SESSION }))),
        ("acknowledge torn end", acted(Actor::Ops, Act::Admin(Admin::AcknowledgeTornEnd { seq: Seq(4711) }))),
        ("remove market", acted(Actor::Ops, Act::Admin(Admin::RemoveMarket { market: MarketId(300) }))),
    ]
}

fn bytes_of(command: &Command) -> Vec<u8> {
    let mut buffer = vec![0; RECORD_BYTES_MAX];
    let len = encode(PayloadVersion::One, TS, command, &mut buffer).expect("a command fits a record");
    buffer.truncate(len);
    buffer
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("hex is ASCII"));
    digits.map(|pair| u8::from_str_radix(pair, 16).expect("two hex digits")).collect()
}

/// `name: hex` a line, of every command, as the first release wrote them. Lines are only ever added.
const GOLDEN: &str = include_str!("golden/commands.txt");

#[test]
fn every_command_has_the_bytes_it_always_had() {
    let written: String =
        commands().iter().map(|(name, command)| format!("{name}: {}\n", hex(&bytes_of(command)))).collect();
    assert_eq!(written, GOLDEN, "the log's format has changed: old logs would not replay");
}

#[test]
fn every_golden_command_reads_back() {
    for (line, (name, command)) in GOLDEN.lines().zip(commands()) {
        let (golden_name, bytes) = line.split_once(": ").expect("a name and its bytes");
        assert_eq!(golden_name, name);
        let record = decode(&from_hex(bytes)).expect("golden bytes decode");
        assert_eq!((record.ts, record.command), (TS, command), "{name}");
    }
    assert_eq!(GOLDEN.lines().count(), commands().len());
}

#[test]
fn bytes_cut_short_or_followed_by_more_are_errors() {
    for (name, command) in commands() {
        let mut bytes = bytes_of(&command);
        for len in 0..bytes.len() {
            let cut = decode(&bytes[..len]);
            assert!(matches!(cut, Err(CodecError::Undecodable(_))), "{name} cut at {len}: {cut:?}");
        }
        bytes.push(0);
        assert!(matches!(decode(&bytes), Err(CodecError::TrailingBytes(1))), "{name} with a byte more");
    }
}

#[test]
fn a_command_that_does_not_fit_is_refused() {
    for (name, command) in commands() {
        let len = bytes_of(&command).len();
        let mut small = vec![0; len - 1];
        assert!(
            matches!(encode(PayloadVersion::One, TS, &command, &mut small), Err(CodecError::TooLarge(_))),
            "{name}"
        );
    }
}

/// What was written must be readable, or a node could not replay its own log.
#[test]
fn whatever_fits_a_record_reads_back() {
    for address_bytes in (0..400).step_by(7) {
        let addresses = vec!["a".repeat(address_bytes); 64];
        let command = Command::Admin(Box::new(Admin::AddKey(KeySpec { addresses, ..key() })));
        let mut buffer = vec![0; 2 * RECORD_BYTES_MAX];
        let Ok(len) = encode(PayloadVersion::One, TS, &command, &mut buffer) else {
            assert!(64 * address_bytes > RECORD_BYTES_MAX - 1_000, "{address_bytes} bytes each are not too much");
            continue;
        };
        assert!(len <= RECORD_BYTES_MAX, "a record of {len} bytes");
        let record = decode(&buffer[..len]).unwrap_or_else(|e| panic!("{address_bytes} bytes each: {e}"));
        assert_eq!(record.command, command);
    }
}

#[test]
fn a_day_of_seeded_commands_reads_back() {
    let mut workload = Workload::new(Profile::Mixed, 11);
    for _ in 0..20_000 {
        let command = workload.next_command();
        let record = decode(&bytes_of(&command)).expect("a record reads back");
        assert_eq!(record.command, command);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _whatever = decode(&bytes);
    }

    /// Close to real records: one byte of a golden one changed. What still reads is written again alike.
    #[test]
    fn a_changed_byte_is_an_error_or_another_command(which in 0..commands().len(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = bytes_of(&commands()[which].1);
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(record) = decode(&bytes) {
            let again = decode(&bytes_of(&record.command)).expect("what was read can be written and read");
            prop_assert_eq!(again.command, record.command);
        }
    }
}
