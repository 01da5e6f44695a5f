//! The node's binary: `pinion-node --config FILE`.

use clap::Parser;
use node::config::Config;
use node::host::hangup::Hangup;
use node::host::stop_timer;
use node::host::threads::leave_cores;
use node::ops::registry::Registry;
use node::ops::{self, OpsServer};
use node::status::exit;
use node::status::logging::{self, standard};
use node::topology;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

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
    let mut registry = Registry::default();
    let node = match topology::start_claimed(config, claim, |engine| registry = Registry::of(engine)) {
        Ok(node) => node,
        Err(error) => return refuse(error.exit_code(), &error),
    };
    let edge = match OpsServer::spawn(config, ops, node.ops_handles(), registry) {
        Ok(edge) => edge,
        Err(error) => {
            node.lifecycle.fail(exit::CONFIG, error.to_string());
            return node.join();
        }
    };
    wait_for_end(&node, || announce(&node, &edge));
    if let Err(error) =
        stop_timer::start(config.node.stop_timeout, Arc::clone(&node.lifecycle), Arc::clone(&node.status))
    {
        tracing::error!("starting the thread that bounds the stop: {error}");
    }
    let code = node.join();
    edge.stop();
    code
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
