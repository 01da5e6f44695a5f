//! A reader of market data: it takes a snapshot, joins the live stream behind it, and comes back where it stopped.

use crate::around::Around;
use crate::broken::{Broken, Checked, Invariant, ensure};
use crate::options::Fault;
use crate::oracle::Oracle;
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
enum Wish {
    Snapshot,
    Live,
}

pub struct Reader {
    wire: Option<Wire>,
    back_at: TsNs,
    wish: Wish,
    snapshot: SnapshotReader,
    /// The books, by the snapshot and the live messages behind it.
    depth: Depth,
    /// Number of the last live message that it has.
    seen: u64,
    unchecked: VecDeque<(u64, Vec<u8>)>,
}

impl Reader {
    pub fn new() -> Self {
        Self {
            wire: None,
            back_at: TsNs(0),
            wish: Wish::Snapshot,
            snapshot: SnapshotReader::default(),
            depth: Depth::default(),
            seen: 0,
            unchecked: VecDeque::new(),
        }
    }

    pub fn is_done(&self, oracle: &Oracle) -> bool {
        self.unchecked.is_empty() && self.wish == Wish::Live && self.seen + 1 == oracle.feed().live().next_seq().0
    }

    /// What it has put together is what the log says.
    pub fn verify(&self, oracle: &Oracle) -> Checked {
        ensure(written(&self.depth) == written(oracle.feed().depth()), Invariant::FeedDiffers, || {
            format!("after live message {} its books are not what the log says", self.seen)
        })
    }

    pub fn node_ended(&mut self, around: &mut Around<'_>) {
        if let Some(wire) = self.wire.take() {
            wire.reset(around);
            self.lose(around);
        }
    }

    /// What it was told without being durable may be gone.
    pub fn forget(&mut self, oracle: &Oracle) {
        self.unchecked.clear();
        let told = oracle.feed().live().next_seq().0 - 1;
        if told < self.seen {
            // Its books hold what is gone.
            (self.seen, self.wish) = (told, Wish::Snapshot);
        }
    }

    fn lose(&mut self, around: &mut Around<'_>) {
        self.snapshot = SnapshotReader::default();
        self.back_at = TsNs(around.now.0 + u64::from(around.rng.below(around.options.step_ns_max)) * 20);
    }

    pub fn step(&mut self, around: &mut Around<'_>) -> Checked {
        let Some(mut wire) = self.wire.take() else {
            if self.back_at <= around.now {
                self.connect(around);
            }
            return Ok(());
        };
        if !wire.listen("a reader", around, |kind, payload, around| self.hear(kind, payload, around))? {
            self.lose(around);
            return Ok(());
        }
        wire.keep_alive(HEARTBEAT_NS, around);
        if around.strikes(Fault::Reset) {
            wire.reset(around);
            self.lose(around);
            if around.rng.one_in(2) {
                self.wish = Wish::Snapshot;
            }
            return Ok(());
        }
        self.wire = Some(wire);
        Ok(())
    }

    fn connect(&mut self, around: &mut Around<'_>) {
        let (session, sequence) = match self.wish {
            Wish::Snapshot => (SessionName::SNAP, SessionSeq::FIRST),
            Wish::Live => (SessionName::LIVE, SessionSeq(self.seen + 1)),
        };
        let login = LoginRequest { user: "public", password: b"", session, sequence };
        self.wire = Some(Wire::connect(&login, around));
    }

    fn hear(&mut self, kind: PacketKind, payload: &[u8], around: &mut Around<'_>) -> Checked<bool> {
        match kind {
            PacketKind::ServerHeartbeat | PacketKind::Debug => Ok(true),
            PacketKind::EndOfSession => Ok(false),
            PacketKind::Rejected => {
                // Its place in the stream is out of memory.
                self.wish = Wish::Snapshot;
                Ok(false)
            }
            PacketKind::Accepted => {
                let first = LoginAccepted::read(payload).map(|accepted| accepted.sequence.0);
                let wanted = if self.wish == Wish::Live { self.seen + 1 } else { 1 };
                ensure(first == Some(wanted), Invariant::FeedDiffers, || {
                    format!("a reader wanted {wanted} and is given {first:?}")
                })?;
                Ok(true)
            }
            PacketKind::Sequenced if self.wish == Wish::Snapshot => self.take_snapshot(payload, around),
            PacketKind::Sequenced => {
                self.seen += 1;
                self.follow(payload)?;
                if !around.is_told_late() && around.oracle.feed().live().next_seq().0 <= self.seen {
                    self.unchecked.push_back((self.seen, payload.to_vec()));
                    return Ok(true);
                }
                check(self.seen, payload, around.oracle).map(|()| true)
            }
            kind => Err(Broken::new(Invariant::Protocol, format!("a reader is sent {kind:?}"))),
        }
    }

    fn follow(&mut self, message: &[u8]) -> Checked {
        let broken = |error: String| Broken::new(Invariant::FeedDiffers, format!("live message: {error}"));
        let message = MarketMessage::read(message).map_err(|error| broken(error.to_string()))?;
        self.depth.apply(&message).map_err(|error| broken(error.to_string()))
    }

    fn take_snapshot(&mut self, payload: &[u8], around: &mut Around<'_>) -> Checked<bool> {
        let read = self.snapshot.read(payload);
        let read = read.map_err(|error| Broken::new(Invariant::Protocol, format!("a snapshot: {error}")))?;
        let Some(snapshot) = read else { return Ok(true) };
        let next = around.oracle.feed().live().next_seq().0;
        if around.is_told_late() {
            ensure(snapshot.as_of.0 < next, Invariant::ToldBeforeDurable, || {
                format!("a snapshot as of {}, {next} is next", snapshot.as_of.0)
            })?;
        } else if next <= snapshot.as_of.0 {
            // It may be taken back; another one will do.
            return Ok(false);
        }
        (self.seen, self.depth, self.wish) = (snapshot.as_of.0, snapshot.depth, Wish::Live);
        // An older one is held against the books when the messages behind it have come.
        if self.seen + 1 == next { self.verify(around.oracle).map(|()| true) } else { Ok(true) }
    }

    /// Checks what was told early, as far as the oracle has come.
    pub fn check_early(&mut self, oracle: &Oracle) -> Checked {
        while let Some((number, _)) = self.unchecked.front()
            && *number < oracle.feed().live().next_seq().0
        {
            let (number, message) = self.unchecked.pop_front().expect("it is there");
            check(number, &message, oracle)?;
        }
        Ok(())
    }
}

/// All of it as bytes: two books are the same when they are told the same.
fn written(depth: &Depth) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_snapshot(depth, SessionSeq::FIRST, TsNs(0), &mut |message| bytes.extend_from_slice(message));
    bytes
}

fn check(number: u64, message: &[u8], oracle: &Oracle) -> Checked {
    let Ok(expected) = oracle.feed().live().get(SessionSeq(number)) else {
        let next = oracle.feed().live().next_seq().0;
        let detail = format!("a reader is told live message {number}; {next} is next");
        return Err(Broken::new(Invariant::ToldBeforeDurable, detail));
    };
    ensure(message == expected, Invariant::FeedDiffers, || format!("live message {number} is not what the log says"))
}
