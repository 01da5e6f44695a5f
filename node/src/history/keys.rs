//! The metadata keys of the history; their bytes are part of the format on disk.

/// Metadata key of the watermark: the history is complete up to and including this sequence.
pub const WATERMARK_KEY: &[u8] = b"history";
/// Metadata key of the sequence after which the history is complete. Absent if it is complete from the first one on.
/// The bytes are part of the format on disk.
pub const BEGINS_KEY: &[u8] = b"history begins behind";
