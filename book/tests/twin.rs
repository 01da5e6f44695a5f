//! The engine and its naive twin over seeded flow: the same events, the same balances, after every command.

#[path = "support/ledger.rs"]
mod ledger;

use book::command::Command;
use book::engine::{Capacity, Engine};
use book::event::Event;
use book::ids::{AccountId, AssetId};
use book::reject::RejectReason;
use book::testing::naive::Naive;
use book::testing::twin::Twin;
use book::testing::workload::{Profile, Workload};
use book::units::{Seq, Stamp};
use ledger::Ledger;
use std::collections::HashSet;

/// Both engines side by side.
struct Pair {
    engine: Engine,
    twin: Twin,
    ledger: Ledger,
    seq: Seq,
    fill_count: usize,
    reasons: HashSet<RejectReason>,
}

/// What a flow touched.
#[derive(Default)]
struct Touched {
    fill_count: usize,
    reasons: HashSet<RejectReason>,
}

impl Pair {
    fn new() -> Self {
        // Small on purpose: growth of every table is part of the test.
        let engine = Engine::new(Capacity { orders: 1, leaves: 1, markets: 1, names: 1 });
        let (twin, ledger) = (Twin::default(), Ledger::default());
        Self { engine, twin, ledger, seq: Seq(0), fill_count: 0, reasons: HashSet::new() }
    }

    fn apply(&mut self, workload: &mut Workload, command: &Command) {
        self.seq = self.seq.next();
        let stamp = Stamp { seq: self.seq, ts: workload.now() };
        let mut events = Vec::new();
        self.engine.apply(stamp, command, &mut events);
        events.iter().for_each(|event| workload.observe(event));
        self.ledger.follow(&events, &self.engine);
        self.reasons.extend(events.iter().filter_map(reason_of));
        self.fill_count += events.iter().filter(|e| matches!(e, Event::Fill(_))).count();
        self.twin.follow(stamp, command, &events).expect("both say the same");
        self.twin.compare_balances(&self.engine).expect("both own the same");
    }
}

/// Says the seed when a comparison fails; the panic itself says the rest.
struct Announce(Profile, u64, usize);

impl Drop for Announce {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failing flow: profile {:?}, seed {}, command {}", self.0, self.1, self.2);
        }
    }
}

fn reason_of(event: &Event) -> Option<RejectReason> {
    match event {
        Event::Rejected(rejected) => Some(rejected.reason),
        Event::CancelRejected(rejected) => Some(rejected.reason),
        _ => None,
    }
}

fn run(profile: Profile, seed: u64, commands: usize) -> Touched {
    let mut announce = Announce(profile, seed, 0);
    let mut pair = Pair::new();
    let mut workload = Workload::new(profile, seed).with_live_target(60);
    for command in workload.setup() {
        pair.apply(&mut workload, &command);
    }
    for count in 0..commands {
        announce.2 = count;
        let command = workload.next_command();
        pair.apply(&mut workload, &command);
    }
    Touched { fill_count: pair.fill_count, reasons: pair.reasons }
}

/// More where the code runs faster.
const SCALE: u64 = if cfg!(debug_assertions) { 1 } else { 4 };

fn run_seeds(profile: Profile, seeds: u64, commands: usize) -> HashSet<RejectReason> {
    // Two halves on two threads: the seeds share nothing.
    let half = |parity: u64| {
        let seeds = (0..seeds * SCALE).filter(move |seed| seed % 2 == parity);
        move || {
            seeds.map(|seed| run(profile, seed, commands)).fold(Touched::default(), |mut sum, touched| {
                sum.fill_count += touched.fill_count;
                sum.reasons.extend(touched.reasons);
                sum
            })
        }
    };
    let (even, odd) = std::thread::scope(|scope| {
        let (even, odd) = (scope.spawn(half(0)), scope.spawn(half(1)));
        (even.join().expect("every seed passes"), odd.join().expect("every seed passes"))
    });
    let fill_count = even.fill_count + odd.fill_count;
    assert!(fill_count > commands / 4, "a flow without fills proves nothing: {fill_count}");
    even.reasons.union(&odd.reasons).copied().collect()
}

#[test]
fn mixed_flow_is_the_same_in_both() {
    let reasons = run_seeds(Profile::Mixed, 150, 1_500);
    // Missing are throttles and limits, which are of the governed flow, tables too large to fill, and what no path
    // reports.
    let missing = missing_of(&reasons);
    let expected = [
        RejectReason::Throttled,
        RejectReason::IntakeStopped,
        RejectReason::DuplicateClientId,
        RejectReason::ClientIdMemoryFull,
        RejectReason::MaxOpenOrders,
        RejectReason::OrdersFull,
        RejectReason::BalanceOverflow,
    ];
    assert_eq!(missing, expected, "the flow reaches every other reason");
}

/// Every right and every limit: keys, throttles, open-order limits, drop copies and several sessions of one account.
#[test]
fn governed_flow_is_the_same_in_both() {
    let reasons = run_seeds(Profile::Governed, 100, 1_500);
    let expected = [
        RejectReason::DuplicateClientId,
        RejectReason::ClientIdMemoryFull,
        RejectReason::OrdersFull,
        RejectReason::BalanceOverflow,
    ];
    assert_eq!(missing_of(&reasons), expected, "the flow reaches every other reason");
}

fn missing_of(reasons: &HashSet<RejectReason>) -> Vec<RejectReason> {
    ALL_REASONS.into_iter().filter(|reason| !reasons.contains(reason)).collect()
}

#[test]
fn maker_flow_is_the_same_in_both() {
    run_seeds(Profile::Maker, 20, 1_500);
}

#[test]
fn crossing_flow_is_the_same_in_both() {
    run_seeds(Profile::Crosses, 40, 1_500);
}

const ALL_REASONS: [RejectReason; 25] = [
    RejectReason::Malformed,
    RejectReason::Unsupported,
    RejectReason::NotAuthorised,
    RejectReason::StaleRequest,
    RejectReason::Throttled,
    RejectReason::AccountNotTrading,
    RejectReason::KillSwitch,
    RejectReason::IntakeStopped,
    RejectReason::UnknownInstrument,
    RejectReason::NotTrading,
    RejectReason::PostOnlyPhase,
    RejectReason::PriceTick,
    RejectReason::QtyStep,
    RejectReason::QtyRange,
    RejectReason::Notional,
    RejectReason::PriceBand,
    RejectReason::UnknownOrder,
    RejectReason::TooLate,
    RejectReason::DuplicateClientId,
    RejectReason::ClientIdMemoryFull,
    RejectReason::MaxOpenOrders,
    RejectReason::OrdersFull,
    RejectReason::PostOnlyWouldCross,
    RejectReason::InsufficientFunds,
    RejectReason::BalanceOverflow,
];

#[test]
fn an_account_owns_nothing_that_was_never_deposited() {
    let naive = Naive::default();
    assert_eq!(naive.balance(AccountId(1), AssetId(1)), (0, 0));
}
