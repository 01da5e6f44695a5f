//! Lists the targets, or runs inputs again, for `./dev fuzz`.
//!
//! ```text
//! fuzz                        names and sizes of all targets
//! fuzz run TARGET FILE..      one line per file; a check that fails ends the process with its message
//! fuzz seeds TARGET DIR       writes the target's seeds, for libFuzzer to start from
//! ```
#![allow(clippy::print_stdout, reason = "printing is what a tool is for")]

use fuzz::target::Target;
use fuzz::targets::{self, ALL};
use std::path::Path;
use std::process::ExitCode;

const FAILED: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [] => list(),
        ["run", name, files @ ..] => find(name).and_then(|target| run(target, files)),
        ["seeds", name, dir] => find(name).and_then(|target| write_seeds(target, Path::new(dir))),
        _ => {
            eprintln!("usage: fuzz | fuzz run TARGET FILE.. | fuzz seeds TARGET DIR");
            return ExitCode::from(USAGE);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("fuzz: {why}");
            ExitCode::from(FAILED)
        }
    }
}

fn list() -> Result<(), String> {
    ALL.iter().for_each(|target| println!("{:<16} inputs up to {} bytes", target.name, target.bytes_max));
    Ok(())
}

fn find(name: &str) -> Result<&'static Target, String> {
    targets::find(name).ok_or_else(|| format!("there is no target {name:?}; `./dev fuzz` lists them"))
}

fn run(target: &Target, files: &[&str]) -> Result<(), String> {
    for file in files {
        let input = std::fs::read(file).map_err(|error| format!("reading {file}: {error}"))?;
        println!("{file}: {:?}", (target.check)(&input));
    }
    Ok(())
}

fn write_seeds(target: &Target, dir: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("writing seeds to {}: {error}", dir.display());
    std::fs::create_dir_all(dir).map_err(failed)?;
    for (idx, seed) in (target.seeds)().iter().enumerate() {
        std::fs::write(dir.join(format!("seed-{idx:03}")), seed).map_err(failed)?;
    }
    Ok(())
}
