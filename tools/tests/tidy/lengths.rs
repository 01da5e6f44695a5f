//! How long files and functions are.
//!
//! A file counts without what is under `#[cfg(test)]`; a function counts from `fn` to its closing brace, with blanks
//! and comments, because that is what a reader has to see at once.

use crate::source::{Source, Tree};
use crate::tokens::{Kind, Token, closing, follows};

pub(crate) const FILE_LINES_MAX: usize = 600;
pub(crate) const FUNCTION_LINES_MAX: usize = 70;

pub(crate) fn files(tree: &Tree) -> Vec<(String, usize)> {
    tree.rust.iter().map(|source| (source.path.clone(), source.product_lines())).collect()
}

/// Every function of the tree as `path name`, tests and helpers of tests among them.
pub(crate) fn functions(tree: &Tree) -> Vec<(String, usize)> {
    tree.rust.iter().flat_map(of_source).collect()
}

pub(crate) fn of_source(source: &Source) -> Vec<(String, usize)> {
    let code = &source.code;
    let starts = (0..code.len()).filter(|at| code[*at].is("fn"));
    let functions = starts.filter_map(|at| {
        let name = code.get(at + 1).filter(|name| name.kind == Kind::Word)?;
        let end = body_end(code, at)?;
        Some((format!("{} {}", source.path, name.text), code[end].line_end - code[at].line + 1))
    });
    functions.collect()
}

/// Where the body of the function at `at` closes; none for a declaration without a body.
fn body_end(code: &[Token], at: usize) -> Option<usize> {
    let mut next = at;
    while next < code.len() && !code[next].is(";") {
        let is_group = ["(", "[", "{"].iter().any(|open| code[next].is(open));
        let end = if is_group { closing(code, next) } else { next };
        // The brace of a constant argument, `<{ N }>`, is no body.
        if code[next].is("{") && !follows(code, end + 1, &[">"]) && !follows(code, end + 1, &[","]) {
            return Some(end);
        }
        next = end + 1;
    }
    None
}

#[test]
fn functions_are_measured_from_their_first_line_to_their_brace() {
    let text = "trait T { fn declared(&self) -> [u8; { 3 }]; }
        fn one() {}
        type F = fn(u8) -> u8;
        fn with<const N: usize>(_: A<{ N }>) -> u8
        where
            X: Y,
        { // a { brace
            let c = '{';
            fn inner() {
            }
        }";
    let found = of_source(&Source::of("a.rs", text));
    let expected = [("a.rs one", 1), ("a.rs with", 8), ("a.rs inner", 2)].map(|(name, lines)| (name.to_owned(), lines));
    assert_eq!(found, expected);
}
