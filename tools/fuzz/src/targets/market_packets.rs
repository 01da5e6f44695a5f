//! Packets of market data whose sequence numbers are repaired: without that, almost every mutation would be a gap and
//! the test would go no further.

use crate::small_exchange::SmallExchange;
use api::binary::market::*;
use api::binary::sbe::{Field, HEADER_BYTES, Message};
use api::binary::soup::{PACKET_HEADER_BYTES, PacketKind, append_packet};
use book::testing::workload::{Profile, Workload};
use std::collections::BTreeMap;
use std::ops::Range;

/// The offsets of the fields of each message.
const LAYOUTS: [(u16, &[Field]); 7] = [
    (InstrumentDefinition::TEMPLATE, InstrumentDefinition::FIELDS),
    (OrderAdd::TEMPLATE, OrderAdd::FIELDS),
    (OrderReduce::TEMPLATE, OrderReduce::FIELDS),
    (OrderDelete::TEMPLATE, OrderDelete::FIELDS),
    (OrderReplace::TEMPLATE, OrderReplace::FIELDS),
    (OrderExecuted::TEMPLATE, OrderExecuted::FIELDS),
    (TradingStatus::TEMPLATE, TradingStatus::FIELDS),
];

/// The range of each payload in a stream of packets.
pub fn payloads(stream: &[u8]) -> Vec<Range<usize>> {
    let mut places = Vec::new();
    let mut at = 0;
    while let Some(&[high, low, _]) = stream.get(at..at + PACKET_HEADER_BYTES) {
        let end = at + 2 + usize::from(u16::from_be_bytes([high, low]));
        if end < at + PACKET_HEADER_BYTES || stream.len() < end {
            break;
        }
        places.push(at + PACKET_HEADER_BYTES..end);
        at = end;
    }
    places
}

/// Gives every message of an instrument the sequence number that is expected next.
pub fn renumber(stream: &mut [u8]) {
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    for place in payloads(stream) {
        let message = &mut stream[place];
        let (template, flags) = (template_of(message), number(message, "flags").unwrap_or(0));
        let (Some(instrument), Some(found)) = (number(message, "instrumentId"), number(message, "rptSeq")) else {
            continue;
        };
        let known = last.get(&instrument).copied();
        let wanted = match known {
            None if template == Some(InstrumentDefinition::TEMPLATE) => found,
            None => continue,
            Some(known) if template == Some(InstrumentDefinition::TEMPLATE) => known,
            Some(known) => known.saturating_add(u64::from(flags & u64::from(FLAG_SNAPSHOT) == 0)),
        };
        set(message, "rptSeq", wanted);
        last.insert(instrument, wanted);
    }
}

pub fn template_of(message: &[u8]) -> Option<u16> {
    message.get(2..4).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
}

fn place_of(message: &[u8], name: &str) -> Option<Range<usize>> {
    let (_, fields) = LAYOUTS.iter().find(|(template, _)| Some(*template) == template_of(message))?;
    let field = fields.iter().find(|field| field.name == name)?;
    let start = HEADER_BYTES + field.offset;
    (start + field.len <= message.len()).then_some(start..start + field.len)
}

fn number(message: &[u8], name: &str) -> Option<u64> {
    let bytes = &message[place_of(message, name)?];
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Some(u64::from_le_bytes(wide))
}

fn set(message: &mut [u8], name: &str, value: u64) {
    if let Some(place) = place_of(message, name) {
        let len = place.len();
        message[place].copy_from_slice(&value.to_le_bytes()[..len]);
    }
}

/// Messages as packets.
pub fn packets(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    messages.iter().for_each(|message| append_packet(PacketKind::Sequenced, message, &mut stream));
    stream
}

/// The messages that an exchange publishes while it is set up and applies so many commands of a workload.
pub fn published(profile: Profile, commands: usize) -> Vec<Vec<u8>> {
    let mut workload = Workload::new(profile, 3);
    let mut exchange = SmallExchange::new();
    workload.setup().iter().for_each(|command| exchange.apply(command));
    for _ in 0..commands {
        let command = workload.next_command();
        exchange.apply(&command);
        exchange.events.iter().for_each(|event| workload.observe(event));
    }
    exchange.public
}
