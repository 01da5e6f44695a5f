//! An exchange with one market and two rich accounts, for days that were recorded elsewhere.

use book::command::*;
use book::engine::{Capacity, Engine};
use book::event::{Event, Sink};
use book::fees::MarketFees;
use book::ids::{AccountId, AssetId, ClOrdId, ClientKey, MarketId, OrderId, SessionId, Symbol};
use book::units::{Ppm, PriceTicks, QtyLots, Seq, Stamp, TsNs, UNITS_MAX, Units};

pub(crate) const MARKET: MarketId = MarketId(1);
/// Its orders never meet its own prevention, so one account may be all the world.
pub(crate) const EVERYBODY: AccountId = AccountId(1);

/// The events of one command, without transfers.
#[derive(Debug, Default)]
pub(crate) struct Heard(pub Vec<Event>);

impl Sink for Heard {
    const LEDGER: bool = false;

    fn push(&mut self, event: Event) {
        self.0.push(event);
    }
}

pub(crate) struct Exchange {
    pub engine: Engine,
    seq: Seq,
    heard: Heard,
}

impl Exchange {
    pub(crate) fn new() -> Self {
        let engine = Engine::new(Capacity { orders: 1 << 16, leaves: 1 << 10, markets: 1, names: 1 });
        let mut exchange = Self { engine, seq: Seq(0), heard: Heard::default() };
        for symbol in ["USD", "BTC"] {
            exchange.admin(Admin::AddAsset { symbol: Symbol::new(symbol).expect("three letters"), scale: 0 });
        }
        exchange.admin(Admin::AddMarket(MarketSpec {
            symbol: Symbol::new("BTC-USD").expect("letters and a dash"),
            base: AssetId(2),
            quote: AssetId(1),
            tick_e9: 1_000_000_000,
            lot_e8: 100_000_000,
            limits: MarketLimits {
                qty_min: QtyLots(1),
                qty_max: QtyLots(1 << 40),
                notional_min: Units(0),
                price_band: Ppm(0),
            },
            fees: MarketFees::NONE,
            status: MarketStatus::Trading,
        }));
        exchange.admin(Admin::AddAccount(AccountSpec {
            name: "everybody".to_owned(),
            kind: AccountKind::Client,
            parent: AccountId::NONE,
            fee_tier: 0,
        }));
        exchange.admin(Admin::SetAccountLimits { account: EVERYBODY, open_orders_max: 1 << 22 });
        for asset in [AssetId(1), AssetId(2)] {
            let reference = ClientKey(u128::from(asset.0));
            exchange.admin(Admin::Deposit(FundsMove {
                account: EVERYBODY,
                asset,
                amount: Units(UNITS_MAX),
                reference,
            }));
        }
        exchange
    }

    pub(crate) fn apply(&mut self, command: &Command) -> &[Event] {
        self.seq = self.seq.next();
        self.heard.0.clear();
        self.engine.apply(Stamp { seq: self.seq, ts: TsNs(self.seq.0) }, command, &mut self.heard);
        &self.heard.0
    }

    fn admin(&mut self, admin: Admin) {
        let events = self.apply(&Command::Admin(Box::new(admin)));
        assert!(!matches!(events, [Event::AdminRejected { .. }]), "the house opens: {events:?}");
    }
}

pub(crate) fn place(side: Side, kind: OrderKind, tif: Tif) -> PlaceOrder {
    PlaceOrder {
        session: SessionId::NONE,
        cl_ord_id: ClOrdId(0),
        client_key: ClientKey::NONE,
        account: EVERYBODY,
        market: MARKET,
        side,
        kind,
        tif,
        stp: StpMode::None,
        stp_group: 0,
        cancel_group: 0,
        persist_on_disconnect: false,
        valid_until: TsNs(0),
    }
}

pub(crate) fn limit(side: Side, price: u32, qty: u64, tif: Tif) -> PlaceOrder {
    place(side, OrderKind::Limit { price: PriceTicks(price), qty: QtyLots(qty) }, tif)
}

pub(crate) fn target(order_id: OrderId) -> OrderRef {
    OrderRef { order_id, cl_ord_id: ClOrdId(0), client_key: ClientKey::NONE }
}

pub(crate) fn cancel(order_id: OrderId) -> Command {
    let (session, cl_ord_id) = (SessionId::NONE, ClOrdId(0));
    Command::Cancel(CancelOrder { session, cl_ord_id, account: EVERYBODY, market: MARKET, target: target(order_id) })
}

pub(crate) fn amend(order_id: OrderId, price: u32, qty: u64, qty_means: AmendQty) -> Command {
    Command::Amend(AmendOrder {
        session: SessionId::NONE,
        cl_ord_id: ClOrdId(0),
        account: EVERYBODY,
        market: MARKET,
        target: target(order_id),
        price: PriceTicks(price),
        qty: QtyLots(qty),
        qty_means,
    })
}

/// The id of the order that a command placed.
pub(crate) fn accepted(events: &[Event]) -> OrderId {
    let id = events.iter().find_map(|e| if let Event::Accepted(a) = e { Some(a.order_id) } else { None });
    id.unwrap_or_else(|| panic!("an order was accepted: {events:?}"))
}
