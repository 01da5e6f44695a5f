//! Rust source cut into tokens: enough to tell code from comments and literals, and to find items by their braces.
//!
//! Invariants: every byte of the source belongs to one token or to white space; a quote inside a comment and a comment
//! sign inside a literal are what the compiler takes them for. Written by hand because comments are half of what the
//! rules read, and a parser of the language throws them away.

use std::iter::Peekable;
use std::str::CharIndices;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A name or a keyword, without `r#`.
    Word,
    /// A string literal of any sort; the text is what stands between the quotes.
    Text,
    /// One line of a comment or a block comment; the text is without the signs that open and close it.
    Comment,
    /// One character that stands for itself: `{`, `:`, `#`.
    Sign,
    /// A number, a character literal or a lifetime: of no interest to any rule.
    Other,
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub kind: Kind,
    pub text: String,
    /// Counted from 1, of the first and of the last character.
    pub line: usize,
    pub line_end: usize,
    /// Characters of its last line up to its end.
    pub column_end: usize,
}

impl Token {
    pub(crate) fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Word | Kind::Sign) && self.text == text
    }
}

/// Whether the tokens from `at` on are these words and signs.
pub(crate) fn follows(tokens: &[Token], at: usize, expected: &[&str]) -> bool {
    tokens.len().saturating_sub(at) >= expected.len()
        && tokens[at..].iter().zip(expected).all(|(token, text)| token.is(text))
}

/// Where the group that opens at `open` closes; the end of the tokens where it never does.
pub(crate) fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        if token.kind == Kind::Sign {
            match token.text.as_str() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len() - 1
}

pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut scanner = Scanner { source, chars: source.char_indices().peekable(), line: 1, tokens: Vec::new() };
    while let Some((at, c)) = scanner.next() {
        let line = scanner.line;
        let (kind, text) = scanner.token(at, c);
        if let Some(kind) = kind {
            let column_end = scanner.column();
            scanner.tokens.push(Token { kind, text, line, line_end: scanner.line, column_end });
        }
    }
    scanner.tokens
}

struct Scanner<'a> {
    source: &'a str,
    chars: Peekable<CharIndices<'a>>,
    line: usize,
    tokens: Vec<Token>,
}

impl Scanner<'_> {
    fn next(&mut self) -> Option<(usize, char)> {
        let next = self.chars.next();
        if let Some((_, '\n')) = next {
            self.line += 1;
        }
        next
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, c)| *c)
    }

    fn here(&mut self) -> usize {
        self.chars.peek().map_or(self.source.len(), |(at, _)| *at)
    }

    fn column(&mut self) -> usize {
        let read = &self.source[..self.here()];
        read.chars().rev().take_while(|c| *c != '\n').count()
    }

    /// Takes characters as long as they pass; returns where it stopped.
    fn skip_while(&mut self, pass: impl Fn(char) -> bool) -> usize {
        while self.peek().is_some_and(&pass) {
            self.next();
        }
        self.here()
    }

    fn token(&mut self, at: usize, c: char) -> (Option<Kind>, String) {
        match c {
            c if c.is_whitespace() => (None, String::new()),
            '/' if self.peek() == Some('/') => {
                let end = self.skip_while(|c| c != '\n');
                let text = self.source[at..end].trim_start_matches('/').trim_start_matches('!');
                (Some(Kind::Comment), text.to_owned())
            }
            '/' if self.peek() == Some('*') => (Some(Kind::Comment), self.block_comment()),
            '"' => (Some(Kind::Text), self.string()),
            '\'' => (Some(Kind::Other), self.quoted(at)),
            c if c.is_ascii_digit() => {
                let end = self.skip_while(|c| c.is_alphanumeric() || c == '_');
                (Some(Kind::Other), self.source[at..end].to_owned())
            }
            c if c.is_alphabetic() || c == '_' => self.word(at),
            c => (Some(Kind::Sign), c.to_string()),
        }
    }

    /// A name, or one of the literals that begin with a letter: `r"..."`, `b'x'`, `br#"..."#`, `c"..."`.
    fn word(&mut self, at: usize) -> (Option<Kind>, String) {
        let end = self.skip_while(|c| c.is_alphanumeric() || c == '_');
        let word = &self.source[at..end];
        match (word, self.peek()) {
            ("b" | "c", Some('"')) => {
                self.next();
                (Some(Kind::Text), self.string())
            }
            ("b", Some('\'')) => {
                self.next();
                (Some(Kind::Other), self.quoted(end))
            }
            ("r" | "br" | "cr", Some('"' | '#')) => self.raw(word),
            _ => (Some(Kind::Word), word.to_owned()),
        }
    }

    /// After `r`: a raw string with its number signs, or a raw name such as `r#type`.
    fn raw(&mut self, word: &str) -> (Option<Kind>, String) {
        let open = self.here();
        let quote = self.skip_while(|c| c == '#');
        if self.peek() != Some('"') {
            let end = self.skip_while(|c| c.is_alphanumeric() || c == '_');
            return match self.source[quote..end].is_empty() {
                true => (Some(Kind::Word), word.to_owned()),
                false => (Some(Kind::Word), self.source[quote..end].to_owned()),
            };
        }
        self.next();
        let start = self.here();
        let close = format!("\"{}", &self.source[open..quote]);
        let end = self.source[start..].find(&close).map_or(self.source.len(), |len| start + len);
        while self.here() < (end + close.len()).min(self.source.len()) {
            self.next();
        }
        (Some(Kind::Text), self.source[start..end].to_owned())
    }

    /// The content of a string whose quote was just read; an escape becomes a blank.
    fn string(&mut self) -> String {
        let mut text = String::new();
        while let Some((_, c)) = self.next() {
            match c {
                '"' => break,
                '\\' => {
                    self.next();
                    text.push(' ');
                }
                c => text.push(c),
            }
        }
        text
    }

    /// A character literal, or a lifetime: that one has no quote after its first letter.
    fn quoted(&mut self, at: usize) -> String {
        if self.peek() == Some('\\') {
            self.next();
            self.next();
            self.skip_while(|c| c != '\'');
            self.next();
        } else {
            self.next();
            match self.peek() {
                Some('\'') => drop(self.next()),
                _ => drop(self.skip_while(|c| c.is_alphanumeric() || c == '_')),
            }
        }
        let end = self.here();
        self.source[at..end].to_owned()
    }

    fn block_comment(&mut self) -> String {
        let start = self.here();
        let mut depth = 1;
        self.next();
        while let Some((_, c)) = self.next() {
            match (c, self.peek()) {
                ('*', Some('/')) => depth -= 1,
                ('/', Some('*')) => depth += 1,
                _ => continue,
            }
            self.next();
            if depth == 0 {
                break;
            }
        }
        let end = self.here();
        self.source[start..end].trim_matches(['*', '/', '!']).to_owned()
    }
}

#[test]
fn code_is_separated_from_comments_and_literals() {
    let source = r##"
        /* a /* nested */ "comment" */ fn a<'b>(c: &'b str) { // "no string
            let d = ("// no comment", 'e', '"', '\'', b'"', r#"raw " text"#, "\"quoted\"", r#type, 1.0e9_f64);
        }"##;
    let shown = |kind| -> Vec<String> {
        tokens(source).into_iter().filter(|t| t.kind == kind).map(|t| t.text.trim().to_owned()).collect()
    };
    assert_eq!(shown(Kind::Comment), ["a /* nested */ \"comment\"", "\"no string"]);
    assert_eq!(shown(Kind::Text), ["// no comment", "raw \" text", "quoted"]);
    assert_eq!(shown(Kind::Word), ["fn", "a", "c", "str", "let", "d", "type"]);
    assert_eq!(tokens(source).last().map(|token| (token.line, token.text.clone())), Some((4, "}".to_owned())));
}
