//! Every message of both schemas: a message that is read is written with the same bytes, and reading allocates nothing.

use crate::meter;
use crate::seeds;
use crate::target::{Outcome, Target, repair_nothing};
use api::binary::market::{
    LEVEL_ENTRY_BLOCK, LEVEL_UPDATE_BYTES_MAX, LEVELS_PER_UPDATE_MAX, LevelEntry, MARKET_SCHEMA, MarketMessage,
    read_levels, write_level_update,
};
use api::binary::orders::{Answer, ORDERS_SCHEMA, Request};
use api::binary::sbe::{HEADER_BYTES, Header, SbeError};
use std::fmt::Debug;
use zerocopy::FromBytes;

pub const TARGET: Target =
    Target { name: "messages", seeds, repair: repair_nothing, check, bytes_max: 1024, round_inputs: 40_000 };

fn check(input: &[u8]) -> Outcome {
    let outcomes = [
        message(input, ORDERS_SCHEMA, Request::read, |m, out| m.write(&mut |bytes| out.extend_from_slice(bytes))),
        message(input, ORDERS_SCHEMA, Answer::read, |m, out| m.write(&mut |bytes| out.extend_from_slice(bytes))),
        message(input, MARKET_SCHEMA, MarketMessage::read, |m, out| m.write(&mut |bytes| out.extend_from_slice(bytes))),
    ];
    if let Ok(MarketMessage::LevelUpdate(update)) = MarketMessage::read(input) {
        levels(input, update);
    }
    if outcomes.contains(&Outcome::Decoded) { Outcome::Decoded } else { Outcome::Refused }
}

fn message<M: Debug + PartialEq>(
    input: &[u8],
    schema: u16,
    read: fn(&[u8]) -> Result<M, SbeError>,
    write: fn(&M, &mut Vec<u8>),
) -> Outcome {
    let message = match meter::within(0, || read(input)) {
        Ok(message) => message,
        Err(error) => {
            refused(input, schema, error);
            return Outcome::Refused;
        }
    };
    let mut written = Vec::new();
    write(&message, &mut written);
    assert_eq!(read(&written).as_ref(), Ok(&message));
    assert_eq!(written[2..6], input[2..6], "template and schema are the same");
    assert_eq!(written[HEADER_BYTES..], input[HEADER_BYTES..written.len()], "the block has the same bytes");
    Outcome::Decoded
}

/// Checks that an error states what the header has.
fn refused(input: &[u8], schema: u16, error: SbeError) {
    let header = Header::read_from_prefix(input).ok().map(|(header, _)| header);
    let Some(header) = header else {
        assert_eq!(error, SbeError::NoHeader { len: input.len() });
        return;
    };
    match error {
        SbeError::NoHeader { .. } => panic!("the input has a header"),
        SbeError::WrongSchema { found, expected } => {
            assert_eq!((found, expected), (header.schema_id.get(), schema));
            assert_ne!(found, expected);
        }
        SbeError::UnknownVersion { version } => assert_eq!((version, header.version.get()), (0, 0)),
        SbeError::UnknownTemplate { template } => assert_eq!(template, header.template_id.get()),
        SbeError::ShortBlock { template, len, expected } => {
            assert_eq!(template, header.template_id.get());
            let announced = usize::from(header.block_length.get());
            assert_eq!(len, announced.min(input.len() - HEADER_BYTES));
            assert!(len < expected || len < announced, "a block of {len} bytes is not short");
        }
    }
}

fn levels(input: &[u8], update: api::binary::market::LevelUpdate) {
    let bound = (input.len() / LEVEL_ENTRY_BLOCK + 1) * LEVEL_ENTRY_BLOCK * 4 + 256;
    let levels: Result<Vec<LevelEntry>, SbeError> =
        meter::within(bound, || read_levels(input).map(|entries| entries.collect()));
    let Ok(levels) = levels else { return };
    if levels.len() <= LEVELS_PER_UPDATE_MAX {
        let mut buffer = [0; LEVEL_UPDATE_BYTES_MAX];
        let len = write_level_update(update, &levels, &mut buffer);
        let again: Vec<LevelEntry> =
            read_levels(&buffer[..len]).expect("an update that was written can be read").collect();
        assert_eq!(again, levels);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    [seeds::messages("orders"), seeds::messages("market")].concat()
}
