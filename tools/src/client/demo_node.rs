//! A `pinion-node` process that a demo starts and stops.
//!
//! Invariant: when the value is dropped, the process has ended.

use anyhow::{Context, Result, bail, ensure};
use node::status::exit;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A small journal, which is created quickly. The log is kept in the store all the same.
const SEGMENT_BYTES: &str = "16MiB";
const BALLAST_BYTES: &str = "1MiB";
const CONFIG: &str = "pinion.toml";
/// On a disk: /tmp may be in memory, which accepts no direct writes.
const TEMPORARY: &str = "/var/tmp";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub orders: SocketAddr,
    pub market: SocketAddr,
    pub ops: SocketAddr,
}

impl Addresses {
    /// The addresses of a node with a default configuration.
    pub fn usual() -> Self {
        let at = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self { orders: at(9001), market: at(9002), ops: at(8081) }
    }
}

pub struct DemoNode {
    child: Child,
    pub addresses: Addresses,
    data_dir: PathBuf,
    /// The data directory of a demo that was given none; deleted when this value is dropped.
    _temporary: Option<TempDir>,
}

impl DemoNode {
    /// Creates the data directory where it is absent, and starts the node. Returns when the node accepts orders.
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
        // A process group of its own: Ctrl-C in a terminal reaches only the demo, which then stops its node in order.
        command.process_group(0);
        command.env("PINION__NODE__IDLE", "backoff").env("PINION__LOG__LEVEL", "warn");
        // A demo goes on however full the disk of the machine is.
        command.env("PINION__STORE__INTAKE_STOP_PERCENT", "100");
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
        bail!("pinion-node did not start ({}); its message is above", self.child.wait()?)
    }

    /// Fails when the node has ended by itself.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("pinion-node ended by itself ({status}); its message is above"),
        }
    }

    /// Asks the node to stop, waits until it has ended in order, and returns its exit code.
    pub fn stop(mut self) -> Result<u8> {
        self.terminate();
        let status = self.child.wait()?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::FAILED))
    }

    fn terminate(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // The process has not been waited for, so its id cannot belong to another process yet.
        if let (Some(pid), Ok(None)) = (pid, self.child.try_wait()) {
            // The signal fails only where the process has ended meanwhile, which is the aim.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for DemoNode {
    fn drop(&mut self) {
        self.terminate();
        // A process that cannot be waited for leaves nothing to do.
        let _ = self.child.wait();
    }
}

fn temporary() -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("pinion-demo-");
    builder.tempdir_in(TEMPORARY).or_else(|_| builder.tempdir()).context("making a temporary directory")
}

/// Runs `pinion init` as an operator would.
fn init(data_dir: &Path) -> Result<()> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = Command::new(program);
    command.args(["init", "--name", "demo", "--segment-bytes", SEGMENT_BYTES, "--ballast-bytes", BALLAST_BYTES]);
    command.arg("--data-dir").arg(data_dir).stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.status().context("running pinion init")?;
    ensure!(status.success(), "pinion init --data-dir {} failed ({status}); its message is above", data_dir.display());
    Ok(())
}

/// The path of a program that is installed beside this one.
fn sibling(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe().context("finding this program")?.with_file_name(name);
    ensure!(
        path.exists(),
        "looking for {name}: there is no {}; build it (cargo build --workspace) or install it there",
        path.display()
    );
    Ok(path)
}

/// The usual addresses, each replaced by one with a free port where its own port is in use.
fn choose(free_ports: bool) -> Result<Addresses> {
    let usual = Addresses::usual();
    // All listeners stay open until all ports are chosen, so that no two are the same.
    let mut open = Vec::new();
    let mut choose = |wanted: SocketAddr| -> Result<SocketAddr> {
        let listener = match TcpListener::bind(wanted) {
            Ok(listener) if !free_ports => listener,
            _ => TcpListener::bind((wanted.ip(), 0)).context("finding a free port")?,
        };
        let address = listener.local_addr()?;
        open.push(listener);
        Ok(address)
    };
    Ok(Addresses { orders: choose(usual.orders)?, market: choose(usual.market)?, ops: choose(usual.ops)? })
}
