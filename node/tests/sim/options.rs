//! The choices of a seed. Each run has its own mix of faults, so that no fault hides another.

use book::testing::workload::rng::Rng;
use node::engine::engine_loop::Release;
use node::rings::feed_items::{FEED_ITEMS, FEED_ITEMS_PER_COMMAND_MAX};
use node::topology::wiring::RingSizes;

/// A kind of fault. A run has several of them; a failing run is reduced by removing them one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Fault {
    PowerCut,
    Kill,
    CutInRecovery,
    /// A kill or a power cut in a disk call of the store writer or the shadow.
    CutInStep,
    SyncFails,
    WriteFails,
    ShortWrite,
    SlowDisk,
    FlushFails,
    /// One failed disk call of the store writer or the shadow.
    CallFails,
    BitRot,
    LostTail,
    Reset,
    HalfClose,
    SlowReader,
    WrongPassword,
    Garbage,
    StoreWriterStalls,
    GatewayStalls,
    ClockJumps,
    /// A clean stop at any moment.
    Stop,
}

impl Fault {
    /// False for a fault that strikes during a recovery or comes from a client.
    fn strikes_in_a_step(self) -> bool {
        !matches!(
            self,
            Fault::CutInRecovery
                | Fault::Reset
                | Fault::HalfClose
                | Fault::SlowReader
                | Fault::WrongPassword
                | Fault::Garbage
        )
    }
}

pub(crate) const FAULTS: [Fault; 21] = [
    Fault::PowerCut,
    Fault::Kill,
    Fault::CutInRecovery,
    Fault::CutInStep,
    Fault::SyncFails,
    Fault::WriteFails,
    Fault::ShortWrite,
    Fault::SlowDisk,
    Fault::FlushFails,
    Fault::CallFails,
    Fault::BitRot,
    Fault::LostTail,
    Fault::Reset,
    Fault::HalfClose,
    Fault::SlowReader,
    Fault::WrongPassword,
    Fault::Garbage,
    Fault::StoreWriterStalls,
    Fault::GatewayStalls,
    Fault::ClockJumps,
    Fault::Stop,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Faults(u32);

impl Faults {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn has(self, fault: Fault) -> bool {
        self.0 & 1 << fault as u32 != 0
    }

    pub(crate) fn with(self, fault: Fault) -> Self {
        Self(self.0 | 1 << fault as u32)
    }

    pub(crate) fn without(self, fault: Fault) -> Self {
        Self(self.0 & !(1 << fault as u32))
    }
}

/// The loops that share a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// Gateway, engine, gateway in one step, as on the product's single thread.
    Single,
    /// Each in steps of its own, as on two threads.
    Pipeline,
}

/// How a big book ends, which needs more than one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FloodEnd {
    MassCancel,
    KillSwitch,
    /// The client loses its connection, and its session cancels on disconnect.
    Disconnect,
    /// An administrator cancels.
    Admin,
}

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub seed: u64,
    pub steps: u32,
    pub faults: Faults,
    pub threads: Threads,
    pub release: Release,
    pub clients: u32,
    /// Requests of a client that may be unanswered, and that it sends in one step at most.
    pub window: u32,
    pub burst: u32,
    pub frames_in_flight_max: usize,
    pub frame_bytes_max: usize,
    pub segment_count: u32,
    pub segment_bytes: u64,
    /// Bytes that may wait for a client; beyond, the node's sends wait.
    pub client_window: usize,
    pub rings: RingSizes,
    /// Longest step in nanoseconds.
    pub step_ns_max: u32,
    /// One in so many steps a fault strikes.
    pub fault_every: u32,
    /// Number of prices of the orders; few of them make long queues.
    pub price_levels: u32,
    pub admin_every: u32,
    pub cancel_on_disconnect: bool,
    pub check_every: u64,
    /// Commands between two snapshots, and the number of snapshots kept.
    pub snapshot_every: u64,
    pub snapshots_kept: u32,
    /// Bytes of the log that are kept; zero keeps all of it.
    pub retain_bytes: u64,
    pub snapshot_on_stop: bool,
    /// Messages of a session that stay in memory; older ones are read from the history.
    pub resend_max: usize,
    pub patrol_bytes_per_second: u64,
    /// A client rests more orders than one command may cancel, then all are cancelled in this way.
    pub flood: Option<FloodEnd>,
    /// A client logs in again now and then while its connection is open, and the old one ends at some later time.
    pub logs_in_twice: bool,
}

impl Options {
    pub(crate) fn of(seed: u64) -> Self {
        let rng = &mut Rng::new(seed ^ 0x5157_4152_4d00);
        let mut faults = Faults::NONE;
        for fault in FAULTS {
            if rng.one_in(3) {
                faults = faults.with(fault);
            }
        }
        let flood = rng.one_in(40);
        if flood && seed.is_multiple_of(2) {
            // Without faults, because a start would complete a mass cancel that the loop itself forgot.
            faults = Faults::NONE;
        }
        let frame_bytes_max = rng.pick(&[20_480, 32_768, 65_536]);
        // Small segments are overwritten soon, so that their frames must be stored in time.
        let smallest = wal::segment::SEGMENT_DATA_OFFSET + frame_bytes_max as u64;
        let interval = rng.one_in(8);
        let mut options = Self {
            seed,
            steps: if flood { 3_000 } else { rng.pick(&[600, 1_500, 1_500, 3_000]) },
            faults,
            threads: rng.pick(&[Threads::Single, Threads::Pipeline]),
            release: if interval {
                Release::Applied { write_every_ns: rng.pick(&[0, 20_000, 2_000_000]) }
            } else {
                Release::Durable
            },
            clients: rng.pick(&[1, 2, 3, 4, 6]),
            window: if flood { 2_000 } else { rng.pick(&[1, 4, 16, 64, 400]) },
            burst: if flood { 200 } else { rng.pick(&[1, 3, 8, 24, 100]) },
            frames_in_flight_max: rng.pick(&[1, 1, 2, 4, 16]),
            frame_bytes_max,
            segment_count: rng.pick(&[2, 3, 4]),
            segment_bytes: rng.pick(&[smallest, smallest, 131_072, 262_144]),
            client_window: rng.pick(&[4 << 10, 16 << 10, 64 << 10]),
            rings: RingSizes {
                ingress: rng.pick(&[700, 1_024, 1 << 14]),
                feed: rng.pick(&[FEED_ITEMS_PER_COMMAND_MAX + 8, FEED_ITEMS]),
                control: rng.pick(&[8, 1 << 10]),
            },
            step_ns_max: rng.pick(&[2_000, 50_000, 500_000]),
            fault_every: rng.pick(&[60, 200, 500]),
            price_levels: rng.pick(&[1, 3, 12, 40]),
            admin_every: rng.pick(&[40, 200, 100_000]),
            cancel_on_disconnect: rng.one_in(3),
            check_every: rng.pick(&[2, 16, 100, 1 << 20]),
            snapshot_every: rng.pick(&[10, 60, 300, 1 << 40]),
            snapshots_kept: rng.pick(&[1, 2, 3]),
            retain_bytes: rng.pick(&[0, 1, 20_000]),
            snapshot_on_stop: rng.one_in(2),
            resend_max: rng.pick(&[8, 64, 1 << 13]),
            patrol_bytes_per_second: rng.pick(&[0, 1 << 24, 1 << 28]),
            flood: None,
            logs_in_twice: false,
        };
        options.logs_in_twice = rng.one_in(3);
        if flood {
            let end = rng.pick(&[FloodEnd::MassCancel, FloodEnd::KillSwitch, FloodEnd::Disconnect, FloodEnd::Admin]);
            return options.flooded(end);
        }
        options
    }

    /// The same run with a big book that ends in this way.
    pub(crate) fn flooded(self, end: FloodEnd) -> Self {
        Self {
            steps: 3_000,
            window: 2_000,
            burst: 200,
            cancel_on_disconnect: self.cancel_on_disconnect || end == FloodEnd::Disconnect,
            flood: Some(end),
            ..self
        }
    }

    /// Faults of this run that can strike between two steps.
    pub(crate) fn strikable(&self) -> Vec<Fault> {
        let idle = |fault: &Fault| *fault == Fault::GatewayStalls && self.threads == Threads::Single;
        let possible = FAULTS.into_iter().filter(|fault| self.has(*fault) && fault.strikes_in_a_step());
        possible.filter(|fault| !idle(fault)).collect()
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.faults.has(fault)
    }
}
