//! Records of the log: a record that decodes is the same after it was encoded and decoded again, and prints as one line
//! of text and one of JSON.

use crate::meter;
use crate::seeds;
use crate::target::{Outcome, Target, repair_nothing};
use book::codec::{self, CodecError, PayloadVersion, RECORD_BYTES_MAX, Record};
use book::units::Seq;
use tools::terminal::command_json::{record_json, record_text};

pub const TARGET: Target = Target {
    name: "command",
    seeds: seeds::commands,
    repair: repair_nothing,
    check: |input| check_by(input, &codec::decode),
    bytes_max: 2048,
    round_inputs: 15_000,
};

/// By the bound of `book::codec` a command takes the memory of 64 largest records at most; a vector may have twice the
/// capacity that it needs.
const HELD_BYTES_MAX: usize = 2 * 64 * RECORD_BYTES_MAX;

/// The check with a given decoder, so that a test can bring one with a fault.
pub fn check_by(input: &[u8], decode: &dyn Fn(&[u8]) -> Result<Record, CodecError>) -> Outcome {
    let record = match meter::within(HELD_BYTES_MAX, || decode(input)) {
        Ok(record) => record,
        Err(CodecError::TrailingBytes(count)) => {
            assert!(0 < count && count < input.len());
            decode(&input[..input.len() - count]).expect("without the trailing bytes it is a record");
            return Outcome::Refused;
        }
        Err(_) => return Outcome::Refused,
    };
    let mut buffer = vec![0; RECORD_BYTES_MAX];
    let (version, _) = PayloadVersion::split(input).expect("a record that was decoded has a version");
    let len = codec::encode(version, record.ts, &record.command, &mut buffer)
        .expect("a record that was decoded fits a record");
    assert!(len <= input.len(), "the encoder writes the shortest form");
    assert_eq!(decode(&buffer[..len]).expect("what was encoded decodes"), record);
    assert!(decode(&buffer[..len - 1]).is_err(), "a record without its last byte does not decode");
    prints_as_lines(&record);
    Outcome::Decoded
}

/// `pinion log dump` shows every record on a line of its own.
fn prints_as_lines(record: &Record) {
    let json = record_json(Seq(1), record);
    let line = json.to_string();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&line).expect("a line is JSON"), json);
    for line in [line, record_text(Seq(1), record)] {
        assert!(!line.bytes().any(|byte| byte < b' '), "a record is one line: {line:?}");
    }
}
