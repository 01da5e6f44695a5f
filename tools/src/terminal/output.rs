//! Standard output in large pieces, whose failures are told: a pipe may be closed at the other end.

use crate::offline::as_of::Readable;
use crate::terminal::command_json::{record_json, record_text, unreadable_json, unreadable_text};
use anyhow::Result;
use book::units::Seq;
use node::status::exit;
use std::fmt::Display;
use std::io::{BufWriter, ErrorKind, StdoutLock, Write, stdout};

const BUFFER_BYTES: usize = 1 << 16;

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

    pub fn piece(&mut self, text: impl Display) -> Result<()> {
        Ok(write!(self.0, "{text}")?)
    }

    pub fn command(&mut self, seq: Seq, read: &Readable, json: bool) -> Result<()> {
        match (read, json) {
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

/// Tells what was done. That nobody reads it any more undoes nothing, and the exit code tells the rest.
pub fn say(text: impl Display) -> Result<()> {
    let mut out = Output::new();
    let said = out.piece(text).and_then(|()| out.flush());
    unless_closed(said.map(|()| exit::OK)).map(|_| ())
}

/// How a verb that prints much ends: whoever closed the pipe has seen enough.
pub fn unless_closed(outcome: Result<u8>) -> Result<u8> {
    match outcome {
        Err(error) if is_broken_pipe(&error) => Ok(exit::OK),
        outcome => outcome,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.map(std::io::Error::kind).any(|kind| kind == ErrorKind::BrokenPipe)
}
