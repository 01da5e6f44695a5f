//! A sample: the figures that a node reported at one time, from `/metrics` and `/health`.

use super::metrics::{Metrics, Series};
use crate::client::ops_client::OpsClient;
use anyhow::{Context, Result, ensure};
use node::ops::metrics::LOOP_ALIASES;
use serde_json::Value;

/// The quantiles of a stage, as the node labels them.
pub const QUANTILES: [&str; 5] = ["0.5", "0.9", "0.99", "0.999", "max"];

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub version: String,
    /// `ok`, `degraded` or `not_ready`; `detail` says why it is not `ok`.
    pub status: String,
    pub detail: Option<String>,
    pub journal_sync: String,
    pub ready: bool,
    /// By the node's own clock, which is the clock of all rates.
    pub uptime_ms: u64,
    pub counts: Counts,
    pub machine: Machine,
    pub seqs: Watermarks,
    pub loops: Vec<Loop>,
    pub stages: Vec<Stage>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    pub commands: u64,
    pub fills: u64,
    pub rejects: u64,
    pub sessions: u64,
    pub connections: u64,
    pub market_readers: u64,
    /// None where the node's operating system does not report it.
    pub memory_bytes: Option<u64>,
}

/// What the node uses of its machine, from `/health`; nothing of it where the node is older or does not know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    /// `all` or `cancels`.
    pub takes: Option<String>,
    pub write_wait_ms: Option<u64>,
    pub disk_used_percent: Option<u64>,
    pub disk_free_bytes: Option<u64>,
    pub ballast_bytes: Option<u64>,
    pub memory_limit_bytes: Option<u64>,
    pub descriptors_open: Option<u64>,
    pub descriptors_limit: Option<u64>,
    pub clock_error_ns: Option<i64>,
    pub backup_age_ms: Option<u64>,
}

impl Machine {
    fn of(health: &Value) -> Self {
        let (disk, descriptors) = (&health["disk"], &health["descriptors"]);
        Self {
            takes: health["intake"]["takes"].as_str().map(str::to_owned),
            write_wait_ms: health["journal"]["age_ms"].as_u64(),
            disk_used_percent: disk["used_percent"].as_u64(),
            disk_free_bytes: disk["free_bytes"].as_u64(),
            ballast_bytes: disk["ballast_bytes"].as_u64(),
            memory_limit_bytes: health["memory"]["limit_bytes"].as_u64(),
            descriptors_open: descriptors["open"].as_u64(),
            descriptors_limit: descriptors["limit"].as_u64(),
            clock_error_ns: health["clock"]["error_ns"].as_i64(),
            backup_age_ms: health["backup"]["age_ms"].as_u64(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Watermarks {
    pub next: u64,
    pub applied: u64,
    pub durable: u64,
    pub released: u64,
    pub stored: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Loop {
    pub name: String,
    pub state: String,
    pub age_ms: u64,
    pub cycles: u64,
}

/// Times of commands in one stage, since the node's start.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    pub name: String,
    pub count: u64,
    pub sum_s: f64,
    /// Upper bounds, each with the number of commands that took no longer. Bounds rise; the last is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// In the order of [`QUANTILES`].
    pub quantiles_ns: [u64; QUANTILES.len()],
}

impl Sample {
    pub fn take(client: &OpsClient) -> Result<Self> {
        let metrics = client.get("/metrics")?;
        let url = client.url();
        ensure!(
            metrics.status != 401,
            "reading {url}/metrics: it needs the token of listen.metrics_token_file; give --config or --token-file"
        );
        let text = metrics.body.as_str().filter(|_| metrics.status == 200);
        let text = text.with_context(|| format!("{url}/metrics answered {} {}", metrics.status, metrics.body))?;
        let metrics = Metrics::parse(text).with_context(|| format!("reading {url}/metrics"))?;
        let health = client.get("/health")?;
        ensure!(health.status == 200, "{url}/health answered {} {}", health.status, health.body);
        Self::of(&health.body, &metrics).with_context(|| format!("reading the figures of {url}"))
    }

    pub fn of(health: &Value, metrics: &Metrics) -> Result<Self> {
        let text = |name: &str| health[name].as_str().map(str::to_owned);
        Ok(Self {
            name: text("node").unwrap_or_default(),
            version: text("version").unwrap_or_default(),
            status: text("status").context("/health has no status")?,
            detail: text("detail"),
            journal_sync: text("journal_sync").unwrap_or_default(),
            ready: metrics.integer("pinion_ready")? == 1,
            uptime_ms: metrics.integer("pinion_uptime_ms")?,
            counts: Counts::of(metrics)?,
            machine: Machine::of(health),
            seqs: Watermarks::of(metrics)?,
            loops: loops(health, metrics)?,
            stages: stages(metrics)?,
        })
    }
}

impl Counts {
    fn of(metrics: &Metrics) -> Result<Self> {
        Ok(Self {
            commands: metrics.integer("pinion_commands_total")?,
            fills: metrics.integer("pinion_fills_total")?,
            rejects: metrics.integer("pinion_rejects_total")?,
            sessions: metrics.integer("pinion_sessions_open")?,
            connections: metrics.integer("pinion_connections")?,
            market_readers: metrics.integer("pinion_market_readers")?,
            memory_bytes: metrics.find("pinion_memory_resident_bytes").transpose()?,
        })
    }
}

impl Watermarks {
    fn of(metrics: &Metrics) -> Result<Self> {
        Ok(Self {
            next: metrics.integer("pinion_seq_next")?,
            applied: metrics.integer("pinion_seq_applied")?,
            durable: metrics.integer("pinion_seq_durable")?,
            released: metrics.integer("pinion_seq_released")?,
            stored: metrics.integer("pinion_seq_stored")?,
        })
    }
}

fn loops(health: &Value, metrics: &Metrics) -> Result<Vec<Loop>> {
    let components = health["components"].as_array();
    let state_of = |name: &str| {
        let component = components.into_iter().flatten().find(|component| component["name"] == name)?;
        component["state"].as_str().map(str::to_owned)
    };
    let looped = |age: &Series| {
        let name = age.label("loop").context("an age without its loop")?.to_owned();
        let cycles = one(metrics, "pinion_loop_cycles_total", ("loop", &name))?.integer()?;
        Ok(Loop { state: state_of(&name).unwrap_or_default(), age_ms: age.integer()?, cycles, name })
    };
    // A renamed loop is in the metrics a second time, under its old name.
    let is_alias = |age: &&Series| LOOP_ALIASES.iter().any(|(_, old)| age.label("loop") == Some(*old));
    metrics.all("pinion_loop_age_ms").filter(|age| !is_alias(age)).map(looped).collect()
}

fn stages(metrics: &Metrics) -> Result<Vec<Stage>> {
    let staged = |count: &Series| {
        let name = count.label("stage").context("a count without its stage")?;
        let stage = ("stage", name);
        let bound = |series: &Series| -> Result<(f64, u64)> {
            let le = series.label("le").context("a bucket without its bound")?;
            Ok((le.parse().with_context(|| format!("a bucket up to {le:?}"))?, series.integer()?))
        };
        let mut quantiles_ns = [0; QUANTILES.len()];
        for series in metrics.labeled("pinion_stage_quantile_ns", stage) {
            let idx = QUANTILES.iter().position(|quantile| series.label("quantile") == Some(quantile));
            if let Some(idx) = idx {
                quantiles_ns[idx] = series.integer()?;
            }
        }
        Ok(Stage {
            name: name.to_owned(),
            count: count.integer()?,
            sum_s: one(metrics, "pinion_stage_seconds_sum", stage)?.decimal()?,
            buckets: metrics.labeled("pinion_stage_seconds_bucket", stage).map(bound).collect::<Result<_>>()?,
            quantiles_ns,
        })
    };
    metrics.all("pinion_stage_seconds_count").map(staged).collect()
}

/// The series with that name and label, which the node must report.
fn one<'a>(metrics: &'a Metrics, name: &'a str, label: (&'a str, &'a str)) -> Result<&'a Series> {
    let found = metrics.labeled(name, label).next();
    found.with_context(|| format!("the node does not report {name} of {}", label.1))
}
