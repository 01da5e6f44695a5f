"""Reads packets that this crate wrote with third-party decoders and the published schemas.

Packets are split by PyPI's nasdaq-protocols, messages decoded by PyPI's sbe. The first argument is a directory with
  packets.bin    SoupBinTCP packets, one after the other
  expected.json  for each packet: its type, and for messages the template's name and every field as a number or text
  login.bin, new_order.bin   written here: a login and an order, for the Rust side to read
and the second the directory of the schemas.
"""

import json
import struct
import sys
from pathlib import Path

import sbe
from nasdaq_protocols.soup import core as soup

SCHEMAS = {701: "pinion-orders.xml", 702: "pinion-market.xml"}


def fail(text):
    print(f"independent decoder: {text}", file=sys.stderr)
    sys.exit(1)


def number_of(value, kind):
    """A field as the number on the wire: names of codes go back to codes, sets to bits, null to the null value."""
    if isinstance(value, dict):
        mantissa = next(t for t in kind.types if t.name == "mantissa")
        return int(mantissa.nullValue) if value["mantissa"] is None else value["mantissa"]
    if isinstance(kind, sbe.Enum):
        if value is None:
            fail(f"a code of {kind.name} is not in the schema")
        return int(kind.find_value_by_name(value))
    if isinstance(kind, sbe.Set):
        return sum(1 << choice.value for choice in kind.choices if choice.name in value)
    if isinstance(value, str):
        return value.rstrip("\0")
    return value


def fields_of(schema, fields, values):
    flat, groups = {}, []
    for field in fields:
        value = values[field.name]
        if isinstance(field, sbe.Group):
            groups = [fields_of(schema, field.fields, entry)[0] for entry in value]
        else:
            flat[field.name] = number_of(value, field.type)
    return flat, groups


def decode(schemas, payload):
    schema_id = struct.unpack_from("<H", payload, 4)[0]
    schema = schemas[schema_id]
    message = schema.decode(payload)
    definition = schema.messages[message.header["templateId"]]
    flat, groups = fields_of(schema, definition.fields, message.value)
    return message.message_name, flat, groups


def split(data):
    at = 0
    while at < len(data):
        length = struct.unpack_from(">H", data, at)[0]
        yield data[at : at + 2 + length]
        at += 2 + length


def check(place, expected, found):
    if expected != found:
        fail(f"{place}: expected {expected}, decoded {found}")


def main(work, schema_dir):
    schemas = {}
    for schema_id, name in SCHEMAS.items():
        with open(schema_dir / name, encoding="utf-8") as xml:
            schemas[schema_id] = sbe.Schema.parse(xml)
    expected = json.loads((work / "expected.json").read_text(encoding="utf-8"))
    packets = list(split((work / "packets.bin").read_bytes()))
    check("number of packets", len(expected), len(packets))
    names = set()
    for idx, (packet, wanted) in enumerate(zip(packets, expected)):
        length, decoded = soup.SoupMessage.from_bytes(packet)
        check(f"packet {idx} length", len(packet), length)
        check(f"packet {idx} type", wanted["packet"], decoded.Indicator)
        if wanted["packet"] in "SU":
            name, flat, groups = decode(schemas, decoded.data)
            check(f"packet {idx} name", wanted["name"], name)
            check(f"packet {idx} {name}", wanted["fields"], flat)
            check(f"packet {idx} {name} entries", wanted["entries"], groups)
            names.add((struct.unpack_from("<H", decoded.data, 4)[0], name))
        elif wanted["packet"] == "L":
            login = [decoded.user, decoded.password, decoded.session, int(decoded.sequence)]
            check(f"packet {idx} login", wanted["login"], login)
        elif wanted["packet"] == "A":
            check(f"packet {idx} accept", wanted["accepted"], [decoded.session_id, decoded.sequence])
        elif wanted["packet"] == "J":
            check(f"packet {idx} reject", wanted["rejected"], decoded.reason.value)
    for schema_id, schema in schemas.items():
        missing = {m.name for m in schema.messages.values()} - {n for s, n in names if s == schema_id}
        check(f"messages of schema {schema_id} that were not in the capture", set(), missing)

    login = soup.LoginRequest(user="MM1", password="secret", session="", sequence="42")
    (work / "login.bin").write_bytes(login.to_bytes()[1])
    orders = schemas[701]
    definition = next(m for m in orders.messages.values() if m.name == "NewOrder")
    order = {
        "clOrdId": 77, "sendingTime": 1, "price": {"mantissa": 100_010_000_000}, "qty": {"mantissa": 150_000_000},
        "displayQty": {"mantissa": 0}, "minQty": {"mantissa": 0}, "expireTime": 0, "validUntil": 99, "instrumentId": 1,
        "account": 0, "stpGroup": 5, "side": "Sell", "ordType": "Limit", "tif": "GTC", "stpMode": "CancelBoth",
        "execInst": ["postOnly", "persistOnDisconnect"], "cancelGroup": 6,
    }
    header = {"blockLength": 80, "templateId": 1, "schemaId": 701, "version": 1}
    (work / "new_order.bin").write_bytes(orders.encode(definition, order, header))
    print(f"{len(packets)} packets, {len(names)} kinds of messages")


main(Path(sys.argv[1]), Path(sys.argv[2]))
