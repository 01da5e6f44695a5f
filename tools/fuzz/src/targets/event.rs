//! Events of the history: an event that decodes is the same after it was encoded and decoded again, in no more bytes.

use crate::meter;
use crate::small_exchange::SmallExchange;
use crate::target::{Outcome, Target, repair_nothing};
use book::codec::{CodecError, decode_event, encode_event};
use book::testing::workload::{Profile, Workload};
use std::collections::HashSet;
use std::mem::discriminant;

pub const TARGET: Target =
    Target { name: "event", seeds, repair: repair_nothing, check, bytes_max: 512, round_inputs: 30_000 };

/// An event has no lists, so that only the text of an error takes memory.
const HELD_BYTES_MAX: usize = 1024;
/// The number of commands whose events the seeds are chosen from.
const SEED_COMMANDS: usize = 400;

fn check(input: &[u8]) -> Outcome {
    let event = match meter::within(HELD_BYTES_MAX, || decode_event(input)) {
        Ok(event) => event,
        Err(CodecError::TrailingBytes(count)) => {
            assert!(0 < count && count < input.len());
            decode_event(&input[..input.len() - count]).expect("without the trailing bytes it is an event");
            return Outcome::Refused;
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Outcome::Refused;
        }
    };
    let mut bytes = Vec::new();
    encode_event(&event, &mut bytes);
    assert!(bytes.len() <= input.len(), "the encoder writes the shortest form");
    assert_eq!(decode_event(&bytes).expect("what was encoded decodes"), event);
    assert!(decode_event(&bytes[..bytes.len() - 1]).is_err(), "an event without its last byte does not decode");
    Outcome::Decoded
}

/// One event of every kind that the mixed workload causes.
fn seeds() -> Vec<Vec<u8>> {
    let (mut exchange, mut workload) = (SmallExchange::new(), Workload::new(Profile::Mixed, 1));
    let (mut kinds, mut seeds) = (HashSet::new(), Vec::new());
    let mut keep = |exchange: &SmallExchange, workload: &mut Workload| {
        for event in &exchange.events {
            workload.observe(event);
            if kinds.insert(discriminant(event)) {
                let mut bytes = Vec::new();
                encode_event(event, &mut bytes);
                seeds.push(bytes);
            }
        }
    };
    for command in workload.setup() {
        exchange.apply(&command);
        keep(&exchange, &mut workload);
    }
    for _ in 0..SEED_COMMANDS {
        exchange.apply(&workload.next_command());
        keep(&exchange, &mut workload);
    }
    seeds
}
