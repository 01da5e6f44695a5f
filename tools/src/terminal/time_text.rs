//! Times of the log as text: RFC 3339, or nanoseconds since 1970.

use book::units::TsNs;
use jiff::Timestamp;

/// Parses `2026-11-25T12:56:53Z`, with any fraction and any offset, or plain nanoseconds.
pub fn parse(text: &str) -> Result<TsNs, String> {
    if let Ok(ts_ns) = text.parse() {
        return Ok(TsNs(ts_ns));
    }
    let time: Timestamp = text
        .parse()
        .map_err(|_| "expected a time such as 2026-11-25T12:56:53.5Z, or nanoseconds since 1970".to_owned())?;
    u64::try_from(time.as_nanosecond()).map(TsNs).map_err(|_| "the time is before 1970".to_owned())
}

/// The time in UTC, with nanoseconds where there are any.
pub fn show(ts_ns: u64) -> String {
    Timestamp::from_nanosecond(i128::from(ts_ns)).map_or_else(|_| ts_ns.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_parses_to_the_same_time() {
        for ts_ns in [0, 1, 1_790_000_000_123_456_789, 1_790_000_000_000_000_000] {
            assert_eq!(parse(&show(ts_ns)), Ok(TsNs(ts_ns)), "{}", show(ts_ns));
        }
        assert_eq!(parse("1970-01-01T01:00:01.5+01:00"), Ok(TsNs(1_500_000_000)));
        assert_eq!(parse("17"), Ok(TsNs(17)));
        assert!(parse("yesterday").is_err() && parse("1969-12-31T23:59:59Z").is_err());
    }
}
