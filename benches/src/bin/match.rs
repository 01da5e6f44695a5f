//! The order book alone, beside a naive twin, the peers of the crate registry and the prebuilt yardsticks.

use anyhow::Result;
use benches::clock::Ticks;
use benches::engine_bench::{self, Messages};
use benches::machine::Machine;
use benches::measure::{Check, Run, Work, Works, latencies, throughput};
use benches::naive::Naive;
use benches::options::Options;
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

const WIRING: &str = "\
match: the order book alone, one thread

  stream in memory --> [ book ] --> every fill --> hash --> the stream's own hash?
  24-byte commands     timed        timed                   EXACT or exit code 1

timed     the main part of the stream, in CPU time of the thread; the prefill that builds the book is not
pinion    OrderBook + Pool through `Meeting`: no accounts, no events
          exchange ids: cancels and moves carry the OrderId that the book gave out (learnt in an untimed pass)
          client ids: arbitrary 64-bit ids through the product's own hash index
twin      BTreeMap of VecDeques + HashMap, the base of all ratios; twin and flat (external) are the yardstick programs
peers     from the crate registry, by the stream's ids; a slow one is cut off and says so";

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("match: a result differs from the stream's own: the figures above do not count");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("match: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let paths = options.paths()?;
    let ticks = Ticks::default();
    let machine = Machine::enter(options.core, &ticks);
    if !options.json {
        println!("{WIRING}\n\n{}", machine.text());
    }
    let mut sheets = Vec::new();
    for path in &paths {
        let sheet =
            if engine_bench::is_meb(path) { meb_sheet(path, options)? } else { flow_sheet(path, options, &ticks)? };
        if !options.json {
            println!("{}", sheet.text());
        }
        sheets.push(sheet);
    }
    let ok = !sheets.iter().any(Sheet::failed);
    if options.json {
        let sheets: Vec<_> = sheets.iter().map(Sheet::json).collect();
        println!("{:#}", json!({ "bench": "match", "machine": machine.json(), "ok": ok, "streams": sheets }));
    }
    Ok(ok)
}

fn flow_sheet(path: &Path, options: &Options, ticks: &Ticks) -> Result<Sheet> {
    let flow = Flow::read(path)?;
    let (name, order_id_max, commands) = (flow.name.clone(), flow.order_id_max, flow.cmds.len());
    let works = Works::learn(flow, options.main_len_max())?;
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
        series.push(Series::new(&format!("{yardstick} (external)"), false, "whole stream"));
    }
    series.retain(|s| options.wants(&s.name) || s.name == Naive::NAME);
    let orders = works.orders_max;
    for _ in 0..options.rounds() {
        for series in &mut series {
            let run = match series.name.as_str() {
                Pinion::<ExchangeIds>::NAME => {
                    Some(throughput(Pinion::<ExchangeIds>::new(orders), &works.exchange, None))
                }
                Pinion::<ClientIds>::NAME => Some(throughput(Pinion::<ClientIds>::new(orders), &works.client, None)),
                Naive::NAME => Some(throughput(Naive::default(), &works.dense, None)),
                Matchcore::NAME => {
                    let book = || Matchcore::new(order_id_max, commands);
                    Some(peer(book, &works.dense, options.peer_time(), &series.runs))
                }
                OrderbookRs::NAME => Some(peer(OrderbookRs::default, &works.dense, options.peer_time(), &series.runs)),
                Lobster::NAME => Some(peer(|| Lobster::new(orders), &works.dense, options.peer_time(), &series.runs)),
                external => yardstick::run(external.split(' ').next().unwrap_or_default(), path),
            };
            series.runs.extend(run);
        }
    }
    let mut sheet_latencies = Vec::new();
    if !options.no_latency {
        let book = Pinion::<ExchangeIds>::new(orders);
        sheet_latencies.push(("exchange ids".to_owned(), latencies(book, &works.exchange, ticks)?));
        let book = Pinion::<ClientIds>::new(orders);
        sheet_latencies.push(("client ids".to_owned(), latencies(book, &works.client, ticks)?));
        sheet_latencies.push(("twin".to_owned(), latencies(Naive::default(), &works.dense, ticks)?));
    }
    let title = format!(
        "{}  ({name}: {} commands untimed, {} timed, {} resting at the end)",
        label(&name),
        works.dense.prefill_len,
        works.dense.main_len,
        works.dense.resting_at_end()
    );
    Ok(Sheet { title, series, base: Naive::NAME.to_owned(), latencies: sheet_latencies })
}

/// A peer may be slow. One that did not finish its prefill is not asked again.
fn peer<S: Subject>(book: impl Fn() -> S, work: &Work, limit: Duration, before: &[Run]) -> Run {
    match before.iter().find(|run| run.check == Check::TooSlow) {
        Some(hopeless) => *hopeless,
        None => throughput(book(), work, Some(limit)),
    }
}

/// Checked against the published hash, or against the naive twin's where nothing is published.
fn meb_sheet(path: &Path, options: &Options) -> Result<Sheet> {
    let messages = Messages::read(path)?;
    let mut series =
        vec![Series::new(Pinion::<ClientIds>::NAME, true, "ids of the file"), Series::new(Naive::NAME, true, "")];
    let first = engine_bench::run(Naive::default(), &messages, messages.published)?;
    let expected = messages.published.unwrap_or(&first.sha256);
    for _ in 0..options.rounds() {
        for series in &mut series {
            let answered = if series.name == Naive::NAME {
                engine_bench::run(Naive::default(), &messages, Some(expected))?
            } else {
                engine_bench::run(Pinion::<ClientIds>::new(1 << 16), &messages, Some(expected))?
            };
            series.runs.push(answered.run);
        }
    }
    let source = if messages.published.is_some() { "published" } else { "the naive twin's: none is published" };
    let title = format!(
        "{}  ({} messages from the empty book, {} reports built while timed)\n  sha-256 to reach {expected} ({source})",
        messages.name,
        messages.cmds.len(),
        first.reports,
    );
    Ok(Sheet { title, series, base: Naive::NAME.to_owned(), latencies: Vec::new() })
}
