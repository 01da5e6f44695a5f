//! The running hash over every outcome, and what two states that disagree report.
//!
//! Every event is folded into one number as it happens. Two engines that applied the same commands have the same
//! number, and one that went another way has another one from there on. It is made for speed, not against forgery: it
//! finds accidents, and the state hash of a snapshot finds the rest.
//!
//! Invariant: descriptions of transfers are not hashed, because the live engine does not make them.

use crate::event::{Event, FillSide, Sink};
use crate::units::{Seq, Stamp};

/// Odd, without a pattern: the fractional digits of sqrt(2), sqrt(3), sqrt(5), sqrt(7).
const FACTORS: [u64; 4] = [0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1];

/// What the next check will hash. Snapshots keep it; the state hash does not contain it, because it says how a state
/// came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct CheckState {
    /// The running hash over every event since the first command.
    pub running: u64,
    /// The first order slot and the first account that the next check samples.
    pub slot: u32,
    pub account: u32,
}

/// The first check at which this state and the one that wrote the log differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the check at sequence {} recorded the hash {recorded:016x}, and this state has {computed:016x}: they differ from \
     there or from before it", seq.0
)]
pub struct Divergence {
    pub seq: Seq,
    pub recorded: u64,
    pub computed: u64,
}

/// Folds four numbers into a hash.
#[inline]
pub(crate) fn fold(hash: u64, words: [u64; 4]) -> u64 {
    let [a, b, c, d] = words;
    // Multiplied side by side; only the last step waits for the hash before it.
    let mixed = a.wrapping_mul(FACTORS[0]) ^ b.wrapping_mul(FACTORS[1]).rotate_left(17);
    let mixed = mixed ^ c.wrapping_mul(FACTORS[2]).rotate_left(31) ^ d.wrapping_mul(FACTORS[3]).rotate_left(47);
    (hash.rotate_left(29) ^ mixed).wrapping_mul(FACTORS[0])
}

/// A sink that hashes each event and passes it on to the caller's sink.
pub(crate) struct Hashing<'a, S> {
    pub sink: &'a mut S,
    pub hash: u64,
}

impl<S: Sink> Sink for Hashing<'_, S> {
    const LEDGER: bool = S::LEDGER;

    // Where an event is made its kind is known: inlined there, hashing it needs no jump by kind.
    #[inline(always)]
    fn push(&mut self, event: Event) {
        self.hash = fold_event(self.hash, &event);
        self.sink.push(event);
    }
}

#[inline(always)]
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
        Event::MarketRulesChanged(rules) => {
            [16, rules.id.0.into(), rules.fees.maker().0 as u64, rules.fees.taker().0 as u64]
        }
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
        // 26 is a command that was skipped.
        Event::RulesChanged { version } => [27, version.0.into(), 0, 0],
        Event::Unfinished(rest) => [28, rest.at.0, rest.count.into(), 0],
        Event::ClientNamesMaxChanged { max } => [29, u64::from(*max), 0, 0],
        Event::RunBegan { life, tag, skipped } => [30, u64::from(*life), u64::from(tag.0), *skipped],
        Event::IntakeChanged { state } => [31 | tag(*state as u8), 0, 0, 0],
        Event::WindowBegan(e) => [40 | tag(e.cause as u8), e.session.0.into(), e.number.into(), e.window_ms.into()],
        Event::SessionLifeBegan { session, lives, tag, skipped } => {
            [41, pair(session.0, *lives), tag.0.into(), *skipped]
        }
        Event::SessionPasswordChanged { session } => [42, session.0.into(), 0, 0],
        Event::SessionRemoved { session } => [43, session.0.into(), 0, 0],
        Event::SessionDisconnected { session } => [44, session.0.into(), 0, 0],
        Event::TornEndAcknowledged { seq } => [45, seq.0, 0, 0],
        Event::KeyForgotten { key } => [46, key.0.into(), 0, 0],
        Event::MarketRemoved { market } => [47, market.0.into(), 0, 0],
    };
    fold(hash, words)
}

#[inline]
fn fold_side(first: u64, side: &FillSide) -> [u64; 4] {
    [first, side.order_id.0, side.leaves.0, side.cum.0]
}

/// A small enum, beside the number that stands for the kind of event.
#[inline]
pub(crate) fn tag(value: u8) -> u64 {
    u64::from(value) << 8
}

#[inline]
pub(crate) fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

impl CheckState {
    /// Hashes that a command was skipped: without this a state that skipped it would agree with one that did not.
    pub(crate) fn skip(&mut self, stamp: Stamp) {
        self.running = fold(self.running, [26, stamp.seq.0, stamp.ts.0, 0]);
    }
}
