//! What a client can do wrong, by mistake or on purpose. The node refuses it, and no other client is affected.

mod common;
#[path = "abuse/market_data.rs"]
mod market_data;

use api::binary::login::{LoginReject, SessionName};
use api::binary::orders::{Answer, CancelOrder, NewOrder, SetSession};
use api::binary::requests::Target;
use api::binary::sbe::Framed;
use api::binary::soup::PacketKind;
use api::binary::stream::SessionSeq;
use api::client::{ClientError, MarketClient, OrderClient};
use book::command::{CodMode, CodScope, Side};
use book::ids::ClOrdId;
use common::abused::AbusedNode;
use common::raw::{Raw, connections_of, login_packet, unsequenced};
use common::{PASSWORD, PATIENCE, limit, next};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::time::Instant;
use zerocopy::IntoBytes;

/// Bound of the growth of the node's memory under repeated abuse.
const GROWTH_BYTES_MAX: u64 = 24 << 20;

/// Limits that let a session leave many messages unread.
const LARGE_QUEUES: &str = "[session]\nresend_max = 262144\nqueue_max = 262144\n";

/// Random bytes, the same in every run (xorshift64, Marsaglia 2003).
fn garbage(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Sends `bytes` and expects the end of the connection without an answer.
fn closed_without_answer(address: SocketAddr, bytes: &[u8]) {
    let mut raw = Raw::connect(address);
    raw.send(bytes);
    assert_eq!(raw.until_closed(), [], "{bytes:02x?} closes the connection without an answer");
}

fn both_ports(abused: &AbusedNode) -> [SocketAddr; 2] {
    [abused.process.orders, abused.process.market]
}

#[test]
fn garbage_closes_the_connection() {
    let mut abused = AbusedNode::new("", 0);
    for address in both_ports(&abused) {
        for seed in 0..100 {
            let mut raw = Raw::connect(address);
            raw.send(&garbage(seed, 40_000));
            raw.until_closed();
        }
        abused.probe();
    }
    abused.finish();
}

#[test]
fn an_impossible_length_closes_the_connection() {
    let mut abused = AbusedNode::new("", 0);
    for address in both_ports(&abused) {
        for head in [[0xff, 0xff, b'L'], [0x80, 0x00, b'L'], [0, 0, b'L'], [0, 0, 0]] {
            closed_without_answer(address, &head);
        }
        abused.probe();
    }
    abused.finish();
}

#[test]
fn half_a_frame_and_silence_end_with_the_timeout() {
    let mut abused = AbusedNode::new("[session]\nidle_timeout = \"2s\"\nlogin_timeout = \"1s\"\n", 1);
    let login = login_packet("T1", PASSWORD, SessionName::BLANK, SessionSeq::HEAD);
    let mut waiting: Vec<Raw> = Vec::new();
    for address in both_ports(&abused) {
        for len in [0, 1, 2, 3, login.len() - 1] {
            let mut raw = Raw::connect(address);
            raw.send(&login[..len]);
            waiting.push(raw);
        }
    }
    let mut inside = Raw::login(abused.process.orders, "T1", SessionSeq::HEAD);
    inside.send(&unsequenced(Framed::new(limit(1, abused.market, Side::Buy, 1, 1)).as_bytes())[..40]);
    waiting.push(inside);
    abused.probe();
    std::thread::scope(|scope| {
        let all_closed = scope.spawn(|| waiting.iter_mut().all(|raw| raw.until_closed().is_empty()));
        while !all_closed.is_finished() {
            abused.probe();
        }
        assert!(
            all_closed.join().expect("the thread did not panic"),
            "silence closes the connection without an answer"
        );
    });
    abused.finish();
}

#[test]
fn bytes_may_arrive_one_by_one() {
    let abused = AbusedNode::new("", 1);
    let mut raw = Raw::connect(abused.process.orders);
    for byte in login_packet("T1", PASSWORD, SessionName::BLANK, SessionSeq::HEAD) {
        raw.send(&[byte]);
    }
    assert_eq!(raw.packet().map(|p| p.0), Some(PacketKind::Accepted as u8));
    for byte in unsequenced(Framed::new(limit(1, abused.market, Side::Buy, 1, 1)).as_bytes()) {
        raw.send(&[byte]);
    }
    let (kind, message) = raw.packet().expect("an answer");
    assert_eq!(kind, PacketKind::Sequenced as u8);
    assert!(matches!(Answer::read(&message), Ok(Answer::OrderAccepted(m)) if m.cl_ord_id.get() == 1));
    abused.finish();
}

#[test]
fn nothing_but_a_login_is_accepted_before_a_login() {
    let mut abused = AbusedNode::new("", 0);
    let order = unsequenced(Framed::new(limit(1, abused.market, Side::Buy, 1, 1)).as_bytes());
    for kind in [
        &order[..],
        &[0, 1, b'R'],
        &[0, 1, b'O'],
        &[0, 1, b'H'],
        &[0, 1, b'Z'],
        &[0, 1, b'x'],
        &[0, 5, b'L', 1, 2, 3, 4],
    ] {
        for address in both_ports(&abused) {
            closed_without_answer(address, kind);
        }
    }
    abused.probe();
    abused.finish();
}

#[test]
fn a_malformed_message_ends_the_connection_and_not_the_session() {
    let mut abused = AbusedNode::new("", 1);
    let valid = Framed::new(limit(7, abused.market, Side::Buy, 1, 1));
    let with = |offset: usize, value: u8| {
        let mut bytes = valid.as_bytes().to_vec();
        bytes[offset] = value;
        unsequenced(&bytes)
    };
    // Wrong header fields (block length, template, schema, version), then packets that a client must not send.
    let wrong = [
        with(0, 79),
        with(2, 99),
        with(4, 0),
        with(6, 0),
        unsequenced(&[]),
        unsequenced(&valid.as_bytes()[..8]),
        unsequenced(&valid.as_bytes()[..87]),
        vec![0, 1, b'H'],
        vec![0, 2, b'S', 1],
        vec![0, 1, b'?'],
        login_packet("T1", PASSWORD, SessionName::BLANK, SessionSeq::HEAD),
    ];
    for bytes in wrong {
        let mut raw = Raw::login(abused.process.orders, "T1", SessionSeq::HEAD);
        raw.send(&bytes);
        assert_eq!(raw.until_closed(), [], "{bytes:02x?}");
        abused.probe();
    }
    // None of these used an order id or a sequence number.
    let mut client = abused.client("T1", SessionSeq::FIRST);
    client.new_order(&limit(7, abused.market, Side::Buy, 1, 1)).expect("connected");
    let first = next(&mut client);
    assert_eq!(first.seq, Some(SessionSeq::FIRST));
    assert!(matches!(first.message, Answer::OrderAccepted(m) if m.cl_ord_id.get() == 7));
    drop(client);
    abused.finish();
}

#[test]
fn a_wrong_login_is_rejected_and_the_connection_closed() {
    let abused = AbusedNode::new("[limits]\nlogin_failures_max = 100\n", 1);
    let refused = |login: &[u8]| {
        let mut raw = Raw::connect(abused.process.orders);
        raw.send(login);
        let answer = raw.until_closed();
        let [(kind, why)] = &answer[..] else { panic!("{answer:?}") };
        assert_eq!(*kind, PacketKind::Rejected as u8);
        LoginReject::read(why).expect("the reason is one of two")
    };
    let login = |user, password, session: &[u8], from| {
        login_packet(user, password, SessionName::new(session).expect("a name"), SessionSeq(from))
    };
    assert_eq!(refused(&login("T1", "wrong", b"", 0)), LoginReject::NotAuthorised);
    assert_eq!(refused(&login("T1", "", b"", 0)), LoginReject::NotAuthorised);
    assert_eq!(refused(&login("ABSENT", PASSWORD, b"", 0)), LoginReject::NotAuthorised);
    assert_eq!(refused(&login("", "", b"", 0)), LoginReject::NotAuthorised);
    assert_eq!(refused(&login("T1", PASSWORD, b"OTHER", 0)), LoginReject::NoSession);
    assert_eq!(refused(&login("T1", PASSWORD, b"", 2)), LoginReject::NoSession);
    assert_eq!(refused(&login("T1", PASSWORD, b"", u64::MAX)), LoginReject::NoSession);
    let market =
        MarketClient::connect(abused.process.market, SessionName::new(b"NONE").expect("a name"), SessionSeq::HEAD);
    assert!(matches!(market, Err(ClientError::LoginRejected(LoginReject::NoSession))), "{market:?}");
    let ahead = MarketClient::connect(abused.process.market, SessionName::LIVE, SessionSeq(1 << 40));
    assert!(matches!(ahead, Err(ClientError::LoginRejected(LoginReject::NoSession))), "{ahead:?}");
    abused.finish();
}

/// A client without the password must not learn whether a session exists.
#[test]
fn a_wrong_password_is_rejected_as_such_for_any_session_name() {
    let abused = AbusedNode::new("[limits]\nlogin_failures_max = 100\n", 1);
    let mut raw = Raw::connect(abused.process.orders);
    raw.send(&login_packet("T1", "wrong", SessionName::new(b"OTHER").expect("a name"), SessionSeq::HEAD));
    assert_eq!(raw.until_closed(), [(PacketKind::Rejected as u8, vec![b'A'])]);
    abused.finish();
}

#[test]
fn guessing_passwords_locks_no_other_client_out() {
    let mut abused = AbusedNode::new("[limits]\nlogin_failures_max = 5\n", 2);
    // Of another block of addresses than the honest clients.
    let guesser = IpAddr::V4(Ipv4Addr::new(127, 0, 9, 9));
    let mut guesses: Vec<Raw> = (0..100).map(|_| Raw::connect_from(guesser, abused.process.orders)).collect();
    for raw in &mut guesses {
        raw.send(&login_packet("T1", "guess", SessionName::BLANK, SessionSeq::HEAD));
    }
    // An honest login has its turn beside the guesses; it is never answered as wrong.
    drop(abused.client("T1", SessionSeq::HEAD));
    let answers: Vec<_> = guesses.iter_mut().map(Raw::until_closed).collect();
    let rejected = answers.iter().filter(|answer| **answer == [(PacketKind::Rejected as u8, vec![b'A'])]).count();
    let closed = answers.iter().filter(|answer| answer.is_empty()).count();
    assert_eq!((rejected, closed), (5, 95), "no more guesses are checked than may be wrong");
    abused.probe();
    let log_in = |user: &str| {
        let mut raw = Raw::connect_from(guesser, abused.process.orders);
        raw.send(&login_packet(user, PASSWORD, SessionName::BLANK, SessionSeq::HEAD));
        raw.packet().map(|packet| packet.0)
    };
    assert_eq!(log_in("T1"), None, "the user is locked there for a while, whatever the password");
    assert_eq!(log_in("T2"), Some(PacketKind::Accepted as u8), "another user there is not");
    let output = abused.process.output();
    assert_eq!(output.matches("the user is locked there").count(), 1, "{output}");
    let lines = output.matches("login refused").count();
    assert!((1..100).contains(&lines), "refusals are in the log, and not each of them: {lines}");
    abused.finish();
}

/// As many correct logins at once as many clients have: none is answered as wrong.
#[test]
fn correct_logins_at_once_are_all_accepted() {
    const SESSIONS: u32 = 200;
    let abused = AbusedNode::new("[limits]\nlogins_awaited_per_address_max = 1000\n", SESSIONS);
    let mut raws: Vec<Raw> = (0..SESSIONS).map(|_| Raw::connect(abused.process.orders)).collect();
    for (n, raw) in (1..).zip(&mut raws) {
        raw.send(&login_packet(&format!("T{n}"), PASSWORD, SessionName::BLANK, SessionSeq::HEAD));
    }
    for raw in &mut raws {
        assert_eq!(raw.packet().map(|packet| packet.0), Some(PacketKind::Accepted as u8));
    }
    drop(raws);
    abused.finish();
}

#[test]
fn a_repeated_id_is_ignored_and_ids_may_be_skipped() {
    let abused = AbusedNode::new("", 1);
    let mut client = abused.client("T1", SessionSeq::HEAD);
    for id in [5, 5, 4, 5, 900, 6, 901] {
        client.new_order(&limit(id, abused.market, Side::Buy, 1, 1)).expect("connected");
    }
    let accepted = [(); 3].map(|()| match next(&mut client).message {
        Answer::OrderAccepted(accepted) => accepted.cl_ord_id.get(),
        other => panic!("{other:?}"),
    });
    assert_eq!(accepted, [5, 900, 901]);
    drop(client);
    abused.finish();
}

/// Sends orders, each of which is accepted and expires at once.
fn flood(
    client: &mut OrderClient,
    market: book::ids::MarketId,
    ids: std::ops::RangeInclusive<u64>,
) -> Result<(), ClientError> {
    for id in ids {
        let order = NewOrder { tif: api::binary::orders::TIF_IOC, ..limit(id, market, Side::Buy, 1, 1) };
        client.queue(&order)?;
    }
    client.flush()
}

#[test]
fn a_reader_that_never_reads_is_disconnected_and_resumes_by_number() {
    let mut abused = AbusedNode::new("[session]\nresend_max = 4096\nqueue_max = 4096\n", 1);
    let mut client = abused.client("T1", SessionSeq::FIRST);
    // Until the node disconnects the client; each order has two answers (accepted, expired).
    let mut sent = 0;
    let deadline = Instant::now() + 3 * PATIENCE;
    while flood(&mut client, abused.market, sent + 1..=sent + 500).is_ok() {
        sent += 500;
        assert!(Instant::now() < deadline, "{sent} orders were sent without reading, and the connection is open");
        if sent % 20_000 == 0 {
            abused.probe();
        }
    }
    assert!(sent > 4096, "the resend memory had room for all {sent} orders");
    // The messages that had arrived are still in the socket; the others follow after a new login.
    let mut received_before = Vec::new();
    while let Ok(Some(received)) = client.poll_raw(PATIENCE) {
        received_before.push(received.message.to_vec());
    }
    drop(client);
    let head = abused.client("T1", SessionSeq::HEAD).next_seq();
    assert!(head.0 > received_before.len() as u64 + 1, "the stream has more than was read");
    let mut again = abused.client("T1", SessionSeq::FIRST);
    let mut stream = Vec::new();
    while again.next_seq() < head {
        stream.push(again.poll_raw(PATIENCE).expect("connected").expect("a message in time").message.to_vec());
    }
    assert!(received_before == stream[..received_before.len()], "the stream is the same, byte for byte");
    let accepted = stream.iter().filter_map(|m| match Answer::read(m) {
        Ok(Answer::OrderAccepted(m)) => Some(m.cl_ord_id.get()),
        _ => None,
    });
    assert!(accepted.eq(1..=stream.len() as u64 / 2), "every order is in it, in order, once");
    drop(again);
    abused.finish();
}

/// A session that catches up with a large lag is not a slow client.
#[test]
fn a_session_with_a_large_lag_catches_up() {
    let abused = AbusedNode::new("[session]\nresend_max = 16384\nqueue_max = 64\n", 1);
    let mut client = abused.client("T1", SessionSeq::HEAD);
    for first in (1..=1_000).step_by(20) {
        flood(&mut client, abused.market, first..=first + 19).expect("connected");
        for _ in 0..40 {
            next(&mut client);
        }
    }
    drop(client);
    let mut again = abused.client("T1", SessionSeq::FIRST);
    for _ in 0..2_000 {
        next(&mut again);
    }
    drop(again);
    abused.finish();
}

/// Stage times are sent between the numbered packets; a client that reads slowly must still receive complete packets.
#[test]
fn packets_are_complete_beside_stage_times_and_slow_reading() {
    let abused = AbusedNode::new(LARGE_QUEUES, 1);
    let mut client = abused.client("T1", SessionSeq::HEAD);
    let set = SetSession::cancel_on_disconnect(ClOrdId(1), CodMode::Off, CodScope::Session, 0);
    client.set_session(&SetSession { stage_times: 1, ..set }).expect("connected");
    assert!(matches!(next(&mut client).message, Answer::SessionState(_)));
    // More answers than the sockets can hold, so that they pile up in the node.
    const ORDERS: u64 = 60_000;
    for first in (1..=ORDERS).step_by(1_000) {
        flood(&mut client, abused.market, first..=first + 999).expect("connected");
    }
    let (mut numbered, mut timed) = (0, 0);
    while numbered < 2 * ORDERS {
        match next(&mut client).message {
            Answer::StageTimes(_) => timed += 1,
            _ => numbered += 1,
        }
    }
    assert!(timed > 0, "stage times were asked for");
    drop(client);
    abused.finish();
}

/// The sessions together send more than the ring to the engine can hold.
#[test]
fn requests_beyond_the_ring_wait_in_their_sockets() {
    const SESSIONS: u32 = 96;
    const REQUESTS: u64 = 3_000;
    let mut abused = AbusedNode::new("", SESSIONS);
    let mut raws: Vec<Raw> =
        (1..=SESSIONS).map(|n| Raw::login(abused.process.orders, &format!("T{n}"), SessionSeq::HEAD)).collect();
    let requests: Vec<u8> = (1..=REQUESTS)
        .flat_map(|id| {
            let cancel = CancelOrder::new(ClOrdId(id), Target::ClOrdId(ClOrdId(id)), abused.market);
            unsequenced(Framed::new(cancel).as_bytes())
        })
        .collect();
    let market = abused.market;
    std::thread::scope(|scope| {
        for raw in &mut raws {
            let mut socket = raw.socket.try_clone().expect("a second handle");
            let requests = &requests;
            scope.spawn(move || socket.write_all(requests).expect("the node reads every request"));
        }
        for raw in &mut raws {
            for _ in 0..REQUESTS {
                let (_, message) = raw.packet().expect("every request is answered");
                assert!(matches!(Answer::read(&message), Ok(Answer::CancelRejected(_))), "{market:?}");
            }
        }
    });
    abused.probe();
    drop(raws);
    abused.finish();
}

#[test]
fn resets_leave_no_connections_open() {
    let mut abused = AbusedNode::new("", 1);
    let login = login_packet("T1", PASSWORD, SessionName::BLANK, SessionSeq::HEAD);
    for address in both_ports(&abused) {
        for round in 0..1_000 {
            let mut raw = Raw::connect(address);
            raw.send(&login[..round % login.len()]);
            raw.reset();
        }
        abused.probe();
    }
    for _ in 0..50 {
        let mut raw = Raw::login(abused.process.orders, "T1", SessionSeq::HEAD);
        raw.send(&unsequenced(Framed::new(limit(1, abused.market, Side::Buy, 1, 1)).as_bytes()));
        raw.reset();
    }
    abused.finish();
}

#[test]
fn memory_stays_flat_under_abuse() {
    let mut abused = AbusedNode::new("[session]\nlogin_timeout = \"500ms\"\n", 1);
    let round = |abused: &mut AbusedNode, seed: u64| {
        for address in both_ports(abused) {
            for n in 0..60 {
                let mut raw = Raw::connect(address);
                raw.send(&garbage(seed + n, 40_000));
                raw.until_closed();
                Raw::connect(address).reset();
                closed_without_answer(address, &[0xff, 0xff, b'U']);
            }
        }
        for _ in 0..20 {
            let mut raw = Raw::login(abused.process.orders, "T1", SessionSeq::HEAD);
            raw.send(&unsequenced(&[1, 2, 3]));
            raw.until_closed();
        }
        abused.probe();
    };
    (0..3).for_each(|n| round(&mut abused, 1_000 * n));
    let before = abused.process.resident_bytes();
    (3..13).for_each(|n| round(&mut abused, 1_000 * n));
    let after = abused.process.resident_bytes();
    assert!(after < before + GROWTH_BYTES_MAX, "from {before} to {after} bytes");
    abused.finish();
}

#[test]
fn connections_of_one_address_are_limited() {
    let mut abused = AbusedNode::new("[limits]\nconnections_per_address_max = 8\n", 8);
    let there = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5));
    let log_in = |n: usize| {
        let mut raw = Raw::connect_from(there, abused.process.orders);
        raw.send(&login_packet(&format!("T{n}"), PASSWORD, SessionName::BLANK, SessionSeq::HEAD));
        assert_eq!(raw.packet().map(|packet| packet.0), Some(PacketKind::Accepted as u8));
        raw
    };
    // Of the same address, the oldest connection without a login makes room for the next one.
    let mut open: Vec<Raw> = (1..=6).map(log_in).collect();
    let mut silent: Vec<Raw> = (0..2).map(|_| Raw::connect_from(there, abused.process.orders)).collect();
    open.push(log_in(7));
    assert_eq!(silent[0].until_closed(), []);
    open.push(log_in(8));
    assert_eq!(silent[1].until_closed(), []);
    // Connections that have logged in make no room.
    let mut beyond = Raw::connect_from(there, abused.process.orders);
    assert_eq!(beyond.until_closed(), []);
    abused.probe();
    // A connection that ends makes room for another: a wrong login on it is answered.
    drop(open.pop());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut raw = Raw::connect_from(there, abused.process.orders);
        raw.send(&login_packet("ABSENT", PASSWORD, SessionName::BLANK, SessionSeq::HEAD));
        if raw.until_closed() == [(PacketKind::Rejected as u8, vec![b'A'])] {
            break;
        }
        assert!(Instant::now() < deadline, "a connection that has ended still counts");
    }
    abused.finish();
}

#[test]
fn on_a_full_port_connections_without_a_login_are_closed_oldest_first() {
    let mut abused = AbusedNode::new("[limits]\nconnections_max = 16\n", 15);
    // The probe has one of the sixteen.
    let mut silent: Vec<Raw> = (0..55).map(|_| Raw::connect(abused.process.orders)).collect();
    for raw in &mut silent[..40] {
        assert_eq!(raw.until_closed(), []);
    }
    abused.probe();
    let mut clients: Vec<Raw> =
        (1..=15).map(|n| Raw::login(abused.process.orders, &format!("T{n}"), SessionSeq::HEAD)).collect();
    for raw in &mut silent[40..] {
        assert_eq!(raw.until_closed(), []);
    }
    // All sixteen have logged in: the next one waits, and is accepted when one of them leaves.
    let waiting = std::thread::spawn({
        let address = abused.process.orders;
        move || Raw::login(address, "T1", SessionSeq::HEAD)
    });
    abused.probe();
    drop(clients.pop());
    drop(waiting.join().expect("it is accepted"));
    let output = abused.process.output();
    assert_eq!(output.matches("WARN node::status::listeners").count(), 1, "one warning for all of it: {output}");
    assert!(output.contains("limits.connections_max = 16"), "{output}");
    abused.probe();
    drop(clients);
    abused.finish();
}

#[test]
fn a_half_close_ends_the_connection() {
    let mut abused = AbusedNode::new("", 1);
    let mut raw = Raw::login(abused.process.orders, "T1", SessionSeq::FIRST);
    raw.send(&unsequenced(Framed::new(limit(1, abused.market, Side::Buy, 1, 1)).as_bytes()));
    raw.socket.shutdown(Shutdown::Write).expect("connected");
    raw.until_closed();
    let mut again = abused.client("T1", SessionSeq::FIRST);
    assert!(matches!(next(&mut again).message, Answer::OrderAccepted(m) if m.cl_ord_id.get() == 1));
    let mut silent = Raw::connect(abused.process.orders);
    silent.socket.shutdown(Shutdown::Write).expect("connected");
    assert_eq!(silent.until_closed(), []);
    abused.probe();
    drop(again);
    abused.finish();
}

/// Logs in a client that never reads, so that the node's answers to its orders pile up.
fn unread(abused: &AbusedNode, user: &str, orders: u64) -> OrderClient {
    let mut client = abused.client(user, SessionSeq::HEAD);
    for first in (1..=orders).step_by(500) {
        flood(&mut client, abused.market, first..=first + 499).expect("connected");
    }
    client
}

#[test]
fn a_client_that_does_not_read_is_disconnected_after_its_fault() {
    let mut abused = AbusedNode::new(LARGE_QUEUES, 1);
    let mut client = unread(&abused, "T1", 60_000);
    client.send_raw(&[1, 2, 3]).expect("connected");
    // The node closes the connection although the client never reads the answers before the end.
    let deadline = Instant::now() + PATIENCE;
    let address = abused.process.orders;
    while connections_of(address) > 1 {
        assert!(Instant::now() < deadline, "the node keeps the connection of a client that does not read");
        abused.probe();
    }
    drop(client);
    abused.finish();
}
