//! A page of the docs as a test: its commands are typed as they stand there, and what they print is compared with it.
//!
//! The first word after a fence is the language, the second one says what the block is:
//! ```text
//! sh            typed into the one shell that the page has
//! sh rust       the same, for readers of that language only
//! sh again      the same, and typed again until it prints what is shown: the feed follows an answer by a moment
//! sh server     typed into a terminal of its own, where it runs until Ctrl-C
//! text          exactly what the commands before it print; a line `...` stands for any lines
//! text shape    the same, but for the digits of numbers and hashes
//! text stop     what the server prints after Ctrl-C, in shape
//! rust, python  an excerpt, found word by word in a source file
//! ```

use super::process::text;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Ends the output of a step in the shell.
const END: &str = "---- end of step";

/// A fenced block of a page.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub language: String,
    pub kind: String,
    pub text: String,
    pub line: usize,
}

pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<Block> = None;
    for (idx, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(info), None) => {
                let (language, kind) = info.split_once(' ').unwrap_or((info, ""));
                let (language, kind) = (language.to_owned(), kind.to_owned());
                open = Some(Block { language, kind, text: String::new(), line: idx + 1 });
            }
            (None, Some(block)) => block.text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is closed");
    blocks
}

/// A directory that looks to a shell like a clone of this repository with a release build.
pub(crate) struct Clone {
    dir: tempfile::TempDir,
}

impl Clone {
    /// None where the node or the example is not built, as in a build of this package alone.
    pub(crate) fn new() -> Option<Self> {
        let pinion = Path::new(env!("CARGO_BIN_EXE_pinion"));
        let (node, example) = (pinion.with_file_name("pinion-node"), pinion.with_file_name("examples").join("quote"));
        if let Some(missing) = [&node, &example].into_iter().find(|program| !program.exists()) {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "CI builds the workspace, {} too", missing.display());
            eprintln!("{} is not built, so this test proves nothing: cargo test --workspace", missing.display());
            return None;
        }
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        symlink(repository().join("docs"), dir.path().join("docs")).expect("a link");
        let bin = pinion.parent().expect("a program is in a directory");
        // Stands in for ./dev, which would build a release first.
        let shim = format!(
            "#!/bin/sh\ncase \"$*\" in\n\
             run) exec '{pinion}' demo --free-ports ;;\n\
             bin) echo '{bin}' ;;\n\
             'pinion '*) shift; exec '{pinion}' \"$@\" ;;\n\
             'cargo run --quiet --package api --example quote') exec '{example}' ;;\n\
             *) echo \"not in this test: ./dev $*\" >&2; exit 2 ;;\nesac\n",
            pinion = text(pinion),
            bin = text(bin),
            example = text(&example),
        );
        let dev = dir.path().join("dev");
        std::fs::write(&dev, shim).expect("ours");
        std::fs::set_permissions(&dev, PermissionsExt::from_mode(0o755)).expect("ours");
        Some(Self { dir })
    }

    /// The reader's home directory: the clone itself.
    pub(crate) fn home(&self) -> String {
        text(self.dir.path()).to_owned()
    }

    /// `sh` here, with a home of its own and none of this process's settings for a node.
    fn sh(&self) -> Command {
        let mut command = Command::new("sh");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PINION_")) {
            command.env_remove(name);
        }
        command.current_dir(self.dir.path()).env("HOME", self.dir.path());
        // The docs are the repository's own: nothing is left there.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        // Whatever else fills the disk of the machine that tests.
        command.env("PINION__STORE__INTAKE_STOP_PERCENT", "100");
        command
    }

    pub(crate) fn shell(&self) -> Shell {
        let mut child = self.sh().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sh runs");
        let (stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut shell = Shell { child, stdin, stdout: BufReader::new(stdout) };
        shell.type_in("set -e; exec 2>&1");
        shell
    }

    /// Starts a server in a terminal of its own, in which `exports` were typed before.
    pub(crate) fn server(&self, exports: &str, typed: &str) -> Server {
        let mut command = self.sh();
        // A port that another test may hold is not asked for; `./dev run` chooses for itself.
        for listener in ["ORDERS", "MARKET", "OPS"] {
            command.env(format!("PINION__LISTEN__{listener}"), "127.0.0.1:0");
        }
        command.args(["-c", &format!("exec 2>&1\n{exports}\nexec {typed}")]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("sh runs");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Server { child, stdout, printed: String::new() }
    }
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a package is in the repository").to_owned()
}

/// The reader's shell.
pub(crate) struct Shell {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Shell {
    /// Types lines and gives what they print; a command that fails ends the test.
    pub(crate) fn type_in(&mut self, typed: &str) -> String {
        let typed = typed.trim_end();
        writeln!(self.stdin, "{typed}\necho '{END}'").and_then(|()| self.stdin.flush()).expect("the shell reads");
        let mut printed = String::new();
        loop {
            let start = printed.len();
            let len = self.stdout.read_line(&mut printed).expect("text");
            assert!(0 < len, "failed: {typed}\n{printed}");
            if printed[start..].trim_end() == END {
                printed.truncate(start);
                return printed;
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Mostly waiting for the next line; nothing that it started is left to it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that runs until Ctrl-C.
pub(crate) struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub printed: String,
}

impl Server {
    /// Reads up to the first line that has this in it, and gives that line.
    pub(crate) fn await_line(&mut self, part: &str) -> String {
        loop {
            let start = self.printed.len();
            let len = self.stdout.read_line(&mut self.printed).expect("text");
            assert!(0 < len, "it ended before {part:?}, and had printed\n{}", self.printed);
            if self.printed[start..].contains(part) {
                return self.printed[start..].to_owned();
            }
        }
    }

    /// Ctrl-C; what it prints from there to its end, which must be a good one.
    pub(crate) fn stop(mut self) -> String {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, Signal::INT).expect("it runs still");
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.stdout, &mut rest).expect("text");
        let status = self.child.wait().expect("our own child");
        assert_eq!(status.code(), Some(0), "{}{rest}", self.printed);
        rest
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone by now, unless the test failed: nothing is left running then. A demo stops its node at SIGTERM.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (Some(pid), Ok(None)) = (pid, self.child.try_wait()) {
            let _ = kill_process(pid, Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

/// How alike what is printed must be to the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Same {
    Exactly,
    /// Digits of numbers and hashes, and the space that they take, may differ.
    Shape,
}

impl Block {
    pub(crate) fn same(&self) -> Same {
        if self.kind.is_empty() { Same::Exactly } else { Same::Shape }
    }
}

#[track_caller]
pub(crate) fn assert_shown(shown: &str, printed: &str, same: Same, line: usize) {
    assert!(is_shown(shown, printed, same), "line {line} of the page shows\n{shown}\nbut this is printed\n{printed}");
}

pub(crate) fn is_shown(shown: &str, printed: &str, same: Same) -> bool {
    let line = |line: &str| if same == Same::Shape { shape(line) } else { line.trim_end().to_owned() };
    let of = |text: &str| text.lines().map(line).collect::<Vec<_>>();
    match_lines(&of(shown), &of(printed))
}

fn match_lines(shown: &[String], printed: &[String]) -> bool {
    match (shown, printed) {
        ([], []) => true,
        ([first, rest @ ..], _) if first == "..." => (0..=printed.len()).any(|at| match_lines(rest, &printed[at..])),
        ([first, rest @ ..], [line, lines @ ..]) => first == line && match_lines(rest, lines),
        _ => false,
    }
}

/// A line with `#` for each number or hash, and one blank where there are many.
fn shape(line: &str) -> String {
    let mut shaped = String::new();
    for run in line.trim().split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let word = run.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_number = word.contains(|c: char| c.is_ascii_digit()) && word.chars().all(|c| c.is_ascii_hexdigit());
        for c in if is_number { "0" } else { word }.chars().chain(run[word.len()..].chars()) {
            match c {
                '0'..='9' if shaped.ends_with('#') => {}
                '0'..='9' => shaped.push('#'),
                ' ' if shaped.ends_with(' ') => {}
                c => shaped.push(c),
            }
        }
    }
    shaped.replace("#.#", "#")
}

/// Every excerpt of a page must be found in one of these files, at whatever depth it is indented there.
#[track_caller]
pub(crate) fn assert_excerpts_found(blocks: &[Block], files: &[&str]) {
    let sources: Vec<String> = files
        .iter()
        .map(|file| std::fs::read_to_string(repository().join(file)).unwrap_or_else(|e| panic!("{file}: {e}")))
        .collect();
    let excerpts = blocks.iter().filter(|block| ["rust", "python"].contains(&block.language.as_str()));
    for block in excerpts {
        let wanted: Vec<&str> = block.text.lines().collect();
        let is_found = sources.iter().any(|source| {
            let lines: Vec<&str> = source.lines().collect();
            lines.windows(wanted.len()).any(|window| dedented(window) == dedented(&wanted))
        });
        assert!(is_found, "the excerpt of line {} is in none of {files:?}:\n{}", block.line, block.text);
    }
}

fn dedented<'l>(lines: &[&'l str]) -> Vec<&'l str> {
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let least = lines.iter().filter(|line| !line.trim().is_empty()).map(indent).min().unwrap_or(0);
    lines.iter().map(|line| line.get(least..).unwrap_or("")).collect()
}
