//! The gateways of the binary protocol: connections to commands, released answers and market data to connections.
//!
//! Read in this order; a module uses only the ones above it: where output goes (`send_buffer`), the two threads that
//! serve order entry (`passwords`, `resend`), which connections make room (`awaited_logins`), the gateways themselves
//! (`order_entry`, `market_data`), and the thread of the second one (`feed_thread`).

pub mod send_buffer;

pub mod passwords;
pub mod resend;

pub mod awaited_logins;

pub mod market_data;
pub mod order_entry;

pub mod feed_thread;
