//! The server's side of a connection: its actions depend on the bytes alone, not on how they were cut into reads.
//!
//! The first byte of an input says whether the session is open already; the rest comes from the client.

use crate::seeds;
use crate::splits::split;
use crate::target::{Outcome, Target, repair_nothing};
use api::binary::login::{LoginReject, LoginRequest, SessionName};
use api::binary::session::{CloseReason, Flow, Inbound, Output, Session};
use api::binary::soup::{PacketKind, append_packet};
use api::binary::stream::SessionSeq;
use book::units::TsNs;

pub const TARGET: Target =
    Target { name: "session", seeds, repair: repair_nothing, check, bytes_max: 4096, round_inputs: 15_000 };

const NOW: TsNs = TsNs(1_700_000_000_000_000_000);
const OPEN: u8 = 1;

#[derive(Debug, PartialEq, Eq)]
enum Call {
    Sent(Vec<u8>),
    Login { user: String, password: Vec<u8>, session: SessionName, sequence: SessionSeq },
    Message(Vec<u8>),
    Logout,
    Close(CloseReason),
}

#[derive(Default)]
struct Recorder(Vec<Call>);

impl Output for Recorder {
    fn send(&mut self, bytes: &[u8]) {
        self.0.push(Call::Sent(bytes.to_vec()));
    }

    fn close(&mut self, reason: CloseReason) {
        self.0.push(Call::Close(reason));
    }
}

impl Inbound for Recorder {
    fn login_requested(&mut self, login: &LoginRequest<'_>) {
        self.0.push(Call::Login {
            user: login.user.to_owned(),
            password: login.password.to_vec(),
            session: login.session,
            sequence: login.sequence,
        });
    }

    /// Pauses after a message of odd length, so that the caller has to bring the rest again.
    fn message(&mut self, bytes: &[u8]) -> Flow {
        self.0.push(Call::Message(bytes.to_vec()));
        if bytes.len() % 2 == 1 { Flow::Pause } else { Flow::Continue }
    }

    fn logout_requested(&mut self) {
        self.0.push(Call::Logout);
    }
}

fn check(input: &[u8]) -> Outcome {
    let (first, bytes) = input.split_first().unwrap_or((&0, &[]));
    let open = first & OPEN != 0;
    let calls = run(&[bytes], open);
    assert_eq!(run(&split(bytes), open), calls, "the cuts between chunks have no effect");
    let closes = calls.iter().filter(|call| matches!(call, Call::Close(_))).count();
    assert!(
        closes <= 1 && (closes == 0 || matches!(calls.last(), Some(Call::Close(_)))),
        "a connection closes once, last"
    );
    let is_message = |call: &Call| matches!(call, Call::Message(_));
    assert!(open || !calls.iter().any(is_message), "no message is accepted before a log-in");
    let logins = calls.iter().filter(|call| matches!(call, Call::Login { .. })).count();
    assert!(logins <= 1, "a connection has at most one log-in");
    let decoded = calls.iter().any(|call| matches!(call, Call::Message(_) | Call::Login { .. } | Call::Logout));
    if decoded { Outcome::Decoded } else { Outcome::Refused }
}

fn run(chunks: &[&[u8]], open: bool) -> Vec<Call> {
    let mut session = Session::new(NOW);
    let mut recorder = Recorder::default();
    if open {
        feed(&mut session, &login_packet(), &mut recorder);
        assert!(session.accept(NOW, SessionName::LIVE, SessionSeq::FIRST, &mut recorder));
        recorder.0.clear();
    }
    for chunk in chunks {
        feed(&mut session, chunk, &mut recorder);
    }
    let late = session.accept(NOW, SessionName::LIVE, SessionSeq::FIRST, &mut Recorder::default());
    assert!(
        !late || matches!(recorder.0.last(), Some(Call::Login { .. })),
        "only a log-in that waits for an answer is accepted"
    );
    session.reject(NOW, LoginReject::NotAuthorised, &mut recorder);
    assert_eq!(session.next_deadline().is_none(), recorder.0.iter().any(|call| matches!(call, Call::Close(_))));
    recorder.0
}

/// Passes all bytes to the session, and those after a pause once more.
fn feed(session: &mut Session, bytes: &[u8], recorder: &mut Recorder) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let consumed = session.on_bytes(NOW, rest, recorder);
        assert!(0 < consumed && consumed <= rest.len(), "a session consumes at least the message that it pauses after");
        rest = &rest[consumed..];
    }
}

fn login_packet() -> Vec<u8> {
    let sequence = SessionSeq::HEAD;
    let login = LoginRequest { user: "MM1", password: b"password", session: SessionName::BLANK, sequence };
    let mut packet = Vec::new();
    append_packet(PacketKind::Login, &login.write().expect("the fields fit a log-in"), &mut packet);
    packet
}

fn seeds() -> Vec<Vec<u8>> {
    let mut open = vec![OPEN];
    append_packet(PacketKind::ClientHeartbeat, &[], &mut open);
    for message in seeds::messages("orders").iter().take(7) {
        append_packet(PacketKind::Unsequenced, message, &mut open);
        append_packet(PacketKind::Unsequenced, &message[1..], &mut open);
    }
    append_packet(PacketKind::Debug, b"a note", &mut open);
    append_packet(PacketKind::Logout, &[], &mut open);
    let closed = [vec![0], login_packet()].concat();
    vec![open, closed]
}
