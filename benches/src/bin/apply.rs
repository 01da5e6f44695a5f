//! The whole state machine: checks, balances, fees and events around the same book.

use anyhow::Result;
use benches::clock::Ticks;
use benches::exchange::{self, Naming};
use benches::machine::Machine;
use benches::measure::{Works, throughput};
use benches::naive::Naive;
use benches::options::Options;
use benches::report::{Series, Sheet};
use benches::streams::{Flow, label};
use benches::subject::Subject;
use clap::Parser;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

const WIRING: &str = "\
apply: the whole state machine, one thread

  stream in memory --> command --> [ Engine::apply ] --> events in one buffer --> fills --> hash
  24-byte records      timed       timed                 timed                    timed     EXACT or exit code 1

timed     the main part of the stream, in CPU time of the thread; setting up and prefilling is not
apply     one market with fees, one account and one session per user of the stream, client order ids that only grow:
          duplicate check, admission, holds, matching, settlement, fees, both lists of open orders, events
          a move is an amendment to the open quantity that loses its place
          order ids: cancels and moves name the exchange's id; client ids: the client's, through the hash index
          ledger: the same with every transfer described as an event
twin      the naive book alone, without accounts: the base of all ratios";

const BY_ORDER_ID: &str = "apply, order ids";
const BY_CLIENT_ID: &str = "apply, client ids";
const WITH_LEDGER: &str = "apply, order ids, ledger";

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("apply: a result differs from the stream's own: the figures above do not count");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("apply: {error:#}");
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
        let sheet = sheet(path, options, &ticks)?;
        if !options.json {
            println!("{}", sheet.text());
        }
        sheets.push(sheet);
    }
    let ok = !sheets.iter().any(Sheet::failed);
    if options.json {
        let sheets: Vec<_> = sheets.iter().map(Sheet::json).collect();
        println!("{:#}", json!({ "bench": "apply", "machine": machine.json(), "ok": ok, "streams": sheets }));
    }
    Ok(ok)
}

fn sheet(path: &Path, options: &Options, ticks: &Ticks) -> Result<Sheet> {
    let flow = Flow::read(path)?;
    let (name, users) = (flow.name.clone(), flow.users);
    let Works { dense, orders_max, .. } = Works::learn(flow, options.main_len_max())?;
    let by_order_id = exchange::name(&dense, users, orders_max, Naming::OrderId)?;
    let by_client_id = exchange::name(&dense, users, orders_max, Naming::ClOrdId)?;
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
