//! The numbers of all streams in a snapshot's pieces: what loads saves to the same bytes.
//!
//! ```text
//! | tag u8 | bytes u16 | piece ... | tag u8 | ...
//! ```

use crate::meter;
use crate::target::{Outcome, Target, mend_nothing};
use node::replica::stream_positions::{StreamPositions, StreamPositionsLoader};

pub const TARGET: Target =
    Target { name: "numbers", seeds, mend: mend_nothing, check, bytes_max: 2048, round_inputs: 20_000 };

/// The pieces' numbers of docs/STORAGE.md, which the crate keeps to itself.
const TAG_SESSIONS: u8 = 64;
const TAG_FEED: u8 = 65;
const NUMBER_BYTES: usize = 8;
const FEED_HEAD: usize = 4;

fn check(input: &[u8]) -> Outcome {
    let pieces = pieces(input);
    // The numbers, in lists that grow by doubling, and once more as they are handed over.
    let loaded = meter::within(8 * input.len() + 1024, || load(&pieces));
    let Some(numbers) = loaded else {
        let of_whole_numbers = pieces.iter().all(|(_, piece)| piece.len() % NUMBER_BYTES == 0);
        assert!(!(of_whole_numbers && can_be(&pieces)), "numbers that can be so were refused");
        return Outcome::Refused;
    };
    assert!(can_be(&pieces), "numbers that cannot be so were taken");
    let saved = save(&numbers);
    for tag in [TAG_SESSIONS, TAG_FEED] {
        assert_eq!(joined(&saved, tag), joined(&pieces, tag), "what was loaded is saved");
    }
    let again = load(&saved.iter().map(|(tag, piece)| (*tag, piece.as_slice())).collect::<Vec<_>>());
    assert_eq!(save(&again.expect("what was saved loads")), saved);
    Outcome::Decoded
}

fn pieces(input: &[u8]) -> Vec<(u8, &[u8])> {
    let mut pieces = Vec::new();
    let mut rest = input;
    while let [tag, low, high, behind @ ..] = rest {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(behind.len());
        pieces.push((*tag, &behind[..len]));
        rest = &behind[len..];
    }
    pieces
}

fn load(pieces: &[(u8, &[u8])]) -> Option<StreamPositions> {
    let mut loader = StreamPositionsLoader::default();
    pieces.iter().all(|(tag, piece)| loader.take(*tag, piece)).then(|| loader.finish())?
}

fn save(numbers: &StreamPositions) -> Vec<(u8, Vec<u8>)> {
    let mut pieces = Vec::new();
    let saved: Result<(), ()> = numbers.save(&mut |tag, piece| {
        pieces.push((tag, piece.to_vec()));
        Ok(())
    });
    saved.expect("memory takes everything");
    pieces
}

/// Every number that a tag has: where one piece ends and the next begins says nothing.
fn joined(pieces: &[(u8, impl AsRef<[u8]>)], tag: u8) -> Vec<u8> {
    pieces.iter().filter(|(of, _)| *of == tag).flat_map(|(_, piece)| piece.as_ref()).copied().collect()
}

/// Known tags, a whole head, and no stream whose next message is numbered zero.
fn can_be(pieces: &[(u8, &[u8])]) -> bool {
    let zero = [0; NUMBER_BYTES];
    let (sessions, feed) = (joined(pieces, TAG_SESSIONS), joined(pieces, TAG_FEED));
    pieces.iter().all(|(tag, _)| [TAG_SESSIONS, TAG_FEED].contains(tag))
        && FEED_HEAD * NUMBER_BYTES <= feed.len()
        && !feed.starts_with(&zero)
        && sessions.chunks(NUMBER_BYTES).all(|number| number != zero)
}

fn seeds() -> Vec<Vec<u8>> {
    let piece = |tag: u8, numbers: &[u64]| {
        let mut bytes = vec![tag];
        bytes.extend_from_slice(&((numbers.len() * NUMBER_BYTES) as u16).to_le_bytes());
        numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        bytes
    };
    let (sessions, feed) = (piece(TAG_SESSIONS, &[1, 5, u64::MAX]), piece(TAG_FEED, &[9, 42, 4_711, 1 << 40, 8, 0]));
    vec![piece(TAG_FEED, &[1, 0, 0, 0]), [sessions.clone(), feed.clone()].concat(), [feed, sessions].concat()]
}
