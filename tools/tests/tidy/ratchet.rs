//! Limits with the exceptions of today, which may only shrink.

use std::collections::BTreeMap;

use crate::source::folder;

/// What is above `limit` and not among the exceptions, above its exception, or an exception without need.
pub(crate) fn ratchet(
    what: &str,
    found: &[(String, usize)],
    limit: usize,
    exceptions: &[(&str, usize)],
) -> Vec<String> {
    let allowed = |name: &str| exceptions.iter().find(|(known, _)| *known == name).map_or(limit, |(_, most)| *most);
    let mut findings: Vec<String> = found
        .iter()
        .filter(|(name, size)| allowed(name) < *size)
        .map(|(name, size)| format!("{name}: {size} {what}, at most {} allowed", allowed(name)))
        .collect();
    for (name, most) in exceptions {
        let size = found.iter().find(|(known, _)| known == name).map_or(0, |(_, size)| *size);
        if size <= limit {
            findings.push(format!("{name}: {size} {what}, so its exception of {most} is stale: remove it"));
        }
    }
    findings
}

/// The findings of folders that have more of them than today. A finding begins with its path.
pub(crate) fn by_folder<'a>(findings: &'a [String], today: &[(&str, usize)]) -> Vec<&'a String> {
    let folder_of = |finding: &str| folder(finding.split(':').next().unwrap_or_default());
    let mut counts = BTreeMap::<String, usize>::new();
    findings.iter().for_each(|finding| *counts.entry(folder_of(finding)).or_default() += 1);
    let allowed = |name: &str| today.iter().find(|(known, _)| *known == name).map_or(0, |(_, most)| *most);
    findings.iter().filter(|finding| allowed(&folder_of(finding)) < counts[&folder_of(finding)]).collect()
}

#[test]
fn a_folder_with_more_findings_than_today_is_found() {
    let findings = ["x/src/a.rs: 1", "x/src/b/c.rs: 2", "docs/A.md:3: 3"].map(str::to_owned);
    assert_eq!(by_folder(&findings, &[("x/src", 2)]), ["docs/A.md:3: 3"]);
    assert_eq!(by_folder(&findings, &[("x/src", 1), ("docs", 1)]).len(), 2);
}

#[test]
fn a_ratchet_finds_what_grew_and_what_no_longer_needs_it() {
    let found = [("old".to_owned(), 8), ("new".to_owned(), 7), ("small".to_owned(), 5), ("grown".to_owned(), 10)];
    let findings = ratchet("lines", &found, 6, &[("old", 8), ("small", 9), ("grown", 9), ("gone", 9)]);
    let names: Vec<_> = findings.iter().map(|finding| finding.split(':').next().unwrap_or_default()).collect();
    assert_eq!(names, ["new", "grown", "small", "gone"]);
}
