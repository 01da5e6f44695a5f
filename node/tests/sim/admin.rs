//! The administrators and the bearers of API keys: they set the exchange up, move funds, change markets, and cancel for
//! clients while these trade.

use crate::client::PASSWORD;
use crate::exchange::Exchange;
use crate::options::{FloodEnd, Options};
use crate::oracle::Oracle;
use crate::requests::{LOT, PRICE_ONE};
use crate::violation::{Checked, Invariant, Violation, ensure};
use book::accounts::OPEN_ORDERS_MAX;
use book::command::*;
use book::fees::{FeeAsset, MarketFees};
use book::ids::{AccountId, AssetId, ClientKey, KeyId, MarketId, SessionId, Symbol, UserName};
use book::intake::Intake;
use book::run::LifeTag;
use book::testing::workload::rng::Rng;
use book::testing::workload::{Profile, Workload};
use book::units::{Ppm, QtyLots, TsNs, UNITS_MAX, Units};
use node::rings::admin_port::AdminAnswer;
use std::collections::VecDeque;
use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;

/// The drop copy of the first account.
pub(crate) const DROP_COPY: SessionId = SessionId(7);

/// Accounts of the exchange, each with a session.
const ACCOUNTS: u32 = 6;
/// Names of API keys, few enough that some are taken, revoked, and used.
const KEY_NAMES: u32 = 4;
const ENOUGH: Units = Units(1_000_000);
/// Limits that no order reaches.
const WIDE: MarketLimits =
    MarketLimits { qty_min: QtyLots(1), qty_max: QtyLots(1 << 40), notional_min: Units(100), price_band: Ppm(0) };

pub(crate) struct Admins {
    /// Acts to be sent, the next one first; one is under way at a time.
    todo: VecDeque<Acted>,
    under_way: Option<(Receiver<AdminAnswer>, Acted)>,
    reference_last: u128,
}

impl Admins {
    pub(crate) fn new(options: &Options) -> Self {
        Self { todo: setup_commands(options), under_way: None, reference_last: 1 << 40 }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.todo.is_empty() && self.under_way.is_none()
    }

    /// The node has ended: an act without an answer is sent again to the next one.
    pub(crate) fn node_ended(&mut self) {
        if let Some((_, acted)) = self.under_way.take() {
            self.todo.push_front(acted);
        }
    }

    /// Adds a random act.
    pub(crate) fn add_random(&mut self, rng: &mut Rng) {
        self.reference_last += 1;
        self.todo.push_back(any(ClientKey(self.reference_last), rng));
    }

    /// Adds the cancel of everything that an account has open.
    pub(crate) fn cancel_account(&mut self, account: AccountId) {
        let mass = MassCancel { account, ..cancel_in(MarketId::NONE) };
        self.todo.push_back(Acted::by_ops(Act::MassCancel(mass)));
    }

    /// Adds commands after which no client's order can be refused.
    pub(crate) fn lift_limits(&mut self) {
        let mut commands = vec![Admin::SetIntake(Intake::All)];
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
        self.todo.extend(commands.into_iter().map(Acted::from));
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
            && let Some(acted) = self.todo.pop_front()
        {
            let answer = node.admin.send(acted.clone()).expect("the port accepts one act at a time");
            self.under_way = Some((answer, acted));
        }
        Ok(())
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

/// Acts for two markets, six accounts with a session and funds each, and all drop copies and two keys of the first, of
/// which one is revoked. In some seeds the second session is of the first account too.
fn setup_commands(options: &Options) -> VecDeque<Acted> {
    let mut acts = VecDeque::new();
    let mut master_kind = AccountKind::Client;
    for command in Workload::new(Profile::Mixed, options.seed).setup() {
        let Command::Admin(mut admin) = command else { unreachable!("{command:?} sets nothing up") };
        match &mut *admin {
            Admin::AddAccount(spec) => {
                if spec.parent.is_none() {
                    master_kind = [AccountKind::Client, AccountKind::MarketMaker, AccountKind::House][acts.len() % 3];
                }
                // The workload's children follow their master, whose kind they have.
                spec.kind = master_kind;
            }
            Admin::AddSession(spec) => {
                PASSWORD.clone_into(&mut spec.password_hash);
                spec.cod_mode = if options.cancel_on_disconnect { CodMode::Both } else { CodMode::Off };
                // A client that comes back within its window keeps its orders.
                let window_ms = (options.seed % 3) as u32 * 10;
                spec.cod_window_ms = if options.flood == Some(FloodEnd::Disconnect) { 0 } else { window_ms };
                if spec.account == AccountId(2) && options.seed % 4 == 3 {
                    spec.account = AccountId(1);
                }
            }
            Admin::Deposit(funds) if options.flood.is_some() => funds.amount = Units(UNITS_MAX >> 8),
            _ if options.seed.is_multiple_of(2) => pay_fees_as_received(&mut admin),
            Admin::AddMarket(spec) => {
                spec.limits.notional_min = spec.limits.notional_min.max(WIDE.notional_min);
                spec.fees = MarketFees::new(spec.fees.maker(), spec.fees.taker(), FeeAsset::Quote);
            }
            _ => {}
        }
        acts.push_back(Acted::from(*admin));
    }
    let first = AccountId(1);
    let key = |key: &str| KeySpec {
        account: first,
        key: key.to_owned(),
        permissions: PERMISSION_TRADE | PERMISSION_WITHDRAW,
        ed25519_public: Vec::new(),
        addresses: Vec::new(),
        expires: TsNs(0),
    };
    let copies = ["U7", "U8"].map(|user| Admin::AddSession(reader(first, user)));
    let keys = ["K0", "K1"].map(|name| Admin::AddKey(key(name)));
    let revoked = Admin::RevokeKey { key: "K0".to_owned() };
    acts.extend(copies.into_iter().chain(keys).chain([revoked]).map(Acted::from));
    acts
}

/// Any act: of an administrator as a rule, and of the bearer of a key, which may be revoked, expired or of another
/// account.
fn any(reference: ClientKey, rng: &mut Rng) -> Acted {
    let account = AccountId(1 + rng.below(ACCOUNTS));
    match rng.below(38) {
        0..24 => any_admin(reference, rng).into(),
        24 | 25 => Admin::AddKey(key(account, reference, rng)).into(),
        26 | 27 => Admin::RevokeKey { key: key_name(rng) }.into(),
        28 | 29 => Acted::by_ops(Act::MassCancel(mass_cancel(account, rng))),
        30 | 31 => set_intake(rng),
        32 | 33 => session_act(rng).into(),
        _ => Acted { actor: Actor::Key(KeyId(1 + rng.below(KEY_NAMES))), ..Acted::by_ops(act_of_key(reference, rng)) },
    }
}

/// A client's session is disconnected, or gets the password that it has. A session without a client begins a life or is
/// removed: no client of the simulator knows of lives.
fn session_act(rng: &mut Rng) -> Admin {
    let (client, other) = (SessionId(1 + rng.below(ACCOUNTS)), SessionId(DROP_COPY.0 + 2 + rng.below(8)));
    match rng.below(6) {
        0..2 => Admin::DisconnectSession { session: client },
        2 => Admin::SetSessionPassword { session: client, password_hash: PASSWORD.to_owned() },
        3 | 4 => Admin::BeginSessionLife { session: other, tag: LifeTag(rng.below(4)) },
        _ => Admin::RemoveSession { session: other },
    }
}

/// A stop of the intake, or its end, by the node or by the operators.
fn set_intake(rng: &mut Rng) -> Acted {
    let intake = rng.pick(&[Intake::All, Intake::All, Intake::All, Intake::Cancels]);
    Acted { actor: rng.pick(&[Actor::Ops, Actor::Node]), ..Acted::from(Admin::SetIntake(intake)) }
}

fn act_of_key(reference: ClientKey, rng: &mut Rng) -> Act {
    let account = AccountId(1 + rng.below(ACCOUNTS));
    match rng.below(4) {
        0 => Act::MassCancel(mass_cancel(account, rng)),
        1 => Act::Admin(Admin::SetAccountBlock { account, blocked: rng.one_in(4) }),
        2 => Act::Admin(Admin::Withdraw(funds(account, reference, rng))),
        _ => Act::Admin(Admin::RevokeKey { key: key_name(rng) }),
    }
}

fn key(account: AccountId, reference: ClientKey, rng: &mut Rng) -> KeySpec {
    KeySpec {
        account,
        key: key_name(rng),
        permissions: rng.below(8) as u8,
        ed25519_public: if rng.one_in(2) { vec![7; 32] } else { Vec::new() },
        addresses: vec![format!("10.0.0.{}/32", reference.0 % 256)],
        // Two have expired: one before the exchange opened, one in its first second.
        expires: TsNs(rng.pick(&[0, 0, 0, 1, 1_700_000_001_000_000_000])),
    }
}

fn key_name(rng: &mut Rng) -> String {
    format!("K{}", rng.below(KEY_NAMES))
}

/// A mass cancel without a session, of an account or a market, some of whose orders it may spare.
fn mass_cancel(account: AccountId, rng: &mut Rng) -> MassCancel {
    MassCancel {
        account,
        scope: rng.pick(&[MassScope::Account, MassScope::Account, MassScope::Market]),
        side: rng.pick(&[None, None, Some(Side::Buy), Some(Side::Sell)]),
        cancel_group: rng.below(3) as u8,
        block: rng.pick(&[BlockChange::Keep, BlockChange::Keep, BlockChange::Set, BlockChange::Lift]),
        ..cancel_in(any_market(rng))
    }
}

/// Makes a lot of every market large enough for fees that are paid from what is received.
fn pay_fees_as_received(admin: &mut Admin) {
    match admin {
        Admin::AddAsset { symbol, scale } if symbol.as_str() != "USD" => *scale = 2,
        Admin::Deposit(funds) if funds.asset != AssetId(1) => funds.amount.0 *= 100,
        Admin::AddMarket(spec) => spec.limits.notional_min = spec.limits.notional_min.max(WIDE.notional_min),
        _ => {}
    }
}

fn cancel_in(market: MarketId) -> MassCancel {
    MassCancel::every_order(MassScope::Account, AccountId::NONE, market, BlockChange::Keep)
}

fn any_admin(reference: ClientKey, rng: &mut Rng) -> Admin {
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
            fees: MarketFees::new(Ppm(0), Ppm(100), FeeAsset::Quote),
            status: MarketStatus::Trading,
        }),
        _ => Admin::AddSession(SessionSpec {
            drop_copy: rng.one_in(2),
            // The first account has all its drop copies already.
            ..reader(rng.pick(&[AccountId(1), account]), &format!("U{}", 10 + reference.0 % 1_000))
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
