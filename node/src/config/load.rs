//! How a configuration is loaded: the file, the environment over it, the caller's values over both, then all checks.

use super::Config;
use super::build::Build;
use super::reader::{ConfigError, Origin, Reader};
use super::{cores, paths, production, sections};
use std::fmt;
use std::path::{Path, PathBuf};

/// All mistakes of a configuration, in the order of its sections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    pub path: PathBuf,
    pub errors: Vec<ConfigError>,
}

impl fmt::Display for ConfigErrors {
    /// One mistake a line, each after its place: `FILE:LINE: `, `FILE: `, `environment variable NAME: ` or `command
    /// line: `.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, error) in self.errors.iter().enumerate() {
            let path = self.path.display();
            match &error.origin {
                Origin::Line(line) => write!(f, "{path}:{line}: ")?,
                Origin::Absent => write!(f, "{path}: ")?,
                // The variable itself is the key of this mistake.
                Origin::Variable(name) if *name == error.key => write!(f, "environment variable ")?,
                Origin::Variable(name) => write!(f, "environment variable {name}: ")?,
                Origin::Caller => write!(f, "command line: ")?,
            }
            let end = if idx + 1 < self.errors.len() { "\n" } else { "" };
            write!(f, "{}{end}", error.description())?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// How much of a configuration is checked.
#[derive(Clone, Copy)]
enum Checks {
    /// Each value, and the relations between values.
    Values,
    /// Paths and secrets on this machine, and the demands of production, as well.
    All(Build),
}

impl Config {
    /// Reads and checks the file, with this process's environment over it.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::load_with(path, &[])
    }

    /// The same with values that override both, each under its `section.key`.
    pub fn load_with(path: &Path, overrides: &[(&str, &str)]) -> Result<Self, ConfigErrors> {
        Self::load_checked(path, overrides, Checks::All(Build::of_this_binary()))
    }

    /// For tools that only need a node's addresses and paths: neither its directories nor its secrets are checked, nor
    /// the demands of production, because those are checked by the node.
    pub fn load_values(path: &Path) -> Result<Self, ConfigErrors> {
        Self::load_checked(path, &[], Checks::Values)
    }

    /// Every default, for tools that know only the data directory.
    pub fn of_defaults(data_dir: &Path) -> Self {
        let required = [("node.data_dir", "/")];
        let config = Self::checked("", Path::new("/"), [], &required, Checks::Values);
        let mut config = config.expect("every default lies within its own bounds");
        config.node.data_dir = data_dir.to_owned();
        config
    }

    fn load_checked(path: &Path, overrides: &[(&str, &str)], checks: Checks) -> Result<Self, ConfigErrors> {
        let failed = |why: String| {
            let error = ConfigError { key: String::new(), origin: Origin::Absent, value: None, why, allowed: None };
            ConfigErrors { path: path.to_owned(), errors: vec![error] }
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
        // The file's own directory, so that a relative path does not depend on the working directory of the process.
        let base = std::path::absolute(path).map_err(|error| failed(error.to_string()))?;
        let base = base.parent().unwrap_or(Path::new("/"));
        let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self::checked(&text, base, variables, overrides, checks)
            .map_err(|errors| ConfigErrors { path: path.to_owned(), errors })
    }

    /// Checks `text` as a file in directory `base`; nothing is read from the process.
    pub fn from_parts(
        text: &str,
        base: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
        overrides: &[(&str, &str)],
        build: Build,
    ) -> Result<Self, Vec<ConfigError>> {
        Self::checked(text, base, variables, overrides, Checks::All(build))
    }

    /// The same without the checks of this machine: neither directories nor secrets nor the build.
    pub fn of_text(
        text: &str,
        base: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<ConfigError>> {
        Self::checked(text, base, variables, &[], Checks::Values)
    }

    fn checked(
        text: &str,
        base: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
        overrides: &[(&str, &str)],
        checks: Checks,
    ) -> Result<Self, Vec<ConfigError>> {
        let mut reader = Reader::new(text, base).map_err(|error| vec![error])?;
        reader.set_from_environment(variables);
        for (key, value) in overrides {
            reader.set(key, value, Origin::Caller);
        }
        let config = sections::read(&mut reader);
        if let Checks::All(build) = checks {
            cores::check(&config, cores::available(), &mut reader);
            paths::check(&config, &mut reader);
            production::check(&config, build, &mut reader);
        }
        let errors = reader.finish();
        if errors.is_empty() { Ok(config) } else { Err(errors) }
    }
}
