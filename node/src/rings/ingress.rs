//! Commands on their way from the gateway to the engine.

use book::command::Command;
use book::units::TsNs;

/// Commands between gateway and engine. A full ring leaves bytes in the sockets.
pub const INGRESS_COMMANDS: usize = 1 << 14;

/// A command on its way to the engine.
#[derive(Debug)]
pub struct Ingress {
    /// When its bytes were read.
    pub received: TsNs,
    pub command: Command,
}
