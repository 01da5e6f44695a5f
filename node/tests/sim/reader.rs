//! A market data client: it requests a snapshot, then the live stream after it, and resumes at its last message.

use crate::context::Context;
use crate::options::Fault;
use crate::oracle::Oracle;
use crate::violation::{Checked, Invariant, Violation, ensure};
use crate::wire::Wire;
use api::binary::depth::Depth;
use api::binary::login::{LoginAccepted, LoginRequest, SessionName};
use api::binary::market::MarketMessage;
use api::binary::snapshot::{SnapshotReader, write_snapshot};
use api::binary::soup::PacketKind;
use api::binary::stream::SessionSeq;
use book::units::TsNs;
use std::collections::VecDeque;

const HEARTBEAT_NS: u64 = 250_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Snapshot,
    Live,
}

pub(crate) struct Reader {
    wire: Option<Wire>,
    reconnect_at: TsNs,
    goal: Goal,
    snapshot: SnapshotReader,
    /// The books, from the snapshot and the live messages after it.
    depth: Depth,
    /// Number of the latest live message.
    seen: u64,
    unchecked: VecDeque<(u64, Vec<u8>)>,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self {
            wire: None,
            reconnect_at: TsNs(0),
            goal: Goal::Snapshot,
            snapshot: SnapshotReader::default(),
            depth: Depth::default(),
            seen: 0,
            unchecked: VecDeque::new(),
        }
    }

    pub(crate) fn is_done(&self, oracle: &Oracle) -> bool {
        self.unchecked.is_empty() && self.goal == Goal::Live && self.seen + 1 == oracle.feed().live().next_seq().0
    }

    /// Checks that its books equal those that the log gives.
    pub(crate) fn verify(&self, oracle: &Oracle) -> Checked {
        ensure(written(&self.depth) == written(oracle.feed().depth()), Invariant::FeedDiffers, || {
            format!("after live message {} its books differ from those of the log", self.seen)
        })
    }

    pub(crate) fn node_ended(&mut self, context: &mut Context<'_>) {
        if let Some(wire) = self.wire.take() {
            wire.reset(context);
            self.lose(context);
        }
    }

    /// Drops messages whose commands were lost in a crash before they were durable.
    pub(crate) fn forget(&mut self, oracle: &Oracle) {
        self.unchecked.clear();
        let last = oracle.feed().live().next_seq().0 - 1;
        if last < self.seen {
            // Its books contain lost commands.
            (self.seen, self.goal) = (last, Goal::Snapshot);
        }
    }

    fn lose(&mut self, context: &mut Context<'_>) {
        self.snapshot = SnapshotReader::default();
        self.reconnect_at = TsNs(context.now.0 + u64::from(context.rng.below(context.options.step_ns_max)) * 20);
    }

    pub(crate) fn step(&mut self, context: &mut Context<'_>) -> Checked {
        let Some(mut wire) = self.wire.take() else {
            if self.reconnect_at <= context.now {
                self.connect(context);
            }
            return Ok(());
        };
        if !wire.listen("a reader", context, |kind, payload, context| self.receive(kind, payload, context))? {
            self.lose(context);
            return Ok(());
        }
        wire.keep_alive(HEARTBEAT_NS, context);
        if context.strikes(Fault::Reset) {
            wire.reset(context);
            self.lose(context);
            if context.rng.one_in(2) {
                self.goal = Goal::Snapshot;
            }
            return Ok(());
        }
        self.wire = Some(wire);
        Ok(())
    }

    fn connect(&mut self, context: &mut Context<'_>) {
        let (session, sequence) = match self.goal {
            Goal::Snapshot => (SessionName::SNAP, SessionSeq::FIRST),
            Goal::Live => (SessionName::LIVE, SessionSeq(self.seen + 1)),
        };
        let login = LoginRequest { user: "public", password: b"", session, sequence };
        self.wire = Some(Wire::connect(&login, context));
    }

    fn receive(&mut self, kind: PacketKind, payload: &[u8], context: &mut Context<'_>) -> Checked<bool> {
        match kind {
            PacketKind::ServerHeartbeat | PacketKind::Debug => Ok(true),
            PacketKind::EndOfSession => Ok(false),
            PacketKind::Rejected => {
                // The node's memory no longer has the requested message.
                self.goal = Goal::Snapshot;
                Ok(false)
            }
            PacketKind::Accepted => {
                let first = LoginAccepted::read(payload).map(|accepted| accepted.sequence.0);
                let wanted = if self.goal == Goal::Live { self.seen + 1 } else { 1 };
                ensure(first == Some(wanted), Invariant::FeedDiffers, || {
                    format!("a reader requested {wanted} and receives {first:?}")
                })?;
                Ok(true)
            }
            PacketKind::Sequenced if self.goal == Goal::Snapshot => self.take_snapshot(payload, context),
            PacketKind::Sequenced => {
                self.seen += 1;
                self.follow(payload)?;
                if !context.answers_wait_for_disk() && context.oracle.feed().live().next_seq().0 <= self.seen {
                    self.unchecked.push_back((self.seen, payload.to_vec()));
                    return Ok(true);
                }
                check(self.seen, payload, context.oracle).map(|()| true)
            }
            kind => Err(Violation::new(Invariant::Protocol, format!("a reader received an unexpected {kind:?}"))),
        }
    }

    fn follow(&mut self, message: &[u8]) -> Checked {
        let violation = |error: String| Violation::new(Invariant::FeedDiffers, format!("live message: {error}"));
        let message = MarketMessage::read(message).map_err(|error| violation(error.to_string()))?;
        self.depth.apply(&message).map_err(|error| violation(error.to_string()))
    }

    fn take_snapshot(&mut self, payload: &[u8], context: &mut Context<'_>) -> Checked<bool> {
        let read = self.snapshot.read(payload);
        let read = read.map_err(|error| Violation::new(Invariant::Protocol, format!("a snapshot: {error}")))?;
        let Some(snapshot) = read else { return Ok(true) };
        let next = context.oracle.feed().live().next_seq().0;
        if context.answers_wait_for_disk() {
            ensure(snapshot.as_of.0 < next, Invariant::SentBeforeDurable, || {
                format!("a snapshot as of message {}, the durable log ends before message {next}", snapshot.as_of.0)
            })?;
        } else if next <= snapshot.as_of.0 {
            // A crash may invalidate this snapshot; another one is requested.
            return Ok(false);
        }
        (self.seen, self.depth, self.goal) = (snapshot.as_of.0, snapshot.depth, Goal::Live);
        // An older snapshot is checked when the messages after it have arrived.
        if self.seen + 1 == next { self.verify(context.oracle).map(|()| true) } else { Ok(true) }
    }

    /// Checks the messages received early, as far as their commands are durable now.
    pub(crate) fn check_early(&mut self, oracle: &Oracle) -> Checked {
        while let Some((number, _)) = self.unchecked.front()
            && *number < oracle.feed().live().next_seq().0
        {
            let (number, message) = self.unchecked.pop_front().expect("the front was just seen");
            check(number, &message, oracle)?;
        }
        Ok(())
    }
}

/// The books as a snapshot's bytes, for comparison.
fn written(depth: &Depth) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_snapshot(depth, SessionSeq::FIRST, TsNs(0), &mut |message| bytes.extend_from_slice(message));
    bytes
}

fn check(number: u64, message: &[u8], oracle: &Oracle) -> Checked {
    let Ok(expected) = oracle.feed().live().get(SessionSeq(number)) else {
        let next = oracle.feed().live().next_seq().0;
        let detail = format!("a reader received live message {number}; the durable log ends before message {next}");
        return Err(Violation::new(Invariant::SentBeforeDurable, detail));
    };
    ensure(message == expected, Invariant::FeedDiffers, || {
        format!("live message {number} differs from the one that the log gives")
    })
}
