//! Binary sessions, as far as they are state: who may trade, which id was used last, and what happens on disconnect.

use crate::array::Array;
use crate::command::{CodMode, CodScope, SessionSpec, Throttle};
use crate::ids::{AccountId, ClOrdId, SessionId, UserName};
use crate::mutation::{Mutation, Planted};
use crate::reject::AdminReason;
use crate::run::{LifeTag, Run};
use crate::units::TsNs;
use bincode::{Decode, Encode};
use std::collections::BTreeMap;

pub const SESSIONS_MAX: u32 = 1 << 16;
/// Rows of so many sessions are set aside at the start, in one piece.
const SESSIONS_RESERVED: usize = 1 << 10;
pub const PASSWORD_HASH_BYTES_MAX: usize = 256;
/// How many sessions may get a copy of all answers to one account. Each costs as much as the answers themselves.
pub const DROP_COPIES_PER_ACCOUNT_MAX: usize = 2;
pub const THROTTLE_RATE_MAX: u32 = 10_000_000;
pub const THROTTLE_BURST_MAX: u32 = 10_000_000;
/// The longest time between a disconnect and the cancels that it causes: one hour.
pub const COD_WINDOW_MS_MAX: u32 = 3_600_000;

const SECOND_NS: u64 = 1_000_000_000;

/// Whether a throttle is in range.
pub(crate) fn check_throttle(throttle: Throttle) -> Result<(), AdminReason> {
    let ok = throttle.orders_per_second <= THROTTLE_RATE_MAX && throttle.burst <= THROTTLE_BURST_MAX;
    if ok { Ok(()) } else { Err(AdminReason::OutOfRange) }
}

/// Whether the hash of a password can be one.
pub(crate) fn check_password_hash(hash: &str) -> Result<(), AdminReason> {
    let ok = !hash.is_empty() && hash.len() <= PASSWORD_HASH_BYTES_MAX;
    if ok { Ok(()) } else { Err(AdminReason::OutOfRange) }
}

/// Whether a session may place orders, and who decided that it may not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[repr(u8)]
pub enum Block {
    #[default]
    None = 0,
    /// Its own kill switch, which it may lift. Under rules 1 an operator's block too.
    Own = 1,
    /// An operator, who alone may lift it.
    Operator = 2,
}

impl Block {
    pub fn is_set(self) -> bool {
        self != Self::None
    }
}

/// A login of the binary protocol, which acts for one account.
#[derive(Debug, Clone)]
pub struct Session {
    pub account: AccountId,
    pub user: UserName,
    pub password_hash: String,
    pub drop_copy: bool,
    pub blocked: Block,
    pub cod_mode: CodMode,
    pub cod_scope: CodScope,
    pub cod_window_ms: u32,
    /// The highest client order id that was used. A message with this id or a lower one is a resend and is ignored.
    pub cl_ord_id_last: ClOrdId,
    /// Open orders that came through this session.
    pub open_count: u32,
    pub bucket: Bucket,
    pub requests: RequestBucket,
    /// Lives that it has begun by itself, beside those of all streams.
    pub lives: u32,
    /// The last one of them.
    pub life: SessionLife,
    /// It accepts no login and no request, and no other session has its user name.
    pub removed: bool,
}

/// A life that a session has begun by itself. It is over as soon as all streams begin a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionLife {
    /// `Run::life` when it began.
    pub of: u32,
    pub tag: LifeTag,
}

impl Session {
    pub fn new(spec: &SessionSpec) -> Self {
        Self {
            account: spec.account,
            user: spec.user,
            password_hash: spec.password_hash.clone(),
            drop_copy: spec.drop_copy,
            blocked: Block::None,
            cod_mode: spec.cod_mode,
            cod_scope: spec.cod_scope,
            cod_window_ms: spec.cod_window_ms,
            cl_ord_id_last: ClOrdId(0),
            open_count: 0,
            bucket: Bucket::new(spec.throttle),
            requests: RequestBucket::default(),
            lives: 0,
            life: SessionLife::default(),
            removed: false,
        }
    }

    /// Whether it may send commands about orders of this account.
    pub(crate) fn may_act_for(&self, account: AccountId) -> bool {
        let removed = self.removed.planted(Mutation::RemovedTrades, |_| false);
        self.account == account && !self.drop_copy && !removed
    }

    /// The tag of the session's own life; none where its stream has the life of all streams.
    pub fn life_in(&self, run: &Run) -> Option<LifeTag> {
        (0 < self.lives && self.life.of == run.life).then_some(self.life.tag)
    }

    /// Begins a life: every client order id may be used again.
    pub(crate) fn begin_life(&mut self, run: &Run, tag: LifeTag) {
        assert!(self.open_count == 0, "an order of an earlier life could have an id of this one");
        self.lives += 1;
        self.life = SessionLife { of: run.life, tag };
        self.cl_ord_id_last = ClOrdId(0).planted(Mutation::IdsOutliveLife, |_| self.cl_ord_id_last);
    }
}

/// A leaky bucket in log time, stored as the moment at which it will be empty: one number, and no timer that refills it
/// (the generic cell rate algorithm, ITU-T I.371).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub throttle: Throttle,
    pub empty_at: TsNs,
}

impl Bucket {
    pub fn new(throttle: Throttle) -> Self {
        Self { throttle, empty_at: TsNs(0) }
    }

    /// Adds one order to the bucket, unless the bucket is full at `now`; then false.
    #[inline]
    pub fn take(&mut self, now: TsNs) -> bool {
        if self.throttle.orders_per_second == 0 {
            return true;
        }
        let drop_ns = SECOND_NS / u64::from(self.throttle.orders_per_second);
        let full_ns = drop_ns * u64::from(self.throttle.burst.max(1));
        pour(&mut self.empty_at, now, drop_ns, full_ns)
    }
}

/// Adds what takes `drop_ns` to leak out, unless the bucket would then need more than `full_ns` to be empty.
#[inline]
fn pour(empty_at: &mut TsNs, now: TsNs, drop_ns: u64, full_ns: u64) -> bool {
    let after = empty_at.0.max(now.0).saturating_add(drop_ns);
    let fits = after - now.0 <= full_ns;
    if fits {
        *empty_at = TsNs(after);
    }
    fits
}

/// A request that is no order, by what it may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// It looks at one order, or at none.
    Small,
    /// It may have to look at all orders of the account.
    OverMany,
}

/// The second bucket of a session, which every session has: for requests that are no orders and no cancels of one
/// order, from rules 2 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestBucket {
    pub empty_at: TsNs,
}

/// How long a small request takes to leak out, and one over many orders: 1,000 and 20 of them a second.
const SMALL_NS: u64 = SECOND_NS / 1_000;
const OVER_MANY_NS: u64 = SECOND_NS / 20;
/// What the bucket has room for.
const REQUESTS_NS: u64 = 2 * SECOND_NS;

impl RequestBucket {
    pub(crate) fn take(&mut self, now: TsNs, request: Request) -> bool {
        let drop_ns = if request == Request::Small { SMALL_NS } else { OVER_MANY_NS };
        pour(&mut self.empty_at, now, drop_ns, REQUESTS_NS).planted(Mutation::RequestsWithoutBound, |_| true)
    }
}

/// All binary sessions, by id.
#[derive(Debug)]
pub struct Sessions {
    sessions: Array<Session>,
    by_user: BTreeMap<UserName, SessionId>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { sessions: Array::new(SESSIONS_RESERVED, SESSIONS_MAX as usize), by_user: BTreeMap::new() }
    }
}

impl Sessions {
    pub fn add(&mut self, session: Session) -> SessionId {
        let id = SessionId(self.sessions.len() as u32 + 1);
        assert!(id.0 <= SESSIONS_MAX, "admission counts the sessions first");
        let before = self.by_user.insert(session.user, id);
        assert!(before.is_none(), "a user name names one session");
        self.sessions.push(session);
        id
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    pub fn get(&self, id: SessionId) -> Option<&Session> {
        if id.is_none() { None } else { self.sessions.get(id.idx()) }
    }

    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        if id.is_none() { None } else { self.sessions.get_mut(id.idx()) }
    }

    /// Switches cancel-on-disconnect off for every drop copy.
    pub(crate) fn copies_cancel_nothing(&mut self) {
        self.sessions.iter_mut().filter(|session| session.drop_copy).for_each(|copy| copy.cod_mode = CodMode::Off);
    }

    pub fn find_by_user(&self, user: UserName) -> Option<SessionId> {
        self.by_user.get(&user).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().enumerate().map(|(idx, session)| (SessionId(idx as u32 + 1), session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_the_rate() {
        let mut bucket = Bucket::new(Throttle { orders_per_second: 10, burst: 3 });
        let start = TsNs(1_000 * SECOND_NS);
        let taken = (0..5).filter(|_| bucket.take(start)).count();
        assert_eq!(taken, 3);
        let later = TsNs(start.0 + SECOND_NS / 10);
        assert!(bucket.take(later));
        assert!(!bucket.take(later));
    }
}
