//! `pinion VERB`: the operator's tool. A verb is a file of the library and a line of the table here.

use clap::{Parser, Subcommand};
use node::exit;
use std::process::ExitCode;
use tools::failure;

/// Sets up, checks, administers and looks at a Pinion exchange.
///
/// Exit codes: 0 ok, 1 failed, 2 usage, 3 configuration, 10 data directory locked, 11 target not empty, 12 not found,
/// 13 to 21 what the log says (docs/TOOLS.md).
#[derive(Parser)]
#[command(name = "pinion", version = node::version::TEXT)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

macro_rules! verbs {
    ($($name:ident: $arguments:ty,)*) => {
        #[derive(Subcommand)]
        enum Verb {
            $($name($arguments),)*
        }

        impl Verb {
            fn run(&self) -> anyhow::Result<u8> {
                match self {
                    $(Self::$name(arguments) => arguments.run(),)*
                }
            }
        }
    };
}

verbs! {
    Init: tools::init::Init,
    CheckConfig: tools::check_config::CheckConfig,
    Doctor: tools::doctor::Doctor,
    Status: tools::status::Status,
    Top: tools::top::Top,
    Admin: tools::admin::Admin,
    ReplayDay: tools::replay_day::ReplayDay,
    Load: tools::load::Load,
    Log: tools::log::Log,
    Snapshot: tools::snapshot::Snapshot,
    Restore: tools::restore::Restore,
    State: tools::state::State,
    Replay: tools::replay_log::Replay,
    Recon: tools::recon::Recon,
    Backup: tools::backup::Backup,
    Order: tools::order::Order,
    Cancel: tools::cancel::Cancel,
    Book: tools::book_verb::Book,
    Watch: tools::watch::Watch,
    Demo: tools::demo::Demo,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no mistakes; where nobody reads them there is nothing to do about it.
            let code = if error.use_stderr() { exit::USAGE } else { exit::OK };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match arguments.verb.run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("pinion: {error:#}");
            ExitCode::from(failure::code_of(&error))
        }
    }
}
