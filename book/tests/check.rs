//! Checks in the log: nothing while two engines agree, and a divergence that stays once they do not.

use book::command::{Admin, Check, Command, FundsMove};
use book::engine::{Capacity, Engine};
use book::event::{Event, NoSink};
use book::ids::{AccountId, AssetId, ClientKey};
use book::snapshot::{Loader, Section};
use book::testing::workload::{Profile, Workload};
use book::units::{Seq, Stamp, Units};

const COMMANDS: usize = 20_000;
const CHECK_EVERY: u64 = 50;

/// A log as a live engine makes it, checks and all.
fn checked_log(profile: Profile, seed: u64) -> Vec<(Stamp, Command)> {
    let mut workload = Workload::new(profile, seed);
    let mut engine = Engine::new(Capacity::default());
    let mut log = Vec::new();
    let mut waiting: std::collections::VecDeque<Command> = workload.setup().into();
    while log.len() < COMMANDS {
        let seq = engine.stamp().seq.next();
        let command = if seq.0.is_multiple_of(CHECK_EVERY) {
            Command::Check(Check { hash: engine.check_hash() })
        } else {
            waiting.pop_front().unwrap_or_else(|| workload.next_command())
        };
        let stamp = Stamp { seq, ts: workload.now() };
        engine.apply(stamp, &command, &mut workload);
        log.push((stamp, command));
    }
    log
}

/// The check at which the engine and the log differ, if one does.
fn replay(engine: &mut Engine, log: &[(Stamp, Command)]) -> Option<Seq> {
    for (stamp, command) in log {
        engine.apply(*stamp, command, &mut NoSink);
    }
    engine.divergence().map(|divergence| divergence.seq)
}

#[test]
fn a_replay_agrees_with_every_check() {
    for profile in [Profile::Mixed, Profile::Governed, Profile::Maker, Profile::Crosses] {
        let log = checked_log(profile, 11);
        let divergence = replay(&mut Engine::new(Capacity { orders: 1, leaves: 1, markets: 1, names: 1 }), &log);
        assert_eq!(divergence, None, "{profile:?}");
    }
}

#[test]
fn a_state_that_was_loaded_agrees_too() {
    let log = checked_log(Profile::Mixed, 12);
    for cut in [0, 49, 50, 51, 7_777, COMMANDS - 1] {
        let mut engine = Engine::new(Capacity::default());
        replay(&mut engine, &log[..cut]);
        let mut loaded = reloaded(&engine);
        assert_eq!(replay(&mut loaded, &log[cut..]), None, "loaded at {cut}");
    }
}

type Pieces = Vec<(Section, Vec<u8>)>;

fn reloaded(engine: &Engine) -> Engine {
    loaded(&saved(engine))
}

fn saved(engine: &Engine) -> Pieces {
    let mut pieces = Pieces::new();
    engine
        .save(&mut |section, piece: &[u8]| {
            pieces.push((section, piece.to_vec()));
            Ok::<(), std::convert::Infallible>(())
        })
        .expect("memory takes all");
    pieces
}

fn loaded(pieces: &Pieces) -> Engine {
    let mut loader = Loader::new(Engine::new(Capacity::default()));
    pieces.iter().for_each(|(section, piece)| loader.take(*section, piece).expect("what was saved loads"));
    loader.finish().expect("the sections agree")
}

/// One skipped command shows at the next check.
#[test]
fn a_difference_shows_at_the_next_check() {
    let log = checked_log(Profile::Mixed, 13);
    let at = log.iter().position(|(stamp, c)| stamp.seq.0 > 9_000 && matches!(c, Command::Place(_))).expect("a place");
    let mut engine = Engine::new(Capacity::default());
    assert_eq!(replay(&mut engine, &log[..at]), None);
    engine.skip(log[at].0);
    let divergence = replay(&mut engine, &log[at + 1..]);
    let next = log[at].0.seq.0.next_multiple_of(CHECK_EVERY);
    assert_eq!(divergence, Some(Seq(next)));
    assert_eq!(
        engine.seq_checked(),
        Seq(next - CHECK_EVERY),
        "nothing after the last check that agreed is known to be right"
    );
    assert_eq!(
        loaded(&saved(&engine)).seq_checked(),
        engine.stamp().seq,
        "a snapshot is taken only of a state that is known to be right"
    );
}

/// Money that moved between two accounts without any event is found when the sample reaches them.
#[test]
fn a_balance_gone_bad_is_found_by_the_walk() {
    let log = checked_log(Profile::Maker, 14);
    let mut sound = Engine::new(Capacity::default());
    replay(&mut sound, &log);
    let mut moved = reloaded(&sound);
    move_a_unit(&mut moved);
    let mut pieces = saved(&sound);
    pieces.retain(|(section, _)| *section != Section::Accounts);
    let at = pieces.iter().position(|(section, _)| Section::Accounts < *section).expect("sections after it");
    let accounts = saved(&moved).into_iter().filter(|(section, _)| *section == Section::Accounts);
    pieces.splice(at..at, accounts);
    let mut bad = loaded(&pieces);
    assert_ne!(sound.state_hash(), bad.state_hash());

    let checks = sound.pool().orders.slots_len().max(sound.accounts().len()).div_ceil(64) + 1;
    for _ in 0..checks {
        let stamp = Stamp { seq: sound.stamp().seq.next(), ts: sound.stamp().ts };
        let check = Command::Check(Check { hash: sound.check_hash() });
        sound.apply(stamp, &check, &mut NoSink);
        bad.apply(stamp, &check, &mut NoSink);
    }
    assert!(sound.divergence().is_none() && bad.divergence().is_some(), "{checks} checks see every account");
}

/// A withdrawal here, a deposit there: custody stays what it was.
fn move_a_unit(engine: &mut Engine) {
    let (asset, amount) = (AssetId(1), Units(1));
    let rich =
        engine.accounts().iter().find(|(_, account)| account.available(asset).0 > 0).expect("an account has some").0;
    let other = AccountId(if rich.0 == 1 { 2 } else { 1 });
    let moves = |account, key| FundsMove { account, asset, amount, reference: ClientKey(key) };
    for admin in [Admin::Withdraw(moves(rich, 1 << 100)), Admin::Deposit(moves(other, (1 << 100) + 1))] {
        let stamp = Stamp { seq: engine.stamp().seq.next(), ts: engine.stamp().ts };
        let mut events: Vec<Event> = Vec::new();
        engine.apply(stamp, &Command::Admin(Box::new(admin)), &mut events);
        assert!(events.iter().any(|e| matches!(e, Event::FundsMoved { repeated: false, .. })), "{events:?}");
    }
}
