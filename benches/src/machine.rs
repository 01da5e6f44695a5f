//! The machine and the core on which a figure was measured.

use crate::clock::Ticks;
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::fs::read_to_string;
use std::process::Command;

#[derive(Clone, Debug)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub pinned: Option<usize>,
    pub huge_pages: String,
    pub commit: Option<String>,
    pub clock_step_ns: f64,
    pub clock_cost_ns: f64,
}

impl Machine {
    /// Describes the machine and pins this thread to `core`, or to the last one without it.
    pub fn enter(core: Option<usize>, ticks: &Ticks) -> Self {
        // Before pinning, because a pinned thread sees a single core.
        let mut machine = Self::describe(ticks);
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let wanted = cores.iter().rev().find(|id| core.is_none_or(|core| id.id == core)).copied();
        machine.pinned = wanted.filter(|id| core_affinity::set_for_current(*id)).map(|id| id.id);
        machine
    }

    /// The same on a thread of its own, so that threads of this one do not inherit the core. Client and node need one
    /// each.
    pub fn enter_aside(core: usize, ticks: &Ticks) -> Result<Self> {
        let enter = || Self::enter(Some(core), ticks);
        let machine =
            std::thread::scope(|scope| scope.spawn(enter).join().expect("describing a machine does not panic"));
        machine.require_two_cores()?;
        Ok(machine)
    }

    /// Fails where client and node would share a core.
    pub fn require_two_cores(&self) -> Result<()> {
        ensure!(self.cores >= 2, "client and node need a core each; this process may run on {}", self.cores);
        Ok(())
    }

    /// Describes the machine and pins nothing, for subjects whose threads would inherit the core.
    pub fn describe(ticks: &Ticks) -> Self {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        Self {
            cpu: proc_value("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown CPU".to_owned()),
            cores: cores.len(),
            pinned: None,
            huge_pages: huge_pages(),
            commit: commit(),
            clock_step_ns: ticks.step_ns,
            clock_cost_ns: ticks.cost_ns,
        }
    }

    pub fn text(&self) -> String {
        let pinned = self.pinned.map_or("not pinned".to_owned(), |core| format!("pinned to core {core}"));
        let commit = self.commit.as_deref().unwrap_or("unknown");
        format!(
            "machine   {}, {} cores, {pinned}, huge pages {}, commit {commit}\n\
             clock     time stamp counter: step {:.1} ns, one reading {:.1} ns (inside every latency below)",
            self.cpu, self.cores, self.huge_pages, self.clock_step_ns, self.clock_cost_ns
        )
    }

    pub fn json(&self) -> Value {
        json!({
            "cpu": self.cpu, "cores": self.cores, "pinned_core": self.pinned, "huge_pages": self.huge_pages,
            "commit": self.commit, "clock_step_ns": self.clock_step_ns, "clock_cost_ns": self.clock_cost_ns,
        })
    }
}

fn proc_value(path: &str, key: &str) -> Option<String> {
    let text = read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The kernel's setting; its file shows the choice in force in brackets.
fn huge_pages() -> String {
    let text = read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let inside = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or("unknown", |(choice, _)| choice).to_owned()
}

fn commit() -> Option<String> {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Resident memory of this process in bytes.
pub fn resident_bytes() -> u64 {
    let kb = proc_value("/proc/self/status", "VmRSS").and_then(|v| v.trim_end_matches(" kB").parse::<u64>().ok());
    kb.unwrap_or(0) * 1024
}

/// Memory that programs may still allocate without swapping, by the kernel's estimate.
pub fn available_bytes() -> Option<u64> {
    let kb: u64 = proc_value("/proc/meminfo", "MemAvailable")?.trim_end_matches(" kB").parse().ok()?;
    Some(kb * 1024)
}
