//! The pinned core: whether it exists, whether a node may run on it, its clock frequency, and what shares it.

use super::cpu::{CPU, online};
use super::cpu_list::CpuList;
use super::finding::Finding;
use super::machine::Machine;
use super::needs::Needs;

pub(super) fn examine(machine: &Machine, needs: &Needs) -> Vec<Finding> {
    let of_core = |core: &usize| {
        let core = *core;
        let mut findings = vec![presence(machine, core)];
        if !is_absent(machine, core) {
            findings.extend([permission(machine, core), governor(machine, core), sibling(machine, needs, core)]);
        }
        findings
    };
    needs.cores.iter().flat_map(of_core).collect()
}

/// Whether the core is known not to exist. Nothing else is reported about such a core.
pub(super) fn is_absent(machine: &Machine, core: usize) -> bool {
    online(machine).is_some_and(|list| !list.contains(core))
}

fn presence(machine: &Machine, core: usize) -> Finding {
    match online(machine) {
        None => CPU.not_reported("pinned core"),
        Some(list) if list.contains(core) => CPU.ok("pinned core", format!("core {core} is online")),
        Some(list) => {
            let advice = format!("set node.core to one of {}: without it the node runs unpinned", list.text());
            CPU.problem("pinned core", format!("core {core} is not online"), advice)
        }
    }
}

/// A node that is started the way this process was may run on the same cores.
fn permission(machine: &Machine, core: usize) -> Finding {
    let allowed = machine.field("proc/self/status", "Cpus_allowed_list").and_then(|text| CpuList::parse(&text));
    let Some(allowed) = allowed else { return CPU.not_reported("affinity") };
    let found = format!("this process may run on {}", allowed.text());
    if allowed.contains(core) {
        return CPU.ok("affinity", found);
    }
    let advice = format!(
        "start the node (and this tool) with core {core} allowed, by taskset, systemd's CPUAffinity= or the \
         container's cpuset: a node does not change its affinity, and init's excludes isolated cores"
    );
    CPU.problem("affinity", found, advice)
}

fn governor(machine: &Machine, core: usize) -> Finding {
    let path = format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
    let Some(governor) = machine.text(&path) else { return CPU.not_reported("governor") };
    let found = format!("{governor} on core {core}");
    if governor == "performance" {
        return CPU.ok("governor", found);
    }
    let advice = format!("write performance to /{path}: a core that slows down when idle is slow for the next order");
    CPU.advice("governor", found, advice)
}

fn sibling(machine: &Machine, needs: &Needs, core: usize) -> Finding {
    let path = format!("sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
    let Some(list) = machine.text(&path).and_then(|text| CpuList::parse(&text)) else {
        return CPU.not_reported("SMT sibling");
    };
    let others = list.others(core);
    if others.is_empty() {
        return CPU.ok("SMT sibling", format!("none of core {core}"));
    }
    let found = format!("core {core} shares its execution units with {others:?}");
    let advice = match others.iter().find(|other| needs.cores.contains(other)) {
        Some(other) => format!("choose node.core so that {core} and {other} are different physical cores"),
        None => {
            format!("switch SMT off, or keep {others:?} idle: what runs there takes cache and cycles from the node")
        }
    };
    CPU.advice("SMT sibling", found, advice)
}

#[cfg(test)]
mod tests {
    use super::super::fake::{FakeMachine, expect};
    use super::*;
    use node::config::{Config, Threads};
    use std::path::Path;

    const ONLINE: (&str, &str) = ("sys/devices/system/cpu/online", "0-3\n");

    fn check(cores: &[usize], files: &[(&str, &str)], expected: &str) {
        let mut config = Config::of_defaults(Path::new("/nonexistent"));
        config.node.threads = if cores.len() == 1 { Threads::Single } else { Threads::Pipeline };
        let needs = Needs::of(&config, cores.first().copied());
        assert_eq!(needs.cores, cores);
        expect(&examine(&FakeMachine::of(files).machine(), &needs), expected);
    }

    #[test]
    fn a_core_is_online_or_a_problem() {
        check(&[3], &[ONLINE], "ok pinned core: core 3 is online");
        check(&[3, 4], &[ONLINE], "ok pinned core: core 3 is online\nproblem pinned core: core 4 is not online");
        check(
            &[3],
            &[],
            "ok pinned core: not reported\nok affinity: not reported\nok governor: not reported\n\
             ok SMT sibling: not reported",
        );
    }

    #[test]
    fn an_isolated_core_must_be_allowed_explicitly() {
        let status = |list: &str| format!("Name:\tpinion\nCpus_allowed:\tf\nCpus_allowed_list:\t{list}\n");
        let expected = "ok affinity: this process may run on 0-3";
        check(&[1], &[("proc/self/status", &status("0-3"))], expected);
        let expected = "problem affinity: this process may run on 0,2-3";
        check(&[1], &[("proc/self/status", &status("0,2-3"))], expected);
    }

    #[test]
    fn only_the_governor_performance_is_right() {
        let path = "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor";
        check(&[1], &[(path, "performance\n")], "ok governor: performance on core 1");
        check(&[1], &[(path, "schedutil\n")], "advice governor: schedutil on core 1");
    }

    #[test]
    fn a_shared_physical_core_is_reported() {
        let path = "sys/devices/system/cpu/cpu1/topology/thread_siblings_list";
        check(&[1], &[(path, "1\n")], "ok SMT sibling: none of core 1");
        check(&[1], &[(path, "1,3\n")], "advice SMT sibling: core 1 shares its execution units with [3]");
        let needs = [(path, "1-2\n")];
        check(&[1, 2], &needs, "advice SMT sibling: core 1 shares its execution units with [2]");
    }
}
