//! The real binary in a process of its own: started, killed, asked to stop, and read afterwards.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A start replays the log; slow machines need time for it.
const READY_MAX: Duration = Duration::from_secs(60);
const END_MAX: Duration = Duration::from_secs(60);

/// How the binary shall be started.
#[derive(Clone)]
pub struct Start {
    pub config: PathBuf,
    /// `PINION_FAULT`, when something shall go wrong.
    pub fault: Option<String>,
}

/// A node that said that it is ready.
pub struct Process {
    child: Option<Child>,
    log: PathBuf,
    pub orders: SocketAddr,
    pub market: SocketAddr,
    pub seq: u64,
    pub state_hash: String,
}

/// How a node ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    /// None where a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub said: String,
}

impl Start {
    pub fn new(config: &Path) -> Self {
        Self { config: config.to_owned(), fault: None }
    }

    pub fn with_fault(config: &Path, fault: &str) -> Self {
        Self { fault: Some(fault.to_owned()), ..Self::new(config) }
    }

    /// Starts the node and waits until it serves, or until it has ended instead.
    pub fn try_run(&self) -> Result<Process, Ended> {
        let log = self.config.with_extension("log");
        let stderr = File::create(&log).expect("a log file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinion-node"));
        command.arg("--config").arg(&self.config).env_remove("PINION_FAULT");
        if let Some(fault) = &self.fault {
            command.env("PINION_FAULT", fault);
        }
        let child = command.stdout(Stdio::piped()).stderr(stderr).spawn().expect("the binary is there");
        await_ready(child, log)
    }

    pub fn run(&self) -> Process {
        self.try_run().unwrap_or_else(|ended| panic!("the node ended instead of serving: {ended:?}"))
    }

    /// For a start that must be refused.
    pub fn refused(&self) -> Ended {
        match self.try_run() {
            Ok(process) => panic!("the node serves at {}, and should have refused", process.orders),
            Err(ended) => ended,
        }
    }
}

/// Reads standard output to the line that announces the node; its end means that the process is gone.
fn await_ready(mut child: Child, log: PathBuf) -> Result<Process, Ended> {
    let stdout = child.stdout.take().expect("piped");
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // A receiver that is gone has what it wanted.
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
                panic!("not ready in time: {:?}", wait_for_end(child, &log));
            }
        }
    }
}

fn ready(child: Child, log: PathBuf, line: &str) -> Process {
    let field = |name: &str| {
        let found = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("no {name} in {line:?}"))
    };
    Process {
        orders: field("orders").parse().expect("an address"),
        market: field("market").parse().expect("an address"),
        seq: field("seq").parse().expect("a sequence"),
        state_hash: field("state_hash").to_owned(),
        child: Some(child),
        log,
    }
}

fn wait_for_end(mut child: Child, log: &Path) -> Ended {
    let deadline = Instant::now() + END_MAX;
    let status = loop {
        if let Some(status) = child.try_wait().expect("our own child") {
            break status;
        }
        if deadline < Instant::now() {
            let _ = child.kill();
            panic!("the node did not end in time: {}", std::fs::read_to_string(log).unwrap_or_default());
        }
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(2));
    };
    Ended { code: status.code(), signal: status.signal(), said: std::fs::read_to_string(log).unwrap_or_default() }
}

impl Process {
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("running").id()
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `kill -9`: nothing of the process gets to do anything any more.
    pub fn kill(mut self) -> Ended {
        let mut child = self.child.take().expect("running");
        child.kill().expect("our own child");
        wait_for_end(child, &self.log)
    }

    pub fn terminate(mut self) -> Ended {
        let child = self.child.take().expect("running");
        let sent = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill(1) is part of every system");
        wait_for_end(child, &self.log)
    }

    /// Waits for it to end by itself.
    pub fn wait(mut self) -> Ended {
        wait_for_end(self.child.take().expect("running"), &self.log)
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().expect("running").try_wait().expect("our own child").is_some()
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.id())).expect("a living process");
        let pages: u64 = statm.split(' ').nth(1).and_then(|field| field.parse().ok()).expect("a number of pages");
        pages * 4096
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            if std::thread::panicking() {
                eprintln!(
                    "the node ({:?}) said: {}",
                    child.try_wait(),
                    std::fs::read_to_string(&self.log).unwrap_or_default()
                );
            }
            // Gone already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
