//! The sections of a snapshot and the bound of their pieces.

use crate::instrument::ASSETS_MAX;

/// The longest piece.
pub const PIECE_BYTES_MAX: usize = 2 << 20;

/// The longest row is an account with a balance of every asset, and one balance takes at most so many bytes.
const BALANCE_BYTES_MAX: usize = 5 + 9 + 9;
const _: () = assert!(ASSETS_MAX as usize * BALANCE_BYTES_MAX + (64 << 10) <= PIECE_BYTES_MAX);

/// The parts of a state, in the order in which they are saved and loaded. The numbers are stored and never change.
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
    // 12 to 21 are taken by what the design of order types and margin names.
    Rules = 40,
    OpenNames = 41,
    EndedNames = 42,
    NamesMax = 43,
    Run = 44,
    Intake = 45,
    SessionLives = 46,
    /// The times of the youngest references, as many as have one.
    ReferenceTimes = 47,
    /// The id of each key and the time of its revocation, then the last id that was given.
    KeyHistory = 48,
    Walks = 49,
    Requests = 50,
}

impl Section {
    pub const ALL: [Self; 22] = [
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
        Self::Rules,
        Self::OpenNames,
        Self::EndedNames,
        Self::NamesMax,
        Self::Run,
        Self::Intake,
        Self::SessionLives,
        Self::ReferenceTimes,
        Self::KeyHistory,
        Self::Walks,
        Self::Requests,
    ];

    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|section| *section as u8 == number)
    }
}
