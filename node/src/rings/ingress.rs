//! Decoded commands on their way from the gateway to the engine.

use book::command::Command;
use book::units::TsNs;

/// Commands between gateway and engine. While the ring is full, further bytes wait in the sockets.
pub const INGRESS_COMMANDS: usize = 1 << 14;

/// A command on its way to the engine.
#[derive(Debug)]
pub struct Ingress {
    /// The time of the gateway's cycle in which its bytes arrived.
    pub received: TsNs,
    /// How many ends of sessions' lives the gateway had seen: see `engine::ended_lives`.
    pub lives_seen: u32,
    pub command: Command,
}
