//! A finished picture, and the line at its foot.

use super::document::Part;
use anyhow::Result;

/// A finished picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The file's name without its extension.
    pub name: String,
    pub svg: String,
}

impl Picture {
    pub(super) fn new(name: impl Into<String>, svg: String) -> Self {
        Self { name: name.into(), svg }
    }
}

/// The machine and the commit of the figures, for the foot of a picture.
pub(super) fn source(root: &Part<'_>) -> Result<String> {
    let machine = root.at("machine")?;
    let commit = machine.find("commit").map_or(Ok("unknown"), |commit| commit.text())?;
    let (cpu, cores) = (machine.at("cpu")?, machine.at("cores")?);
    Ok(format!("{}, {} cores, commit {commit}", cpu.text()?, cores.number()?))
}
