//! Check of the cores of this machine: a pipeline has two to itself, and every other thread needs one.

use super::reader::Reader;
use super::{Config, Threads};

/// Two that are pinned, and one for all other threads.
const PIPELINE_CORES: usize = 3;

/// `cores` is the number of cores that this process may use; where the system does not say, nothing is refused.
pub(super) fn check(config: &Config, cores: Option<usize>, r: &mut Reader) {
    let Some(cores) = cores else { return };
    if config.node.threads == Threads::Pipeline && !config.node.share_cores && cores < PIPELINE_CORES {
        let why = format!("needs {PIPELINE_CORES} cores, two of them for itself, and this process may use {cores}");
        let allowed = "\"single\", or node.share_cores = true beside it for a test";
        r.note("node.threads", Some("\"pipeline\"".to_owned()), &why, Some(allowed));
    }
}

/// The cores that this process may use, by its affinity and the quota of its control group.
pub(super) fn available() -> Option<usize> {
    std::thread::available_parallelism().ok().map(usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn refusals(cores: usize, change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::of_defaults(Path::new("/"));
        change(&mut config);
        let mut reader = Reader::new("", Path::new("/")).expect("no text is TOML");
        check(&config, Some(cores), &mut reader);
        reader.finish().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_pipeline_needs_its_cores() {
        let pipeline = |config: &mut Config| config.node.threads = Threads::Pipeline;
        let refused = refusals(2, pipeline);
        let expected = "node.threads = \"pipeline\": needs 3 cores, two of them for itself, and this process may use 2; \
                        allowed: \"single\", or node.share_cores = true beside it for a test";
        assert_eq!(refused, [expected]);
        assert_eq!(refusals(3, pipeline), [""; 0]);
        assert_eq!(refusals(1, |_| {}), [""; 0], "one thread shares its core");
        let shared = |config: &mut Config| {
            config.node.threads = Threads::Pipeline;
            config.node.share_cores = true;
        };
        assert_eq!(refusals(1, shared), [""; 0]);
    }
}
