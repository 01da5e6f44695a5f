//! A new time for the log: what becomes of stored instants when log time, which lay in the future, is set back.
//!
//! Log time never runs back within a timeline. A restore that begins another one may set it back, before the snapshot
//! with which that timeline begins. Invariant: no stored instant of the state is later than its own time after that,
//! but for the expiry of keys, which an operator has chosen by the calendar.

use crate::engine::Engine;
use crate::ids::SessionId;
use crate::units::TsNs;

/// How many stored instants were later than the new time, and are that time from here on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetBack {
    /// Throttles: the session may use its rate anew.
    pub throttles: usize,
    /// Names of orders: they are remembered for 24 hours from the new time on.
    pub names: usize,
}

impl Engine {
    /// Sets log time back to `now`. For the beginning of a timeline only: the log up to here says otherwise.
    pub fn set_time_back(&mut self, now: TsNs) -> SetBack {
        assert!(now < self.stamp.ts, "time is set back, never forward");
        self.stamp.ts = now;
        let mut throttles = 0;
        for number in 1..=self.sessions.len() as u32 {
            let session = self.sessions.get_mut(SessionId(number)).expect("sessions are numbered from one on");
            for empty_at in [&mut session.bucket.empty_at, &mut session.requests.empty_at] {
                if now < *empty_at {
                    *empty_at = now;
                    throttles += 1;
                }
            }
        }
        // What is forgotten by age is forgotten later than it would have been, never earlier.
        self.references.set_back(now);
        self.keys.set_back(now);
        SetBack { throttles, names: self.client_ids.set_back(now) + self.names.set_back(now) }
    }
}
