//! Listening where a node listened a moment ago.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// Waits a while for an address in use: the kernel ends the ring of a killed node, and with it its listeners, a moment
/// after the process is gone.
pub fn patiently(address: SocketAddr) -> std::io::Result<TcpListener> {
    const PAUSE: Duration = Duration::from_millis(50);
    const ATTEMPTS: u32 = 60;
    for _ in 1..ATTEMPTS {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => std::thread::sleep(PAUSE),
            outcome => return outcome,
        }
    }
    TcpListener::bind(address)
}
