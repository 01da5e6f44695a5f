//! `pinion recon`: checks every rule that must hold between state, log and history; one line for each rule.
//!
//! ```text
//!  log ----apply----> state <----rules of the state alone: conservation, holds, books, lists, amounts
//!    `---checks---------^ ^---- ledger: every posting in the history, summed
//!                          `--- streams: every message in the history, counted
//! ```

mod finding;
mod history;
mod rules;

use crate::offline::as_of::ChecksSkipped;
use crate::offline::data_dir::DataDir;
use crate::terminal::output::{Output, ignoring_closed_pipe};
use anyhow::Result;
use book::units::Seq;
use clap::Args;
use finding::Finding;
use history::Unwritten;
use node::history::History;
use node::status::exit;
use serde_json::json;

/// Breaks of one rule that are named; the others are counted.
const NAMED_MAX: usize = 20;

/// Check that balances, orders, ledger, streams and recorded hashes agree; exit code 17 where they do not.
#[derive(Args, Debug)]
pub struct Recon {
    #[command(flatten)]
    dir: DataDir,
    /// The state at this sequence [default: the end of the log]
    #[arg(long, value_name = "N")]
    at_seq: Option<u64>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

impl Recon {
    pub fn run(&self) -> Result<u8> {
        let reader = self.dir.reader()?;
        let log = reader.scan()?;
        let at = log.resolve(self.at_seq.map(Seq))?;
        let history = History::of(log.inspection().store());
        // What the history lacks is computed from the log, as the shadow does.
        let written = history.watermark()?;
        let begins = if written < log.range.first { log.range.first } else { history.begins()? };
        let mut unwritten = Unwritten::new(begins, written, Seq(log.range.end.seq.0));
        let state = log.replay(written.max(log.range.first).min(at), at, &mut unwritten)?;
        state.report_skipped_snapshots();
        let mut findings = rules::of_state(&state.replica);
        findings.extend(history::of_history(&history, &state.replica, &unwritten)?);
        findings.push(rules::checks(&unwritten, &state));
        let breaks: usize = findings.iter().map(|finding| finding.breaks.len()).sum();
        ignoring_closed_pipe(self.report(at, &findings, breaks, state.checks_skipped))
    }

    fn report(&self, at: Seq, findings: &[Finding], breaks: usize, skipped: ChecksSkipped) -> Result<u8> {
        let mut out = Output::new();
        if self.json {
            let rules: Vec<_> = findings
                .iter()
                .map(|Finding { rule, figures, breaks }| {
                    let named = &breaks[..breaks.len().min(NAMED_MAX)];
                    json!({ "rule": rule, "holds": breaks.is_empty(), "figures": figures, "breaks": breaks.len(), "named": named })
                })
                .collect();
            out.line(json!({ "seq": at.0, "holds": breaks == 0, "breaks": breaks, "rules": rules,
                "checks_skipped": skipped.as_json() }))?;
        } else {
            for Finding { rule, figures, breaks } in findings {
                let verdict = if breaks.is_empty() { "holds" } else { "BROKEN" };
                out.line(format!("{verdict:<6}  {rule:<13} {figures}"))?;
                for why in breaks.iter().take(NAMED_MAX) {
                    out.line(format!("        {rule:<13} {why}"))?;
                }
                if NAMED_MAX < breaks.len() {
                    out.line(format!("        {rule:<13} and {} more", breaks.len() - NAMED_MAX))?;
                }
            }
            out.line(match breaks {
                0 => format!("every rule holds at sequence {}", at.0),
                _ => format!("{breaks} breaks at sequence {}; docs/OPERATIONS.md says what to do", at.0),
            })?;
        }
        out.flush()?;
        Ok(if breaks == 0 { exit::OK } else { exit::RECONCILIATION })
    }
}
