//! The page as lines of text, a pure function of two samples.

use super::change::Change;
use super::sample::{Loop, Machine, QUANTILES, Sample, Stage};

/// The style of a line on a terminal with colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Title,
    Alarm,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageLine {
    pub tone: Tone,
    pub text: String,
}

impl PageLine {
    pub fn plain(text: impl Into<String>) -> Self {
        Self { tone: Tone::Plain, text: text.into() }
    }

    pub fn title(text: impl Into<String>) -> Self {
        Self { tone: Tone::Title, text: text.into() }
    }

    pub fn alarm(text: impl Into<String>) -> Self {
        Self { tone: Tone::Alarm, text: text.into() }
    }
}

/// The page, at most eighty columns wide.
pub fn of(before: &Sample, after: &Sample) -> Vec<PageLine> {
    let change = Change::between(before, after);
    let mut lines = head(after);
    lines.push(PageLine::plain(""));
    lines.extend(rates(before, after, change));
    lines.extend(machine(&after.machine));
    lines.push(PageLine::plain(""));
    lines.extend(watermarks(after));
    lines.push(PageLine::plain(""));
    lines.extend(stages(before, after, change));
    lines.push(PageLine::plain(""));
    lines.extend(loops(before, after, change));
    lines
}

fn head(now: &Sample) -> Vec<PageLine> {
    let state = format!("{}  {}", now.name, if now.ready { "ready" } else { "NOT READY" });
    let about = format!("version {}, up {}, journal.sync {}", now.version, uptime(now.uptime_ms), now.journal_sync);
    let mut lines = vec![PageLine::title(format!("{state}  ({about})"))];
    if !now.ready || now.status != "ok" {
        let detail = now.detail.as_deref().unwrap_or("no reason given");
        lines.push(PageLine::alarm(format!("{}: {detail}", now.status)));
    }
    lines
}

fn rates(before: &Sample, after: &Sample, change: Option<Change>) -> Vec<PageLine> {
    let over = change.map_or("no time has passed yet".to_owned(), |c| format!("over {:.1} s", c.seconds()));
    let mut lines = vec![PageLine::title(format!("{:<12}{:>14}{:>16}   {over}", "", "a second", "since start"))];
    let (was, is) = (before.counts, after.counts);
    for (name, was, is) in
        [("commands", was.commands, is.commands), ("fills", was.fills, is.fills), ("rejects", was.rejects, is.rejects)]
    {
        let rate = or_dash(change.map(|change| grouped(change.per_second(was, is).round() as u64)));
        lines.push(PageLine::plain(format!("{name:<12}{rate:>14}{:>16}", grouped(is))));
    }
    let memory = or_dash(is.memory_bytes.map(|bytes| format!("{} MiB", grouped(bytes >> 20))));
    lines.push(PageLine::plain(format!(
        "sessions {}, connections {}, market readers {}, memory {memory}",
        grouped(is.sessions),
        grouped(is.connections),
        grouped(is.market_readers),
    )));
    lines
}

/// What the node uses of its machine, and how far its clock and its backup are.
fn machine(now: &Machine) -> [PageLine; 2] {
    let number = |value: Option<u64>| or_dash(value.map(grouped));
    let mib = |bytes: Option<u64>| or_dash(bytes.map(|bytes| format!("{} MiB", grouped(bytes >> 20))));
    let disk = format!(
        "disk {} % used, {} free, ballast {}, takes {}",
        number(now.disk_used_percent),
        mib(now.disk_free_bytes),
        mib(now.ballast_bytes),
        now.takes.as_deref().unwrap_or("-")
    );
    let seconds = or_dash(now.backup_age_ms.map(|ms| format!("{} s", grouped(ms / 1_000))));
    let clock = or_dash(now.clock_error_ns.map(|ns| format!("{} us", ns / 1_000)));
    let (open, limit) = (number(now.descriptors_open), number(now.descriptors_limit));
    let rest = format!(
        "oldest write {} ms, descriptors {open}/{limit}, clock {clock}, backup {seconds} old",
        number(now.write_wait_ms)
    );
    let disk = if now.takes.as_deref() == Some("cancels") { PageLine::alarm(disk) } else { PageLine::plain(disk) };
    [disk, PageLine::plain(rest)]
}

/// Each watermark with its lag: how much it is less than the one that it follows.
fn watermarks(now: &Sample) -> Vec<PageLine> {
    let seqs = now.seqs;
    let mut lines = vec![PageLine::title(format!("{:<12}{:>20}{:>14}", "watermark", "sequence", "lag"))];
    for (name, seq, followed) in [
        ("next", seqs.next, None),
        ("applied", seqs.applied, Some((seqs.next.saturating_sub(1), "the last accepted"))),
        ("durable", seqs.durable, Some((seqs.applied, "applied"))),
        ("released", seqs.released, Some((seqs.durable, "durable"))),
        ("stored", seqs.stored, Some((seqs.durable, "durable"))),
    ] {
        let lag = followed.map(|(at, name)| format!("{:>14} less than {name}", grouped(at.saturating_sub(seq))));
        lines.push(PageLine::plain(format!("{name:<12}{:>20}{}", grouped(seq), lag.unwrap_or_default())));
    }
    lines
}

fn stages(before: &Sample, after: &Sample, change: Option<Change>) -> Vec<PageLine> {
    let labels = QUANTILES.map(quantile_name).map(|name| format!("{name:>8}")).concat();
    let title = format!("{:<9}{:>10}{:>9}{:>9} |{labels}", "stage", "a second", "mean", "p99 <=");
    let line = |stage: &Stage| {
        let now = change.and_then(|change| change.of_stage(before, stage));
        let rate = or_dash(now.map(|now| grouped(now.per_second.round() as u64)));
        let mean = or_dash(now.map(|now| time(now.mean_ns)));
        let p99 = or_dash(now.map(|now| time(now.p99_s_max * 1e9)));
        let quantiles = stage.quantiles_ns.map(|ns| format!("{:>8}", time(ns as f64))).concat();
        PageLine::plain(format!("{:<9}{rate:>10}{mean:>9}{p99:>9} |{quantiles}", stage.name))
    };
    let mut lines = vec![
        PageLine::title(format!("{:<37} | {}", "latency       in this interval", "since start")),
        PageLine::title(title),
    ];
    lines.extend(after.stages.iter().map(line));
    lines
}

fn loops(before: &Sample, after: &Sample, change: Option<Change>) -> Vec<PageLine> {
    let mut lines =
        vec![PageLine::title(format!("{:<13}{:<7}{:>12}{:>18}", "loop", "", "last tick", "cycles a second"))];
    for now in &after.loops {
        let cycles = change.and_then(|change| cycles_per_second(before, now, change));
        let cycles = or_dash(cycles.map(|rate| grouped(rate.round() as u64)));
        let text = format!("{:<13}{:<7}{:>9} ms{cycles:>18}", now.name, now.state, grouped(now.age_ms));
        lines.push(if now.state == "ok" { PageLine::plain(text) } else { PageLine::alarm(text) });
    }
    lines
}

/// None for a loop that the earlier sample does not have.
pub fn cycles_per_second(before: &Sample, now: &Loop, change: Change) -> Option<f64> {
    let was = before.loops.iter().find(|was| was.name == now.name)?;
    Some(change.per_second(was.cycles, now.cycles))
}

/// `p99.9` for `0.999`; `max` and other words stay as they are.
fn quantile_name(quantile: &str) -> String {
    let share: Option<f64> = quantile.parse().ok();
    share.map_or(quantile.to_owned(), |share| format!("p{}", (share * 1e5).round() / 1e3))
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// Three digits and the unit: `0 ns`, `12.3 us`, `1.50 ms`; infinity, which is above the last bound, is `more`.
fn time(ns: f64) -> String {
    if ns.is_infinite() {
        return "more".to_owned();
    }
    let units = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];
    // The unit is chosen for the rounded value, or 999.9 us would read as 1000 us.
    let fits = |(_, unit): &(&str, f64)| ns / unit < 999.5;
    let (name, unit) = units.into_iter().find(fits).unwrap_or(units[3]);
    let value = ns / unit;
    let decimals = if unit == 1.0 || value >= 99.95 { 0 } else { usize::from(value < 9.995) + 1 };
    format!("{value:.decimals$} {name}")
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (idx, digit) in digits.chars().enumerate() {
        if idx > 0 && (digits.len() - idx).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The two largest units: `3 d 4 h`, `2 min 5 s`, `7 s`.
fn uptime(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::tests::sample;
    use super::*;

    fn check(before: &Sample, after: &Sample, expected: &str) {
        let text: Vec<String> = of(before, after).into_iter().map(|line| line.text.trim_end().to_owned()).collect();
        assert_eq!(text.join("\n"), expected.trim_matches('\n'));
    }

    #[test]
    fn the_page_shows_the_difference_of_two_samples() {
        check(
            &sample(10_000),
            &sample(12_345),
            "
pinion  ready  (version 0.1.0, up 20 min 34 s, journal.sync always)

                  a second     since start   over 234.5 s
commands                10          12,345
fills                    5           6,172
rejects                  1           1,234
sessions 2, connections 3, market readers 1, memory 512 MiB
disk 42 % used, 9,216 MiB free, ballast -, takes -
oldest write - ms, descriptors -/-, clock -7 us, backup - old

watermark               sequence           lag
next                      12,346
applied                   12,345             0 less than the last accepted
durable                   12,341             4 less than applied
released                  12,341             0 less than durable
stored                     6,172         6,169 less than durable

latency       in this interval        | since start
stage      a second     mean   p99 <= |     p50     p90     p99   p99.9     max
total            10  10.0 us  10.0 us | 10.0 us 10.0 us 11.0 us 12.0 us 1.50 ms

loop                   last tick   cycles a second
engine       ok             1 ms            10,000
",
        );
    }

    #[test]
    fn without_an_interval_there_are_no_rates_and_a_late_loop_is_an_alarm() {
        let mut late = sample(100);
        late.ready = false;
        late.status = "not_ready".to_owned();
        late.detail = Some("engine: last tick 2000 ms ago".to_owned());
        late.loops[0].state = "late".to_owned();
        late.counts.memory_bytes = None;
        let lines = of(&late, &late);
        let alarms: Vec<&str> = lines.iter().filter(|l| l.tone == Tone::Alarm).map(|l| l.text.as_str()).collect();
        assert_eq!(alarms[0], "not_ready: engine: last tick 2000 ms ago");
        assert!(alarms[1].starts_with("engine       late") && alarms[1].ends_with(" -"), "{alarms:?}");
        let text: Vec<String> = lines.into_iter().map(|line| line.text).collect();
        assert!(text[0].starts_with("pinion  NOT READY") && text[3].ends_with("no time has passed yet"), "{text:?}");
        assert!(text.iter().any(|line| line.starts_with("commands                 -             100")), "{text:?}");
        assert!(text.iter().any(|line| line.starts_with("total             -        -        - |")), "{text:?}");
        assert!(text.iter().any(|line| line.ends_with("memory -")), "{text:?}");
    }

    #[test]
    fn the_page_fits_a_terminal() {
        // Ten million commands in a second, on a node that has had 10^14.
        const COMMANDS: u64 = 100_000_000_000_000;
        let (mut before, mut after) = (sample(COMMANDS - 9_999_999), sample(COMMANDS));
        before.uptime_ms = after.uptime_ms - 1_000;
        after.stages[0].quantiles_ns = [999_499; 5];
        for line in of(&before, &after) {
            assert!(line.text.len() <= 80, "{} columns: {}", line.text.len(), line.text);
        }
    }

    #[test]
    fn numbers_are_short() {
        for (ns, expected) in [
            (0.0, "0 ns"),
            (999.4, "999 ns"),
            (999.5, "1.00 us"),
            (9_994.0, "9.99 us"),
            (9_996.0, "10.0 us"),
            (99_950.0, "100 us"),
            (1_500_000.0, "1.50 ms"),
            (6e10, "60.0 s"),
            (f64::INFINITY, "more"),
        ] {
            assert_eq!(time(ns), expected, "{ns}");
        }
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let uptimes = [59_999, 61_000, 3_660_000, 90_000_000].map(uptime);
        assert_eq!(uptimes, ["59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
        assert_eq!(QUANTILES.map(quantile_name), ["p50", "p90", "p99", "p99.9", "max"]);
    }
}
