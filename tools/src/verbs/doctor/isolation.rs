//! Checks that the kernel runs nothing else on the pinned core: other threads, its timer tick, its deferred work.

use super::cpu::{CPU, online};
use super::cpu_list::CpuList;
use super::finding::Finding;
use super::machine::Machine;
use super::needs::Needs;
use super::pinned_core::is_absent;

pub(super) fn examine(machine: &Machine, needs: &Needs) -> Vec<Finding> {
    let of_core = |core: &usize| [isolated(machine, *core), tick(machine, *core), callbacks(machine, *core)];
    needs.cores.iter().filter(|core| !is_absent(machine, **core)).flat_map(of_core).collect()
}

fn isolated(machine: &Machine, core: usize) -> Finding {
    if is_isolated(machine, core) {
        return CPU.ok("isolation", format!("core {core} is isolated"));
    }
    let found = format!("core {core} is not isolated");
    if online(machine).is_some_and(|list| list.count() < 2) {
        return CPU.ok("isolation", found);
    }
    let advice = format!(
        "boot with isolcpus={core}, or make an isolated cpuset partition: any thread that the scheduler places there \
         delays orders by a time slice"
    );
    CPU.advice("isolation", found, advice)
}

/// Isolated by a boot option or by a cpuset partition.
fn is_isolated(machine: &Machine, core: usize) -> bool {
    let listed = |path: &str| machine.text(path).and_then(|text| CpuList::parse(&text));
    let by_kernel = match machine.path("sys/devices/system/cpu/isolated").exists() {
        true => listed("sys/devices/system/cpu/isolated"),
        false => machine.boot_option("isolcpus").and_then(|option| isolated_by_option(&option)),
    };
    let by_partition = listed("sys/fs/cgroup/cpuset.cpus.isolated");
    [by_kernel, by_partition].into_iter().flatten().any(|list| list.contains(core))
}

/// Parses `[FLAG,..,]LIST`. With flags, only `domain` keeps other threads off the cores.
fn isolated_by_option(option: &str) -> Option<CpuList> {
    let is_flag = |part: &&str| ["domain", "managed_irq", "nohz"].contains(part);
    let flags: Vec<&str> = option.split(',').take_while(is_flag).collect();
    let rest: Vec<&str> = option.split(',').skip(flags.len()).collect();
    let domain = flags.is_empty() || flags.contains(&"domain");
    domain.then(|| CpuList::parse(&rest.join(","))).flatten()
}

fn tick(machine: &Machine, core: usize) -> Finding {
    if !is_tickless(machine, core) {
        return CPU.ok("nohz_full", format!("core {core} keeps its tick"));
    }
    let advice = "keep nohz_full only if `./dev bench round_trip` is better with it: each entry into the kernel costs \
                  more on such a core, and a node enters it with every batch of orders";
    CPU.advice("nohz_full", format!("core {core} is in nohz_full"), advice)
}

fn is_tickless(machine: &Machine, core: usize) -> bool {
    let list = machine.text("sys/devices/system/cpu/nohz_full").or_else(|| machine.boot_option("nohz_full"));
    list.and_then(|text| CpuList::parse(&text)).is_some_and(|list| list.contains(core))
}

/// Advice is given for an isolated core only: on any other core, callbacks are the least of what runs there.
fn callbacks(machine: &Machine, core: usize) -> Finding {
    let listed = machine.boot_option("rcu_nocbs").and_then(|option| CpuList::parse(&option));
    if is_tickless(machine, core) || listed.is_some_and(|list| list.contains(core)) {
        return CPU.ok("rcu_nocbs", format!("callbacks of core {core} run elsewhere"));
    }
    let found = format!("callbacks of core {core} run on it");
    if !is_isolated(machine, core) {
        return CPU.ok("rcu_nocbs", found);
    }
    let advice = format!("boot with rcu_nocbs={core} as well: what the kernel frees late is then freed on other cores");
    CPU.advice("rcu_nocbs", found, advice)
}

#[cfg(test)]
mod tests {
    use super::super::fake::{FakeMachine, default_needs, expect};
    use super::*;
    use node::config::Config;
    use std::path::Path;

    fn check(files: &[(&str, &str)], expected: &str) {
        let needs = default_needs();
        expect(&examine(&FakeMachine::of(files).machine(), &needs), expected);
    }

    #[test]
    fn a_core_is_isolated_by_any_of_three_ways() {
        let path = "sys/devices/system/cpu/isolated";
        check(&[(path, "1\n")], "ok isolation: core 1 is isolated");
        check(&[("proc/cmdline", "quiet isolcpus=1-3")], "ok isolation: core 1 is isolated");
        check(&[("sys/fs/cgroup/cpuset.cpus.isolated", "1"), (path, "\n")], "ok isolation: core 1 is isolated");

        check(&[], "advice isolation: core 1 is not isolated");
        check(&[(path, "\n"), ("proc/cmdline", "isolcpus=1")], "advice isolation: core 1 is not isolated");
        check(&[("proc/cmdline", "isolcpus=managed_irq,1")], "advice isolation: core 1 is not isolated");
        check(&[("proc/cmdline", "isolcpus=managed_irq,domain,1")], "ok isolation: core 1 is isolated");
        let alone = Needs::of(&Config::of_defaults(Path::new("/nonexistent")), Some(0));
        let fake = FakeMachine::of(&[("sys/devices/system/cpu/online", "0")]);
        expect(&examine(&fake.machine(), &alone), "ok isolation: core 0 is not isolated");
    }

    #[test]
    fn a_core_without_its_tick_pays_for_each_entry() {
        check(&[], "ok nohz_full: core 1 keeps its tick");
        check(&[("proc/cmdline", "nohz_full=1-N")], "advice nohz_full: core 1 is in nohz_full");
        check(&[("sys/devices/system/cpu/nohz_full", "1\n")], "advice nohz_full: core 1 is in nohz_full");
    }

    #[test]
    fn callbacks_matter_on_an_isolated_core() {
        check(&[], "ok rcu_nocbs: callbacks of core 1 run on it");
        check(&[("proc/cmdline", "isolcpus=1")], "advice rcu_nocbs: callbacks of core 1 run on it");
        let elsewhere = "ok rcu_nocbs: callbacks of core 1 run elsewhere";
        check(&[("proc/cmdline", "isolcpus=1 rcu_nocbs=1")], elsewhere);
        check(&[("proc/cmdline", "nohz_full=1")], elsewhere);
    }
}
