//! The figures of every crate in one table, for reading and for comparing two commits.

use std::collections::BTreeSet;

use crate::code_map::{self, Rooms};
use crate::imports::{circles, imports};
use crate::lengths;
use crate::source::{Source, Tree};
use crate::tokens::Token;
use crate::words;

pub(crate) struct Figures {
    pub of_crate: String,
    files: usize,
    lines_max: usize,
    functions: usize,
    function_lines_max: usize,
    code_lines: usize,
    asserts: usize,
    circles: usize,
    /// None where the code map has no rows for the crate.
    upward: Option<usize>,
}

impl Figures {
    /// Asserts among a hundred lines of code; tests, comments, blanks and what only tests use are no such lines.
    pub(crate) fn asserts_per_100(&self) -> f64 {
        self.asserts as f64 * 100.0 / self.code_lines.max(1) as f64
    }
}

pub(crate) fn figures(tree: &Tree) -> Vec<Figures> {
    let (rooms, _) = code_map::read(tree);
    tree.crates.iter().map(|name| of_crate(tree, name, rooms.get(name))).collect()
}

fn of_crate(tree: &Tree, name: &str, rooms: Option<&Rooms>) -> Figures {
    let imports = imports(tree, name);
    let functions: Vec<usize> = tree.sources(name).flat_map(lengths::of_source).map(|(_, lines)| lines).collect();
    let shipped = || tree.sources(name).filter(|source| !source.path.contains("/src/testing"));
    Figures {
        of_crate: name.to_owned(),
        files: tree.sources(name).count(),
        lines_max: tree.sources(name).map(Source::product_lines).max().unwrap_or(0),
        functions: functions.len(),
        function_lines_max: functions.into_iter().max().unwrap_or(0),
        code_lines: shipped().map(|source| code_lines(&source.product())).sum(),
        asserts: shipped().map(|source| asserts(&source.product())).sum(),
        circles: circles(&imports).len(),
        upward: rooms.map(|rooms| code_map::upward(&imports, rooms).len()),
    }
}

/// Lines on which some code stands.
fn code_lines(code: &[Token]) -> usize {
    code.iter().flat_map(|token| token.line..=token.line_end).collect::<BTreeSet<_>>().len()
}

fn asserts(code: &[Token]) -> usize {
    const NAMES: [&str; 6] = ["assert", "assert_eq", "assert_ne", "debug_assert", "debug_assert_eq", "debug_assert_ne"];
    let is_assert = |pair: &&[Token]| NAMES.iter().any(|name| pair[0].is(name)) && pair[1].is("!");
    code.windows(2).filter(is_assert).count()
}

pub(crate) fn table(figures: &[Figures], tree: &Tree) -> String {
    let mut text = String::from(
        "crate        files  longest  functions  longest  code lines  asserts  per 100  circles  upward imports\n",
    );
    for f in figures {
        text += &format!(
            "{:12} {:5}  {:7}  {:9}  {:7}  {:10}  {:7}  {:7.2}  {:7}  {:>14}\n",
            f.of_crate,
            f.files,
            f.lines_max,
            f.functions,
            f.function_lines_max,
            f.code_lines,
            f.asserts,
            f.asserts_per_100(),
            f.circles,
            f.upward.map_or("no map".to_owned(), |count| count.to_string()),
        );
    }
    let (files, functions) = (lengths::files(tree), lengths::functions(tree));
    let longest = |sizes: &[(String, usize)]| sizes.iter().max_by_key(|(_, lines)| *lines).cloned().unwrap_or_default();
    let (file, function) = (longest(&files), longest(&functions));
    text += &format!("{} files with their tests; the longest has {} lines: {}\n", files.len(), file.1, file.0);
    text += &format!(
        "{} functions with those of tests; the longest: {} lines, {}\n",
        functions.len(),
        function.1,
        function.0
    );
    text + &format!("{} banned words\n", words::hits(tree).len())
}

#[test]
fn asserts_and_lines_of_code_are_counted_without_tests_and_comments() {
    let text = "// assert!(no)\nfn f() {\n\n    assert!(a, \"one\n two\");\n    debug_assert_eq!(a, b); /* c */\n}\n\
                const _: () = assert!(1 < 2);\n#[cfg(test)]\nmod tests {\n    fn g() { assert!(x) }\n}\n";
    let code = Source::of("x/src/a.rs", text).product();
    assert_eq!((asserts(&code), code_lines(&code)), (3, 6));
}
