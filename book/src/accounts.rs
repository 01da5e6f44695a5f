//! Accounts, their balances, and every movement of money as a balanced transfer.
//!
//! Invariants: per asset, all that is available and held and the fees together are what is in custody; what an account
//! holds is what its open orders need. Nothing here rounds. No amount is larger than custody, which is at most
//! `UNITS_MAX`. Each movement checks both sides of itself; `verify` sums them all.

use crate::array::Array;
use crate::command::{AccountKind, AccountStatus};
use crate::event::{Event, LedgerAccount, Sink, Transfer, TransferKind};
use crate::ids::{ACCOUNTS_MAX, AccountId, AssetId, ORDER_SLOTS_MAX, OrderId};
use crate::instrument::{ASSETS_MAX, Asset};
use crate::mutation::{Mutation, Planted};
use crate::units::{UNITS_MAX, Units};
use prefetch_index::prefetch_index;
use std::collections::BTreeMap;

pub const ACCOUNT_NAME_BYTES_MAX: usize = 64;
/// How many orders a new account may have open until an administrator sets another limit.
pub const OPEN_ORDERS_DEFAULT: u32 = 100_000;
/// Rows of so many accounts are set aside at the start, in one piece.
const ACCOUNTS_RESERVED: usize = 1 << 14;
/// An account keeps its balances of the assets up to this one side by side.
const NEAR_ASSETS: u32 = 512;
pub const OPEN_ORDERS_MAX: u32 = 1 << 22;
const _: () = assert!(OPEN_ORDERS_DEFAULT <= OPEN_ORDERS_MAX && OPEN_ORDERS_MAX <= ORDER_SLOTS_MAX);

/// Whether an account may have this name: of printable ASCII characters, a few of them.
pub(crate) fn is_account_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= ACCOUNT_NAME_BYTES_MAX && name.bytes().all(|b| (b' '..=b'~').contains(&b))
}

/// So many balances are searched from the front: they lie in three or four cache lines.
const LINEAR_LEN_MAX: usize = 8;
const _: () = assert!(size_of::<Balance>() * LINEAR_LEN_MAX <= 3 * 64);

/// What an account owns of one asset: the sum of the two is the client's, and only trades, fees and payments change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    pub asset: AssetId,
    pub available: Units,
    pub held: Units,
}

/// A client, a market maker, an agent or the house itself.
///
/// Balances are changed by `Accounts` alone, the list of open orders by `OpenOrders` alone, the rest by administrators.
#[derive(Debug)]
#[repr(align(64))]
pub struct Account {
    /// Of the first `NEAR_ASSETS` assets: sorted, each asset once. A vector, because an account has few assets and they
    /// share cache lines; a balance that was made stays, also when it is empty.
    near: Vec<Balance>,
    /// Of all other assets. A tree, because a vector of them would be copied to grow; in a box, so that the accounts of
    /// an exchange with few assets stay within their cache line.
    #[expect(
        clippy::box_collection,
        reason = "a tree by itself is two words longer, and the line has no room for them"
    )]
    far: Option<Box<BTreeMap<AssetId, Balance>>>,
    pub kind: AccountKind,
    pub status: AccountStatus,
    pub fee_tier: u8,
    /// The kill switch: no new orders until it is lifted.
    pub blocked: bool,
    /// The agent that introduced this account, or none. Accounts with one parent are one family for self-trade
    /// prevention.
    pub parent: AccountId,
    pub open_count: u32,
    pub open_max: u32,
    /// Oldest and youngest order on the account's list of open orders (`open_orders`).
    pub open_head: u32,
    pub open_tail: u32,
}

const _: () = assert!(size_of::<Account>() == 64, "the row of an account is one cache line");

impl Account {
    /// Sorted by asset, each asset once.
    pub fn balances(&self) -> impl Iterator<Item = &Balance> {
        self.near.iter().chain(self.far.iter().flat_map(|far| far.values()))
    }

    /// The place of an asset's balance among all balances.
    pub(crate) fn position(&self, asset: AssetId) -> Option<usize> {
        if asset.0 <= NEAR_ASSETS {
            return self.near.binary_search_by_key(&asset, |b| b.asset).ok();
        }
        let far = self.far.as_ref().filter(|far| far.contains_key(&asset))?;
        Some(self.near.len() + far.range(..asset).count())
    }

    #[inline]
    fn find_near(&self, asset: AssetId) -> Option<usize> {
        if self.near.len() <= LINEAR_LEN_MAX {
            self.near.iter().position(|b| b.asset == asset)
        } else {
            self.near.binary_search_by_key(&asset, |b| b.asset).ok()
        }
    }

    #[inline]
    fn find(&self, asset: AssetId) -> Option<&Balance> {
        match self.find_near(asset) {
            Some(idx) => Some(&self.near[idx]),
            None => self.far.as_ref()?.get(&asset),
        }
    }

    /// Sets the balances that a snapshot has of a new account.
    pub(crate) fn restore_balances(&mut self, balances: Vec<Balance>) {
        assert!(self.near.is_empty() && self.far.is_none(), "balances are restored once");
        assert!(balances.is_sorted_by(|a, b| a.asset < b.asset), "balances are sorted, each asset once");
        for balance in balances {
            *self.entry(balance.asset) = balance;
        }
    }

    pub fn available(&self, asset: AssetId) -> Units {
        self.find(asset).map_or(Units(0), |balance| balance.available)
    }

    pub fn held(&self, asset: AssetId) -> Units {
        self.find(asset).map_or(Units(0), |balance| balance.held)
    }

    /// The balance of `asset`; an empty one is made when the account never had any.
    #[inline]
    fn entry(&mut self, asset: AssetId) -> &mut Balance {
        match self.find_near(asset) {
            Some(idx) => &mut self.near[idx],
            None => self.entry_made(asset),
        }
    }

    #[cold]
    fn entry_made(&mut self, asset: AssetId) -> &mut Balance {
        let empty = Balance { asset, available: Units(0), held: Units(0) };
        if NEAR_ASSETS < asset.0 {
            return self.far.get_or_insert_default().entry(asset).or_insert(empty);
        }
        let idx = self.near.partition_point(|b| b.asset < asset);
        self.near.insert(idx, empty);
        let neighbours = &self.near[idx.saturating_sub(1)..self.near.len().min(idx + 2)];
        assert!(neighbours.is_sorted_by(|a, b| a.asset < b.asset), "a new balance keeps the others in order");
        &mut self.near[idx]
    }
}

impl Balance {
    /// Available and held together.
    #[inline]
    fn owned(&self) -> u64 {
        self.available.0 + self.held.0
    }
}

/// An asset and the exchange's own side of its ledger. Invariant: the fees are part of what is in custody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssetBook {
    pub asset: Asset,
    /// What the custodian keeps for all clients and the house.
    pub custody: Units,
    /// Fees earned, less the rebates paid from them.
    pub fees: Units,
}

/// All accounts and the ledger over them.
#[derive(Debug)]
pub struct Accounts {
    accounts: Array<Account>,
    /// By account. Apart from `accounts`, whose rows trading keeps in the cache.
    names: Array<String>,
    by_name: BTreeMap<String, AccountId>,
    /// Room for all is set aside at the start.
    assets: Vec<AssetBook>,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            accounts: Array::new(ACCOUNTS_RESERVED, ACCOUNTS_MAX as usize),
            names: Array::new(0, ACCOUNTS_MAX as usize),
            by_name: BTreeMap::new(),
            assets: Vec::with_capacity(ASSETS_MAX as usize),
        }
    }
}

/// The two payments of a fill, before fees.
#[derive(Clone, Copy, Debug)]
pub struct FillMoney {
    pub base: AssetId,
    pub quote: AssetId,
    pub buyer: AccountId,
    pub seller: AccountId,
    pub buyer_order: OrderId,
    pub seller_order: OrderId,
    pub base_units: Units,
    pub quote_units: Units,
}

impl Accounts {
    pub fn add(&mut self, account: Account, name: String) -> AccountId {
        assert!(self.accounts.len() < ACCOUNTS_MAX as usize, "admission counts the accounts first");
        self.accounts.push(account);
        let id = AccountId(self.accounts.len() as u32);
        let before = self.by_name.insert(name.clone(), id);
        assert!(before.is_none(), "an account's name is its own");
        self.names.push(name);
        assert!(self.accounts.len() == self.names.len(), "every account has a name");
        id
    }

    pub fn add_asset(&mut self, asset: Asset) {
        assert_eq!(asset.id.idx(), self.assets.len(), "asset ids are dense");
        assert!(self.assets.len() < self.assets.capacity(), "admission counts the assets first");
        self.assets.push(AssetBook { asset, custody: Units(0), fees: Units(0) });
    }

    /// Adds an asset of a snapshot, with what custody and the house have of it.
    pub(crate) fn restore_asset(&mut self, book: AssetBook) {
        assert!(book.fees <= book.custody, "fees are part of what is in custody");
        self.add_asset(book.asset);
        *self.assets.last_mut().expect("one was added") = book;
    }

    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    pub fn get(&self, id: AccountId) -> Option<&Account> {
        if id.is_none() { None } else { self.accounts.get(id.idx()) }
    }

    pub fn get_mut(&mut self, id: AccountId) -> Option<&mut Account> {
        if id.is_none() { None } else { self.accounts.get_mut(id.idx()) }
    }

    /// Brings an account's row into the cache. An id that names no account is harmless.
    #[inline]
    pub(crate) fn fetch(&self, id: AccountId) {
        self.accounts.fetch((id.0 as usize).wrapping_sub(1));
    }

    /// Brings an account's balances into the cache. Cheap only when the account's row is there already.
    #[inline]
    pub(crate) fn fetch_balances(&self, id: AccountId) {
        if let Some(account) = self.get(id) {
            prefetch_index(&account.near, 0);
        }
    }

    /// An account that is known to exist, because an open order or an admitted command names it.
    #[inline]
    pub(crate) fn at(&self, id: AccountId) -> &Account {
        self.accounts.at(id.idx())
    }

    #[inline]
    pub(crate) fn at_mut(&mut self, id: AccountId) -> &mut Account {
        self.accounts.at_mut(id.idx())
    }

    pub fn name(&self, id: AccountId) -> Option<&str> {
        if id.is_none() { None } else { self.names.get(id.idx()).map(String::as_str) }
    }

    pub fn find_by_name(&self, name: &str) -> Option<AccountId> {
        self.by_name.get(name).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (AccountId, &Account)> {
        self.accounts.iter().enumerate().map(|(idx, account)| (AccountId(idx as u32 + 1), account))
    }

    pub fn assets(&self) -> &[AssetBook] {
        &self.assets
    }

    pub fn asset(&self, id: AssetId) -> Option<&AssetBook> {
        if id.is_none() { None } else { self.assets.get(id.idx()) }
    }

    /// Whether custody can take this deposit and still be counted.
    pub fn custody_has_room(&self, asset: AssetId, amount: Units) -> bool {
        amount.0 <= UNITS_MAX - self.assets[asset.idx()].custody.0
    }

    pub fn deposit<S: Sink>(&mut self, account: AccountId, asset: AssetId, amount: Units, sink: &mut S) {
        assert!(self.custody_has_room(asset, amount), "admission checks custody first");
        let custody = &mut self.assets[asset.idx()].custody;
        custody.credit(amount.planted(Mutation::CustodyForgotten, |_| Units(0)), "custody has room for the deposit");
        let custody_after = *custody;
        let balance = self.at_mut(account).entry(asset);
        balance.available.credit(amount, "no balance is larger than custody");
        assert!(balance.owned() <= custody_after.0, "custody covers what an account owns");
        let credit_after = balance.available;
        if S::LEDGER {
            sink.push(Event::Transfer(Transfer {
                kind: TransferKind::Deposit,
                asset,
                debit: LedgerAccount::Custody,
                credit: LedgerAccount::Available(account),
                amount,
                debit_after: custody_after,
                credit_after,
                order_id: OrderId::NONE,
            }));
        }
    }

    pub fn withdraw<S: Sink>(&mut self, account: AccountId, asset: AssetId, amount: Units, sink: &mut S) {
        let balance = self.at_mut(account).entry(asset);
        balance.available.debit(amount, "admission checks what is available before a withdrawal");
        let (debit_after, owned_after) = (balance.available, balance.owned());
        let AssetBook { custody, fees, .. } = &mut self.assets[asset.idx()];
        custody.debit(amount, "custody covers what an account owns");
        assert!(owned_after + fees.0 <= custody.0, "custody still covers the account and the fees");
        let credit_after = *custody;
        if S::LEDGER {
            sink.push(Event::Transfer(Transfer {
                kind: TransferKind::Withdrawal,
                asset,
                debit: LedgerAccount::Available(account),
                credit: LedgerAccount::Custody,
                amount,
                debit_after,
                credit_after,
                order_id: OrderId::NONE,
            }));
        }
    }

    /// Pays earned fees out: they leave custody. The caller has checked how much there is.
    pub fn withdraw_fees<S: Sink>(&mut self, asset: AssetId, amount: Units, sink: &mut S) {
        let AssetBook { custody, fees, .. } = &mut self.assets[asset.idx()];
        fees.debit(amount, "admission checks the fees before they are paid out");
        let paid = amount.planted(Mutation::CustodyForgotten, |_| Units(0));
        custody.debit(paid, "fees are part of what is in custody");
        let (debit_after, credit_after) = (*fees, *custody);
        if S::LEDGER {
            sink.push(Event::Transfer(Transfer {
                kind: TransferKind::FeeWithdrawal,
                asset,
                debit: LedgerAccount::Fees,
                credit: LedgerAccount::Custody,
                amount,
                debit_after,
                credit_after,
                order_id: OrderId::NONE,
            }));
        }
    }

    /// Holds money for an order: from available to held. The caller has checked what is available.
    #[inline]
    pub fn hold<S: Sink>(&mut self, who: AccountId, asset: AssetId, amount: Units, order_id: OrderId, sink: &mut S) {
        let balance = self.at_mut(who).entry(asset);
        let owned = balance.owned();
        balance.available.debit(amount, "admission checks what is available before a hold");
        balance.held.credit(amount, "no hold is larger than custody");
        assert!(balance.owned() == owned, "a hold changes nothing that is owned");
        let (debit_after, credit_after) = (balance.available, balance.held);
        if S::LEDGER && amount.0 > 0 {
            sink.push(Event::Transfer(Transfer {
                kind: TransferKind::Hold,
                asset,
                debit: LedgerAccount::Available(who),
                credit: LedgerAccount::Held(who),
                amount,
                debit_after,
                credit_after,
                order_id,
            }));
        }
    }

    /// Releases what an order no longer needs: from held to available.
    #[inline]
    pub fn release<S: Sink>(&mut self, who: AccountId, asset: AssetId, amount: Units, order_id: OrderId, sink: &mut S) {
        let balance = self.at_mut(who).entry(asset);
        let owned = balance.owned();
        let moved = amount.planted(Mutation::ReleaseTooMuch, |amount| balance.held.min(Units(amount.0 + 1)));
        balance.held.debit(moved, "an order releases at most what it holds");
        balance.available.credit(moved, "no balance is larger than custody");
        assert!(balance.owned() == owned, "a release changes nothing that is owned");
        let (debit_after, credit_after) = (balance.held, balance.available);
        if S::LEDGER && amount.0 > 0 {
            sink.push(Event::Transfer(Transfer {
                kind: TransferKind::Release,
                asset,
                debit: LedgerAccount::Held(who),
                credit: LedgerAccount::Available(who),
                amount,
                debit_after,
                credit_after,
                order_id,
            }));
        }
    }

    /// Moves base from the seller's hold to the buyer and quote from the buyer's hold to the seller.
    #[inline]
    pub fn exchange<S: Sink>(&mut self, money: &FillMoney, sink: &mut S) {
        let FillMoney { base, quote, buyer, seller, buyer_order, seller_order, base_units, quote_units } = *money;
        assert!(base != quote && buyer_order != seller_order, "two orders exchange two assets");
        assert!(0 < base_units.0 && 0 < quote_units.0, "both sides of a trade pay something");
        self.pay_from_hold(base, seller, buyer, base_units, seller_order, sink);
        self.pay_from_hold(quote, buyer, seller, quote_units, buyer_order, sink);
    }

    #[inline]
    fn pay_from_hold<S: Sink>(
        &mut self,
        asset: AssetId,
        from: AccountId,
        to: AccountId,
        amount: Units,
        order_id: OrderId,
        sink: &mut S,
    ) {
        let payer = self.at_mut(from).entry(asset);
        payer.held.debit(amount, "an order pays at most what it holds");
        let debit_after = payer.held;
        let payee = self.at_mut(to).entry(asset);
        payee.available.credit(amount, "no balance is larger than custody");
        let credit_after = payee.available;
        if S::LEDGER {
            sink.push(Event::Transfer(Transfer {
                kind: TransferKind::Trade,
                asset,
                debit: LedgerAccount::Held(from),
                credit: LedgerAccount::Available(to),
                amount,
                debit_after,
                credit_after,
                order_id,
            }));
        }
    }

    /// Charges a fee from what an account has just received.
    #[inline]
    pub fn charge_fee<S: Sink>(&mut self, who: AccountId, asset: AssetId, fee: Units, order_id: OrderId, sink: &mut S) {
        if fee.0 == 0 {
            return;
        }
        let balance = self.at_mut(who).entry(asset);
        balance.available.debit(fee, "a fee is at most what was just received");
        let debit_after = balance.available;
        let AssetBook { custody, fees, .. } = &mut self.assets[asset.idx()];
        fees.credit(fee, "fees are part of what is in custody");
        assert!(fees.0 + debit_after.0 <= custody.0, "custody covers the fees and the account that paid");
        let credit_after = *fees;
        if S::LEDGER {
            sink.push(Event::Transfer(Transfer {
                kind: TransferKind::Fee,
                asset,
                debit: LedgerAccount::Available(who),
                credit: LedgerAccount::Fees,
                amount: fee,
                debit_after,
                credit_after,
                order_id,
            }));
        }
    }

    /// Pays a maker its share of the fee that the taker has just paid in this asset.
    #[inline]
    pub fn pay_rebate<S: Sink>(
        &mut self,
        who: AccountId,
        asset: AssetId,
        rebate: Units,
        order_id: OrderId,
        sink: &mut S,
    ) {
        if rebate.0 == 0 {
            return;
        }
        let fees = &mut self.assets[asset.idx()].fees;
        fees.debit(rebate, "a rebate is at most the fee that was just charged");
        let debit_after = *fees;
        let balance = self.at_mut(who).entry(asset);
        balance.available.credit(rebate, "no balance is larger than custody");
        let credit_after = balance.available;
        if S::LEDGER {
            sink.push(Event::Transfer(Transfer {
                kind: TransferKind::Rebate,
                asset,
                debit: LedgerAccount::Fees,
                credit: LedgerAccount::Available(who),
                amount: rebate,
                debit_after,
                credit_after,
                order_id,
            }));
        }
    }

    /// Makes the balances that fills of an order will change, so that settling a fill never inserts one.
    #[inline]
    pub fn open_rows(&mut self, who: AccountId, base: AssetId, quote: AssetId) {
        let account = self.at_mut(who);
        account.entry(base);
        account.entry(quote);
        debug_assert!(account.find(base).is_some() && account.find(quote).is_some(), "a fill finds its balances");
    }
}

/// A new account: active, unblocked, without money or orders.
pub fn new_account(kind: AccountKind, parent: AccountId, fee_tier: u8) -> Account {
    Account {
        near: Vec::new(),
        far: None,
        kind,
        status: AccountStatus::Active,
        fee_tier,
        blocked: false,
        parent,
        open_count: 0,
        open_max: OPEN_ORDERS_DEFAULT,
        open_head: crate::slab::NIL,
        open_tail: crate::slab::NIL,
    }
}
