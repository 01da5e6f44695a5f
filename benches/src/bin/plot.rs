//! plot: draws the JSON documents of the benches as SVG.
//!
//! ```text
//!   ./dev bench NAME -- --json > NAME.json      plot NAME.json .. --> OUT/PICTURE.svg
//! ```
//! Checked: every figure that a picture needs is in the document, or the error names file and key; no two pictures have
//! one name; nothing is written before every document has been drawn. Printed: the path of each picture.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use anyhow::{Context, Result, ensure};
use benches::options::exit_code;
use benches::plots::document::Document;
use benches::plots::pictures;
use clap::Parser;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

/// Draws SVG pictures of JSON documents that benches wrote with `--json`.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Documents of scale, match, apply, append, round_trip and start.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Write the pictures into this directory.
    #[arg(long, default_value = "docs/plots")]
    out: PathBuf,
}

fn main() -> ExitCode {
    exit_code("plot", run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    let mut drawn = Vec::new();
    let mut names = BTreeSet::new();
    for file in &args.files {
        for picture in pictures(&Document::read(file)?)? {
            ensure!(
                names.insert(picture.name.clone()),
                "{}: another document has drawn the picture {} already",
                file.display(),
                picture.name
            );
            drawn.push(picture);
        }
    }
    std::fs::create_dir_all(&args.out).with_context(|| format!("creating {}", args.out.display()))?;
    for picture in drawn {
        let path = args.out.join(format!("{}.svg", picture.name));
        std::fs::write(&path, picture.svg).with_context(|| format!("writing {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}
