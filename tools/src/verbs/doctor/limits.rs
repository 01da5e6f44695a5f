//! What one process may have: `ulimit`, as the kernel tells it of this process. A node started the same way gets the same.

use super::finding::{Area, Finding, show_size};
use super::machine::Machine;
use super::needs::Needs;

const LIMITS: Area = Area("limits");

/// A ring takes 136 KiB of it, seen on Linux 6.18, for every process of the user together, and the kernel gives it back a
/// while after a process has ended: room for the rings of a node, of the one before it, and of this tool.
const MEMLOCK_BYTES: u64 = 1 << 20;

/// A soft limit, which is the one that counts, and how far its owner may raise it.
#[derive(Clone, Copy)]
struct Limit {
    soft: u64,
    hard: u64,
}

pub fn look(machine: &Machine, needs: &Needs) -> Vec<Finding> {
    let limits = machine.text("proc/self/limits").unwrap_or_default();
    vec![open_files(&limits, needs), locked_memory(&limits), core_file(&limits)]
}

/// `Max open files            1024                 524288               files`
fn limit(limits: &str, name: &str) -> Option<Limit> {
    let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
    let mut values = rest.split_whitespace().map_while(|value| match value {
        "unlimited" => Some(u64::MAX),
        _ => value.parse().ok(),
    });
    Some(Limit { soft: values.next()?, hard: values.next()? })
}

fn show(value: u64, text: impl Fn(u64) -> String) -> String {
    if value == u64::MAX { "unlimited".to_owned() } else { text(value) }
}

fn open_files(limits: &str, needs: &Needs) -> Finding {
    let Some(limit) = limit(limits, "Max open files") else { return LIMITS.not_told("nofile") };
    let found = format!("{} (hard {})", show(limit.soft, |n| n.to_string()), show(limit.hard, |n| n.to_string()));
    if needs.files <= limit.soft {
        return LIMITS.ok("nofile", found);
    }
    let files = needs.files;
    let how =
        if files <= limit.hard { "ulimit -n or LimitNOFILE=" } else { "LimitNOFILE=, whose hard limit is too low" };
    let advice = format!(
        "raise it to {files} ({how}): so many files can be open with all connections of limits.connections_max, and \
         beyond the limit nobody gets in"
    );
    LIMITS.problem("nofile", found, advice)
}

fn locked_memory(limits: &str) -> Finding {
    let Some(limit) = limit(limits, "Max locked memory") else { return LIMITS.not_told("memlock") };
    let found = show(limit.soft, show_size);
    if MEMLOCK_BYTES <= limit.soft {
        return LIMITS.ok("memlock", found);
    }
    let advice = "raise it to 8 MiB, the kernel's own default (ulimit -l, LimitMEMLOCK=): rings count against it unless \
                  the user may lock any memory, and without a ring the node does not start";
    LIMITS.advice("memlock", found, advice)
}

fn core_file(limits: &str) -> Finding {
    let Some(limit) = limit(limits, "Max core file size") else { return LIMITS.not_told("core file") };
    if limit.soft == 0 {
        return LIMITS.ok("core file", "none");
    }
    let advice = "set it to 0 (ulimit -c, LimitCORE=) unless core files go to a protected place: one holds every balance \
                  and secret, and writing it delays the restart; the log tells what led to a crash";
    LIMITS.advice("core file", show(limit.soft, show_size), advice)
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, expect};
    use super::*;
    use node::config::Config;
    use std::path::Path;

    const HEAD: &str = "Limit                     Soft Limit           Hard Limit           Units     \n";

    fn check(line: &str, expected: &str) {
        let mut config = Config::of_defaults(Path::new("/nonexistent"));
        config.limits.connections_max = 1_000;
        let needs = Needs::of(&config, None);
        let text =
            format!("{HEAD}Max cpu time              unlimited            unlimited            seconds   \n{line}\n");
        expect(&look(&Fake::of(&[("proc/self/limits", &text)]).machine(), &needs), expected);
    }

    #[test]
    fn every_connection_may_come() {
        check(
            "Max open files            20000                20000                files     ",
            "ok nofile: 20000 (hard 20000)",
        );
        check(
            "Max open files            1024                 524288               files     ",
            "problem nofile: 1024 (hard 524288)",
        );
        check(
            "Max open files            unlimited            unlimited            files",
            "ok nofile: unlimited (hard unlimited)",
        );
    }

    #[test]
    fn the_hard_limit_decides_who_can_raise_it() {
        let needs = Needs::of(&Config::of_defaults(Path::new("/nonexistent")), None);
        let advice = |line: &str| open_files(line, &needs).verdict.advice().map(str::to_owned).expect("a problem");
        assert!(advice("Max open files 1024 524288 files").contains("ulimit -n"));
        assert!(advice("Max open files 1024 1024 files").contains("hard limit is too low"));
    }

    #[test]
    fn the_rest_is_advice() {
        check("Max locked memory         8388608              8388608              bytes", "ok memlock: 8.0 MiB");
        check("Max locked memory         65536                65536                bytes", "advice memlock: 64.0 KiB");
        check("Max core file size        0                    unlimited            bytes", "ok core file: none");
        check(
            "Max core file size        unlimited            unlimited            bytes",
            "advice core file: unlimited",
        );
        check("", "ok nofile: not told\nok memlock: not told\nok core file: not told");
    }
}
