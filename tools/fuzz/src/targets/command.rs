//! Records of the log: what decodes is encoded to a record that decodes the same, and is told in words.

use crate::meter;
use crate::seeds;
use crate::target::{Outcome, Target, mend_nothing};
use book::codec::{self, CodecError, RECORD_BYTES_MAX, Record};
use book::units::Seq;
use tools::terminal::command_json::{record_json, record_text};

pub const TARGET: Target = Target {
    name: "command",
    seeds: seeds::commands,
    mend: mend_nothing,
    check: |input| check_by(input, &codec::decode),
    bytes_max: 2048,
    round_inputs: 15_000,
};

/// The bound of `book::codec`, 64 records of memory for one; a vector may be asked for twice of it.
const HELD_BYTES_MAX: usize = 2 * 64 * RECORD_BYTES_MAX;

/// The check, for whatever claims to decode records.
pub fn check_by(input: &[u8], decode: &dyn Fn(&[u8]) -> Result<Record, CodecError>) -> Outcome {
    let record = match meter::within(HELD_BYTES_MAX, || decode(input)) {
        Ok(record) => record,
        Err(CodecError::TrailingBytes(count)) => {
            assert!(0 < count && count < input.len());
            decode(&input[..input.len() - count]).expect("without what is too much it is a record");
            return Outcome::Refused;
        }
        Err(_) => return Outcome::Refused,
    };
    let mut room = vec![0; RECORD_BYTES_MAX];
    let len = codec::encode(record.ts, &record.command, &mut room).expect("what fits bytes fits them again");
    assert!(len <= input.len(), "the shortest form is the one that is written");
    assert_eq!(decode(&room[..len]).expect("what was encoded decodes"), record);
    assert!(decode(&room[..len - 1]).is_err(), "a record that lacks its last byte is none");
    told(&record);
    Outcome::Decoded
}

/// `pinion log dump` shows every record on a line of its own.
fn told(record: &Record) {
    let json = record_json(Seq(1), record);
    let line = json.to_string();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&line).expect("a line is JSON"), json);
    for line in [line, record_text(Seq(1), record)] {
        assert!(!line.bytes().any(|byte| byte < b' '), "a record is one line: {line:?}");
    }
}
