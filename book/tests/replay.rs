//! The same log gives the same state: twice, through bytes, in either build, whatever listens.

use book::codec::{PayloadVersion, RECORD_BYTES_MAX, decode, encode};
use book::command::*;
use book::engine::{Capacity, Engine};
use book::event::{Event, NoSink};
use book::hash_key::HashKey;
use book::ids::{AccountId, AssetId, ClOrdId, ClientKey, MarketId, OrderId, SessionId, Symbol};
use book::state_hash::StateHash;
use book::testing::workload::{Profile, Workload};
use book::units::{Ppm, Seq, Stamp, TsNs, Units};

const COMMANDS: usize = 20_000;

/// A day of commands as a live engine took them, with its hash at the end.
fn live(profile: Profile, seed: u64) -> (Vec<(TsNs, Command)>, StateHash) {
    let mut workload = Workload::new(profile, seed);
    let mut engine = Engine::new(Capacity::default());
    let mut log: Vec<(TsNs, Command)> = workload.setup().into_iter().map(|command| (workload.now(), command)).collect();
    for (idx, (ts, command)) in log.iter().enumerate() {
        engine.apply(Stamp { seq: Seq(idx as u64 + 1), ts: *ts }, command, &mut workload);
    }
    for _ in 0..COMMANDS {
        let command = workload.next_command();
        let stamp = Stamp { seq: engine.stamp().seq.next(), ts: workload.now() };
        engine.apply(stamp, &command, &mut workload);
        log.push((stamp.ts, command));
    }
    engine.verify().expect("the state is consistent");
    (log, engine.state_hash())
}

fn stamps(log: &[(TsNs, Command)]) -> impl Iterator<Item = (Stamp, &Command)> {
    log.iter().enumerate().map(|(idx, (ts, command))| (Stamp { seq: Seq(idx as u64 + 1), ts: *ts }, command))
}

fn seed_of(profile: Profile) -> u64 {
    0xD1B5_4A32_D192_ED03 ^ profile as u64
}

const ALL_PROFILES: [Profile; 4] = [Profile::Mixed, Profile::Governed, Profile::Maker, Profile::Crosses];
/// Those whose hashes are written down.
const PROFILES: [Profile; 3] = [Profile::Mixed, Profile::Maker, Profile::Crosses];

#[test]
fn a_log_replays_to_the_live_hash() {
    for profile in ALL_PROFILES {
        let (log, hash) = live(profile, 3);
        // Other capacities, other keys of the hash tables and another sink: none of them is part of the state.
        let small = Capacity { orders: 1, leaves: 1, markets: 1, names: 1 };
        let mut with_ledger = Engine::keyed(small, HashKey::new(seed_of(profile), 9));
        let mut without =
            Engine::keyed(Capacity { orders: 1 << 12, leaves: 1 << 8, markets: 2, names: 1 }, HashKey::new(0, 0));
        let mut events: Vec<Event> = Vec::new();
        for (stamp, command) in stamps(&log) {
            events.clear();
            with_ledger.apply(stamp, command, &mut events);
            without.apply(stamp, command, &mut NoSink);
        }
        assert_eq!(with_ledger.state_hash(), hash, "{profile:?} with the ledger described");
        assert_eq!(without.state_hash(), hash, "{profile:?} without a listener");
    }
}

#[test]
fn a_log_replays_through_its_bytes() {
    for profile in ALL_PROFILES {
        let (log, hash) = live(profile, 4);
        let mut engine = Engine::new(Capacity::default());
        let mut buffer = vec![0; RECORD_BYTES_MAX];
        for (stamp, command) in stamps(&log) {
            let len =
                encode(PayloadVersion::default(), stamp.ts, command, &mut buffer).expect("a command fits a record");
            let record = decode(&buffer[..len]).expect("a record reads back");
            engine.apply(Stamp { ts: record.ts, ..stamp }, &record.command, &mut NoSink);
        }
        assert_eq!(engine.state_hash(), hash, "{profile:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_commands() {
    let (first, _) = live(Profile::Mixed, 5);
    let (second, _) = live(Profile::Mixed, 5);
    let (other, _) = live(Profile::Mixed, 6);
    assert_eq!(first, second);
    assert_ne!(first, other);
}

/// Against the same log that ends with a question, which changes nothing but the stamp.
#[test]
fn each_change_of_state_moves_the_hash() {
    let (log, _) = live(Profile::Mixed, 7);
    let log = &log[..400];
    let ended_by = |command: &Command| {
        let mut engine = Engine::new(Capacity::default());
        for (stamp, command) in stamps(log) {
            engine.apply(stamp, command, &mut NoSink);
        }
        let stamp = Stamp { seq: engine.stamp().seq.next(), ts: engine.stamp().ts };
        let mut events = Vec::new();
        engine.apply(stamp, command, &mut events);
        assert!(!matches!(events[..], [Event::AdminRejected { .. }]), "{command:?}: {events:?}");
        engine.state_hash()
    };
    let none = OrderRef { order_id: OrderId::NONE, cl_ord_id: ClOrdId(0), client_key: ClientKey::NONE };
    let (account, session, market) = (AccountId(1), SessionId(1), MarketId(1));
    let query = Query { session, request: ClOrdId(1), account, market, target: none };
    let still = ended_by(&Command::Query(query));
    assert_eq!(still, ended_by(&Command::Query(Query { session: SessionId(2), ..query })));
    let set = |cod_mode, cod_scope, cod_window_ms| {
        Command::SetSession(SetSession { session, request: ClOrdId(1), cod_mode, cod_scope, cod_window_ms })
    };
    let admin = |admin: Admin| Command::Admin(Box::new(admin));
    let fees = FeeTier { maker_scale: Ppm(5), taker_scale: Ppm(6) };
    let throttle = Throttle { orders_per_second: 5, burst: 1 };
    let key = KeySpec {
        account,
        key: "K".to_owned(),
        permissions: 1,
        ed25519_public: Vec::new(),
        addresses: Vec::new(),
        expires: TsNs(0),
    };
    let funds = FundsMove { account, asset: AssetId(1), amount: Units(1), reference: ClientKey(77) };
    let changes = [
        set(CodMode::OnLogout, CodScope::Session, 0),
        set(CodMode::Both, CodScope::Account, 0),
        set(CodMode::Both, CodScope::Session, 77),
        admin(Admin::AddAsset { symbol: Symbol::new("EUR").expect("three letters"), scale: 1 }),
        admin(Admin::SetMarketStatus { market, status: MarketStatus::CancelOnly }),
        admin(Admin::SetMarketFees { market, maker_fee: Ppm(3), taker_fee: Ppm(4) }),
        admin(Admin::SetFeeTier { tier: 9, fees }),
        admin(Admin::SetAccountStatus { account, status: AccountStatus::Suspended }),
        admin(Admin::SetAccountFeeTier { account, tier: 9 }),
        admin(Admin::SetAccountLimits { account, open_orders_max: 7 }),
        admin(Admin::SetAccountBlock { account, blocked: true }),
        admin(Admin::SetSessionBlock { session, blocked: true }),
        admin(Admin::SetSessionThrottle { session, throttle }),
        admin(Admin::AddKey(key)),
        admin(Admin::Deposit(funds)),
        admin(Admin::Withdraw(funds)),
    ];
    let mut hashes: Vec<StateHash> = changes.iter().map(ended_by).collect();
    hashes.push(still);
    for (idx, hash) in hashes.iter().enumerate() {
        assert!(!hashes[..idx].contains(hash), "change {idx} left the hash as another did");
    }
}

/// The constants hold in debug and release builds and on any machine. They change only when the rules, the walk of the
/// state or the workload change, and then every recorded hash in old logs changes with them: say so in the commit.
#[test]
fn the_hashes_are_the_ones_written_down() {
    let got: Vec<String> = PROFILES.iter().map(|&profile| live(profile, 1).1.to_string()).collect();
    let written = [
        "c23179f2780a6156b85f708b743349aa43052737f169091e0b1a405feed5fc39",
        "e5ce162762fe80e120b80e0d1be266fbdf2d4136654780782f65fa34080328f7",
        "ca948607f60e2bd1120a4e5aef72d5f5e997f61d1504115acfde1d7be12230ac",
    ];
    assert_eq!(got, written);
}
