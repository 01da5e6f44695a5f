//! The binary protocol: packets, messages, the session around them, and what a reader of market data builds from them.
//!
//! Read in this order: the packets (`soup`, `login`), the messages in them (`sbe`, `orders`, `market`), the two
//! translations (`decode`, `encode` and `feed`), the session (`session`, `stream`), what a reader of market data builds
//! (`depth`, `snapshot`, `top`), and what a client sends (`requests`).

pub mod login;
pub mod soup;

pub mod market;
pub mod orders;
pub mod sbe;

pub mod decode;
pub mod encode;
pub mod feed;
pub mod reasons;

pub mod session;
pub mod stream;

pub mod depth;
pub mod snapshot;
pub mod top;

pub mod requests;
