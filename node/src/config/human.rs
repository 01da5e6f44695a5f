//! Sizes and durations as people write them: `64MiB`, `250us`, `15s`. Whole numbers with a unit, read exactly; no
//! floats.

use std::time::Duration;

const BYTES: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

const NANOSECONDS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("d", 86_400 * 1_000_000_000),
];

/// Reads `4096`, `64KiB` or `1GB`; `None` for any other form, and for a size that does not fit.
pub fn parse_bytes(text: &str) -> Option<u64> {
    parse(text, BYTES)
}

/// Reads `250us`, `15s` or `2h`, the unit being required; `None` for any other form, and for a duration that does not
/// fit.
pub fn parse_duration(text: &str) -> Option<Duration> {
    parse(text, NANOSECONDS).map(Duration::from_nanos)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits_len = text.bytes().take_while(|b| b.is_ascii_digit()).count();
    let (digits, unit) = text.split_at(digits_len);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The shortest exact form in binary units, readable by [`parse_bytes`].
pub fn show_bytes(bytes: u64) -> String {
    let divides = |unit: &&(&str, u64)| bytes > 0 && bytes.is_multiple_of(unit.1);
    match BYTES[2..6].iter().rev().find(divides) {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => bytes.to_string(),
    }
}

/// The shortest exact form, readable by [`parse_duration`].
pub fn show_duration(duration: Duration) -> String {
    let ns = duration.as_nanos();
    let divides = |unit: &&(&str, u64)| ns > 0 && ns.is_multiple_of(u128::from(unit.1));
    match NANOSECONDS.iter().rev().find(divides) {
        Some((name, factor)) => format!("{}{name}", ns / u128::from(*factor)),
        None => "0s".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_exactly_or_not_at_all() {
        let check = |text: &str, bytes: Option<u64>| assert_eq!(parse_bytes(text), bytes, "{text}");
        check("4096", Some(4096));
        check("64MiB", Some(64 << 20));
        check("64 MiB", Some(64 << 20));
        check("1GB", Some(1_000_000_000));
        check("18446744073709551615", Some(u64::MAX));
        check("18446744073709551616", None);
        check("16777216TiB", None);
        for text in ["", "MiB", "1.5MiB", "-1", "+1", "64mib", "1e6", " 1", "1  KiB", "64s"] {
            check(text, None);
        }
    }

    #[test]
    fn durations_need_their_unit() {
        let check = |text: &str, ns: Option<u64>| {
            assert_eq!(parse_duration(text), ns.map(Duration::from_nanos), "{text}");
        };
        check("250us", Some(250_000));
        check("15s", Some(15_000_000_000));
        check("2h", Some(7_200_000_000_000));
        check("0s", Some(0));
        for text in ["15", "1.5s", "-1s", "15sec", "s", "1M"] {
            check(text, None);
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for bytes in [0, 1, 1023, 1024, 64 << 20, 3 << 40, u64::MAX] {
            assert_eq!(parse_bytes(&show_bytes(bytes)), Some(bytes));
        }
        for ns in [0, 1, 999, 1_000, 250_000, 90_000_000_000, 86_400_000_000_000] {
            let duration = Duration::from_nanos(ns);
            assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }
    }
}
