//! Binding a listening socket whose address a node that has just ended may still hold.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// Binds, and retries for three seconds while the address is in use: the kernel tears down a killed process's io_uring,
/// and the listeners that it holds, shortly after the process has ended.
#[expect(clippy::disallowed_methods, reason = "waits for the kernel to free an address of a killed node")]
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
