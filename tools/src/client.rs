//! Clients of a running node: its addresses, its ops listener, an order session, a reader of market data.

pub mod demo_node;
pub mod http_setup;
pub mod market_data;
pub mod node_address;
pub mod ops_client;
pub mod setup;
pub mod trader;
