//! The taste of the source tree as tests: what nothing checks decays.
//!
//! `PINION_TIDY_LIST=node/src` lists the banned words of a folder; `PINION_TIDY_ROOT` reads another checkout.

mod ratchet;
mod source;
mod tokens;
mod words;

use source::Tree;

/// Fails with every finding, so that one run shows all that is to do.
fn hold(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}: {} findings\n{}\n", findings.len(), findings.join("\n"));
}

/// Hits of today by folder, to be mended; the aim is an empty table.
const WORDS: [(&str, usize); 19] = [
    (".ci", 6),
    ("Cargo.toml", 2),
    ("api/src", 33),
    ("api/tests", 29),
    ("benches/src", 51),
    ("benches/tests", 6),
    ("book/src", 58),
    ("book/tests", 26),
    ("config", 3),
    ("deny.toml", 1),
    ("dev", 4),
    ("docs", 136),
    ("node/src", 256),
    ("node/tests", 285),
    ("tools/fuzz", 49),
    ("tools/src", 352),
    ("tools/tests", 101),
    ("wal/src", 95),
    ("wal/tests", 133),
];

#[test]
fn no_word_has_a_private_meaning() {
    let hits = words::hits(&Tree::read());
    if words::list(&hits) {
        return;
    }
    let counts = words::counts(&hits);
    let allowed = |name: &str| WORDS.iter().find(|(known, _)| *known == name).map_or(0, |(_, most)| *most);
    let above: Vec<&String> =
        counts.iter().filter(|(name, count)| allowed(name) < *count).map(|(name, _)| name).collect();
    counts.iter().for_each(|(name, count)| println!("{count:5} of {:5} banned words in {name}", allowed(name)));
    let inside = |hit: &&words::Hit| above.iter().any(|name| hit.path.starts_with(name.as_str()));
    hold("banned words", &hits.iter().filter(inside).map(words::Hit::show).collect::<Vec<_>>());
}
