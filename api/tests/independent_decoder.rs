//! Third-party decoders read our packets by the published schemas, and this crate reads theirs.
//!
//! Needs `python3` with `venv` and a package index for `pip`. Without them the test fails: it never skips.

mod samples;

use api::binary::decode::{Decoded, decode};
use api::binary::login::{LoginAccepted, LoginReject, LoginRequest, SessionName};
use api::binary::market::{MarketMessage, read_levels};
use api::binary::orders::{Answer, MassQuote, MassQuoteAck, MassQuoteAckEntry, MassQuoteEntry, Request};
use api::binary::sbe::{FieldValue, Message};
use api::binary::soup::{PacketKind, append_packet};
use api::binary::stream::SessionSeq;
use book::command::{Command as BookCommand, OrderKind, Side, StpMode, Tif};
use book::ids::SessionId;
use book::run::Run;
use book::units::{PriceTicks, QtyLots};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `sbe` 0.4.3 encodes bit sets with a call that `bitstring` 5 removed.
const PACKAGES: [&str; 3] = ["sbe==0.4.3", "bitstring==4.3.1", "nasdaq-protocols==1.3.0"];

/// Packets, and what they hold as JSON.
#[derive(Default)]
struct Capture {
    packets: Vec<u8>,
    expected: Vec<String>,
}

impl Capture {
    fn packet(&mut self, kind: PacketKind, payload: &[u8], expected: &str) {
        append_packet(kind, payload, &mut self.packets);
        let kind = kind as u8 as char;
        let comma = if expected.is_empty() { "" } else { ", " };
        self.expected.push(format!("{{\"packet\": \"{kind}\"{comma}{expected}}}"));
    }

    fn message(&mut self, kind: PacketKind, bytes: &[u8], name: &str, fields: &str, entries: &[String]) {
        let entries = entries.join(", ");
        self.packet(kind, bytes, &format!("\"name\": \"{name}\", \"fields\": {fields}, \"entries\": [{entries}]"));
    }

    fn order_entry(&mut self, bytes: &[u8]) {
        if let Ok(request) = Request::read(bytes) {
            let fields = json(|see| request.each_field(see));
            self.message(PacketKind::Unsequenced, bytes, request.name(), &fields, &entries_of(bytes));
            return;
        }
        let answer = Answer::read(bytes).expect("a message of ours");
        let kind =
            if matches!(answer, Answer::StageTimes(_)) { PacketKind::Unsequenced } else { PacketKind::Sequenced };
        self.message(kind, bytes, answer.name(), &json(|see| answer.each_field(see)), &entries_of(bytes));
    }

    fn market(&mut self, bytes: &[u8]) {
        let message = MarketMessage::read(bytes).expect("a message of ours");
        let levels = read_levels(bytes).map(|levels| levels.map(|l| json(|see| l.each_field(see))).collect());
        let entries = if matches!(message, MarketMessage::LevelUpdate(_)) { levels.expect("levels") } else { vec![] };
        self.message(PacketKind::Sequenced, bytes, message.name(), &json(|see| message.each_field(see)), &entries);
    }
}

fn json(each: impl FnOnce(&mut dyn FnMut(&'static str, FieldValue<'_>))) -> String {
    let mut text = String::from("{");
    each(&mut |name, value| {
        let comma = if text.len() > 1 { ", " } else { "" };
        match value {
            FieldValue::Signed(n) => write!(text, "{comma}\"{name}\": {n}"),
            FieldValue::Unsigned(n) => write!(text, "{comma}\"{name}\": {n}"),
            FieldValue::Text(bytes) => {
                let symbol = std::str::from_utf8(bytes).expect("symbols are ASCII").trim_end_matches('\0');
                write!(text, "{comma}\"{name}\": \"{symbol}\"")
            }
        }
        .expect("a string takes anything");
    });
    text + "}"
}

/// Entries of the two order-entry messages with a group, after header, block and group header.
fn entries_of(bytes: &[u8]) -> Vec<String> {
    fn read<M: Message, E: Message>(bytes: &[u8]) -> Vec<String> {
        let entries = &bytes[8 + M::BLOCK_LENGTH + 4..];
        let entry = |chunk| json(|see| E::read_from_bytes(chunk).expect("a complete entry").each_field(see));
        entries.chunks(E::BLOCK_LENGTH).map(entry).collect()
    }
    match u16::from_le_bytes([bytes[2], bytes[3]]) {
        MassQuote::TEMPLATE => read::<MassQuote, MassQuoteEntry>(bytes),
        MassQuoteAck::TEMPLATE => read::<MassQuoteAck, MassQuoteAckEntry>(bytes),
        _ => vec![],
    }
}

fn capture() -> Capture {
    let mut capture = Capture::default();
    let login = LoginRequest { user: "MM1", password: b"secret", session: SessionName::LIVE, sequence: SessionSeq(9) };
    let fields = r#""login": ["MM1", "secret", "LIVE", 9]"#;
    capture.packet(PacketKind::Login, &login.write().expect("it fits"), fields);
    let accepted =
        LoginAccepted { session: SessionName::of_session(SessionId(1), &Run::default()), sequence: SessionSeq(9) };
    capture.packet(PacketKind::Accepted, &accepted.write(), r#""accepted": ["PIN0000001", 9]"#);
    capture.packet(PacketKind::Rejected, &[LoginReject::NoSession as u8], r#""rejected": "S""#);
    let empty =
        [PacketKind::ServerHeartbeat, PacketKind::ClientHeartbeat, PacketKind::EndOfSession, PacketKind::Logout];
    for kind in empty {
        capture.packet(kind, &[], "");
    }
    let (orders, market) = samples::all_messages();
    orders.iter().for_each(|bytes| capture.order_entry(bytes));
    market.iter().for_each(|bytes| capture.market(bytes));
    capture
}

fn run(doing: &str, command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{doing}: {command:?} does not start: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{doing}: {command:?}\n{}{}", text(&output.stdout), text(&output.stderr));
}

/// A virtual environment with the packages, kept between runs; the marker is written when it is complete.
fn python() -> PathBuf {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("independent-decoder-venv");
    let python = venv.join("bin").join("python");
    let marker = venv.join("packages");
    if std::fs::read_to_string(&marker).is_ok_and(|have| have == PACKAGES.join(" ")) {
        return python;
    }
    run("making a virtual environment", Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    run("installing the decoders", Command::new(&python).args(["-m", "pip", "install", "-q"]).args(PACKAGES));
    std::fs::write(&marker, PACKAGES.join(" ")).expect("the environment can be marked");
    python
}

/// The control: a check that accepts anything would accept a flipped bit too.
fn must_fail_on_a_flipped_bit(decoder: &mut Command, work: &Path, capture: &Capture) {
    let mut flipped = capture.packets.clone();
    // In the quantity of the last level; the very last bytes are padding.
    let at = flipped.len() - 12;
    flipped[at] ^= 1;
    std::fs::write(work.join("packets.bin"), &flipped).expect("the capture can be written");
    let output = decoder.output().expect("it started before");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && complaint.contains("LevelUpdate entries: expected"), "{complaint}");
}

#[test]
fn third_party_decoders_read_our_packets_and_we_read_theirs() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("independent-decoder");
    std::fs::create_dir_all(&work).expect("a directory for the capture");
    let capture = capture();
    std::fs::write(work.join("packets.bin"), &capture.packets).expect("the capture can be written");
    std::fs::write(work.join("expected.json"), format!("[{}]", capture.expected.join(",\n"))).expect("as can this");
    let script = manifest.join("tests").join("independent_decoder.py");
    let schemas = manifest.join("..").join("docs").join("protocol");
    let mut decoder = Command::new(python());
    decoder.arg(script).arg(&work).arg(schemas);
    run("decoding by third-party packages", &mut decoder);
    must_fail_on_a_flipped_bit(&mut decoder, &work, &capture);

    let login = std::fs::read(work.join("login.bin")).expect("their login");
    let login = LoginRequest::read(&login[3..]).expect("a login");
    assert_eq!((login.user, login.password, login.sequence), ("MM1", &b"secret"[..], SessionSeq(42)));
    assert!(login.session.is_blank());
    let order = std::fs::read(work.join("new_order.bin")).expect("their order");
    let instruments = samples::exchange().instruments;
    let Ok(Decoded::Command(BookCommand::Place(order))) = decode(&order, &samples::sender(1), &instruments) else {
        panic!("their order is one")
    };
    assert_eq!(order.kind, OrderKind::Limit { price: PriceTicks(10_001), qty: QtyLots(15_000) });
    assert_eq!((order.side, order.tif, order.stp), (Side::Sell, Tif::GtcPostOnly, StpMode::CancelBoth));
    assert_eq!((order.cl_ord_id.0, order.stp_group, order.cancel_group), (77, 5, 6));
    assert!(order.persist_on_disconnect);
}
