//! `pinion` and `pinion-node` as processes.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The exit code and the output of one run of `pinion`.
pub(crate) struct Outcome {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub(crate) fn pinion(arguments: &[&str]) -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_pinion"))
        .args(arguments)
        .env_remove("PINION_CONFIG")
        .env_remove("PINION_FAULT")
        .output()
        .expect("the tool runs");
    Outcome {
        code: output.status.code().expect("no signal"),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// Runs the tool with its standard output a closed pipe; returns its exit code, `None` if a signal ended it.
pub(crate) fn pinion_with_closed_output(arguments: &[&str]) -> Option<i32> {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinion"));
    command.args(arguments).env_remove("PINION_CONFIG").stdout(writer).stderr(Stdio::null());
    command.status().expect("the tool runs").code()
}

impl Outcome {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// The error output must contain these words.
    #[track_caller]
    pub(crate) fn error_contains(self, words: &str) -> Self {
        assert!(self.err.contains(words), "{words:?} in {}", self.err);
        self
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The node in the tool's directory, if it was built with fault injection.
pub(crate) fn node_with_faults() -> Option<PathBuf> {
    let node = Path::new(env!("CARGO_BIN_EXE_pinion")).with_file_name("pinion-node");
    if node::faults::fault::ENABLED && node.exists() {
        return Some(node);
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "CI builds every crate of the workspace, with fault injection"
    );
    eprintln!("there is no pinion-node with fault injection, so this test is skipped: ./dev test builds one");
    None
}

/// A node in a process of its own, on ports from the system.
pub(crate) struct NodeProcess {
    child: Child,
    pub orders: String,
    pub market: String,
    pub ops: String,
    pub seq: u64,
    pub state_hash: String,
}

fn command(node: &Path, config: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(node);
    command.arg("--config").arg(config).env_remove("PINION_FAULT").stdout(Stdio::piped()).stderr(Stdio::null());
    for listener in ["ORDERS", "MARKET", "HTTP", "OPS"] {
        command.env(format!("PINION__LISTEN__{listener}"), "127.0.0.1:0");
    }
    // Whatever else fills the disk of the machine that tests.
    command.env("PINION__STORE__INTAKE_STOP_PERCENT", "100");
    command.env("PINION__NODE__IDLE", "backoff").envs(settings.iter().copied());
    command
}

/// The same, in a process whose hard limit of descriptors is `descriptors` and whose soft limit is half of it.
fn command_with_descriptors(node: &Path, config: &Path, settings: &[(&str, &str)], descriptors: u64) -> Command {
    let plain = command(node, config, settings);
    let script = format!("ulimit -Sn {} && ulimit -Hn {descriptors} && exec \"$@\"", descriptors / 2);
    let mut limited = Command::new("sh");
    limited.arg("-c").arg(script).arg("sh").arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
}

impl NodeProcess {
    pub(crate) fn start(node: &Path, config: &Path, settings: &[(&str, &str)]) -> Self {
        Self::of(command(node, config, settings))
    }

    pub(crate) fn start_with_descriptors(
        node: &Path,
        config: &Path,
        settings: &[(&str, &str)],
        descriptors: u64,
    ) -> Self {
        let mut command = command_with_descriptors(node, config, settings, descriptors);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        Self::of(command)
    }

    /// The exit code and the error output of a start that ends by itself.
    pub(crate) fn refused_with_descriptors(
        node: &Path,
        config: &Path,
        settings: &[(&str, &str)],
        descriptors: u64,
    ) -> (Option<i32>, String) {
        let output = command_with_descriptors(node, config, settings, descriptors).output().expect("the node runs");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the node runs");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let line = stdout.lines().map_while(Result::ok).find(|line| line.starts_with("ready "));
        let line = line.expect("the node says that it is ready");
        let field = |name: &str| {
            let found = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_else(|| panic!("no {name} in {line:?}")).to_owned()
        };
        Self {
            orders: field("orders"),
            market: field("market"),
            ops: format!("http://{}", field("ops")),
            seq: field("seq").parse().expect("a sequence"),
            state_hash: field("state_hash"),
            child,
        }
    }

    /// The exit code of a start that ends by itself.
    pub(crate) fn refused(node: &Path, config: &Path, settings: &[(&str, &str)]) -> Option<i32> {
        command(node, config, settings).output().expect("the node runs").status.code()
    }

    /// Stops the node as an operator does.
    pub(crate) fn stop(self) {
        assert_eq!(self.terminate(), Some(0));
    }

    /// The same, of a node that may not end in order; returns its exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs still");
        self.child.wait().expect("our own child").code()
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // The process has mostly ended by now; after a failed test it has not.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
