//! The administrators: they set the exchange up, move funds, and change markets while clients trade.

use crate::client::PASSWORD;
use crate::exchange::Exchange;
use crate::options::Options;
use crate::oracle::Oracle;
use crate::requests::{LOT, PRICE_ONE};
use crate::violation::{Checked, Invariant, Violation, ensure};
use book::accounts::OPEN_ORDERS_MAX;
use book::command::*;
use book::ids::{AccountId, AssetId, ClientKey, MarketId, SessionId, Symbol, UserName};
use book::testing::workload::rng::Rng;
use book::testing::workload::{Profile, Workload};
use book::units::{Ppm, QtyLots, UNITS_MAX, Units};
use node::rings::admin_port::AdminAnswer;
use std::collections::VecDeque;
use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;

/// The drop copy of the first account.
pub(crate) const DROP_COPY: SessionId = SessionId(7);

/// Accounts of the exchange, each with a session.
const ACCOUNTS: u32 = 6;
const ENOUGH: Units = Units(1_000_000);
/// Limits that no order reaches.
const WIDE: MarketLimits =
    MarketLimits { qty_min: QtyLots(1), qty_max: QtyLots(1 << 40), notional_min: Units(0), price_band: Ppm(0) };

pub(crate) struct Admins {
    /// Commands to be sent, the next one first; one is under way at a time.
    todo: VecDeque<Command>,
    under_way: Option<(Receiver<AdminAnswer>, Command)>,
    reference_last: u128,
}

impl Admins {
    pub(crate) fn new(options: &Options) -> Self {
        Self { todo: setup_commands(options), under_way: None, reference_last: 1 << 40 }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.todo.is_empty() && self.under_way.is_none()
    }

    /// The node has ended: a command without an answer is sent again to the next one.
    pub(crate) fn node_ended(&mut self) {
        if let Some((_, command)) = self.under_way.take() {
            self.todo.push_front(command);
        }
    }

    /// Adds a random command.
    pub(crate) fn add_random(&mut self, rng: &mut Rng) {
        self.reference_last += 1;
        let command = any(ClientKey(self.reference_last), rng);
        self.todo.push_back(Command::Admin(Box::new(command)));
    }

    /// Adds commands after which no client's order can be refused.
    pub(crate) fn lift_limits(&mut self) {
        let mut commands = Vec::new();
        for market in [MarketId(1), MarketId(2)] {
            commands.push(Admin::SetMarketStatus { market, status: MarketStatus::Trading });
            commands.push(Admin::SetMarketLimits { market, limits: WIDE });
        }
        for number in 1..=ACCOUNTS {
            let (account, session) = (AccountId(number), SessionId(number));
            commands.push(Admin::SetAccountStatus { account, status: AccountStatus::Active });
            commands.push(Admin::SetAccountBlock { account, blocked: false });
            commands.push(Admin::SetAccountLimits { account, open_orders_max: OPEN_ORDERS_MAX });
            commands.push(Admin::SetSessionBlock { session, blocked: false });
            commands.push(Admin::SetSessionThrottle { session, throttle: Throttle::default() });
            self.reference_last += 1;
            let reference = ClientKey(self.reference_last);
            commands.push(Admin::Deposit(FundsMove { account, asset: AssetId(1), amount: ENOUGH, reference }));
        }
        self.todo.extend(commands.into_iter().map(|admin| Command::Admin(Box::new(admin))));
    }

    pub(crate) fn step(&mut self, node: &mut Exchange, oracle: &Oracle, options: &Options) -> Checked {
        node.admin.poll();
        if let Some((answer, _)) = &mut self.under_way {
            match answer.try_recv() {
                Ok(answer) => {
                    self.under_way = None;
                    check_answer(&answer, oracle, options)?;
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Closed) => {
                    return Err(Violation::new(
                        Invariant::Protocol,
                        "the node dropped an administrator's command without an answer",
                    ));
                }
            }
        }
        if self.under_way.is_none()
            && !node.lifecycle.is_stopping()
            && let Some(command) = self.todo.pop_front()
        {
            let answer = node.admin.send(acted(command.clone())).expect("the port accepts one command at a time");
            self.under_way = Some((answer, command));
        }
        Ok(())
    }
}

/// The act that a command of the set-up or of the random ones is.
fn acted(command: Command) -> Acted {
    match command {
        Command::Admin(admin) => (*admin).into(),
        other => unreachable!("only administrators' commands are sent here, not {other:?}"),
    }
}

fn check_answer(answer: &AdminAnswer, oracle: &Oracle, options: &Options) -> Checked {
    if let Some(expected) = oracle.admin_events.get(&answer.seq) {
        return ensure(answer.events == *expected, Invariant::AnswerDiffers, || {
            format!("sequence {}: answered {:?}, by the log it is {expected:?}", answer.seq, answer.events)
        });
    }
    let early = options.release != node::engine::engine_loop::Release::Durable;
    ensure(early, Invariant::SentBeforeDurable, || {
        format!("an administrator is answered at sequence {}, the log is durable up to {}", answer.seq, oracle.seq())
    })
}

/// Commands for two markets, six accounts with a session and funds each, and a drop copy.
fn setup_commands(options: &Options) -> VecDeque<Command> {
    let mut commands: VecDeque<Command> = Workload::new(Profile::Mixed, options.seed).setup().into();
    for command in &mut commands {
        let Command::Admin(admin) = command else { continue };
        match &mut **admin {
            Admin::AddSession(spec) => {
                PASSWORD.clone_into(&mut spec.password_hash);
                spec.cod_mode = if options.cancel_on_disconnect { CodMode::Both } else { CodMode::Off };
                spec.cod_window_ms = (options.seed % 3) as u32 * 10;
            }
            Admin::Deposit(funds) if options.flood => funds.amount = Units(UNITS_MAX >> 8),
            _ => {}
        }
    }
    commands.push_back(Command::Admin(Box::new(Admin::AddSession(reader(AccountId(1), "U7")))));
    commands
}

fn any(reference: ClientKey, rng: &mut Rng) -> Admin {
    let (market, account, session) = (any_market(rng), AccountId(1 + rng.below(ACCOUNTS)), SessionId(1 + rng.below(7)));
    match rng.below(24) {
        0..6 => Admin::Deposit(funds(account, reference, rng)),
        6 | 7 => Admin::Withdraw(funds(account, reference, rng)),
        8 | 9 => Admin::SetMarketStatus {
            market,
            status: rng.pick(&[MarketStatus::Halt, MarketStatus::CancelOnly, MarketStatus::PostOnly]),
        },
        10..13 => Admin::SetMarketStatus { market, status: MarketStatus::Trading },
        13 => Admin::SetMarketFees {
            market,
            maker_fee: Ppm(rng.pick(&[-20, 0, 100])),
            taker_fee: Ppm(rng.pick(&[50, 250, 2_000])),
        },
        14 => Admin::SetMarketLimits {
            market,
            limits: rng.pick(&[WIDE, WIDE, MarketLimits { qty_min: QtyLots(5), price_band: Ppm(3_000), ..WIDE }]),
        },
        15 => Admin::SetAccountFeeTier { account, tier: rng.below(3) as u8 },
        16 => Admin::SetFeeTier {
            tier: rng.below(3) as u8,
            fees: FeeTier {
                maker_scale: Ppm(rng.pick(&[0, 500_000, 1_000_000])),
                taker_scale: Ppm(rng.pick(&[500_000, 1_000_000, 2_000_000])),
            },
        },
        17 => Admin::SetAccountBlock { account, blocked: rng.one_in(4) },
        18 => Admin::SetAccountStatus {
            account,
            status: rng.pick(&[AccountStatus::Active, AccountStatus::Active, AccountStatus::Suspended]),
        },
        19 => {
            Admin::SetAccountLimits { account, open_orders_max: rng.pick(&[2, 50, OPEN_ORDERS_MAX, OPEN_ORDERS_MAX]) }
        }
        20 => Admin::SetSessionBlock { session, blocked: rng.one_in(4) },
        21 => Admin::SetSessionThrottle {
            session,
            throttle: Throttle { orders_per_second: rng.pick(&[0, 100, 10_000]), burst: rng.pick(&[0, 1, 20]) },
        },
        22 => Admin::AddMarket(MarketSpec {
            symbol: Symbol::new(&format!("M{}-USD", reference.0 % 1_000)).expect("letters, digits and a dash"),
            base: AssetId(rng.pick(&[2, 3])),
            quote: AssetId(1),
            tick_e9: PRICE_ONE as u64,
            lot_e8: LOT as u64,
            limits: WIDE,
            maker_fee: Ppm(0),
            taker_fee: Ppm(100),
            status: MarketStatus::Trading,
        }),
        _ => Admin::AddSession(SessionSpec {
            drop_copy: rng.one_in(2),
            ..reader(account, &format!("U{}", 10 + reference.0 % 1_000))
        }),
    }
}

/// Also a market that does not exist, or not yet.
fn any_market(rng: &mut Rng) -> MarketId {
    MarketId(rng.pick(&[1, 1, 1, 2, 2, 2, 3]))
}

fn funds(account: AccountId, reference: ClientKey, rng: &mut Rng) -> FundsMove {
    let asset = AssetId(1 + rng.below(3));
    let amount = Units(rng.pick(&[0, 10, 500, 1_000_000]));
    // Some references are repeated.
    let reference = if rng.one_in(4) { ClientKey(reference.0 - 1) } else { reference };
    FundsMove { account, asset, amount, reference }
}

/// A session without a client.
fn reader(account: AccountId, user: &str) -> SessionSpec {
    SessionSpec {
        account,
        user: UserName::new(user).expect("a letter and digits"),
        password_hash: PASSWORD.to_owned(),
        drop_copy: true,
        throttle: Throttle::default(),
        cod_mode: CodMode::Off,
        cod_scope: CodScope::Session,
        cod_window_ms: 0,
    }
}
