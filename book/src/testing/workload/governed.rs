//! The governed profile: the mixed flow, and between it everything about rights and limits.

use super::Workload;
use crate::accounts::OPEN_ORDERS_MAX;
use crate::command::*;
use crate::ids::*;
use crate::intake::Intake;
use crate::run::{LIFE_TAGS, LifeTag, RunSpec};
use crate::session::{COD_WINDOW_MS_MAX, THROTTLE_RATE_MAX};
use crate::units::*;

/// Names and ids of markets beside those that trade, few enough that they repeat.
const SIDE_MARKETS: u32 = 8;
/// Names of keys and of sessions, few enough that they repeat.
const KEY_NAMES: u32 = 40;
const SESSION_NAMES: u32 = 40;

fn session(account: AccountId, user: &str, drop_copy: bool) -> SessionSpec {
    SessionSpec {
        account,
        user: UserName::new(user).expect("letters and digits"),
        password_hash: "$argon2id$none".to_owned(),
        drop_copy,
        throttle: Throttle::default(),
        cod_mode: if drop_copy { CodMode::Off } else { CodMode::Both },
        cod_scope: CodScope::Session,
        cod_window_ms: 0,
    }
}

impl Workload {
    /// What a governed exchange has beside a mixed one, and the newest rules: a second session and a drop copy of
    /// account 1.
    pub(super) fn governed_setup() -> [Admin; 2] {
        let second = session(AccountId(1), "V1", false);
        let copy = session(AccountId(1), "C1", true);
        [Admin::AddSession(second), Admin::AddSession(copy)]
    }

    pub(super) fn governed(&mut self) -> Command {
        let account = self.account();
        let admin = match self.rng.below(1_000) {
            0..20 => Admin::AddKey(self.key(account)),
            20..35 => Admin::RevokeKey { key: self.key_name() },
            35..75 => return self.act_of_key(),
            75..85 => return acted(Actor::Ops, Act::MassCancel(self.mass_cancel_of_ops())),
            85..105 => Admin::SetSessionThrottle { session: self.any_session(), throttle: self.throttle() },
            105..125 => Admin::SetAccountLimits {
                account,
                open_orders_max: self.rng.pick(&[3, 20, 1_000, 1_000, OPEN_ORDERS_MAX, OPEN_ORDERS_MAX + 1]),
            },
            125..140 => Admin::AddSession(self.session_spec(account)),
            140..150 => Admin::SetSessionBlock { session: self.any_session(), blocked: self.rng.one_in(4) },
            150..160 => Admin::SetMarketLimits { market: self.market(), limits: self.limits() },
            160..170 => return self.down_any(),
            210..216 => return self.end_any(),
            225..227 => return self.set_any(),
            230..233 => self.session_act(),
            170..180 => Admin::WithdrawFees(self.fee_payment()),
            185..188 => {
                let life = self.rng.one_in(2).then(|| LifeTag(self.rng.below(LIFE_TAGS + 10)));
                let (directory, may_lose) = (u64::from(self.rng.below(3)), self.rng.one_in(2));
                Admin::BeginRun(RunSpec { directory, may_lose, life })
            }
            180..185 => Admin::SetClientNamesMax { max: self.rng.pick(&[0, 1, 7, 40, 200, u32::MAX]) },
            190..210 => return self.intake(),
            235..240 => Admin::AddMarket(self.side_market()),
            240..246 => {
                let status = self.rng.pick(&[MarketStatus::Closed, MarketStatus::Closed, MarketStatus::Trading]);
                Admin::SetMarketStatus { market: self.side_market_id(), status }
            }
            246..254 => Admin::RemoveMarket { market: self.any_market_id() },
            256 => {
                self.pass_days();
                return self.mixed();
            }
            _ => return self.mixed(),
        };
        acted(Actor::Ops, Act::Admin(admin))
    }

    /// The intake is stopped now and then, and lifted soon.
    fn intake(&mut self) -> Command {
        let intake = if self.rng.one_in(6) { Intake::Cancels } else { Intake::All };
        acted(self.rng.pick(&[Actor::Ops, Actor::Node]), Act::Admin(Admin::SetIntake(intake)))
    }

    /// A market beside those that trade, with one of a few names.
    fn side_market(&mut self) -> MarketSpec {
        let symbol = format!("X{}-USD", self.rng.below(SIDE_MARKETS));
        self.market_spec(&symbol, AssetId(3))
    }

    fn side_market_id(&mut self) -> MarketId {
        MarketId(3 + self.rng.below(SIDE_MARKETS))
    }

    /// Mostly of a side market; one that trades is not closed, so it is not removed.
    fn any_market_id(&mut self) -> MarketId {
        if self.rng.one_in(4) { MarketId(self.rng.below(4)) } else { self.side_market_id() }
    }

    /// So many that names of orders, revoked keys or the references of payments have had their time.
    fn pass_days(&mut self) {
        let days = self.rng.pick(&[1, 15, 30, 200]);
        self.now.0 += days * 24 * 3_600 * 1_000_000_000;
    }

    /// A session of the account that may trade.
    pub(super) fn session_of(&mut self, account: AccountId) -> SessionId {
        if self.profile != super::Profile::Governed || !self.rng.one_in(2) {
            return SessionId(account.0);
        }
        let own: Vec<SessionId> = self.traders.iter().filter(|(_, of)| *of == account).map(|(id, _)| *id).collect();
        self.rng.pick(&own)
    }

    /// Also one that does not exist.
    fn any_session(&mut self) -> SessionId {
        SessionId(self.rng.below(self.accounts + 12))
    }

    /// Sometimes of a reference that was booked, of more than there is, or for an account.
    fn fee_payment(&mut self) -> FundsMove {
        let account = if self.rng.one_in(8) { self.account() } else { AccountId::NONE };
        let asset = AssetId(self.rng.below(4));
        let reference = ClientKey(1 << 100 | u128::from(self.rng.below(200)));
        FundsMove { account, asset, amount: Units(u64::from(self.rng.below(40))), reference }
    }

    fn down_any(&mut self) -> Command {
        let session = self.any_session();
        let cause = self.rng.pick(&[DownCause::Disconnect, DownCause::Logout]);
        Command::SessionDown(SessionDown { session, cause, continued: false })
    }

    fn end_any(&mut self) -> Command {
        let session = self.any_session();
        let cause =
            self.rng.pick(&[DownCause::Disconnect, DownCause::Disconnect, DownCause::Logout, DownCause::Displaced]);
        Command::ConnectionEnd(ConnectionEnd { session, cause, number: self.rng.below(9) })
    }

    /// Also of a drop copy.
    fn set_any(&mut self) -> Command {
        let Command::SetSession(set) = self.set_session() else { unreachable!("a change was asked for") };
        Command::SetSession(SetSession { session: self.any_session(), ..set })
    }

    /// The first session of every account stays.
    fn session_act(&mut self) -> Admin {
        let session = self.any_session();
        let later = SessionId(self.accounts + 1 + self.rng.below(40));
        match self.rng.below(8) {
            0..4 => Admin::BeginSessionLife { session, tag: LifeTag(self.rng.pick(&[1, 2, LIFE_TAGS - 1, LIFE_TAGS])) },
            4 => Admin::RemoveSession { session: later },
            5 => Admin::SetSessionPassword { session, password_hash: self.rng.pick(&["", "$argon2id$new"]).to_owned() },
            _ => Admin::DisconnectSession { session },
        }
    }

    fn key_name(&mut self) -> String {
        format!("K{}", self.rng.below(KEY_NAMES))
    }

    fn key(&mut self, account: AccountId) -> KeySpec {
        let in_a_moment = self.now.0 + u64::from(self.rng.below(200_000));
        KeySpec {
            account,
            key: self.key_name(),
            permissions: self.rng.below(9) as u8,
            ed25519_public: if self.rng.one_in(2) { vec![7; 32] } else { Vec::new() },
            addresses: if self.rng.one_in(2) { vec!["10.0.0.0/8".to_owned()] } else { Vec::new() },
            expires: TsNs(self.rng.pick(&[0, 0, 1, in_a_moment])),
        }
    }

    fn throttle(&mut self) -> Throttle {
        let orders_per_second = self.rng.pick(&[0, 0, 1, 20_000, 1_000_000, THROTTLE_RATE_MAX, THROTTLE_RATE_MAX + 1]);
        Throttle { orders_per_second, burst: self.rng.pick(&[0, 1, 5, 100]) }
    }

    fn session_spec(&mut self, account: AccountId) -> SessionSpec {
        let user = format!("V{}", self.rng.below(SESSION_NAMES));
        let spec = session(account, &user, self.rng.one_in(2));
        SessionSpec {
            throttle: self.throttle(),
            cod_scope: self.rng.pick(&[CodScope::Session, CodScope::Account]),
            cod_window_ms: self.rng.pick(&[0, 5_000, COD_WINDOW_MS_MAX, COD_WINDOW_MS_MAX + 1]),
            ..spec
        }
    }

    fn limits(&mut self) -> MarketLimits {
        MarketLimits {
            qty_min: QtyLots(self.rng.pick(&[0, 1, 1, 2])),
            qty_max: QtyLots(self.rng.pick(&[1_000, 1 << 40])),
            notional_min: Units(self.rng.pick(&[0, 0, 10_000])),
            price_band: Ppm(self.rng.pick(&[0, 0, 5_000, -1])),
        }
    }

    fn mass_cancel_of_ops(&mut self) -> MassCancel {
        let Command::MassCancel(mass) = self.mass_cancel() else { unreachable!("a mass cancel was asked for") };
        let scope = self.rng.pick(&[MassScope::Account, MassScope::Market]);
        MassCancel { session: SessionId::NONE, cl_ord_id: ClOrdId(0), scope, ..mass }
    }

    /// What the bearers of keys may do, and what they may not; keys are also revoked, expired or unknown.
    fn act_of_key(&mut self) -> Command {
        let account = self.account();
        let act = match self.rng.below(8) {
            0..3 => Act::MassCancel(self.mass_cancel_of_ops()),
            3 | 4 => Act::Admin(Admin::SetAccountBlock { account, blocked: self.rng.one_in(4) }),
            5 | 6 => Act::Admin(Admin::Withdraw(self.payment(account))),
            _ => Act::Admin(Admin::RevokeKey { key: self.key_name() }),
        };
        let actor = Actor::Key(KeyId(self.rng.below(KEY_NAMES)));
        acted(self.rng.pick(&[actor, actor, actor, Actor::Node]), act)
    }
}

fn acted(actor: Actor, act: Act) -> Command {
    Command::Acted(Box::new(Acted { actor, ..Acted::by_ops(act) }))
}
