//! `pinion doctor host`: examines the machine that a node is to run on, and says what to improve.
//!
//! Invariant: nothing is changed, and no file is left. What the kernel reports is read from files under a root, so that
//! a test can present any machine; only the clock, the ring and the disk are exercised for real.

mod clock;
mod cpu;
mod cpu_list;
mod disk;
mod drive;
#[cfg(test)]
mod fake;
mod finding;
mod isolation;
mod kernel;
mod limits;
mod machine;
mod memory;
mod mount;
mod needs;
mod pinned_core;
mod scratch;
mod sync_latency;

use self::finding::{Finding, report};
use self::machine::Machine;
use self::needs::Needs;
use crate::terminal::failure::Failure;
use anyhow::Result;
use clap::{Args, Subcommand};
use node::config::Config;
use node::status::exit;
use serde_json::Value;
use std::io::{ErrorKind, Write, stdout};
use std::path::{Path, PathBuf};

/// Examine what a node depends on, and say what to improve.
#[derive(Args, Debug)]
pub struct Doctor {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// The machine: cores, memory, limits, clock, kernel, and the disk of the data directory
    Host(Host),
}

#[derive(Args, Debug)]
struct Host {
    /// The configuration of the node that is to run here [default: every key at its default]
    #[arg(long, value_name = "FILE", env = "PINION_CONFIG")]
    config: Option<PathBuf>,
    /// The node's data directory; takes precedence over the configuration
    #[arg(long, value_name = "D")]
    data_dir: Option<PathBuf>,
    /// The core that the node is pinned to; takes precedence over the configuration
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    /// Print one JSON array of {area, check, found, verdict, advice}
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub fn run(&self) -> Result<u8> {
        match &self.what {
            What::Host(host) => host.run(),
        }
    }
}

impl Host {
    fn run(&self) -> Result<u8> {
        let (machine, needs) = (Machine::this(), self.needs()?);
        self.refuse_absent_core(&machine)?;
        let findings = examine(&machine, &needs)?;
        let text = match self.json {
            true => format!("{}\n", findings.iter().map(Finding::json).collect::<Value>()),
            false => report(&findings),
        };
        match stdout().write_all(text.as_bytes()) {
            // A closed pipe is no failure of the examination; the exit code carries its outcome.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error.into()),
            _ => {}
        }
        let is_fit = !findings.iter().any(|finding| finding.verdict.is_problem());
        Ok(if is_fit { exit::OK } else { exit::FAILED })
    }

    fn needs(&self) -> Result<Needs> {
        let unset = Path::new("");
        let mut config = match &self.config {
            Some(path) => Config::load_values(path)?,
            None => Config::of_defaults(unset),
        };
        if let Some(data_dir) = &self.data_dir {
            config.node.data_dir.clone_from(data_dir);
        }
        let mut needs = Needs::of(&config, self.core);
        needs.data_dir = needs.data_dir.filter(|data_dir| data_dir != unset);
        Ok(needs)
    }

    /// A missing core is a finding when the configuration names it, and a wrong command line when `--core` does.
    fn refuse_absent_core(&self, machine: &Machine) -> Result<()> {
        match (self.core, cpu::online(machine)) {
            (Some(core), Some(online)) if !online.contains(core) => {
                let message = format!(
                    "--core {core}: there is no core {core}: this machine has {}; give one of those",
                    online.text()
                );
                Err(Failure::of(exit::USAGE, message))
            }
            _ => Ok(()),
        }
    }
}

fn examine(machine: &Machine, needs: &Needs) -> Result<Vec<Finding>> {
    // First, because a data directory that can be neither found nor made ends the examination.
    let place = needs.data_dir.as_deref().map(disk::Place::find).transpose()?;
    let mut findings = cpu::examine(machine, needs);
    findings.extend(pinned_core::examine(machine, needs));
    findings.extend(isolation::examine(machine, needs));
    findings.extend(memory::examine(machine, needs));
    findings.extend(limits::examine(machine, needs));
    findings.extend(clock::examine(machine, clock::ClockSample::take()));
    let rings = kernel::try_rings(needs.rings());
    findings.extend(kernel::examine(machine, &rings));
    findings.extend(match &place {
        Some(place) => disk::examine(machine, needs, place, rings.is_ok()),
        None => disk::not_given(),
    });
    Ok(findings)
}
