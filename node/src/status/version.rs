//! Which code this is: version, commit and build profile, as both binaries and `/version` say it.

pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// From git at build time, or from `PINION_COMMIT`; "unknown" where there was neither.
pub const COMMIT: &str = env!("PINION_BUILD_COMMIT");
pub const PROFILE: &str = env!("PINION_BUILD_PROFILE");

/// What `--version` prints behind the binary's name.
pub const TEXT: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("PINION_BUILD_COMMIT"),
    ", ",
    env!("PINION_BUILD_PROFILE"),
    ")"
);
