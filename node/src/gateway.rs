//! The gateways of the binary protocol: connections to commands, released answers and market data to connections.
//!
//! Read in this order; a module uses only the ones above it: where output goes (`send_buffer`), the threads that serve
//! order entry (`passwords`, `resend`), how many connections are accepted (`accept_ration`), which addresses share
//! something (`address_block`), which connections make room (`awaited_logins`), which login is next and which is none
//! (`verified`, `login_locks`, `login_queue`, `refusal_log`, `returns`), the gateways themselves (`order_entry`,
//! `market_data`), and the thread of the second one (`feed_thread`).

pub mod send_buffer;

pub mod passwords;
pub mod resend;

pub mod accept_ration;
pub mod address_block;
pub mod awaited_logins;
pub mod login_locks;
pub mod login_queue;
pub mod refusal_log;
pub mod returns;
pub mod verified;

pub mod market_data;
pub mod order_entry;

pub mod feed_thread;
