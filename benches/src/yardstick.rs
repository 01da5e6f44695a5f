//! The prebuilt yardsticks beside the streams, `twin` and `flat`, as processes of their own: a cross-check that our
//! own twin is not slower than somebody else's, and the physical limit of one file in flat arrays.
//!
//! They inherit the core of this thread and use the same measure, million commands per second of CPU time.

use crate::measure::{Check, Run};
use crate::streams::bench_dir;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

pub const YARDSTICKS: [&str; 2] = ["twin", "flat"];

/// `None` when there is no such yardstick or it does not answer in its own form.
pub fn run(name: &str, stream: &Path) -> Option<Run> {
    let program = bench_dir().join(name);
    if !program.exists() {
        return None;
    }
    let output = Command::new(program).args(["--mode", "tput"]).arg(stream).output().ok()?;
    let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
    let exact = answer.get("check")?.as_str()? == "EXACT";
    Some(Run { mops: answer.get("mops")?.as_f64()?, check: if exact { Check::Exact } else { Check::Diff } })
}
