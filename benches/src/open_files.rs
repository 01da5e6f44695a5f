//! How many files this process may have open: a connection takes one at each end.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to `wanted` where the hard one allows it; else the reason, as a person can act on it.
pub fn allow(wanted: u64) -> Result<(), String> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| wanted <= current) {
        return Ok(());
    }
    if maximum.is_some_and(|maximum| maximum < wanted) {
        let maximum = maximum.unwrap_or_default();
        return Err(format!(
            "needs {wanted} open files in one process and ulimit -Hn is {maximum}; raise it to at least {wanted}"
        ));
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
        .map_err(|error| format!("needs {wanted} open files in one process, which the system refuses: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_cannot_be_is_told_with_its_cure() {
        assert_eq!(allow(1), Ok(()));
        let refused = allow(u64::MAX - 1).expect_err("no machine has so many");
        assert!(refused.contains("18446744073709551614 open files"), "{refused}");
    }
}
