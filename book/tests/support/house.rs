//! A small exchange with two funded accounts, and the commands that tests give it.

use book::command::*;
use book::engine::{Capacity, Engine};
use book::event::Event;
use book::fees::MarketFees;
use book::ids::{AccountId, AssetId, ClOrdId, ClientKey, MarketId, SessionId, Symbol, UserName};
use book::state_hash::StateHash;
use book::units::{Ppm, PriceTicks, QtyLots, Seq, Stamp, TsNs, Units};

pub(crate) const MAKER: AccountId = AccountId(1);
pub(crate) const TAKER: AccountId = AccountId(2);

/// A market of both assets with tick 1, lot 1, no fees and no limits that tests reach.
pub(crate) fn market(symbol: &str) -> MarketSpec {
    MarketSpec {
        symbol: Symbol::new(symbol).expect("letters and dashes"),
        base: AssetId(2),
        quote: AssetId(1),
        tick_e9: 1_000_000_000,
        lot_e8: 100_000_000,
        limits: MarketLimits {
            qty_min: QtyLots(1),
            qty_max: QtyLots(1_000_000),
            notional_min: Units(0),
            price_band: Ppm(0),
        },
        fees: MarketFees::NONE,
        status: MarketStatus::Trading,
    }
}

/// A session that cancels its own orders at once when it ends.
pub(crate) fn session(account: AccountId, user: &str) -> SessionSpec {
    SessionSpec {
        account,
        user: UserName::new(user).expect("letters and digits"),
        password_hash: "$argon2id$".to_owned(),
        drop_copy: false,
        throttle: Throttle::default(),
        cod_mode: CodMode::Both,
        cod_scope: CodScope::Session,
        cod_window_ms: 0,
    }
}

pub(crate) struct House {
    pub(crate) engine: Engine,
    pub(crate) log: Vec<Command>,
}

impl House {
    pub(crate) fn new() -> Self {
        let mut house = Self { engine: Engine::new(Capacity::default()), log: Vec::new() };
        for symbol in ["USD", "BTC"] {
            house.admin(Admin::AddAsset { symbol: Symbol::new(symbol).expect("three letters"), scale: 0 });
        }
        house.admin(Admin::AddMarket(market("BTC-USD")));
        for (account, name) in [(MAKER, "M"), (TAKER, "T")] {
            let kind = AccountKind::Client;
            house.admin(Admin::AddAccount(AccountSpec {
                name: name.to_owned(),
                kind,
                parent: AccountId::NONE,
                fee_tier: 0,
            }));
            house.admin(Admin::AddSession(session(account, name)));
            for asset in [1, 2] {
                let (asset, reference) = (AssetId(asset), ClientKey(u128::from(account.0 * 8 + asset)));
                house.admin(Admin::Deposit(FundsMove { account, asset, amount: Units(1 << 40), reference }));
            }
        }
        house
    }

    pub(crate) fn apply(&mut self, command: Command) -> Vec<Event> {
        let mut events = Vec::new();
        let seq = self.engine.stamp().seq.next();
        self.engine.apply(Stamp { seq, ts: TsNs(seq.0) }, &command, &mut events);
        self.log.push(command);
        events.retain(|event| !matches!(event, Event::Transfer(_)));
        events
    }

    pub(crate) fn admin(&mut self, admin: Admin) {
        let events = self.apply(Command::Admin(Box::new(admin)));
        assert!(!matches!(events[..], [Event::AdminRejected { .. }]), "{events:?}");
    }

    pub(crate) fn place(
        &mut self,
        account: AccountId,
        side: Side,
        price: u32,
        qty: u64,
        tif: Tif,
        stp: StpMode,
    ) -> Vec<Event> {
        self.apply(Command::Place(self.order(account, side, price, qty, tif, stp)))
    }

    /// The order that [`Self::place`] places.
    pub(crate) fn order(
        &self,
        account: AccountId,
        side: Side,
        price: u32,
        qty: u64,
        tif: Tif,
        stp: StpMode,
    ) -> PlaceOrder {
        PlaceOrder {
            session: SessionId(account.0),
            cl_ord_id: ClOrdId(self.log.len() as u64),
            client_key: ClientKey::NONE,
            account,
            market: MarketId(1),
            side,
            kind: OrderKind::Limit { price: PriceTicks(price), qty: QtyLots(qty) },
            tif,
            stp,
            stp_group: 0,
            cancel_group: 0,
            persist_on_disconnect: false,
            valid_until: TsNs(0),
        }
    }

    /// What a restart makes of the log.
    pub(crate) fn replayed(&self) -> Engine {
        let mut engine = Engine::new(Capacity { orders: 1, leaves: 1, markets: 1, names: 1 });
        for (idx, command) in self.log.iter().enumerate() {
            let seq = Seq(idx as u64 + 1);
            engine.apply(Stamp { seq, ts: TsNs(seq.0) }, command, &mut Vec::new());
        }
        engine
    }

    pub(crate) fn hash(&self) -> StateHash {
        self.engine.verify().expect("the state is consistent");
        self.engine.state_hash()
    }
}
