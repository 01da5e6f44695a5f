//! Sizes and durations as people write them: the text that a value is shown as parses to that value.

use crate::meter;
use crate::target::{Outcome, Target, repair_nothing};
use node::config::human::{parse_bytes, parse_duration, show_bytes, show_duration};

pub const TARGET: Target =
    Target { name: "sizes", seeds, repair: repair_nothing, check, bytes_max: 48, round_inputs: 40_000 };

fn check(input: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::Refused };
    let (bytes, duration) = meter::within(0, || (parse_bytes(text), parse_duration(text)));
    if let Some(bytes) = bytes {
        assert_eq!(parse_bytes(&show_bytes(bytes)), Some(bytes), "{text:?}");
    }
    if let Some(duration) = duration {
        assert_eq!(parse_duration(&show_duration(duration)), Some(duration), "{text:?}");
    }
    let starts_with_digit = input.first().is_some_and(u8::is_ascii_digit);
    assert!(
        starts_with_digit || (bytes.is_none() && duration.is_none()),
        "{text:?} does not begin with a digit and was accepted"
    );
    if bytes.is_some() || duration.is_some() { Outcome::Decoded } else { Outcome::Refused }
}

fn seeds() -> Vec<Vec<u8>> {
    ["4096", "64MiB", "16 TiB", "250us", "15s", "2h", "106751d"].iter().map(|text| text.as_bytes().to_vec()).collect()
}
