//! Faults to inject into the journal's completions, and the planted mistake that the power-cut harness must catch.
//!
//! io_uring hides its writes from strace, so the reactor asks here. Without the feature `fault-injection` this is an
//! empty struct and its checks are nothing.

/// What shall go wrong, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct JournalFault {
    #[cfg(feature = "fault-injection")]
    write: Option<FaultAt>,
    #[cfg(feature = "fault-injection")]
    sync: Option<FaultAt>,
    /// The planted mistake: answers leave when a command is applied, before it is durable.
    #[cfg(feature = "fault-injection")]
    pub acknowledge_before_sync: bool,
}

#[cfg(feature = "fault-injection")]
#[derive(Clone, Copy, Debug)]
struct FaultAt {
    countdown: u64,
    errno: i32,
}

#[cfg(not(feature = "fault-injection"))]
impl JournalFault {
    pub fn from_env() -> Result<Self, String> {
        Ok(Self {})
    }

    #[inline]
    pub fn on_write(&mut self, result: Result<usize, i32>) -> Result<usize, i32> {
        result
    }

    #[inline]
    pub fn on_sync(&mut self, result: Result<(), i32>) -> Result<(), i32> {
        result
    }
}

#[cfg(feature = "fault-injection")]
impl JournalFault {
    /// Reads `PINION_FAULT`: a comma-separated list of `write:ERRNO:N`, `sync:ERRNO:N` (the N-th fails and all after)
    /// and `ack-before-sync`.
    pub fn from_env() -> Result<Self, String> {
        let Ok(text) = std::env::var("PINION_FAULT") else { return Ok(Self::default()) };
        let mut fault = Self::default();
        for part in text.split(',').filter(|p| !p.is_empty()) {
            let fields: Vec<&str> = part.split(':').collect();
            match fields[..] {
                ["write", errno, nth] => fault.write = Some(FaultAt::parse(errno, nth)?),
                ["sync", errno, nth] => fault.sync = Some(FaultAt::parse(errno, nth)?),
                ["ack-before-sync"] => fault.acknowledge_before_sync = true,
                _ => return Err(format!("PINION_FAULT: no fault is called {part:?}")),
            }
        }
        Ok(fault)
    }

    pub fn on_write(&mut self, result: Result<usize, i32>) -> Result<usize, i32> {
        FaultAt::strike(&mut self.write).map_or(result, Err)
    }

    pub fn on_sync(&mut self, result: Result<(), i32>) -> Result<(), i32> {
        FaultAt::strike(&mut self.sync).map_or(result, Err)
    }
}

#[cfg(feature = "fault-injection")]
impl FaultAt {
    fn parse(errno: &str, nth: &str) -> Result<Self, String> {
        let errno = match errno {
            "EIO" => libc::EIO,
            "ENOSPC" => libc::ENOSPC,
            other => return Err(format!("PINION_FAULT: errno {other:?} is not EIO or ENOSPC")),
        };
        let countdown = nth.parse().map_err(|_| format!("PINION_FAULT: {nth:?} is not a count"))?;
        Ok(Self { countdown, errno })
    }

    fn strike(fault: &mut Option<Self>) -> Option<i32> {
        let fault = fault.as_mut()?;
        if fault.countdown > 1 {
            fault.countdown -= 1;
            return None;
        }
        Some(fault.errno)
    }
}
