//! The addresses of a running node and its admin token: from its configuration, or given one by one.

use crate::client::http_setup::HttpSetup;
use crate::client::ops_client::OpsClient;
use anyhow::{Context, Result, bail};
use clap::Args;
use node::config::Config;
use node::config::secrets::Secret;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

const ORDERS_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9001);
const MARKET_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9002);
const OPS_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

/// The options of verbs that connect to a node. A single address takes precedence over the configuration's.
#[derive(Args, Clone, Debug, Default)]
pub struct NodeAddress {
    /// The node's configuration: addresses, admin token, data directory
    #[arg(long, value_name = "FILE", env = "PINION_CONFIG")]
    pub config: Option<PathBuf>,
    /// Order entry [default: 127.0.0.1:9001]
    #[arg(long, value_name = "ADDR")]
    pub orders: Option<SocketAddr>,
    /// Market data [default: 127.0.0.1:9002]
    #[arg(long, value_name = "ADDR")]
    pub market: Option<SocketAddr>,
    /// Admin API [default: http://127.0.0.1:8081]
    #[arg(long, value_name = "URL")]
    pub ops: Option<String>,
    /// File with the token of the admin API [default: the configuration's listen.ops_token_file]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// The addresses of a node, resolved.
#[derive(Debug)]
pub struct NodeEndpoints {
    pub orders: SocketAddr,
    pub market: SocketAddr,
    pub ops: SocketAddr,
    pub token_file: Option<PathBuf>,
    /// Known where a configuration was given.
    pub data_dir: Option<PathBuf>,
}

impl NodeAddress {
    pub fn resolve(&self) -> Result<NodeEndpoints> {
        let config = self.config.as_deref().map(Config::load_values).transpose()?;
        let listen = config.as_ref().map(|config| &config.listen);
        let ops = self.ops.as_deref().map(parse_url).transpose()?;
        Ok(NodeEndpoints {
            orders: self.orders.or(listen.map(|l| l.orders)).unwrap_or(ORDERS_DEFAULT),
            market: self.market.or(listen.map(|l| l.market)).unwrap_or(MARKET_DEFAULT),
            ops: ops.or(listen.map(|l| l.ops)).unwrap_or(OPS_DEFAULT),
            token_file: self.token_file.clone().or(listen.and_then(|l| l.ops_token_file.clone())),
            data_dir: config.map(|config| config.node.data_dir),
        })
    }
}

impl NodeEndpoints {
    /// A client of the admin API, with its token.
    pub fn setup(&self) -> Result<HttpSetup> {
        let Some(path) = &self.token_file else {
            bail!("the admin API needs its token: give --config (with listen.ops_token_file) or --token-file");
        };
        let token = Secret::read(path).with_context(|| format!("reading token file {}", path.display()))?;
        Ok(HttpSetup::new(OpsClient::new(self.ops, Some(token))))
    }
}

/// Parses `http://host:port`, or the address alone.
fn parse_url(url: &str) -> Result<SocketAddr> {
    let address = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    address.parse().with_context(|| format!("--ops {url:?} is not a URL such as http://127.0.0.1:8081"))
}
