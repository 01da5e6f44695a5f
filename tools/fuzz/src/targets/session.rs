//! The server's side of a connection: what it does follows from the bytes, not from how they came.
//!
//! The first byte says whether the session is open already; the rest comes from the client.

use crate::seeds;
use crate::splits::split;
use crate::target::{Outcome, Target, mend_nothing};
use api::binary::login::{LoginReject, LoginRequest, SessionName};
use api::binary::session::{CloseReason, Flow, Inbound, Output, Session};
use api::binary::soup::{PacketKind, append_packet};
use api::binary::stream::SessionSeq;
use book::units::TsNs;

pub const TARGET: Target =
    Target { name: "session", seeds, mend: mend_nothing, check, bytes_max: 4096, round_inputs: 15_000 };

const NOW: TsNs = TsNs(1_700_000_000_000_000_000);
const OPEN: u8 = 1;

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Sent(Vec<u8>),
    Login { user: String, password: Vec<u8>, session: SessionName, sequence: SessionSeq },
    Message(Vec<u8>),
    Logout,
    Close(CloseReason),
}

#[derive(Default)]
struct Listener(Vec<Said>);

impl Output for Listener {
    fn send(&mut self, bytes: &[u8]) {
        self.0.push(Said::Sent(bytes.to_vec()));
    }

    fn close(&mut self, reason: CloseReason) {
        self.0.push(Said::Close(reason));
    }
}

impl Inbound for Listener {
    fn login_requested(&mut self, login: &LoginRequest<'_>) {
        self.0.push(Said::Login {
            user: login.user.to_owned(),
            password: login.password.to_vec(),
            session: login.session,
            sequence: login.sequence,
        });
    }

    /// Pauses behind every other length, so that the rest is brought again.
    fn message(&mut self, bytes: &[u8]) -> Flow {
        self.0.push(Said::Message(bytes.to_vec()));
        if bytes.len() % 2 == 1 { Flow::Pause } else { Flow::Continue }
    }

    fn logout_requested(&mut self) {
        self.0.push(Said::Logout);
    }
}

fn check(input: &[u8]) -> Outcome {
    let (first, bytes) = input.split_first().unwrap_or((&0, &[]));
    let open = first & OPEN != 0;
    let said = run(&[bytes], open);
    assert_eq!(run(&split(bytes), open), said, "the cuts between chunks say nothing");
    let closes = said.iter().filter(|said| matches!(said, Said::Close(_))).count();
    assert!(closes <= 1 && (closes == 0 || matches!(said.last(), Some(Said::Close(_)))), "the end is said once, last");
    let heard = |said: &Said| matches!(said, Said::Message(_));
    assert!(open || !said.iter().any(heard), "before a log-in nothing else is heard");
    let logins = said.iter().filter(|said| matches!(said, Said::Login { .. })).count();
    assert!(logins <= 1, "one log-in per connection");
    let decoded = said.iter().any(|said| matches!(said, Said::Message(_) | Said::Login { .. } | Said::Logout));
    if decoded { Outcome::Decoded } else { Outcome::Refused }
}

fn run(chunks: &[&[u8]], open: bool) -> Vec<Said> {
    let mut session = Session::new(NOW);
    let mut listener = Listener::default();
    if open {
        feed(&mut session, &login_packet(), &mut listener);
        assert!(session.accept(NOW, SessionName::LIVE, SessionSeq::FIRST, &mut listener));
        listener.0.clear();
    }
    for chunk in chunks {
        feed(&mut session, chunk, &mut listener);
    }
    let late = session.accept(NOW, SessionName::LIVE, SessionSeq::FIRST, &mut Listener::default());
    assert!(!late || matches!(listener.0.last(), Some(Said::Login { .. })), "only who waits for an answer gets one");
    session.reject(NOW, LoginReject::NotAuthorised, &mut listener);
    assert_eq!(session.next_deadline().is_none(), listener.0.iter().any(|said| matches!(said, Said::Close(_))));
    listener.0
}

/// Brings all bytes, and again what was left behind a pause.
fn feed(session: &mut Session, bytes: &[u8], listener: &mut Listener) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let taken = session.on_bytes(NOW, rest, listener);
        assert!(0 < taken && taken <= rest.len(), "a session goes on, or pauses behind a message");
        rest = &rest[taken..];
    }
}

fn login_packet() -> Vec<u8> {
    let sequence = SessionSeq::HEAD;
    let login = LoginRequest { user: "MM1", password: b"password", session: SessionName::BLANK, sequence };
    let mut packet = Vec::new();
    append_packet(PacketKind::Login, &login.write().expect("it fits"), &mut packet);
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
