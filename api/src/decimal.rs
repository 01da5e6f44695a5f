//! Decimal text to fixed-point integers and back, exactly.
//!
//! Every amount, price and quantity in text is read here, for the command line, the configuration and the admin API.
//! Invariant: a number is converted exactly or refused; no float takes part.

use book::instrument::{PRICE_WIRE_SCALE, QTY_WIRE_SCALE};
use std::fmt;
use thiserror::Error;

/// A price in 1e-9 of the quote asset for 1 of the base asset, as on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PriceE9(pub i64);

/// An amount in 1e-8 of an asset, as on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QtyE8(pub i64);

/// Largest number of decimal places.
pub const SCALE_MAX: u32 = 18;
/// 19 digits hold any i64; the rest is for a sign, a point, and zeros at either end.
pub const TEXT_BYTES_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecimalError {
    #[error("the number is empty")]
    Empty,
    #[error("the number is longer than {TEXT_BYTES_MAX} characters")]
    TooLong,
    #[error("character {at} is not a digit; write numbers like 123.45 or -0.5, without exponent, spaces or plus sign")]
    NotADigit { at: usize },
    #[error("the number needs a digit on both sides of the point")]
    BarePoint,
    #[error("the number has more than {scale} decimal places")]
    TooPrecise { scale: u32 },
    #[error("the number is too large")]
    TooLarge,
}

/// Reads `text` in units of `10^-scale`. Zeros after the last allowed decimal place are accepted, other digits are not.
pub fn parse_fixed(text: &str, scale: u32) -> Result<i64, DecimalError> {
    assert!(scale <= SCALE_MAX);
    if text.is_empty() {
        return Err(DecimalError::Empty);
    }
    if TEXT_BYTES_MAX < text.len() {
        return Err(DecimalError::TooLong);
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let sign_len = usize::from(negative);
    if let Some(at) = digits.bytes().position(|b| !b.is_ascii_digit() && b != b'.') {
        return Err(DecimalError::NotADigit { at: at + sign_len });
    }
    let (integer, places) = match digits.split_once('.') {
        None => (digits, ""),
        Some((_, "")) => return Err(DecimalError::BarePoint),
        Some(parts) => parts,
    };
    if integer.is_empty() {
        return Err(DecimalError::BarePoint);
    }
    if let Some(at) = places.find('.') {
        return Err(DecimalError::NotADigit { at: sign_len + integer.len() + 1 + at });
    }
    join(negative, integer, places, scale)
}

fn join(negative: bool, integer: &str, places: &str, scale: u32) -> Result<i64, DecimalError> {
    let (kept, beyond) = places.split_at(places.len().min(scale as usize));
    if beyond.bytes().any(|b| b != b'0') {
        return Err(DecimalError::TooPrecise { scale });
    }
    let zeros = std::iter::repeat_n(b'0', scale as usize - kept.len());
    // Summed as a negative number, because the lowest i64 has no positive counterpart.
    let step = |number: i64, b: u8| number.checked_mul(10)?.checked_sub(i64::from(b - b'0'));
    let below_zero = integer.bytes().chain(kept.bytes()).chain(zeros).try_fold(0i64, step);
    let below_zero = below_zero.ok_or(DecimalError::TooLarge)?;
    if negative { Ok(below_zero) } else { below_zero.checked_neg().ok_or(DecimalError::TooLarge) }
}

/// Displays `value` in units of `10^-scale` without trailing zeros: `Fixed { value: 150, scale: 2 }` is 1.5.
///
/// Twice as wide as any number on the wire, so that a total in text is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    pub value: i128,
    pub scale: u32,
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = 10u128.pow(self.scale.min(SCALE_MAX));
        let (integer, places) = (self.value.unsigned_abs() / one, self.value.unsigned_abs() % one);
        let sign = if self.value < 0 { "-" } else { "" };
        if places == 0 {
            return write!(f, "{sign}{integer}");
        }
        let (mut places, mut width) = (places, self.scale as usize);
        while places.is_multiple_of(10) {
            places /= 10;
            width -= 1;
        }
        write!(f, "{sign}{integer}.{places:0width$}")
    }
}

impl PriceE9 {
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        parse_fixed(text, PRICE_WIRE_SCALE).map(Self)
    }
}

impl fmt::Display for PriceE9 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Fixed { value: self.0.into(), scale: PRICE_WIRE_SCALE }.fmt(f)
    }
}

impl QtyE8 {
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        parse_fixed(text, QTY_WIRE_SCALE).map(Self)
    }
}

impl fmt::Display for QtyE8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Fixed { value: self.0.into(), scale: QTY_WIRE_SCALE }.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_exact_or_refused() {
        let cases: [(&str, u32, Result<i64, DecimalError>); 18] = [
            ("0", 8, Ok(0)),
            ("1", 8, Ok(100_000_000)),
            ("0.00000001", 8, Ok(1)),
            ("-1.5", 2, Ok(-150)),
            ("1.500000", 1, Ok(15)),
            ("007", 0, Ok(7)),
            ("9223372036854775807", 0, Ok(i64::MAX)),
            ("-9223372036854775808", 0, Ok(i64::MIN)),
            ("9223372036854775808", 0, Err(DecimalError::TooLarge)),
            ("92233720368.54775808", 8, Err(DecimalError::TooLarge)),
            ("1.55", 1, Err(DecimalError::TooPrecise { scale: 1 })),
            ("", 8, Err(DecimalError::Empty)),
            ("-", 8, Err(DecimalError::BarePoint)),
            (".5", 8, Err(DecimalError::BarePoint)),
            ("5.", 8, Err(DecimalError::BarePoint)),
            ("1.2.3", 8, Err(DecimalError::NotADigit { at: 3 })),
            ("+1", 8, Err(DecimalError::NotADigit { at: 0 })),
            ("1e5", 8, Err(DecimalError::NotADigit { at: 1 })),
        ];
        for (text, scale, expected) in cases {
            assert_eq!(parse_fixed(text, scale), expected, "{text} at scale {scale}");
        }
    }

    #[test]
    fn trailing_zeros_are_not_written() {
        let shown: Vec<String> = [(150, 2), (-5, 3), (0, 8), (1_000, 3), (7, 0), (3 << 64, 8)]
            .map(|(value, scale)| Fixed { value, scale }.to_string())
            .into();
        assert_eq!(shown, ["1.5", "-0.005", "0", "1", "7", "553402322211.28654848"]);
    }

    proptest! {
        #[test]
        fn any_number_survives_the_round_trip(value in any::<i64>(), scale in 0..=SCALE_MAX) {
            let text = Fixed { value: value.into(), scale }.to_string();
            prop_assert_eq!(parse_fixed(&text, scale), Ok(value));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,80}", scale in 0..=SCALE_MAX) {
            // Any result is right; the test is that there is no panic.
            let _ = parse_fixed(&text, scale);
        }
    }
}
