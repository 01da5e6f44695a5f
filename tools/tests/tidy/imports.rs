//! Which file of a crate imports from which, computed from `use` lines and from paths in the code.
//!
//! Invariants: an import belongs to the file that its path names, also where that file only hands the thing on; code
//! under `#[cfg(test)]` imports what it likes. A module stands in one file, so a path ends at the last file it names.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, Tree};
use crate::tokens::{Kind, Token, closing, follows};

/// One file of a crate; its module path is empty for `lib.rs`, and none for a binary, which nothing imports.
struct Module<'a> {
    source: &'a Source,
    path: Option<Vec<String>>,
}

pub(crate) struct Import {
    pub from: String,
    pub to: String,
    pub line: usize,
}

impl Import {
    pub(crate) fn show(&self) -> String {
        format!("{}:{} -> {}", self.from, self.line, self.to)
    }
}

/// Every import between two files of the crate, in the order of files and lines.
pub(crate) fn imports(tree: &Tree, of_crate: &str) -> Vec<Import> {
    let name = tree.name(of_crate);
    let modules: Vec<Module> = tree
        .sources(of_crate)
        .map(|source| Module { source, path: module_path(&source.path[of_crate.len() + "/src/".len()..]) })
        .collect();
    let files: BTreeMap<&[String], &str> =
        modules.iter().filter_map(|module| Some((module.path.as_deref()?, module.source.path.as_str()))).collect();
    let mut imports = Vec::new();
    for module in &modules {
        for (path, line) in paths(module, &name, &files) {
            let longest = (0..=path.len()).rev().find_map(|len| files.get(&path[..len]));
            if let Some(to) = longest.filter(|to| **to != module.source.path) {
                imports.push(Import { from: module.source.path.clone(), to: (*to).to_owned(), line });
            }
        }
    }
    imports
}

fn module_path(file: &str) -> Option<Vec<String>> {
    if file == "main.rs" || file.starts_with("bin/") {
        return None;
    }
    let mut parts: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "lib" || last == "mod") {
        parts.pop();
    }
    Some(parts)
}

/// Every path in the file that may lead into its own crate, from the root of the crate, with its line.
fn paths(module: &Module, name: &str, files: &BTreeMap<&[String], &str>) -> Vec<(Vec<String>, usize)> {
    let code = module.source.product();
    let mut inner: Vec<(String, usize)> = Vec::new();
    let mut found = Vec::new();
    for at in 0..code.len() {
        inner.retain(|(_, end)| at <= *end);
        if code[at].is("mod") && follows(&code, at + 2, &["{"]) {
            inner.push((code[at + 1].text.clone(), closing(&code, at + 2)));
        }
        let is_inside_a_path = 2 <= at && follows(&code, at - 2, &[":", ":"]);
        let leads_on = follows(&code, at + 1, &[":", ":"]) || (at > 0 && code[at - 1].is("use"));
        if code[at].kind != Kind::Word || is_inside_a_path || !leads_on {
            continue;
        }
        let here = module.path.as_ref().map(|path| {
            path.iter().cloned().chain(inner.iter().map(|(name, _)| name.clone())).collect::<Vec<String>>()
        });
        if let Some((base, rest)) = base(&code, at, here, name, files) {
            branches(&code, rest, &base, &mut |path| found.push((path, code[at].line)));
        }
    }
    found
}

/// Where the path that begins at `at` starts from, and the token with which it goes on; none for another crate's path.
fn base(
    code: &[Token],
    mut at: usize,
    here: Option<Vec<String>>,
    name: &str,
    files: &BTreeMap<&[String], &str>,
) -> Option<(Vec<String>, usize)> {
    let first = &code[at];
    if let Some(mut here) = here {
        let child: Vec<String> = here.iter().chain([&first.text]).cloned().collect();
        if files.contains_key(child.as_slice()) {
            return Some((here, at));
        }
        if first.is("crate") {
            return Some((Vec::new(), at + 3));
        }
        if first.is("self") {
            return Some((here, at + 3));
        }
        while code[at].is("super") {
            here.pop();
            at += 3;
        }
        if first.is("super") {
            return Some((here, at));
        }
    }
    first.is(name).then(|| (Vec::new(), at + 3))
}

/// Follows a path from `at` on, into every branch of its braces.
fn branches(code: &[Token], at: usize, before: &[String], found: &mut impl FnMut(Vec<String>)) {
    match code.get(at) {
        Some(token) if token.is("{") => {
            let end = closing(code, at);
            let mut next = at + 1;
            while next < end {
                branches(code, next, before, found);
                next = comma(code, next, end) + 1;
            }
        }
        Some(token) if token.kind == Kind::Word && !token.is("self") => {
            let path: Vec<String> = before.iter().chain([&token.text]).cloned().collect();
            match follows(code, at + 1, &[":", ":"]) {
                true => branches(code, at + 3, &path, found),
                false => found(path),
            }
        }
        _ => found(before.to_vec()),
    }
}

/// The comma that ends the branch at `at`, or the end of all of them.
fn comma(code: &[Token], at: usize, end: usize) -> usize {
    let mut next = at;
    while next < end && !code[next].is(",") {
        next = if code[next].is("{") { closing(code, next) + 1 } else { next + 1 };
    }
    next
}

/// Groups of files that can reach each other by imports: of each such circle all of its files.
pub(crate) fn circles(imports: &[Import]) -> Vec<Vec<&str>> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for import in imports {
        next.entry(&import.from).or_default().insert(&import.to);
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> = next.keys().map(|file| (*file, reach(&next, file))).collect();
    let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|all| all.contains(to));
    let mut circles: Vec<Vec<&str>> = Vec::new();
    for file in next.keys().filter(|file| reaches(file, file)) {
        if !circles.iter().any(|circle| circle.contains(file)) {
            circles.push(next.keys().copied().filter(|other| reaches(file, other) && reaches(other, file)).collect());
        }
    }
    circles
}

/// One text for each circle: the imports that make it, the first between any two files.
pub(crate) fn show_circles(tree: &Tree, of_crate: &str) -> Vec<String> {
    let imports = imports(tree, of_crate);
    let show = |circle: Vec<&str>| {
        let mut shown = BTreeMap::new();
        for import in imports.iter().filter(|i| circle.contains(&&*i.from) && circle.contains(&&*i.to)) {
            shown.entry((&import.from, &import.to)).or_insert_with(|| import.show());
        }
        let lines: Vec<String> = shown.into_values().collect();
        format!("{}: a circle of {} files\n    {}", circle[0], circle.len(), lines.join("\n    "))
    };
    circles(&imports).into_iter().map(show).collect()
}

/// All files that imports lead to from `start`; `start` itself only where they lead back.
fn reach<'a>(next: &BTreeMap<&'a str, BTreeSet<&'a str>>, start: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = vec![start];
    while let Some(file) = open.pop() {
        for to in next.get(file).into_iter().flatten() {
            if reached.insert(*to) {
                open.push(to);
            }
        }
    }
    reached
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn tree(files: &[(&str, &str)]) -> Tree {
        let manifest = [("Cargo.toml", "members = [\"x\"]"), ("x/Cargo.toml", "name = \"the-x\"")];
        let files = manifest.iter().chain(files);
        Tree::of(files.map(|(path, text)| (path.to_string(), Some(text.to_string()))).collect())
    }

    fn of(files: &[(&str, &str)]) -> Vec<String> {
        let short = |path: &str| path.trim_start_matches("x/src/").trim_end_matches(".rs").to_owned();
        imports(&tree(files), "x").iter().map(|i| format!("{} -> {}", short(&i.from), short(&i.to))).collect()
    }

    #[test]
    fn every_way_to_name_another_file_is_an_import() {
        let root = ("x/src/lib.rs", "mod a; mod b;");
        let deep = ("x/src/b/c.rs", "");
        let b = ("x/src/b.rs", "pub mod c;");
        let from_a = |text| of(&[root, ("x/src/a.rs", text), b, deep]);
        assert_eq!(from_a("use crate::b::Thing;"), ["a -> b"]);
        assert_eq!(from_a("use crate::b::c::Thing as Other;"), ["a -> b/c"]);
        assert_eq!(
            from_a("use super::{b::{self, c::{One, Two}}, std::x};"),
            ["a -> b", "a -> b/c", "a -> b/c", "a -> lib"]
        );
        assert_eq!(from_a("fn f() { crate::b::c::run::<u8>() }"), ["a -> b/c"]);
        assert_eq!(from_a("macro_rules! m { () => { $crate::b::f() } }"), ["a -> b"]);
        assert_eq!(from_a("mod inner { use super::super::b::f; use super::g; }"), ["a -> b"]);
        assert_eq!(from_a("use crate::b::*;"), ["a -> b"]);
        assert_eq!(from_a("use std::b::c; fn f() { other::b::c() }"), [""; 0]);
        assert_eq!(from_a("#[cfg(test)] mod tests { use crate::b::f; }"), [""; 0]);
        assert_eq!(
            of(&[root, ("x/src/b.rs", "pub mod c; use c::F; fn f() { c::g() }"), deep]),
            ["b -> b/c", "b -> b/c"]
        );
        assert_eq!(of(&[root, b, ("x/src/b/c.rs", "use super::B; use self::inner::C;")]), ["b/c -> b"]);
        assert_eq!(of(&[root, ("x/src/a/mod.rs", ""), ("x/src/bin/y.rs", "use the_x::a::f;")]), ["bin/y -> a/mod"]);
    }

    #[test]
    fn a_circle_of_files_is_found_with_all_its_files() {
        let import = |pair: &&str| {
            let (from, to) = pair.split_at(1);
            Import { from: from.to_owned(), to: to.to_owned(), line: 1 }
        };
        let imports: Vec<Import> = ["ab", "bc", "ca", "cd", "ef", "fe", "dg"].iter().map(import).collect();
        assert_eq!(circles(&imports), [vec!["a", "b", "c"], vec!["e", "f"]]);
        assert_eq!(circles(&imports[3..4]), [[""; 0]; 0]);
    }
}
