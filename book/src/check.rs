//! What two engines on one log compare: a running hash over all outcomes, and a slice of the state itself.
//!
//! A hash of the whole state takes time in proportion to it, which the live engine does not have. So every event goes
//! into a running hash as it happens, and `Command::Check` carries that hash together with one of a few orders and
//! accounts, the next few each time: whatever went different shows at the next check, and what went bad in memory without
//! an event shows when the walk comes round. The command is in the log, hence every replay compares too.
//!
//! Invariants: hash and place go into snapshots, but not into the state hash, because they say how a state came about;
//! descriptions of transfers are not hashed, because the live engine leaves them out.

use crate::accounts::Account;
use crate::command::Check;
use crate::engine::Engine;
use crate::event::{Event, FillSide, Sink};
use crate::ids::AccountId;
use crate::slab::Order;
use crate::units::{Seq, Stamp};

/// Orders and accounts that one check looks at.
const SLOTS_PER_CHECK: u32 = 64;
const ACCOUNTS_PER_CHECK: u32 = 64;

/// Odd, without a pattern: the fractional digits of sqrt(2), sqrt(3), sqrt(5), sqrt(7).
const FACTORS: [u64; 4] = [0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1];

/// What checks are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Proof {
    /// Over every event since the first command.
    pub running: u64,
    /// Where the walk over orders and accounts goes on.
    pub slot: u32,
    pub account: u32,
}

/// Where two states that should be one were found to differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the check at sequence {} recorded {recorded:016x}, this state gives {computed:016x}", seq.0)]
pub struct Parted {
    pub seq: Seq,
    pub recorded: u64,
    pub computed: u64,
}

/// Not cryptographic: it finds accidents, and the state hash of a snapshot finds the rest.
#[inline]
fn fold(hash: u64, words: [u64; 4]) -> u64 {
    let [a, b, c, d] = words;
    // Multiplied side by side; only the last step waits for the hash before it.
    let mixed = a.wrapping_mul(FACTORS[0]) ^ b.wrapping_mul(FACTORS[1]).rotate_left(17);
    let mixed = mixed ^ c.wrapping_mul(FACTORS[2]).rotate_left(31) ^ d.wrapping_mul(FACTORS[3]).rotate_left(47);
    (hash.rotate_left(29) ^ mixed).wrapping_mul(FACTORS[0])
}

/// Hashes what passes through it on its way to the caller's sink.
pub(crate) struct Hashing<'a, S> {
    pub sink: &'a mut S,
    pub hash: u64,
}

impl<S: Sink> Sink for Hashing<'_, S> {
    const LEDGER: bool = S::LEDGER;

    #[inline]
    fn push(&mut self, event: Event) {
        self.hash = fold_event(self.hash, &event);
        self.sink.push(event);
    }
}

#[inline]
fn fold_event(hash: u64, event: &Event) -> u64 {
    let words = match event {
        Event::Transfer(_) => return hash,
        Event::Accepted(e) => [1, e.order_id.0, e.qty.0, e.cl_ord_id.0],
        Event::Rejected(e) => {
            [2 | tag(e.reason as u8), e.cl_ord_id.0, pair(e.account.0, e.market.0), e.session.0.into()]
        }
        Event::Rested(e) => [3 | tag(e.side as u8), e.order_id.0, e.qty.0, pair(e.market.0, e.price.0)],
        Event::Fill(e) => {
            let hash = fold(hash, fold_side(4 | tag(e.taker_side as u8), &e.maker));
            let hash = fold(hash, fold_side(u64::from(e.price.0) << 8, &e.taker));
            return fold(hash, [e.trade_id.0, e.qty.0, e.maker.fee.0 as u64, e.taker.fee.0 as u64]);
        }
        Event::Reduced(e) => [5 | tag(u8::from(e.was_resting)), e.order_id.0, e.qty.0, e.leaves.0],
        Event::Amended(e) => {
            let hash = fold(hash, [6 | tag(u8::from(e.kept_priority)), e.order_id.0, e.leaves.0, e.cum.0]);
            return fold(hash, [pair(e.market.0, e.price.0), e.cl_ord_id.0, e.request_cl_ord_id.0, 0]);
        }
        Event::Canceled(e) => [7 | tag(e.reason as u8), e.order_id.0, e.qty.0, e.cum.0],
        Event::CancelRejected(e) => [8 | tag(e.reason as u8), e.order_id.0, e.cl_ord_id.0, e.target_cl_ord_id.0],
        Event::MassCanceled(e) => [9 | tag(u8::from(e.more)), e.cl_ord_id.0, e.count.into(), e.session.0.into()],
        Event::OrderStatus(e) => [10, e.order_id.0, e.leaves.0, e.cum.0],
        Event::Repeated(e) => [11, e.seq_first.0, e.account.0.into(), e.client_key.0 as u64],
        Event::SessionState(e) => {
            [12 | tag(u8::from(e.blocked)), e.session.0.into(), e.cl_ord_id_last.0, e.open_orders.into()]
        }
        Event::AssetAdded(asset) => [13, asset.id.0.into(), asset.scale.into(), 0],
        Event::MarketAdded(rules) => [14, rules.id.0.into(), rules.tick_e9, rules.lot_e8],
        Event::MarketStatusChanged { market, status } => [15 | tag(*status as u8), market.0.into(), 0, 0],
        Event::MarketRulesChanged(rules) => [16, rules.id.0.into(), rules.maker_fee.0 as u64, rules.taker_fee.0 as u64],
        Event::FeeTierChanged { tier } => [17, u64::from(*tier), 0, 0],
        Event::AccountAdded { account } => [18, account.0.into(), 0, 0],
        Event::AccountChanged { account, status, fee_tier, blocked } => {
            [19 | tag(*status as u8), account.0.into(), u64::from(*fee_tier), u64::from(*blocked)]
        }
        Event::SessionAdded { session, account, drop_copy, .. } => {
            [20, session.0.into(), account.0.into(), u64::from(*drop_copy)]
        }
        Event::SessionChanged { session, blocked } => [21, session.0.into(), u64::from(*blocked), 0],
        Event::KeyAdded { account } => [22, account.0.into(), 0, 0],
        Event::KeyRevoked { account } => [23, account.0.into(), 0, 0],
        Event::FundsMoved { account, asset, amount, available, repeated } => {
            [24 | tag(u8::from(*repeated)), pair(account.0, asset.0), amount.0, available.0]
        }
        Event::AdminRejected { reason } => [25 | tag(*reason as u8), 0, 0, 0],
    };
    fold(hash, words)
}

#[inline]
fn fold_side(first: u64, side: &FillSide) -> [u64; 4] {
    [first, side.order_id.0, side.leaves.0, side.cum.0]
}

/// A small enum beside an event's own number.
#[inline]
fn tag(value: u8) -> u64 {
    u64::from(value) << 8
}

#[inline]
fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn fold_order(hash: u64, order: &Order) -> u64 {
    if order.id.is_none() {
        return fold(hash, [0; 4]);
    }
    let traits = u64::from(order.stp_group) << 16 | u64::from(order.traits.bits()) << 8 | u64::from(order.cancel_group);
    let hash = fold(hash, [order.id.0, order.leaves.0, order.cum.0, order.cl_ord_id.0]);
    let session = pair(order.session.0, order.market.0);
    fold(hash, [pair(order.account.0, order.price.0), session, traits, 0])
}

fn fold_account(hash: u64, account: &Account) -> u64 {
    let bits = u64::from(account.fee_tier) << 24 | tag(account.status as u8) | u64::from(account.blocked);
    let hash = fold(hash, [bits, account.open_max.into(), account.parent.0.into(), 0]);
    // Rows that came to be and are empty again are no part of the state.
    let balances = account.balances().iter().filter(|b| b.available.0 > 0 || b.held.0 > 0);
    balances.fold(hash, |hash, b| fold(hash, [b.asset.0.into(), b.available.0, b.held.0, 1]))
}

impl Engine {
    /// What a check recorded now would say.
    pub fn check_hash(&self) -> u64 {
        let Proof { running, slot, account } = self.proof;
        let mut hash = fold(running, [self.stamp.seq.0, self.pool.orders.number_last(), self.accounts.len() as u64, 0]);
        for slot in slot..(slot + SLOTS_PER_CHECK).min(self.pool.orders.slots_len() as u32) {
            hash = fold_order(hash, self.pool.orders.get(slot));
        }
        for id in account..(account + ACCOUNTS_PER_CHECK).min(self.accounts.len() as u32) {
            hash = fold_account(hash, self.accounts.at(AccountId(id + 1)));
        }
        for book in self.accounts.assets() {
            hash = fold(hash, [book.custody.0, book.fees.0, 0, 0]);
        }
        hash
    }

    /// Compares, and walks on. The check itself is no outcome: nothing is said and nothing is hashed.
    pub(crate) fn check(&mut self, stamp: Stamp, check: &Check) {
        let computed = self.check_hash();
        if check.hash != computed {
            self.parted.get_or_insert(Parted { seq: stamp.seq, recorded: check.hash, computed });
        } else if self.parted.is_none() {
            self.checked = stamp.seq;
        }
        self.proof.slot = next(self.proof.slot, SLOTS_PER_CHECK, self.pool.orders.slots_len());
        self.proof.account = next(self.proof.account, ACCOUNTS_PER_CHECK, self.accounts.len());
    }

    /// The first check that this engine did not agree with: from there, or before, it is another state.
    pub fn parted(&self) -> Option<Parted> {
        self.parted
    }

    /// The last check that agreed, or the snapshot that this state was loaded from: up to there it is known to be the one
    /// that was live.
    pub fn checked(&self) -> Seq {
        self.checked
    }
}

impl Proof {
    /// A command that was left out is part of how a state came about.
    pub(crate) fn skip(&mut self, stamp: Stamp) {
        self.running = fold(self.running, [26, stamp.seq.0, stamp.ts.0, 0]);
    }
}

/// The place behind this slice, or the beginning again.
fn next(at: u32, step: u32, len: usize) -> u32 {
    if (at + step) as usize >= len { 0 } else { at + step }
}
