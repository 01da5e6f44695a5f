//! `pinion check-config`: runs the node's own validator on a configuration.

use crate::terminal::failure::Failure;
use anyhow::Result;
use clap::Args;
use node::config::Config;
use node::config::exposure::Exposure;
use node::config::reader::ConfigError;
use node::status::exit;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Report every mistake of a configuration at once; exit code 3 where there is one.
#[derive(Args, Debug)]
pub struct CheckConfig {
    /// The configuration
    #[arg(long, value_name = "FILE", env = "PINION_CONFIG")]
    pub config: PathBuf,
    /// Check as if node.env were this
    #[arg(long, value_parser = ["dev", "prod"])]
    pub env: Option<String>,
    /// Also show which listeners other machines can reach, and what guards them
    #[arg(long)]
    pub exposure: bool,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
}

impl CheckConfig {
    pub fn run(&self) -> Result<u8> {
        let env = self.env.as_deref().map(|env| ("node.env", env));
        match Config::load_with(&self.config, env.as_slice()) {
            Ok(config) => {
                self.print(&config.exposure());
                Ok(exit::OK)
            }
            Err(errors) if self.json => {
                let error =
                    |e: &ConfigError| json!({ "key": e.key, "value": e.value, "why": e.why, "allowed": e.allowed });
                let errors: Vec<Value> = errors.errors.iter().map(error).collect();
                println!("{}", json!({ "ok": false, "errors": errors }));
                Ok(exit::CONFIG)
            }
            Err(errors) => Err(Failure::of(exit::CONFIG, format!("{}\n{errors}", mistakes(errors.errors.len())))),
        }
    }

    fn print(&self, listeners: &[Exposure]) {
        if self.json {
            let entry = |l: &Exposure| {
                json!({
                    "listener": l.listener, "address": l.address.to_string(), "public": l.public, "tls": l.tls,
                    "serves": l.serves, "guarded_by": l.guarded_by,
                })
            };
            let mut answer = json!({ "ok": true });
            if self.exposure {
                answer["exposure"] = listeners.iter().map(entry).collect();
            }
            println!("{answer}");
            return;
        }
        println!("{}: ok", self.config.display());
        for listener in listeners.iter().filter(|_| self.exposure) {
            let reachable_from = if listener.public { "OTHER MACHINES" } else { "this machine" };
            let tls = if listener.tls { "TLS" } else { "plain" };
            println!(
                "{:<7} {:<22} {reachable_from:<15} {tls:<6} {:<47} {}",
                listener.listener, listener.address, listener.serves, listener.guarded_by
            );
        }
    }
}

fn mistakes(count: usize) -> String {
    if count == 1 { "1 mistake".to_owned() } else { format!("{count} mistakes") }
}
