//! docs/FIRST-DAY.md as an operator follows it.

mod common;

use common::page::{Block, Clone, Server, Shell, assert_shown, blocks, is_shown, repository};
use std::time::{Duration, Instant};

/// The home and the password that the page shows; each reader has others.
const HOME: &str = "/home/ada";
const PASSWORD: &str = "ewLws7Y8xG";
/// For what reaches the public feed a moment after the answer.
const APPEARS_WITHIN: Duration = Duration::from_secs(20);

struct Operator {
    clone: Clone,
    shell: Shell,
    /// What was typed into each terminal at the beginning.
    exports: String,
    password: String,
    node: Option<Server>,
    printed: String,
    /// The last block that was typed, for one that is typed again.
    typed: Block,
}

/// The word after `name` and `between` in what was printed.
fn word_after<'t>(printed: &'t str, name: &str) -> &'t str {
    let found = printed.split_once(name).and_then(|(_, rest)| rest.split_whitespace().next());
    found.unwrap_or_else(|| panic!("no {name} in {printed:?}"))
}

impl Operator {
    fn begin(clone: Clone, exports: &Block) -> Self {
        let mut shell = clone.shell();
        shell.type_in(&exports.text);
        let (typed, exports) = (exports.clone(), exports.text.clone());
        Self { clone, shell, exports, password: String::new(), node: None, printed: String::new(), typed }
    }

    fn personal(&self, text: &str) -> String {
        text.replace(HOME, &self.clone.home()).replace(PASSWORD, &self.password)
    }

    fn start(&mut self, typed: &str) {
        let mut node = self.clone.server(&self.exports, typed);
        let ready = node.await_line("ready ");
        for (listener, field) in [("ORDERS", " orders="), ("MARKET", " market="), ("OPS", " ops=")] {
            self.shell.type_in(&format!("export PINION__LISTEN__{listener}={}", word_after(&ready, field)));
        }
        self.printed = std::mem::take(&mut node.printed);
        self.node = Some(node);
    }

    fn type_in(&mut self, block: &Block) {
        let typed = self.personal(&block.text);
        self.printed = self.shell.type_in(&typed);
        if self.printed.contains("\npassword: ") {
            self.password = word_after(&self.printed, "password: ").to_owned();
        }
        self.typed = block.clone();
    }

    fn compare(&mut self, shown: &Block) {
        let expected = self.personal(&shown.text);
        let deadline = Instant::now() + APPEARS_WITHIN;
        while self.typed.kind == "again" && !is_shown(&expected, &self.printed, shown.same()) {
            assert!(Instant::now() < deadline, "line {}: {}", shown.line, self.printed);
            self.type_in(&self.typed.clone());
        }
        assert_shown(&expected, &self.printed, shown.same(), shown.line);
    }

    fn step(&mut self, block: &Block) {
        match (block.language.as_str(), block.kind.as_str()) {
            ("sh", "server") => self.start(block.text.trim_end()),
            ("sh", _) => self.type_in(block),
            ("text", "stop") => {
                self.printed = self.node.take().expect("it was started").stop();
                self.compare(block);
            }
            _ => self.compare(block),
        }
    }
}

#[test]
fn an_operator_follows_the_page() {
    let Some(clone) = Clone::new() else { return };
    let page = std::fs::read_to_string(repository().join("docs/FIRST-DAY.md")).expect("a page");
    let all = blocks(&page);
    let [exports, steps @ .., last_hash, hash, start, ready] = &all[..] else { panic!("the page has its steps") };
    let mut operator = Operator::begin(clone, exports);
    for block in steps.iter().chain([last_hash, hash]) {
        operator.step(block);
    }
    let kept = operator.printed.split_whitespace().next().expect("a state hash").to_owned();
    operator.step(start);
    operator.step(ready);
    assert_eq!(word_after(&operator.printed, "state_hash="), kept, "the state outlives a stop and a start");
    operator.node.take().expect("it was started").stop();
}
