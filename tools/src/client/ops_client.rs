//! A client of a node's ops listener: one request at a time, answered or timed out. It uses hyper, as the node does.

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use node::config::Config;
use node::config::secrets::Secret;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A command is answered after its sync, which takes far less than this on any disk that works.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The registry of a large exchange is some megabytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const ADDRESS_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

/// The options that name a node's ops listener and its token.
#[derive(Args, Clone, Debug, Default)]
pub struct OpsAddress {
    /// The node's configuration, which names the ops address and the token file
    #[arg(long, value_name = "FILE", env = "PINION_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// The ops listener [default: http://127.0.0.1:8081]
    #[arg(long, value_name = "URL", global = true)]
    pub url: Option<String>,
    /// File with the token [default: the one that the configuration names]
    #[arg(long, value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
}

impl OpsAddress {
    /// A client for requests that need no token.
    pub fn anonymous(&self) -> Result<OpsClient> {
        let config = self.config.as_deref().map(Config::load_values).transpose()?;
        Ok(OpsClient { address: self.address(config.as_ref())?, token: None })
    }

    /// A client for requests that need no token and for metrics, whose token the configuration may name.
    pub fn observer(&self) -> Result<OpsClient> {
        let config = self.config.as_deref().map(Config::load_values).transpose()?;
        let address = self.address(config.as_ref())?;
        let path = self.token_file.clone().or(config.and_then(|config| config.listen.metrics_token_file));
        let token = path.as_deref().map(read_token).transpose()?;
        Ok(OpsClient { address, token })
    }

    /// A client with the administrator's token.
    pub fn administrator(&self) -> Result<OpsClient> {
        let config = self.config.as_deref().map(Config::load_values).transpose()?;
        let address = self.address(config.as_ref())?;
        let configured = config.and_then(|config| config.listen.ops_token_file);
        let Some(path) = self.token_file.clone().or(configured) else {
            bail!("the admin API needs its token: give --config (with listen.ops_token_file) or --token-file");
        };
        Ok(OpsClient { address, token: Some(read_token(&path)?) })
    }

    fn address(&self, config: Option<&Config>) -> Result<SocketAddr> {
        if let Some(url) = &self.url {
            let address = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
            return address
                .parse()
                .with_context(|| format!("--url {url:?} is not a URL such as http://127.0.0.1:8081"));
        }
        let Some(config) = config else { return Ok(ADDRESS_DEFAULT) };
        let address = config.listen.ops;
        ensure!(
            address.port() != 0,
            "listen.ops has port 0, any free port: give --url with the one that the node printed"
        );
        Ok(reachable(address))
    }
}

fn read_token(path: &Path) -> Result<Secret> {
    Secret::read(path).with_context(|| format!("reading token file {}", path.display()))
}

/// The address to connect to: a listener on all addresses is reached by the loopback address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[derive(Clone, Debug)]
pub struct OpsClient {
    address: SocketAddr,
    token: Option<Secret>,
}

/// The node's answer, of any status.
#[derive(Clone, Debug)]
pub struct OpsAnswer {
    pub status: u16,
    pub body: Value,
}

impl OpsClient {
    pub fn new(address: SocketAddr, token: Option<Secret>) -> Self {
        Self { address, token }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn get(&self, path: &str) -> Result<OpsAnswer> {
        self.exchange(Method::GET, path, Bytes::new())
    }

    pub fn post(&self, path: &str, body: &Value) -> Result<OpsAnswer> {
        self.exchange(Method::POST, path, Bytes::from(body.to_string()))
    }

    fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<OpsAnswer> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let doing = format!("{method} {}{path}", self.url());
        let exchange = async { tokio::time::timeout(ANSWER_TIMEOUT, self.exchange_on(method, path, body)).await };
        match runtime.block_on(exchange) {
            Ok(answer) => answer.context(doing),
            Err(_) => {
                let seconds = ANSWER_TIMEOUT.as_secs();
                bail!("{doing}: no answer within {seconds} s; the request may still take effect")
            }
        }
    }

    async fn exchange_on(&self, method: Method, path: &str, body: Bytes) -> Result<OpsAnswer> {
        let stream = tokio::net::TcpStream::connect(self.address).await;
        let stream =
            stream.context("cannot connect; is the node running, and is this its ops address? (--url, --config)")?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // The task ends with the answer, which also reports a failure of the connection.
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(HOST, self.address.to_string());
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(body))?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("reading the answer: {error}"))?.to_bytes();
        let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
        Ok(OpsAnswer { status, body: serde_json::from_slice(&body).unwrap_or_else(|_| text()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reached_by_loopback() {
        let check = |text: &str, expected: &str| {
            let address = text.parse().expect("an address");
            assert_eq!(reachable(address).to_string(), expected);
        };
        check("0.0.0.0:8081", "127.0.0.1:8081");
        check("[::]:8081", "[::1]:8081");
        check("10.1.2.3:8081", "10.1.2.3:8081");
    }
}
