//! The node's binary in a process of its own: started, killed, asked to stop, and its output.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a start, which replays the log, and for an end.
const READY_MAX: Duration = Duration::from_secs(60);
const END_MAX: Duration = Duration::from_secs(60);

/// How to start the binary.
#[derive(Clone)]
pub(crate) struct Start {
    pub config: PathBuf,
    /// `PINION_FAULT`, the fault to inject.
    pub fault: Option<String>,
    /// More arguments than the configuration.
    pub arguments: Vec<String>,
}

/// A node that has printed that it is ready.
pub(crate) struct Process {
    child: Option<Child>,
    log: PathBuf,
    pub orders: SocketAddr,
    pub market: SocketAddr,
    pub ops: SocketAddr,
    pub seq: u64,
    pub state_hash: String,
}

/// How a node ended, and its output on standard error.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` where a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub output: String,
}

impl Start {
    pub(crate) fn new(config: &Path) -> Self {
        Self { config: config.to_owned(), fault: None, arguments: Vec::new() }
    }

    pub(crate) fn with_fault(config: &Path, fault: &str) -> Self {
        Self { fault: Some(fault.to_owned()), ..Self::new(config) }
    }

    /// Starts the node and waits until it is ready or has ended.
    pub(crate) fn try_run(&self) -> Result<Process, Ended> {
        let stderr = File::create(self.log()).expect("a log file");
        self.try_run_with(stderr.into())
    }

    fn log(&self) -> PathBuf {
        self.config.with_extension("log")
    }

    /// The same with another standard error than the file that `output` reads.
    pub(crate) fn try_run_with(&self, stderr: Stdio) -> Result<Process, Ended> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinion-node"));
        command.arg("--config").arg(&self.config).args(&self.arguments).env_remove("PINION_FAULT");
        // Whatever else fills the disk of the machine that tests.
        let text = std::fs::read_to_string(&self.config).unwrap_or_default();
        if !text.contains("intake_stop_percent") {
            command.env("PINION__STORE__INTAKE_STOP_PERCENT", "100");
        }
        if let Some(fault) = &self.fault {
            command.env("PINION_FAULT", fault);
        }
        let child = command.stdout(Stdio::piped()).stderr(stderr).spawn().expect("cargo has built the binary");
        await_ready(child, self.log())
    }

    pub(crate) fn run(&self) -> Process {
        self.try_run().unwrap_or_else(|ended| panic!("the node ended during its start: {ended:?}"))
    }

    /// Starts a node that must refuse to start.
    pub(crate) fn refused(&self) -> Ended {
        match self.try_run() {
            Ok(process) => panic!("the node runs at {}, expected a refusal", process.orders),
            Err(ended) => ended,
        }
    }
}

/// Reads standard output until the line that announces the node; an end of the stream means that the process has ended.
fn await_ready(mut child: Child, log: PathBuf) -> Result<Process, Ended> {
    let stdout = child.stdout.take().expect("the stream is a pipe");
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // A closed receiver has found its line.
        BufReader::new(stdout).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
    });
    let deadline = Instant::now() + READY_MAX;
    loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if line.starts_with("ready ") => return Ok(ready(child, log, &line)),
            Ok(_) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return Err(wait_for_end(child, &log)),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                panic!("the node was not ready in time: {:?}", wait_for_end(child, &log));
            }
        }
    }
}

fn ready(child: Child, log: PathBuf, line: &str) -> Process {
    let field = |name: &str| {
        let found = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("{name} is missing in {line:?}"))
    };
    Process {
        orders: field("orders").parse().expect("an address"),
        market: field("market").parse().expect("an address"),
        ops: field("ops").parse().expect("an address"),
        seq: field("seq").parse().expect("a sequence"),
        state_hash: field("state_hash").to_owned(),
        child: Some(child),
        log,
    }
}

fn wait_for_end(mut child: Child, log: &Path) -> Ended {
    let deadline = Instant::now() + END_MAX;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child was not waited for before") {
            break status;
        }
        if deadline < Instant::now() {
            let _ = child.kill();
            panic!("the node did not end in time: {}", std::fs::read_to_string(log).unwrap_or_default());
        }
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(2));
    };
    Ended { code: status.code(), signal: status.signal(), output: std::fs::read_to_string(log).unwrap_or_default() }
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("the process runs").id()
    }

    /// The output so far.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `kill -9`: the process ends between two instructions.
    pub(crate) fn kill(mut self) -> Ended {
        let mut child = self.child.take().expect("the process runs");
        child.kill().expect("the child was not waited for before");
        wait_for_end(child, &self.log)
    }

    pub(crate) fn terminate(mut self) -> Ended {
        self.signal("TERM");
        wait_for_end(self.child.take().expect("the process runs"), &self.log)
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill(1) is part of every system");
    }

    /// Waits until the process ends by itself.
    pub(crate) fn wait(mut self) -> Ended {
        wait_for_end(self.child.take().expect("the process runs"), &self.log)
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child
            .as_mut()
            .expect("the process runs")
            .try_wait()
            .expect("the child was not waited for before")
            .is_some()
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.id())).expect("the process runs");
        let pages: u64 = statm.split(' ').nth(1).and_then(|field| field.parse().ok()).expect("a number of pages");
        pages * 4096
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            if std::thread::panicking() {
                eprintln!(
                    "the node ({:?}) printed: {}",
                    child.try_wait(),
                    std::fs::read_to_string(&self.log).unwrap_or_default()
                );
            }
            // Killing a process that has ended fails, and is not needed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
