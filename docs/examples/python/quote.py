"""A market maker's first session: quote both sides, amend, resume after a cut, pull the kill switch.

`pinion demo` prints the PINION_ variables that this reads. docs/QUICKSTART.md says what each step does and prints.
"""

import os
import sys

from pinion import (
    BUY, CANCEL_TAKER, COD_BOTH, GTC, LIMIT, NULL_PRICE, POST_ONLY, SELL, SESSION, CancelRejected,
    InstrumentDefinition, MassCancel, MassCancelReport, NewOrder, OrderAccepted, OrderCanceled, OrderExecuted,
    OrderRejected, OrderReplaced, OrderStatus, ReplaceOrder, Session, SessionState, SetSession, SnapshotEnd,
    StatusRequest, fixed, shown)

GRACE_MS = 10_000
BID, ASK = fixed("59000", 9), fixed("61000", 9)
QTY, QTY_MORE = fixed("0.25", 8), fixed("0.3", 8)


def main():
    market = find_market(os.environ["PINION_MARKET"])
    tick = market.tickSize
    print(f"market    {os.environ['PINION_MARKET']}: instrument {market.instrumentId}, tick {shown(tick, 9)}, "
          f"lot {shown(market.lotSize, 8)}")
    session = log_in(next_seq=0)

    # Orders outlive a lost connection by the grace window. The answer says which ids are used up.
    session.send(SetSession(codMode=COD_BOTH, codScope=SESSION, codWindowMs=GRACE_MS))
    used = read_until(session, SessionState).lastClOrdId
    bid, ask, bid_amended, ask_amended, late = range(used + 1, used + 6)

    # Quote both sides.
    session.send(limit(bid, market, BUY, BID))
    session.send(limit(ask, market, SELL, ASK))
    read_until(session, OrderAccepted)
    read_until(session, OrderAccepted)

    # Amend the bid: a tick higher and for more.
    session.send(replace(bid, bid_amended, market, BID + tick))
    read_until(session, OrderReplaced)

    # Amend the ask, and lose the connection before the answer is read.
    session.send(replace(ask, ask_amended, market, ASK - tick))
    session.cut()
    print("cut")

    # Resume from the next message. What may not have arrived is sent again: under its id it takes effect once.
    session = log_in(session.next_seq)
    session.send(replace(ask, ask_amended, market, ASK - tick))
    read_until(session, OrderReplaced)

    # What is open now?
    session.send(StatusRequest(instrumentId=market.instrumentId))
    while read_until(session, OrderStatus).remaining > 0:
        pass

    # Kill switch: cancel all orders of the session, and refuse new ones until an administrator lifts the block.
    session.send(MassCancel(lowPrice=NULL_PRICE, highPrice=NULL_PRICE, scope=SESSION, blockNewOrders=1))
    while read_until(session, MassCancelReport).more:
        pass
    session.send(limit(late, market, BUY, BID))
    read_until(session, OrderRejected)
    session.logout()
    print("logged out")


def find_market(symbol):
    """The market's definition: a snapshot of the public market data begins with all of them."""
    snapshot = Session(os.environ["PINION_MARKET_DATA"], "public", session="SNAP", next_seq=1)
    while True:
        _seq, message = snapshot.receive()
        if isinstance(message, InstrumentDefinition) and message.symbol.rstrip(b"\0").decode() == symbol:
            snapshot.cut()
            return message
        if isinstance(message, SnapshotEnd):
            sys.exit(f"there is no market {symbol} in the snapshot; is PINION_MARKET right?")


def log_in(next_seq):
    session = Session(os.environ["PINION_ORDERS"], os.environ["PINION_USER"], os.environ["PINION_PASSWORD"],
                      next_seq=next_seq)
    print(f"login     {session.name}, next message {session.next_seq}")
    return session


def limit(cl_ord_id, market, side, price):
    """An order that rests until it is cancelled. Post-only: it is refused where it would trade at once."""
    return NewOrder(clOrdId=cl_ord_id, price=price, qty=QTY, instrumentId=market.instrumentId, side=side, ordType=LIMIT,
                    tif=GTC, stpMode=CANCEL_TAKER, execInst=POST_ONLY)


def replace(target, cl_ord_id, market, price):
    return ReplaceOrder(clOrdId=cl_ord_id, origClOrdId=target, price=price, qty=QTY_MORE,
                        instrumentId=market.instrumentId)


def read_until(session, kind):
    """Reads and prints messages up to the first one of this kind."""
    while True:
        seq, message = session.receive()
        print(f"{seq:>6}    {describe(message)}")
        if isinstance(message, kind):
            return message
        if isinstance(message, (OrderRejected, CancelRejected)):
            sys.exit(f"refused with reason {message.reason}: see Reject reasons in docs/protocol/ORDER-ENTRY.md")


def describe(m):
    match m:
        case SessionState():
            return f"session   {m.openOrders} open orders, last client id {m.lastClOrdId}, grace {m.codWindowMs} ms"
        case OrderAccepted():
            return f"accepted  {m.clOrdId}: {side(m)} {shown(m.qty, 8)} at {shown(m.price, 9)}"
        case OrderReplaced():
            return f"replaced  {m.origClOrdId} by {m.clOrdId}: {side(m)} {shown(m.leavesQty, 8)} at {shown(m.price, 9)}"
        case OrderExecuted():
            return f"executed  {m.clOrdId}: {side(m)} {shown(m.lastQty, 8)} at {shown(m.lastPx, 9)}"
        case OrderStatus():
            return f"open      {m.clOrdId}: {side(m)} {shown(m.leavesQty, 8)} at {shown(m.price, 9)}"
        case OrderCanceled():
            return f"canceled  {m.clOrdId}: {side(m)} {shown(m.canceledQty, 8)}, reason {m.reason}"
        case MassCancelReport():
            blocked = "blocked" if m.killSwitchActive else "accepted"
            return f"report    {m.affectedOrders} orders canceled, new orders are {blocked}"
        case OrderRejected():
            return f"rejected  {m.clOrdId}: reason {m.reason}"
        case _:
            return str(m)


def side(m):
    return "buy" if m.side == BUY else "sell"


if __name__ == "__main__":
    main()
