//! API keys, as far as they are state: what each may do, for which account, and which are revoked.
//!
//! A revoked key does nothing any more. It is remembered for `REVOKED_KEY_LIFETIME_NS` under rules 2, so that a second
//! revocation is answered as the first and a list shows it, and is then forgotten: each act that adds or revokes a key
//! forgets up to two. Invariant: the id of a key is never given to another.

use crate::command::KeySpec;
use crate::ids::KeyId;
use crate::mutation::{Mutation, Planted};
use crate::reject::AdminReason;
use crate::units::TsNs;
use std::collections::{BTreeMap, BTreeSet};

/// So many keys are remembered, the revoked ones included.
pub const KEYS_MAX: u32 = 1 << 20;
pub const KEY_BYTES_MAX: usize = 64;
pub const KEY_ADDRESSES_MAX: usize = 64;
/// The longest IPv6 address in text, a slash and three digits.
pub const KEY_ADDRESS_BYTES_MAX: usize = 49;
/// For so much log time after its revocation a key is remembered: 30 days.
pub const REVOKED_KEY_LIFETIME_NS: u64 = 30 * 24 * 3_600 * 1_000_000_000;
/// How many revoked keys one act forgets. Two, because an act adds at most one.
const FORGOTTEN_PER_ACT: usize = 2;

/// Whether a key has a valid name, and the rest of it is in range.
pub(crate) fn check_key(spec: &KeySpec) -> Result<(), AdminReason> {
    let name_ok =
        !spec.key.is_empty() && spec.key.len() <= KEY_BYTES_MAX && spec.key.bytes().all(|b| b.is_ascii_alphanumeric());
    if !name_ok {
        return Err(AdminReason::NameInvalid);
    }
    let public_ok = spec.ed25519_public.is_empty() || spec.ed25519_public.len() == 32;
    let addresses_ok = spec.addresses.len() <= KEY_ADDRESSES_MAX
        && spec.addresses.iter().all(|address| address.len() <= KEY_ADDRESS_BYTES_MAX);
    let ok = public_ok && spec.permissions <= 0b111 && addresses_ok;
    if ok { Ok(()) } else { Err(AdminReason::OutOfRange) }
}

/// An API key's public part.
#[derive(Debug, Clone)]
pub struct Key {
    pub spec: KeySpec,
    pub revoked: bool,
    /// When it was revoked; zero for a key that was not, or was under rules 1.
    pub revoked_at: TsNs,
}

/// All API keys, by id, which is the order in which they were added. Trees, because they never copy all to grow.
#[derive(Debug, Default)]
pub struct Keys {
    keys: BTreeMap<KeyId, Key>,
    by_name: BTreeMap<String, KeyId>,
    /// The one that was revoked first before the others.
    revoked: BTreeSet<(TsNs, KeyId)>,
    /// The id of the key that was added last.
    id_last: KeyId,
}

impl Keys {
    pub fn add(&mut self, spec: KeySpec) -> KeyId {
        let id = KeyId(self.id_last.0 + 1);
        let before = self.by_name.insert(spec.key.clone(), id);
        assert!(before.is_none() && self.keys.len() < KEYS_MAX as usize, "admission refuses a name that is taken");
        self.keys.insert(id, Key { spec, revoked: false, revoked_at: TsNs(0) });
        self.id_last = id;
        id
    }

    /// Revokes a key. A key that is revoked already keeps the time of its first revocation.
    pub(crate) fn revoke(&mut self, name: &str, at: TsNs) -> Option<&Key> {
        let id = *self.by_name.get(name)?;
        let key = self.keys.get_mut(&id)?;
        if !key.revoked {
            (key.revoked, key.revoked_at) = (true, at);
            self.revoked.insert((at, id));
        }
        Some(key)
    }

    /// The keys that the next act may forget.
    fn over(&self, now: TsNs) -> impl Iterator<Item = &(TsNs, KeyId)> {
        let lifetime = REVOKED_KEY_LIFETIME_NS.planted(Mutation::RevokedKeyKept, |_| u64::MAX);
        let is_over = move |at: TsNs| lifetime <= now.0.saturating_sub(at.0);
        self.revoked.iter().take(FORGOTTEN_PER_ACT).take_while(move |(at, _)| is_over(*at))
    }

    /// Whether one more can be added now, under rules that forget.
    pub(crate) fn has_room(&self, now: TsNs) -> bool {
        self.keys.len() - self.over(now).count() < KEYS_MAX as usize && self.id_last.0 < u32::MAX
    }

    /// Forgets up to two keys that were revoked long ago, and gives their ids.
    pub(crate) fn forget(&mut self, now: TsNs) -> [Option<KeyId>; FORGOTTEN_PER_ACT] {
        let mut forgotten = [None; FORGOTTEN_PER_ACT];
        for place in &mut forgotten {
            let Some(&(at, id)) = self.over(now).next() else { break };
            self.revoked.remove(&(at, id));
            let key = self.keys.remove(&id).expect("a revoked key is remembered until it is forgotten");
            self.by_name.remove(&key.spec.key);
            *place = Some(id);
        }
        forgotten
    }

    /// Makes `now` the time of all later revocations, and counts them.
    pub(crate) fn set_back(&mut self, now: TsNs) -> usize {
        let later: Vec<(TsNs, KeyId)> = self.revoked.iter().filter(|(at, _)| now < *at).copied().collect();
        for (at, id) in &later {
            self.revoked.remove(&(*at, *id));
            self.revoked.insert((now, *id));
            self.keys.get_mut(id).expect("a revoked key is remembered until it is forgotten").revoked_at = now;
        }
        later.len()
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The id of the key that was added last; none when there was no key yet.
    pub fn id_last(&self) -> KeyId {
        self.id_last
    }

    pub fn get(&self, id: KeyId) -> Option<&Key> {
        self.keys.get(&id)
    }

    pub fn find(&self, name: &str) -> Option<&Key> {
        self.by_name.get(name).and_then(|id| self.keys.get(id))
    }

    /// By id.
    pub fn iter(&self) -> impl Iterator<Item = (KeyId, &Key)> {
        self.keys.iter().map(|(id, key)| (*id, key))
    }

    /// Whether ids and times say more than the keys themselves: one was forgotten, or revoked under rules that forget.
    pub(crate) fn has_history(&self) -> bool {
        self.id_last.0 as usize != self.keys.len() || self.revoked.last().is_some_and(|(at, _)| 0 < at.0)
    }

    /// Gives the keys of a snapshot, which were added one after the other, their ids and the times of their revocation.
    /// False when these do not fit the keys.
    #[must_use]
    pub(crate) fn restore_history(&mut self, history: &[(KeyId, TsNs)], id_last: KeyId) -> bool {
        let fits = history.len() == self.keys.len()
            && history.is_sorted_by(|(a, _), (b, _)| a < b)
            && history.iter().all(|(id, _)| !id.is_none() && *id <= id_last)
            && history.iter().zip(self.keys.values()).all(|((_, at), key)| key.revoked || at.0 == 0);
        if fits {
            let keys = std::mem::take(self).keys;
            for ((id, revoked_at), (_, key)) in history.iter().zip(keys) {
                if key.revoked {
                    self.revoked.insert((*revoked_at, *id));
                }
                self.by_name.insert(key.spec.key.clone(), *id);
                self.keys.insert(*id, Key { revoked_at: *revoked_at, ..key });
            }
            self.id_last = id_last;
        }
        fits
    }
}
