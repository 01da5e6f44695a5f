//! From pieces to a state. The bytes may be anything: rows that do not fit together are an error, never a panic.

mod rules_two;

use super::rows::{
    AccountRow, AssetRow, ClientIdRow, HeadRow, KeyRow, MarketRow, OrderRow, ReferenceRow, SessionRow, SlotRow,
};
use super::section::{PIECE_BYTES_MAX, Section};
use crate::accounts::{AssetBook, Balance, OPEN_ORDERS_MAX, is_account_name, new_account};
use crate::client_ids::{CLIENT_IDS_MAX, FirstUse, Remembered};
use crate::codec::{CodecError, decode_row};
use crate::command::{MarketSpec, MarketStatus};
use crate::engine::{Engine, Market, Tape};
use crate::fees::{FEE_TIERS, check_fee_tier};
use crate::ids::{
    ACCOUNTS_MAX, AccountId, AssetId, KeyId, MarketId, ORDER_NUMBER_MAX, ORDER_SLOTS_MAX, SessionId, Symbol,
};
use crate::instrument::{ASSET_SCALE_MAX, ASSETS_MAX, Asset, MARKETS_MAX, MarketRules};
use crate::intake::IntakeState;
use crate::keys::{KEYS_MAX, check_key};
use crate::mutation::{Mutation, Planted};
use crate::open_orders::Lists;
use crate::order_book::OrderBook;
use crate::references::{Payment, REFERENCES_MAX, Reference};
use crate::rules::{Rules, RulesVersion};
use crate::run::Run;
use crate::running_hash::CheckState;
use crate::session::{
    Bucket, COD_WINDOW_MS_MAX, RequestBucket, SESSIONS_MAX, Session, SessionLife, check_password_hash, check_throttle,
};
use crate::slab::{NIL, Order, OrderTraits};
use crate::units::{QTY_LOTS_MAX, Stamp, TsNs, UNITS_MAX};
use bincode::Decode;

/// Why the pieces of a snapshot were refused.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("a piece of the snapshot has {0} bytes, and the longest may have {PIECE_BYTES_MAX}")]
    PieceTooLong(usize),
    #[error("section {found:?} of the snapshot stands after section {before:?}, and belongs before it")]
    OutOfOrder { found: Section, before: Section },
    #[error("row {row} of section {section:?} of the snapshot cannot be decoded: {cause}")]
    Row { section: Section, row: u64, cause: CodecError },
    #[error("row {row} of section {section:?} of the snapshot is refused: {why}")]
    Refused { section: Section, row: u64, why: &'static str },
    #[error("the sections of the snapshot do not agree: {0}")]
    Disagreement(&'static str),
    #[error("the snapshot is of rules version {0}, and this build knows up to {newest}: use the build that wrote it", newest = Rules::NEWEST)]
    UnknownRules(RulesVersion),
}

/// Takes pieces in the order in which they were saved, and makes an engine of them.
#[derive(Debug)]
pub struct Loader {
    engine: Engine,
    section: Section,
    /// Rows of the current section so far.
    rows: u64,
    head: Option<HeadRow>,
    /// In the order of reuse. They are linked when all are known.
    free_slots: Vec<u32>,
    /// By slot: whether it was named as free or as listed. Each slot is exactly one of them.
    seen: Vec<bool>,
    listed_count: usize,
    list_account: AccountId,
    /// By account, then by its balances: what its orders need to hold. In the end it equals what is held.
    needed: Vec<Vec<u64>>,
    /// By asset: what all accounts own of it.
    owned: Vec<u128>,
    rules_unknown: Option<RulesVersion>,
    reference_times: Vec<TsNs>,
    /// The last row is not that of a key.
    key_history: Vec<(KeyId, TsNs)>,
    named_count: usize,
    /// The largest number of an open order.
    number_max: u64,
    /// The last session whose life was loaded.
    session_life_last: SessionId,
}

type Outcome = Result<(), &'static str>;

impl Loader {
    /// Loads into a new engine. Its capacity stays, and grows when the snapshot needs more.
    pub fn new(engine: Engine) -> Self {
        assert!(engine.stamp() == Stamp::default(), "a snapshot is loaded into an engine that has applied nothing");
        Self {
            engine,
            section: Section::Head,
            rows: 0,
            head: None,
            free_slots: Vec::new(),
            seen: Vec::new(),
            listed_count: 0,
            named_count: 0,
            number_max: 0,
            list_account: AccountId::NONE,
            needed: Vec::new(),
            owned: Vec::new(),
            rules_unknown: None,
            session_life_last: SessionId::NONE,
            reference_times: Vec::new(),
            key_history: Vec::new(),
        }
    }

    pub fn take(&mut self, section: Section, piece: &[u8]) -> Result<(), SnapshotError> {
        if piece.len() > PIECE_BYTES_MAX {
            return Err(SnapshotError::PieceTooLong(piece.len()));
        }
        if section < self.section {
            return Err(SnapshotError::OutOfOrder { found: section, before: self.section });
        }
        if self.section < section {
            (self.section, self.rows) = (section, 0);
        }
        match section {
            Section::Head => self.each(piece, Self::take_head),
            Section::Assets => self.each(piece, Self::take_asset),
            Section::Markets => self.each(piece, Self::take_market),
            Section::Accounts => self.each(piece, Self::take_account),
            Section::Sessions => self.each(piece, Self::take_session),
            Section::Keys => self.each(piece, Self::take_key),
            Section::Orders => self.each(piece, Self::take_order),
            Section::FreeSlots => self.each(piece, Self::take_free_slot),
            Section::OpenLists => self.each(piece, Self::take_listed),
            Section::ClientIds => self.each(piece, Self::take_client_id),
            Section::References => self.each(piece, Self::take_reference),
            Section::Rules => self.each(piece, Self::take_rules),
            Section::OpenNames => self.each(piece, Self::take_open_name),
            Section::EndedNames => self.each(piece, Self::take_ended_name),
            Section::NamesMax => self.each(piece, Self::take_names_max),
            Section::Run => self.each(piece, Self::take_run),
            Section::Intake => self.each(piece, Self::take_intake),
            Section::SessionLives => self.each(piece, Self::take_session_life),
            Section::ReferenceTimes => self.each(piece, Self::take_reference_time),
            Section::KeyHistory => self.each(piece, Self::take_key_history),
            Section::Walks => self.each(piece, Self::take_walk),
            Section::Requests => self.each(piece, Self::take_requests),
        }
    }

    /// The loaded state, when all counts and sums agree, so that `Engine::verify` finds nothing. Comparing its hash is
    /// left to the caller.
    pub fn finish(mut self) -> Result<Engine, SnapshotError> {
        if let Some(version) = self.rules_unknown {
            return Err(SnapshotError::UnknownRules(version));
        }
        if self.engine.intake != IntakeState::All && self.engine.rules < Rules::Two {
            return Err(SnapshotError::Disagreement("under rules 1 no intake is stopped"));
        }
        self.check_sessions()?;
        self.check_money()?;
        self.restore_ages()?;
        let head = self.head.take().ok_or(SnapshotError::Disagreement("there is no head"))?;
        let orders = &mut self.engine.pool.orders;
        let free_count = self.free_slots.len();
        if orders.len() + free_count != orders.slots_len() {
            return Err(SnapshotError::Disagreement("orders and free slots together are not all slots"));
        }
        for slot in self.free_slots.iter().rev() {
            orders.link_free(*slot);
        }
        if self.listed_count != orders.len() {
            return Err(SnapshotError::Disagreement("an order is on no account's list of open orders"));
        }
        let named = orders.iter().filter(|(_, order)| order.traits.is_named()).count();
        if named != self.named_count {
            return Err(SnapshotError::Disagreement("a named order has no name"));
        }
        if head.number_last < self.number_max && !may_have_started_again(&head, &self.engine.run) {
            return Err(SnapshotError::Disagreement("an order number is too large"));
        }
        orders.set_number_last(head.number_last);
        self.engine.seq_checked = self.engine.stamp.seq;
        debug_assert_eq!(self.engine.verify(), Ok(()), "a snapshot that was accepted is a consistent state");
        Ok(self.engine)
    }

    /// What is held is what orders need, and what accounts own and the fees together are what is in custody.
    fn check_money(&self) -> Result<(), SnapshotError> {
        let accounts = &self.engine.accounts;
        for ((_, account), needed) in accounts.iter().zip(&self.needed) {
            let held = account.balances().map(|balance| balance.held.0);
            if !held.eq(needed.iter().copied()) {
                return Err(SnapshotError::Disagreement("an account does not hold what its orders need"));
            }
        }
        for (book, owned) in accounts.assets().iter().zip(&self.owned) {
            if owned + u128::from(book.fees.0) != u128::from(book.custody.0) {
                return Err(SnapshotError::Disagreement("balances and fees do not add up to custody"));
            }
        }
        Ok(())
    }

    /// Decodes every row of a piece and gives it to `take`.
    fn each<R: Decode<()>>(&mut self, piece: &[u8], take: fn(&mut Self, R) -> Outcome) -> Result<(), SnapshotError> {
        let section = self.section;
        let mut rest = piece;
        while !rest.is_empty() {
            let row = self.rows;
            let (decoded, len) = decode_row(rest).map_err(|cause| SnapshotError::Row { section, row, cause })?;
            take(self, decoded).map_err(|why| SnapshotError::Refused { section, row, why })?;
            rest = &rest[len..];
            self.rows += 1;
        }
        Ok(())
    }

    fn take_head(&mut self, row: HeadRow) -> Outcome {
        let fee_tiers = row.fee_tiers.as_slice().try_into().ok();
        let fee_tiers: [_; FEE_TIERS] = fee_tiers.ok_or("it has another number of fee tiers")?;
        ensure(fee_tiers.iter().all(|fees| check_fee_tier(0, *fees).is_ok()), "a fee tier is out of range")?;
        ensure(self.head.is_none(), "there is a head already")?;
        ensure(row.slots_len <= ORDER_SLOTS_MAX, "it has more order slots than an exchange can have")?;
        ensure(row.number_last <= ORDER_NUMBER_MAX, "an order number is too large")?;
        let CheckState { slot, account, .. } = row.check_state;
        ensure(
            slot <= row.slots_len && account <= ACCOUNTS_MAX,
            "the next check starts after the last order or account",
        )?;
        self.engine.check_state = row.check_state;
        self.engine.fee_tiers = fee_tiers;
        self.engine.stamp.seq = row.seq;
        self.engine.stamp.ts = row.ts;
        self.engine.pool.orders.make_slots(row.slots_len as usize);
        self.seen = vec![false; row.slots_len as usize];
        self.head = Some(row);
        Ok(())
    }

    fn take_asset(&mut self, row: AssetRow) -> Outcome {
        let id = AssetId(self.engine.accounts.assets().len() as u32 + 1);
        ensure(
            id.0 <= ASSETS_MAX && row.symbol.is_valid() && row.scale <= ASSET_SCALE_MAX,
            "the asset has no place, name or scale",
        )?;
        ensure(
            row.custody.0 <= UNITS_MAX && row.fees <= row.custody,
            "there are more fees than custody, or too much to count",
        )?;
        let asset = Asset { id, symbol: row.symbol, scale: row.scale };
        self.engine.accounts.restore_asset(AssetBook { asset, custody: row.custody, fees: row.fees });
        self.owned.push(0);
        Ok(())
    }

    fn take_market(&mut self, row: MarketRow) -> Outcome {
        if row.symbol == Symbol::NONE {
            return self.take_removed(row);
        }
        let id = MarketId(self.engine.markets.len() as u32 + 1);
        ensure(id.0 <= MARKETS_MAX, "there are more markets than an exchange can have")?;
        let asset = |id| self.engine.accounts.asset(id).map(|book| book.asset).ok_or("the asset is unknown");
        let (base, quote) = (asset(row.base)?, asset(row.quote)?);
        let spec = MarketSpec {
            symbol: row.symbol,
            base: row.base,
            quote: row.quote,
            tick_e9: row.tick_e9,
            lot_e8: row.lot_e8,
            limits: row.limits,
            fees: row.fees,
            // A new market is never closed, but this one may have been closed since.
            status: MarketStatus::Trading,
        };
        let mut rules =
            MarketRules::new(id, &spec, &base, &quote).map_err(|_| "the rules of the market would be refused")?;
        rules.status = row.status;
        ensure(row.last_price.is_none_or(|price| 0 < price.0), "the last price is zero")?;
        // Every trade ends an order, and a command places at most one.
        ensure(row.trade_count <= self.engine.stamp.seq.0, "the market has more trades than there were commands")?;
        ensure(self.engine.market_names.insert(row.symbol), "the symbol names another market")?;
        let tape = Tape { last_price: row.last_price, trade_count: row.trade_count, open_count: 0 };
        self.engine.markets.push(Market { rules, book: OrderBook::default(), tape });
        Ok(())
    }

    fn take_removed(&mut self, row: MarketRow) -> Outcome {
        let markets = &mut self.engine.markets;
        ensure(0 < row.trade_count, "no market was removed")?;
        let fits = row.trade_count <= u64::from(MARKETS_MAX) - markets.len() as u64;
        ensure(fits, "there are more markets than an exchange can have")?;
        (0..row.trade_count).for_each(|_| markets.push(Market::removed()));
        Ok(())
    }

    fn take_account(&mut self, row: AccountRow) -> Outcome {
        let accounts = &mut self.engine.accounts;
        ensure(accounts.len() < ACCOUNTS_MAX as usize, "there are more accounts than an exchange can have")?;
        ensure(is_account_name(&row.name), "the name is no name of an account")?;
        ensure(accounts.find_by_name(&row.name).is_none(), "the name names another account")?;
        let parent_ok = row.parent.is_none() || accounts.get(row.parent).is_some_and(|parent| parent.parent.is_none());
        ensure(parent_ok, "the parent is unknown or has a parent itself")?;
        ensure(row.open_max <= OPEN_ORDERS_MAX, "the limit of open orders is too large")?;
        ensure(usize::from(row.fee_tier) < FEE_TIERS, "the fee tier does not exist")?;
        let balances: Vec<Balance> =
            row.balances.iter().map(|b| Balance { asset: b.asset, available: b.available, held: b.held }).collect();
        ensure(balances.is_sorted_by(|a, b| a.asset < b.asset), "the balances are out of order")?;
        let assets_known = balances.iter().all(|b| accounts.asset(b.asset).is_some());
        ensure(assets_known, "a balance is of an unknown asset")?;
        let countable = balances.iter().all(|b| b.available.0 <= UNITS_MAX && b.held.0 <= UNITS_MAX);
        ensure(countable, "a balance is too large to count")?;
        for balance in &balances {
            self.owned[balance.asset.idx()] += u128::from(balance.available.0) + u128::from(balance.held.0);
        }
        self.needed.push(vec![0; balances.len()]);
        let mut account = new_account(row.kind, row.parent, row.fee_tier);
        account.status = row.status;
        account.blocked = row.blocked;
        account.open_max = row.open_max;
        account.restore_balances(balances);
        accounts.add(account, row.name);
        Ok(())
    }

    fn take_session(&mut self, row: SessionRow) -> Outcome {
        let sessions = &mut self.engine.sessions;
        ensure(sessions.len() < SESSIONS_MAX as usize, "there are more sessions than an exchange can have")?;
        ensure(
            row.user.is_valid() && sessions.find_by_user(row.user).is_none(),
            "the user name is not valid or names another session",
        )?;
        ensure(self.engine.accounts.get(row.account).is_some(), "the account is unknown")?;
        let in_range = check_password_hash(&row.password_hash).is_ok()
            && check_throttle(row.throttle).is_ok()
            && row.cod_window_ms <= COD_WINDOW_MS_MAX;
        ensure(in_range, "the password, the throttle or the window is out of range")?;
        sessions.add(Session {
            account: row.account,
            user: row.user,
            password_hash: row.password_hash,
            drop_copy: row.drop_copy,
            blocked: row.blocked,
            cod_mode: row.cod_mode,
            cod_scope: row.cod_scope,
            cod_window_ms: row.cod_window_ms,
            cl_ord_id_last: row.cl_ord_id_last,
            open_count: 0,
            bucket: Bucket { throttle: row.throttle, empty_at: row.empty_at },
            requests: RequestBucket::default(),
            lives: 0,
            life: SessionLife::default(),
            removed: false,
        });
        Ok(())
    }

    fn take_key(&mut self, row: KeyRow) -> Outcome {
        let keys = &mut self.engine.keys;
        ensure(keys.len() < KEYS_MAX as usize, "there are more keys than an exchange can have")?;
        ensure(keys.find(&row.spec.key).is_none(), "the name names another key")?;
        ensure(check_key(&row.spec).is_ok(), "the key is out of range")?;
        ensure(self.engine.accounts.get(row.spec.account).is_some(), "the account is unknown")?;
        let name = row.spec.key.clone();
        keys.add(row.spec);
        if row.revoked {
            keys.revoke(&name, TsNs(0));
        }
        Ok(())
    }

    fn take_order(&mut self, row: OrderRow) -> Outcome {
        let Engine { pool, markets, accounts, sessions, .. } = &mut self.engine;
        let slot = row.id.slot();
        let market = if row.market.is_none() { None } else { markets.get_mut(row.market.idx()) };
        let market = market.ok_or("the market is unknown")?;
        if !row.session.is_none() {
            let session = sessions.get(row.session).ok_or("the session is unknown")?;
            let is_own = session.account == row.account && !session.drop_copy;
            ensure(is_own, "the session may not trade for the account")?;
            ensure(row.cl_ord_id <= session.cl_ord_id_last, "the client order id is after the session's last one")?;
        }
        ensure(!row.id.is_none() && (slot as usize) < pool.orders.slots_len(), "the slot is after the last one")?;
        ensure(pool.orders.get(slot).id.is_none(), "the slot has another order")?;
        let total = row.leaves.0.checked_add(row.cum.0);
        let countable = total.is_some_and(|total| total <= QTY_LOTS_MAX);
        ensure(
            countable && 0 < row.leaves.0 && 0 < row.price.0,
            "the order has nothing open, no price, or too large a quantity",
        )?;
        ensure(0 < row.id.number(), "an order number is zero")?;
        self.number_max = self.number_max.max(row.id.number());
        let traits = OrderTraits::of_bits(row.traits).ok_or("the traits of the order are unknown")?;
        ensure(!market.book.crosses(traits.side(), row.price), "the order crosses the book")?;
        let hold = market.rules.hold_checked(traits.side(), row.price, row.leaves);
        let hold = hold.ok_or("the order needs more than can be held")?;
        let paid_in = market.rules.paid_in(traits.side());
        let account = accounts.get(row.account).ok_or("the account is unknown")?;
        let at = account.position(paid_in).ok_or("the account has no balance to hold from")?;
        let needed = &mut self.needed[row.account.idx()][at];
        // A balance holds at most `UNITS_MAX`, so a sum that saturates differs from it and is refused in the end.
        *needed = needed.saturating_add(hold.0);
        pool.orders.put(
            slot,
            Order {
                id: row.id,
                leaves: row.leaves,
                cum: row.cum,
                cl_ord_id: row.cl_ord_id,
                prev: NIL,
                next: NIL,
                level: NIL,
                account: row.account,
                session: row.session,
                market: row.market,
                price: row.price,
                stp_group: row.stp_group,
                traits,
                cancel_group: row.cancel_group,
            },
        );
        market.book.rest(pool, slot);
        market.tape.count_opened();
        Ok(())
    }

    fn take_free_slot(&mut self, SlotRow(slot): SlotRow) -> Outcome {
        ensure_new(&mut self.seen, slot)?;
        ensure(self.engine.pool.orders.get(slot).id.is_none(), "the free slot has an order")?;
        self.free_slots.push(slot);
        Ok(())
    }

    fn take_listed(&mut self, SlotRow(slot): SlotRow) -> Outcome {
        let Engine { pool, accounts, sessions, open, index, names, .. } = &mut self.engine;
        ensure_new(&mut self.seen, slot)?;
        let order = *pool.orders.get(slot);
        ensure(!order.id.is_none(), "the listed slot has no order")?;
        ensure(self.list_account <= order.account, "the lists are not in the order of the accounts")?;
        let named = order.session != SessionId::NONE;
        let taken = named && index.find(&pool.orders, order.session, order.cl_ord_id).is_some();
        ensure(!taken, "two open orders have one client order id")?;
        let is_full = accounts.get(order.account).is_none_or(|account| account.open_count == OPEN_ORDERS_MAX);
        ensure(!is_full, "the account has more open orders than it may have")?;
        self.list_account = order.account;
        self.listed_count += 1;
        Lists { accounts, sessions, open, index, names }.add(slot, &order);
        Ok(())
    }

    fn take_client_id(&mut self, row: ClientIdRow) -> Outcome {
        let ids = &mut self.engine.client_ids;
        ensure(ids.len() < CLIENT_IDS_MAX, "there are more client ids than an exchange remembers")?;
        let now = self.engine.stamp.ts;
        ensure(
            row.ts <= now && ids.newest().is_none_or(|newest| newest <= row.ts),
            "the client ids are not in the order of their age",
        )?;
        let first = row.first.map(|first| FirstUse { ts: row.ts, seq: first.seq, outcome: first.outcome });
        ids.restore(Remembered { ts: row.ts, account: row.account, key: row.key }, first);
        Ok(())
    }

    fn take_reference(&mut self, row: ReferenceRow) -> Outcome {
        let references = &mut self.engine.references;
        let payment =
            Payment { withdrawal: row.withdrawal, account: row.account, asset: row.asset, amount: row.amount };
        ensure(!row.key.is_none() && 0 < row.amount.0, "the payment has no reference or no amount")?;
        ensure(references.len() < REFERENCES_MAX, "there are more references than an exchange remembers")?;
        ensure(references.check(TsNs(0), row.key, &payment) == Reference::New, "the reference is booked already")?;
        references.remember(TsNs(0), row.key, payment);
        Ok(())
    }
}

/// Whether numbers of orders may have started again after the largest one, so that an order that has been open for long
/// has a higher number than the newest. No command places two orders, so before there were that many commands, with
/// what lives have skipped, no order has.
fn may_have_started_again(head: &HeadRow, run: &Run) -> bool {
    (ORDER_NUMBER_MAX < head.seq.0.saturating_add(run.skipped)).planted(Mutation::OldNumbersRefused, |_| false)
}

fn ensure(holds: bool, why: &'static str) -> Outcome {
    if holds { Ok(()) } else { Err(why) }
}

fn ensure_new(seen: &mut [bool], slot: u32) -> Outcome {
    let seen = seen.get_mut(slot as usize).ok_or("the slot is after the last one")?;
    ensure(!std::mem::replace(seen, true), "the slot is named twice")
}
