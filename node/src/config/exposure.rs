//! What a configuration opens to whom, as one table for the review of a configuration before it is used.

use super::Config;
use std::net::SocketAddr;

/// One service of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    pub listener: &'static str,
    pub address: SocketAddr,
    /// Whether the listener speaks TLS; none does yet.
    pub tls: bool,
    /// Whether other machines can reach the address.
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
            ("ops", "/live /ready /health /version", "nothing"),
            ("ops", "/metrics", metrics),
            ("ops", "/admin: everything an administrator can do", admin),
        ];
        let listeners = self.listen.all();
        let of = |name: &str| listeners.iter().find(|(n, _)| *n == name).map(|(_, address)| *address);
        let exposure = |(name, serves, guarded_by)| {
            let address = of(name).expect("the table above names listeners only");
            Exposure { listener: name, address, tls: false, public: !address.ip().is_loopback(), serves, guarded_by }
        };
        ways.into_iter().map(exposure).collect()
    }
}
