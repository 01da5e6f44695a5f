//! The configuration file: an error names its line or key, and a file that is accepted means the same when its values
//! come from environment variables.

use crate::meter;
use crate::target::{Outcome, Target, repair_nothing};
use node::config::Config;
use node::config::reader::{ConfigError, ENV_PREFIX};
use std::path::Path;

pub const TARGET: Target =
    Target { name: "config", seeds, repair: repair_nothing, check, bytes_max: 8192, round_inputs: 2_500 };

const BASE: &str = "/etc/pinion";
const SHIPPED: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/pinion.toml"));

fn check(input: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::Refused };
    let base = Path::new(BASE);
    // Every key is held with its name and the text of its bounds; the parser needs memory for each level of nesting.
    let read = meter::within(512 * input.len() + (1 << 20), || Config::of_text(text, base, []));
    match read {
        Ok(config) => {
            config
                .journal
                .geometry()
                .validate()
                .expect("an accepted configuration has a geometry that a data directory can have");
            let variables = variables_of(text);
            let from_variables = Config::of_text("", base, variables.clone());
            assert_eq!(from_variables.as_ref(), Ok(&config), "{variables:?}");
            Outcome::Decoded
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "a refusal names at least one error");
            errors.iter().for_each(|error| names_its_place(text, error));
            Outcome::Refused
        }
    }
}

fn names_its_place(text: &str, error: &ConfigError) {
    let shown = error.to_string();
    if !error.key.is_empty() {
        assert!(shown.starts_with(&error.key));
        return;
    }
    // An error without a key means that the file is not TOML, and names a line. An error at the end of the file may
    // name the line after the last.
    let line = shown.strip_prefix("line ").and_then(|rest| rest.split_once(':'));
    let line: usize = line.and_then(|(number, _)| number.parse().ok()).expect("the error names a line");
    assert!((1..=text.matches('\n').count() + 1).contains(&line), "{shown}");
}

/// The same values as environment variables.
fn variables_of(text: &str) -> Vec<(String, String)> {
    let table = text.parse::<toml::Table>().expect("the text was parsed before");
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
    // Every key with its default, which the shipped file has after a '#'.
    let is_key = |line: &str| line.strip_prefix("# ").is_some_and(is_assignment);
    let all: Vec<&str> = SHIPPED.lines().map(|line| if is_key(line) { &line[2..] } else { line }).collect();
    let all = all.join("\n");
    Config::of_text(&all, Path::new(BASE), []).expect("the shipped file shows every key with an accepted value");
    let short = "[node]\ndata_dir = \"d\"\nthreads = \"pipeline\"\ncore = 3\n[journal]\nsync = \"interval\"\n\
                 interval_us = 250\n[snapshot]\nevery = \"30s\"\n[store]\nretain_bytes = \"4GiB\"\n";
    vec![all.into(), short.into()]
}

fn is_assignment(line: &str) -> bool {
    let key = line.split_once(" = ").map(|(key, _)| key);
    key.is_some_and(|key| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'))
}
