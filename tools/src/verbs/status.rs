//! `pinion status`: the health of a running node, on one page.

use crate::client::ops_client::OpsAddress;
use anyhow::{Result, ensure};
use clap::Args;
use node::status::exit;
use serde_json::{Map, Value};

/// Show the health of a running node: watermarks, counts, loops.
#[derive(Args, Debug)]
pub struct Status {
    #[command(flatten)]
    pub ops: OpsAddress,
    /// Print the node's /health unchanged
    #[arg(long)]
    pub json: bool,
}

impl Status {
    pub fn run(&self) -> Result<u8> {
        let answer = self.ops.anonymous()?.get("/health")?;
        ensure!(answer.status == 200, "GET /health: the node answered {} {}", answer.status, answer.body);
        if self.json {
            println!("{}", answer.body);
        } else {
            print!("{}", page(&answer.body));
        }
        Ok(exit::OK)
    }
}

fn page(health: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let mut page = String::new();
    let mut line = |name: &str, value: String| page.push_str(&format!("{name:<24} {value}\n"));
    line("node", text(&health["node"]));
    line("status", text(&health["status"]));
    if !health["detail"].is_null() {
        line("  because", text(&health["detail"]));
    }
    line("version", text(&health["version"]));
    line("up", format!("{} s", health["uptime_ms"].as_u64().unwrap_or(0) / 1_000));
    line("journal.sync", text(&health["journal_sync"]));
    line("last error", text(&health["last_error"]));
    let none = Map::new();
    for section in ["watermarks", "counts"] {
        for (name, value) in health[section].as_object().unwrap_or(&none) {
            line(name, text(value));
        }
    }
    for component in health["components"].as_array().into_iter().flatten() {
        let name = format!("loop {}", text(&component["name"]));
        line(&name, format!("{}, last tick {} ms ago", text(&component["state"]), text(&component["age_ms"])));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_page_has_the_figures_of_health() {
        let health = json!({
            "node": "pinion", "status": "not_ready", "detail": "engine: last tick 2000 ms ago", "version": "0.1.0",
            "uptime_ms": 61_000, "journal_sync": "always", "last_error": null,
            "watermarks": { "seq_durable": 7 }, "counts": { "fills": 2 },
            "components": [{ "name": "engine", "state": "late", "age_ms": 2000 }],
        });
        let page = page(&health);
        for part in [
            "status                   not_ready",
            "because",
            "up                       61 s",
            "seq_durable              7",
        ] {
            assert!(page.contains(part), "{part:?} is missing in\n{page}");
        }
        assert!(page.contains("loop engine              late, last tick 2000 ms ago"), "{page}");
    }
}
