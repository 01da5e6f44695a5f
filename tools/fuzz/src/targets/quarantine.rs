//! The list of quarantined records: a list that is read is the same after it was written and read again.

use super::identity;
use crate::scratch;
use crate::target::{Outcome, Target};
use wal::error::ErrorKind;
use wal::quarantine::{QUARANTINE_FILE, QUARANTINED_MAX, Quarantine, Quarantined, REASON_BYTES_MAX};
use wal::units::Lsn;

pub const TARGET: Target =
    Target { name: "quarantine", seeds, repair: identity::repair, check, bytes_max: 1024, round_inputs: 8_000 };

fn check(input: &[u8]) -> Outcome {
    let path = scratch::file(QUARANTINE_FILE, input);
    let list = match Quarantine::read(&scratch::dir()) {
        Ok(list) => list,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error} names the file");
            return Outcome::Refused;
        }
    };
    assert!(list.entries().count() <= QUARANTINED_MAX);
    for (seq, entry) in list.entries() {
        assert!(entry.reason.len() <= REASON_BYTES_MAX && !entry.reason.contains(['\n', '\r']), "a reason is one line");
        assert!(list.contains(seq) && (entry.until <= seq || list.is_overtaken(entry.until)));
    }
    let again = scratch::dir().join("again");
    std::fs::create_dir_all(&again).expect("a directory can be made in the scratch directory");
    list.write(&again).expect("a list can be written to the scratch directory");
    assert_eq!(Quarantine::read(&again).expect("a list that was written can be read"), list);
    Outcome::Decoded
}

fn seeds() -> Vec<Vec<u8>> {
    let list = |entries: &[(u64, &str)]| {
        let mut list = Quarantine::default();
        for (seq, reason) in entries {
            let entry =
                Quarantined { until: Lsn(seq + 9), time_ns: 1_790_000_000_000_000_000, reason: (*reason).into() };
            assert!(list.add(Lsn(*seq), entry));
        }
        let dir = scratch::dir();
        list.write(&dir).expect("a file can be written in the scratch directory");
        std::fs::read(dir.join(QUARANTINE_FILE)).expect("the file was just written")
    };
    vec![list(&[]), list(&[(4_711, "overflows the fee table, ticket 12"), (5_000, ""), (u64::MAX - 9, "ünïcode")])]
}
