//! Events of the history: what decodes is encoded to bytes that decode the same, never longer.

use crate::house::House;
use crate::meter;
use crate::target::{Outcome, Target, mend_nothing};
use book::codec::{CodecError, decode_event, encode_event};
use book::testing::workload::{Profile, Workload};
use std::collections::HashSet;
use std::mem::discriminant;

pub const TARGET: Target =
    Target { name: "event", seeds, mend: mend_nothing, check, bytes_max: 512, round_inputs: 30_000 };

/// An event is without lists, so only the words of an error take memory.
const HELD_BYTES_MAX: usize = 1024;
/// Commands whose events the seeds are out of.
const SEED_COMMANDS: usize = 400;

fn check(input: &[u8]) -> Outcome {
    let event = match meter::within(HELD_BYTES_MAX, || decode_event(input)) {
        Ok(event) => event,
        Err(CodecError::TrailingBytes(count)) => {
            assert!(0 < count && count < input.len());
            decode_event(&input[..input.len() - count]).expect("without what is too much it is an event");
            return Outcome::Refused;
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Outcome::Refused;
        }
    };
    let mut bytes = Vec::new();
    encode_event(&event, &mut bytes);
    assert!(bytes.len() <= input.len(), "the shortest form is the one that is written");
    assert_eq!(decode_event(&bytes).expect("what was encoded decodes"), event);
    assert!(decode_event(&bytes[..bytes.len() - 1]).is_err(), "an event that lacks its last byte is none");
    Outcome::Decoded
}

/// One of every kind that the mixed workload brings about.
fn seeds() -> Vec<Vec<u8>> {
    let (mut house, mut workload) = (House::new(), Workload::new(Profile::Mixed, 1));
    let (mut kinds, mut seeds) = (HashSet::new(), Vec::new());
    let mut keep = |house: &House, workload: &mut Workload| {
        for event in &house.events {
            workload.observe(event);
            if kinds.insert(discriminant(event)) {
                let mut bytes = Vec::new();
                encode_event(event, &mut bytes);
                seeds.push(bytes);
            }
        }
    };
    for command in workload.setup() {
        house.apply(&command);
        keep(&house, &mut workload);
    }
    for _ in 0..SEED_COMMANDS {
        house.apply(&workload.next_command());
        keep(&house, &mut workload);
    }
    seeds
}
