//! `pinion admin`: sends an administrator's commands to the node's admin API. Each becomes a command in the log.

mod arguments;
mod calls;

use crate::client::ops_client::{OpsAddress, OpsAnswer};
use crate::terminal::failure::Failure;
use anyhow::Result;
use arguments::What;
use calls::Call;
use clap::Args;
use node::status::exit;
use serde_json::{Map, Value};

/// Change what is traded, by whom and how: every call is a command in the log and prints what it did.
#[derive(Args, Debug)]
pub struct Admin {
    #[command(flatten)]
    ops: OpsAddress,
    /// Print one line of JSON
    #[arg(long, global = true)]
    json: bool,
    /// Let the node check the command, and change nothing
    #[arg(long, global = true)]
    dry_run: bool,
    #[command(subcommand)]
    what: What,
}

impl Admin {
    pub fn run(&self) -> Result<u8> {
        let call = self.what.call()?;
        let client = self.ops.administrator()?;
        let answer = match call {
            Call::Get { path } => client.get(path)?,
            Call::Post { path, body } if self.dry_run => client.post(&format!("{path}?dry_run=true"), &body)?,
            Call::Post { path, body } => client.post(path, &body)?,
        };
        if answer.status != 200 {
            return Err(refused(&answer));
        }
        if matches!(self.what, What::Rules(_)) {
            let from = if self.dry_run { "once they are raised" } else { "from here on" };
            eprintln!("pinion: {from} a build that does not know these rules refuses the log; there is no way back");
        }
        if self.json {
            println!("{}", answer.body);
        } else {
            print!("{}", plain(&answer.body));
        }
        Ok(exit::OK)
    }
}

/// The node's refusal as an error, with the exit code that fits it.
pub fn refused(answer: &OpsAnswer) -> anyhow::Error {
    let error = answer.body["error"].as_str().unwrap_or("error");
    let detail = answer.body["detail"].as_str().map_or_else(|| answer.body.to_string(), str::to_owned);
    let code = match (answer.status, error) {
        (404, "no_such_endpoint") => exit::FAILED,
        (400 | 501, _) => exit::USAGE,
        (404, _) => exit::NOT_FOUND,
        _ => exit::FAILED,
    };
    let seq = answer.body["seq"].as_u64().map_or(String::new(), |seq| format!(" (command {seq})"));
    Failure::of(code, format!("{error}: {detail}{seq}"))
}

/// `name: value`, a line each; the entries of a list below its name, a line each.
fn plain(body: &Value) -> String {
    let none = Map::new();
    let mut text = String::new();
    for (name, value) in body.as_object().unwrap_or(&none) {
        match value {
            Value::Array(entries) => {
                text.push_str(&format!("{name}: {}\n", entries.len()));
                entries.iter().for_each(|entry| text.push_str(&format!("  {}\n", one_line(entry))));
            }
            value => text.push_str(&format!("{name}: {}\n", word(value))),
        }
    }
    text
}

fn one_line(entry: &Value) -> String {
    match entry.as_object() {
        Some(fields) => {
            fields.iter().map(|(name, value)| format!("{name}={}", word(value))).collect::<Vec<_>>().join(" ")
        }
        None => word(entry),
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_is_printed_as_lines() {
        let body = json!({ "account": 7, "events": [{ "event": "account_added", "account": 7, "name": "mm" }] });
        assert_eq!(plain(&body), "account: 7\nevents: 1\n  account=7 event=account_added name=mm\n");
    }

    #[test]
    fn refusals_have_their_exit_codes() {
        let check = |status: u16, error: &str, code: u8| {
            let body = json!({ "error": error, "detail": "because" });
            let refusal = refused(&OpsAnswer { status, body });
            assert_eq!(crate::terminal::failure::code_of(&refusal), code, "{refusal}");
        };
        check(400, "invalid", exit::USAGE);
        check(404, "unknown", exit::NOT_FOUND);
        check(404, "no_such_endpoint", exit::FAILED);
        check(409, "name_taken", exit::FAILED);
    }
}
