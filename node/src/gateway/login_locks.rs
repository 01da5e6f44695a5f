//! Wrong passwords, counted by who claimed to be whom: an address block, and the user name that it gave.
//!
//! Invariants: a claim that was wrong `failures_max` times within the window is locked for a window, and no password is
//! checked for it meanwhile; before, no more checks of it are under way than it may still have wrong. Other users of
//! the block, and the user at other addresses, are not affected.

use crate::faults::mutation::{Mutation, Planted};
use crate::gateway::address_block::AddressBlock;
use book::ids::UserName;
use book::units::TsNs;
use std::collections::{BTreeMap, BTreeSet};

/// Claims that are counted at once. At the limit the one whose window ends first is forgotten; to get there takes so
/// many checks of a password.
const CLAIMS_MAX: usize = 1 << 16;

/// A client at these addresses says that it is this user; `None` is no possible name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    pub block: AddressBlock,
    pub user: Option<UserName>,
}

impl Claim {
    /// The name for a log line. It has letters and digits only, whatever the client sent.
    pub fn user(&self) -> &str {
        self.user.as_ref().map_or("", UserName::as_str)
    }
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    /// End of the window in which they were counted, or of the lock.
    ends: TsNs,
}

#[derive(Debug)]
pub struct LoginLocks {
    failures_max: u32,
    window_ns: u64,
    failures: BTreeMap<Claim, Failures>,
    by_end: BTreeSet<(TsNs, Claim)>,
    /// Checks under way; as many as the checking threads take.
    checking: BTreeMap<Claim, u32>,
}

impl LoginLocks {
    pub fn new(failures_max: u32, window_ns: u64) -> Self {
        assert!(0 < failures_max, "a first password may be wrong");
        let (failures, by_end, checking) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { failures_max, window_ns, failures, by_end, checking }
    }

    pub fn is_locked(&self, now: TsNs, claim: &Claim) -> bool {
        self.failures_max <= self.count(now, claim)
    }

    /// Whether the claim needs to wait for checks of it that are under way. A locked one does not.
    pub fn has_to_wait(&self, now: TsNs, claim: &Claim) -> bool {
        let (wrong, checking) = (self.count(now, claim), self.checking.get(claim).copied().unwrap_or(0));
        wrong < self.failures_max && self.failures_max <= wrong + checking
    }

    /// A check of the claim begins; one of the next three ends it.
    pub fn begin(&mut self, claim: Claim) {
        *self.checking.entry(claim).or_default() += 1;
    }

    /// The check says nothing about the password.
    pub fn not_verified(&mut self, claim: &Claim) {
        self.end(claim);
    }

    pub fn correct(&mut self, claim: &Claim) {
        self.end(claim);
        self.forget(claim);
    }

    /// Returns whether the claim is locked by this.
    pub fn wrong(&mut self, now: TsNs, claim: &Claim) -> bool {
        self.end(claim);
        self.forget_ended(now);
        let claim = counted(claim);
        let before = self.count(now, &claim);
        let ends = self.failures.get(&claim).filter(|_| 0 < before).map(|failures| failures.ends);
        self.forget(&claim);
        let count = before + 1;
        let is_locked = count == self.failures_max;
        // A lock lasts for a window from here on.
        let ends = ends.filter(|_| !is_locked).unwrap_or(TsNs(now.0 + self.window_ns));
        self.failures.insert(claim, Failures { count, ends });
        self.by_end.insert((ends, claim));
        is_locked
    }

    /// Wrong passwords in the present window.
    fn count(&self, now: TsNs, claim: &Claim) -> u32 {
        self.failures.get(&counted(claim)).filter(|failures| now < failures.ends).map_or(0, |failures| failures.count)
    }

    fn end(&mut self, claim: &Claim) {
        let checking = self.checking.get_mut(claim).expect("what ends has begun");
        *checking -= 1;
        if *checking == 0 {
            self.checking.remove(claim);
        }
    }

    fn forget(&mut self, claim: &Claim) {
        if let Some(failures) = self.failures.remove(claim) {
            self.by_end.remove(&(failures.ends, *claim));
        }
    }

    fn forget_ended(&mut self, now: TsNs) {
        while let Some((ends, claim)) = self.by_end.first().copied()
            && (ends <= now || CLAIMS_MAX <= self.failures.len())
        {
            self.forget(&claim);
        }
    }
}

/// What a failure is counted for.
fn counted(claim: &Claim) -> Claim {
    (*claim).planted(Mutation::LockOfBlock, |claim| Claim { user: None, ..claim })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = 100;

    fn claim(network: u8, user: &str) -> Claim {
        let address = std::net::IpAddr::from([10, 0, network, 9]);
        Claim { block: AddressBlock::of(address), user: UserName::new(user) }
    }

    fn wrong(locks: &mut LoginLocks, at: u64, claim: &Claim) -> bool {
        locks.begin(*claim);
        locks.wrong(TsNs(at), claim)
    }

    #[test]
    fn wrong_passwords_lock_one_user_at_one_block() {
        let mut locks = LoginLocks::new(3, WINDOW);
        let guessed = claim(1, "MM1");
        assert_eq!([10, 20, 90].map(|at| wrong(&mut locks, at, &guessed)), [false, false, true]);
        assert!(locks.is_locked(TsNs(90 + WINDOW - 1), &guessed), "from the last failure on, a window");
        assert!(!locks.is_locked(TsNs(90 + WINDOW), &guessed));
        assert!(!locks.is_locked(TsNs(95), &claim(1, "MM2")) && !locks.is_locked(TsNs(95), &claim(2, "MM1")));
    }

    #[test]
    fn failures_of_two_windows_do_not_add_up_and_a_right_password_ends_them() {
        let mut locks = LoginLocks::new(2, WINDOW);
        let user = claim(1, "MM1");
        assert!(!wrong(&mut locks, 0, &user));
        assert!(!wrong(&mut locks, WINDOW, &user));
        locks.begin(user);
        locks.correct(&user);
        assert!(!wrong(&mut locks, WINDOW + 1, &user));
        assert!(wrong(&mut locks, WINDOW + 2, &user));
        assert_eq!((locks.failures.len(), locks.by_end.len(), locks.checking.len()), (1, 1, 0));
    }

    #[test]
    fn no_more_checks_are_under_way_than_may_be_wrong() {
        let mut locks = LoginLocks::new(2, WINDOW);
        let user = claim(1, "MM1");
        locks.begin(user);
        assert!(!locks.has_to_wait(TsNs(1), &user));
        locks.begin(user);
        assert!(locks.has_to_wait(TsNs(1), &user));
        locks.not_verified(&user);
        assert!(!locks.has_to_wait(TsNs(1), &user));
        locks.wrong(TsNs(1), &user);
        locks.begin(user);
        assert!(locks.has_to_wait(TsNs(1), &user));
        locks.wrong(TsNs(1), &user);
        assert!(locks.is_locked(TsNs(1), &user) && !locks.has_to_wait(TsNs(1), &user));
    }

    #[test]
    fn at_the_limit_the_claim_whose_window_ends_first_is_forgotten() {
        let mut locks = LoginLocks::new(1, u64::MAX / 2);
        let of = |number: u32| Claim { user: UserName::new(&format!("{number:06}")), ..claim(0, "A") };
        for number in 0..=CLAIMS_MAX as u32 {
            wrong(&mut locks, number.into(), &of(number));
        }
        let now = TsNs(CLAIMS_MAX as u64);
        assert_eq!((locks.failures.len(), locks.by_end.len()), (CLAIMS_MAX, CLAIMS_MAX));
        assert!(!locks.is_locked(now, &of(0)) && locks.is_locked(now, &of(1)));
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn a_lock_of_all_users_of_a_block_is_noticed() {
        crate::faults::mutation::assert_noticed(Mutation::LockOfBlock, wrong_passwords_lock_one_user_at_one_block);
    }
}
