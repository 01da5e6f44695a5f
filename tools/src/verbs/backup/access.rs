//! The option with the credentials of a backup, which `pinion restore` has as well.

use clap::Args;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub struct Access {
    /// File with lines AWS_NAME=value, which take precedence over the environment; refused when others than its owner
    /// and group may read it
    #[arg(long, value_name = "FILE")]
    pub secrets_file: Option<PathBuf>,
}
