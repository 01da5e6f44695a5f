//! `pinion VERB`: the operator's tool. A verb is a file or folder of `verbs`, and a line of the table here.

use clap::{Parser, Subcommand};
use node::status::exit;
use std::process::ExitCode;
use tools::archive::error::BackupError;
use tools::terminal::failure;

/// Sets up, checks, administers and observes a Pinion exchange.
///
/// Exit codes: 0 done, 1 failed, 2 wrong command line, 3 wrong configuration, 10 data directory locked, 11 target not
/// empty, 12 not found, 13 damaged, 14 unknown version, 15 outside the log, 16 another node or timeline, 17 a
/// reconciliation rule is broken, 18 another state hash, 19 no space, 20 journal write failed, 21 shorter than
/// acknowledged, 22 a command crashes every start. docs/OPERATIONS.md says what to do about each.
#[derive(Parser)]
#[command(name = "pinion", version = node::status::version::TEXT)]
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
    Init: tools::verbs::init::Init,
    CheckConfig: tools::verbs::check_config::CheckConfig,
    Doctor: tools::verbs::doctor::Doctor,
    Status: tools::verbs::status::Status,
    Top: tools::verbs::top::Top,
    Admin: tools::verbs::admin::Admin,
    ReplayDay: tools::verbs::replay_day::ReplayDay,
    Load: tools::verbs::load::Load,
    Log: tools::verbs::log::Log,
    Ballast: tools::verbs::ballast::Ballast,
    Snapshot: tools::verbs::snapshot::Snapshot,
    Restore: tools::verbs::restore::Restore,
    State: tools::verbs::state::State,
    Replay: tools::verbs::replay::Replay,
    Upgrade: tools::verbs::upgrade::Upgrade,
    Recon: tools::verbs::recon::Recon,
    Backup: tools::verbs::backup::Backup,
    Order: tools::verbs::order::Order,
    Cancel: tools::verbs::cancel::Cancel,
    Book: tools::verbs::book::Book,
    Watch: tools::verbs::watch::Watch,
    Demo: tools::verbs::demo::Demo,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are not errors. A failure to print them, as to a closed pipe, is ignored.
            let code = if error.use_stderr() { exit::USAGE } else { exit::OK };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match arguments.verb.run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("pinion: {error:#}");
            ExitCode::from(failure::code_of_any(&error, &[failure::code_in::<BackupError>]))
        }
    }
}
