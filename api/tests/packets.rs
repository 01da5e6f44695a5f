//! The packets read do not depend on how the stream was cut, and no bytes make the reader or the decoders panic.

mod samples;

use api::binary::decode::decode;
use api::binary::login::{LoginAccepted, LoginError, LoginReject, LoginRequest, SessionName};
use api::binary::market::{MarketMessage, read_levels};
use api::binary::orders::{Answer, Request};
use api::binary::soup::{PACKET_LEN_MAX, PAYLOAD_BYTES_MAX, PacketError, PacketKind, PacketReader, append_packet};
use api::binary::stream::SessionSeq;
use book::command::Side;
use book::run::Run;
use proptest::prelude::*;

type Owned = (PacketKind, Vec<u8>);

fn read_all(reader: &mut PacketReader, mut chunk: &[u8]) -> Result<Vec<Owned>, PacketError> {
    let mut packets = Vec::new();
    while let Some(packet) = reader.read(&mut chunk)? {
        packets.push((packet.kind, packet.payload.to_vec()));
    }
    assert!(chunk.is_empty(), "without a packet the chunk is used up");
    Ok(packets)
}

fn kinds() -> impl Strategy<Value = PacketKind> {
    prop::sample::select(b"+AJSUHZLRO".map(|b| PacketKind::new(b).expect("a known type")).to_vec())
}

proptest! {
    #[test]
    fn any_split_yields_the_same_packets(
        packets in prop::collection::vec((kinds(), prop::collection::vec(any::<u8>(), 0..80)), 0..20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut bytes = Vec::new();
        for (kind, payload) in &packets {
            append_packet(*kind, payload, &mut bytes);
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut reader = PacketReader::default();
        let mut read = Vec::new();
        for pair in cuts.windows(2) {
            read.extend(read_all(&mut reader, &bytes[pair[0]..pair[1]]).expect("well-formed packets"));
        }
        prop_assert_eq!(read, packets);
        prop_assert!(!reader.is_mid_packet());
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_errors_do_not_depend_on_cuts(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        cut in any::<prop::sample::Index>(),
    ) {
        let at_once = read_all(&mut PacketReader::default(), &bytes);
        let (left, right) = bytes.split_at(cut.index(bytes.len() + 1));
        let mut reader = PacketReader::default();
        let halves = read_all(&mut reader, left).and_then(|mut packets| {
            packets.extend(read_all(&mut reader, right)?);
            Ok(packets)
        });
        prop_assert_eq!(at_once, halves);
    }

    #[test]
    fn arbitrary_messages_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode_all(&bytes);
    }

    /// Messages with correct headers get further into the decoders than random bytes.
    #[test]
    fn damaged_messages_never_panic(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
        keep in any::<prop::sample::Index>(),
    ) {
        let (mut orders, market) = samples::all_messages();
        orders.extend(market);
        let mut bytes = which.get(&orders).clone();
        let at = at.index(bytes.len());
        bytes[at] = value;
        decode_all(&bytes);
        bytes.truncate(keep.index(bytes.len() + 1));
        decode_all(&bytes);
    }

    /// A damaged feed gives errors; its books stay consistent enough to apply the next message.
    #[test]
    fn a_damaged_feed_never_panics(
        damage in prop::collection::vec((any::<prop::sample::Index>(), 8usize..64, any::<u8>()), 1..8),
    ) {
        let (_, mut market) = samples::all_messages();
        for (which, at, value) in damage {
            let idx = which.index(market.len());
            if let Some(byte) = market[idx].get_mut(at) {
                *byte = value;
            }
        }
        let mut depth = api::binary::depth::Depth::default();
        for message in market.iter().chain(&market) {
            let _ = MarketMessage::read(message).map(|message| depth.apply(&message));
        }
        for book in depth.books() {
            let _ = api::binary::top::bbo(book, book::units::TsNs(1));
            prop_assert_eq!(book.orders(Side::Buy).count() + book.orders(Side::Sell).count(), book.order_count());
        }
    }

    #[test]
    fn any_body_is_a_command_or_a_refusal(template in 1u16..=7, body in prop::collection::vec(any::<u8>(), 80)) {
        let exchange = samples::exchange();
        let len = [80u16, 64, 40, 48, 32, 32, 16][usize::from(template) - 1];
        let mut bytes: Vec<u8> = [len, template, 701, 1].iter().flat_map(|n| n.to_le_bytes()).collect();
        bytes.extend_from_slice(&body[..usize::from(len)]);
        prop_assert!(decode(&bytes, &samples::sender(1), &exchange.instruments).is_ok());
    }
}

/// Runs every decoder; other tests check the results.
fn decode_all(bytes: &[u8]) {
    let instruments = api::instruments::Instruments::default();
    let _ = decode(bytes, &samples::sender(1), &instruments);
    let _ = Request::read(bytes);
    let _ = Answer::read(bytes);
    let mut depth = api::binary::depth::Depth::default();
    if let Ok(message) = MarketMessage::read(bytes) {
        let _ = depth.apply(&message);
    }
    let _ = api::binary::snapshot::SnapshotReader::default().read(bytes);
    if let Ok(levels) = read_levels(bytes) {
        levels.for_each(drop);
    }
    let _ = LoginRequest::read(bytes);
    let _ = LoginAccepted::read(bytes);
}

#[test]
fn a_contiguous_packet_is_not_copied() {
    let mut bytes = Vec::new();
    append_packet(PacketKind::Unsequenced, b"abc", &mut bytes);
    let mut reader = PacketReader::default();
    let mut chunk = &bytes[..];
    let packet = reader.read(&mut chunk).expect("well-formed").expect("complete");
    assert!(std::ptr::eq(packet.payload, &bytes[3..]));
}

#[test]
fn a_bad_length_or_type_is_reported_on_every_call() {
    let cases: [(&[u8], PacketError); 4] = [
        (&[0, 0], PacketError::Empty),
        (&[0x80, 0], PacketError::TooLong { len: 32_768 }),
        (&[0xff, 0xff, b'U'], PacketError::TooLong { len: 65_535 }),
        (&[0, 1, b'?'], PacketError::UnknownKind { kind: b'?' }),
    ];
    for (bytes, error) in cases {
        let mut reader = PacketReader::default();
        assert_eq!(read_all(&mut reader, bytes), Err(error));
        assert_eq!(read_all(&mut reader, &[0, 1, b'R']), Err(error), "the error is permanent");
    }
}

#[test]
fn the_largest_packet_passes() {
    let payload = vec![7; PAYLOAD_BYTES_MAX];
    let mut bytes = Vec::new();
    append_packet(PacketKind::Sequenced, &payload, &mut bytes);
    assert_eq!(bytes.len(), 2 + PACKET_LEN_MAX);
    for cut in [1, 2, 3, 1_000, bytes.len() - 1] {
        let mut reader = PacketReader::default();
        assert_eq!(read_all(&mut reader, &bytes[..cut]), Ok(vec![]));
        assert!(reader.is_mid_packet());
        assert_eq!(read_all(&mut reader, &bytes[cut..]), Ok(vec![(PacketKind::Sequenced, payload.clone())]));
    }
}

#[test]
fn logins_survive_the_round_trip_and_either_padding() {
    let login = LoginRequest { user: "MM1", password: b"secret", session: SessionName::LIVE, sequence: SessionSeq(42) };
    let bytes = login.write().expect("it fits");
    assert_eq!(&bytes, b"MM1   secret    LIVE                        42");
    assert_eq!(LoginRequest::read(&bytes), Ok(login));
    assert_eq!(LoginRequest::read(b"   MM1    secret      LIVE42                  "), Ok(login));
    let blank = LoginRequest::read(&[b' '; 46]).expect("blank fields are allowed");
    assert!(blank.session.is_blank() && blank.sequence == SessionSeq::HEAD);
    let malformed: [(&[u8], LoginError); 4] = [
        (b"MM1   secret    LIVE                       4x2", LoginError::Sequence),
        (b"MM1   secret    LI-VE                       42", LoginError::Session),
        (b"M\0M   secret    LIVE                        42", LoginError::User),
        (b"", LoginError::Length { len: 0 }),
    ];
    for (bytes, error) in malformed {
        assert_eq!(LoginRequest::read(bytes), Err(error));
    }
    let too_long = LoginRequest { password: b"eleven char", ..login };
    assert_eq!(too_long.write(), None);
    let accepted = LoginAccepted {
        session: SessionName::of_session(book::ids::SessionId(7), &Run::default()),
        sequence: SessionSeq(1),
    };
    assert_eq!(&accepted.write(), b"PIN0000007                   1");
    assert_eq!(LoginAccepted::read(&accepted.write()), Some(accepted));
    assert_eq!(LoginReject::read(b"A"), Some(LoginReject::NotAuthorised));
    assert_eq!(LoginReject::read(b"G"), Some(LoginReject::Gone));
    assert_eq!(LoginReject::read(b"?"), None);
}
