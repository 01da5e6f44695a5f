//! What a configuration opens to whom, in one table: for people who review it before it goes live.

use super::Config;
use std::net::SocketAddr;

/// One way into the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    pub listener: &'static str,
    pub address: SocketAddr,
    pub tls: bool,
    /// Whether other machines reach it.
    pub public: bool,
    pub serves: &'static str,
    pub guarded_by: &'static str,
}

impl Config {
    pub fn exposure(&self) -> Vec<Exposure> {
        let token = |file: bool, with, without| if file { with } else { without };
        let admin = token(self.listen.ops_token_file.is_some(), "bearer token", "closed: no token file");
        let metrics = token(self.listen.metrics_token_file.is_some(), "bearer token", "nothing");
        let ways = [
            ("orders", "binary order entry", "session user and password"),
            ("market", "binary market data", "nothing: public data"),
            ("http", "REST, WebSocket, pages", "API keys"),
            ("ops", "/live /ready /health /version", "nothing"),
            ("ops", "/metrics", metrics),
            ("ops", "/admin: everything an administrator can do", admin),
        ];
        let listeners = self.listen.all();
        let of = |name: &str| listeners.iter().find(|(n, _)| *n == name).map(|(_, listener)| *listener);
        let exposure = |(name, serves, guarded_by)| {
            let listener = of(name).expect("the table above names listeners only");
            Exposure {
                listener: name,
                address: listener.address,
                tls: listener.tls.is_some(),
                public: !listener.address.ip().is_loopback(),
                serves,
                guarded_by,
            }
        };
        ways.into_iter().map(exposure).collect()
    }
}
