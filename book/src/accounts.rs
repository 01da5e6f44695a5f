//! Accounts, their balances, and every movement of money as a balanced transfer.
//!
//! Invariants: per asset, the sum of all available, all held and the fees equals custody; `held` of an account is what
//! its open orders need. Nothing here rounds. All amounts are at most what custody holds, and custody is at most
//! `UNITS_MAX`, so sums of two never wrap.

use crate::command::{AccountKind, AccountStatus};
use crate::event::{Event, LedgerAccount, Sink, Transfer, TransferKind};
use crate::ids::{AccountId, AssetId, OrderId};
use crate::instrument::Asset;
use crate::mutation::{Mutation, Planted};
use crate::units::{UNITS_MAX, Units};
use prefetch_index::prefetch_index;
use std::collections::BTreeMap;

pub const ACCOUNTS_MAX: u32 = 1 << 24;
pub const ACCOUNT_NAME_BYTES_MAX: usize = 64;
/// What a new account may have open unless its administrator says otherwise.
pub const OPEN_ORDERS_DEFAULT: u32 = 100_000;
pub const OPEN_ORDERS_MAX: u32 = 1 << 22;
/// Rows up to this length are searched from the front: they sit in two cache lines.
const LINEAR_LEN_MAX: usize = 8;

/// What an account has of one asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    pub asset: AssetId,
    pub available: Units,
    pub held: Units,
}

#[derive(Debug)]
pub struct Account {
    /// Sorted by asset; an account holds few of them, and they share cache lines. Never shrinks.
    balances: Vec<Balance>,
    pub kind: AccountKind,
    pub status: AccountStatus,
    pub fee_tier: u8,
    /// The kill switch: no new orders until lifted.
    pub blocked: bool,
    pub parent: AccountId,
    pub open_count: u32,
    pub open_max: u32,
    /// Ends of the account's list of open orders (`open_orders`), oldest first.
    pub open_head: u32,
    pub open_tail: u32,
}

impl Account {
    pub fn balances(&self) -> &[Balance] {
        &self.balances
    }

    #[inline]
    fn find(&self, asset: AssetId) -> Option<usize> {
        if self.balances.len() <= LINEAR_LEN_MAX {
            self.balances.iter().position(|b| b.asset == asset)
        } else {
            self.balances.binary_search_by_key(&asset, |b| b.asset).ok()
        }
    }

    /// The rows of a snapshot, sorted by asset.
    pub(crate) fn restore_balances(&mut self, balances: Vec<Balance>) {
        assert!(self.balances.is_empty() && balances.is_sorted_by(|a, b| a.asset < b.asset));
        self.balances = balances;
    }

    pub fn available(&self, asset: AssetId) -> Units {
        self.find(asset).map_or(Units(0), |idx| self.balances[idx].available)
    }

    pub fn held(&self, asset: AssetId) -> Units {
        self.find(asset).map_or(Units(0), |idx| self.balances[idx].held)
    }

    /// The balance of `asset`, made when the account never had any.
    #[inline]
    fn entry(&mut self, asset: AssetId) -> &mut Balance {
        let idx = match self.find(asset) {
            Some(idx) => idx,
            None => self.insert(asset),
        };
        &mut self.balances[idx]
    }

    #[cold]
    fn insert(&mut self, asset: AssetId) -> usize {
        let idx = self.balances.partition_point(|b| b.asset < asset);
        self.balances.insert(idx, Balance { asset, available: Units(0), held: Units(0) });
        idx
    }
}

/// An asset and the exchange's own side of its ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssetBook {
    pub asset: Asset,
    /// What the custodian holds for everybody.
    pub custody: Units,
    /// Fees earned and not yet taken out.
    pub fees: Units,
}

/// All accounts and the ledger over them.
#[derive(Debug, Default)]
pub struct Accounts {
    accounts: Vec<Account>,
    /// By account; apart from the rows that trading touches.
    names: Vec<String>,
    by_name: BTreeMap<String, AccountId>,
    assets: Vec<AssetBook>,
}

/// What a fill moves, apart from fees.
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
        self.accounts.push(account);
        let id = AccountId(self.accounts.len() as u32);
        self.by_name.insert(name.clone(), id);
        self.names.push(name);
        debug_assert_eq!(self.accounts.len(), self.names.len());
        id
    }

    pub fn add_asset(&mut self, asset: Asset) {
        assert_eq!(asset.id.idx(), self.assets.len(), "asset ids are dense");
        self.assets.push(AssetBook { asset, custody: Units(0), fees: Units(0) });
    }

    /// An asset of a snapshot with what custody and the house have of it.
    pub(crate) fn restore_asset(&mut self, book: AssetBook) {
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

    /// Brings an account's row into the cache; any id will do.
    #[inline]
    pub(crate) fn fetch(&self, id: AccountId) {
        prefetch_index(&self.accounts, (id.0 as usize).wrapping_sub(1));
    }

    /// Brings an account's balances into the cache; its row should be there.
    #[inline]
    pub(crate) fn fetch_balances(&self, id: AccountId) {
        if let Some(account) = self.get(id) {
            prefetch_index(&account.balances, 0);
        }
    }

    /// An account that an open order names, hence exists.
    #[inline]
    pub(crate) fn at(&self, id: AccountId) -> &Account {
        &self.accounts[id.idx()]
    }

    #[inline]
    pub(crate) fn at_mut(&mut self, id: AccountId) -> &mut Account {
        &mut self.accounts[id.idx()]
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

    /// Whether one more deposit keeps every balance countable.
    pub fn custody_has_room(&self, asset: AssetId, amount: Units) -> bool {
        amount.0 <= UNITS_MAX - self.assets[asset.idx()].custody.0
    }

    pub fn deposit<S: Sink>(&mut self, account: AccountId, asset: AssetId, amount: Units, sink: &mut S) {
        assert!(self.custody_has_room(asset, amount), "admission checks custody first");
        let custody = &mut self.assets[asset.idx()].custody;
        custody.0 += amount.0;
        let custody_after = *custody;
        let balance = self.at_mut(account).entry(asset);
        balance.available.0 += amount.0;
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
        balance.available.0 = balance.available.0.checked_sub(amount.0).expect("admission checks the balance first");
        let debit_after = balance.available;
        let custody = &mut self.assets[asset.idx()].custody;
        custody.0 = custody.0.checked_sub(amount.0).expect("custody holds every balance");
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

    /// Puts money behind an order. The caller has checked `available`.
    #[inline]
    pub fn hold<S: Sink>(&mut self, who: AccountId, asset: AssetId, amount: Units, order_id: OrderId, sink: &mut S) {
        let balance = self.at_mut(who).entry(asset);
        balance.available.0 = balance.available.0.checked_sub(amount.0).expect("admission checks the balance first");
        balance.held.0 += amount.0;
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

    /// Gives back what an order no longer needs.
    #[inline]
    pub fn release<S: Sink>(&mut self, who: AccountId, asset: AssetId, amount: Units, order_id: OrderId, sink: &mut S) {
        let balance = self.at_mut(who).entry(asset);
        let moved = amount.planted(Mutation::ReleaseTooMuch, |amount| balance.held.min(Units(amount.0 + 1)));
        balance.held.0 = balance.held.0.checked_sub(moved.0).expect("an order releases at most what it holds");
        balance.available.0 += moved.0;
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

    /// Base from the seller's hold to the buyer, quote from the buyer's hold to the seller.
    #[inline]
    pub fn exchange<S: Sink>(&mut self, money: &FillMoney, sink: &mut S) {
        let FillMoney { base, quote, buyer, seller, buyer_order, seller_order, base_units, quote_units } = *money;
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
        payer.held.0 = payer.held.0.checked_sub(amount.0).expect("an order pays at most what it holds");
        let debit_after = payer.held;
        let payee = self.at_mut(to).entry(asset);
        payee.available.0 += amount.0;
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

    /// Takes a fee out of what an account has just received.
    #[inline]
    pub fn charge_fee<S: Sink>(&mut self, who: AccountId, asset: AssetId, fee: Units, order_id: OrderId, sink: &mut S) {
        if fee.0 == 0 {
            return;
        }
        let balance = self.at_mut(who).entry(asset);
        balance.available.0 = balance.available.0.checked_sub(fee.0).expect("a fee is less than what was received");
        let debit_after = balance.available;
        let fees = &mut self.assets[asset.idx()].fees;
        fees.0 += fee.0;
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
        fees.0 = fees.0.checked_sub(rebate.0).expect("a rebate is at most the fee paid just before");
        let debit_after = *fees;
        let balance = self.at_mut(who).entry(asset);
        balance.available.0 += rebate.0;
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

    /// Makes the rows that fills of an order will need, so that settling never inserts into one.
    #[inline]
    pub fn open_rows(&mut self, who: AccountId, base: AssetId, quote: AssetId) {
        let account = self.at_mut(who);
        account.entry(base);
        account.entry(quote);
    }
}

/// An account as it starts.
pub fn new_account(kind: AccountKind, parent: AccountId, fee_tier: u8) -> Account {
    Account {
        balances: Vec::new(),
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
