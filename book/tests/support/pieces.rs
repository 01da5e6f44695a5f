//! The pieces of a saved state: saved, changed and loaded.
#![allow(dead_code)] // Few tests change the pieces.

use book::engine::{Capacity, Engine};
use book::snapshot::{Loader, PIECE_BYTES_MAX, Section, SnapshotError};

pub(crate) type Pieces = Vec<(Section, Vec<u8>)>;

pub(crate) fn save(engine: &Engine) -> Pieces {
    let mut pieces = Pieces::new();
    let saved: Result<(), ()> = engine.save(&mut |section, piece| {
        assert!(!piece.is_empty() && piece.len() <= PIECE_BYTES_MAX);
        pieces.push((section, piece.to_vec()));
        Ok(())
    });
    saved.expect("memory takes everything");
    pieces
}

/// Loads into an engine that has room for next to nothing, so that it has to grow.
pub(crate) fn load(pieces: &[(Section, Vec<u8>)]) -> Result<Engine, SnapshotError> {
    let mut loader = Loader::new(Engine::new(Capacity { orders: 1, leaves: 1, markets: 1, names: 1 }));
    pieces.iter().try_for_each(|(section, piece)| loader.take(*section, piece))?;
    loader.finish()
}

/// Changes every row of a section.
pub(crate) fn change<R: bincode::Encode + bincode::Decode<()>>(
    pieces: &mut Pieces,
    of: Section,
    change: impl Fn(&mut R),
) {
    let config = bincode::config::standard();
    for (_, piece) in pieces.iter_mut().filter(|(section, _)| *section == of) {
        let (mut rest, mut into) = (piece.as_slice(), Vec::new());
        while !rest.is_empty() {
            let (mut row, len) = bincode::decode_from_slice::<R, _>(rest, config).expect("the row is of this kind");
            change(&mut row);
            into.extend(bincode::encode_to_vec(row, config).expect("memory takes everything"));
            rest = &rest[len..];
        }
        *piece = into;
    }
}
