//! Standard output in large pieces, whose failures are told: a pipe may be closed at the other end.

use crate::command_json::{record_json, record_text};
use anyhow::Result;
use book::codec::Record;
use book::units::Seq;
use node::exit;
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

    pub fn command(&mut self, seq: Seq, record: &Record, json: bool) -> Result<()> {
        if json { self.line(record_json(seq, record)) } else { self.line(record_text(seq, record)) }
    }

    pub fn flush(&mut self) -> Result<()> {
        Ok(self.0.flush()?)
    }
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
