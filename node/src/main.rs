//! The node's binary: `pinion-node --config FILE`.

use clap::Parser;
use node::config::Config;
use node::host::hangup::Hangup;
use node::host::stop_timer;
use node::host::threads::leave_cores;
use node::ops::disk_watch::DiskUse;
use node::ops::registry::Registry;
use node::ops::{self, OpsServer};
use node::status::exit;
use node::status::logging::{self, standard};
use node::topology;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use wal::directory::ballast_path;

/// One exchange in one process.
#[derive(Parser)]
#[command(name = "pinion-node", version = node::status::version::TEXT)]
struct Arguments {
    /// Configuration file, as written by `pinion init`
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Start once although the wall clock lies far from the last command of the log: log time never runs back
    #[arg(long)]
    accept_clock: bool,
}

/// A disk with less free than this is full: a segment of RocksDB's own log does not fit.
const FULL_BYTES: u64 = 1 << 20;
/// How often the main thread checks whether a loop has failed.
const WATCH_EVERY: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // `--help` and `--version` arrive here too, and are not errors.
            let code = if error.use_stderr() { exit::USAGE } else { exit::OK };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    // First of all, so that there is no moment at which the signal ends the process.
    let hangup = match Hangup::catch() {
        Ok(hangup) => hangup,
        Err(error) => return ExitCode::from(refuse(exit::FAILED, &error)),
    };
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(errors) => {
            say(format!("{errors}\n"));
            return ExitCode::from(exit::CONFIG);
        }
    };
    let code = serve(&config, hangup, arguments.accept_clock);
    logging::flush();
    ExitCode::from(code)
}

fn serve(config: &Config, hangup: Hangup, accept_clock: bool) -> u8 {
    let log_writer = match logging::start(&config.log) {
        Ok(log_writer) => log_writer,
        Err(error) => return refuse(exit::CONFIG, &error),
    };
    let _kept_off = leave_cores(&config.node);
    if let Err(error) = log_writer.spawn().and_then(|()| hangup.spawn(config.log.dir.clone())) {
        return refuse(exit::FAILED, &error);
    }
    let claim = match topology::claim(config) {
        Ok(claim) if accept_clock => claim.accept_clock(),
        Ok(claim) => claim,
        Err(error) => return refuse(error.exit_code(), &error),
    };
    let ops = match ops::bind(config) {
        Ok(ops) => ops,
        Err(error) => return refuse(exit::FAILED, &error),
    };
    let (lifecycle, status) = claim.shown();
    let edge = match OpsServer::begin(config, ops, lifecycle, status) {
        Ok(edge) => edge,
        Err(error) => return refuse(exit::CONFIG, &error),
    };
    let mut registry = Registry::default();
    let node = match topology::start_claimed(config, claim, |engine| registry = Registry::of(engine)) {
        Ok(node) => node,
        Err(error) => {
            let code = refuse(error.exit_code(), &error);
            say_how_to_make_room(config, code);
            return code;
        }
    };
    if let Err(error) = edge.serve(node.ops_handles(), registry) {
        node.lifecycle.fail(exit::FAILED, error.to_string());
        return node.join();
    }
    wait_for_end(&node, || announce(&node, &edge));
    if let Err(error) =
        stop_timer::start(config.node.stop_timeout, Arc::clone(&node.lifecycle), Arc::clone(&node.status))
    {
        tracing::error!("starting the thread that bounds the stop: {error}");
    }
    let code = node.join();
    edge.stop();
    say_how_to_make_room(config, code);
    code
}

/// The last message of a node whose disk is full names what may be deleted to start it again.
fn say_how_to_make_room(config: &Config, code: u8) {
    let ballast = ballast_path(&config.node.data_dir);
    let is_full = DiskUse::of(&config.node.data_dir).is_some_and(|disk| disk.free_bytes < FULL_BYTES);
    if code != exit::NO_SPACE && !(code == exit::JOURNAL_FAILED && is_full) {
        return;
    }
    let what = match std::fs::metadata(&ballast) {
        Ok(found) => format!("delete {} ({} bytes)", ballast.display(), found.len()),
        Err(_) => format!("{} is not there any more: delete something else", ballast.display()),
    };
    say(format!(
        "pinion-node: the disk is full: {what}, start again, and make room; what was acknowledged is in the log\n"
    ));
}

fn refuse(code: u8, error: &dyn std::error::Error) -> u8 {
    say(format!("pinion-node: {error}\n"));
    code
}

/// Prints text on standard error, after every line of the log.
fn say(text: String) {
    logging::flush();
    standard::write_within(standard::stderr(), text.as_bytes(), logging::END_MAX);
}

/// Prints the line that scripts and tests wait for.
fn announce(node: &topology::Node, edge: &OpsServer) {
    let line = format!(
        "ready orders={} market={} ops={} seq={} state_hash={}",
        node.addresses.orders,
        node.addresses.market,
        edge.address(),
        node.log.tail.seq.0,
        node.state_hash
    );
    // A script that has read the line finds everything that was logged before it.
    logging::flush();
    // Standard output may be closed, or a full pipe; the same line goes to the log.
    standard::write_within(standard::stdout(), format!("{line}\n").as_bytes(), logging::END_MAX);
    tracing::info!("{line}");
}

/// Returns after SIGTERM, SIGINT or the failure of a loop, with every loop asked to stop. `announce` is called once the
/// signal handlers are in place, so that a script that has read the line may send a signal at once.
fn wait_for_end(node: &topology::Node, announce: impl FnOnce()) {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.and_then(|runtime| {
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            announce();
            let failed = async {
                while !node.lifecycle.is_stopping() {
                    tokio::time::sleep(WATCH_EVERY).await;
                }
            };
            tokio::select! {
                _ = terminate.recv() => tracing::info!("asked to stop by SIGTERM"),
                _ = interrupt.recv() => tracing::info!("asked to stop by SIGINT"),
                () = failed => {}
            }
            Ok(())
        })
    });
    if let Err(error) = outcome {
        node.lifecycle.fail(exit::FAILED, format!("waiting for signals: {error}"));
    }
    node.lifecycle.stop();
}
