//! Words with a private meaning, which a stranger has to guess: found in comments, strings, names, pages and scripts.
//!
//! Invariants: a phrase is found across line ends, not across punctuation; a word in its ordinary sense ("a whole
//! number", "told apart") is no hit. What clients and scripts read by name stays, in one exact table.

use crate::source::{Source, Tree};
use crate::tokens::{Kind, Token};

/// Lists the hits of a folder or a file, such as `node/src`, instead of judging.
const LIST_VARIABLE: &str = "PINION_TIDY_LIST";

/// Public names that cannot change: where the path begins so, and the name.
const CONTRACTS: [(&str, &str); 20] = [
    // Keys of `--json` documents.
    ("tools/", "log_begins_behind"),
    ("tools/", "left_out"),
    ("tools/", "left_behind"),
    ("tools/", "behind_commands"),
    ("tools/", "behind_max_ns"),
    ("tools/", "commands_behind"),
    ("tools/", "cut_log_behind"),
    ("tools/", "applied_behind_next"),
    ("tools/", "durable_behind_applied"),
    ("tools/", "released_behind_durable"),
    ("tools/", "stored_behind_durable"),
    ("tools/src/verbs/top/document.rs", "behind"),
    ("tools/tests/top.rs", "behind"),
    ("docs/TOOLS.md", "behind_commands"),
    ("benches/src/bin/pauses.rs", "shadow_behind"),
    // A key and a value of `/health`.
    ("node/src/ops/health.rs", "behind"),
    // The bytes of a metadata key on disk.
    ("node/src/history/keys.rs", "history begins behind"),
    ("node/src/history/keys.rs", "behind"),
    // Options of the linker.
    (".ci/", "--whole-archive"),
    (".ci/", "--no-whole-archive"),
];

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Hit {
    pub path: String,
    pub line: usize,
    /// The words around it, or the name that holds it.
    pub found: String,
}

/// One word in lower case, or an empty one where punctuation separates.
struct Word {
    text: String,
    line: usize,
}

pub(crate) fn hits(tree: &Tree) -> Vec<Hit> {
    let mut hits = Vec::new();
    for source in tree.rust.iter().filter(|source| !is_about_words(&source.path)) {
        in_rust(source, &mut hits);
    }
    for (path, text) in &tree.texts {
        let words = text.lines().enumerate().flat_map(|(idx, line)| split(path, line, idx + 1)).collect::<Vec<_>>();
        in_words(path, &words, &mut hits);
    }
    for path in tree.paths.iter().filter(|path| !is_about_words(path)) {
        in_words(path, &split(path, path, 0), &mut hits);
    }
    hits
}

/// This file has to name what it bans.
fn is_about_words(path: &str) -> bool {
    path == "tools/tests/tidy/words.rs"
}

/// Contracts that no file needs.
pub(crate) fn stale_contracts(tree: &Tree) -> Vec<String> {
    let in_code = |source: &Source, name: &str| source.code.iter().any(|token| token.text.contains(name));
    let is_needed = |(place, name): &&(&str, &str)| {
        let code = tree.rust.iter().filter(|source| source.path.starts_with(place) && !is_about_words(&source.path));
        let mut texts = tree.texts.iter().filter(|(path, _)| path.starts_with(place));
        code.into_iter().any(|source| in_code(source, name)) || texts.any(|(_, text)| text.contains(name))
    };
    CONTRACTS
        .iter()
        .filter(|contract| !is_needed(contract))
        .map(|(place, name)| format!("{place}: no {name}"))
        .collect()
}

fn in_rust(source: &Source, hits: &mut Vec<Hit>) {
    let path = &source.path;
    // Comments in lines that follow each other are one text.
    for block in source.comments.chunk_by(|a, b| b.line <= a.line_end + 1) {
        let words = block.iter().flat_map(|comment| split_lines(path, comment));
        in_words(path, &words.collect::<Vec<_>>(), hits);
    }
    for (at, token) in source.code.iter().enumerate() {
        let words = match token.kind {
            Kind::Word | Kind::Text if token.text == "whole" && !is_claim(&source.code, at) => continue,
            // A name ends where its noun stands (`read_whole`), so that its end says nothing.
            Kind::Word if token.text.contains('_') => split(path, &format!("{}_name", token.text), token.line),
            Kind::Word | Kind::Text => split_lines(path, token),
            _ => continue,
        };
        in_words(path, &words, hits);
    }
}

/// Whether "whole" alone, at `at`, says yes or no about something (`expect("whole")`, `if !whole`). A value may well be
/// named after the whole of something.
fn is_claim(code: &[Token], at: usize) -> bool {
    let before: Vec<&str> = code[at.saturating_sub(2)..at].iter().map(|token| token.text.as_str()).collect();
    let after: Vec<&str> = code[at + 1..].iter().take(2).map(|token| token.text.as_str()).collect();
    matches!(before.as_slice(), ["expect", "("] | [_, "!" | "if"])
        || matches!(after.as_slice(), ["&", _] | ["=", "true" | "false"] | [":", "bool"])
}

fn split_lines(path: &str, token: &Token) -> Vec<Word> {
    token.text.split('\n').enumerate().flat_map(|(idx, text)| split(path, text, token.line + idx)).collect()
}

/// Cuts a line into words: at blanks and signs, and inside names at `_` and before capitals.
fn split(path: &str, line_text: &str, line: usize) -> Vec<Word> {
    let mut words = Vec::new();
    let is_contract = |name: &str| CONTRACTS.iter().any(|(place, known)| path.starts_with(place) && *known == name);
    for raw in line_text.split(|c: char| !c.is_alphanumeric() && !"_-.,;:!?()|".contains(c)) {
        if is_contract(raw.trim_end_matches(['.', ',', ';', ':', '!', '?', '(', ')', '|'])) {
            continue;
        }
        let mut word = String::new();
        let mut was_lower = false;
        for c in raw.chars() {
            if !c.is_alphanumeric() || (c.is_uppercase() && was_lower) {
                push(&mut words, &mut word, line);
            }
            if c.is_alphanumeric() {
                word.extend(c.to_lowercase());
            } else if c != '_' && c != '-' {
                words.push(Word { text: String::new(), line });
            }
            was_lower = c.is_lowercase();
        }
        push(&mut words, &mut word, line);
    }
    words
}

fn push(words: &mut Vec<Word>, word: &mut String, line: usize) {
    if !word.is_empty() {
        words.push(Word { text: std::mem::take(word), line });
    }
}

fn in_words(path: &str, words: &[Word], hits: &mut Vec<Hit>) {
    let text = |at: usize| words.get(at).map_or("", |word| word.text.as_str());
    for at in 0..words.len() {
        if is_banned(at.checked_sub(1).map_or("", text), text(at), [text(at + 1), text(at + 2)]) {
            let around = words[at.saturating_sub(3)..words.len().min(at + 4)].iter().map(|word| word.text.as_str());
            let found = around.map(|word| if word.is_empty() { "," } else { word }).collect::<Vec<_>>().join(" ");
            hits.push(Hit { path: path.to_owned(), line: words[at].line, found });
        }
    }
}

fn is_banned(before: &str, word: &str, [after, next]: [&str; 2]) -> bool {
    match word {
        "behind" | "nobody" | "somebody" | "whoever" => true,
        "told" => after != "apart",
        "takes" | "taken" | "took" | "taking" if after == "in" => !is_plain_in(next),
        "left" | "leave" | "leaves" | "leaving" => after == "out",
        "whole" => is_intact(before, after),
        _ => false,
    }
}

/// Whether "in" belongs to what follows it, not to the verb before: "taken in one order", "taken in fees".
fn is_plain_in(next: &str) -> bool {
    among("fees memory one order parallel parts pieces turn turns", next)
}

/// Whether "whole" stands for intact or complete: said of a thing, or of one of the things that can be damaged.
/// In its ordinary sense it comes before a noun ("the whole log", "whole lots"), or is one ("as a whole").
fn is_intact(before: &str, after: &str) -> bool {
    const COUNTED: &str =
        "number numbers unit units lot lots block blocks page pages tick ticks rows shares milliseconds";
    const ARTICLES: &str = "the a an one its their this that s our each per of";
    const ENTIRE: &str = "the its their this that s our";
    const DAMAGED: &str = "frame frames snapshot snapshots log store header headers slot piece pieces mark record \
                           records segment segments one list copy";
    const SAID: &str = "is are was were be been being stay stays back newest not note still";
    const NO_NOUNS: &str = "and or but where when while on in at if again then than";
    let ends = after.is_empty() || among(NO_NOUNS, after);
    !among(COUNTED, after)
        && (among(SAID, before)
            || (among(DAMAGED, after) && !among(ENTIRE, before))
            || (ends && !among(ARTICLES, before)))
}

fn among(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|known| known == word)
}

/// Prints the hits below the folder that the environment names; false where it names none.
pub(crate) fn list(hits: &[Hit]) -> bool {
    let Ok(below) = std::env::var(LIST_VARIABLE) else { return false };
    let below = below.trim_end_matches('/');
    let inside = |hit: &&Hit| hit.path.strip_prefix(below).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let listed: Vec<&Hit> = hits.iter().filter(inside).collect();
    listed.iter().for_each(|hit| println!("{}", hit.show()));
    println!("{} hits of banned words in {below}", listed.len());
    true
}

impl Hit {
    pub(crate) fn show(&self) -> String {
        format!("{}:{}: {}", self.path, self.line, self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn found(path: &str, text: &str) -> Vec<(usize, String)> {
        let tree = Tree::of(BTreeMap::from([(path.to_owned(), Some(text.to_owned()))]));
        hits(&tree).into_iter().map(|hit| (hit.line, hit.found)).collect()
    }

    #[test]
    fn a_private_sense_is_found_in_comments_strings_names_pages_and_paths() {
        let banned = [
            "// The log behind it.",
            "// Nobody has been told.",
            "/* What is left\n * out. */",
            "//! It leaves\n//! out one.",
            "fn f() { g(\"one line \\\n somebody wrote\") }",
            "fn is_left_out() {}",
            "struct LeftOut;",
            "// Taken in by the ring.",
            "// A frame that is whole; the next.",
            "// The newest whole snapshot",
            "// comes back whole",
            "// not whole",
            "fn f() { log.expect(\"a whole log\") }",
            "fn f() { log.expect(\"whole\") }",
            "fn f() { let mut whole = true; }",
            "fn f() { if !whole {} }",
            "fn is_whole() {}",
            "fn f() { is_still_whole() }",
        ];
        for text in banned {
            assert_ne!(found("x/src/lib.rs", text), [], "{text}");
        }
        assert_eq!(found("docs/A.md", "one\ntwo left\nout"), [(2, "one two left out".to_owned())]);
        assert_ne!(found("x/src/leave_out.rs", ""), []);
        assert_ne!(found("dev", "# somebody"), []);
    }

    #[test]
    fn an_ordinary_sense_is_no_hit() {
        let plain = [
            "// A whole number, of whole lots; the whole log, its whole past, as a whole. The whole is checked.",
            "// 1e-8 of a whole asset; one whole of the base asset; a session's whole stream; not whole units.",
            "// Two errors are told apart. It is left. Out of it comes nothing.",
            "fn f() { let whole = of(&start); g(&whole[..3]) }",
            "fn the_whole_log() { read_whole() }",
            "// Taken in one order; what values take in memory; taken in fees.",
            "fn f() { row[\"whole\"] = true; }",
        ];
        for text in plain {
            assert_eq!(found("x/src/lib.rs", text), [], "{text}");
        }
        assert_eq!(found("tools/src/a.rs", "fn f() { g(\"left_out\") }"), []);
        assert_ne!(found("node/src/a.rs", "fn f() { g(\"left_out\") }"), [], "a contract holds where it is");
        let tree = Tree::of([("tools/a.rs".to_owned(), Some("const A: &str = \"left_out\";".to_owned()))].into());
        assert_eq!(stale_contracts(&tree).len(), CONTRACTS.len() - 1);
    }
}
