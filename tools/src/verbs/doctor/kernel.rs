//! The kernel: whether it has the io_uring features that the reactor needs, and permits this process to use them.

use super::finding::{Area, Finding};
use super::machine::Machine;
use node::reactor::uring::{Reactor, ReactorError};
use std::io::ErrorKind;

const KERNEL: Area = Area("kernel");

/// The last of the reactor's ring flags came with this version: deferred task work (6.1), single issuer (6.0), task run
/// flag and multishot accept (5.19), submit all (5.18).
const RING: Version = Version(6, 1);
/// Since this version a thread may choose the length of its time slice.
const SLICE: Version = Version(6, 12);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

impl Version {
    /// Parses `6.18.44-generic`; only the first two numbers are used.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
        Some(Self(numbers.next()??, numbers.next()??))
    }
}

/// `rings` is the outcome of [`try_rings`].
pub(super) fn examine(machine: &Machine, rings: &Result<usize, ReactorError>) -> Vec<Finding> {
    vec![version(machine), permission(machine), outcome(rings)]
}

/// Creates as many rings as the node, all at once because they share a limit, and closes them.
pub(super) fn try_rings(count: usize) -> Result<usize, ReactorError> {
    let reactors = (0..count).map(|_| Reactor::new(0)).collect::<Result<Vec<_>, _>>()?;
    Ok(reactors.len())
}

fn version(machine: &Machine) -> Finding {
    let Some(text) = machine.text("proc/sys/kernel/osrelease") else { return KERNEL.not_reported("version") };
    match Version::parse(&text) {
        Some(version) if version < RING => {
            let advice = "install 6.12 or newer: before 6.1 the ring lacks flags that the reactor needs, and the node does \
                          not start";
            KERNEL.problem("version", text, advice)
        }
        Some(version) if version < SLICE => {
            let advice = "install 6.12 or newer: before it a spinning thread cannot yield to the kernel's workers, and a \
                          sync may wait for a tick of some milliseconds";
            KERNEL.advice("version", text, advice)
        }
        Some(_) => KERNEL.ok("version", text),
        None => KERNEL.not_reported("version"),
    }
}

fn permission(machine: &Machine) -> Finding {
    let Some(value) = machine.text("proc/sys/kernel/io_uring_disabled") else {
        return KERNEL.not_reported("io_uring_disabled");
    };
    match value.as_str() {
        "0" => KERNEL.ok("io_uring_disabled", value),
        "1" => {
            let advice = "set kernel.io_uring_group to a group of the node's user, or kernel.io_uring_disabled to 0: only \
                          that group and administrators may create rings";
            KERNEL.advice("io_uring_disabled", value, advice)
        }
        _ => {
            let advice =
                "set kernel.io_uring_disabled to 0: the node reads sockets and writes its journal by io_uring only";
            KERNEL.problem("io_uring_disabled", value, advice)
        }
    }
}

fn outcome(rings: &Result<usize, ReactorError>) -> Finding {
    const CHECK: &str = "rings";
    match rings {
        Ok(count) => KERNEL.ok(CHECK, format!("{count} created with the reactor's flags")),
        Err(error @ ReactorError::Ring(source)) if source.kind() == ErrorKind::OutOfMemory => {
            let advice =
                format!("raise memlock to 8 MiB (ulimit -l, LimitMEMLOCK=), which rings count against: {error}");
            KERNEL.problem(CHECK, "refused", advice)
        }
        Err(error) => KERNEL.problem(CHECK, "refused", error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{FakeMachine, expect};
    use super::*;
    use std::io::Error;

    fn check(files: &[(&str, &str)], expected: &str) {
        expect(&examine(&FakeMachine::of(files).machine(), &Ok(2)), expected);
    }

    #[test]
    fn an_old_kernel_is_advised_against_or_refused() {
        let path = "proc/sys/kernel/osrelease";
        check(&[(path, "6.18.44-fc\n")], "ok version: 6.18.44-fc");
        check(&[(path, "6.12.0\n")], "ok version: 6.12.0");
        check(&[(path, "6.1.0-13-amd64\n")], "advice version: 6.1.0-13-amd64");
        check(&[(path, "5.19.17\n")], "problem version: 5.19.17");
        check(&[(path, "a fork\n")], "ok version: not reported");
        check(
            &[],
            "ok version: not reported\nok io_uring_disabled: not reported\n\
             ok rings: 2 created with the reactor's flags",
        );
    }

    #[test]
    fn rings_may_be_restricted_or_disabled() {
        let path = "proc/sys/kernel/io_uring_disabled";
        check(&[(path, "0\n")], "ok io_uring_disabled: 0");
        check(&[(path, "1\n")], "advice io_uring_disabled: 1");
        check(&[(path, "2\n")], "problem io_uring_disabled: 2");
    }

    #[test]
    fn a_refused_ring_says_what_the_node_would_and_more() {
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
