//! docs/QUICKSTART.md as a market maker follows it, once in each language.

mod common;

use common::page::{
    Block, Clone, Same, Server, Shell, assert_excerpts_found, assert_shown, blocks, is_shown, repository,
};

const EXCERPTS_OF: [&str; 3] =
    ["api/examples/quote.rs", "docs/examples/python/quote.py", "docs/examples/python/pinion.py"];
/// The client in Python is short enough to be read in one go.
const CLIENT_LINES_MAX: usize = 150;

fn page() -> String {
    std::fs::read_to_string(repository().join("docs/QUICKSTART.md")).expect("a page")
}

/// `NAME=value` of every export line.
fn exports(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("export "));
    let pairs = lines.flat_map(str::split_whitespace).map(|word| word.split_once('=').expect("NAME=value"));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A reader at work: what the page's demo had drawn stands for what this demo drew.
struct Reader {
    shell: Shell,
    sample: Vec<(String, String)>,
    drawn: Vec<(String, String)>,
}

impl Reader {
    /// Starts the demo, compares its welcome and pastes its export lines.
    fn begin(clone: &Clone, start: &Block, welcome: &Block) -> (Self, Server) {
        assert_eq!((start.kind.as_str(), start.text.trim_end()), ("server", "./dev run"));
        let mut demo = clone.server("", start.text.trim_end());
        demo.await_line("export PINION_CONFIG=");
        let (sample, drawn) = (exports(&welcome.text), exports(&demo.printed));
        let mut reader = Self { shell: clone.shell(), sample, drawn };
        reader.compare(welcome, &demo.printed);
        let pasted = demo.printed.lines().filter(|line| line.trim_start().starts_with("export "));
        reader.shell.type_in(&pasted.collect::<Vec<_>>().join("\n"));
        (reader, demo)
    }

    fn personal(&self, text: &str) -> String {
        self.sample.iter().fold(text.to_owned(), |text, (name, sample)| {
            let drawn = self.drawn.iter().find(|(drawn, _)| drawn == name);
            text.replace(sample, &drawn.unwrap_or_else(|| panic!("{name} is not exported")).1)
        })
    }

    fn compare(&self, shown: &Block, printed: &str) {
        assert_shown(&self.personal(&shown.text), printed, shown.same(), shown.line);
    }

    fn type_in(&mut self, block: &Block) -> String {
        let typed = self.personal(&block.text);
        self.shell.type_in(&typed)
    }
}

/// Follows the page in one language; the commands of the other one are passed over.
fn follow(language: &str) {
    let Some(clone) = Clone::new() else { return };
    let is_mine = |block: &Block| match block.language.as_str() {
        "sh" => ["", "server", language].contains(&block.kind.as_str()),
        language => language == "text",
    };
    let steps: Vec<Block> = blocks(&page()).into_iter().filter(is_mine).collect();
    let [start, welcome, steps @ .., end] = &steps[..] else { panic!("the page has a beginning and an end") };
    let (mut reader, demo) = Reader::begin(&clone, start, welcome);
    let mut printed = String::new();
    let mut compared = 0;
    for block in steps {
        if block.language == "sh" {
            printed = reader.type_in(block);
        } else {
            reader.compare(block, &printed);
            compared += 1;
        }
    }
    assert!(2 <= compared, "what the session and the unblocking print is compared");
    assert_eq!(end.kind, "stop", "the page ends with the demo");
    reader.compare(end, &demo.stop());
}

#[test]
fn a_maker_follows_the_page_in_rust() {
    follow("rust");
}

#[test]
fn a_maker_follows_the_page_in_python() {
    follow("python");
}

#[test]
fn a_shape_is_the_same_words_with_other_numbers() {
    let alike = |shown, printed| is_shown(shown, printed, Same::Shape);
    assert!(alike("up      3 s, hash 0c4f\n", "up   41.75 s, hash 99e1d2ab"));
    assert!(alike("...\nat 2026-11-30T13:18:12.1Z\n", "log\nlog\nat 2027-01-02T00:00:00.25Z\n"));
    assert!(!alike("3 commands", "3 orders") && !alike("one\n", "one\ntwo\n") && !alike("...\ntwo\n", "one\n"));
    assert!(!is_shown("3 commands", "4 commands", Same::Exactly));
}

#[test]
fn every_excerpt_stands_in_the_programs() {
    let page = page();
    assert_excerpts_found(&blocks(&page), &EXCERPTS_OF);
    let client = std::fs::read_to_string(repository().join("docs/examples/python/pinion.py")).expect("a client");
    assert!(
        client.lines().count() <= CLIENT_LINES_MAX,
        "the client in Python has grown beyond {CLIENT_LINES_MAX} lines"
    );
}
