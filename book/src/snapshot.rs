//! The whole state as bytes, in pieces: what a snapshot file keeps, and what a start reads before the rest of the log.
//!
//! A piece is a run of whole rows of one section, at most `PIECE_BYTES_MAX` long, so that neither end needs memory for
//! more than one. Sections come in the order of `Section`, because each names only what came before it:
//!
//! ```text
//! head | assets | markets | accounts | sessions | keys | orders | free slots | open lists | client ids | references
//!                                                  by queue  in the order   each account's
//!                                                            of reuse       oldest first
//! ```
//!
//! Invariants: what a load gives has the state hash of what was saved, and goes the same way from there; nothing of
//! memory is in it (capacities, places of levels). Rows are bincode, standard configuration; fields and sections are only
//! ever appended, and golden bytes pin them.

mod load;
mod rows;
mod save;

use crate::instrument::ASSETS_MAX;

pub use load::{Loader, SnapshotError};

/// Upper bound of one piece.
pub const PIECE_BYTES_MAX: usize = 2 << 20;

/// What one balance takes at most; an account with one of every asset is the longest row.
const BALANCE_BYTES_MAX: usize = 5 + 9 + 9;
const _: () = assert!(ASSETS_MAX as usize * BALANCE_BYTES_MAX + (64 << 10) <= PIECE_BYTES_MAX);

/// The parts of a state, in the order in which they are saved and loaded. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Section {
    Head = 1,
    Assets = 2,
    Markets = 3,
    Accounts = 4,
    Sessions = 5,
    Keys = 6,
    Orders = 7,
    FreeSlots = 8,
    OpenLists = 9,
    ClientIds = 10,
    References = 11,
}

impl Section {
    pub const ALL: [Self; 11] = [
        Self::Head,
        Self::Assets,
        Self::Markets,
        Self::Accounts,
        Self::Sessions,
        Self::Keys,
        Self::Orders,
        Self::FreeSlots,
        Self::OpenLists,
        Self::ClientIds,
        Self::References,
    ];

    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|section| *section as u8 == number)
    }
}
