//! The short round that every build runs: each target, the same inputs every time.
#![allow(clippy::print_stdout, reason = "a long test shows its figures")]

use fuzz::round::{self, Finding};
use fuzz::targets::{ALL, find};
use std::path::PathBuf;

const SEED: u64 = 1;
/// At least one in so many inputs of a round has to decode, and as many have to be refused. Texts with one form only
/// are the hardest: one in 60 to 100 of their mutations decodes.
const EITHER_SIDE_ONE_IN: u64 = 200;

/// Runs a target's round. The input of a finding is written to a file, which `./dev fuzz` can run again.
fn round(name: &str) {
    let target = find(name).expect("the target is listed");
    let started = std::time::Instant::now();
    match round::run(target, SEED, target.round_inputs) {
        Ok(tally) => {
            println!("{name}: {tally:?} in {} ms", started.elapsed().as_millis());
            let floor = u64::from(target.round_inputs) / EITHER_SIDE_ONE_IN;
            let either_side = floor <= tally.decoded && floor <= tally.refused;
            assert!(0 < floor && either_side, "too few inputs decode or too few are refused: {tally:?}");
        }
        Err(Finding { input, message }) => {
            let path =
                PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{:08x}", crc32c::crc32c(&input)));
            std::fs::write(&path, &input).expect("the target directory accepts a file");
            panic!("{message}\nrun it again: ./dev fuzz {name} {}", path.display());
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
    quarantine, snapshot_file, piece, command, engine, event, state, config, sizes, admin_body, history_row, numbers, backup_key,
    backup_claim, day, published_book, zip, metrics,
}
