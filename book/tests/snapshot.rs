//! A state that is saved and loaded is the same state: it has the same hash and does the same from there on. Bytes that
//! are no state are refused.

#[path = "support/pieces.rs"]
mod pieces;

use book::command::{Command, FeeTier, MarketLimits, MarketStatus};
use book::engine::{Capacity, Engine};
use book::event::{Event, NoSink};
use book::ids::{AssetId, ORDER_NUMBER_MAX, Symbol};
use book::running_hash::CheckState;
use book::snapshot::{PIECE_BYTES_MAX, Section, SnapshotError};
use book::testing::workload::{Profile, Workload};
use book::units::{Ppm, PriceTicks, Seq, Stamp, TsNs};
use pieces::{Pieces, change, load, save};
use std::panic::{AssertUnwindSafe, catch_unwind};

const ALL_PROFILES: [Profile; 4] = [Profile::Mixed, Profile::Governed, Profile::Maker, Profile::Crosses];
/// Those whose bytes are written down.
const PROFILES: [Profile; 3] = [Profile::Mixed, Profile::Maker, Profile::Crosses];
const COMMANDS: usize = 10_000;

/// A workload and the engine that runs it, after so many commands.
fn run(profile: Profile, seed: u64, commands: usize) -> (Workload, Engine) {
    let mut workload = Workload::new(profile, seed);
    let mut engine = Engine::new(Capacity::default());
    for (idx, command) in workload.setup().iter().enumerate() {
        engine.apply(Stamp { seq: Seq(idx as u64 + 1), ts: workload.now() }, command, &mut workload);
    }
    for _ in 0..commands {
        step(&mut workload, &mut engine);
    }
    (workload, engine)
}

fn step(workload: &mut Workload, engine: &mut Engine) -> (TsNs, Command) {
    let command = workload.next_command();
    let stamp = Stamp { seq: engine.stamp().seq.next(), ts: workload.now() };
    engine.apply(stamp, &command, workload);
    (stamp.ts, command)
}

#[test]
fn a_loaded_state_is_the_saved_one_and_goes_the_same_way() {
    for profile in ALL_PROFILES {
        let (mut workload, mut live) = run(profile, 11, COMMANDS);
        let pieces = save(&live);
        let mut loaded = load(&pieces).expect("what was saved loads");
        loaded.verify().expect("the loaded state is consistent");
        assert_eq!(loaded.state_hash(), live.state_hash(), "{profile:?}");
        assert_eq!(save(&loaded), pieces, "{profile:?}: saved again it has the same bytes");
        for _ in 0..COMMANDS {
            let (ts, command) = step(&mut workload, &mut live);
            let stamp = Stamp { seq: loaded.stamp().seq.next(), ts };
            let mut events: Vec<Event> = Vec::new();
            loaded.apply(stamp, &command, &mut events);
        }
        assert_eq!(loaded.state_hash(), live.state_hash(), "{profile:?} after more commands");
        loaded.verify().expect("the state stays consistent");
    }
}

/// The same events too, one by one, not only the same state in the end.
#[test]
fn a_loaded_state_answers_alike() {
    let (mut workload, mut live) = run(Profile::Governed, 12, 3_000);
    let mut loaded = load(&save(&live)).expect("what was saved loads");
    for _ in 0..3_000 {
        let command = workload.next_command();
        let stamp = Stamp { seq: live.stamp().seq.next(), ts: workload.now() };
        let (mut from_live, mut from_loaded): (Vec<Event>, Vec<Event>) = (Vec::new(), Vec::new());
        live.apply(stamp, &command, &mut from_live);
        loaded.apply(stamp, &command, &mut from_loaded);
        assert_eq!(from_live, from_loaded, "{command:?}");
        from_live.iter().for_each(|event| workload.observe(event));
    }
}

#[test]
fn a_new_exchange_is_a_head_alone() {
    let engine = Engine::new(Capacity::default());
    let pieces = save(&engine);
    assert_eq!(pieces.iter().map(|(section, _)| *section).collect::<Vec<_>>(), [Section::Head]);
    assert_eq!(load(&pieces).expect("it loads").state_hash(), engine.state_hash());
}

#[test]
fn sections_have_the_numbers_that_are_stored() {
    // Those between are taken by what order types and margin will need.
    let numbers = (1..=11).chain(40..=50);
    for (number, section) in numbers.zip(Section::ALL) {
        assert_eq!(section as usize, number);
        assert_eq!(Section::of(section as u8), Some(section));
    }
    assert_eq!(Section::of(0), None);
    assert_eq!(Section::of(12), None);
}

#[test]
fn what_is_missing_or_out_of_place_is_named() {
    let (_, engine) = run(Profile::Governed, 13, 2_000);
    let pieces = save(&engine);
    for absent in pieces.iter().map(|(section, _)| *section) {
        let left: Pieces = pieces.iter().filter(|(section, _)| *section != absent).cloned().collect();
        // A section that no later one names may be missing here without an error; the hash shows it then.
        let noticed = load(&left).map_or(true, |other| other.state_hash() != engine.state_hash());
        assert!(noticed, "without {absent:?} it is another state");
    }
    let mut swapped = pieces.clone();
    swapped.swap(0, 1);
    assert!(matches!(load(&swapped), Err(SnapshotError::OutOfOrder { .. })));
    let mut doubled = pieces.clone();
    doubled.insert(1, pieces[0].clone());
    let said = load(&doubled).expect_err("one head is enough").to_string();
    assert_eq!(said, "row 1 of section Head of the snapshot is refused: there is a head already");
    let long = (Section::Head, vec![0; PIECE_BYTES_MAX + 1]);
    assert!(matches!(load(&[long]), Err(SnapshotError::PieceTooLong(_))));
}

/// The file around the pieces has checksums; this is about bytes that pass them.
#[test]
fn no_bytes_make_a_load_panic() {
    let (_, engine) = run(Profile::Governed, 14, 300);
    let (pieces, hash) = (save(&engine), engine.state_hash());
    let mut refused = 0;
    let mut others = 0;
    for (at, (_, piece)) in pieces.iter().enumerate() {
        // Every byte of short pieces, some of long ones.
        for offset in (0..piece.len()).step_by(1 + piece.len() / 400) {
            for flip in [1, 0x80] {
                let mut bad = pieces.clone();
                bad[at].1[offset] ^= flip;
                let loaded = catch_unwind(AssertUnwindSafe(|| load(&bad)));
                match loaded.unwrap_or_else(|_| panic!("piece {at}, offset {offset}, flip {flip} panics")) {
                    Err(_) => refused += 1,
                    Ok(engine) => {
                        engine.verify().expect("what loads is consistent");
                        // No byte is read and dropped.
                        let other = engine.state_hash() != hash || save(&engine) != pieces;
                        assert!(other, "piece {at}, offset {offset}, flip {flip} makes the same state");
                        others += usize::from(engine.state_hash() != hash);
                    }
                }
            }
            let mut short = pieces.clone();
            short[at].1.truncate(offset);
            // A cut between two rows leaves a shorter section, which the counts or the hash show.
            match catch_unwind(AssertUnwindSafe(|| load(&short))).expect("no panic") {
                Err(_) => refused += 1,
                Ok(engine) => {
                    engine.verify().expect("what loads is consistent");
                    others += usize::from(engine.state_hash() != hash);
                }
            }
        }
    }
    assert!(refused > 100 && others > 100, "{refused} refused, {others} with another hash");
}

/// The rows that remain are intact, so only the sums can show that others are missing.
#[test]
fn money_that_does_not_add_up_is_refused() {
    let (_, engine) = run(Profile::Mixed, 15, 300);
    let without = |absent: &[Section]| {
        let pieces: Pieces = save(&engine).into_iter().filter(|(section, _)| !absent.contains(section)).collect();
        load(&pieces).expect_err("not a state").to_string()
    };
    let orders = [Section::Orders, Section::FreeSlots, Section::OpenLists];
    let accounts_less = without(&[&[Section::Accounts, Section::Sessions, Section::Keys], &orders[..]].concat());
    assert_eq!(accounts_less, "the sections of the snapshot do not agree: balances and fees do not add up to custody");
    let orders_less = without(&orders);
    assert_eq!(orders_less, "the sections of the snapshot do not agree: an account does not hold what its orders need");
}

/// The row of the head, and that of a market, as they are stored.
type Head = (Seq, TsNs, u64, u32, Vec<FeeTier>, CheckState);
type MarketRow =
    (Symbol, (AssetId, AssetId, u64, u64), MarketLimits, (Ppm, Ppm), MarketStatus, Option<PriceTicks>, u64);

/// An exchange that has taken more orders than there are numbers, a few orders before and after numbers start again.
fn before_and_after_the_largest_number() -> [(Workload, Engine); 2] {
    let (workload, engine) = run(Profile::Maker, 16, 2_000);
    let mut pieces = save(&engine);
    let number_last = ORDER_NUMBER_MAX - 50;
    change(&mut pieces, Section::Head, |head: &mut Head| (head.0.0, head.2) = (2 * ORDER_NUMBER_MAX, number_last));
    change(&mut pieces, Section::Markets, |market: &mut MarketRow| market.6 = ORDER_NUMBER_MAX + 1);
    let mut both = [(workload.clone(), load(&pieces).expect("it loads")), (workload, load(&pieces).expect("it loads"))];
    let (workload, engine) = &mut both[1];
    while number_last <= engine.pool().orders.number_last() {
        step(workload, engine);
    }
    for _ in 0..5 {
        step(workload, engine);
    }
    both
}

/// Orders from before numbers started again have higher numbers than the newest, and markets have had more trades than
/// there are numbers: such a state is saved, loaded and continued as any other.
#[test]
fn a_state_survives_that_numbers_start_again() {
    for (mut workload, mut live) in before_and_after_the_largest_number() {
        live.verify().expect("the state is consistent");
        let mut loaded = load(&save(&live)).expect("what was saved loads");
        assert_eq!(loaded.state_hash(), live.state_hash());
        for _ in 0..500 {
            let (ts, command) = step(&mut workload, &mut live);
            let stamp = Stamp { seq: loaded.stamp().seq.next(), ts };
            loaded.apply(stamp, &command, &mut NoSink);
        }
        assert_eq!(loaded.state_hash(), live.state_hash());
        assert!(live.pool().orders.number_last() < ORDER_NUMBER_MAX / 2, "numbers have started again");
    }
}

/// Before there were that many commands, no order has a number above the newest one, and none ever has number zero.
#[test]
fn a_number_that_no_order_can_have_is_refused() {
    let (_, engine) = run(Profile::Maker, 16, 2_000);
    let mut pieces = save(&engine);
    let newest = engine.pool().orders.iter().map(|(_, order)| order.id.number()).max().expect("orders rest");
    change(&mut pieces, Section::Head, |head: &mut Head| head.2 = newest - 1);
    let said = load(&pieces).expect_err("an order is newer than the newest").to_string();
    assert!(said.ends_with("do not agree: an order number is too large"), "{said}");
    let mut pieces = save(&engine);
    change(&mut pieces, Section::Markets, |market: &mut MarketRow| market.6 = engine.stamp().seq.0 + 1);
    let said = load(&pieces).expect_err("every trade needs an order").to_string();
    assert!(said.ends_with("is refused: the market has more trades than there were commands"), "{said}");
}

#[cfg(feature = "mutation")]
#[test]
fn old_numbers_that_are_refused_are_noticed() {
    use book::mutation::{Mutation, assert_noticed};
    assert_noticed(Mutation::OldNumbersRefused, a_state_survives_that_numbers_start_again);
}

/// Bytes that a released version wrote. They change only with a new version that still reads these.
#[test]
fn the_bytes_are_the_ones_written_down() {
    let mut hasher = blake3::Hasher::new();
    for profile in PROFILES {
        let (_, engine) = run(profile, 1, 2_000);
        for (section, piece) in save(&engine) {
            hasher.update(&[section as u8]);
            hasher.update(&(piece.len() as u64).to_le_bytes());
            hasher.update(&piece);
        }
    }
    assert_eq!(hasher.finalize().to_hex().as_str(), GOLDEN);
}

const GOLDEN: &str = "cd2414126edf95211032180449158e6b467987e51f2970127e18d1f599ed4ff0";
