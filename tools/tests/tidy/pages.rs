//! Pages that people read in a terminal, and the heads of crates that name their modules.

use crate::source::Tree;
use crate::tokens::{Kind, Token, follows};

pub(crate) const COLUMNS_MAX: usize = 120;

/// Lines of prose that are too wide, of pages and of comments. Tables, code and links are left as they are.
pub(crate) fn wide_lines(tree: &Tree) -> Vec<String> {
    let pages = tree.texts.iter().filter(|(path, _)| path.ends_with(".md"));
    let pages = pages.map(|(path, text)| (path, wide_in_page(text)));
    let comments = tree.rust.iter().map(|source| {
        let is_wide = |comment: &&Token| COLUMNS_MAX < comment.column_end && is_prose(&comment.text);
        (&source.path, source.comments.iter().filter(is_wide).map(|comment| comment.line).collect::<Vec<_>>())
    });
    let show = |path: &str, line: &usize| format!("{path}:{line}: more than {COLUMNS_MAX} columns");
    pages
        .chain(comments)
        .flat_map(|(path, lines)| lines.iter().map(|line| show(path, line)).collect::<Vec<_>>())
        .collect()
}

fn wide_in_page(text: &str) -> Vec<usize> {
    let mut in_code = false;
    let mut wide = Vec::new();
    for (idx, line) in text.lines().enumerate() {
        in_code ^= line.trim_start().starts_with("```");
        if COLUMNS_MAX < line.chars().count() && !in_code && is_prose(line) {
            wide.push(idx + 1);
        }
    }
    wide
}

fn is_prose(line: &str) -> bool {
    let is_table = line.trim_start().starts_with('|');
    let is_indented_code = line.starts_with("    ");
    !is_table && !is_indented_code && !line.contains("](") && !line.contains("://")
}

/// Modules that the head of their crate does not name.
pub(crate) fn unnamed_modules(tree: &Tree) -> Vec<String> {
    let of_crate = |name: &String| {
        let source = tree.rust.iter().find(|source| source.path == format!("{name}/src/lib.rs"))?;
        let code = source.product();
        let head: Vec<&str> = source.comments.iter().map(|comment| comment.text.as_str()).collect();
        let named = |module: &str| head.iter().any(|line| line.split('`').any(|word| word == module));
        let declared = (0..code.len()).filter(|at| follows(&code, *at, &["mod"]) && follows(&code, at + 2, &[";"]));
        let unnamed =
            declared.map(|at| &code[at + 1]).filter(|module| module.kind == Kind::Word && !named(&module.text));
        Some(unnamed.map(|module| format!("{}: `{}` is not named in the head", source.path, module.text)).collect())
    };
    tree.crates.iter().filter_map(of_crate).collect::<Vec<Vec<_>>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(path: &str, text: &str) -> Tree {
        let manifest = ("Cargo.toml".to_owned(), Some("members = [\"x\"]".to_owned()));
        Tree::of([manifest, (path.to_owned(), Some(text.to_owned()))].into())
    }

    #[test]
    fn a_wide_line_of_prose_is_found_and_tables_and_code_are_not() {
        let wide = "word ".repeat(30);
        let page = format!("short\n{wide}\n| {wide} |\n```\n{wide}\n```\n    {wide}\n{wide} [a](b)\n");
        let found = |path, text| wide_lines(&tree(path, text));
        assert_eq!(found("docs/A.md", &page), ["docs/A.md:2: more than 120 columns"]);
        let code = format!("fn f() {{}} // short\n/// {wide}\nconst A: &str = \"{wide}\";\n");
        assert_eq!(found("x/src/lib.rs", &code), ["x/src/lib.rs:2: more than 120 columns"]);
        assert_eq!(found("x/src/lib.rs", &format!("// {}\n", "x".repeat(117))), [""; 0]);
    }

    #[test]
    fn a_module_that_the_head_does_not_name_is_found() {
        let text =
            "//! Read `units`, [`frame`].\npub mod units;\nmod frame;\npub mod head;\n#[cfg(test)]\nmod tests;\n";
        assert_eq!(unnamed_modules(&tree("x/src/lib.rs", text)), ["x/src/lib.rs: `head` is not named in the head"]);
    }
}
