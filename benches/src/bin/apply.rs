//! apply: the complete state machine, one thread, beside the naive twin's book.
//!
//! ```text
//!   stream in memory --> command --> [ Engine::apply ] --> events in a buffer --> fills --> hash == the stream's?
//!   24-byte records      timed       timed                 timed                  timed     EXACT, or exit code 1
//!
//! timed     the main part of the stream, in CPU time of the thread; set-up and prefill are not timed
//! apply     one market with fees, one account and one session for each user of the stream, client order ids that rise:
//!           duplicate check, admission, holds, matching, settlement, fees, both lists of open orders, events
//!           a move is an amendment to the open quantity, which loses the order's place in the queue
//!           order ids: cancels and moves carry the exchange's id; client ids: the client's, through the hash index
//!           ledger: the same with an event for every transfer
//! twin      the naive book alone, without accounts; the base of all ratios
//! checked   every run: fills, quantity, notional, fill hash and the orders at rest equal those in the stream's header;
//!           the engine refused no command
//! printed   throughput: median, min and max over the rounds, noise, ratio to the twin, check
//!           one command: p50, p90, p99, p99.9 in ns by kind
//! ```
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use anyhow::{Result, ensure};
use benches::clock::Ticks;
use benches::exchange::{self, Naming};
use benches::machine::Machine;
use benches::measure::{Works, throughput};
use benches::naive::Naive;
use benches::options::{StreamOptions, exit_code};
use benches::report::{Series, Sheet};
use benches::streams::{Flow, label};
use benches::subject::Subject;
use clap::Parser;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

const BY_ORDER_ID: &str = "apply, order ids";
const BY_CLIENT_ID: &str = "apply, client ids";
const WITH_LEDGER: &str = "apply, order ids, ledger";

fn main() -> ExitCode {
    exit_code("apply", run(&StreamOptions::parse()))
}

fn run(options: &StreamOptions) -> Result<()> {
    let paths = options.paths()?;
    let ticks = Ticks::default();
    let machine = Machine::enter(options.pin.core, &ticks);
    options.mode.print_head(include_str!("apply.rs"), &machine.text());
    let mut sheets = Vec::new();
    for path in &paths {
        let sheet = sheet(path, options, &ticks)?;
        options.mode.print(sheet.text());
        sheets.push(sheet);
    }
    let ok = !sheets.iter().any(Sheet::failed);
    if options.mode.json {
        let sheets: Vec<_> = sheets.iter().map(Sheet::json).collect();
        println!("{:#}", json!({ "bench": "apply", "machine": machine.json(), "ok": ok, "streams": sheets }));
    }
    ensure!(ok, "a result differs from the stream's own, so the figures above do not count");
    Ok(())
}

fn sheet(path: &Path, options: &StreamOptions, ticks: &Ticks) -> Result<Sheet> {
    let flow = Flow::read(path)?;
    let (name, users) = (flow.name.clone(), flow.users);
    let Works { dense, orders_max, .. } = Works::prepare(flow, options.main_len_max())?;
    let by_order_id = exchange::rename(&dense, users, orders_max, Naming::OrderId)?;
    let by_client_id = exchange::rename(&dense, users, orders_max, Naming::ClOrdId)?;
    let mut series = vec![
        Series::new(BY_ORDER_ID, true, ""),
        Series::new(BY_CLIENT_ID, true, ""),
        Series::new(WITH_LEDGER, true, ""),
        Series::new(Naive::NAME, true, ""),
    ];
    series.retain(|s| options.wants(&s.name) || s.name == Naive::NAME);
    for _ in 0..options.rounds() {
        for series in &mut series {
            series.runs.push(match series.name.as_str() {
                BY_ORDER_ID => exchange::throughput::<false>(&by_order_id, users, orders_max, Naming::OrderId)?,
                BY_CLIENT_ID => exchange::throughput::<false>(&by_client_id, users, orders_max, Naming::ClOrdId)?,
                WITH_LEDGER => exchange::throughput::<true>(&by_order_id, users, orders_max, Naming::OrderId)?,
                _ => throughput(Naive::default(), &dense, None),
            });
        }
    }
    let mut latencies = Vec::new();
    if !options.no_latency {
        let figures = exchange::latencies(&by_order_id, users, orders_max, Naming::OrderId, ticks)?;
        latencies.push(("order ids".to_owned(), figures));
        let figures = exchange::latencies(&by_client_id, users, orders_max, Naming::ClOrdId, ticks)?;
        latencies.push(("client ids".to_owned(), figures));
    }
    let title = format!(
        "{}  ({name}: {} commands untimed, {} timed, {} resting at the end, {users} accounts)",
        label(&name),
        dense.prefill_len,
        dense.main_len,
        dense.resting_at_end()
    );
    Ok(Sheet { title, series, base: Naive::NAME.to_owned(), latencies })
}
