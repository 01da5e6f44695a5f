//! How the binary that reads a configuration was built: production refuses a debug build.

/// How the binary that reads the configuration was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    Debug,
    Release,
}

impl Build {
    pub fn of_this_binary() -> Self {
        if cfg!(debug_assertions) { Self::Debug } else { Self::Release }
    }
}
