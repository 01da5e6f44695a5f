"""A client of Pinion's binary ports: SBE messages in SoupBinTCP sessions, with nothing but the standard library.

A message is a named tuple with the fields of its table in docs/protocol: prices are integers in 1e-9, quantities in
1e-8, times in nanoseconds since 1970. A field that is not given is 0.
"""

import socket
import struct
import time
from collections import namedtuple
from decimal import Decimal

ORDERS, MARKET = 701, 702  # ids of the two schemas
NULL_PRICE = 2**63 - 1
BUY, SELL = 1, 2
LIMIT, GTC, CANCEL_TAKER = 2, 1, 2
POST_ONLY = 1
SESSION, COD_BOTH = 1, 3  # scope of a mass cancel or of cancel on disconnect; cancel on disconnect and on logout
HEARTBEAT_S, SILENCE_MAX_S = 1.0, 15.0

BY_TEMPLATE, BY_TYPE = {}, {}


def define(schema, template, layout, name, fields):
    """A named tuple type whose fields lie on the wire as `layout` says, in the notation of `struct`, little endian."""
    names = fields.split()
    kind, block = namedtuple(name, names, defaults=[0] * len(names)), struct.Struct("<" + layout)
    BY_TEMPLATE[schema, template], BY_TYPE[kind] = (kind, block), (schema, template, block)
    return kind


NewOrder = define(ORDERS, 1, "QQqqqqQQIIHBBBBBB", "NewOrder", "clOrdId sendingTime price qty displayQty minQty "
    "expireTime validUntil instrumentId account stpGroup side ordType tif stpMode execInst cancelGroup")
ReplaceOrder = define(ORDERS, 2, "QQQQqqqIBB2x", "ReplaceOrder", "clOrdId sendingTime origClOrdId orderId price qty "
    "displayQty instrumentId execInst inFlightMitigation")
CancelOrder = define(ORDERS, 3, "QQQQI4x", "CancelOrder", "clOrdId sendingTime origClOrdId orderId instrumentId")
MassCancel = define(ORDERS, 4, "QQqqIIBBBBH2x", "MassCancel", "clOrdId sendingTime lowPrice highPrice instrumentId "
    "account scope side cancelGroup blockNewOrders quoteSet")
StatusRequest = define(ORDERS, 6, "QQQII", "StatusRequest", "clOrdId origClOrdId orderId instrumentId account")
SetSession = define(ORDERS, 7, "QIBBBx", "SetSession", "clOrdId codWindowMs codMode codScope stageTimes")
OrderAccepted = define(ORDERS, 101, "QQQQQqqqQIIBBBBB3x", "OrderAccepted", "clOrdId orderId execId gatewayInTime "
    "transactTime price qty leavesQty expireTime instrumentId account side ordType tif execInst status")
OrderRejected = define(ORDERS, 102, "QQQQIHH", "OrderRejected", "clOrdId execId gatewayInTime transactTime "
    "instrumentId reason refTemplate")
OrderExecuted = define(ORDERS, 103, "QQQQQqqqqqQIIIBBB9x", "OrderExecuted", "clOrdId orderId execId tradeId "
    "transactTime lastPx lastQty leavesQty cumQty fee gatewayInTime feeAsset instrumentId account side liquidity "
    "status")
OrderCanceled = define(ORDERS, 104, "QQQQQQqqIIBBB5x", "OrderCanceled", "clOrdId reqClOrdId orderId execId "
    "gatewayInTime transactTime cumQty canceledQty instrumentId account side reason status")
OrderReplaced = define(ORDERS, 105, "QQQQQQqqqIBBBx", "OrderReplaced", "clOrdId origClOrdId orderId execId "
    "gatewayInTime transactTime price leavesQty cumQty instrumentId side keptPriority status")
CancelRejected = define(ORDERS, 106, "QQQQQHH4x", "CancelRejected", "clOrdId origClOrdId orderId gatewayInTime "
    "transactTime reason refTemplate")
MassCancelReport = define(ORDERS, 107, "QQQIIBBB5x", "MassCancelReport", "clOrdId execId transactTime affectedOrders "
    "instrumentId killSwitchActive more scope")
OrderStatus = define(ORDERS, 109, "QQQQQqqqqIIIBBBBB7x", "OrderStatus", "reqClOrdId clOrdId orderId lastExecId "
    "transactTime price qty leavesQty cumQty instrumentId account remaining side ordType tif status execInst")
SessionState = define(ORDERS, 110, "QQQIIBBB5x", "SessionState", "reqClOrdId lastClOrdId transactTime codWindowMs "
    "openOrders codMode codScope killSwitchActive")
InstrumentDefinition = define(MARKET, 1, "Q16s16s16sqqqqIBBBBQ", "InstrumentDefinition", "eventTime symbol baseAsset "
    "quoteAsset tickSize lotSize minQty maxQty instrumentId state flags baseScale quoteScale rptSeq")
SnapshotEnd = define(MARKET, 101, "QQII", "SnapshotEnd", "eventTime asOfSeq orders checksum")


def encode(message):
    """A message with its SBE header."""
    schema, template, block = BY_TYPE[type(message)]
    return struct.pack("<HHHH", block.size, template, schema, 1) + block.pack(*message)


def decode(payload):
    """A message, or None where its template has no layout here. Fields that a newer version appended are skipped."""
    _block_len, template, schema, _version = struct.unpack_from("<HHHH", payload)
    kind, block = BY_TEMPLATE.get((schema, template), (None, None))
    return kind and kind(*block.unpack_from(payload, 8))


def fixed(text, places):
    """Decimal text as an integer in 1e-places: `fixed("59000.1", 9)` is 59000100000000."""
    value = Decimal(text).scaleb(places)
    if value != int(value):
        raise ValueError(f"{text} has more than {places} decimal places")
    return int(value)


def shown(value, places):
    """The opposite of `fixed`."""
    return f"{Decimal(value).scaleb(-places).normalize():f}"


class Session:
    """A logged-in connection. `next_seq` is the number of the next message: log in again with it after a cut."""

    def __init__(self, address, user, password="", session="", next_seq=0):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=HEARTBEAT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unread, self.heard_at, self.sent_at = b"", time.monotonic(), time.monotonic()
        self._send_packet("L", f"{user:<6}{password:<10}{session:<10}{next_seq:>20}".encode())
        kind, payload = self._receive_packet()
        while kind in "H+":
            kind, payload = self._receive_packet()
        if kind != "A":
            raise ConnectionError(f"logging in as {user} at {address}: the node answered {kind} {payload.decode()}")
        self.name, self.next_seq = payload[:10].decode().strip(), int(payload[10:])

    def send(self, message):
        self._send_packet("U", encode(message))

    def receive(self):
        """Waits for the next message: its number in the session's stream, and what it says."""
        while True:
            kind, payload = self._receive_packet()
            if kind == "S":  # H and + say nothing, and U is sent only to those who ask for StageTimes
                self.next_seq += 1
                return self.next_seq - 1, decode(payload)
            if kind == "Z":
                raise ConnectionError("the node ended the session")

    def logout(self):
        self._send_packet("O")
        self.socket.close()

    def cut(self):
        """Closes the connection without a logout, as a broken line does."""
        self.socket.close()

    def _send_packet(self, kind, payload=b""):
        self.socket.sendall(struct.pack(">H", len(payload) + 1) + kind.encode() + payload)
        self.sent_at = time.monotonic()

    def _receive_packet(self):
        while len(self.unread) < 2 or len(self.unread) < 2 + struct.unpack_from(">H", self.unread)[0]:
            if time.monotonic() - self.sent_at >= HEARTBEAT_S:
                self._send_packet("R")  # the node closes a connection after 15 s of silence
            self._read_some()
        end = 2 + struct.unpack_from(">H", self.unread)[0]
        packet, self.unread = self.unread[:end], self.unread[end:]
        return chr(packet[2]), packet[3:]

    def _read_some(self):
        try:
            received = self.socket.recv(65536)
        except TimeoutError:
            if time.monotonic() - self.heard_at >= SILENCE_MAX_S:
                raise ConnectionError(f"silent for {SILENCE_MAX_S} s; resume from {self.next_seq}") from None
            return
        if not received:
            raise ConnectionError(f"the node closed the connection; resume from {self.next_seq}")
        self.unread, self.heard_at = self.unread + received, time.monotonic()
