//! The outcome of an upload.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    Stored,
    /// An object of that name exists already, and was not changed.
    AlreadyThere,
}
