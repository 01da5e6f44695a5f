//! Creates the rings between the loops of one node, for the product and, with smaller sizes, for the simulator.
//!
//! ```text
//!  gateway --ingress--> engine loop --outbox, release times, control--> gateway --stage times--> ops
//!                ops <--admin--> engine loop --feed--> market data
//!                                engine loop --frames--> store writer
//! ```
//! Invariant: each ring has one writing and one reading loop, so any loop can run on a thread of its own.

use crate::engine::engine_loop::Wiring;
use crate::faults::mutation::{Mutation, Planted};
use crate::gateway::order_entry::GatewayWiring;
use crate::gateway::passwords::PasswordPort;
use crate::gateway::resend::ResendPort;
use crate::gateway::verified::VerifiedKey;
use crate::rings::admin_port::{AdminPort, admin_port};
use crate::rings::control::{CONTROLS, control};
use crate::rings::feed_items::{FEED_ITEMS, FeedOut, feed_items};
use crate::rings::frames::{FramesOut, frames};
use crate::rings::ingress::INGRESS_COMMANDS;
use crate::rings::outbox::outbox;
use crate::rings::release_times::release_times;
use crate::rings::stages::{StageTotals, stages};
use crate::status::Status;
use crate::status::lifecycle::Lifecycle;
use crate::status::watermarks::{EngineWatermarks, Watermark};
use book::units::Seq;
use rtrb::RingBuffer;
use std::sync::Arc;

/// Capacities of the rings whose filling up changes what the node does. The simulator makes them small.
#[derive(Clone, Copy, Debug)]
pub struct RingSizes {
    pub ingress: usize,
    pub control: usize,
    pub feed: usize,
}

impl Default for RingSizes {
    fn default() -> Self {
        Self { ingress: INGRESS_COMMANDS, control: CONTROLS, feed: FEED_ITEMS }
    }
}

/// The gateway's channels to the threads that check passwords and read the history.
pub struct GatewayHelpers {
    pub passwords: Vec<PasswordPort>,
    pub verified_key: VerifiedKey,
    pub resends: ResendPort,
}

/// Every end of every ring, to be handed to its loop.
pub struct Rings {
    pub engine: Wiring,
    pub gateway: GatewayWiring,
    pub market: MarketWiring,
    pub frames: FramesOut,
    pub admin: AdminPort,
    pub stages: StageTotals,
}

/// What the market-data loop reads.
pub struct MarketWiring {
    pub items: FeedOut,
    pub released: Watermark<Seq>,
}

pub fn make_rings(
    sizes: RingSizes,
    watermarks: EngineWatermarks,
    helpers: GatewayHelpers,
    lifecycle: &Arc<Lifecycle>,
    status: &Arc<Status>,
) -> Rings {
    let (frames_in, frames) = frames();
    let (outbox_in, outbox_out) = outbox();
    let (release_times_in, release_times_out) = release_times();
    let (stage_recorder, stages) = stages();
    let (ingress_in, ingress_out) = RingBuffer::new(sizes.ingress);
    let (control_in, control_out) = control(sizes.control);
    let (feed_in, items) = feed_items(sizes.feed);
    let readers = &status.watermarks;
    let released = |fault| readers.released.clone().planted(fault, |_| readers.applied.clone());
    let (admin, inlet) = admin_port(released(Mutation::AdminAnswerBeforeRelease), Arc::clone(lifecycle));
    let engine = Wiring {
        ingress: ingress_out,
        admin: inlet,
        outbox: outbox_in,
        release_times: release_times_in,
        feed: feed_in,
        frames: frames_in,
        control: control_in,
        watermarks,
        stored: readers.stored.clone(),
        check_wanted: readers.check_wanted.clone(),
        lifecycle: Arc::clone(lifecycle),
        status: Arc::clone(status),
    };
    let gateway = GatewayWiring {
        ingress: ingress_in,
        outbox: outbox_out,
        release_times: release_times_out,
        stages: stage_recorder,
        control: control_out,
        passwords: helpers.passwords,
        verified_key: helpers.verified_key,
        resends: helpers.resends,
        released: released(Mutation::WatermarkIgnored),
        status: Arc::clone(status),
    };
    let market = MarketWiring { items, released: released(Mutation::FeedBeforeSync) };
    Rings { engine, gateway, market, frames, admin, stages }
}
