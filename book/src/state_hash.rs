//! The hash of the complete state: equal states have equal hashes on any machine and in any build, however they came
//! about.
//!
//! Everything that can influence a later event is hashed, in a fixed order, also the free slots, because they decide
//! the ids to come. Capacities, empty balances, unused levels and the state of checks are not hashed.

use crate::command::{AfterLife, Side, Unfinished};
use crate::engine::{Engine, Market};
use crate::ids::ClOrdId;
use crate::intake::IntakeState;
use crate::names::{CLIENT_NAMES_DEFAULT, Name};
use crate::rules::Rules;
use crate::run::Run;
use crate::slab::Order;
use crate::units::TsNs;
use std::fmt;

/// BLAKE3 over the canonical walk of the state.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateHash(pub [u8; 32]);

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The version of the walk. It changes whenever something else is hashed.
const WALK_VERSION: u64 = 1;
/// These stand before what only some states have: the numbers of its sections in a snapshot.
const INTAKE: u64 = 45;
const SESSION_LIFE: u64 = 46;
const REFERENCE_TIMES: u64 = 47;
const KEY_HISTORY: u64 = 48;
const WALKS: u64 = 49;
const REQUESTS: u64 = 50;

/// Collects small fields in a buffer, because the hash is fast on large pieces.
struct Walk<'r> {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    pause: &'r mut dyn FnMut(),
}

const BUFFER_BYTES: usize = 64 * 1024;

impl<'r> Walk<'r> {
    fn new(pause: &'r mut dyn FnMut()) -> Self {
        Self { hasher: blake3::Hasher::new(), buffer: Vec::with_capacity(BUFFER_BYTES + 64), pause }
    }

    fn number(&mut self, value: u64) {
        self.buffer.extend_from_slice(&value.to_le_bytes());
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush();
            (self.pause)();
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.flush();
        self.hasher.update(bytes);
    }

    fn flush(&mut self) {
        self.hasher.update(&self.buffer);
        self.buffer.clear();
    }

    fn finish(mut self) -> StateHash {
        self.flush();
        StateHash(*self.hasher.finalize().as_bytes())
    }
}

impl Engine {
    pub fn state_hash(&self) -> StateHash {
        self.state_hash_paced(&mut || {})
    }

    /// The same for callers that must not occupy a core for as long as the walk takes: `pause` is called after every
    /// 64 KiB, and may sleep.
    pub fn state_hash_paced(&self, pause: &mut dyn FnMut()) -> StateHash {
        let mut walk = Walk::new(pause);
        walk.number(WALK_VERSION);
        walk.number(self.stamp.seq.0);
        walk.number(self.stamp.ts.0);
        self.walk_assets(&mut walk);
        self.walk_markets(&mut walk);
        self.walk_accounts(&mut walk);
        self.walk_sessions(&mut walk);
        self.walk_memories(&mut walk);
        walk.number(self.pool.orders.number_last());
        walk.number(self.pool.orders.slots_len() as u64);
        for slot in self.pool.orders.free_slots() {
            walk.number(u64::from(slot));
        }
        // Nothing under rules 1, so that the hashes in logs from before there were rules stay what they are.
        if Rules::One < self.rules {
            walk.number(self.rules as u64);
        }
        // Nothing while all orders are accepted, as in states from before there was an intake.
        if self.intake != IntakeState::All {
            walk.number(INTAKE);
            walk.number(self.intake as u64);
        }
        self.walk_requests(&mut walk);
        self.walk_ages(&mut walk);
        walk.finish()
    }

    /// Nothing in a state without an unfinished command, and without requests that are counted.
    fn walk_requests(&self, walk: &mut Walk<'_>) {
        for unfinished in self.open.walks.iter() {
            walk.number(WALKS);
            walk_unfinished(walk, &unfinished.of);
            walk.number(unfinished.at.0);
            walk.number(u64::from(unfinished.span.next));
            walk.number(u64::from(unfinished.span.last));
        }
        for (id, session) in self.sessions.iter().filter(|(_, session)| session.requests.empty_at != TsNs(0)) {
            walk.number(REQUESTS);
            walk.number(u64::from(id.0));
            walk.number(session.requests.empty_at.0);
        }
    }

    /// Nothing while no payment was booked and no key revoked under rules that forget them by age.
    fn walk_ages(&self, walk: &mut Walk<'_>) {
        if self.references.times().next().is_some() {
            walk.number(REFERENCE_TIMES);
            self.references.times().for_each(|ts| walk.number(ts.0));
            walk.number(u64::MAX);
        }
        if self.keys.has_history() {
            walk.number(KEY_HISTORY);
            walk.number(self.keys.id_last().0.into());
            for (id, key) in self.keys.iter() {
                walk.number(id.0.into());
                walk.number(key.revoked_at.0);
            }
        }
    }

    fn walk_assets(&self, walk: &mut Walk<'_>) {
        walk.number(self.accounts.assets().len() as u64);
        for book in self.accounts.assets() {
            walk.bytes(book.asset.symbol.as_str().as_bytes());
            walk.number(u64::from(book.asset.scale));
            walk.number(book.custody.0);
            walk.number(book.fees.0);
        }
        for tier in &self.fee_tiers {
            walk.number(tier.maker_scale.0 as u64);
            walk.number(tier.taker_scale.0 as u64);
        }
    }

    fn walk_markets(&self, walk: &mut Walk<'_>) {
        walk.number(self.markets.len() as u64);
        for market in self.markets.iter() {
            if market.is_removed() {
                // No other market has an empty name.
                walk.bytes(&[]);
                continue;
            }
            walk_rules(walk, market);
            for side in [Side::Buy, Side::Sell] {
                for (slot, order) in market.book.queue(&self.pool, side) {
                    walk_order(walk, slot, order);
                }
                walk.number(u64::MAX);
            }
        }
    }

    fn walk_accounts(&self, walk: &mut Walk<'_>) {
        walk.number(self.accounts.len() as u64);
        for (id, account) in self.accounts.iter() {
            walk.bytes(self.accounts.name(id).unwrap_or_default().as_bytes());
            walk.number(account.kind as u64);
            walk.number(account.status as u64);
            walk.number(u64::from(account.fee_tier));
            walk.number(u64::from(account.blocked));
            walk.number(u64::from(account.parent.0));
            walk.number(u64::from(account.open_max));
            for balance in account.balances().filter(|b| b.available.0 > 0 || b.held.0 > 0) {
                walk.number(u64::from(balance.asset.0));
                walk.number(balance.available.0);
                walk.number(balance.held.0);
            }
            walk.number(u64::MAX);
            // The order of the list decides in which order a mass cancel goes.
            for slot in self.open.of(account) {
                walk.number(u64::from(slot));
            }
            walk.number(u64::MAX);
        }
    }

    fn walk_sessions(&self, walk: &mut Walk<'_>) {
        walk.number(self.sessions.len() as u64);
        for (_, session) in self.sessions.iter() {
            walk.bytes(session.user.as_str().as_bytes());
            walk.bytes(session.password_hash.as_bytes());
            walk.number(u64::from(session.account.0));
            walk.number(u64::from(session.drop_copy));
            walk.number(session.blocked as u64);
            walk.number(session.cod_mode as u64);
            walk.number(session.cod_scope as u64);
            walk.number(u64::from(session.cod_window_ms));
            walk.number(session.cl_ord_id_last.0);
            walk.number(u64::from(session.bucket.throttle.orders_per_second));
            walk.number(u64::from(session.bucket.throttle.burst));
            walk.number(session.bucket.empty_at.0);
            // Nothing for the others, as in states from before there were such sessions.
            if 0 < session.lives || session.removed {
                walk.number(SESSION_LIFE);
                walk.number(u64::from(session.lives));
                walk.number(u64::from(session.life.of));
                walk.number(u64::from(session.life.tag.0));
                walk.number(u64::from(session.removed));
            }
        }
        walk.number(self.keys.len() as u64);
        for (_, key) in self.keys.iter() {
            walk.bytes(key.spec.key.as_bytes());
            walk.number(u64::from(key.spec.account.0));
            walk.number(u64::from(key.spec.permissions));
            walk.bytes(&key.spec.ed25519_public);
            walk.number(key.spec.addresses.len() as u64);
            key.spec.addresses.iter().for_each(|address| walk.bytes(address.as_bytes()));
            walk.number(key.spec.expires.0);
            walk.number(u64::from(key.revoked));
        }
    }

    /// Nothing in a state without names, with the bound that every state begins with, and without a recorded run.
    fn walk_names_and_run(&self, walk: &mut Walk<'_>) {
        if self.names.max() != CLIENT_NAMES_DEFAULT {
            walk.number(u64::from(self.names.max()));
        }
        if self.run != Run::default() {
            let Run { directory, may_lose, life, tag, skipped } = self.run;
            for value in [directory, u64::from(may_lose), u64::from(life), u64::from(tag.0), skipped] {
                walk.number(value);
            }
        }
        let open = self.pool.orders.iter().filter_map(|(slot, _)| self.names.of_slot(slot));
        open.chain(self.names.ended()).for_each(|name| walk_name(walk, name));
    }

    fn walk_memories(&self, walk: &mut Walk<'_>) {
        for (remembered, first) in self.client_ids.iter() {
            walk.number(remembered.ts.0);
            walk.number(u64::from(remembered.account.0));
            walk.number(remembered.key.0 as u64);
            walk.number((remembered.key.0 >> 64) as u64);
            let Some(first) = first else {
                walk.number(u64::MAX);
                continue;
            };
            walk.number(first.seq.0);
            match first.outcome {
                Ok(order_id) => walk.number(order_id.0),
                Err(reason) => walk.number(reason as u64),
            }
        }
        walk.number(u64::MAX);
        self.walk_names_and_run(walk);
        for (key, payment) in self.references.iter() {
            walk.number(key.0 as u64);
            walk.number((key.0 >> 64) as u64);
            walk.number(u64::from(payment.withdrawal));
            walk.number(u64::from(payment.account.0));
            walk.number(u64::from(payment.asset.0));
            walk.number(payment.amount.0);
        }
        walk.number(u64::MAX);
    }
}

fn walk_unfinished(walk: &mut Walk<'_>, of: &Unfinished) {
    let (kind, session, request) = match of {
        Unfinished::MassCancel(mass) => (0, mass.session, mass.cl_ord_id),
        Unfinished::SessionDown(down) => (1, down.session, ClOrdId(0)),
        Unfinished::Count(query) => (2, query.session, query.request),
        Unfinished::Tell(query) => (3, query.session, query.request),
        Unfinished::EndLife(end) => match end.then {
            AfterLife::Begins(tag) => (4, end.session, ClOrdId(tag.0.into())),
            AfterLife::Removed => (5, end.session, ClOrdId(0)),
        },
    };
    for value in [kind, u64::from(session.0), request.0] {
        walk.number(value);
    }
}

fn walk_name(walk: &mut Walk<'_>, name: &Name) {
    for value in [
        u64::from(name.account.0),
        name.key.0 as u64,
        (name.key.0 >> 64) as u64,
        name.order_id.0,
        name.seq.0,
        name.ended().map_or(u64::MAX, |ended| ended.0),
    ] {
        walk.number(value);
    }
}

fn walk_rules(walk: &mut Walk<'_>, market: &Market) {
    let rules = &market.rules;
    walk.bytes(rules.symbol.as_str().as_bytes());
    for value in [
        u64::from(rules.base.0),
        u64::from(rules.quote.0),
        rules.tick_e9,
        rules.lot_e8,
        rules.limits.qty_min.0,
        rules.limits.qty_max.0,
        rules.limits.notional_min.0,
        rules.limits.price_band.0 as u64,
        rules.fees.maker().0 as u64,
        rules.fees.taker_stored().0 as u64,
        rules.status as u64,
        market.tape.last_price.map_or(0, |p| u64::from(p.0)),
        market.tape.trade_count,
    ] {
        walk.number(value);
    }
}

fn walk_order(walk: &mut Walk<'_>, slot: u32, order: &Order) {
    for value in [
        u64::from(slot),
        order.id.0,
        order.leaves.0,
        order.cum.0,
        order.cl_ord_id.0,
        u64::from(order.account.0),
        u64::from(order.session.0),
        u64::from(order.price.0),
        u64::from(order.stp_group) << 16 | u64::from(order.traits.bits()) << 8 | u64::from(order.cancel_group),
    ] {
        walk.number(value);
    }
}
