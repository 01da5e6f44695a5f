//! What a start records before any other command: which build opened the log, the rules of a new one, and its run.
//!
//! Invariant: a directory of format 1 gets nothing of it, so that the build before can still read what is written.

use super::next_run::unrecorded;
use book::codec::PayloadVersion;
use book::command::{Acted, Admin, BUILD_BYTES_MAX, Command, Opened};
use book::engine::Engine;
use book::rules::Rules;
use book::run::RunSpec;
use book::units::{Seq, TsNs};

/// The format of the directory from which a record's form follows, and what is known of this start.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The format of the data directory.
    pub format: u32,
    pub build: String,
    /// The wall clock at the start.
    pub wall: TsNs,
    /// The run that begins.
    pub run: RunSpec,
}

impl Opening {
    pub(super) fn payload(&self) -> PayloadVersion {
        PayloadVersion::of_format(self.format)
    }

    /// The commands in order: the record of this start, and the newest rules for a log that has no command yet.
    pub(super) fn into_commands(self, engine: &Engine) -> Vec<Command> {
        if self.payload() < PayloadVersion::Two {
            return Vec::new();
        }
        let mut build = self.build;
        build.truncate(build.floor_char_boundary(BUILD_BYTES_MAX));
        let mut commands = vec![Command::Opened(Box::new(Opened { build, format: self.format, wall: self.wall }))];
        if engine.stamp().seq == Seq(0) {
            let raise = Acted::by_node(Admin::SetRules { version: Rules::NEWEST.version() });
            commands.push(Command::Acted(Box::new(raise)));
            commands.push(begin_run(self.run));
        }
        commands.extend(unrecorded(engine, self.run).map(begin_run));
        commands
    }
}

/// The record of a run.
pub(super) fn begin_run(spec: RunSpec) -> Command {
    Command::Acted(Box::new(Acted::by_node(Admin::BeginRun(spec))))
}
