//! The kernel: whether it has what the reactor asks for, and lets this process have it.

use super::finding::{Area, Finding};
use super::machine::Machine;
use node::reactor::uring::{Reactor, ReactorError};
use std::io::ErrorKind;

const KERNEL: Area = Area("kernel");

/// The last of the reactor's ring flags came with this version: deferred task work (6.1), single issuer (6.0), task run
/// flag and multishot accept (5.19), submit all (5.18).
const RING: Version = Version(6, 1);
/// From here on a thread may ask for the length of its slice.
const SLICE: Version = Version(6, 12);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

impl Version {
    /// `6.18.44-generic`: what follows the second number does not matter here.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
        Some(Self(numbers.next()??, numbers.next()??))
    }
}

/// `rings` is what making them came to; see [`try_rings`].
pub fn look(machine: &Machine, rings: &Result<usize, ReactorError>) -> Vec<Finding> {
    vec![version(machine), permission(machine), outcome(rings)]
}

/// Makes as many rings as the node, all at once because they share a limit, and ends them.
pub fn try_rings(count: usize) -> Result<usize, ReactorError> {
    let reactors = (0..count).map(|_| Reactor::new(0)).collect::<Result<Vec<_>, _>>()?;
    Ok(reactors.len())
}

fn version(machine: &Machine) -> Finding {
    let Some(text) = machine.text("proc/sys/kernel/osrelease") else { return KERNEL.not_told("version") };
    match Version::parse(&text) {
        Some(version) if version < RING => {
            let advice = "install 6.12 or newer: before 6.1 the ring lacks flags that the reactor needs, and the node does \
                          not start";
            KERNEL.problem("version", text, advice)
        }
        Some(version) if version < SLICE => {
            let advice = "install 6.12 or newer: before it a spinning thread cannot let the kernel's workers in, and a sync \
                          may wait for a tick of some milliseconds";
            KERNEL.advice("version", text, advice)
        }
        Some(_) => KERNEL.ok("version", text),
        None => KERNEL.not_told("version"),
    }
}

fn permission(machine: &Machine) -> Finding {
    let Some(value) = machine.text("proc/sys/kernel/io_uring_disabled") else {
        return KERNEL.not_told("io_uring_disabled");
    };
    match value.as_str() {
        "0" => KERNEL.ok("io_uring_disabled", value),
        "1" => {
            let advice = "set kernel.io_uring_group to a group of the node's user, or kernel.io_uring_disabled to 0: rings \
                          are only for that group and for administrators";
            KERNEL.advice("io_uring_disabled", value, advice)
        }
        _ => {
            let advice = "set kernel.io_uring_disabled to 0: the node has no other way to its sockets and its journal";
            KERNEL.problem("io_uring_disabled", value, advice)
        }
    }
}

fn outcome(rings: &Result<usize, ReactorError>) -> Finding {
    const CHECK: &str = "rings";
    match rings {
        Ok(count) => KERNEL.ok(CHECK, format!("{count} made with the reactor's flags")),
        Err(error @ ReactorError::Ring(source)) if source.kind() == ErrorKind::OutOfMemory => {
            let advice =
                format!("raise memlock to 8 MiB (ulimit -l, LimitMEMLOCK=), which rings count against: {error}");
            KERNEL.problem(CHECK, "not to be had", advice)
        }
        Err(error) => KERNEL.problem(CHECK, "not to be had", error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, expect};
    use super::*;
    use std::io::Error;

    fn check(files: &[(&str, &str)], expected: &str) {
        expect(&look(&Fake::of(files).machine(), &Ok(2)), expected);
    }

    #[test]
    fn an_old_kernel_is_advised_against_or_refused() {
        let path = "proc/sys/kernel/osrelease";
        check(&[(path, "6.18.44-fc\n")], "ok version: 6.18.44-fc");
        check(&[(path, "6.12.0\n")], "ok version: 6.12.0");
        check(&[(path, "6.1.0-13-amd64\n")], "advice version: 6.1.0-13-amd64");
        check(&[(path, "5.19.17\n")], "problem version: 5.19.17");
        check(&[(path, "a fork\n")], "ok version: not told");
        check(&[], "ok version: not told\nok io_uring_disabled: not told\nok rings: 2 made with the reactor's flags");
    }

    #[test]
    fn rings_may_be_for_some_or_for_nobody() {
        let path = "proc/sys/kernel/io_uring_disabled";
        check(&[(path, "0\n")], "ok io_uring_disabled: 0");
        check(&[(path, "1\n")], "advice io_uring_disabled: 1");
        check(&[(path, "2\n")], "problem io_uring_disabled: 2");
    }

    #[test]
    fn a_refused_ring_tells_what_the_node_would_and_more() {
        let advice = |error: ReactorError| {
            let finding = outcome(&Err(error));
            assert!(finding.verdict.is_problem());
            finding.verdict.advice().map(str::to_owned).expect("a problem has advice")
        };
        let refused = advice(ReactorError::Refused(Error::from(ErrorKind::PermissionDenied)));
        assert!(refused.contains("seccomp"), "{refused}");
        let limited = advice(ReactorError::Ring(Error::from(ErrorKind::OutOfMemory)));
        assert!(limited.contains("memlock"), "{limited}");
        let other = advice(ReactorError::Ring(Error::from(ErrorKind::InvalidInput)));
        assert!(!other.contains("memlock"), "{other}");
    }
}
