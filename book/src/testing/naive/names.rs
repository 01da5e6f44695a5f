//! Names of orders under rules 2: one map, searched from end to end for whatever has to go.

use crate::ids::*;
use crate::names::{CLIENT_NAMES_DEFAULT, NAME_LIFETIME_NS, NAMES_PER_ACCOUNT_MAX};
use crate::units::*;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub order: OrderId,
    pub seq: Seq,
    /// When its order ended, and how many had ended before.
    ended: Option<(TsNs, u64)>,
}

#[derive(Debug)]
pub(super) struct Names {
    taken: BTreeMap<(AccountId, ClientKey), Taken>,
    ends: u64,
    pub max: usize,
}

impl Default for Names {
    fn default() -> Self {
        Self { taken: BTreeMap::new(), ends: 0, max: CLIENT_NAMES_DEFAULT as usize }
    }
}

type Owner = (AccountId, ClientKey);

impl Names {
    fn is_over(taken: &Taken, now: TsNs) -> bool {
        taken.ended.is_some_and(|(ts, _)| NAME_LIFETIME_NS <= now.0 - ts.0)
    }

    pub(super) fn find(&self, now: TsNs, account: AccountId, key: ClientKey) -> Option<Taken> {
        self.taken.get(&(account, key)).copied().filter(|taken| !Self::is_over(taken, now))
    }

    pub(super) fn take(&mut self, account: AccountId, key: ClientKey, order: OrderId, seq: Seq) {
        self.taken.insert((account, key), Taken { order, seq, ended: None });
        self.bound();
    }

    /// Of the ended names that fit, the one whose order ended first.
    fn oldest(&self, fits: impl Fn(&Owner, &Taken) -> bool) -> Option<Owner> {
        let ended = self.taken.iter().filter(|(owner, taken)| taken.ended.is_some() && fits(owner, taken));
        ended.min_by_key(|(_, taken)| taken.ended).map(|(owner, _)| *owner)
    }

    fn ended_of(&self, account: AccountId) -> usize {
        self.taken.iter().filter(|(owner, taken)| owner.0 == account && taken.ended.is_some()).count()
    }

    pub(super) fn end(&mut self, order: OrderId, now: TsNs) {
        let Some((owner, taken)) = self.taken.iter_mut().find(|(_, t)| t.order == order && t.ended.is_none()) else {
            return;
        };
        let account = owner.0;
        taken.ended = Some((now, self.ends));
        self.ends += 1;
        for _ in 0..2 {
            if let Some(owner) = self.oldest(|_, _| true).filter(|owner| Self::is_over(&self.taken[owner], now)) {
                self.taken.remove(&owner);
            }
        }
        if self.ended_of(account) > NAMES_PER_ACCOUNT_MAX as usize
            && let Some(owner) = self.oldest(|owner, _| owner.0 == account)
        {
            self.taken.remove(&owner);
        }
        self.bound();
    }

    fn bound(&mut self) {
        for _ in 0..2 {
            if self.taken.len() <= self.max {
                return;
            }
            let mut counts: BTreeMap<AccountId, usize> = BTreeMap::new();
            for (owner, _) in self.taken.iter().filter(|(_, taken)| taken.ended.is_some()) {
                *counts.entry(owner.0).or_default() += 1;
            }
            let Some((_, most)) = counts.into_iter().map(|(account, count)| (count, account)).max() else { return };
            let Some(owner) = self.oldest(|owner, _| owner.0 == most) else { return };
            self.taken.remove(&owner);
        }
    }
}
