//! `pinion recon`: every rule that must hold between state, log and history, one line a rule.
//!
//! ```text
//!  log ----apply----> state <----rules of the state alone: conservation, holds, books, lists, amounts
//!    `---checks---------^ ^---- ledger: every posting in the history, summed
//!                          `--- streams: every message in the history, counted
//! ```

mod history;
mod rules;

use crate::offline::as_of::{DataDir, tell_passed_over};
use crate::terminal::output::{Output, unless_closed};
use anyhow::Result;
use book::units::Seq;
use clap::Args;
use history::Since;
use node::history::History;
use node::status::exit;
use serde_json::json;

/// Breaks of one rule that are named; the rest is counted.
const NAMED_MAX: usize = 20;

/// Prove that balances, orders, ledger, streams and recorded checks agree; exit code 17 where they do not.
#[derive(Args, Debug)]
pub struct Recon {
    #[command(flatten)]
    dir: DataDir,
    /// As of this sequence [default: the end of the log]
    #[arg(long, value_name = "N")]
    at_seq: Option<u64>,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

/// A rule, the figures that it was held against, and where it does not hold.
#[derive(Debug)]
pub struct Finding {
    pub rule: &'static str,
    pub figures: String,
    pub breaks: Vec<String>,
}

impl Finding {
    pub fn new(rule: &'static str, figures: String, breaks: Vec<String>) -> Self {
        Self { rule, figures, breaks }
    }
}

impl Recon {
    pub fn run(&self) -> Result<u8> {
        let past = self.dir.past()?;
        let look = past.look()?;
        let at = look.resolve(self.at_seq.map(Seq))?;
        let history = History::of(look.inspection().store());
        // What the history has not reached yet is gathered from the log, as the shadow will.
        let written = history.watermark()?;
        let begins = if written < look.reach.first { look.reach.first } else { history.begins()? };
        let mut since = Since::new(begins, written, Seq(look.reach.end.seq.0));
        let moment = look.walk(written.max(look.reach.first).min(at), at, &mut since)?;
        tell_passed_over(&moment.passed_over);
        let mut findings = rules::of_state(&moment.replica);
        findings.extend(history::of_history(&history, &moment.replica, &since)?);
        findings.push(rules::checks(&since, moment.applied));
        let breaks: usize = findings.iter().map(|finding| finding.breaks.len()).sum();
        unless_closed(self.report(at, &findings, breaks))
    }

    fn report(&self, at: Seq, findings: &[Finding], breaks: usize) -> Result<u8> {
        let mut out = Output::new();
        if self.json {
            let rules: Vec<_> = findings
                .iter()
                .map(|Finding { rule, figures, breaks }| {
                    let named = &breaks[..breaks.len().min(NAMED_MAX)];
                    json!({ "rule": rule, "holds": breaks.is_empty(), "figures": figures, "breaks": breaks.len(), "named": named })
                })
                .collect();
            out.line(json!({ "seq": at.0, "holds": breaks == 0, "breaks": breaks, "rules": rules }))?;
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
            let verdict = if breaks == 0 { "everything agrees".to_owned() } else { format!("{breaks} breaks") };
            out.line(format!("{verdict} as of sequence {}", at.0))?;
        }
        out.flush()?;
        Ok(if breaks == 0 { exit::OK } else { exit::RECONCILIATION })
    }
}
