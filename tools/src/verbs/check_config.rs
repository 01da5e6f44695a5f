//! `pinion check-config`: the node's own validator, without a node.

use crate::terminal::failure::Failure;
use anyhow::Result;
use clap::Args;
use node::config::Config;
use node::config::exposure::Exposure;
use node::config::reader::ConfigError;
use node::status::exit;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Report everything that is wrong with a configuration, at once.
#[derive(Args, Debug)]
pub struct CheckConfig {
    /// The configuration
    #[arg(long, value_name = "FILE", env = "PINION_CONFIG")]
    pub config: PathBuf,
    /// Check as if node.env were this
    #[arg(long, value_parser = ["dev", "prod"])]
    pub env: Option<String>,
    /// Also show what is open to whom
    #[arg(long)]
    pub exposure: bool,
    /// One line of JSON
    #[arg(long)]
    pub json: bool,
}

impl CheckConfig {
    pub fn run(&self) -> Result<u8> {
        let env = self.env.as_deref().map(|env| ("node.env", env));
        match Config::load_with(&self.config, env.as_slice()) {
            Ok(config) => {
                self.show(&config.exposure());
                Ok(exit::OK)
            }
            Err(errors) if self.json => {
                let error =
                    |e: &ConfigError| json!({ "key": e.key, "value": e.value, "why": e.why, "allowed": e.allowed });
                let errors: Vec<Value> = errors.errors.iter().map(error).collect();
                println!("{}", json!({ "ok": false, "errors": errors }));
                Ok(exit::CONFIG)
            }
            Err(errors) => Err(Failure::of(exit::CONFIG, format!("{} mistakes\n{errors}", errors.errors.len()))),
        }
    }

    fn show(&self, ways: &[Exposure]) {
        if self.json {
            let way = |w: &Exposure| {
                json!({
                    "listener": w.listener, "address": w.address.to_string(), "public": w.public, "tls": w.tls,
                    "serves": w.serves, "guarded_by": w.guarded_by,
                })
            };
            let mut answer = json!({ "ok": true });
            if self.exposure {
                answer["exposure"] = ways.iter().map(way).collect();
            }
            println!("{answer}");
            return;
        }
        println!("{}: ok", self.config.display());
        for way in ways.iter().filter(|_| self.exposure) {
            let reach = if way.public { "OTHER MACHINES" } else { "this machine" };
            let tls = if way.tls { "TLS" } else { "plain" };
            println!(
                "{:<7} {:<22} {reach:<15} {tls:<6} {:<47} {}",
                way.listener, way.address, way.serves, way.guarded_by
            );
        }
    }
}
