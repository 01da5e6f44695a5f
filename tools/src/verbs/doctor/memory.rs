//! Memory: how much a node can have, in which pages, and whether it may be swapped out.

use super::finding::{Area, Finding, show_size};
use super::machine::Machine;
use super::needs::Needs;

const MEMORY: Area = Area("memory");

/// Up to this swappiness the kernel swaps only to avoid running out of memory.
const SWAPPINESS_MAX: u64 = 1;
/// Cgroups v1 report "no limit" as a number less than a page below 2^63.
const UNLIMITED_BYTES: u64 = 1 << 62;

pub(super) fn examine(machine: &Machine, needs: &Needs) -> Vec<Finding> {
    vec![huge_pages(machine), defrag(machine), available(machine, needs), group_limit(machine, needs), swap(machine)]
}

fn huge_pages(machine: &Machine) -> Finding {
    let path = "sys/kernel/mm/transparent_hugepage/enabled";
    match machine.choice(path) {
        None => MEMORY.not_reported("huge pages"),
        Some(choice) if choice == "never" => {
            let advice =
                format!("write madvise to /{path}: large books are bound by memory, and small pages cost misses");
            MEMORY.advice("huge pages", choice, advice)
        }
        Some(choice) => MEMORY.ok("huge pages", choice),
    }
}

fn defrag(machine: &Machine) -> Finding {
    let path = "sys/kernel/mm/transparent_hugepage/defrag";
    match machine.choice(path) {
        None => MEMORY.not_reported("huge page defrag"),
        Some(choice) if choice == "always" => {
            let advice =
                format!("write madvise to /{path}: any thread's page fault may now wait until memory is compacted");
            MEMORY.advice("huge page defrag", choice, advice)
        }
        Some(choice) => MEMORY.ok("huge page defrag", choice),
    }
}

fn available(machine: &Machine, needs: &Needs) -> Finding {
    let Some(available) = machine.kilobytes("proc/meminfo", "MemAvailable") else {
        return MEMORY.not_reported("available");
    };
    let total = machine.kilobytes("proc/meminfo", "MemTotal").unwrap_or(available);
    let found = format!("{} of {}", show_size(available), show_size(total));
    if needs.memory_bytes <= available {
        return MEMORY.ok("available", found);
    }
    MEMORY.advice("available", found, too_little(needs))
}

fn too_little(needs: &Needs) -> String {
    format!(
        "make {} available, or lower node.orders_capacity: a node that outgrows its memory is killed, and has to read \
         its log again",
        show_size(needs.memory_bytes)
    )
}

/// The smallest limit of the cgroups that this process is in, of v1 and of v2.
fn group_limit(machine: &Machine, needs: &Needs) -> Finding {
    let Some(groups) = machine.text("proc/self/cgroup") else { return MEMORY.not_reported("cgroup limit") };
    let limits = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        match controllers {
            "" => smallest_limit(machine, "sys/fs/cgroup", path, "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                smallest_limit(machine, "sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
            }
            _ => None,
        }
    });
    match limits.min() {
        None => MEMORY.ok("cgroup limit", "none"),
        Some(limit) if needs.memory_bytes <= limit => MEMORY.ok("cgroup limit", show_size(limit)),
        Some(limit) => MEMORY.advice("cgroup limit", show_size(limit), too_little(needs)),
    }
}

/// The smallest limit of a group and of all groups above it. In a container the path may be the host's, of which only
/// the mount's root is visible.
fn smallest_limit(machine: &Machine, mount: &str, group: &str, name: &str) -> Option<u64> {
    let groups = std::path::Path::new(group.trim_start_matches('/')).ancestors();
    let limits = groups.filter_map(|group| machine.number::<u64>(&format!("{mount}/{}/{name}", group.display())));
    limits.filter(|limit| *limit < UNLIMITED_BYTES).min()
}

fn swap(machine: &Machine) -> Finding {
    let Some(text) = machine.text("proc/swaps") else { return MEMORY.not_reported("swap") };
    let areas: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    if areas.is_empty() {
        return MEMORY.ok("swap", "off");
    }
    let swappiness = machine.number::<u64>("proc/sys/vm/swappiness");
    let shown = swappiness.map_or("not reported".to_owned(), |value| value.to_string());
    let found = format!("on {}, vm.swappiness {shown}", areas.join(", "));
    if swappiness.is_some_and(|value| value <= SWAPPINESS_MAX) {
        return MEMORY.ok("swap", found);
    }
    let advice = "swapoff, or vm.swappiness = 1: a page of the book that was swapped out costs a disk read in the \
                  middle of an order";
    MEMORY.advice("swap", found, advice)
}

#[cfg(test)]
mod tests {
    use super::super::fake::{FakeMachine, default_needs, expect};
    use super::*;

    fn check(files: &[(&str, &str)], expected: &str) {
        let needs = default_needs();
        assert_eq!(show_size(needs.memory_bytes), "1.0 GiB");
        expect(&examine(&FakeMachine::of(files).machine(), &needs), expected);
    }

    #[test]
    fn huge_pages_are_available_without_compaction_at_a_page_fault() {
        let (enabled, defrag) =
            ("sys/kernel/mm/transparent_hugepage/enabled", "sys/kernel/mm/transparent_hugepage/defrag");
        check(&[(enabled, "always [madvise] never\n")], "ok huge pages: madvise");
        check(&[(enabled, "[always] madvise never\n")], "ok huge pages: always");
        check(&[(enabled, "always madvise [never]\n")], "advice huge pages: never");
        check(&[(defrag, "always defer defer+madvise [madvise] never\n")], "ok huge page defrag: madvise");
        check(&[(defrag, "[always] defer defer+madvise madvise never\n")], "advice huge page defrag: always");
        check(
            &[],
            "ok huge pages: not reported\nok huge page defrag: not reported\n\
             ok available: not reported\nok swap: not reported",
        );
    }

    #[test]
    fn memory_is_enough_or_not() {
        let meminfo = |kb: u64| format!("MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: {kb} kB\n");
        check(&[("proc/meminfo", &meminfo(4 << 20))], "ok available: 4.0 GiB of 8.0 GiB");
        check(&[("proc/meminfo", &meminfo(512 << 10))], "advice available: 512.0 MiB of 8.0 GiB");
    }

    #[test]
    fn the_smallest_limit_of_all_groups_counts() {
        let (v2, v1) = (("proc/self/cgroup", "0::/a/b\n"), ("proc/self/cgroup", "5:cpu:/x\n4:memory:/a/b\n0::/\n"));
        check(&[("proc/self/cgroup", "0::/\n")], "ok cgroup limit: none");
        check(&[v2, ("sys/fs/cgroup/a/b/memory.max", "max\n")], "ok cgroup limit: none");
        let both = [v2, ("sys/fs/cgroup/a/b/memory.max", "max"), ("sys/fs/cgroup/a/memory.max", "4294967296")];
        check(&both, "ok cgroup limit: 4.0 GiB");
        check(&[v2, ("sys/fs/cgroup/memory.max", "536870912")], "advice cgroup limit: 512.0 MiB");
        let path = "sys/fs/cgroup/memory/memory.limit_in_bytes";
        check(&[v1, (path, "9223372036854771712")], "ok cgroup limit: none");
        check(&[v1, (path, "536870912")], "advice cgroup limit: 512.0 MiB");
        check(&[], "ok cgroup limit: not reported");
    }

    #[test]
    fn swap_is_off_or_the_last_resort() {
        let head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        let on = format!("{head}/dev/zram0 partition 4194300 0 100\n");
        check(&[("proc/swaps", head)], "ok swap: off");
        let eager = [("proc/swaps", on.as_str()), ("proc/sys/vm/swappiness", "60\n")];
        check(&eager, "advice swap: on /dev/zram0, vm.swappiness 60");
        let reluctant = [("proc/swaps", on.as_str()), ("proc/sys/vm/swappiness", "1\n")];
        check(&reluctant, "ok swap: on /dev/zram0, vm.swappiness 1");
    }
}
