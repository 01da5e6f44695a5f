//! Writes the history of a log while it is applied, on three threads.
//!
//! ```text
//!  read, prove, apply --batches of events--> translate, gather rows --gathered--> compress, write
//!  the calling thread                        "translate"                          "rows"
//! ```
//! What is computed from events costs more than the state itself, and needs only the events. Invariant: batches and
//! gathered rows are handed over in the order of the log, so the history in the store is always that of a prefix of it.

use crate::offline::replay_observer::ReplayObserver;
use anyhow::{Context, Result, anyhow};
use book::codec;
use book::engine::{Capacity, Engine};
use book::event::{Event, Sink};
use book::units::{Stamp, TsNs};
use node::history::{Gathered, HistoryWriter};
use node::replica::Replica;
use std::mem::take;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use wal::store::Store;

/// A batch is handed over once it has this many events; so many are on their way at once, and the next one waits.
const BATCH_EVENTS: usize = 2_048;
const BATCHES: usize = 8;

/// Gathered rows on their way to the store. Each is some megabytes.
const GATHERED: usize = 2;

/// The events of consecutive commands.
#[derive(Default)]
struct Batch {
    events: Vec<Event>,
    commands: Vec<BatchedCommand>,
}

struct BatchedCommand {
    stamp: Stamp,
    received: TsNs,
    /// The end of its events in the batch.
    end: usize,
    /// The length of its record.
    bytes: usize,
}

/// Observes a replay. Until `finish` the replica that is observed lacks the positions of its streams.
pub(super) struct HistoryBuilder {
    batch: Batch,
    work: Work,
}

enum Work {
    /// Before the first command.
    Idle {
        history: HistoryWriter,
        store: Arc<Store>,
    },
    Running {
        full: SyncSender<Batch>,
        empty: Receiver<Batch>,
        translate: JoinHandle<Result<Translated>>,
    },
    /// A thread has failed, and its error was returned.
    Failed,
}

/// What the thread `translate` has built.
struct Translated {
    history: HistoryWriter,
    /// A replica without a state.
    outputs: Replica,
}

impl HistoryBuilder {
    pub(super) fn new(history: HistoryWriter, store: Arc<Store>) -> Self {
        Self { batch: Batch::default(), work: Work::Idle { history, store } }
    }

    /// Waits until everything is written, and gives the replica what its events have led to.
    pub(super) fn finish(mut self, replica: &mut Replica) -> Result<HistoryWriter> {
        if !self.batch.commands.is_empty() {
            self.hand_over(replica)?;
        }
        match self.work {
            Work::Idle { mut history, .. } => {
                history.commit()?;
                Ok(history)
            }
            Work::Running { full, translate, .. } => {
                drop(full);
                let Translated { history, outputs } = join(translate)?;
                (replica.translator, replica.positions) = (outputs.translator, outputs.positions);
                Ok(history)
            }
            Work::Failed => Err(anyhow!("building the history failed before")),
        }
    }

    #[cold]
    fn hand_over(&mut self, replica: &mut Replica) -> Result<()> {
        if let Work::Idle { .. } = &self.work {
            self.start(replica)?;
        }
        let Work::Running { full, empty, .. } = &self.work else { return Err(anyhow!("it was started")) };
        let next = empty.try_recv().unwrap_or_default();
        if full.send(std::mem::replace(&mut self.batch, next)).is_ok() {
            return Ok(());
        }
        // The thread has ended, with an error that says more than the channel does.
        match take_work(&mut self.work) {
            Work::Running { translate, .. } => Err(join(translate).err().unwrap_or_else(|| anyhow!("it ended early"))),
            _ => Err(anyhow!("building the history failed before")),
        }
    }

    fn start(&mut self, replica: &mut Replica) -> Result<()> {
        let Work::Idle { history, store } = take_work(&mut self.work) else { return Ok(()) };
        // The state stays with the caller. Nothing but events leads to the other parts.
        let mut outputs = Replica::new(Engine::new(Capacity { orders: 16, leaves: 16, markets: 1, names: 1 }));
        (outputs.translator, outputs.positions) = (take(&mut replica.translator), take(&mut replica.positions));
        let (full, batches) = sync_channel(BATCHES);
        let (emptied, empty) = channel();
        let (gathered, rows) = sync_channel(GATHERED);
        let writer = spawn("rows", move || write(&rows, &store))?;
        let translated = Translated { history, outputs };
        let translate = spawn("translate", move || translated.run(&batches, &emptied, gathered, writer))?;
        self.work = Work::Running { full, empty, translate };
        Ok(())
    }
}

fn take_work(work: &mut Work) -> Work {
    std::mem::replace(work, Work::Failed)
}

fn spawn<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.with_context(|| format!("starting the thread {name}"))
}

/// The result of a thread. Its panic is the caller's.
fn join<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn write(rows: &Receiver<Gathered>, store: &Store) -> Result<()> {
    for gathered in rows {
        gathered.write(store)?;
    }
    Ok(())
}

impl Translated {
    fn run(
        mut self,
        batches: &Receiver<Batch>,
        emptied: &Sender<Batch>,
        gathered: SyncSender<Gathered>,
        writer: JoinHandle<Result<()>>,
    ) -> Result<Self> {
        for mut batch in batches {
            self.translate(&batch);
            batch.events.clear();
            batch.commands.clear();
            // At the very end the other thread no longer receives.
            let _ = emptied.send(batch);
            // Where the writer has failed, its error follows.
            if self.history.is_full() && gathered.send(self.history.take()).is_err() {
                break;
            }
        }
        if self.history.has_pending() {
            let _ = gathered.send(self.history.take());
        }
        drop(gathered);
        join(writer)?;
        Ok(self)
    }

    fn translate(&mut self, batch: &Batch) {
        let Self { history, outputs } = self;
        let mut start = 0;
        for command in &batch.commands {
            let (stamp, events) = (command.stamp, &batch.events[start..command.end]);
            history.gather(stamp, events);
            outputs.translate_received(stamp, command.received, events, &mut history.stream_rows(stamp));
            // Frames are not known here. The size of the log decides only how much of it is kept, for which this is
            // close enough.
            outputs.positions.count_frame(command.bytes);
            start = command.end;
        }
    }
}

impl Sink for HistoryBuilder {
    const LEDGER: bool = true;

    #[inline]
    fn push(&mut self, event: Event) {
        self.batch.events.push(event);
    }
}

impl ReplayObserver for HistoryBuilder {
    #[inline]
    fn applied(&mut self, replica: &mut Replica, stamp: Stamp, bytes: &[u8]) -> Result<()> {
        let Batch { events, commands } = &mut self.batch;
        let start = commands.last().map_or(0, |command| command.end);
        // A node that dies between two parts of a mass cancel has to issue the second part, as a start after a crash
        // there has to.
        replica.continuations.follow(bytes, &events[start..]);
        let received = codec::received(bytes, stamp.ts);
        commands.push(BatchedCommand { stamp, received, end: events.len(), bytes: bytes.len() });
        if BATCH_EVENTS <= events.len().max(commands.len()) { self.hand_over(replica) } else { Ok(()) }
    }
}
