//! The positions of all streams in a snapshot's pieces: positions that load save to the same bytes.
//!
//! ```text
//! | tag u8 | bytes u16 | piece ... | tag u8 | ...
//! ```

use crate::meter;
use crate::target::{Outcome, Target, repair_nothing};
use node::replica::stream_positions::{StreamPositions, StreamPositionsLoader};

pub const TARGET: Target =
    Target { name: "numbers", seeds, repair: repair_nothing, check, bytes_max: 2048, round_inputs: 20_000 };

/// The tags of docs/STORAGE.md, which are private in the crate.
const TAG_SESSIONS: u8 = 64;
const TAG_FEED: u8 = 65;
const NUMBER_BYTES: usize = 8;
const FEED_HEAD: usize = 4;

fn check(input: &[u8]) -> Outcome {
    let pieces = pieces(input);
    // The numbers, in lists that grow by doubling, and once more when they are moved out.
    let loaded = meter::within(8 * input.len() + 1024, || load(&pieces));
    let Some(numbers) = loaded else {
        let has_no_partial_number = pieces.iter().all(|(_, piece)| piece.len() % NUMBER_BYTES == 0);
        assert!(!(has_no_partial_number && is_valid(&pieces)), "valid positions were refused");
        return Outcome::Refused;
    };
    assert!(is_valid(&pieces), "invalid positions were accepted");
    let saved = save(&numbers);
    for tag in [TAG_SESSIONS, TAG_FEED] {
        assert_eq!(joined(&saved, tag), joined(&pieces, tag), "positions that were loaded are saved");
    }
    let again = load(&saved.iter().map(|(tag, piece)| (*tag, piece.as_slice())).collect::<Vec<_>>());
    assert_eq!(save(&again.expect("positions that were saved load")), saved);
    Outcome::Decoded
}

fn pieces(input: &[u8]) -> Vec<(u8, &[u8])> {
    let mut pieces = Vec::new();
    let mut rest = input;
    while let [tag, low, high, after @ ..] = rest {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(after.len());
        pieces.push((*tag, &after[..len]));
        rest = &after[len..];
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
    saved.expect("a vector accepts every piece");
    pieces
}

/// All bytes of a tag: where one piece ends and the next begins has no meaning.
fn joined(pieces: &[(u8, impl AsRef<[u8]>)], tag: u8) -> Vec<u8> {
    pieces.iter().filter(|(of, _)| *of == tag).flat_map(|(_, piece)| piece.as_ref()).copied().collect()
}

/// Known tags, a complete head, and no stream whose next message has the number zero.
fn is_valid(pieces: &[(u8, &[u8])]) -> bool {
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
