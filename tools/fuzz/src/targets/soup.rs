//! Packets of a byte stream: they are the same however the stream was cut into reads, and none is lost or added.

use crate::meter;
use crate::seeds;
use crate::splits::split;
use crate::target::{Outcome, Target, repair_nothing};
use api::binary::soup::{PACKET_LEN_MAX, PacketError, PacketKind, PacketReader, append_packet};

pub const TARGET: Target = Target {
    name: "soup",
    seeds,
    repair: repair_nothing,
    check: |input| check_by(input, &read),
    bytes_max: 4096,
    round_inputs: 40_000,
};

/// The packets that a reader found in a stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    pub packets: Vec<(PacketKind, Vec<u8>)>,
    pub error: Option<PacketError>,
    /// Whether the reader holds bytes of an incomplete packet.
    pub is_mid_packet: bool,
}

/// The product's reader, fed chunk by chunk.
pub fn read(chunks: &[&[u8]]) -> Read {
    let mut reader = PacketReader::default();
    let mut packets = Vec::new();
    for chunk in chunks {
        let mut rest = *chunk;
        loop {
            match reader.read(&mut rest) {
                Ok(Some(packet)) => packets.push((packet.kind, packet.payload.to_vec())),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.read(&mut rest), Err(error), "a reader returns its error again and again");
                    return Read { packets, error: Some(error), is_mid_packet: false };
                }
            }
        }
    }
    Read { packets, error: None, is_mid_packet: reader.is_mid_packet() }
}

/// The check with a given reader, so that a test can bring one with a fault.
pub fn check_by(input: &[u8], read: &dyn Fn(&[&[u8]]) -> Read) -> Outcome {
    let once = read(&[input]);
    // A reader holds one incomplete packet, in a vector that may have twice the capacity that it needs. The packets are
    // copies.
    let bound = 2 * (PACKET_LEN_MAX + 2) + 64 * input.len() + 1024;
    let chunks = split(input);
    let in_chunks = meter::within(bound, || read(&chunks));
    assert_eq!(in_chunks, once, "the cuts between chunks have no effect");
    let mut written = Vec::new();
    once.packets.iter().for_each(|(kind, payload)| append_packet(*kind, payload, &mut written));
    assert!(input.starts_with(&written), "packets are written with the bytes that they were read from");
    let rest = &input[written.len()..];
    match once.error {
        None => assert_eq!(once.is_mid_packet, !rest.is_empty(), "the rest is the start of a packet"),
        Some(PacketError::Empty) => assert!(rest.starts_with(&[0, 0])),
        Some(PacketError::TooLong { len }) => {
            assert_eq!(rest[..2], (len as u16).to_be_bytes());
            assert!(PACKET_LEN_MAX < len);
        }
        Some(PacketError::UnknownKind { kind }) => assert_eq!(rest[2], kind),
    }
    if once.packets.is_empty() { Outcome::Refused } else { Outcome::Decoded }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut stream = Vec::new();
    append_packet(PacketKind::ServerHeartbeat, &[], &mut stream);
    append_packet(PacketKind::Debug, b"a note", &mut stream);
    for message in seeds::messages("orders") {
        append_packet(PacketKind::Sequenced, &message, &mut stream);
    }
    append_packet(PacketKind::EndOfSession, &[], &mut stream);
    let mut short = Vec::new();
    append_packet(PacketKind::Rejected, b"A", &mut short);
    vec![stream, short]
}
