//! Standard output, written in large pieces, with every failure returned.
//!
//! Invariant: a closed pipe at the other end is no failure of the verb; its exit code carries the outcome.

use crate::terminal::command_json::{record_json, record_text, unreadable_json, unreadable_text};
use anyhow::Result;
use book::codec::Record;
use book::units::Seq;
use node::status::exit;
use std::fmt::Display;
use std::io::{BufWriter, ErrorKind, StdoutLock, Write, stdout};

const BUFFER_BYTES: usize = 1 << 16;

/// A command of the log, or why this build cannot decode it.
pub type DecodedCommand = std::result::Result<Record, String>;

pub struct Output(BufWriter<StdoutLock<'static>>);

impl Default for Output {
    fn default() -> Self {
        Self(BufWriter::with_capacity(BUFFER_BYTES, stdout().lock()))
    }
}

impl Output {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn line(&mut self, text: impl Display) -> Result<()> {
        Ok(writeln!(self.0, "{text}")?)
    }

    pub fn text(&mut self, text: impl Display) -> Result<()> {
        Ok(write!(self.0, "{text}")?)
    }

    pub fn command(&mut self, seq: Seq, command: &DecodedCommand, json: bool) -> Result<()> {
        match (command, json) {
            (Ok(record), true) => self.line(record_json(seq, record)),
            (Ok(record), false) => self.line(record_text(seq, record)),
            (Err(why), true) => self.line(unreadable_json(seq, why)),
            (Err(why), false) => self.line(unreadable_text(seq, why)),
        }
    }

    pub fn flush(&mut self) -> Result<()> {
        Ok(self.0.flush()?)
    }
}

/// Prints text, and ignores a closed pipe.
pub fn print(text: impl Display) -> Result<()> {
    let mut out = Output::new();
    let printed = out.text(text).and_then(|()| out.flush());
    ignoring_closed_pipe(printed.map(|()| exit::OK)).map(|_| ())
}

/// The outcome of a verb that prints much: a reader that closes the pipe early has all that it wants.
pub fn ignoring_closed_pipe(outcome: Result<u8>) -> Result<u8> {
    match outcome {
        Err(error) if is_broken_pipe(&error) => Ok(exit::OK),
        outcome => outcome,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.map(std::io::Error::kind).any(|kind| kind == ErrorKind::BrokenPipe)
}
