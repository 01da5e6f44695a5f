//! Checks in the log: the live engine records a hash of itself, and every replay compares.
//!
//! A hash of the whole state takes time in proportion to the state, which the live engine does not have. So
//! `Command::Check` carries the running hash over all outcomes, folded with a sample of the state itself: 64 orders and
//! 64 accounts, the next ones at each check. An outcome that differs shows at the next check; memory that went bad
//! without an event shows when the sample reaches it.
//!
//! Not sampled are names, the kinds of accounts, sessions, keys and markets. Only acts change them, and what they
//! decide shows as an outcome.

use crate::accounts::{Account, Balance};
use crate::command::Check;
use crate::engine::Engine;
use crate::ids::AccountId;
use crate::mutation::{Mutation, Planted};
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
        let slots = slot..(slot + SLOTS_PER_CHECK).min(self.pool.orders.slots_len() as u32);
        for slot in slots.planted(Mutation::OrdersNotSampled, |_| 0..0) {
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
    let balances = account.balances().filter(|b| b.available.0 > 0 || b.held.0 > 0);
    balances.fold(hash, |hash, b| fold(hash, [b.asset.0.into(), b.available.0, held(b), 1]))
}

fn held(balance: &Balance) -> u64 {
    balance.held.0.planted(Mutation::HeldNotSampled, |_| 0)
}

/// Where the next sample starts: at the end of this one, or at the beginning again.
fn next(at: u32, step: u32, len: usize) -> u32 {
    let next = if (at + step) as usize >= len { 0 } else { at + step };
    next.planted(Mutation::SampleStandsStill, |_| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::new_account;
    use crate::command::*;
    use crate::engine::Capacity;
    use crate::event::NoSink;
    use crate::fees::MarketFees;
    use crate::ids::{AssetId, ClOrdId, ClientKey, MarketId, OrderId, SessionId, Symbol, UserName};
    use crate::slab::OrderTraits;
    use crate::units::{Ppm, PriceTicks, QtyLots, TsNs, Units};

    /// More than one check samples.
    const PEOPLE: u32 = 70;

    fn apply(engine: &mut Engine, command: &Command) {
        let seq = engine.stamp.seq.next();
        engine.apply(Stamp { seq, ts: TsNs(seq.0) }, command, &mut NoSink);
    }

    fn setup() -> Vec<Admin> {
        let asset = |symbol| Admin::AddAsset { symbol: Symbol::new(symbol).expect("three letters"), scale: 0 };
        let limits =
            MarketLimits { qty_min: QtyLots(1), qty_max: QtyLots(1 << 20), notional_min: Units(0), price_band: Ppm(0) };
        let market = MarketSpec {
            symbol: Symbol::new("BTC-USD").expect("letters and a dash"),
            base: AssetId(2),
            quote: AssetId(1),
            tick_e9: 1_000_000_000,
            lot_e8: 100_000_000,
            limits,
            fees: MarketFees::NONE,
            status: MarketStatus::Trading,
        };
        vec![asset("USD"), asset("BTC"), Admin::AddMarket(market)]
    }

    /// One of many clients: an account, its session and its money.
    fn person(number: u32) -> [Admin; 3] {
        let (name, account) = (format!("P{number}"), AccountId(number));
        let session = SessionSpec {
            account,
            user: UserName::new(&name).expect("a letter and digits"),
            password_hash: "$argon2id$".to_owned(),
            drop_copy: false,
            throttle: Throttle::default(),
            cod_mode: CodMode::Off,
            cod_scope: CodScope::Session,
            cod_window_ms: 0,
        };
        let kind = AccountKind::Client;
        let funds = FundsMove { account, asset: AssetId(1), amount: Units(1_000), reference: ClientKey(number.into()) };
        [
            Admin::AddAccount(AccountSpec { name, kind, parent: AccountId::NONE, fee_tier: 0 }),
            Admin::AddSession(session),
            Admin::Deposit(funds),
        ]
    }

    fn bid(number: u32) -> Command {
        Command::Place(PlaceOrder {
            session: SessionId(number),
            cl_ord_id: ClOrdId(1),
            client_key: ClientKey::NONE,
            account: AccountId(number),
            market: MarketId(1),
            side: Side::Buy,
            kind: OrderKind::Limit { price: PriceTicks(10), qty: QtyLots(5) },
            tif: Tif::Gtc,
            stp: StpMode::None,
            stp_group: 0,
            cancel_group: 0,
            persist_on_disconnect: false,
            valid_until: TsNs(0),
        })
    }

    /// Many accounts with an order each.
    fn crowd() -> Engine {
        let mut engine = Engine::new(Capacity::default());
        let people = (1..=PEOPLE).flat_map(person);
        setup().into_iter().chain(people).for_each(|admin| apply(&mut engine, &Command::Admin(Box::new(admin))));
        (1..=PEOPLE).for_each(|number| apply(&mut engine, &bid(number)));
        assert_eq!(engine.pool.orders.len(), PEOPLE as usize);
        engine
    }

    /// Whether an engine whose memory went bad disagrees within one round of the sample.
    fn shows(gone_bad: impl FnOnce(&mut Engine)) -> bool {
        let (mut sound, mut bad) = (crowd(), crowd());
        gone_bad(&mut bad);
        for _ in 0..PEOPLE.div_ceil(SLOTS_PER_CHECK.min(ACCOUNTS_PER_CHECK)) {
            let check = Command::Check(Check { hash: sound.check_hash() });
            apply(&mut sound, &check);
            apply(&mut bad, &check);
        }
        assert_eq!(sound.divergence(), None);
        bad.divergence().is_some()
    }

    /// Changes a balance of an account and nothing else of it that a check samples.
    fn with_balance(engine: &mut Engine, number: u32, change: fn(&mut Balance)) {
        let account = engine.accounts.at(AccountId(number));
        // An empty balance is no part of the state.
        let mut balances: Vec<Balance> =
            account.balances().filter(|balance| balance.asset == AssetId(1)).copied().collect();
        change(&mut balances[0]);
        let mut changed = new_account(account.kind, account.parent, account.fee_tier);
        changed.restore_balances(balances);
        *engine.accounts.at_mut(AccountId(number)) = changed;
    }

    const ORDER_CHANGES: [fn(&mut Order); 11] = [
        |order| order.id = OrderId(order.id.0 + (1 << 24)),
        |order| order.leaves = QtyLots(4),
        |order| order.cum = QtyLots(1),
        |order| order.cl_ord_id = ClOrdId(2),
        |order| order.account = AccountId(2),
        |order| order.session = SessionId(2),
        |order| order.market = MarketId(2),
        |order| order.price = PriceTicks(11),
        |order| order.stp_group = 1,
        |order| order.traits = OrderTraits::new(Side::Sell, false, false, StpMode::None),
        |order| order.cancel_group = 1,
    ];
    const ACCOUNT_CHANGES: [fn(&mut Account); 5] = [
        |account| account.status = AccountStatus::Suspended,
        |account| account.fee_tier = 1,
        |account| account.blocked = true,
        |account| account.parent = AccountId(2),
        |account| account.open_max = 7,
    ];
    const BALANCE_CHANGES: [fn(&mut Balance); 3] = [
        |balance| balance.asset = AssetId(2),
        |balance| balance.available = Units(1),
        |balance| balance.held = Units(1),
    ];

    /// How many of all changes checks see, in the first sample and after it.
    fn seen() -> [usize; 3] {
        let of = |count: usize, shows: &dyn Fn(usize, u32) -> bool| {
            (0..count).flat_map(|idx| [(idx, 1), (idx, PEOPLE)]).filter(|(idx, number)| shows(*idx, *number)).count()
        };
        [
            of(ORDER_CHANGES.len(), &|idx, number| {
                shows(|engine| ORDER_CHANGES[idx](engine.pool.orders.get_mut(number - 1)))
            }),
            of(ACCOUNT_CHANGES.len(), &|idx, number| {
                shows(|engine| ACCOUNT_CHANGES[idx](engine.accounts.at_mut(AccountId(number))))
            }),
            of(BALANCE_CHANGES.len(), &|idx, number| {
                shows(|engine| with_balance(engine, number, BALANCE_CHANGES[idx]))
            }),
        ]
    }

    const ALL_SEEN: [usize; 3] = [2 * ORDER_CHANGES.len(), 2 * ACCOUNT_CHANGES.len(), 2 * BALANCE_CHANGES.len()];

    #[test]
    fn a_change_of_any_order_account_or_balance_shows_within_a_round() {
        assert_eq!(seen(), ALL_SEEN);
        assert!(!shows(|_| {}), "two sound engines agree");
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn a_check_that_is_blind_is_noticed() {
        use crate::mutation::plant;
        let [orders, accounts, balances] = ALL_SEEN;
        let blind = [
            (Mutation::HeldNotSampled, [orders, accounts, balances - 2]),
            (Mutation::OrdersNotSampled, [0, accounts, balances]),
            (Mutation::SampleStandsStill, [orders / 2, accounts / 2, balances / 2]),
        ];
        for (fault, expected) in blind {
            plant(Some(fault));
            let seen = seen();
            plant(None);
            assert_eq!(seen, expected, "{fault:?}");
        }
    }
}
