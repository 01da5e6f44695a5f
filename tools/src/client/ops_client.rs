//! One request to a node's ops listener, answered or timed out: hyper, which the node serves with, used from this side.

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

/// A command waits for its sync; a node that takes longer than this has other troubles.
const PATIENCE: Duration = Duration::from_secs(30);
/// The registry of a large exchange is some megabytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const ADDRESS_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

/// Where the node's ops listener is: from its configuration, or said outright.
#[derive(Args, Clone, Debug, Default)]
pub struct OpsAddress {
    /// The node's configuration, which names the ops address and the token file
    #[arg(long, value_name = "FILE", env = "PINION_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// The ops listener [default: http://127.0.0.1:8081]
    #[arg(long, value_name = "URL", global = true)]
    pub url: Option<String>,
    /// File with the token of what is asked, where not the configuration's
    #[arg(long, value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
}

impl OpsAddress {
    /// For what anybody may ask.
    pub fn anonymous(&self) -> Result<OpsClient> {
        let config = self.config.as_deref().map(Config::load_values).transpose()?;
        Ok(OpsClient { address: self.address(config.as_ref())?, token: None })
    }

    /// For what anybody may ask and for metrics, which have a token of their own where the configuration names one.
    pub fn observer(&self) -> Result<OpsClient> {
        let config = self.config.as_deref().map(Config::load_values).transpose()?;
        let address = self.address(config.as_ref())?;
        let path = self.token_file.clone().or(config.and_then(|config| config.listen.metrics_token_file));
        let token = path.as_deref().map(read_token).transpose()?;
        Ok(OpsClient { address, token })
    }

    /// For what needs the administrator's token.
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
            return address.parse().with_context(|| format!("--url {url:?} does not look like http://127.0.0.1:8081"));
        }
        let Some(config) = config else { return Ok(ADDRESS_DEFAULT) };
        let address = config.listen.ops;
        ensure!(address.port() != 0, "listen.ops takes a free port: give the one that the node printed with --url");
        Ok(reachable(address))
    }
}

fn read_token(path: &Path) -> Result<Secret> {
    Secret::read(path).with_context(|| format!("token file {}", path.display()))
}

/// A listener on every address is asked on this machine's own.
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

/// What the node answered, whatever that was.
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
        let exchange = async { tokio::time::timeout(PATIENCE, self.exchange_on(method, path, body)).await };
        match runtime.block_on(exchange) {
            Ok(answer) => answer.context(doing),
            Err(_) => bail!("{doing}: no answer within {} s; what was asked may still take effect", PATIENCE.as_secs()),
        }
    }

    async fn exchange_on(&self, method: Method, path: &str, body: Bytes) -> Result<OpsAnswer> {
        let stream = tokio::net::TcpStream::connect(self.address).await;
        let stream = stream.context("is the node running, and is this its ops address? (--url, --config)")?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the answer; what breaks it shows there.
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
    fn a_listener_on_every_address_is_asked_here() {
        let check = |text: &str, expected: &str| {
            let address = text.parse().expect("an address");
            assert_eq!(reachable(address).to_string(), expected);
        };
        check("0.0.0.0:8081", "127.0.0.1:8081");
        check("[::]:8081", "[::1]:8081");
        check("10.1.2.3:8081", "10.1.2.3:8081");
    }
}
