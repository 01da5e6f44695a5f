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
    resources(health, &mut line);
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

/// What the node uses of its machine, and what it goes by. A node that is older does not have all of it.
fn resources(health: &Value, line: &mut impl FnMut(&str, String)) {
    let number = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string());
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mib = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
    let ms = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    line("rules, format", format!("{}, {}", number(&health["rules"]), number(&health["format"])));
    let recovery = &health["recovery"];
    if recovery["stage"].as_str().is_some_and(|stage| stage != "done") {
        let (done, all) = (number(&recovery["commands_replayed"]), number(&recovery["commands"]));
        line("recovery", format!("{}, {done} of {all} commands replayed", word(&recovery["stage"])));
    }
    let intake = &health["intake"];
    let by = intake["stopped_by"].as_str().map_or(String::new(), |by| format!(", stopped by the {by}"));
    line("takes", format!("{}{by}", word(&intake["takes"])));
    let (journal, disk) = (&health["journal"], &health["disk"]);
    line(
        "oldest waiting write",
        format!("{}, {} commands", ms(&journal["age_ms"]), number(&journal["commands_waiting"])),
    );
    line("disk", format!("{} % used, {} free", number(&disk["used_percent"]), mib(&disk["free_bytes"])));
    line("ballast", mib(&disk["ballast_bytes"]));
    let (memory, descriptors) = (&health["memory"], &health["descriptors"]);
    line("memory", format!("{} of {}", mib(&memory["resident_bytes"]), mib(&memory["limit_bytes"])));
    line("descriptors", format!("{} of {}", number(&descriptors["open"]), number(&descriptors["limit"])));
    let clock = health["clock"]["error_ns"].as_i64().map_or_else(|| "-".to_owned(), |ns| format!("{} us", ns / 1_000));
    line("clock ahead by", clock);
    let backup = &health["backup"];
    line("backup", format!("{}, up to sequence {}", ms(&backup["age_ms"]), number(&backup["seq"])));
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
            "rules": 2, "format": 2, "intake": { "takes": "cancels", "stopped_by": "node" },
            "recovery": { "stage": "replaying", "commands": 9, "commands_replayed": 4 },
            "disk": { "used_percent": 91, "free_bytes": 9 << 20, "ballast_bytes": 64 << 20 },
            "clock": { "error_ns": -7_000 },
        });
        let page = page(&health);
        for part in [
            "status                   not_ready",
            "because",
            "up                       61 s",
            "seq_durable              7",
            "rules, format            2, 2",
            "recovery                 replaying, 4 of 9 commands replayed",
            "takes                    cancels, stopped by the node",
            "disk                     91 % used, 9 MiB free",
            "ballast                  64 MiB",
            "clock ahead by           -7 us",
            "backup                   -, up to sequence -",
        ] {
            assert!(page.contains(part), "{part:?} is missing in\n{page}");
        }
        assert!(page.contains("loop engine              late, last tick 2000 ms ago"), "{page}");
    }
}
