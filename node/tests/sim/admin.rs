//! The administrators: they open the house, move money, and change markets while trade goes on.

use crate::broken::{Broken, Checked, Invariant, ensure};
use crate::client::PASSWORD;
use crate::exchange::Exchange;
use crate::options::Options;
use crate::oracle::Oracle;
use book::command::*;
use book::ids::{AccountId, AssetId, ClientKey, MarketId, SessionId, UserName};
use book::units::{Ppm, UNITS_MAX, Units};
use book::workload::rng::Rng;
use book::workload::{Profile, Workload};
use node::admin_port::AdminAnswer;
use std::collections::VecDeque;
use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;

/// The session that reads along with the first account.
pub const DROP_COPY: SessionId = SessionId(7);

pub struct Admins {
    /// To be sent, the next one first; one is under way at a time.
    todo: VecDeque<Command>,
    under_way: Option<(Receiver<AdminAnswer>, Command)>,
    reference_last: u128,
}

impl Admins {
    pub fn new(options: &Options) -> Self {
        Self { todo: house(options), under_way: None, reference_last: 1 << 40 }
    }

    pub fn is_done(&self) -> bool {
        self.todo.is_empty() && self.under_way.is_none()
    }

    /// The node is gone: what it did not answer is asked again.
    pub fn node_ended(&mut self) {
        if let Some((_, command)) = self.under_way.take() {
            self.todo.push_front(command);
        }
    }

    pub fn wish(&mut self, rng: &mut Rng) {
        self.reference_last += 1;
        let command = any(ClientKey(self.reference_last), rng);
        self.todo.push_back(Command::Admin(Box::new(command)));
    }

    /// Leaves the house as trade needs it.
    pub fn calm(&mut self) {
        for market in [MarketId(1), MarketId(2)] {
            let trading = Admin::SetMarketStatus { market, status: MarketStatus::Trading };
            self.todo.push_back(Command::Admin(Box::new(trading)));
        }
    }

    pub fn step(&mut self, node: &mut Exchange, oracle: &Oracle, options: &Options) -> Checked {
        node.admin.poll();
        if let Some((answer, _)) = &mut self.under_way {
            match answer.try_recv() {
                Ok(answer) => {
                    self.under_way = None;
                    hear(&answer, oracle, options)?;
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Closed) => {
                    return Err(Broken::new(Invariant::Protocol, "an administrator will get no answer"));
                }
            }
        }
        if self.under_way.is_none()
            && !node.status.is_stopping()
            && let Some(command) = self.todo.pop_front()
        {
            let answer = node.admin.send(command.clone()).expect("one at a time");
            self.under_way = Some((answer, command));
        }
        Ok(())
    }
}

fn hear(answer: &AdminAnswer, oracle: &Oracle, options: &Options) -> Checked {
    if let Some(expected) = oracle.admin_events.get(&answer.seq) {
        return ensure(answer.events == *expected, Invariant::AnswerDiffers, || {
            format!("sequence {}: told {:?}, the log says {expected:?}", answer.seq, answer.events)
        });
    }
    let early = options.release != node::engine_loop::Release::Durable;
    ensure(early, Invariant::ToldBeforeDurable, || {
        format!("an administrator is told of sequence {}, {} count", answer.seq, oracle.seq())
    })
}

/// Two markets, six accounts with a session each, money, and one who reads along.
fn house(options: &Options) -> VecDeque<Command> {
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
    commands.push_back(Command::Admin(Box::new(Admin::AddSession(SessionSpec {
        account: AccountId(1),
        user: UserName::new("U7").expect("a letter and a digit"),
        password_hash: PASSWORD.to_owned(),
        drop_copy: true,
        throttle: Throttle::default(),
        cod_mode: CodMode::Off,
        cod_scope: CodScope::Session,
        cod_window_ms: 0,
    }))));
    commands
}

fn any(reference: ClientKey, rng: &mut Rng) -> Admin {
    let market = MarketId(1 + rng.below(2));
    let account = AccountId(1 + rng.below(6));
    let asset = AssetId(1 + rng.below(3));
    let amount = Units(rng.pick(&[0, 10, 500, 1_000_000]));
    // Some references come again.
    let reference = if rng.one_in(4) { ClientKey(reference.0 - 1) } else { reference };
    let funds = FundsMove { account, asset, amount, reference };
    match rng.below(10) {
        0..3 => Admin::Deposit(funds),
        3 => Admin::Withdraw(funds),
        4 => Admin::SetMarketStatus {
            market,
            status: rng.pick(&[MarketStatus::Halt, MarketStatus::CancelOnly, MarketStatus::PostOnly]),
        },
        5 | 6 => Admin::SetMarketStatus { market, status: MarketStatus::Trading },
        7 => Admin::SetMarketFees {
            market,
            maker_fee: Ppm(rng.pick(&[-20, 0, 100])),
            taker_fee: Ppm(rng.pick(&[50, 250, 2_000])),
        },
        8 => Admin::SetAccountFeeTier { account, tier: rng.below(3) as u8 },
        _ => Admin::SetAccountBlock { account, blocked: rng.one_in(4) },
    }
}
