//! The short round that every build runs: each target, the same inputs every time.

use fuzz::round::{self, Finding};
use fuzz::target::Target;
use fuzz::targets::ALL;
use std::path::PathBuf;

const SEED: u64 = 1;
/// Of a round's inputs, one in so many at least has to decode, and as many to be refused. Texts that have one form only are
/// the hardest to change well: one in sixty to a hundred.
const EITHER_SIDE_ONE_IN: u64 = 200;

/// Runs a target's round. A finding is kept as a file, which `./dev fuzz` takes.
fn round(name: &str) {
    let target = Target::find(name).expect("the target is listed");
    let started = std::time::Instant::now();
    match round::run(target, SEED, target.round_inputs) {
        Ok(tally) => {
            println!("{name}: {tally:?} in {} ms", started.elapsed().as_millis());
            let floor = u64::from(target.round_inputs) / EITHER_SIDE_ONE_IN;
            let either_side = floor <= tally.decoded && floor <= tally.refused;
            assert!(0 < floor && either_side, "inputs on one side only test half a decoder: {tally:?}");
        }
        Err(Finding { input, said }) => {
            let path =
                PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{:08x}", crc32c::crc32c(&input)));
            std::fs::write(&path, &input).expect("the target directory takes a file");
            panic!("{said}\nrun it again: ./dev fuzz {name} {}", path.display());
        }
    }
}

macro_rules! rounds {
    ($($name:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                round(stringify!($name));
            }
        )+

        #[test]
        fn every_target_has_a_round() {
            let names: Vec<&str> = ALL.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),+]);
        }
    };
}

rounds! {
    soup, login, session, messages, order_entry, depth, market_snapshot, decimal, frame, head, mark, identity, lineage,
    quarantine, snapshot_file, piece, command, event, state, config, sizes, admin_body, history_row, numbers, backup_key,
    backup_claim, day, published_book, zip, metrics,
}
