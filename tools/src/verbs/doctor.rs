//! `pinion doctor host`: whether this machine suits a node, and what would make it suit better.
//!
//! It changes nothing and leaves nothing behind. Whatever the kernel tells is read from files under a root, so that a test
//! can be any machine; only the clock, the ring and the disk are tried for real.

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

use self::finding::{Finding, page};
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

/// Look at what a node depends on, and say what would be better.
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
    /// The configuration of the node that is to run here; defaults without it
    #[arg(long, value_name = "FILE", env = "PINION_CONFIG")]
    config: Option<PathBuf>,
    /// Where its data shall lie, instead of the configuration's own
    #[arg(long, value_name = "D")]
    data_dir: Option<PathBuf>,
    /// The core that it is pinned to, instead of the configuration's own
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    /// One array of {area, check, found, verdict, advice}
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
            false => page(&findings),
        };
        match stdout().write_all(text.as_bytes()) {
            // Whoever read the output has seen enough; the exit code says the rest.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error.into()),
            _ => {}
        }
        let is_fit = !findings.iter().any(|finding| finding.verdict.is_problem());
        Ok(if is_fit { exit::OK } else { exit::FAILED })
    }

    fn needs(&self) -> Result<Needs> {
        let nowhere = Path::new("");
        let mut config = match &self.config {
            Some(path) => Config::load_values(path)?,
            None => Config::of_defaults(nowhere),
        };
        if let Some(data_dir) = &self.data_dir {
            config.node.data_dir.clone_from(data_dir);
        }
        let mut needs = Needs::of(&config, self.core);
        needs.data_dir = needs.data_dir.filter(|data_dir| data_dir != nowhere);
        Ok(needs)
    }

    /// What a configuration asks for is a finding; what was typed just now is a slip.
    fn refuse_absent_core(&self, machine: &Machine) -> Result<()> {
        match (self.core, cpu::online(machine)) {
            (Some(core), Some(online)) if !online.contains(core) => {
                let message = format!("there is no core {core}: this machine has {}", online.text());
                Err(Failure::of(exit::USAGE, message))
            }
            _ => Ok(()),
        }
    }
}

fn examine(machine: &Machine, needs: &Needs) -> Result<Vec<Finding>> {
    // First, because a place that is not there ends it.
    let place = needs.data_dir.as_deref().map(disk::Place::find).transpose()?;
    let mut findings = cpu::look(machine, needs);
    findings.extend(pinned_core::look(machine, needs));
    findings.extend(isolation::look(machine, needs));
    findings.extend(memory::look(machine, needs));
    findings.extend(limits::look(machine, needs));
    findings.extend(clock::look(machine, clock::Reading::take()));
    let rings = kernel::try_rings(needs.rings());
    findings.extend(kernel::look(machine, &rings));
    findings.extend(match &place {
        Some(place) => disk::look(machine, needs, place, rings.is_ok()),
        None => disk::not_asked(),
    });
    Ok(findings)
}
