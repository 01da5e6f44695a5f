//! Version, commit and build profile of this build, as shown by both binaries and by `/version`.

pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// From git at build time, or from `PINION_COMMIT`; "unknown" if there was neither.
pub const COMMIT: &str = env!("PINION_BUILD_COMMIT");
pub const PROFILE: &str = env!("PINION_BUILD_PROFILE");

/// What `--version` prints after the binary's name.
pub const TEXT: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("PINION_BUILD_COMMIT"),
    ", ",
    env!("PINION_BUILD_PROFILE"),
    ")"
);
