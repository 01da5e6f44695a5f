//! One connection from the first byte to the last, as a script of inputs and the complete output.
//!
//! `@ ms` is the time, `>` bytes from the client, `<` a call of the node, `=>` the output since the last such line.

use api::binary::login::{LoginReject, LoginRequest, SessionName};
use api::binary::session::{CloseReason, Flow, Inbound, Output, Session, SessionLimits, State};
use api::binary::soup::{PacketKind, append_packet};
use api::binary::stream::SessionSeq;
use book::run::Run;
use book::units::TsNs;

#[derive(Default)]
struct Recorder {
    calls: Vec<String>,
    sent: Vec<u8>,
    pause: bool,
}

impl Output for Recorder {
    fn send(&mut self, bytes: &[u8]) {
        self.sent.extend_from_slice(bytes);
    }

    fn close(&mut self, reason: CloseReason) {
        self.calls.push(format!("close: {reason}"));
    }
}

impl Inbound for Recorder {
    fn login_requested(&mut self, login: &LoginRequest<'_>) {
        let password = String::from_utf8_lossy(login.password);
        self.calls.push(format!("login {} {} {} {}", login.user, password, login.session.as_str(), login.sequence.0));
    }

    fn message(&mut self, bytes: &[u8]) -> Flow {
        self.calls.push(format!("message {}", String::from_utf8_lossy(bytes)));
        if self.pause { Flow::Pause } else { Flow::Continue }
    }

    fn logout_requested(&mut self) {
        self.calls.push("logout".into());
    }
}

impl Recorder {
    /// Packets as `H` or `S:text`, then the other calls.
    fn take(&mut self) -> String {
        let mut lines = Vec::new();
        let mut chunk = &self.sent[..];
        let mut reader = api::binary::soup::PacketReader::default();
        while let Some(packet) = reader.read(&mut chunk).expect("the session writes well-formed packets") {
            let kind = packet.kind as u8 as char;
            let text = String::from_utf8_lossy(packet.payload);
            lines.push(if text.is_empty() { format!("{kind}") } else { format!("{kind}:{}", text.trim()) });
        }
        lines.append(&mut self.calls);
        self.sent.clear();
        lines.join(" | ")
    }
}

fn at(ms: u64) -> TsNs {
    TsNs(1_000_000_000_000 + ms * 1_000_000)
}

fn packet(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    append_packet(PacketKind::new(kind).expect("a known type"), payload, &mut bytes);
    bytes
}

fn login() -> Vec<u8> {
    packet(b'L', b"MM1   secret                               5  ")
}

fn check(script: &str) {
    let mut session = Session::new(at(0));
    let mut recorder = Recorder::default();
    let mut now = at(0);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(expected) = line.strip_prefix("=>") {
            assert_eq!(recorder.take(), expected.trim(), "in\n{script}");
            continue;
        }
        let mut words = line.split_whitespace();
        match (words.next().expect("a line has words"), words.next()) {
            ("@", Some(ms)) => {
                now = at(ms.parse().expect("milliseconds"));
                session.on_tick(now, &mut recorder);
            }
            (">", Some("login")) => assert_eq!(session.on_bytes(now, &login(), &mut recorder), login().len()),
            (">", Some("half-login")) => assert_eq!(session.on_bytes(now, &login()[..20], &mut recorder), 20),
            (">", Some("other-half")) => assert_eq!(session.on_bytes(now, &login()[20..], &mut recorder), 29),
            (">", Some("raw")) => {
                let bytes: Vec<u8> = words.map(|w| u8::from_str_radix(w, 16).expect("hex")).collect();
                session.on_bytes(now, &bytes, &mut recorder);
            }
            (">", Some(kind)) => {
                let payload = words.next().unwrap_or("").as_bytes();
                session.on_bytes(now, &packet(kind.as_bytes()[0], payload), &mut recorder);
            }
            ("<", Some("accept")) => {
                session.accept(
                    now,
                    SessionName::of_session(book::ids::SessionId(3), &Run::default()),
                    SessionSeq(5),
                    &mut recorder,
                );
            }
            ("<", Some("reject")) => session.reject(now, LoginReject::NotAuthorised, &mut recorder),
            ("<", Some("sequenced")) => {
                session.send_sequenced(now, b"answer", &mut recorder);
            }
            ("<", Some("unsequenced")) => session.send_unsequenced(now, b"times", &mut recorder),
            ("<", Some("end")) => session.end_of_session(now, &mut recorder),
            ("<", Some("silence")) => session.set_limits(SessionLimits {
                silence_ms: words.next().expect("ms").parse().expect("ms"),
                ..SessionLimits::default()
            }),
            other => panic!("the script has no {other:?}"),
        }
    }
    assert_eq!(recorder.take(), "", "output that the script does not expect:\n{script}");
}

#[test]
fn a_session_from_login_to_logout() {
    check(
        "
        > login
        => login MM1 secret  5
        < accept
        => A:PIN0000003                   5
        > U order
        => message order
        < sequenced
        < unsequenced
        => S:answer | U:times
        > + note
        > R
        > O
        => logout | close: logout by the client
        > U late
        ",
    );
}

#[test]
fn a_login_in_two_halves() {
    check("> half-login\n> other-half\n=> login MM1 secret  5");
}

#[test]
fn a_rejected_login_closes() {
    check("> login\n=> login MM1 secret  5\n< reject\n=> J:A | close: login rejected\n> login");
}

#[test]
fn nothing_but_a_login_before_a_login() {
    check("> U order\n=> close: packet type Unsequenced before the login was accepted");
    check("> R\n=> close: packet type ClientHeartbeat before the login was accepted");
    check("> O\n=> close: packet type Logout before the login was accepted");
    let early = "> login\n=> login MM1 secret  5\n> U order";
    check(&format!("{early}\n=> close: packet type Unsequenced before the login was accepted\n< accept"));
    check("> login\n=> login MM1 secret  5\n> login\n=> close: packet type Login before the login was accepted");
}

#[test]
fn packets_of_the_node_from_a_client_close() {
    let open = "> login\n=> login MM1 secret  5\n< accept\n=> A:PIN0000003                   5\n";
    check(&format!("{open}> S x\n=> close: packet type Sequenced, which a client does not send on an open session"));
    check(&format!("{open}> login\n=> close: packet type Login, which a client does not send on an open session"));
    check(&format!(
        "{open}> H\n=> close: packet type ServerHeartbeat, which a client does not send on an open session"
    ));
}

#[test]
fn malformed_packets_and_logins_close() {
    check("> raw 47 45 54 20 2f\n=> close: malformed packet: packet type 0x54 does not exist in SoupBinTCP 3.00");
    check(
        "> raw 00 00\n=> close: malformed packet: packet length 0: the length counts the type byte, so it is at least 1",
    );
    check("> raw ff ff\n=> close: malformed packet: packet length 65535: the largest allowed is 32767");
    check("> raw 00 05 4c 41 41 41 41\n=> close: malformed login: 4 bytes, expected 46");
}

#[test]
fn the_login_timeout_is_not_extended_by_received_bytes() {
    check("@ 14999\n@ 15000\n=> close: no login within the login timeout\n@ 30000");
    check("@ 8000\n> half-login\n@ 14999\n@ 15000\n=> close: no login within the login timeout");
}

#[test]
fn an_idle_connection_gets_heartbeats_and_a_silent_client_is_closed() {
    check(
        "
        > login
        => login MM1 secret  5
        < accept
        => A:PIN0000003                   5
        @ 999
        @ 1000
        => H
        @ 1500
        < sequenced
        => S:answer
        @ 2499
        @ 2500
        => H
        @ 14000
        => H
        > R
        @ 28999
        => H
        @ 29000
        => close: nothing received within the silence limit
        ",
    );
    // A silence limit below two seconds is raised to two seconds.
    let quick =
        "> login\n=> login MM1 secret  5\n< accept\n=> A:PIN0000003                   5\n< silence 10\n@ 1999\n=> H";
    check(&format!("{quick}\n@ 2000\n=> close: nothing received within the silence limit"));
}

#[test]
fn the_node_ends_a_session() {
    check(
        "> login\n=> login MM1 secret  5\n< accept\n=> A:PIN0000003                   5\n< end\n=> Z | close: end of session: the stream has ended",
    );
}

#[test]
fn a_paused_session_leaves_the_remaining_bytes_to_the_caller() {
    let mut session = Session::new(at(0));
    let mut recorder = Recorder::default();
    session.on_bytes(at(0), &login(), &mut recorder);
    session.accept(at(0), SessionName::LIVE, SessionSeq::FIRST, &mut recorder);
    recorder.take();
    let bytes = [packet(b'U', b"one"), packet(b'U', b"two"), packet(b'U', b"three")].concat();
    recorder.pause = true;
    let taken = session.on_bytes(at(1), &bytes, &mut recorder);
    assert_eq!((taken, recorder.take().as_str()), (6, "message one"));
    recorder.pause = false;
    let taken = session.on_bytes(at(2), &bytes[6..], &mut recorder);
    assert_eq!((taken, recorder.take().as_str()), (14, "message two | message three"));
    assert_eq!(session.state(), State::Open);
}

#[test]
fn the_next_deadline_is_the_next_heartbeat_or_timeout() {
    let mut session = Session::new(at(0));
    let mut recorder = Recorder::default();
    assert_eq!(session.next_deadline(), Some(at(15_000)));
    session.on_bytes(at(100), &login(), &mut recorder);
    session.accept(at(200), SessionName::LIVE, SessionSeq::FIRST, &mut recorder);
    assert_eq!(session.next_deadline(), Some(at(1_200)));
    session.close(CloseReason::Protocol, &mut recorder);
    assert_eq!(session.next_deadline(), None);
}

#[test]
fn sequenced_packets_carry_consecutive_numbers_from_the_accepted_one() {
    let mut session = Session::new(at(0));
    let mut recorder = Recorder::default();
    session.on_bytes(at(0), &login(), &mut recorder);
    assert!(session.accept(at(0), SessionName::LIVE, SessionSeq(5), &mut recorder));
    assert_eq!(session.send_sequenced(at(0), b"five", &mut recorder), SessionSeq(5));
    session.send_unsequenced(at(0), b"not numbered", &mut recorder);
    assert_eq!(session.send_sequenced(at(0), b"six", &mut recorder), SessionSeq(6));
}
