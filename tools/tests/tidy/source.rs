//! The source tree as the rules read it: every text file that git tracks, Rust files cut into tokens.
//!
//! Invariants: paths are relative to the root and written with `/`; the order of files is that of their paths, so that
//! two runs print the same. Build output and hidden folders but `.ci` and `.config` are not part of the tree.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::tokens::{Kind, Token, closing, follows, tokens};

/// Reads another tree instead of this one, such as a checkout of an older commit, to compare the two summaries.
const ROOT_VARIABLE: &str = "PINION_TIDY_ROOT";

pub(crate) struct Tree {
    pub rust: Vec<Source>,
    /// Markdown, configuration and scripts, by path.
    pub texts: BTreeMap<String, String>,
    /// Every file of the tree, of whatever kind.
    pub paths: Vec<String>,
    /// Folders of the workspace's crates, as in the root's manifest.
    pub crates: Vec<String>,
}

impl Tree {
    pub(crate) fn read() -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let root = std::env::var_os(ROOT_VARIABLE).map_or(here, PathBuf::from);
        let mut files = BTreeMap::new();
        collect(&root, "", &mut files);
        Self::of(files)
    }

    pub(crate) fn of(files: BTreeMap<String, Option<String>>) -> Self {
        let manifest = files.get("Cargo.toml").and_then(Option::as_ref);
        let crates = manifest.map(|text| members(text)).unwrap_or_default();
        let paths = files.keys().cloned().collect();
        let mut tree = Self { rust: Vec::new(), texts: BTreeMap::new(), paths, crates };
        for (path, text) in files {
            match text {
                Some(text) if path.ends_with(".rs") => tree.rust.push(Source::of(&path, &text)),
                Some(text) => drop(tree.texts.insert(path, text)),
                None => {}
            }
        }
        tree.mark_test_files();
        tree
    }

    /// Files of a crate's `src`, its binaries among them.
    pub(crate) fn sources(&self, of_crate: &str) -> impl Iterator<Item = &Source> {
        let prefix = format!("{of_crate}/src/");
        self.rust.iter().filter(move |source| source.path.starts_with(&prefix))
    }

    /// The name by which other crates import this one.
    pub(crate) fn name(&self, of_crate: &str) -> String {
        let manifest = self.texts.get(&format!("{of_crate}/Cargo.toml"));
        let line = manifest.and_then(|text| text.lines().find_map(|line| line.strip_prefix("name = \"")));
        line.unwrap_or(of_crate).trim_end_matches('"').replace('-', "_")
    }

    /// `#[cfg(test)] mod tests;` makes a test of the file that it names, and of every file below.
    fn mark_test_files(&mut self) {
        let stems: Vec<String> = self.rust.iter().flat_map(Source::test_modules).collect();
        for source in &mut self.rust {
            let of_test = |stem: &String| {
                source.path.strip_prefix(stem.as_str()).is_some_and(|rest| rest.starts_with(['.', '/']))
            };
            source.only_tests |= stems.iter().any(of_test);
        }
    }
}

/// The folder by which findings are counted: `node/src`, `docs`, or the file where it lies in the root.
pub(crate) fn folder(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [first @ ("docs" | "config" | ".ci"), ..] => (*first).to_owned(),
        [first, second, _, ..] => format!("{first}/{second}"),
        _ => path.to_owned(),
    }
}

pub(crate) struct Source {
    pub path: String,
    pub lines: usize,
    pub comments: Vec<Token>,
    /// Everything but comments.
    pub code: Vec<Token>,
    /// Lines of items under `#[cfg(test)]`.
    tests: Vec<RangeInclusive<usize>>,
    only_tests: bool,
}

impl Source {
    pub(crate) fn of(path: &str, text: &str) -> Self {
        let (comments, code): (Vec<_>, Vec<_>) = tokens(text).into_iter().partition(|t| t.kind == Kind::Comment);
        let tests = test_items(&code).into_iter().map(|(first, last)| code[first].line..=code[last].line_end).collect();
        Self { path: path.to_owned(), lines: text.lines().count(), comments, code, tests, only_tests: false }
    }

    /// The code that is in what is shipped: without items under `#[cfg(test)]`.
    pub(crate) fn product(&self) -> Vec<Token> {
        self.code.iter().filter(|token| !self.is_test(token.line)).cloned().collect()
    }

    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.only_tests || self.tests.iter().any(|lines| lines.contains(&line))
    }

    /// Whether the file is declared as `#[cfg(test)] mod NAME;`.
    pub(crate) fn is_only_tests(&self) -> bool {
        self.only_tests
    }

    /// Lines without those of items under `#[cfg(test)]`.
    pub(crate) fn product_lines(&self) -> usize {
        match self.only_tests {
            true => 0,
            false => self.lines - self.tests.iter().map(|lines| lines.end() - lines.start() + 1).sum::<usize>(),
        }
    }

    /// What the paths of modules declared as `#[cfg(test)] mod NAME;` begin with.
    fn test_modules(&self) -> Vec<String> {
        let folder = match self.path.rsplit_once('/') {
            Some((folder, "lib.rs" | "main.rs" | "mod.rs")) => folder.to_owned(),
            _ => self.path.trim_end_matches(".rs").to_owned(),
        };
        let declared = test_items(&self.code).into_iter().filter(|(_, last)| self.code[*last].is(";"));
        let names = declared.filter_map(|(_, last)| {
            let is_module = last.checked_sub(2).is_some_and(|at| self.code[at].is("mod"));
            is_module.then(|| format!("{folder}/{}", self.code[last - 1].text))
        });
        names.collect()
    }
}

/// First and last token of every item, statement or field under `#[cfg(test)]`.
fn test_items(code: &[Token]) -> Vec<(usize, usize)> {
    const SIGN: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut items = Vec::new();
    let mut at = 0;
    while at < code.len() {
        if !follows(code, at, &SIGN) {
            at += 1;
            continue;
        }
        let mut start = at + SIGN.len();
        while follows(code, start, &["#", "["]) {
            start = closing(code, start + 1) + 1;
        }
        let end = item_end(code, start);
        items.push((at, end));
        at = end + 1;
    }
    items
}

/// The last token of the item at `start`: its closing brace, its semicolon, or the comma after a field.
fn item_end(code: &[Token], start: usize) -> usize {
    const ITEMS: [&str; 12] =
        ["async", "const", "enum", "fn", "impl", "mod", "pub", "static", "struct", "trait", "unsafe", "use"];
    let is_item = code.get(start).is_some_and(|token| ITEMS.contains(&token.text.as_str()));
    let is_import = code[start..].iter().take_while(|token| !token.is(";")).any(|token| token.is("use"));
    let mut at = start;
    while at < code.len() {
        let token = &code[at];
        if token.is(";") || (!is_item && token.is(",")) {
            return at;
        }
        if token.is("(") || token.is("[") || token.is("{") {
            let end = closing(code, at);
            if token.is("{") && !(is_import && follows(code, end + 1, &[";"])) {
                return end;
            }
            at = end;
        }
        at += 1;
    }
    code.len().saturating_sub(1)
}

/// Reads `members = ["book", ..]` of the workspace.
fn members(manifest: &str) -> Vec<String> {
    let list = manifest.lines().find_map(|line| line.strip_prefix("members = [")).unwrap_or_default();
    list.split(',').map(|name| name.trim_matches([' ', '"', ']']).to_owned()).filter(|name| !name.is_empty()).collect()
}

/// Every file below, with its content where a rule reads that kind of file.
fn collect(root: &Path, below: &str, files: &mut BTreeMap<String, Option<String>>) {
    const TEXTS: [&str; 5] = [".rs", ".md", ".toml", ".py", ".xml"];
    for entry in fs::read_dir(root.join(below)).expect("a readable source tree") {
        let entry = entry.expect("a readable source tree");
        let name = entry.file_name().into_string().expect("names in the source tree are text");
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        let hidden = name.starts_with('.') && name != ".ci" && name != ".config";
        if hidden || name == "target" {
            continue;
        }
        if entry.file_type().expect("a readable source tree").is_dir() {
            collect(root, &path, files);
            continue;
        }
        let is_read = TEXTS.iter().any(|end| path.ends_with(end)) || path == "dev" || path.starts_with(".ci/");
        let text = is_read.then(|| fs::read_to_string(entry.path()).expect("source files are text"));
        files.insert(path, text);
    }
}

#[test]
fn items_under_cfg_test_are_no_product_code() {
    let text = "
        #[cfg(test)]
        use a::{b, c};
        struct S { #[cfg(test)] hidden: Vec<u8>, shown: u8 }
        #[cfg(test)]
        #[allow(unused)]
        mod tests { fn f() -> [u8; 2] { [0; 2] } }
        #[cfg(test)] mod twin;
        #[cfg(test)]
        pub fn helper<A, B>(a: A, b: B) { }
        fn shown_too() {}";
    let source = Source::of("x/src/lib.rs", text);
    assert_eq!(source.test_modules(), ["x/src/twin"]);
    let items: Vec<_> = test_items(&source.code).into_iter().map(|(_, last)| source.code[last].text.clone()).collect();
    assert_eq!(items, [";", ",", "}", ";", "}"]);
    let words: Vec<_> = source.product().into_iter().filter(|t| t.kind == Kind::Word).map(|t| t.text).collect();
    assert_eq!(words, ["fn", "shown_too"], "the struct shares its line with a field under test");
    let files = [("Cargo.toml", "members = [\"x\"]"), ("x/src/lib.rs", text), ("x/src/twin/deep.rs", "fn f() {}")];
    let tree = Tree::of(files.iter().map(|(path, text)| (path.to_string(), Some(text.to_string()))).collect());
    assert_eq!((&tree.crates[..], tree.rust[1].product_lines()), (&["x".to_owned()][..], 0));
}
