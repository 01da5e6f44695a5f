//! One of every message. Those that the node sends come from commands that a real engine has applied.
//!
//! Shared by the golden bytes and the independent decoder.
#![allow(dead_code)]

use api::binary::decode::{Decoded, Sender, decode};
use api::binary::encode::{EncodeContext, ExecIds, answers};
use api::binary::feed::FeedEncoder;
use api::binary::market;
use api::binary::orders::*;
use api::binary::requests::Target;
use api::binary::sbe::{Framed, Message, PRICE_NULL};
use api::decimal::{PriceE9, QtyE8};
use api::instruments::Instruments;
use book::command::{AccountKind, AccountSpec, Admin, CodMode, CodScope, Command, FundsMove, MarketLimits, MarketSpec};
use book::command::{MarketStatus, MassScope, SessionSpec, Side, Throttle};
use book::engine::{Capacity, Engine};
use book::event::Event;
use book::fees::MarketFees;
use book::ids::{AccountId, AssetId, ClOrdId, ClientKey, MarketId, OrderId, SessionId, Symbol, UserName};
use book::units::{Ppm, QtyLots, Seq, Stamp, TsNs, Units};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{I64, U16, U32, U64};

pub(crate) const START: u64 = 1_700_000_000_000_000_000;

/// An engine with its decoder and encoders: requests of a session in, answers and public messages out.
pub(crate) struct Exchange {
    pub engine: Engine,
    pub instruments: Instruments,
    pub feed: FeedEncoder,
    pub seq: u64,
    pub answers: Vec<(SessionId, Vec<u8>)>,
    pub public: Vec<Vec<u8>>,
    pub events: Vec<Event>,
}

impl Exchange {
    pub(crate) fn new() -> Self {
        Self {
            engine: Engine::new(Capacity { orders: 1 << 10, leaves: 1 << 8, markets: 4, names: 1 }),
            instruments: Instruments::default(),
            feed: FeedEncoder::default(),
            seq: 0,
            answers: Vec::new(),
            public: Vec::new(),
            events: Vec::new(),
        }
    }

    pub(crate) fn apply(&mut self, command: &Command) {
        self.seq += 1;
        let stamp = Stamp { seq: Seq(self.seq), ts: TsNs(START + self.seq * 1_000) };
        self.events.clear();
        self.engine.apply(stamp, command, &mut self.events);
        let mut ids = ExecIds::of_command(stamp.seq, 0);
        for event in &self.events {
            self.instruments.apply(event);
            let Some(exec_id) = ids.next(event) else { continue };
            let context = EncodeContext { stamp, exec_id, gateway_in: TsNs(stamp.ts.0 - 300) };
            answers(event, &self.instruments, &context, &mut |session, bytes| {
                self.answers.push((session, bytes.to_vec()));
            });
        }
        self.feed.encode(stamp, &self.events, &self.instruments, &mut |bytes| self.public.push(bytes.to_vec()));
    }

    pub(crate) fn admin(&mut self, admin: Admin) {
        self.apply(&Command::Admin(Box::new(admin)));
    }

    pub(crate) fn send<M: Message>(&mut self, sender: &Sender, request: M) {
        self.send_bytes(sender, Framed::new(request).as_bytes());
    }

    pub(crate) fn send_bytes(&mut self, sender: &Sender, bytes: &[u8]) {
        match decode(bytes, sender, &self.instruments).expect("a message") {
            Decoded::Command(command) | Decoded::SetSession { command, .. } => self.apply(&command),
        }
    }
}

pub(crate) const MARKET: MarketId = MarketId(1);

pub(crate) fn sender(number: u32) -> Sender {
    Sender { session: SessionId(number), account: AccountId(number), drop_copy: false }
}

/// BTC-USDT with two accounts, a session each, and money. Session 3 is a second one of account 1.
pub(crate) fn exchange() -> Exchange {
    let mut exchange = Exchange::new();
    for (name, scale) in [("BTC", 8), ("USDT", 6)] {
        exchange.admin(Admin::AddAsset { symbol: Symbol::new(name).expect("a name"), scale });
    }
    exchange.admin(Admin::AddMarket(MarketSpec {
        symbol: Symbol::new("BTC-USDT").expect("a name"),
        base: AssetId(1),
        quote: AssetId(2),
        tick_e9: 10_000_000,
        lot_e8: 10_000,
        limits: MarketLimits {
            qty_min: QtyLots(1),
            qty_max: QtyLots(1 << 40),
            notional_min: Units(0),
            price_band: Ppm(0),
        },
        fees: MarketFees::received(Ppm(-50), Ppm(200)),
        status: MarketStatus::Trading,
    }));
    for account in 1..=2 {
        exchange.admin(Admin::AddAccount(AccountSpec {
            name: format!("account {account}"),
            kind: AccountKind::Client,
            parent: AccountId::NONE,
            fee_tier: 0,
        }));
    }
    for (account, user) in [(1, "MM1"), (2, "TK2"), (1, "MM3")] {
        exchange.admin(Admin::AddSession(SessionSpec {
            account: AccountId(account),
            user: UserName::new(user).expect("a name"),
            password_hash: "none".into(),
            drop_copy: false,
            throttle: Throttle::default(),
            cod_mode: CodMode::Both,
            cod_scope: CodScope::Session,
            cod_window_ms: 0,
        }));
    }
    for account in 1..=2 {
        for (asset, amount) in [(1, 1_000_000_000_000), (2, 1_000_000_000_000)] {
            exchange.admin(Admin::Deposit(FundsMove {
                account: AccountId(account),
                asset: AssetId(asset),
                amount: Units(amount),
                reference: ClientKey(u128::from(account) << 8 | u128::from(asset)),
            }));
        }
    }
    exchange
}

pub(crate) fn price(text: &str) -> PriceE9 {
    PriceE9::parse(text).expect("a price")
}

pub(crate) fn qty(text: &str) -> QtyE8 {
    QtyE8::parse(text).expect("a quantity")
}

/// Every request, every field with a value of its own.
pub(crate) fn requests() -> Vec<Request> {
    let new_order = NewOrder {
        cl_ord_id: U64::new(101),
        sending_time_ns: U64::new(START),
        display_qty_e8: I64::new(150_000_000),
        valid_until_ns: U64::new(START * 2),
        account: U32::new(1),
        stp_group: U16::new(513),
        exec_inst: EXEC_POST_ONLY | EXEC_PERSIST_ON_DISCONNECT,
        cancel_group: 9,
        ..NewOrder::limit(ClOrdId(101), MARKET, Side::Sell, price("43210.55"), qty("1.5"))
    };
    let replace = ReplaceOrder {
        sending_time_ns: U64::new(START + 1),
        order_id: U64::new(1 << 24 | 5),
        ..ReplaceOrder::total(ClOrdId(102), Target::ClOrdId(ClOrdId(101)), MARKET, price("43210.56"), qty("2"))
    };
    let cancel = CancelOrder {
        sending_time_ns: U64::new(START + 2),
        order_id: U64::new(1 << 24 | 5),
        ..CancelOrder::new(ClOrdId(103), Target::ClOrdId(ClOrdId(102)), MARKET)
    };
    let mass = MassCancel {
        sending_time_ns: U64::new(START + 3),
        low_price_e9: I64::new(price("40000").0),
        instrument_id: U32::new(1),
        account: U32::new(1),
        side: SIDE_SELL,
        cancel_group: 9,
        block_new_orders: 1,
        quote_set: U16::new(3),
        ..MassCancel::all(ClOrdId(104), MassScope::Account)
    };
    let quote = MassQuote {
        cl_ord_id: U64::new(105),
        sending_time_ns: U64::new(START + 4),
        account: U32::new(1),
        quote_set: U16::new(3),
        stp_group: U16::new(513),
        stp_mode: 5,
        exec_inst: EXEC_MMP,
        mmp_reset: 1,
        pad: [0; 5],
    };
    let status = StatusRequest {
        order_id: U64::new(1 << 24 | 5),
        account: U32::new(1),
        ..StatusRequest::one(ClOrdId(106), Target::ClOrdId(ClOrdId(101)), MARKET)
    };
    let set = SetSession {
        stage_times: 1,
        ..SetSession::cancel_on_disconnect(ClOrdId(107), CodMode::Both, CodScope::Account, 2_500)
    };
    vec![new_order.into(), replace.into(), cancel.into(), mass.into(), quote.into(), status.into(), set.into()]
}

/// Orders, trades, refusals and reports of a short day; answers and public messages are in the exchange.
pub(crate) fn day() -> Exchange {
    let mut x = exchange();
    let (maker, taker, other) =
        (sender(1), sender(2), Sender { session: SessionId(3), account: AccountId(1), drop_copy: false });
    let limit = |id, side, p, q| NewOrder::limit(ClOrdId(id), MARKET, side, price(p), qty(q));
    x.send(&maker, limit(1, Side::Sell, "43000.25", "2"));
    x.send(&maker, limit(2, Side::Sell, "43000.25", "1"));
    x.send(&maker, NewOrder { exec_inst: EXEC_POST_ONLY, ..limit(3, Side::Buy, "42999", "0.5") });
    // Trades with the first maker, then the rest of the same amount by quote.
    x.send(&taker, NewOrder { tif: TIF_IOC, ..limit(1, Side::Buy, "43001", "0.25") });
    x.send(&taker, NewOrder::market_by_quote(ClOrdId(2), MARKET, Side::Buy, qty("43000.25")));
    // Refused by the decoder, then by the engine.
    x.send(&taker, NewOrder { stp_mode: 0, ..limit(3, Side::Buy, "1", "1") });
    x.send(&taker, limit(4, Side::Buy, "43000", "90000"));
    // Amended in place, amended elsewhere, cancelled by its own session and by another one.
    let by = |id| Target::ClOrdId(ClOrdId(id));
    x.send(&maker, ReplaceOrder::open(ClOrdId(4), by(2), MARKET, price("43000.25"), qty("0.75")));
    x.send(&maker, ReplaceOrder::open(ClOrdId(5), by(4), MARKET, price("43000.5"), qty("0.75")));
    x.send(&maker, CancelOrder::new(ClOrdId(6), by(3), MARKET));
    x.send(&maker, CancelOrder::new(ClOrdId(7), by(3), MARKET));
    x.send(&maker, StatusRequest::all(ClOrdId(8), MARKET));
    x.send(&other, CancelOrder::new(ClOrdId(9), Target::OrderId(order_id(&x, 1)), MARKET));
    // Its own order is in the way: both lose the smaller quantity.
    x.send(&maker, NewOrder { stp_mode: 5, ..limit(10, Side::Buy, "43000.5", "0.25") });
    x.send(&maker, MassCancel::all(ClOrdId(11), MassScope::Session));
    x.send(&maker, SetSession::cancel_on_disconnect(ClOrdId(12), CodMode::OnLogout, CodScope::Account, 500));
    x.admin(Admin::SetMarketStatus { market: MARKET, status: MarketStatus::PostOnly });
    x
}

/// The exchange's id of the order that account 1's session 1 entered as `cl_ord_id`.
pub(crate) fn order_id(exchange: &Exchange, cl_ord_id: u64) -> OrderId {
    let found = exchange.answers.iter().find_map(|(session, bytes)| match Answer::read(bytes) {
        Ok(Answer::OrderAccepted(m)) if *session == SessionId(1) && m.cl_ord_id.get() == cl_ord_id => {
            Some(OrderId(m.order_id.get()))
        }
        _ => None,
    });
    found.expect("the order was accepted")
}

/// Answers that this version of the node never sends.
pub(crate) fn answers_for_later() -> Vec<Answer> {
    let ack = MassQuoteAck {
        cl_ord_id: U64::new(1),
        exec_id: U64::new(2),
        gateway_in_time_ns: U64::new(3),
        transact_time_ns: U64::new(4),
        quote_set: U16::new(5),
        accepted: U16::new(6),
        rejected: U16::new(7),
        pad: [0; 10],
    };
    let mmp = MmpTriggered {
        exec_id: U64::new(1),
        transact_time_ns: U64::new(2),
        frozen_until_ns: U64::new(3),
        traded_qty_e8: I64::new(-4),
        quote_set: U16::new(5),
        trigger: 6,
        pad: [0; 5],
    };
    let bust = TradeBust {
        exec_id: U64::new(1),
        trade_id: U64::new(2),
        order_id: U64::new(3),
        transact_time_ns: U64::new(4),
        instrument_id: U32::new(5),
        pad: [0; 4],
    };
    let times = StageTimes {
        cl_ord_id: U64::new(1),
        exec_id: U64::new(2),
        received_time_ns: U64::new(3),
        sequenced_time_ns: U64::new(4),
        durable_time_ns: U64::new(5),
        released_time_ns: U64::new(6),
    };
    vec![ack.into(), mmp.into(), bust.into(), times.into()]
}

pub(crate) fn bytes_of_request(request: &Request) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.write(&mut |message| bytes.extend_from_slice(message));
    bytes
}

pub(crate) fn bytes_of_answer(answer: &Answer) -> Vec<u8> {
    let mut bytes = Vec::new();
    answer.write(&mut |message| bytes.extend_from_slice(message));
    bytes
}

/// Every request, answer and public message in a fixed order, with groups.
pub(crate) fn all_messages() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let day = day();
    let mut orders: Vec<_> = requests().iter().map(bytes_of_request).collect();
    append_group(&mut orders[4], &quote_entries());
    orders.extend(day.answers.into_iter().map(|(_session, bytes)| bytes));
    let mut later: Vec<_> = answers_for_later().iter().map(bytes_of_answer).collect();
    append_group(&mut later[0], &ack_entries());
    orders.extend(later);
    let mut market = day.public;
    market.extend(snapshot_of(&market));
    market.extend(top_of(&market));
    (orders, market)
}

fn append_group<E: Message>(message: &mut Vec<u8>, entries: &[E]) {
    message.extend_from_slice(&(E::BLOCK_LENGTH as u16).to_le_bytes());
    message.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    for entry in entries {
        message.extend_from_slice(entry.as_bytes());
    }
}

fn quote_entries() -> [MassQuoteEntry; 2] {
    let entry = |id: u32, bid: i64| MassQuoteEntry {
        bid_px_e9: I64::new(bid),
        bid_qty_e8: I64::new(2),
        ask_px_e9: I64::new(3),
        ask_qty_e8: I64::new(4),
        instrument_id: U32::new(1),
        entry_id: U32::new(id),
    };
    [entry(1, 1), entry(2, PRICE_NULL)]
}

fn ack_entries() -> [MassQuoteAckEntry; 1] {
    [MassQuoteAckEntry {
        bid_order_id: U64::new(1),
        ask_order_id: U64::new(2),
        instrument_id: U32::new(3),
        entry_id: U32::new(4),
        bid_reject: U16::new(5),
        ask_reject: U16::new(6),
        pad: [0; 4],
    }]
}

pub(crate) fn depth_of(messages: &[Vec<u8>]) -> api::binary::depth::Depth {
    let mut depth = api::binary::depth::Depth::default();
    for message in messages {
        let message = market::MarketMessage::read(message).expect("a message of ours");
        depth.apply(&message).expect("the feed has no gap");
    }
    depth
}

/// The book one order before the end of the day, because at the end it is empty.
fn until_last_order(messages: &[Vec<u8>]) -> &[Vec<u8>] {
    let is_add = |m: &Vec<u8>| matches!(market::MarketMessage::read(m), Ok(market::MarketMessage::OrderAdd(_)));
    let last = messages.iter().rposition(is_add).expect("orders rested");
    &messages[..=last]
}

fn snapshot_of(messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut snapshot = Vec::new();
    let depth = depth_of(until_last_order(messages));
    let as_of = api::binary::stream::SessionSeq(77);
    api::binary::snapshot::write_snapshot(&depth, as_of, TsNs(START), &mut |m| snapshot.push(m.to_vec()));
    snapshot
}

fn top_of(messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let live: Vec<_> = messages.iter().take_while(|m| m[2] != 100).cloned().collect();
    let depth = depth_of(until_last_order(&live));
    let book = depth.book(1).expect("the market is known");
    let mut update = vec![0; market::LEVEL_UPDATE_BYTES_MAX];
    let len =
        api::binary::top::TopState::default().update(book, TsNs(START), &mut update).expect("levels have changed");
    update.truncate(len);
    vec![Framed::new(api::binary::top::bbo(book, TsNs(START))).as_bytes().to_vec(), update]
}
