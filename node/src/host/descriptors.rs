//! Descriptors: how many a node may have open at once, part by part, and the limit of this process.
//!
//! Every part has a bound of its own, so a start that is given the sum never runs short, whatever number of clients
//! connects. Invariant: a part that opens files has its line in [`Descriptors::of`], and no other place counts them.

use crate::config::{Config, Threads};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fmt;
use wal::rocks;

/// Standard input, output and error, and what a service manager may pass on.
const STANDARD: u64 = 8;
/// For each listener its socket; for those of market data and ops another, from which their threads begin again after a
/// panic; and a connection of the ops listener that waits until another is closed for it.
const LISTENERS: u64 = 6;
/// LOCK, MARK, IDENTITY, QUARANTINE, the ballast, the note of the crash guard, and directories while they are synced.
const DIRECTORY: u64 = 16;
/// The snapshot that is written, the one that the scrubber reads, and the one that the shadow loads at the start.
const SNAPSHOTS: u64 = 8;
/// The current log file, and the one that follows it.
const LOG: u64 = 2;
/// The descriptors of a runtime: of its poll, its wake-up and its signals. Main thread, ops listener and
/// the thread that obeys SIGHUP have one each.
const RUNTIMES: u64 = 3 * 6;
/// Files that are open for a moment: secrets, and what is read below /proc.
const MOMENTS: u64 = 16;

/// Something that opens descriptors, and the most that it has open at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub name: &'static str,
    pub count: u64,
    /// The key of the configuration that decides about it.
    pub key: Option<&'static str>,
}

/// Every part of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptors {
    pub parts: Vec<Part>,
}

impl Descriptors {
    /// What a configuration may need at once. `segments` is the number of segments of the head that the data directory
    /// has, or that the configuration gives it.
    pub fn of(config: &Config, segments: u32) -> Self {
        let limits = &config.limits;
        let rings = match config.node.threads {
            Threads::Single => 2,
            Threads::Pipeline => 3,
        };
        let part = |name, count| Part { name, count, key: None };
        let port = |name, key, max: usize| Part { name, count: max as u64, key: Some(key) };
        let parts = vec![
            port("connections to the orders port", "limits.connections_max", limits.connections_max),
            port("connections to the market port", "limits.market_connections_max", limits.market_connections_max),
            port("connections to the ops port", "limits.ops_connections_max", limits.ops_connections_max),
            part("listeners", LISTENERS),
            part("store (RocksDB)", rocks::options::FILES_MAX),
            // A start reads them all, beside those that the journal writes.
            part("segments of the head, read and written", 2 * u64::from(segments)),
            part("snapshots", SNAPSHOTS),
            part("other files of the data directory", DIRECTORY),
            part("log files", LOG),
            part("rings (io_uring)", rings),
            part("runtimes", RUNTIMES),
            part("files that are open for a moment", MOMENTS),
            part("standard streams", STANDARD),
        ];
        Self { parts }
    }

    pub fn sum(&self) -> u64 {
        self.parts.iter().map(|part| part.count).sum()
    }

    /// Everything but clients.
    pub fn without_connections(&self) -> u64 {
        self.parts.iter().filter(|part| part.key.is_none()).map(|part| part.count).sum()
    }

    /// Raises the limit of this process as far as its hard limit allows, and returns it; or refuses a configuration
    /// that does not fit.
    pub fn claim(&self) -> Result<u64, TooFewDescriptors> {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let mut soft = current.unwrap_or(u64::MAX);
        let hard = maximum.unwrap_or(u64::MAX);
        // A kernel that refuses leaves the limit that there is, which is checked below.
        if soft < hard && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
            soft = hard;
        }
        if soft < self.sum() {
            return Err(TooFewDescriptors { needed: self.clone(), soft, hard });
        }
        tracing::info!(limit = soft, needed = self.sum(), "descriptors");
        Ok(soft)
    }
}

/// A configuration needs more descriptors than this process may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct TooFewDescriptors {
    needed: Descriptors,
    soft: u64,
    hard: u64,
}

impl fmt::Display for TooFewDescriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { needed, soft, hard } = self;
        let sum = needed.sum();
        write!(f, "this configuration may need {sum} open descriptors at once, ")?;
        match soft == hard {
            true => writeln!(f, "and the hard limit of this process is {hard}:")?,
            false => {
                writeln!(f, "and the limit of this process is {soft}, which the kernel does not raise to {hard}:")?
            }
        }
        for Part { name, count, key } in &needed.parts {
            let key = key.map_or(String::new(), |key| format!(" ({key})"));
            writeln!(f, "{count:>8}  {name}{key}")?;
        }
        let beyond = sum - soft;
        write!(
            f,
            "Raise the hard limit to at least {sum} (LimitNOFILE= in a unit of systemd, `ulimit -Hn` in a shell, nofile \
             in /etc/security/limits.conf), or lower the limits.* keys named above by {beyond} together"
        )
    }
}

/// The limit of descriptors of this process.
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Open descriptors of this process; `None` where the kernel does not say.
pub fn open_count() -> Option<u64> {
    const PATH: &str = "/proc/self/fd";
    // From Linux 6.2 on the size of this directory is the number; before, it is 0, and the entries are counted.
    let stated = std::fs::metadata(PATH).ok()?.len();
    if stated > 0 {
        return Some(stated);
    }
    Some(std::fs::read_dir(PATH).ok()?.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_sum_is_that_of_its_parts() {
        let mut config = Config::of_defaults(Path::new("/nonexistent"));
        let needed = Descriptors::of(&config, 4);
        let clients = 1_024 + 256 + 64;
        assert_eq!(needed.sum(), clients + needed.without_connections());
        let mut names: Vec<_> = needed.parts.iter().map(|part| part.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), needed.parts.len(), "each part has a name of its own");

        config.node.threads = Threads::Pipeline;
        config.limits.market_connections_max = 1_000;
        let more = Descriptors::of(&config, 6);
        assert_eq!(more.sum(), needed.sum() + 1 + (1_000 - 256) + 2 * 2, "a ring, readers, two segments");
    }

    #[test]
    fn a_refusal_names_the_sum_its_parts_the_limit_and_the_remedy() {
        let needed = Descriptors::of(&Config::of_defaults(Path::new("/nonexistent")), 4);
        let (sum, parts) = (needed.sum(), needed.parts.clone());
        let text = TooFewDescriptors { needed, soft: 1_000, hard: 1_000 }.to_string();
        assert!(text.starts_with(&format!("this configuration may need {sum} open descriptors")), "{text}");
        for Part { name, count, .. } in parts {
            let line = format!("{count:>8}  {name}");
            assert!(text.lines().any(|found| found.starts_with(&line)), "{line:?} in {text}");
        }
        for word in ["hard limit of this process is 1000", "(limits.connections_max)", "LimitNOFILE="] {
            assert!(text.contains(word), "{word:?} in {text}");
        }
        assert!(text.ends_with(&format!("by {} together", sum - 1_000)), "{text}");
    }

    #[test]
    fn open_descriptors_are_counted() {
        let before = open_count().expect("/proc is mounted");
        let files: Vec<_> = (0..5).map(|_| std::fs::File::open("/dev/null").expect("every system has it")).collect();
        // Other tests of this process may open and close files meanwhile, where they run as threads.
        assert!(before + 5 <= open_count().expect("/proc is mounted") + 4, "of {} files", files.len());
        assert!(open_count() <= Some(limit()));
    }
}
