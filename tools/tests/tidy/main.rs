//! The taste of the source tree as tests, because taste that nothing checks decays.
//!
//! Each rule is one function below, with its limit, and has a sample in its module that it must find.
//!
//! ```text
//! ./dev cargo test --package tools --test tidy -- --nocapture                                      all rules
//! PINION_TIDY_LIST=node/src ./dev cargo test --package tools --test tidy no_words -- --nocapture   one folder
//! PINION_TIDY_ROOT=/checkout ./dev cargo test --package tools --test tidy -- --nocapture           another tree
//! ```

#![allow(clippy::print_stdout, reason = "the figures and the list of hits are printed")]

mod code_map;
mod imports;
mod lengths;
mod pages;
mod places;
mod ratchet;
mod source;
mod summary;
mod tokens;
mod words;

use ratchet::{by_folder, ratchet};
use source::Tree;

/// Files above the limit of today; the aim is an empty table.
const LONG_FILES: [(&str, usize); 0] = [];

/// Functions above the limit of today, as `path name`; the aim is an empty table.
const LONG_FUNCTIONS: [(&str, usize); 0] = [];

/// Findings of today by folder, to be mended; the aim is empty tables.
const CLAIMS: [(&str, usize); 0] = [];
const CIRCLES: [(&str, usize); 0] = [];
const UPWARD: [(&str, usize); 0] = [];
const UNNAMED: [(&str, usize); 0] = [];
const WIDE: [(&str, usize); 0] = [];
const WORDS: [(&str, usize); 0] = [];

/// Asserts per 100 lines of code that a crate must have, where money or the log is at stake.
const ASSERTS_MIN: [(&str, f64); 2] = [("book", 1.5), ("wal", 1.5)];

/// Fails with every finding, so that one run shows all that is to do.
fn hold(rule: &str, findings: &[impl AsRef<str>]) {
    let lines: Vec<&str> = findings.iter().map(AsRef::as_ref).collect();
    assert!(lines.is_empty(), "{rule}: {} findings\n{}\n", lines.len(), lines.join("\n"));
}

/// A file can be read in one sitting.
#[test]
fn no_file_is_long() {
    hold("length of files", &ratchet("lines", &lengths::files(&Tree::read()), lengths::FILE_LINES_MAX, &LONG_FILES));
}

/// A function fits on a screen.
#[test]
fn no_function_is_long() {
    let found = lengths::functions(&Tree::read());
    hold("length of functions", &ratchet("lines", &found, lengths::FUNCTION_LINES_MAX, &LONG_FUNCTIONS));
}

/// `unsafe` stands in the listed files, and no sentence says otherwise.
#[test]
fn unsafe_code_stands_where_it_is_listed() {
    let tree = Tree::read();
    hold("unsafe code", &places::unsafe_code(&tree));
    hold("claims to the only unsafe code", &by_folder(&places::only_file_claims(&tree), &CLAIMS));
}

/// A loop gets the time; it does not read it.
#[test]
fn the_clock_is_read_where_it_is_listed() {
    hold("the clock", &places::clock(&Tree::read()));
}

/// The same commands give the same state, in the same order, on every machine.
#[test]
fn no_hash_table_of_the_book_is_seeded_at_random() {
    hold("hash tables", &places::hash_tables(&Tree::read()));
}

/// Files of a crate can be read one after the other.
#[test]
fn no_files_import_each_other_in_a_circle() {
    let tree = Tree::read();
    let circles: Vec<String> = tree.crates.iter().flat_map(|name| imports::show_circles(&tree, name)).collect();
    hold("circles of files", &by_folder(&circles, &CIRCLES));
}

/// The code map names every room, from the highest to the lowest, and imports go down.
#[test]
fn rooms_import_downwards_as_the_code_map_says() {
    let tree = Tree::read();
    let (rooms, findings) = code_map::read(&tree);
    hold("the code map", &findings);
    let mut upward = Vec::new();
    for (name, rooms) in &rooms {
        let imports = imports::imports(&tree, name);
        upward.extend(code_map::upward(&imports, rooms).into_iter().map(imports::Import::show));
    }
    hold("imports that go up", &by_folder(&upward, &UPWARD));
}

/// The head of a crate says in which order its modules are read, and forgets none.
#[test]
fn the_head_of_a_crate_names_all_its_modules() {
    hold("heads of crates", &by_folder(&pages::unnamed_modules(&Tree::read()), &UNNAMED));
}

/// Pages and comments fit into a terminal.
#[test]
fn prose_is_not_wide() {
    hold("width of prose", &by_folder(&pages::wide_lines(&Tree::read()), &WIDE));
}

/// Words mean what they mean elsewhere.
#[test]
fn no_words_have_a_private_meaning() {
    let tree = Tree::read();
    let hits = words::hits(&tree);
    if !words::list(&hits) {
        hold("public names with a banned word", &words::stale_contracts(&tree));
        let findings: Vec<String> = hits.iter().map(words::Hit::show).collect();
        hold("banned words", &by_folder(&findings, &WORDS));
    }
}

/// What would lose money or the log is asserted, not hoped. Prints the figures of every crate.
#[test]
fn asserts_stand_where_money_moves() {
    let tree = Tree::read();
    let figures = summary::figures(&tree);
    println!("{}", summary::table(&figures, &tree));
    let few = figures.iter().filter_map(|figures| {
        let (name, least) = ASSERTS_MIN.iter().find(|(name, _)| *name == figures.of_crate)?;
        let found = figures.asserts_per_100();
        (found < *least).then(|| format!("{name}: {found:.2} asserts per 100 lines of code, at least {least} needed"))
    });
    hold("asserts", &few.collect::<Vec<_>>());
}
