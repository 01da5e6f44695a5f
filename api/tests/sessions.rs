//! One connection from the first byte to the last, by a script: what comes in, and all that comes out.
//!
//! `@ms` is the time, `>` bytes from the client, `<` what the node says to its own session.

use api::binary::login::{LoginReject, LoginRequest, SessionName};
use api::binary::session::{CloseReason, Flow, Session, SessionLimits, SessionOutput, State};
use api::binary::soup::{PacketKind, append_packet};
use api::binary::stream::SessionSeq;
use book::units::TsNs;

#[derive(Default)]
struct Heard {
    said: Vec<String>,
    sent: Vec<u8>,
    pause: bool,
}

impl SessionOutput for Heard {
    fn send(&mut self, bytes: &[u8]) {
        self.sent.extend_from_slice(bytes);
    }

    fn login_requested(&mut self, login: &LoginRequest<'_>) {
        let password = String::from_utf8_lossy(login.password);
        self.said.push(format!("login {} {} {} {}", login.user, password, login.session.as_str(), login.sequence.0));
    }

    fn message(&mut self, bytes: &[u8]) -> Flow {
        self.said.push(format!("message {}", String::from_utf8_lossy(bytes)));
        if self.pause { Flow::Pause } else { Flow::Continue }
    }

    fn logout_requested(&mut self) {
        self.said.push("logout".into());
    }

    fn close(&mut self, reason: CloseReason) {
        self.said.push(format!("close: {reason}"));
    }
}

impl Heard {
    /// Packets as `H` or `S:text`, then what else was said.
    fn take(&mut self) -> String {
        let mut said = Vec::new();
        let mut chunk = &self.sent[..];
        let mut reader = api::binary::soup::PacketReader::default();
        while let Some(packet) = reader.read(&mut chunk).expect("the session writes packets") {
            let kind = packet.kind as u8 as char;
            let text = String::from_utf8_lossy(packet.payload);
            said.push(if text.is_empty() { format!("{kind}") } else { format!("{kind}:{}", text.trim()) });
        }
        said.append(&mut self.said);
        self.sent.clear();
        said.join(" | ")
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
    let mut heard = Heard::default();
    let mut now = at(0);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(expected) = line.strip_prefix("=>") {
            assert_eq!(heard.take(), expected.trim(), "in\n{script}");
            continue;
        }
        let mut words = line.split_whitespace();
        match (words.next().expect("a line has words"), words.next()) {
            ("@", Some(ms)) => {
                now = at(ms.parse().expect("milliseconds"));
                session.on_tick(now, &mut heard);
            }
            (">", Some("login")) => assert_eq!(session.on_bytes(now, &login(), &mut heard), login().len()),
            (">", Some("half-login")) => assert_eq!(session.on_bytes(now, &login()[..20], &mut heard), 20),
            (">", Some("other-half")) => assert_eq!(session.on_bytes(now, &login()[20..], &mut heard), 29),
            (">", Some("raw")) => {
                let bytes: Vec<u8> = words.map(|w| u8::from_str_radix(w, 16).expect("hex")).collect();
                session.on_bytes(now, &bytes, &mut heard);
            }
            (">", Some(kind)) => {
                let payload = words.next().unwrap_or("").as_bytes();
                session.on_bytes(now, &packet(kind.as_bytes()[0], payload), &mut heard);
            }
            ("<", Some("accept")) => {
                session.accept(now, SessionName::of_session(book::ids::SessionId(3)), SessionSeq(5), &mut heard);
            }
            ("<", Some("reject")) => session.reject(now, LoginReject::NotAuthorised, &mut heard),
            ("<", Some("sequenced")) => session.send_sequenced(now, b"answer", &mut heard),
            ("<", Some("unsequenced")) => session.send_unsequenced(now, b"times", &mut heard),
            ("<", Some("end")) => session.end_of_session(now, &mut heard),
            ("<", Some("silence")) => session.set_limits(SessionLimits {
                silence_ms: words.next().expect("ms").parse().expect("ms"),
                ..SessionLimits::default()
            }),
            other => panic!("the script has no {other:?}"),
        }
    }
    assert_eq!(heard.take(), "", "something was said that the script does not expect:\n{script}");
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
        => logout | close: the client logged out
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
    check("> login\n=> login MM1 secret  5\n< reject\n=> J:A | close: the login was rejected\n> login");
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
fn a_client_does_not_send_what_is_the_nodes() {
    let open = "> login\n=> login MM1 secret  5\n< accept\n=> A:PIN0000003                   5\n";
    check(&format!("{open}> S x\n=> close: packet type Sequenced is not a client's to send now"));
    check(&format!("{open}> login\n=> close: packet type Login is not a client's to send now"));
    check(&format!("{open}> H\n=> close: packet type ServerHeartbeat is not a client's to send now"));
}

#[test]
fn bytes_that_are_no_packets_close() {
    check("> raw 47 45 54 20 2f\n=> close: unknown packet type 0x54");
    check("> raw 00 00\n=> close: a packet of length zero");
    check("> raw ff ff\n=> close: a packet of 65535 bytes, above the limit of 32767");
    check("> raw 00 05 4c 41 41 41 41\n=> close: a login that is not one");
}

#[test]
fn no_login_in_time_and_dripping_does_not_help() {
    check("@ 14999\n@ 15000\n=> close: no login in time\n@ 30000");
    check("@ 8000\n> half-login\n@ 14999\n@ 15000\n=> close: no login in time");
}

#[test]
fn an_idle_line_gets_heartbeats_and_a_silent_client_is_let_go() {
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
        => close: nothing was heard for too long
        ",
    );
    // Two seconds is the least that can be asked for.
    let quick =
        "> login\n=> login MM1 secret  5\n< accept\n=> A:PIN0000003                   5\n< silence 10\n@ 1999\n=> H";
    check(&format!("{quick}\n@ 2000\n=> close: nothing was heard for too long"));
}

#[test]
fn the_node_ends_a_session() {
    check(
        "> login\n=> login MM1 secret  5\n< accept\n=> A:PIN0000003                   5\n< end\n=> Z | close: the session was ended",
    );
}

#[test]
fn a_paused_session_leaves_the_rest_to_the_caller() {
    let mut session = Session::new(at(0));
    let mut heard = Heard::default();
    session.on_bytes(at(0), &login(), &mut heard);
    session.accept(at(0), SessionName::LIVE, SessionSeq::FIRST, &mut heard);
    heard.take();
    let bytes = [packet(b'U', b"one"), packet(b'U', b"two"), packet(b'U', b"three")].concat();
    heard.pause = true;
    let taken = session.on_bytes(at(1), &bytes, &mut heard);
    assert_eq!((taken, heard.take().as_str()), (6, "message one"));
    heard.pause = false;
    let taken = session.on_bytes(at(2), &bytes[6..], &mut heard);
    assert_eq!((taken, heard.take().as_str()), (14, "message two | message three"));
    assert_eq!(session.state(), State::Open);
}

#[test]
fn the_next_deadline_is_when_something_happens() {
    let mut session = Session::new(at(0));
    let mut heard = Heard::default();
    assert_eq!(session.next_deadline(), Some(at(15_000)));
    session.on_bytes(at(100), &login(), &mut heard);
    session.accept(at(200), SessionName::LIVE, SessionSeq::FIRST, &mut heard);
    assert_eq!(session.next_deadline(), Some(at(1_200)));
    session.close(CloseReason::Protocol, &mut heard);
    assert_eq!(session.next_deadline(), None);
}
