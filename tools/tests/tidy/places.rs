//! What may stand in few places only: `unsafe` code, the clock, hash tables whose order differs from run to run.
//!
//! Invariant: each list is exact. A place that is not in it is found, and so is a row of it without a place.

use std::collections::BTreeSet;

use crate::source::{Source, Tree};
use crate::tokens::{Kind, Token, follows};

/// Files that hold `unsafe` code; each block there lists its obligations and who meets them.
const UNSAFE: [&str; 10] = [
    "benches/src/raw_write.rs",
    "book/tests/allocation.rs",
    "book/tests/growth.rs",
    "node/src/host/pages.rs",
    "node/src/host/slice.rs",
    "node/src/host/stop_timer.rs",
    "node/src/reactor/uring.rs",
    "node/tests/hot_path.rs",
    "tools/fuzz/src/meter.rs",
    "wal/src/writeback.rs",
];

/// The one file of the node that gives the time, and what reads a clock of its own in the crates that the node is made
/// of. Tools, tests and benchmarks are no part of the node: they wait for it, or measure it.
const CLOCK: [(&str, &str); 12] = [
    ("node/src/host/clock.rs", "the time of every command and of every wait of the loops"),
    ("api/src/client.rs", "the client library has timeouts, and no node to ask"),
    ("node/src/host/stop_timer.rs", "bounds a stop, on a thread that must not depend on any loop"),
    ("node/src/ops/connections.rs", "sees when its port has been quiet for a while, on a thread without a loop's time"),
    ("node/src/ops/health.rs", "judges whether a loop still turns, hence not by that loop's time"),
    ("node/src/replica/recover.rs", "shows how far a start has come, before there is a clock"),
    ("node/src/shadow/pacer.rs", "rests in proportion to the processor time of its own thread"),
    ("node/src/shadow/snapshots.rs", "measures how long a snapshot takes, for a metric"),
    ("node/src/status/logging/queue.rs", "bounds the wait for the last lines, at the end of the process"),
    ("node/src/status/logging/standard.rs", "bounds the wait for a full pipe, at the end of the process"),
    ("node/src/status/logging/writer.rs", "looks after its file once a second, on a thread without a loop's time"),
    ("node/src/status/restarts.rs", "counts panics within a minute, of threads that have lost their own time"),
];

/// Files of `book` that name a hash table: with a hasher that is the same in every run. None does at present.
const HASHED: [&str; 0] = [];

pub(crate) fn unsafe_code(tree: &Tree) -> Vec<String> {
    let found = files_with(tree, |source| source.code.iter().any(|token| token.is("unsafe")));
    differences("`unsafe` code", &found, &UNSAFE)
}

/// Sentences that name one place of `unsafe` code as the only one.
pub(crate) fn only_file_claims(tree: &Tree) -> Vec<String> {
    let in_comments = tree.rust.iter().flat_map(|source| {
        let blocks = source.comments.chunk_by(|a, b| b.line <= a.line_end + 1);
        let texts = blocks.map(|block| block.iter().map(|comment| comment.text.as_str()).collect::<Vec<_>>().join(" "));
        texts.map(|text| (source.path.as_str(), text)).collect::<Vec<_>>()
    });
    let in_pages = tree.texts.iter().map(|(path, text)| (path.as_str(), text.replace('\n', " ")));
    let claims = in_comments.chain(in_pages).flat_map(|(path, text)| {
        let sentences = text.split(". ").filter(|sentence| is_only_file_claim(sentence)).map(str::trim);
        sentences.map(|sentence| format!("{path}: \"{sentence}\"")).collect::<Vec<_>>()
    });
    // With one file in the list such a sentence would be true.
    claims.filter(|claim| 1 < UNSAFE.len() && !claim.starts_with("tools/tests/tidy/")).collect()
}

fn is_only_file_claim(sentence: &str) -> bool {
    let words = sentence.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(str::to_lowercase).collect();
    let says_only = words.windows(2).any(|pair| {
        ["only", "one", "single", "sole"].contains(&pair[0].as_str())
            && ["file", "place", "module", "crate", "folder"].contains(&pair[1].as_str())
    });
    says_only && words.iter().any(|word| word == "unsafe")
}

pub(crate) fn clock(tree: &Tree) -> Vec<String> {
    let of_node = |source: &&Source| ["api", "book", "node", "wal"].iter().any(|name| in_sources(source, name));
    let readers = tree.rust.iter().filter(of_node).filter(|source| reads_clock(&source.product()));
    let found: BTreeSet<&str> = readers.map(|source| source.path.as_str()).collect();
    differences("a reading of the clock", &found, &CLOCK.map(|(path, _)| path))
}

fn reads_clock(code: &[Token]) -> bool {
    let by_path = |at| {
        ["Instant", "SystemTime"].iter().any(|name| follows(code, at, &[name, ":", ":", "now"]))
            || ["quanta", "clock_gettime", "clock_getres"].iter().any(|name| code[at].is(name))
    };
    (0..code.len()).any(by_path)
}

/// Two runs of `book` must walk over the same tables in the same order, so no table there may seed itself.
pub(crate) fn hash_tables(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    let mut found = BTreeSet::new();
    for source in tree.sources("book").filter(|source| !source.path.starts_with("book/src/testing")) {
        let code = source.product();
        let tables = code.iter().filter(|token| token.is("HashMap") || token.is("HashSet")).count();
        if 0 < tables {
            found.insert(source.path.as_str());
        }
        findings.extend(seeded(&code).map(|line| format!("{}:{line}: a hash table with a random seed", source.path)));
    }
    findings.extend(differences("a hash table", &found, &HASHED));
    findings
}

/// Lines where a table gets the standard library's own hasher: by name, by `new`, or by leaving the hasher open.
fn seeded(code: &[Token]) -> impl Iterator<Item = usize> {
    let is_seeded = |at: usize| {
        let parameters = match (code[at].text.as_str(), code[at].kind) {
            ("RandomState" | "DefaultHasher", Kind::Word) => return true,
            ("HashMap", Kind::Word) => 3,
            ("HashSet", Kind::Word) => 2,
            _ => return false,
        };
        let made = ["new", "with_capacity", "from"].iter().any(|name| follows(code, at + 1, &[":", ":", name]));
        made || (follows(code, at + 1, &["<"]) && arguments(code, at + 1) < parameters)
    };
    (0..code.len()).filter(move |at| is_seeded(*at)).map(|at| code[at].line)
}

/// Arguments of the type whose `<` stands at `open`.
fn arguments(code: &[Token], open: usize) -> usize {
    let (mut depth, mut count) = (0, 1);
    for token in &code[open..] {
        match token.text.as_str() {
            "<" | "(" | "[" => depth += 1,
            ">" | ")" | "]" => depth -= 1,
            "," if depth == 1 => count += 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    count
}

fn in_sources(source: &Source, of_crate: &str) -> bool {
    source.path.strip_prefix(of_crate).is_some_and(|rest| rest.starts_with("/src/"))
}

fn files_with(tree: &Tree, holds: impl Fn(&Source) -> bool) -> BTreeSet<&str> {
    tree.rust.iter().filter(|source| holds(source)).map(|source| source.path.as_str()).collect()
}

fn differences(what: &str, found: &BTreeSet<&str>, listed: &[&str]) -> Vec<String> {
    let unlisted = found.iter().filter(|path| !listed.contains(path)).map(|path| format!("{path}: {what}, not listed"));
    let stale =
        listed.iter().filter(|path| !found.contains(*path)).map(|path| format!("{path}: listed, without {what}"));
    unlisted.chain(stale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn tree(path: &str, text: &str) -> Tree {
        Tree::of(BTreeMap::from([(path.to_owned(), Some(text.to_owned()))]))
    }

    fn finds(rule: fn(&Tree) -> Vec<String>, path: &str, text: &str) -> bool {
        rule(&tree(path, text)).iter().any(|finding| finding.starts_with(path))
    }

    #[test]
    fn unsafe_code_in_a_new_file_is_found_and_the_word_alone_is_not() {
        assert!(finds(unsafe_code, "book/src/slab.rs", "fn f() { unsafe { g() } }"));
        assert!(!finds(
            unsafe_code,
            "book/src/slab.rs",
            "#![deny(unsafe_code)] // unsafe\nconst A: &str = \"unsafe\";"
        ));
        assert_eq!(unsafe_code(&tree("a.rs", "")).len(), UNSAFE.len(), "rows without a file are stale");
    }

    #[test]
    fn a_claim_to_the_only_unsafe_code_is_found() {
        assert!(finds(only_file_claims, "a.rs", "//! Good. This is the one file with `unsafe`: it\n//! maps memory."));
        assert!(finds(only_file_claims, "docs/A.md", "The only\nplace with unsafe code is here."));
        assert!(!finds(only_file_claims, "a.rs", "// The only file of its kind. It holds no unsafe code."));
    }

    #[test]
    fn a_second_clock_is_found() {
        let path = "node/src/engine/run.rs";
        assert!(finds(clock, path, "use std::time; fn f() { time::Instant::now(); }"));
        assert!(finds(clock, path, "use rustix::time::clock_gettime;"));
        assert!(!finds(clock, path, "#[cfg(test)] mod tests { fn f() { Instant::now(); } }"));
        assert!(!finds(clock, path, "use std::time::Instant; fn f(now: Instant) {}"));
        assert!(!finds(clock, "node/tests/a.rs", "fn f() { Instant::now(); }"));
        assert_eq!(clock(&tree("a.rs", "")).len(), CLOCK.len(), "rows without a file are stale");
    }

    #[test]
    fn a_table_with_a_random_seed_is_found() {
        let path = "book/src/client_ids.rs";
        for text in [
            "type A = HashMap<u8, (u8, u8)>;",
            "type A = HashSet<u8>;",
            "fn f() { HashMap::new(); }",
            "use std::hash::RandomState;",
        ] {
            assert!(finds(hash_tables, path, text), "{text}");
        }
        let listed = tree(path, "use std::collections::HashMap; type A = HashMap<u8, Vec<u8>, Fold>;");
        assert_eq!(hash_tables(&listed), [format!("{path}: a hash table, not listed")]);
        assert!(finds(hash_tables, "book/src/slab.rs", "type A = HashSet<u8, Fold>;"), "not listed");
        assert!(!finds(hash_tables, "book/src/testing/naive.rs", "type A = HashSet<u8>;"));
    }
}
