//! Looking ahead changes nothing, whatever the commands to come say.

use book::command::{AmendOrder, AmendQty, CancelOrder, CancelReplace, Command, OrderKind, OrderRef, PlaceOrder};
use book::command::{ReplaceMode, Side, StpMode, Tif};
use book::engine::{Capacity, Engine};
use book::event::NoSink;
use book::ids::{AccountId, ClOrdId, ClientKey, MarketId, OrderId, SessionId};
use book::look_ahead::ORDERS_MIN;
use book::testing::workload::{Profile, Workload};
use book::units::{PriceTicks, QtyLots, Seq, Stamp, TsNs};

const COMMANDS: usize = 30_000;
/// A strange command after so many others.
const STRANGE_EVERY: usize = 7;

/// Names and numbers that no honest client sends, each of which looking ahead meets before admission does.
fn strange(idx: usize) -> Command {
    let far = [0, 1, 2, 1 << 15, u32::MAX - 1, u32::MAX];
    let pick = |salt: usize| far[(idx * 5 + salt * 3 + idx / 11) % far.len()];
    let (account, session, market) = (AccountId(pick(0)), SessionId(pick(1)), MarketId(pick(2)));
    let order_id = OrderId(u64::from(pick(3)) << 24 | u64::from(pick(4)));
    let target = OrderRef { order_id, cl_ord_id: ClOrdId(u64::from(pick(5))), client_key: ClientKey::NONE };
    let (cl_ord_id, price, qty) = (ClOrdId(0), PriceTicks(pick(6)), QtyLots(u64::MAX));
    let side = if idx.is_multiple_of(2) { Side::Buy } else { Side::Sell };
    let place = place(account, session, market, side, OrderKind::Limit { price, qty });
    match idx % 4 {
        0 => Command::Place(place),
        1 => Command::Cancel(CancelOrder { session, cl_ord_id, account, market, target }),
        2 => Command::Amend(AmendOrder {
            session,
            cl_ord_id,
            account,
            market,
            target,
            price,
            qty,
            qty_means: AmendQty::Open,
        }),
        _ => Command::CancelReplace(CancelReplace { place, target, mode: ReplaceMode::AllowFailure }),
    }
}

/// An order far below the market that stays where it is: enough of them make the book large.
fn deep(idx: usize) -> Command {
    let account = AccountId(1 + idx as u32 % 8);
    let kind = OrderKind::Limit { price: PriceTicks(1 + idx as u32 % 500), qty: QtyLots(1) };
    Command::Place(place(account, SessionId::NONE, MarketId(1), Side::Buy, kind))
}

fn place(account: AccountId, session: SessionId, market: MarketId, side: Side, kind: OrderKind) -> PlaceOrder {
    PlaceOrder {
        session,
        cl_ord_id: ClOrdId(0),
        client_key: ClientKey::NONE,
        account,
        market,
        side,
        kind,
        tif: Tif::Gtc,
        stp: StpMode::None,
        stp_group: 0,
        cancel_group: 0,
        persist_on_disconnect: false,
        valid_until: TsNs(0),
    }
}

/// A day in a book past the size from which it looks ahead, strange commands among the others.
fn day() -> (Vec<(TsNs, Command)>, Engine) {
    let mut workload = Workload::new(Profile::Maker, 7);
    let mut engine = Engine::new(Capacity::default());
    let mut log = Vec::new();
    let mut run = |command: Command, workload: &mut Workload, engine: &mut Engine| {
        let stamp = Stamp { seq: engine.stamp().seq.next(), ts: workload.now() };
        engine.apply(stamp, &command, workload);
        log.push((stamp.ts, command));
    };
    for command in workload.setup().into_iter().chain((0..ORDERS_MIN + ORDERS_MIN / 8).map(deep)) {
        run(command, &mut workload, &mut engine);
    }
    for idx in 0..COMMANDS {
        let command = if idx % STRANGE_EVERY == 0 { strange(idx / STRANGE_EVERY) } else { workload.next_command() };
        run(command, &mut workload, &mut engine);
    }
    (log, engine)
}

#[test]
fn looking_ahead_changes_nothing_and_survives_any_command() {
    let (log, live) = day();
    let mut ahead = Engine::new(Capacity::default());
    let mut looked = 0;
    for (idx, (ts, command)) in log.iter().enumerate() {
        looked += usize::from(ahead.looks_ahead());
        ahead.look_ahead(|distance| log.get(idx + distance).map(|(_, command)| command));
        ahead.apply(Stamp { seq: Seq(idx as u64 + 1), ts: *ts }, command, &mut NoSink);
    }
    assert!(COMMANDS <= looked, "only {looked} of {} commands were looked ahead of", log.len());
    assert_eq!(ahead.state_hash(), live.state_hash());
    ahead.verify().expect("the state is consistent");
}
