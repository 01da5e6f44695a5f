//! Ends of connections: each is one command, after every command of its connection, whatever the gateway knows of the
//! session and however full the ring is.

use super::*;
use api::binary::orders::{MassCancel, SetSession};
use api::binary::sbe::Framed;
use api::binary::soup::{PacketReader, append_packet};
use book::command::{DownCause, MassScope};
use book::event::WindowBegan;
use book::rules::Rules;
use book::run::LifeTag;
use common::raw::unsequenced;
use node::rings::ingress::Ingress;
use zerocopy::IntoBytes;

/// A port under rules 2, whose ring to the engine has room for so many commands.
fn port(sessions: u32, ingress: usize) -> OrdersPort {
    let mut port = OrdersPort::with_rings(sessions, 0, LIMITS, RingSizes { ingress, ..RingSizes::default() });
    port.change(Change::Rules(Rules::Two));
    port.step(0);
    port
}

fn switch_on() -> Vec<u8> {
    let set = SetSession::cancel_on_disconnect(ClOrdId(1), CodMode::Both, CodScope::Session, 0);
    unsequenced(Framed::new(set).as_bytes())
}

/// What the engine would run next: commands of clients by their names, ends with their causes.
fn commands(port: &mut OrdersPort, count_max: usize) -> Vec<String> {
    let commands = std::iter::from_fn(|| port.engine.ingress.pop().ok()).take(count_max);
    commands
        .map(|Ingress { command, .. }| match command {
            Command::ConnectionEnd(end) => format!("end {} {:?}", end.session.0, end.cause),
            Command::SessionDown(down) => format!("down {} {:?}", down.session.0, down.cause),
            Command::SetSession(set) => format!("set {}", set.session.0),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn log_back_in(port: &mut OrdersPort) -> ConnId {
    let conn = port.log_in(HOME, 1, PASSWORD);
    port.steps(3, 0);
    conn
}

/// The gateway believes that nothing is cancelled, because the switch is not released.
fn an_end_follows_what_its_client_has_sent() {
    let mut port = port(2, 16);
    for session in 1..=2 {
        let off = SessionFacts { cod_mode: CodMode::Off, ..facts(session) };
        port.change(Change::Session(Box::new(off)));
    }
    let conns = port.log_all_in(2);
    port.sockets.arrive(conns[0], &switch_on());
    port.sockets.hang_up(conns[0]);
    port.step(0);
    assert_eq!(commands(&mut port, 9), ["set 1", "end 1 Disconnect"]);
    let mut logout = Vec::new();
    append_packet(PacketKind::Logout, &[], &mut logout);
    port.sockets.arrive(conns[1], &[switch_on(), logout].concat());
    port.step(0);
    assert_eq!(commands(&mut port, 9), ["set 2", "end 2 Logout"]);
    assert_eq!(port.status.sessions_open.get(), 0);
}

#[test]
fn an_end_is_handed_over_after_every_command_of_its_connection() {
    an_end_follows_what_its_client_has_sent();
}

fn a_full_ring_keeps_the_end() {
    const RING: usize = 1 << 9;
    let mut port = port(2, RING);
    let conns = port.log_all_in(2);
    port.sockets.arrive(conns[1], &switch_on().repeat(RING));
    port.step(0);
    port.sockets.hang_up(conns[0]);
    port.step(0);
    assert_eq!(port.status.sessions_open.get(), 1);
    // Its next login has no room either, so its end comes before all that it sends then.
    let again = log_back_in(&mut port);
    assert_eq!((port.answer(again), port.status.sessions_open.get()), (None, 1));
    assert_eq!(commands(&mut port, RING - 1), vec!["set 2"; RING - 1]);
    port.steps(3, 0);
    assert_eq!(port.answer(again), Some(PacketKind::Accepted));
    port.sockets.arrive(again, &switch_on());
    port.steps(2, 0);
    assert_eq!(commands(&mut port, 9), ["set 2", "end 1 Disconnect", "set 1"]);
}

#[test]
fn an_end_that_finds_the_ring_full_is_handed_over_later() {
    a_full_ring_keeps_the_end();
}

/// The line breaks while the ring has no room for the last bytes.
fn the_last_bytes_come_first() {
    const RING: usize = 1 << 9;
    let mut port = port(1, RING);
    let conns = port.log_all_in(1);
    port.sockets.arrive(conns[0], &switch_on().repeat(RING + 2));
    port.step(0);
    port.sockets.hang_up(conns[0]);
    port.steps(3, 0);
    let mut all = Vec::new();
    for _ in 0..9 {
        all.extend(commands(&mut port, RING));
        port.step(0);
    }
    assert_eq!(all.iter().filter(|command| *command == "set 1").count(), RING + 2);
    assert_eq!(all.last().map(String::as_str), Some("end 1 Disconnect"));
    assert_eq!(all.len(), RING + 3);
}

#[test]
fn what_a_broken_line_has_brought_comes_before_its_end() {
    the_last_bytes_come_first();
}

#[test]
fn a_displaced_connection_ends_as_such_and_is_no_disconnect() {
    let mut port = port(1, 16);
    let first = port.log_all_in(1)[0];
    let second = log_back_in(&mut port);
    assert_eq!(commands(&mut port, 9), ["end 1 Displaced"]);
    assert!(!port.sockets.is_open(first) && port.sockets.is_open(second));
    port.sockets.hang_up(first);
    port.sockets.hang_up(second);
    port.steps(2, 100);
    assert_eq!(commands(&mut port, 9), ["end 1 Disconnect"]);
}

#[test]
fn a_window_is_that_of_the_last_end_and_a_login_ends_it() {
    let mut port = port(1, 16);
    let window = |number| {
        let cause = DownCause::Disconnect;
        Change::Window(WindowBegan { session: SessionId(1), cause, number, window_ms: 300 })
    };
    let conn = port.log_all_in(1)[0];
    port.sockets.hang_up(conn);
    port.step(0);
    assert_eq!(commands(&mut port, 9), ["end 1 Disconnect"]);
    port.change(window(1));
    // The client is back within the window, and leaves again: the window of its first end says nothing now.
    let again = log_back_in(&mut port);
    port.steps(5, 100);
    assert_eq!(commands(&mut port, 9), [""; 0]);
    port.sockets.hang_up(again);
    port.step(0);
    assert_eq!(commands(&mut port, 9), ["end 1 Disconnect"]);
    port.change(window(1));
    port.steps(5, 100);
    assert_eq!(commands(&mut port, 9), [""; 0]);
    // It began with the end, not when the gateway learned of it.
    port.change(window(2));
    port.step(0);
    assert_eq!(commands(&mut port, 9), ["down 1 Disconnect"]);
}

#[test]
fn ten_thousand_lines_that_are_cut_at_once_end_a_few_a_cycle() {
    const SESSIONS: u32 = 10_000;
    let mut port = port(SESSIONS, 64);
    let conns = port.log_all_in(SESSIONS);
    conns.iter().for_each(|conn| port.sockets.hang_up(*conn));
    let (mut ended, mut cycles) = (Vec::new(), 0);
    while ended.len() < SESSIONS as usize && cycles < SESSIONS {
        port.step(0);
        assert!(port.sockets.closes <= 32, "{} connections closed in one cycle", port.sockets.closes);
        let now = commands(&mut port, 64);
        assert!(now.len() <= 64);
        ended.extend(now);
        cycles += 1;
    }
    let expected: Vec<String> = (1..=SESSIONS).map(|session| format!("end {session} Disconnect")).collect();
    assert_eq!(ended, expected);
}

fn facts(session: u32) -> SessionFacts {
    SessionFacts::of(&engine(2, 0), SessionId(session)).expect("the session exists")
}

/// The kinds of the packets that a client was sent, heartbeats apart.
fn sent(port: &mut OrdersPort, conn: ConnId) -> Vec<PacketKind> {
    let bytes = port.sockets.take_sent(conn);
    let (mut rest, mut kinds, mut reader) = (&bytes[..], Vec::new(), PacketReader::default());
    while let Ok(Some(packet)) = reader.read(&mut rest) {
        kinds.push(packet.kind);
    }
    kinds.retain(|kind| *kind != PacketKind::ServerHeartbeat);
    kinds
}

fn logged_in_as(port: &mut OrdersPort, name: SessionName, from: SessionSeq) -> Vec<PacketKind> {
    let conn = port.sockets.connect(HOME);
    port.step(1);
    port.sockets.arrive(conn, &login_packet("1", PASSWORD, name, from));
    port.steps(2, 0);
    port.check_all();
    port.steps(3, 0);
    sent(port, conn)
}

fn a_new_life_ends_the_old_one() {
    let mut port = port(2, 16);
    let conns = port.log_all_in(2);
    conns.iter().for_each(|conn| drop(sent(&mut port, *conn)));
    port.change(Change::Session(Box::new(SessionFacts { lives: 1, life: Some(LifeTag(5)), ..facts(1) })));
    port.steps(2, 0);
    assert_eq!(sent(&mut port, conns[0]), [PacketKind::Debug, PacketKind::EndOfSession]);
    assert!(!port.sockets.is_open(conns[0]) && port.sockets.is_open(conns[1]));
    let end = port.engine.ingress.pop().expect("the end of its connection");
    assert!(matches!(end.command, Command::ConnectionEnd(end) if end.session == SessionId(1)), "{end:?}");
    assert_eq!(end.lives_seen, 1);
    let run = book::run::Run::default();
    let old = SessionName::of_session(SessionId(1), &run);
    for (name, from, answer) in [
        (old, SessionSeq::HEAD, PacketKind::Rejected),
        (SessionName::BLANK, SessionSeq(2), PacketKind::Rejected),
        (SessionName::BLANK, SessionSeq::FIRST, PacketKind::Accepted),
        (SessionName::of_life(SessionId(1), LifeTag(5)), SessionSeq::HEAD, PacketKind::Accepted),
    ] {
        assert_eq!(logged_in_as(&mut port, name, from), [answer], "{name:?} from {from:?}");
    }
}

#[test]
fn a_new_life_of_a_session_ends_its_connection_and_refuses_the_old_stream() {
    a_new_life_ends_the_old_one();
}

#[test]
fn a_removed_session_is_as_unknown_as_any() {
    let mut port = port(2, 16);
    let conns = port.log_all_in(2);
    drop(sent(&mut port, conns[0]));
    port.change(Change::Session(Box::new(SessionFacts { removed: true, ..facts(1) })));
    port.steps(2, 0);
    assert_eq!(sent(&mut port, conns[0]), [PacketKind::Debug, PacketKind::EndOfSession]);
    assert_eq!(commands(&mut port, 9), ["end 1 Disconnect"]);
    let conn = port.log_in(HOME, 1, PASSWORD);
    port.step(0);
    assert_eq!(port.check_one(), Some(0), "its password is that of no session");
    port.steps(2, 200);
    assert_eq!(port.answer(conn), Some(PacketKind::Rejected));
}

#[test]
fn a_new_password_and_a_disconnect_end_the_connection_and_not_the_stream() {
    let mut port = port(2, 16);
    let conns = port.log_all_in(2);
    conns.iter().for_each(|conn| drop(sent(&mut port, *conn)));
    port.change(Change::Session(Box::new(SessionFacts { password_hash: "new".to_owned(), ..facts(1) })));
    port.change(Change::Disconnect(SessionId(2)));
    port.steps(2, 0);
    for conn in conns {
        assert_eq!(sent(&mut port, conn), [PacketKind::Debug]);
        assert!(!port.sockets.is_open(conn));
    }
    assert_eq!(commands(&mut port, 9), ["end 1 Disconnect", "end 2 Disconnect"]);
    assert_eq!(port.status.sessions_on.get(SessionId(2)), None);
    // The old password is forgotten; the other session logs in at once.
    port.log_in(HOME, 1, PASSWORD);
    port.step(0);
    assert!(port.attempts.pop().is_ok_and(|attempt| attempt.password_hash == "new"));
    let other = port.log_in(HOME, 2, PASSWORD);
    port.steps(2, 0);
    assert_eq!(port.answer(other), Some(PacketKind::Accepted));
    let on = port.status.sessions_on.get(SessionId(2)).expect("it is logged in");
    assert_eq!((on.address, on.next), (HOME, 1));
}

/// A mass cancel is one of the messages that a connection may have sent before it ended.
#[test]
fn requests_are_stamped_with_the_lives_that_the_gateway_has_seen() {
    let mut port = port(2, 16);
    let conns = port.log_all_in(2);
    let mass = unsequenced(Framed::new(MassCancel::all(ClOrdId(1), MassScope::Session)).as_bytes());
    port.sockets.arrive(conns[1], &mass);
    port.step(0);
    port.change(Change::Session(Box::new(SessionFacts { lives: 1, life: Some(LifeTag(5)), ..facts(1) })));
    port.step(0);
    port.sockets.arrive(conns[1], &mass);
    port.step(0);
    let seen: Vec<u32> = std::iter::from_fn(|| port.engine.ingress.pop().ok()).map(|i| i.lives_seen).collect();
    assert_eq!(seen, [0, 1, 1]);
}

#[cfg(feature = "mutation")]
#[test]
fn ends_that_are_lost_and_lives_that_go_on_are_noticed() {
    use node::faults::mutation::{Mutation, assert_noticed};
    assert_noticed(Mutation::EndByGatewaysView, an_end_follows_what_its_client_has_sent);
    assert_noticed(Mutation::EndLostWhenFull, a_full_ring_keeps_the_end);
    assert_noticed(Mutation::LastBytesForgotten, the_last_bytes_come_first);
    assert_noticed(Mutation::ConnectionOutlivesLife, a_new_life_ends_the_old_one);
}
