//! The doors of the binary protocol: order entry and market data.

pub mod market_data;
pub mod order_entry;
pub mod passwords;
pub mod resend;
pub mod send_buffer;
