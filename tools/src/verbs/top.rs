//! `pinion top`: rates, watermarks and latencies of a running node, as a live page, as one page, or as JSON.
//!
//! ```text
//!  ops listener --/metrics, /health--> Sample, Sample --(before, after)--> page -----> screen, or standard output
//!                                                                     \--> document -> standard output
//! ```
//! Two samples make one page: rates are the differences of the counters between them. Page and document are pure
//! functions of the samples.

pub mod change;
pub mod document;
pub mod metrics;
pub mod page;
pub mod sample;
pub mod screen;

use crate::client::ops_client::{OpsAddress, OpsClient};
use anyhow::{Context, Result};
use clap::Args;
use node::config::human::parse_duration;
use node::status::exit;
use sample::Sample;
use std::io::{Write, stdout};
use std::time::{Duration, Instant};

/// The node publishes its stage times every 50 ms: a shorter interval would mostly show nothing.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Watch a running node: rates, watermarks, latencies per stage, loops, sessions. `q` or Ctrl-C ends.
#[derive(Args, Debug)]
pub struct Top {
    #[command(flatten)]
    pub ops: OpsAddress,
    /// Time between two samples, as in 500ms, 1s, 1m
    #[arg(long, default_value = "1s", value_parser = interval)]
    pub interval: Duration,
    /// Print one page after one interval and exit; needs no terminal
    #[arg(long)]
    pub once: bool,
    /// Print one line of JSON an interval, instead of a live page
    #[arg(long)]
    pub json: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text).ok_or_else(|| format!("{text:?} is not a duration such as 500ms, 1s or 1m"))?;
    if interval < INTERVAL_MIN { Err(format!("at least {} ms", INTERVAL_MIN.as_millis())) } else { Ok(interval) }
}

impl Top {
    pub fn run(&self) -> Result<u8> {
        let client = self.ops.observer()?;
        if self.once || self.json {
            self.print(&client)?;
        } else {
            screen::watch(client, self.interval)?;
        }
        Ok(exit::OK)
    }

    #[expect(clippy::disallowed_methods, reason = "the view is refreshed at an interval")]
    fn print(&self, client: &OpsClient) -> Result<()> {
        let mut before = Sample::take(client)?;
        let mut due = Instant::now();
        loop {
            due += self.interval;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let after = Sample::take(client)?;
            let text = if self.json { format!("{}\n", document::of(&before, &after)) } else { plain(&before, &after) };
            let mut out = stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("writing to standard output")?;
            if self.once {
                return Ok(());
            }
            before = after;
        }
    }
}

fn plain(before: &Sample, after: &Sample) -> String {
    page::of(before, after).iter().map(|line| format!("{}\n", line.text.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_interval_is_refused() {
        assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
        for (text, expected) in [("1", "is not a duration"), ("fast", "is not a duration"), ("99ms", "at least 100 ms")]
        {
            let error = interval(text).expect_err("refused");
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
