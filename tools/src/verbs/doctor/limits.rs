//! The limits of one process (`ulimit`), as the kernel reports them for this one. A node started the same way has the
//! same limits.

use super::finding::{Area, Finding, show_size};
use super::machine::Machine;
use super::needs::Needs;

const LIMITS: Area = Area("limits");

/// A ring takes 136 KiB of locked memory (measured on Linux 6.18). The limit is for all processes of the user together,
/// and the kernel frees the memory some time after a process has ended: this is room for the rings of a node, of the
/// node before it, and of this tool.
const MEMLOCK_BYTES: u64 = 1 << 20;

/// The soft limit, which the kernel enforces, and the hard limit, up to which the process may raise it.
#[derive(Clone, Copy)]
struct Limit {
    soft: u64,
    hard: u64,
}

pub(super) fn examine(machine: &Machine, needs: &Needs) -> Vec<Finding> {
    let limits = machine.text("proc/self/limits").unwrap_or_default();
    vec![open_files(&limits, needs), locked_memory(&limits), core_file(&limits)]
}

/// Finds a limit by its name: `Max open files            1024                 524288               files`.
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
    let Some(limit) = limit(limits, "Max open files") else { return LIMITS.not_reported("nofile") };
    let found = format!("{} (hard {})", show(limit.soft, |n| n.to_string()), show(limit.hard, |n| n.to_string()));
    // A node raises its soft limit to the hard one by itself.
    if needs.files <= limit.hard {
        return LIMITS.ok("nofile", found);
    }
    let files = needs.files;
    let advice = format!(
        "raise the hard limit to {files} (LimitNOFILE=, ulimit -Hn): so many files are open when all connections of \
         limits.* are in use, and a node that may not have as many does not start"
    );
    LIMITS.problem("nofile", found, advice)
}

fn locked_memory(limits: &str) -> Finding {
    let Some(limit) = limit(limits, "Max locked memory") else { return LIMITS.not_reported("memlock") };
    let found = show(limit.soft, show_size);
    if MEMLOCK_BYTES <= limit.soft {
        return LIMITS.ok("memlock", found);
    }
    let advice = "raise it to 8 MiB, the kernel's own default (ulimit -l, LimitMEMLOCK=): rings count against it, and \
                  without a ring the node does not start";
    LIMITS.advice("memlock", found, advice)
}

fn core_file(limits: &str) -> Finding {
    let Some(limit) = limit(limits, "Max core file size") else { return LIMITS.not_reported("core file") };
    if limit.soft == 0 {
        return LIMITS.ok("core file", "none");
    }
    let advice = "set it to 0 (ulimit -c, LimitCORE=) unless core files go to a protected place: one holds every balance \
                  and secret, and writing it delays the restart; the log shows what led to a crash";
    LIMITS.advice("core file", show(limit.soft, show_size), advice)
}

#[cfg(test)]
mod tests {
    use super::super::fake::{FakeMachine, expect};
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
        expect(&examine(&FakeMachine::of(&[("proc/self/limits", &text)]).machine(), &needs), expected);
    }

    #[test]
    fn every_connection_has_a_file() {
        check(
            "Max open files            20000                20000                files     ",
            "ok nofile: 20000 (hard 20000)",
        );
        check(
            "Max open files            1024                 524288               files     ",
            "ok nofile: 1024 (hard 524288)",
        );
        check(
            "Max open files            1024                 1024                 files     ",
            "problem nofile: 1024 (hard 1024)",
        );
        check(
            "Max open files            unlimited            unlimited            files",
            "ok nofile: unlimited (hard unlimited)",
        );
    }

    #[test]
    fn a_hard_limit_that_is_too_low_is_to_be_raised_to_the_sum() {
        let needs = Needs::of(&Config::of_defaults(Path::new("/nonexistent")), None);
        let finding = open_files("Max open files 1024 1024 files", &needs);
        let advice = finding.verdict.advice().expect("a problem");
        assert!(advice.contains(&format!("raise the hard limit to {} (LimitNOFILE=", needs.files)), "{advice}");
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
        check("", "ok nofile: not reported\nok memlock: not reported\nok core file: not reported");
    }
}
