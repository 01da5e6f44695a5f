//! The prebuilt yardstick programs that lie beside the streams, run as processes: `twin` shows that the naive twin here
//! is not slower than another program of the same design, `flat` shows the limit of a single file of flat arrays.
//!
//! They inherit the core of this thread and use the same measure, million commands per second of CPU time.

use crate::measure::{Check, Run};
use crate::streams::bench_dir;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

pub const YARDSTICKS: [&str; 2] = ["twin", "flat"];

/// Returns `None` when there is no such program or its output does not have the expected form.
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
