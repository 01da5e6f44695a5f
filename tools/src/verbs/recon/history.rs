//! The rules between the state and the history: the ledger sums to the balances, the streams have no gap.

use super::finding::Finding;
use crate::offline::replay_observer::ReplayObserver;
use anyhow::Result;
use api::binary::stream::SessionSeq;
use book::codec;
use book::command::Command;
use book::event::{Event, LedgerAccount, Sink, Transfer, TransferKind};
use book::ids::{AccountId, AssetId, SessionId};
use book::run::LifeTag;
use book::units::{Seq, Stamp, TsNs};
use node::history::{History, Kind};
use node::replica::{Replica, StreamSink};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// The rows that the history lacks because the log continues after its end, computed from the log.
pub(super) struct Unwritten {
    /// After this sequence the history is complete.
    begins: Seq,
    /// The last sequence that the history has.
    written: Seq,
    /// The last sequence of the log.
    end: Seq,
    /// The hashes that the live engine recorded in the log.
    pub checks: u64,
    transfers: Vec<(Seq, Transfer)>,
    messages: BTreeMap<SessionId, Numbers>,
    events: Vec<Event>,
}

impl Unwritten {
    pub(super) fn new(begins: Seq, written: Seq, end: Seq) -> Self {
        let (transfers, messages, events) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { begins, written, end, checks: 0, transfers, messages, events }
    }
}

impl Sink for Unwritten {
    const LEDGER: bool = true;

    fn push(&mut self, event: Event) {
        self.events.push(event);
    }
}

impl ReplayObserver for Unwritten {
    fn applied(&mut self, replica: &mut Replica, stamp: Stamp, bytes: &[u8]) -> Result<()> {
        let Self { written, checks, transfers, messages, events, .. } = self;
        // A quarantined command may be one that cannot be decoded.
        *checks += u64::from(codec::decode(bytes).is_ok_and(|record| matches!(record.command, Command::Check(_))));
        let is_unwritten = *written < stamp.seq;
        replica.translate(stamp, bytes, events, &mut MessageCounter { messages, is_unwritten });
        if is_unwritten {
            let postings = events.iter().filter_map(|event| match event {
                Event::Transfer(transfer) => Some((stamp.seq, *transfer)),
                _ => None,
            });
            transfers.extend(postings);
        }
        events.clear();
        Ok(())
    }
}

/// The messages of one session that the history lacks.
#[derive(Clone, Copy)]
struct Numbers {
    first: u64,
    last: u64,
    count: u64,
}

struct MessageCounter<'a> {
    messages: &'a mut BTreeMap<SessionId, Numbers>,
    is_unwritten: bool,
}

impl StreamSink for MessageCounter<'_> {
    fn message(&mut self, session: SessionId, number: SessionSeq, _bytes: &[u8]) {
        if self.is_unwritten {
            let first = Numbers { first: number.0, last: number.0, count: 0 };
            let numbers = self.messages.entry(session).or_insert(first);
            (numbers.last, numbers.count) = (number.0, numbers.count + 1);
        }
    }
}

pub(super) fn of_history(history: &History<'_>, replica: &Replica, unwritten: &Unwritten) -> Result<Vec<Finding>> {
    let mut ledger = Ledger { begins: unwritten.begins, ..Ledger::default() };
    let at = replica.engine.stamp().seq;
    // Account 0 has the postings of the house alone.
    let accounts = replica.engine.accounts().iter().map(|(account, _)| account);
    for account in std::iter::once(AccountId::NONE).chain(accounts) {
        history.events(Kind::Ledger, account, TsNs(0)..TsNs(u64::MAX), |stamp, event| {
            if at < stamp.seq {
                return ControlFlow::Break(());
            }
            match event {
                _ if stamp.seq <= unwritten.begins => {}
                Event::Transfer(transfer) => ledger.post(account, stamp.seq, &transfer),
                other => ledger.breaks.push(format!("account {}: {other:?} is not a posting", account.0)),
            }
            ControlFlow::Continue(())
        })?;
        for (seq, transfer) in &unwritten.transfers {
            let owners = [owner(transfer.debit), owner(transfer.credit)];
            let is_of_house = account.is_none() && owners == [None; 2];
            if is_of_house || owners.contains(&Some(account)) {
                ledger.post(account, *seq, transfer);
            }
        }
    }
    let (balances, house) = (ledger.against_balances(replica), ledger.against_house(replica));
    Ok(vec![balances, house, streams(history, replica, unwritten)?, sequences(replica, unwritten)])
}

/// The balance of one account in one asset, as the postings so far give it; `None` before the first posting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Running {
    available: Option<u64>,
    held: Option<u64>,
}

/// All postings, summed.
#[derive(Debug, Default)]
struct Ledger {
    /// Zero where the history has every posting. Otherwise the balance before the first posting is unknown.
    begins: Seq,
    running: BTreeMap<(AccountId, AssetId), Running>,
    /// Custody and fees by asset: in, out.
    custody: BTreeMap<AssetId, (u128, u128)>,
    fees: BTreeMap<AssetId, (u128, u128)>,
    /// Earned fees that were paid out.
    fees_paid: BTreeMap<AssetId, u128>,
    postings: u64,
    breaks: Vec<String>,
}

impl Ledger {
    /// Adds a posting of one account's history. A posting between two accounts is in the history of each.
    fn post(&mut self, account: AccountId, seq: Seq, transfer: &Transfer) {
        self.postings += 1;
        let Transfer { amount, asset, debit, credit, .. } = *transfer;
        let opening = self.opening();
        let mut of_house = Running::default();
        let running = if account.is_none() { &mut of_house } else { self.running.entry((account, asset)).or_default() };
        let mut wrong = None;
        let after = [
            (debit, transfer.debit_after.0, transfer.debit_after.0.checked_add(amount.0)),
            (credit, transfer.credit_after.0, transfer.credit_after.0.checked_sub(amount.0)),
        ];
        for (side, after, expected) in after.into_iter().filter(|(side, ..)| owner(*side) == Some(account)) {
            let place = place(running, side);
            let differs = place.or(opening).filter(|have| Some(*have) != expected);
            wrong = wrong.or(differs.map(|have| (have, expected)));
            *place = Some(after);
        }
        if let Some((have, expected)) = wrong {
            let expected = expected.map_or("a number out of range".to_owned(), |units| units.to_string());
            let (account, asset, kind) = (account.0, asset.0, transfer.kind);
            self.breaks.push(format!(
                "account {account}, asset {asset}: before the {kind:?} of sequence {} the postings sum to {have}, and \
                 that posting has {expected}",
                seq.0
            ));
        }
        let amount = u128::from(amount.0);
        match transfer.kind {
            TransferKind::Deposit => self.custody.entry(asset).or_default().0 += amount,
            TransferKind::Withdrawal => self.custody.entry(asset).or_default().1 += amount,
            TransferKind::Fee => self.fees.entry(asset).or_default().0 += amount,
            TransferKind::Rebate => self.fees.entry(asset).or_default().1 += amount,
            TransferKind::FeeWithdrawal => {
                self.custody.entry(asset).or_default().1 += amount;
                *self.fees_paid.entry(asset).or_default() += amount;
            }
            TransferKind::Hold | TransferKind::Release | TransferKind::Trade => {}
        }
    }

    /// The balance of an account before its first posting, where it is known.
    fn opening(&self) -> Option<u64> {
        (self.begins == Seq(0)).then_some(0)
    }

    fn against_balances(&mut self, replica: &Replica) -> Finding {
        let mut breaks = std::mem::take(&mut self.breaks);
        let (mut compared, opening) = (0, self.opening());
        for (id, account) in replica.engine.accounts().iter() {
            for balance in account.balances() {
                compared += 1;
                let posted = self.running.remove(&(id, balance.asset)).unwrap_or_default();
                let sides =
                    [("available", posted.available, balance.available.0), ("held", posted.held, balance.held.0)];
                for (side, posted, have) in sides {
                    if let Some(posted) = posted.or(opening).filter(|posted| *posted != have) {
                        let (id, asset) = (id.0, balance.asset.0);
                        breaks.push(format!(
                            "account {id}, asset {asset}: postings sum to {posted} {side}, the balance is {have}"
                        ));
                    }
                }
            }
        }
        for ((account, asset), posted) in std::mem::take(&mut self.running) {
            if [posted.available, posted.held].into_iter().flatten().any(|left| left > 0) {
                breaks.push(format!("account {}, asset {}: there are postings and no balance", account.0, asset.0));
            }
        }
        let figures = format!("{} postings, each continuing the one before, sum to {compared} balances", self.postings);
        Finding::new("ledger", figures, breaks)
    }

    fn against_house(&self, replica: &Replica) -> Finding {
        if self.begins > Seq(0) {
            let figures = format!("not compared: the history begins after sequence {}", self.begins.0);
            return Finding::new("house", figures, Vec::new());
        }
        let mut breaks = Vec::new();
        let mut figures = Vec::new();
        for book in replica.engine.accounts().assets() {
            let symbol = book.asset.symbol.as_str();
            let (paid_in, paid_out) = self.custody.get(&book.asset.id).copied().unwrap_or_default();
            let (earned, shared) = self.fees.get(&book.asset.id).copied().unwrap_or_default();
            let fees_paid = self.fees_paid.get(&book.asset.id).copied().unwrap_or_default();
            let (custody, fees) = (u128::from(book.custody.0), u128::from(book.fees.0));
            if paid_in.checked_sub(paid_out) != Some(custody) {
                breaks
                    .push(format!("{symbol}: {paid_in} deposited less {paid_out} withdrawn is not custody {custody}"));
            }
            if earned.checked_sub(shared + fees_paid) != Some(fees) {
                breaks.push(format!(
                    "{symbol}: fees of {earned} less rebates of {shared} and {fees_paid} paid out are not {fees}"
                ));
            }
            let house = format!("fees {earned} - rebates {shared} - paid out {fees_paid}");
            figures.push(format!("{symbol}: {paid_in} in - {paid_out} out, {house}"));
        }
        Finding::new("house", figures.join("; "), breaks)
    }
}

fn owner(place: LedgerAccount) -> Option<AccountId> {
    match place {
        LedgerAccount::Available(account) | LedgerAccount::Held(account) => Some(account),
        LedgerAccount::Custody | LedgerAccount::Fees => None,
    }
}

fn place(running: &mut Running, place: LedgerAccount) -> &mut Option<u64> {
    if matches!(place, LedgerAccount::Held(_)) { &mut running.held } else { &mut running.available }
}

/// Each session's messages, in the history and in the log after it, are numbered without a gap up to the number in the
/// state. A new life, of all streams or of the session's own, goes on far after the last number of the one before.
fn streams(history: &History<'_>, replica: &Replica, unwritten: &Unwritten) -> Result<Finding> {
    let (engine, positions) = (&replica.engine, &replica.positions);
    let (mut breaks, mut total) = (Vec::new(), 0);
    for (id, session) in engine.sessions().iter() {
        let has_lives = 0 < engine.run().life || 0 < session.lives;
        let skipped_min = LifeTag(0).numbers_skipped();
        let follows = |before: u64, number: u64| number == before + 1 || has_lives && before + skipped_min <= number;
        let next = positions.sessions().get(id.0 as usize - 1).copied().unwrap_or(positions.first());
        // The newest number found; unknown before the first message where the history does not begin with the log.
        let mut found = (unwritten.begins == Seq(0)).then_some(0);
        let (mut seq_before, mut gap) = (unwritten.begins, None);
        history.messages(id, SessionSeq::FIRST..SessionSeq(u64::MAX), |number, stamp, _| {
            if engine.stamp().seq < stamp.seq {
                return ControlFlow::Break(());
            }
            if stamp.seq <= unwritten.begins {
                return ControlFlow::Continue(());
            }
            if !found.is_none_or(|before| follows(before, number.0)) || stamp.seq < seq_before {
                gap = Some((found.unwrap_or(number.0), number.0));
                return ControlFlow::Break(());
            }
            (found, seq_before) = (Some(number.0), stamp.seq);
            total += 1;
            ControlFlow::Continue(())
        })?;
        if let Some((before, number)) = gap {
            breaks.push(format!("session {}: message {number} follows message {before}", id.0));
            continue;
        }
        if let Some(Numbers { first, last, count }) = unwritten.messages.get(&id).copied() {
            total += count;
            if let Some(before) = found.filter(|before| !follows(*before, first)) {
                breaks.push(format!("session {}: message {first} follows message {before}", id.0));
            }
            found = Some(last);
        }
        if let Some(last) = found.filter(|last| !follows(*last, next.0)) {
            breaks.push(format!("session {}: {last} messages, and the state has {}", id.0, next.0 - 1));
        }
    }
    let sessions = engine.sessions().len();
    Ok(Finding::new("streams", format!("{total} messages of {sessions} sessions, numbered without a gap"), breaks))
}

/// The history never reaches further than the log, because the log is its proof.
fn sequences(replica: &Replica, unwritten: &Unwritten) -> Finding {
    let (at, written, end) = (replica.engine.stamp().seq.0, unwritten.written.0, unwritten.end.0);
    let lag = at.saturating_sub(written);
    let from = unwritten.begins.0 + 1;
    let figures = format!("history from {from} to {written}; {lag} commands up to {at} computed from the log");
    let ahead = (end < written).then(|| format!("the history is written up to {written}, the log ends at {end}"));
    Finding::new("sequences", figures, ahead.into_iter().collect())
}
