//! The limit of open files of this process: a connection takes one at each of its ends.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to `wanted` where the hard one allows it. The error says what to change.
pub fn allow(wanted: u64) -> Result<(), String> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| wanted <= current) {
        return Ok(());
    }
    if maximum.is_some_and(|maximum| maximum < wanted) {
        let maximum = maximum.unwrap_or_default();
        return Err(format!(
            "needs {wanted} open files in one process; the hard limit (ulimit -Hn) is {maximum}: raise it to {wanted}"
        ));
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
        .map_err(|error| format!("needs {wanted} open files in one process; raising the limit to that failed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_above_the_hard_one_is_refused_with_its_remedy() {
        assert_eq!(allow(1), Ok(()));
        let refused = allow(u64::MAX - 1).expect_err("no machine allows so many");
        assert!(refused.contains("18446744073709551614 open files"), "{refused}");
    }
}
