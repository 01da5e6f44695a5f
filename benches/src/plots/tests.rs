//! A small document of each bench gives pictures with the expected labels; an error names its file and key.

use super::chart::short;
use super::document::Document;
use super::picture::Picture;
use super::pictures;
use serde_json::{Value, json};
use std::path::Path;

fn machine() -> Value {
    json!({ "cpu": "Some <CPU>", "cores": 2, "commit": "abc1234" })
}

fn spread(median: f64) -> Value {
    json!({ "median": median, "min": median * 0.9, "max": median * 1.2 })
}

fn quantiles(name: &str, ns: f64) -> Value {
    json!({ "name": name, "p50_ns": spread(ns), "p90_ns": spread(ns * 1.5), "p99_ns": spread(ns * 4.0) })
}

fn scale() -> Value {
    let point =
        |value: u32| json!({ "value": value, "mops": spread(9.5), "p50_ns": spread(80.0), "p99_ns": spread(300.0) });
    json!({
        "bench": "scale", "machine": machine(),
        "sweeps": [{ "name": "orders", "fixed": "at rest, one market", "points": [point(1), point(65_536), point(10_000_000)] }],
        "node": { "sync": "always", "under_way": 10_000, "points": [
            { "sessions": 1, "skipped": null, "commands_per_second": spread(900_000.0) },
            { "sessions": 100, "skipped": null, "commands_per_second": spread(800_000.0) },
            { "sessions": 10_000, "skipped": "ulimit", "commands_per_second": null },
        ] },
    })
}

fn streams(bench: &str) -> Value {
    let subject = |name: &str, mops: [f64; 2], ours: bool| json!({ "name": name, "mops": mops, "ours": ours });
    let stream = |title: &str| {
        json!({ "title": title, "ratio_to": "naive twin", "throughput": [
            subject("exchange ids", [36.0, 40.0], true), subject("naive twin", [7.0, 8.0], true),
            subject("a peer", [2.0, 2.0], false),
        ] })
    };
    json!({ "bench": bench, "machine": machine(), "streams": [stream("X 1k  (ec_1000: 3 resting)"), stream("a file of one's own")] })
}

fn append() -> Value {
    json!({ "bench": "append", "machine": machine(), "tables": [
        { "bytes": 4096, "depth": 1, "subjects": [quantiles("limit", 25_900.0), quantiles("head", 27_500.0)] },
        { "bytes": 65_536, "depth": 4, "subjects": [quantiles("limit", 107_000.0), quantiles("head", 164_000.0)] },
    ] })
}

fn round_trip() -> Value {
    let round = |ns: u64| json!({ "p50_ns": ns, "p90_ns": ns * 20, "p99_ns": ns * 100 });
    json!({
        "bench": "round_trip", "machine": machine(),
        "depth1": { "subjects": [quantiles("echo", 5_600.0), quantiles("node, sync = interval", 7_200.0)] },
        "load": { "sync": "always", "loads": [
            { "rate": 10_000, "rounds": [round(66_000), round(70_000)] },
            { "rate": 250_000, "rounds": [round(154_000)] },
            { "rate": 300_000, "rounds": [] },
            { "rate": null, "rounds": [round(1_000_000)] },
        ] },
    })
}

fn start() -> Value {
    let line = |name: &str| json!({ "name": name, "wall_seconds": spread(1.5), "cpu_seconds": spread(1.4) });
    json!({
        "bench": "start", "machine": machine(), "commands": 3_000_000, "log_bytes": 96_000_000,
        "lines": [line("whole"), line("decode"), line("parts together")],
    })
}

fn draw(document: &Value) -> Result<Vec<Picture>, String> {
    let document = Document::parse(Path::new("figures.json"), &document.to_string()).expect("it is JSON");
    pictures(&document).map_err(|error| format!("{error:#}"))
}

/// Draws `document` and looks for the expected labels, each of which is a line of the SVG.
#[track_caller]
fn check(document: &Value, expected: &[(&str, &[&str])]) {
    let drawn = draw(document).expect("the document has all figures");
    let names: Vec<&str> = drawn.iter().map(|picture| picture.name.as_str()).collect();
    assert_eq!(names, expected.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for (picture, (name, labels)) in drawn.iter().zip(expected) {
        assert!(picture.svg.starts_with("<svg ") && picture.svg.trim_end().ends_with("</svg>"), "{name} is complete");
        assert!(picture.svg.contains("fill=\"#FFFFFF\""), "{name} has a white ground");
        for label in labels.iter().chain(&["Some &lt;CPU&gt;, 2 cores, commit abc1234"]) {
            assert!(picture.svg.lines().any(|line| line == *label), "{name} has no label {label:?}:\n{}", picture.svg);
        }
        assert!(!picture.svg.contains("NaN") && !picture.svg.contains("inf"), "{name} has coordinates for all figures");
    }
    assert_eq!(draw(document).expect("drawn before"), drawn, "the same document, the same bytes");
}

#[test]
fn scale_is_drawn() {
    let x = "orders (at rest, one market)";
    check(
        &scale(),
        &[
            ("scale-orders", &["million commands per CPU second", x, "1", "65.5k", "10M"]),
            ("scale-orders-latency", &["nanoseconds a command", x, "p50", "p99", "100"]),
            ("scale-node", &["thousand commands a second", "1", "100", "800"]),
        ],
    );
}

#[test]
fn ratios_are_drawn_with_their_targets() {
    // 36 over 7 and 40 over 8: 5.07 is in the middle.
    let labels = ["times the twin's throughput", "exchange ids", "target", "X 1k", "a file of one's own", "5.07"];
    let labels = labels.map(|label| label.replace('\'', "&apos;"));
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    check(&streams("match"), &[("match", &labels)]);
    check(&streams("apply"), &[("apply", &labels)]);
}

#[test]
fn append_is_drawn() {
    let labels = ["microseconds a write", "4 KiB, 1 under way", "64 KiB, 4 under way", "limit p50", "head p99", "27.5"];
    check(&append(), &[("append", &labels)]);
}

#[test]
fn round_trip_is_drawn() {
    check(
        &round_trip(),
        &[
            ("round_trip", &["microseconds", "p50", "p90", "p99", "echo", "node, sync = interval", "7.2"]),
            ("round_trip-open", &["commands due a second", "10k", "250k", "p99", "limit of p99: 2 ms"]),
        ],
    );
}

#[test]
fn start_is_drawn() {
    check(&start(), &[("start", &["nanoseconds a command", "whole", "decode", "parts together", "CPU", "500"])]);
}

#[test]
fn an_error_names_its_file_and_key() {
    #[track_caller]
    fn refused(document: &Value, why: &str) {
        assert_eq!(draw(document).expect_err("it cannot be drawn"), why);
    }
    refused(&json!([1]), "figures.json: bench: is missing");
    refused(
        &json!({ "bench": "memory" }),
        "figures.json: bench: \"memory\" is not a bench with plots: scale, match, apply, append, round_trip or start",
    );
    refused(&json!({ "bench": "append", "tables": 3 }), "figures.json: tables: 3 is not a list");
    let mut garbled = scale();
    garbled["sweeps"][0]["points"][1]["mops"]["max"] = "fast".into();
    refused(&garbled, "figures.json: sweeps[0].points[1].mops.max: \"fast\" is not a number");
    let mut lacking = append();
    lacking["machine"].as_object_mut().expect("`machine` is an object").remove("cpu");
    refused(&lacking, "figures.json: machine.cpu: is missing");
    let mut baseless = streams("match");
    baseless["streams"][1]["ratio_to"] = "absent".into();
    let why = draw(&baseless).expect_err("it cannot be drawn");
    assert!(
        why.starts_with("figures.json: streams[1].throughput: [")
            && why.ends_with("is not a list with \"absent\" in it")
    );
    let error = Document::parse(Path::new("figures.json"), "{").expect_err("the document is cut off");
    assert!(format!("{error:#}").starts_with("figures.json: is not JSON"), "{error:#}");
}

#[test]
fn numbers_are_short() {
    let numbers = [0.0, 0.25, 1.0, 12.5, 999.0, 9_000.0, 10_000.0, 65_536.0, 250_000.0, 999_900.0, 10_000_000.0];
    let words = ["0", "0.25", "1", "12.5", "999", "9000", "10k", "65.5k", "250k", "1M", "10M"];
    assert_eq!(numbers.map(short), words);
}
