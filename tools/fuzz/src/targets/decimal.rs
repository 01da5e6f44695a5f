//! Decimal text: the parser agrees with a slow one that computes in `i128`.
//!
//! The first byte of an input is the number of decimal places, the rest is the text.

use crate::meter;
use crate::target::{Outcome, Target, repair_nothing};
use api::decimal::{DecimalError, Fixed, SCALE_MAX, TEXT_BYTES_MAX, parse_fixed};

pub const TARGET: Target =
    Target { name: "decimal", seeds, repair: repair_nothing, check, bytes_max: 80, round_inputs: 60_000 };

fn check(input: &[u8]) -> Outcome {
    let Some((scale, text)) = input.split_first() else { return Outcome::Refused };
    let scale = u32::from(*scale) % (SCALE_MAX + 1);
    let Ok(text) = std::str::from_utf8(text) else { return Outcome::Refused };
    let parsed = meter::within(0, || parse_fixed(text, scale));
    assert_eq!(parsed.ok(), parse_slowly(text, scale), "{text:?} with {scale} places");
    match parsed {
        Ok(value) => {
            let shown = Fixed { value: value.into(), scale }.to_string();
            assert_eq!(parse_fixed(&shown, scale), Ok(value), "{text:?} prints as {shown}");
            assert!(!shown.contains('.') || !shown.ends_with('0'), "{shown} has trailing zeros");
            Outcome::Decoded
        }
        Err(error) => {
            if let DecimalError::NotADigit { at } = error {
                assert!(!text.as_bytes()[at].is_ascii_digit(), "{text:?} at {at}");
            }
            Outcome::Refused
        }
    }
}

/// Parses by the grammar alone: `-? digits ( . digits )?`, with integers that do not overflow.
fn parse_slowly(text: &str, scale: u32) -> Option<i64> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (units, places) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    if TEXT_BYTES_MAX < text.len() || !is_number(units) || !is_number(places) {
        return None;
    }
    let places = places.trim_end_matches('0');
    if scale < places.len() as u32 {
        return None;
    }
    let digits = format!("{units}{places:0<width$}", width = scale as usize);
    let digits = digits.trim_start_matches('0');
    // 20 digits are beyond any i64 and within any i128.
    let number: i128 = if digits.is_empty() { 0 } else { (digits.len() <= 20).then(|| digits.parse().ok())?? };
    i64::try_from(if text.starts_with('-') { -number } else { number }).ok()
}

fn seeds() -> Vec<Vec<u8>> {
    let seed = |scale: u8, text: &str| [&[scale], text.as_bytes()].concat();
    vec![
        seed(9, "61250.75"),
        seed(8, "0.00001000"),
        seed(0, "-9223372036854775808"),
        seed(18, "9.223372036854775807"),
        seed(2, "000123.4"),
    ]
}
