//! match: the order book alone, one thread, beside a naive twin, peers from the crate registry and yardstick programs.
//!
//! ```text
//!   stream in memory --> [ book ] --> every fill --> hash == the stream's own?
//!   24-byte records      timed        timed          EXACT, or exit code 1
//!
//! timed     the main part of the stream, in CPU time of the thread; the prefill that builds the book is not timed
//! pinion    OrderBook and Pool, with fills through `Meeting`: no accounts, no events
//!           exchange ids: cancels and moves carry the OrderId that the book gave out (found in an untimed pass)
//!           client ids: arbitrary 64-bit ids through the product's own hash index
//! twin      BTreeMap of VecDeques and HashMap, the base of all ratios; twin and flat (external) are yardstick programs
//! peers     by the stream's ids; a peer that reaches its time limit is measured on the part that it finished
//! checked   every run: fills, quantity, notional, fill hash and the orders at rest equal those in the stream's header;
//!           messages of the matching engine benchmark: the SHA-256 of all reports equals the published one
//! printed   throughput: median, min and max over the rounds, noise, ratio to the twin, check
//!           one command: p50, p90, p99, p99.9 in ns by kind
//! ```
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use anyhow::{Result, ensure};
use benches::clock::Ticks;
use benches::engine_bench::{self, Messages};
use benches::machine::Machine;
use benches::measure::{Check, Latencies, Run, Work, Works, latencies, throughput};
use benches::naive::Naive;
use benches::options::{StreamOptions, exit_code};
use benches::peers::lobster_book::Lobster;
use benches::peers::matchcore_book::Matchcore;
use benches::peers::orderbook_rs_book::OrderbookRs;
use benches::pinion::{ClientIds, ExchangeIds, Pinion};
use benches::report::{Series, Sheet};
use benches::streams::{Flow, label};
use benches::subject::Subject;
use benches::yardstick::{self, YARDSTICKS};
use clap::Parser;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    exit_code("match", run(&StreamOptions::parse()))
}

fn run(options: &StreamOptions) -> Result<()> {
    let paths = options.paths()?;
    let ticks = Ticks::default();
    let machine = Machine::enter(options.pin.core, &ticks);
    options.mode.print_head(include_str!("match.rs"), &machine.text());
    let mut sheets = Vec::new();
    for path in &paths {
        let sheet = if engine_bench::is_message_file(path) {
            message_sheet(path, options)?
        } else {
            flow_sheet(path, options, &ticks)?
        };
        options.mode.print(sheet.text());
        sheets.push(sheet);
    }
    let ok = !sheets.iter().any(Sheet::failed);
    if options.mode.json {
        let sheets: Vec<_> = sheets.iter().map(Sheet::json).collect();
        println!("{:#}", json!({ "bench": "match", "machine": machine.json(), "ok": ok, "streams": sheets }));
    }
    ensure!(ok, "a result differs from the stream's own, so the figures above do not count");
    Ok(())
}

fn flow_sheet(path: &Path, options: &StreamOptions, ticks: &Ticks) -> Result<Sheet> {
    let flow = Flow::read(path)?;
    let (name, order_id_max) = (flow.name.clone(), flow.order_id_max);
    let works = Works::prepare(flow, options.main_len_max())?;
    let mut series = flow_series(options);
    for _ in 0..options.rounds() {
        for series in &mut series {
            let run = flow_run(series, &works, order_id_max, path, options);
            series.runs.extend(run);
        }
    }
    let latencies = if options.no_latency { Vec::new() } else { flow_latencies(&works, ticks)? };
    let title = format!(
        "{}  ({name}: {} commands untimed, {} timed, {} resting at the end)",
        label(&name),
        works.dense.prefill_len,
        works.dense.main_len,
        works.dense.resting_at_end()
    );
    Ok(Sheet { title, series, base: Naive::NAME.to_owned(), latencies })
}

fn flow_series(options: &StreamOptions) -> Vec<Series> {
    let mut series = vec![
        Series::new(Pinion::<ExchangeIds>::NAME, true, ""),
        Series::new(Pinion::<ClientIds>::NAME, true, ""),
        Series::new(Naive::NAME, true, ""),
    ];
    if !options.no_peers {
        series.push(Series::new(Matchcore::NAME, false, "ids through two dense tables"));
        series.push(Series::new(OrderbookRs::NAME, false, "fills through its listener"));
        series.push(Series::new(Lobster::NAME, false, "IOC and move by cancel"));
    }
    for yardstick in YARDSTICKS {
        series.push(Series::new(&format!("{yardstick} (external)"), false, "complete stream"));
    }
    series.retain(|s| options.wants(&s.name) || s.name == Naive::NAME);
    series
}

/// One round of one subject; `None` where a yardstick program is missing.
fn flow_run(series: &Series, works: &Works, order_id_max: u64, path: &Path, options: &StreamOptions) -> Option<Run> {
    let (orders, limit, before) = (works.orders_max, options.peer_time(), &series.runs[..]);
    let run = match series.name.as_str() {
        Pinion::<ExchangeIds>::NAME => throughput(Pinion::<ExchangeIds>::new(orders), &works.exchange, None),
        Pinion::<ClientIds>::NAME => throughput(Pinion::<ClientIds>::new(orders), &works.client, None),
        Naive::NAME => throughput(Naive::default(), &works.dense, None),
        Matchcore::NAME => {
            let book = || Matchcore::new(order_id_max, works.dense.cmds.len());
            peer(book, &works.dense, limit, before)
        }
        OrderbookRs::NAME => peer(OrderbookRs::default, &works.dense, limit, before),
        Lobster::NAME => peer(|| Lobster::new(orders), &works.dense, limit, before),
        external => return yardstick::run(external.split(' ').next().unwrap_or_default(), path),
    };
    Some(run)
}

fn flow_latencies(works: &Works, ticks: &Ticks) -> Result<Vec<(String, Latencies)>> {
    let exchange = latencies(Pinion::<ExchangeIds>::new(works.orders_max), &works.exchange, ticks)?;
    let client = latencies(Pinion::<ClientIds>::new(works.orders_max), &works.client, ticks)?;
    let twin = latencies(Naive::default(), &works.dense, ticks)?;
    Ok(vec![("exchange ids".to_owned(), exchange), ("client ids".to_owned(), client), ("twin".to_owned(), twin)])
}

/// Measures a peer within its time limit. One that did not finish its prefill is not run again.
fn peer<S: Subject>(book: impl Fn() -> S, work: &Work, limit: Duration, before: &[Run]) -> Run {
    match before.iter().find(|run| run.check == Check::TooSlow) {
        Some(too_slow) => *too_slow,
        None => throughput(book(), work, Some(limit)),
    }
}

/// Measures messages of the matching engine benchmark. The check is the published hash, or the naive twin's where none
/// is published.
fn message_sheet(path: &Path, options: &StreamOptions) -> Result<Sheet> {
    let messages = Messages::read(path)?;
    let mut series =
        vec![Series::new(Pinion::<ClientIds>::NAME, true, "ids of the file"), Series::new(Naive::NAME, true, "")];
    let first = engine_bench::run(Naive::default(), &messages, messages.published)?;
    let expected = messages.published.unwrap_or(&first.sha256);
    for _ in 0..options.rounds() {
        for series in &mut series {
            let reported = if series.name == Naive::NAME {
                engine_bench::run(Naive::default(), &messages, Some(expected))?
            } else {
                engine_bench::run(Pinion::<ClientIds>::new(1 << 16), &messages, Some(expected))?
            };
            series.runs.push(reported.run);
        }
    }
    let source = if messages.published.is_some() { "published" } else { "the naive twin's, as none is published" };
    let title = format!(
        "{}  ({} messages from an empty book, {} reports built in the timed part)\n  sha-256 to reach {expected} ({source})",
        messages.name,
        messages.cmds.len(),
        first.reports,
    );
    Ok(Sheet { title, series, base: Naive::NAME.to_owned(), latencies: Vec::new() })
}
