//! Which sessions are logged in: a table that the gateway writes and the ops listener reads.
//!
//! A login, the end of a connection, and each look at a connection cost a few stores, however many sessions there are.
//! Invariants: one writer; an entry is read complete, or read again.

use book::ids::SessionId;
use book::session::SESSIONS_MAX;
use book::units::TsNs;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Sessions in a segment, which is allocated with the first login of one of them.
const SEGMENT_LEN: usize = 1 << 10;
const SEGMENTS: usize = (SESSIONS_MAX as usize).div_ceil(SEGMENT_LEN);

/// A session that is logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOn {
    pub address: IpAddr,
    pub since: TsNs,
    /// The number of the next message that its client is sent, as of the last look at its connection.
    pub next: u64,
}

#[derive(Debug, Default)]
struct Entry {
    /// Odd while the entry is written.
    changes: AtomicU64,
    /// Zero while the session is not logged in.
    since: AtomicU64,
    /// An IPv4 address as its IPv6 form.
    address_high: AtomicU64,
    address_low: AtomicU64,
    next: AtomicU64,
}

#[derive(Debug)]
pub struct SessionsOn([OnceLock<Box<[Entry]>>; SEGMENTS]);

impl Default for SessionsOn {
    fn default() -> Self {
        Self(std::array::from_fn(|_| OnceLock::new()))
    }
}

impl SessionsOn {
    pub fn came(&self, session: SessionId, address: Option<IpAddr>, now: TsNs, next: u64) {
        let bits = address.map_or(0, |address| match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        });
        self.write(session, |entry| {
            entry.since.store(now.0, Ordering::Relaxed);
            entry.address_high.store((bits >> 64) as u64, Ordering::Relaxed);
            entry.address_low.store(bits as u64, Ordering::Relaxed);
            entry.next.store(next, Ordering::Relaxed);
        });
    }

    pub fn left(&self, session: SessionId) {
        self.write(session, |entry| entry.since.store(0, Ordering::Relaxed));
    }

    pub fn sent(&self, session: SessionId, next: u64) {
        self.write(session, |entry| entry.next.store(next, Ordering::Relaxed));
    }

    fn write(&self, session: SessionId, change: impl FnOnce(&Entry)) {
        let idx = session.0 as usize - 1;
        let entries = self.0[idx / SEGMENT_LEN]
            .get_or_init(|| std::iter::repeat_with(Entry::default).take(SEGMENT_LEN).collect());
        let entry = &entries[idx % SEGMENT_LEN];
        let changes = entry.changes.load(Ordering::Relaxed);
        entry.changes.store(changes + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        change(entry);
        entry.changes.store(changes + 2, Ordering::Release);
    }

    pub fn get(&self, session: SessionId) -> Option<SessionOn> {
        let idx = session.0 as usize - 1;
        let entry = self.0.get(idx / SEGMENT_LEN)?.get()?.get(idx % SEGMENT_LEN)?;
        loop {
            let before = entry.changes.load(Ordering::Acquire);
            let on = entry.read();
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && entry.changes.load(Ordering::Relaxed) == before {
                return on;
            }
            std::hint::spin_loop();
        }
    }
}

impl Entry {
    fn read(&self) -> Option<SessionOn> {
        let since = TsNs(self.since.load(Ordering::Relaxed));
        let bits = u128::from(self.address_high.load(Ordering::Relaxed)) << 64
            | u128::from(self.address_low.load(Ordering::Relaxed));
        let address = IpAddr::V6(Ipv6Addr::from_bits(bits)).to_canonical();
        (since.0 != 0).then(|| SessionOn { address, since, next: self.next.load(Ordering::Relaxed) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_on_from_its_login_to_its_end() {
        let sessions = SessionsOn::default();
        let (one, last) = (SessionId(1), SessionId(SESSIONS_MAX));
        assert_eq!((sessions.get(one), sessions.get(last)), (None, None));
        for (session, address) in [(one, "10.0.0.7"), (last, "2001:db8::1")] {
            let address: IpAddr = address.parse().expect("an address");
            sessions.came(session, Some(address), TsNs(5), 9);
            assert_eq!(sessions.get(session), Some(SessionOn { address, since: TsNs(5), next: 9 }));
            sessions.sent(session, 12);
            assert_eq!(sessions.get(session).map(|on| on.next), Some(12));
            sessions.left(session);
            assert_eq!(sessions.get(session), None);
        }
    }
}
