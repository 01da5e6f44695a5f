//! The configuration file: what is wrong is named by line or key; what is right means the same out of the environment.

use crate::meter;
use crate::target::{Outcome, Target, mend_nothing};
use node::config::Config;
use node::config::reader::{ConfigError, ENV_PREFIX};
use std::path::Path;

pub const TARGET: Target =
    Target { name: "config", seeds, mend: mend_nothing, check, bytes_max: 8192, round_inputs: 2_500 };

const BASE: &str = "/etc/pinion";
const SHIPPED: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/pinion.toml"));

fn check(input: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::Refused };
    let base = Path::new(BASE);
    // Every key is kept with its name and its bounds in words; deep nesting costs the parser some for each bracket.
    let read = meter::within(512 * input.len() + (1 << 20), || Config::of_text(text, base, []));
    match read {
        Ok(config) => {
            config.journal.geometry().validate().expect("a configuration that is taken makes a data directory");
            let variables = variables_of(text);
            let from_variables = Config::of_text("", base, variables.clone());
            assert_eq!(from_variables.as_ref(), Ok(&config), "{variables:?}");
            Outcome::Decoded
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "a refusal has a reason");
            errors.iter().for_each(|error| named(text, error));
            Outcome::Refused
        }
    }
}

fn named(text: &str, error: &ConfigError) {
    let shown = error.to_string();
    if !error.key.is_empty() {
        assert!(shown.starts_with(&error.key));
        return;
    }
    // A file without a key to blame is no TOML, and the line is named; the end of the file may lie behind its last.
    let line = shown.strip_prefix("line ").and_then(|rest| rest.split_once(':'));
    let line: usize = line.and_then(|(number, _)| number.parse().ok()).expect("a line is named");
    assert!((1..=text.matches('\n').count() + 1).contains(&line), "{shown}");
}

/// The same values as environment variables.
fn variables_of(text: &str) -> Vec<(String, String)> {
    let table = text.parse::<toml::Table>().expect("it was read before");
    let mut variables = Vec::new();
    for (section, keys) in table {
        let toml::Value::Table(keys) = keys else { continue };
        for (key, value) in keys {
            let name = format!("{ENV_PREFIX}{section}__{key}").to_ascii_uppercase();
            let text = match value {
                toml::Value::String(text) => text,
                other => other.to_string(),
            };
            variables.push((name, text));
        }
    }
    variables
}

fn seeds() -> Vec<Vec<u8>> {
    // Every key with its default, which the shipped file shows after a '#'.
    let is_key = |line: &str| line.strip_prefix("# ").is_some_and(is_assignment);
    let all: Vec<&str> = SHIPPED.lines().map(|line| if is_key(line) { &line[2..] } else { line }).collect();
    let all = all.join("\n");
    Config::of_text(&all, Path::new(BASE), []).expect("the shipped file shows every key with a value that is taken");
    let short = "[node]\ndata_dir = \"d\"\nthreads = \"pipeline\"\ncore = 3\n[journal]\nsync = \"interval\"\n\
                 interval_us = 250\n[snapshot]\nevery = \"30s\"\n[store]\nretain_bytes = \"4GiB\"\n";
    vec![all.into(), short.into()]
}

fn is_assignment(line: &str) -> bool {
    let key = line.split_once(" = ").map(|(key, _)| key);
    key.is_some_and(|key| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'))
}
