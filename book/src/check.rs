//! Checks in the log: the live engine records a hash of itself, and every replay compares.
//!
//! A hash of the whole state takes time in proportion to the state, which the live engine does not have. So
//! `Command::Check` carries the running hash over all outcomes, folded with a sample of the state itself: 64 orders and
//! 64 accounts, the next ones at each check. An outcome that differs shows at the next check; memory that went bad
//! without an event shows when the sample reaches it.

use crate::accounts::Account;
use crate::command::Check;
use crate::engine::Engine;
use crate::ids::AccountId;
use crate::running_hash::{CheckState, Divergence, fold, pair, tag};
use crate::slab::Order;
use crate::units::{Seq, Stamp};

/// Orders and accounts that one check samples.
const SLOTS_PER_CHECK: u32 = 64;
const ACCOUNTS_PER_CHECK: u32 = 64;

impl Engine {
    /// The hash that a check would record now.
    pub fn check_hash(&self) -> u64 {
        let CheckState { running, slot, account } = self.check_state;
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

    /// Compares the recorded hash with the own one, and moves the sample on. A check has no outcome: it makes no event
    /// and is not hashed itself.
    pub(crate) fn check(&mut self, stamp: Stamp, check: &Check) {
        let computed = self.check_hash();
        if check.hash != computed {
            self.divergence.get_or_insert(Divergence { seq: stamp.seq, recorded: check.hash, computed });
        } else if self.divergence.is_none() {
            self.seq_checked = stamp.seq;
        }
        let state = &mut self.check_state;
        state.slot = next(state.slot, SLOTS_PER_CHECK, self.pool.orders.slots_len());
        state.account = next(state.account, ACCOUNTS_PER_CHECK, self.accounts.len());
    }

    /// The first check with which this engine disagreed. Its state differs from the recorded one from there on, or from
    /// some command before it.
    pub fn divergence(&self) -> Option<Divergence> {
        self.divergence
    }

    /// The last check that agreed, or the snapshot from which this state was loaded: up to there this state is known to
    /// be the one that was live.
    pub fn seq_checked(&self) -> Seq {
        self.seq_checked
    }
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
    // A row that is empty is no part of the state: whether it exists depends on what was once in it.
    let balances = account.balances().iter().filter(|b| b.available.0 > 0 || b.held.0 > 0);
    balances.fold(hash, |hash, b| fold(hash, [b.asset.0.into(), b.available.0, b.held.0, 1]))
}

/// Where the next sample starts: at the end of this one, or at the beginning again.
fn next(at: u32, step: u32, len: usize) -> u32 {
    if (at + step) as usize >= len { 0 } else { at + step }
}
