//! A small engine loop on the other end of the admin port.

use book::command::Command;
use book::engine::{Capacity, Engine};
use book::units::{Seq, Stamp, TsNs};
use node::rings::admin_port::{AdminAnswer, AdminInlet};
use node::status::Status;
use node::status::watermarks::EngineWatermarks;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Applies every command, answers it, and releases it as the journal would.
pub(crate) struct FakeLoop {
    pub engine: Arc<Mutex<Engine>>,
    pub ends: Arc<AtomicBool>,
    /// While this is set the loop hangs: it neither ticks nor answers.
    pub hangs: Arc<AtomicBool>,
    /// While this is set nothing becomes durable, and the loop ticks on.
    pub is_frozen: Arc<AtomicBool>,
    /// Commands in the ring of a hanging loop.
    pub waiting: Arc<AtomicUsize>,
    pub thread: Option<JoinHandle<()>>,
}

impl FakeLoop {
    pub(crate) fn start(status: Arc<Status>, watermarks: EngineWatermarks, inlet: AdminInlet) -> Self {
        let engine = Arc::new(Mutex::new(Engine::new(Capacity { orders: 1_024, leaves: 1_024, markets: 4, names: 1 })));
        let (ends, hangs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let is_frozen = Arc::new(AtomicBool::new(false));
        let waiting = Arc::new(AtomicUsize::new(0));
        let thread = std::thread::spawn({
            let (engine, ends) = (Arc::clone(&engine), Arc::clone(&ends));
            let (hangs, is_frozen, waiting) = (Arc::clone(&hangs), Arc::clone(&is_frozen), Arc::clone(&waiting));
            move || run(&status, watermarks, inlet, &engine, &ends, (&hangs, &is_frozen), &waiting)
        });
        Self { engine, ends, hangs, is_frozen, waiting, thread: Some(thread) }
    }
}

fn run(
    status: &Status,
    mut watermarks: EngineWatermarks,
    mut inlet: AdminInlet,
    engine: &Mutex<Engine>,
    ends: &AtomicBool,
    (hangs, is_frozen): (&AtomicBool, &AtomicBool),
    waiting: &AtomicUsize,
) {
    let mut cycle = 0;
    while !ends.load(Ordering::Acquire) {
        std::thread::yield_now();
        if hangs.load(Ordering::Acquire) {
            waiting.store(inlet.requests.slots(), Ordering::Release);
            continue;
        }
        cycle += 1;
        for tick in [&status.engine, &status.gateway, &status.store_writer, &status.feed] {
            tick.at_ns.set(cycle);
        }
        while let Ok(request) = inlet.requests.pop() {
            let mut engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
            let stamp = Stamp { seq: Seq(engine.stamp().seq.0 + 1), ts: TsNs(1_000 + cycle) };
            let mut events = Vec::new();
            engine.apply(stamp, &Command::Acted(Box::new(request.acted)), &mut events);
            let answer = AdminAnswer { number: request.number, seq: stamp.seq.0, ts_ns: stamp.ts.0, events };
            inlet.answers.push(answer).expect("the ring has room for one answer to each request");
            watermarks.applied.advance(stamp.seq);
        }
        if !is_frozen.load(Ordering::Acquire) {
            let applied = watermarks.applied.get();
            watermarks.durable.advance(applied);
            watermarks.released.advance(applied);
        }
    }
}
