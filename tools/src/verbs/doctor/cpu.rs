//! The processor: its model, its cores, and the share of time that a hypervisor takes away.

use super::cpu_list::CpuList;
use super::finding::{Area, Finding};
use super::machine::Machine;
use super::needs::Needs;

pub(super) const CPU: Area = Area("cpu");

/// Share of a core's time that a host may take before it is worth advice: 0.1 %, a millisecond in each second.
const STOLEN_SHARE_MAX: f64 = 0.001;

pub(super) fn examine(machine: &Machine, needs: &Needs) -> Vec<Finding> {
    vec![model(machine), count(machine, needs), host(machine, needs.journal_core())]
}

/// The cores that are online; `None` where the kernel does not report them.
pub(super) fn online(machine: &Machine) -> Option<CpuList> {
    let listed = machine.text("sys/devices/system/cpu/online").and_then(|text| CpuList::parse(&text));
    listed.or_else(|| {
        let text = machine.text("proc/cpuinfo")?;
        let count = text.lines().filter(|line| line.starts_with("processor")).count();
        (count > 0).then(|| CpuList::first(count))
    })
}

fn model(machine: &Machine) -> Finding {
    match machine.field("proc/cpuinfo", "model name") {
        Some(model) => CPU.ok("model", model),
        None => CPU.not_reported("model"),
    }
}

fn count(machine: &Machine, needs: &Needs) -> Finding {
    let Some(online) = online(machine) else { return CPU.not_reported("cores online") };
    let (found, pinned) = (format!("{} ({})", online.count(), online.text()), needs.cores.len());
    if pinned < online.count() {
        return CPU.ok("cores online", found);
    }
    let advice = format!(
        "give the machine more than {pinned}: the kernel, the store and the feed need a core beside the pinned ones; \
         until then set node.idle = \"backoff\", so that they get time on the pinned core"
    );
    CPU.advice("cores online", found, advice)
}

/// Whether a hypervisor lends the processor, and how much of the core's time since the boot it gave to other guests.
fn host(machine: &Machine, core: usize) -> Finding {
    let flags = machine.field("proc/cpuinfo", "flags");
    let kind = match flags.map(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor")) {
        Some(true) => "virtual machine",
        Some(false) => "no hypervisor",
        None => "hypervisor not reported",
    };
    let Some(share) = stolen_share(machine, core) else {
        return CPU.ok("host", format!("{kind}, stolen time not reported"));
    };
    let found = format!("{kind}, {:.2} % of core {core} stolen since the boot", 100.0 * share);
    if share <= STOLEN_SHARE_MAX {
        return CPU.ok("host", found);
    }
    let advice = "ask for dedicated cores (no overcommitted or burstable type): while the host runs another guest on \
                  this core, no order is answered";
    CPU.advice("host", found, advice)
}

/// Columns of `proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal; what follows is counted in user
/// already.
fn stolen_share(machine: &Machine, core: usize) -> Option<f64> {
    const STEAL_IDX: usize = 7;
    let text = machine.text("proc/stat")?;
    let name = format!("cpu{core}");
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(&name))?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).take(STEAL_IDX + 1).map_while(|t| t.parse().ok()).collect();
    let total: u64 = ticks.iter().sum();
    (total > 0).then_some(*ticks.get(STEAL_IDX)? as f64 / total as f64)
}

#[cfg(test)]
mod tests {
    use super::super::fake::{FakeMachine, default_needs, expect};
    use super::*;

    fn check(files: &[(&str, &str)], expected: &str) {
        let needs = default_needs();
        expect(&examine(&FakeMachine::of(files).machine(), &needs), expected);
    }

    #[test]
    fn one_core_is_too_few() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Fast\nflags\t\t: fpu tsc\n\nprocessor\t: 1\nmodel name\t: Fast\n";
        check(&[("proc/cpuinfo", cpuinfo)], "ok model: Fast\nok cores online: 2 (0-1)");
        check(&[("sys/devices/system/cpu/online", "0-7\n")], "ok cores online: 8 (0-7)");
        check(&[("sys/devices/system/cpu/online", "0\n")], "advice cores online: 1 (0)");
        check(
            &[],
            "ok model: not reported\nok cores online: not reported\n\
             ok host: hypervisor not reported, stolen time not reported",
        );
    }

    #[test]
    fn time_that_the_host_takes_away_is_reported() {
        let cpuinfo = ("proc/cpuinfo", "flags\t\t: fpu hypervisor tsc\n");
        let stat = |steal: u64| format!("cpu 0 0 0 0\ncpu1 500 0 300 199 0 0 0 {steal} 9 9\nintr 7\n");
        check(&[cpuinfo, ("proc/stat", &stat(1))], "ok host: virtual machine, 0.10 % of core 1 stolen since the boot");
        check(
            &[cpuinfo, ("proc/stat", &stat(111))],
            "advice host: virtual machine, 10.00 % of core 1 stolen since the boot",
        );
        check(
            &[("proc/cpuinfo", "flags : fpu"), ("proc/stat", &stat(0))],
            "ok host: no hypervisor, 0.00 % of core 1 stolen since the boot",
        );
    }
}
