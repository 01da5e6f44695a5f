//! Draws what benches wrote with `--json`.

use anyhow::{Context, Result, ensure};
use benches::plots::{Document, pictures};
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
    /// Where the pictures go.
    #[arg(long, default_value = "docs/plots")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plot: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Nothing is written before every document has been drawn.
fn run(args: &Args) -> Result<()> {
    let mut drawn = Vec::new();
    let mut names = BTreeSet::new();
    for file in &args.files {
        for picture in pictures(&Document::read(file)?)? {
            ensure!(names.insert(picture.name.clone()), "{}: {} is drawn already", file.display(), picture.name);
            drawn.push(picture);
        }
    }
    std::fs::create_dir_all(&args.out).with_context(|| format!("{}", args.out.display()))?;
    for picture in drawn {
        let path = args.out.join(format!("{}.svg", picture.name));
        std::fs::write(&path, picture.svg).with_context(|| format!("{}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}
