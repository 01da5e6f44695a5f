//! Log lines about refused logins, so many a second: a client that guesses passwords must not fill the log.
//!
//! A line that is let through says how many before it were not. The metrics count them all.

use book::units::TsNs;

const LINES_PER_SECOND_MAX: u32 = 5;
const SECOND_NS: u64 = 1_000_000_000;

#[derive(Debug, Default)]
pub struct RefusalLog {
    /// Start of the second in which `lines` were let through.
    second: TsNs,
    lines: u32,
    skipped: u64,
}

impl RefusalLog {
    /// Whether one more line may be logged; if so, how many were not since the last one.
    pub fn admit(&mut self, now: TsNs) -> Option<u64> {
        if SECOND_NS <= now.0.saturating_sub(self.second.0) {
            (self.second, self.lines) = (now, 0);
        }
        if self.lines == LINES_PER_SECOND_MAX {
            self.skipped += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.skipped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_has_few_lines_and_none_is_forgotten() {
        let mut log = RefusalLog::default();
        let start = 7 * SECOND_NS;
        let admitted: Vec<u64> = (0..100).filter_map(|n| log.admit(TsNs(start + n))).collect();
        assert_eq!(admitted, [0; LINES_PER_SECOND_MAX as usize]);
        assert_eq!(log.admit(TsNs(start + SECOND_NS)), Some(100 - u64::from(LINES_PER_SECOND_MAX)));
        assert_eq!(log.admit(TsNs(start + SECOND_NS + 1)), Some(0));
    }
}
