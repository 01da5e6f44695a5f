//! Prometheus text as `pinion top` reads it: every series is found under its own name.

use crate::meter;
use crate::target::{Outcome, Target, repair_nothing};
use tools::verbs::top::metrics::Metrics;

pub const TARGET: Target =
    Target { name: "metrics", seeds, repair: repair_nothing, check, bytes_max: 1024, round_inputs: 15_000 };

fn check(input: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::Refused };
    let Ok(metrics) = meter::within(512 * input.len() + 8192, || Metrics::parse(text)) else {
        return Outcome::Refused;
    };
    let mut found = 0;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let series: Vec<_> = metrics.all(name).collect();
        assert!(!series.is_empty(), "{line:?} is found under {name:?}");
        found += 1;
        for one in series {
            assert_eq!(one.name, name);
            for (label, value) in &one.labels {
                assert!(one.label(label).is_some());
                assert!(metrics.labeled(name, (label, value)).next().is_some() || one.label(label) != Some(value));
            }
            assert!(one.integer().is_err() || one.decimal().is_ok(), "an integer is a decimal number, too");
        }
    }
    if found == 0 { Outcome::Refused } else { Outcome::Decoded }
}

fn seeds() -> Vec<Vec<u8>> {
    let text = "# HELP pinion_seq_applied The last.\n# TYPE pinion_seq_applied gauge\npinion_seq_applied 42\n\
                pinion_stage_ns{stage=\"ack\",quantile=\"0.99\"} 63000.5\n\
                pinion_build_info{version=\"0.1.0\",note=\"a \\\"word\\\" and \\\\ and \\n\"} 1 1700000000000\n";
    vec![text.into()]
}
