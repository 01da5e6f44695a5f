//! Follows the money by the transfers alone and compares with the state: what is not in the ledger did not happen.

use book::engine::Engine;
use book::event::{Event, LedgerAccount, Transfer};
use book::ids::{AccountId, AssetId};
use std::collections::HashMap;

/// Balances as the transfers so far make them. Custody is what clients are owed, so it grows by a debit.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    balances: HashMap<(AssetId, LedgerAccount), u64>,
}

impl Ledger {
    /// Books every transfer of one command and checks its after-balances, then the state and the full walk.
    pub(crate) fn follow(&mut self, events: &[Event], engine: &Engine) {
        for event in events {
            if let Event::Transfer(transfer) = event {
                self.book(transfer);
            }
        }
        engine.verify().expect("the state is consistent after every command");
        for (id, account) in engine.accounts().iter() {
            for asset in engine.accounts().assets().iter().map(|a| a.asset.id) {
                let state = (account.available(asset).0, account.held(asset).0);
                assert_eq!(state, self.account(id, asset), "account {} asset {}: state and ledger", id.0, asset.0);
            }
        }
        for book in engine.accounts().assets() {
            let ledger =
                (self.get(book.asset.id, LedgerAccount::Custody), self.get(book.asset.id, LedgerAccount::Fees));
            assert_eq!((book.custody.0, book.fees.0), ledger, "{}: custody and fees", book.asset.symbol);
        }
    }

    fn book(&mut self, transfer: &Transfer) {
        let amount = transfer.amount.0;
        assert!(amount > 0, "an empty posting: {transfer:?}");
        assert_ne!(transfer.debit, transfer.credit, "a posting from an account to itself: {transfer:?}");
        let debit = self.change(transfer.asset, transfer.debit, amount, true);
        let credit = self.change(transfer.asset, transfer.credit, amount, false);
        assert_eq!((debit, credit), (transfer.debit_after.0, transfer.credit_after.0), "balances after {transfer:?}");
    }

    fn change(&mut self, asset: AssetId, account: LedgerAccount, amount: u64, debit: bool) -> u64 {
        let balance = self.balances.entry((asset, account)).or_default();
        let grows = debit == (account == LedgerAccount::Custody);
        *balance =
            if grows { *balance + amount } else { balance.checked_sub(amount).expect("no balance goes below zero") };
        *balance
    }

    fn get(&self, asset: AssetId, account: LedgerAccount) -> u64 {
        self.balances.get(&(asset, account)).copied().unwrap_or(0)
    }

    fn account(&self, id: AccountId, asset: AssetId) -> (u64, u64) {
        (self.get(asset, LedgerAccount::Available(id)), self.get(asset, LedgerAccount::Held(id)))
    }
}
