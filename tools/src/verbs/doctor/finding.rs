//! A finding: what was checked, what was found, and what to do about it.
//!
//! Invariant: every verdict but `ok` says what to do and why, because the advice is a part of the verdict.

use serde_json::{Value, json};

/// A group of findings, under the name that `--json` gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area(pub &'static str);

/// The area of three files: `disk`, `drive` and `mount`.
pub(super) const DISK: Area = Area("disk");

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Ok,
    /// The node runs, and would run better.
    Advice(String),
    /// The node does not start, does not keep its guarantees, or lacks what its configuration assumes.
    Problem(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub area: Area,
    pub check: &'static str,
    pub found: String,
    pub verdict: Verdict,
}

impl Area {
    pub(super) fn ok(self, check: &'static str, found: impl Into<String>) -> Finding {
        Finding { area: self, check, found: found.into(), verdict: Verdict::Ok }
    }

    pub(super) fn advice(self, check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { area: self, check, found: found.into(), verdict: Verdict::Advice(advice.into()) }
    }

    pub(super) fn problem(self, check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { area: self, check, found: found.into(), verdict: Verdict::Problem(advice.into()) }
    }

    /// Virtual machines, containers and older kernels do not report everything; that is no fault of the machine.
    pub(super) fn not_reported(self, check: &'static str) -> Finding {
        self.ok(check, "not reported")
    }
}

impl Verdict {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Advice(_) => "advice",
            Self::Problem(_) => "problem",
        }
    }

    /// The advice with its reason; `None` for `Ok`.
    pub(super) fn advice(&self) -> Option<&str> {
        match self {
            Self::Ok => None,
            Self::Advice(text) | Self::Problem(text) => Some(text),
        }
    }

    pub(super) fn is_problem(&self) -> bool {
        matches!(self, Self::Problem(_))
    }
}

impl Finding {
    pub(super) fn json(&self) -> Value {
        json!({
            "area": self.area.0, "check": self.check, "found": self.found,
            "verdict": self.verdict.word(), "advice": self.verdict.advice(),
        })
    }
}

/// All findings as text: by area, then what to do. Problems come last, next to the shell's prompt.
pub(super) fn report(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let mut page = String::new();
    let mut area = None;
    for finding in findings {
        if area.replace(finding.area) != Some(finding.area) {
            page.push_str(&format!("{}\n", finding.area.0));
        }
        let (check, verdict) = (finding.check, finding.verdict.word());
        page.push_str(&format!("  {check:<width$}  {verdict:<7}  {}\n", finding.found));
    }
    let (problems, advice): (Vec<&Finding>, Vec<&Finding>) =
        findings.iter().filter(|finding| finding.verdict != Verdict::Ok).partition(|f| f.verdict.is_problem());
    list(&mut page, "advice", &advice);
    list(&mut page, "problems", &problems);
    let count = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    let (problem_count, advice_count) = (problems.len(), advice.len());
    page.push_str(&format!(
        "\n{}, {}",
        count(problem_count, "problem", "problems"),
        count(advice_count, "piece of advice", "pieces of advice")
    ));
    if !(problems.is_empty() && advice.is_empty()) {
        page.push_str("; docs/TUNING.md says how to change what was found, and what that costs");
    }
    page.push('\n');
    page
}

fn list(page: &mut String, title: &str, findings: &[&Finding]) {
    if findings.is_empty() {
        return;
    }
    page.push_str(&format!("\n{title}\n"));
    for finding in findings {
        let advice = finding.verdict.advice().unwrap_or_default();
        page.push_str(&format!("  {}, {}: {advice}\n", finding.area.0, finding.check));
    }
}

/// A size to a tenth of its unit: what is free changes while the page is read.
pub(super) fn show_size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| *unit <= bytes) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: Area = Area("cpu");

    #[test]
    fn problems_come_last_and_all_of_it_is_aligned() {
        let findings = [
            DISK.problem("O_DIRECT", "refused", "use another file system"),
            CPU.ok("model", "a fast one"),
            CPU.advice("governor", "powersave", "ask for performance"),
        ];
        let expected = "\
disk
  O_DIRECT  problem  refused
cpu
  model     ok       a fast one
  governor  advice   powersave

advice
  cpu, governor: ask for performance

problems
  disk, O_DIRECT: use another file system

1 problem, 1 piece of advice; docs/TUNING.md says how to change what was found, and what that costs
";
        assert_eq!(report(&findings), expected);
        assert_eq!(report(&findings[1..2]), "cpu\n  model  ok       a fast one\n\n0 problems, 0 pieces of advice\n");
    }

    #[test]
    fn json_has_every_field_of_every_finding() {
        let advice = CPU.advice("governor", "powersave", "ask for performance").json();
        let expected = json!({
            "area": "cpu", "check": "governor", "found": "powersave", "verdict": "advice", "advice": "ask for performance",
        });
        assert_eq!(advice, expected);
        assert_eq!(CPU.not_reported("governor").json()["advice"], Value::Null);
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [(7, "7 B"), (1 << 10, "1.0 KiB"), (3 << 19, "1.5 MiB"), (25_276_502_016, "23.5 GiB")] {
            assert_eq!(show_size(bytes), text);
        }
    }
}
