//! A `pinion-node` process that a demo starts and stops.
//!
//! Invariant: the process has ended when this value is gone.

use anyhow::{Context, Result, bail, ensure};
use node::status::exit;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Small enough to be made in a moment; a demo's log goes to the store all the same.
const SEGMENT_BYTES: &str = "16MiB";
const BALLAST_BYTES: &str = "1MiB";
const CONFIG: &str = "pinion.toml";
/// On a disk where there is one: /tmp may be memory, which takes no direct writes.
const TEMPORARY: &str = "/var/tmp";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub orders: SocketAddr,
    pub market: SocketAddr,
    pub ops: SocketAddr,
}

impl Addresses {
    pub fn usual() -> Self {
        let at = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self { orders: at(9001), market: at(9002), ops: at(8081) }
    }
}

pub struct DemoNode {
    child: Child,
    pub addresses: Addresses,
    data_dir: PathBuf,
    /// Removed with this value, where the demo has no place of its own.
    _temporary: Option<TempDir>,
}

impl DemoNode {
    /// Makes the data directory where there is none and starts the node; returns when it serves.
    pub fn start(data_dir: Option<&Path>, free_ports: bool) -> Result<Self> {
        let (data_dir, temporary) = match data_dir {
            Some(dir) => (std::path::absolute(dir)?, None),
            None => {
                let dir = temporary()?;
                (dir.path().join("data"), Some(dir))
            }
        };
        if !data_dir.join(CONFIG).exists() {
            init(&data_dir)?;
        }
        let addresses = choose(free_ports)?;
        let program = sibling("pinion-node")?;
        let mut command = Command::new(&program);
        command.arg("--config").arg(data_dir.join(CONFIG)).stdin(Stdio::null()).stdout(Stdio::piped());
        // A group of its own: Ctrl-C in a terminal reaches the demo, which then stops its node in order.
        command.process_group(0);
        command.env("PINION__NODE__IDLE", "backoff").env("PINION__LOG__LEVEL", "warn");
        for (key, address) in [
            ("PINION__LISTEN__ORDERS", addresses.orders),
            ("PINION__LISTEN__MARKET", addresses.market),
            ("PINION__LISTEN__OPS", addresses.ops),
        ] {
            command.env(key, address.to_string());
        }
        let child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let mut node = Self { child, addresses, data_dir, _temporary: temporary };
        node.await_ready()?;
        Ok(node)
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub fn config_file(&self) -> PathBuf {
        self.data_dir.join(CONFIG)
    }

    pub fn token_file(&self) -> PathBuf {
        self.data_dir.join("secrets").join("ops_token")
    }

    fn await_ready(&mut self) -> Result<()> {
        let output = self.child.stdout.take().context("its output is piped")?;
        let mut first = String::new();
        BufReader::new(output).read_line(&mut first)?;
        if first.starts_with("ready") {
            return Ok(());
        }
        bail!("the node did not start ({}); it says why above", self.child.wait()?)
    }

    /// An error when the node has ended by itself.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the node ended by itself ({status}); it says why above"),
        }
    }

    /// Asks the node to stop, waits until it has stored everything, and gives its exit code.
    pub fn stop(mut self) -> Result<u8> {
        self.terminate();
        let status = self.child.wait()?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::FAILED))
    }

    fn terminate(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // Only a process that was not waited for is signalled, so the number is still its own.
        if let (Some(pid), Ok(None)) = (pid, self.child.try_wait()) {
            // One that ended meanwhile is what was wanted.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for DemoNode {
    fn drop(&mut self) {
        self.terminate();
        // Nothing is left to do about a process that cannot be waited for.
        let _ = self.child.wait();
    }
}

fn temporary() -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("pinion-demo-");
    builder.tempdir_in(TEMPORARY).or_else(|_| builder.tempdir()).context("making a temporary directory")
}

/// `pinion init`, as anybody would run it.
fn init(data_dir: &Path) -> Result<()> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = Command::new(program);
    command.args(["init", "--name", "demo", "--segment-bytes", SEGMENT_BYTES, "--ballast-bytes", BALLAST_BYTES]);
    command.arg("--data-dir").arg(data_dir).stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.status().context("running pinion init")?;
    ensure!(status.success(), "pinion init --data-dir {} failed ({status}); it says why above", data_dir.display());
    Ok(())
}

/// The program that was built and installed beside this one.
fn sibling(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe().context("finding this program")?.with_file_name(name);
    ensure!(path.exists(), "{} is not there: build or install it beside this program", path.display());
    Ok(path)
}

/// The usual ports, each of them replaced by a free one where it is taken.
fn choose(free_ports: bool) -> Result<Addresses> {
    let usual = Addresses::usual();
    // All are held until all are chosen, so that no two are the same.
    let mut held = Vec::new();
    let mut take = |wanted: SocketAddr| -> Result<SocketAddr> {
        let listener = match TcpListener::bind(wanted) {
            Ok(listener) if !free_ports => listener,
            _ => TcpListener::bind((wanted.ip(), 0)).context("finding a free port")?,
        };
        let address = listener.local_addr()?;
        held.push(listener);
        Ok(address)
    };
    Ok(Addresses { orders: take(usual.orders)?, market: take(usual.market)?, ops: take(usual.ops)? })
}
