//! What a client may do wrong, by mistake or on purpose: it is turned away, and nobody else notices.

mod common;

use api::binary::login::{LoginReject, SessionName};
use api::binary::orders::{Answer, CancelOrder, NewOrder, SetSession};
use api::binary::requests::Target;
use api::binary::sbe::Framed;
use api::binary::soup::PacketKind;
use api::binary::stream::SessionSeq;
use api::client::{BookFollower, ClientError, MarketClient, OrderClient, book_sync};
use book::command::{CodMode, CodScope, Side};
use book::ids::ClOrdId;
use common::abused::Abused;
use common::raw::{Raw, login_packet, unsequenced};
use common::{PASSWORD, PATIENCE, limit, next};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// What memory may grow by under abuse that leaves nothing behind.
const GROWTH_BYTES_MAX: u64 = 24 << 20;

/// Sessions that may leave a lot unread.
const PATIENT: &str = "[session]\nresend_max = 262144\nqueue_max = 262144\n";

/// The same bytes in every run (xorshift64, Marsaglia 2003).
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

/// Says `bytes` and expects nothing but the end of the connection.
fn turned_away(address: SocketAddr, bytes: &[u8]) {
    let mut raw = Raw::connect(address);
    raw.send(bytes);
    assert_eq!(raw.until_closed(), [], "{bytes:02x?} is answered by nothing but the end");
}

fn both_ports(abused: &Abused) -> [SocketAddr; 2] {
    [abused.process.orders, abused.process.market]
}

#[test]
fn garbage_closes_the_connection() {
    let mut abused = Abused::new("", 0);
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
fn a_length_that_no_packet_has_closes_the_connection() {
    let mut abused = Abused::new("", 0);
    for address in both_ports(&abused) {
        for head in [[0xff, 0xff, b'L'], [0x80, 0x00, b'L'], [0, 0, b'L'], [0, 0, 0]] {
            turned_away(address, &head);
        }
        abused.probe();
    }
    abused.finish();
}

#[test]
fn half_a_frame_and_silence_ends_with_the_silence() {
    let mut abused = Abused::new("[session]\nidle_timeout = \"2s\"\nlogin_timeout = \"1s\"\n", 1);
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
        assert!(all_closed.join().expect("no panic"), "silence is answered by nothing but the end");
    });
    abused.finish();
}

#[test]
fn bytes_one_by_one_are_as_good_as_all_at_once() {
    let abused = Abused::new("", 1);
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
fn nothing_but_a_login_is_heard_before_a_login() {
    let mut abused = Abused::new("", 0);
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
            turned_away(address, kind);
        }
    }
    abused.probe();
    abused.finish();
}

#[test]
fn what_is_no_message_ends_the_connection_and_not_the_session() {
    let mut abused = Abused::new("", 1);
    let whole = Framed::new(limit(7, abused.market, Side::Buy, 1, 1));
    let with = |offset: usize, value: u8| {
        let mut bytes = whole.as_bytes().to_vec();
        bytes[offset] = value;
        unsequenced(&bytes)
    };
    // Header fields: block length, template, schema, version; then packets that a client does not send.
    let wrong = [
        with(0, 79),
        with(2, 99),
        with(4, 0),
        with(6, 0),
        unsequenced(&[]),
        unsequenced(&whole.as_bytes()[..8]),
        unsequenced(&whole.as_bytes()[..87]),
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
    // None of it took an id or a number.
    let mut client = abused.client("T1", SessionSeq::FIRST);
    client.new_order(&limit(7, abused.market, Side::Buy, 1, 1)).expect("connected");
    let first = next(&mut client);
    assert_eq!(first.seq, Some(SessionSeq::FIRST));
    assert!(matches!(first.message, Answer::OrderAccepted(m) if m.cl_ord_id.get() == 7));
    drop(client);
    abused.finish();
}

#[test]
fn a_wrong_login_is_told_and_closed() {
    let abused = Abused::new("[limits]\nlogin_failures_max = 100\n", 1);
    let refused = |login: &[u8]| {
        let mut raw = Raw::connect(abused.process.orders);
        raw.send(login);
        let answer = raw.until_closed();
        let [(kind, why)] = &answer[..] else { panic!("{answer:?}") };
        assert_eq!(*kind, PacketKind::Rejected as u8);
        LoginReject::read(why).expect("one of two reasons")
    };
    let login = |user, password, session: &[u8], from| {
        login_packet(user, password, SessionName::new(session).expect("a name"), SessionSeq(from))
    };
    assert_eq!(refused(&login("T1", "wrong", b"", 0)), LoginReject::NotAuthorised);
    assert_eq!(refused(&login("T1", "", b"", 0)), LoginReject::NotAuthorised);
    assert_eq!(refused(&login("NOBODY", PASSWORD, b"", 0)), LoginReject::NotAuthorised);
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

/// The existence of a session must not be told to who does not know its password.
#[test]
fn a_wrong_password_is_told_as_such_whatever_session_it_names() {
    let abused = Abused::new("[limits]\nlogin_failures_max = 100\n", 1);
    let mut raw = Raw::connect(abused.process.orders);
    raw.send(&login_packet("T1", "wrong", SessionName::new(b"OTHER").expect("a name"), SessionSeq::HEAD));
    assert_eq!(raw.until_closed(), [(PacketKind::Rejected as u8, vec![b'A'])]);
    abused.finish();
}

#[test]
fn guessing_passwords_locks_nobody_else_out() {
    let mut abused = Abused::new("[limits]\nlogin_failures_max = 5\n", 1);
    let guesser = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
    let mut guesses: Vec<Raw> = (0..100).map(|_| Raw::connect_from(guesser, abused.process.orders)).collect();
    for raw in &mut guesses {
        raw.send(&login_packet("T1", "guess", SessionName::BLANK, SessionSeq::HEAD));
    }
    // A doorman with too much to do refuses; who tries again gets in while the guesses are still being told.
    let deadline = Instant::now() + PATIENCE;
    while let Err(refused) = OrderClient::connect(abused.process.orders, "T1", PASSWORD, SessionSeq::HEAD) {
        assert!(matches!(refused, ClientError::LoginRejected(LoginReject::NotAuthorised)), "{refused}");
        assert!(Instant::now() < deadline, "an honest login does not get past the guessers");
    }
    for mut raw in guesses {
        assert!(raw.until_closed().iter().all(|p| *p == (PacketKind::Rejected as u8, vec![b'A'])));
    }
    abused.probe();
    let mut late = Raw::connect_from(guesser, abused.process.orders);
    late.send(&login_packet("T1", PASSWORD, SessionName::BLANK, SessionSeq::HEAD));
    assert_ne!(late.packet().map(|p| p.0), Some(PacketKind::Accepted as u8), "the guesser stays out for a while");
    abused.finish();
}

#[test]
fn a_repeated_id_is_ignored_and_a_skipped_one_is_fine() {
    let abused = Abused::new("", 1);
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

/// Orders that each get one answer, and more of them than any buffer on the way holds.
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
    let mut abused = Abused::new("[session]\nresend_max = 4096\nqueue_max = 4096\n", 1);
    let mut client = abused.client("T1", SessionSeq::FIRST);
    // Until the node has had enough; each order is answered twice (taken, expired).
    let mut sent = 0;
    let deadline = Instant::now() + 3 * PATIENCE;
    while flood(&mut client, abused.market, sent + 1..=sent + 500).is_ok() {
        sent += 500;
        assert!(Instant::now() < deadline, "{sent} orders were answered and nothing was read");
        if sent % 20_000 == 0 {
            abused.probe();
        }
    }
    assert!(sent > 4096, "it is not memory that it fell out of: {sent}");
    // What had arrived is still in the socket; what follows comes after a new login.
    let mut told = Vec::new();
    while let Ok(Some(received)) = client.poll_raw(PATIENCE) {
        told.push(received.message.to_vec());
    }
    drop(client);
    let head = abused.client("T1", SessionSeq::HEAD).next_seq();
    assert!(head.0 > told.len() as u64 + 1, "there is more than what was read");
    let mut again = abused.client("T1", SessionSeq::FIRST);
    let mut whole = Vec::new();
    while again.next_seq() < head {
        whole.push(again.poll_raw(PATIENCE).expect("connected").expect("a message in time").message.to_vec());
    }
    assert!(told == whole[..told.len()], "the stream is the same, byte for byte");
    let taken = whole.iter().filter_map(|m| match Answer::read(m) {
        Ok(Answer::OrderAccepted(m)) => Some(m.cl_ord_id.get()),
        _ => None,
    });
    assert!(taken.eq(1..=whole.len() as u64 / 2), "every order is in it, in order, once");
    drop(again);
    abused.finish();
}

/// A session with a long way to catch up is not a slow reader.
#[test]
fn a_session_far_behind_catches_up_where_a_slow_reader_would_be_cut() {
    let abused = Abused::new("[session]\nresend_max = 16384\nqueue_max = 64\n", 1);
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

/// Stage times come between the numbered packets; a client that reads in its own time must still find whole packets.
#[test]
fn stage_times_leave_every_packet_whole_however_slowly_they_are_read() {
    let abused = Abused::new(PATIENT, 1);
    let mut client = abused.client("T1", SessionSeq::HEAD);
    let set = SetSession::cancel_on_disconnect(ClOrdId(1), CodMode::Off, CodScope::Session, 0);
    client.set_session(&SetSession { stage_times: 1, ..set }).expect("connected");
    assert!(matches!(next(&mut client).message, Answer::SessionState(_)));
    // More than the sockets hold, so that answers pile up in the node while it waits for us.
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

/// All sessions at once bring more than the ring to the engine holds.
#[test]
fn more_requests_than_the_engine_takes_wait_in_their_sockets() {
    const SESSIONS: u32 = 96;
    const REQUESTS: u64 = 3_000;
    let mut abused = Abused::new("", SESSIONS);
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
            scope.spawn(move || socket.write_all(requests).expect("the node takes everything in its time"));
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
fn resets_leave_nothing_behind() {
    let mut abused = Abused::new("", 1);
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
    let mut abused = Abused::new("[session]\nlogin_timeout = \"500ms\"\n", 1);
    let round = |abused: &mut Abused, seed: u64| {
        for address in both_ports(abused) {
            for n in 0..60 {
                let mut raw = Raw::connect(address);
                raw.send(&garbage(seed + n, 40_000));
                raw.until_closed();
                Raw::connect(address).reset();
                turned_away(address, &[0xff, 0xff, b'U']);
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
fn an_address_has_its_number_of_connections() {
    let mut abused = Abused::new("[limits]\nconnections_per_address_max = 8\n", 0);
    let there = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5));
    let mut open: Vec<Raw> = (0..8).map(|_| Raw::connect_from(there, abused.process.orders)).collect();
    let mut beyond = Raw::connect_from(there, abused.process.orders);
    assert_eq!(beyond.until_closed(), []);
    abused.probe();
    // One that goes makes room for another, which is heard: its wrong login is answered.
    drop(open.pop());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut raw = Raw::connect_from(there, abused.process.orders);
        raw.send(&login_packet("NOBODY", PASSWORD, SessionName::BLANK, SessionSeq::HEAD));
        if raw.until_closed() == [(PacketKind::Rejected as u8, vec![b'A'])] {
            break;
        }
        assert!(Instant::now() < deadline, "a connection that ended still counts");
    }
    abused.finish();
}

#[test]
fn connections_beyond_the_limit_are_closed_at_once() {
    let mut abused = Abused::new("[limits]\nconnections_max = 16\nconnections_per_address_max = 16\n", 0);
    // The probe has one of them.
    let open: Vec<Raw> = (0..15).map(|_| Raw::connect(abused.process.orders)).collect();
    let mut beyond: Vec<Raw> = (0..40).map(|_| Raw::connect(abused.process.orders)).collect();
    for raw in &mut beyond {
        assert_eq!(raw.until_closed(), []);
    }
    abused.probe();
    drop(open);
    abused.finish();
}

#[test]
fn a_half_close_is_an_end() {
    let mut abused = Abused::new("", 1);
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

/// Makes a client that takes nothing out of its socket and lets the node's answers to it pile up.
fn clogged(abused: &Abused, user: &str, orders: u64) -> OrderClient {
    let mut client = abused.client(user, SessionSeq::HEAD);
    for first in (1..=orders).step_by(500) {
        flood(&mut client, abused.market, first..=first + 499).expect("connected");
    }
    client
}

#[test]
fn who_says_goodbye_and_does_not_read_is_gone_all_the_same() {
    let mut abused = Abused::new(PATIENT, 1);
    let mut client = clogged(&abused, "T1", 60_000);
    client.send_raw(&[1, 2, 3]).expect("connected");
    // The slot is free again although the last words were never read: the session's other connection sees its end.
    let deadline = Instant::now() + PATIENCE;
    let address = abused.process.orders;
    while connections_of(address) > 1 {
        assert!(Instant::now() < deadline, "the node keeps the connection of who does not read");
        abused.probe();
    }
    drop(client);
    abused.finish();
}

/// Connections that the kernel counts as established at the node's end of `address`.
fn connections_of(address: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("procfs");
    let local = format!("0100007F:{:04X}", address.port());
    table.lines().filter(|line| line.split_whitespace().nth(1) == Some(&local) && line.contains(" 01 ")).count()
}

#[test]
fn market_readers_that_never_read_do_not_keep_others_out() {
    let mut abused = Abused::new("[session]\nidle_timeout = \"5s\"\n", 1);
    // Enough resting orders for a snapshot that no socket holds.
    const ORDERS: u64 = 100_000;
    let maker = rest(&abused, "T1", ORDERS);
    let mut sleepers: Vec<Raw> = (0..8)
        .map(|_| {
            let mut raw = Raw::connect(abused.process.market);
            raw.send(&login_packet("any", "", SessionName::SNAP, SessionSeq::FIRST));
            raw
        })
        .collect();
    let deadline = Instant::now() + PATIENCE;
    let follower = loop {
        // The sleepers stay alive for the protocol: only their reading is missing.
        sleepers.iter_mut().for_each(|raw| raw.send(&[0, 1, b'R']));
        match book_sync(abused.process.market) {
            Ok(follower) => break follower,
            Err(ClientError::LoginRejected(_)) => {
                assert!(Instant::now() < deadline, "eight who do not read are enough")
            }
            Err(error) => panic!("{error}"),
        }
        abused.probe();
    };
    assert_eq!(order_count(&follower) as u64, ORDERS);
    drop((sleepers, maker, follower));
    abused.finish();
}

fn order_count(follower: &BookFollower) -> usize {
    follower.depth().books().map(|book| book.order_count()).sum()
}

/// Orders of a session that rest.
fn rest(abused: &Abused, user: &str, orders: u64) -> OrderClient {
    let mut maker = abused.client(user, SessionSeq::HEAD);
    let mut known = 0;
    for id in 1..=orders {
        maker.queue(&limit(id, abused.market, Side::Sell, 100 + (id % 500) as i64, 1)).expect("connected");
        while known + 2_000 < id {
            next(&mut maker);
            known += 1;
        }
    }
    maker.flush().expect("connected");
    for _ in known..orders {
        next(&mut maker);
    }
    maker
}

/// What the node has handed to the kernel is on its way, also when the client has something to say meanwhile.
#[test]
fn a_snapshot_is_whole_though_its_reader_speaks_and_reads_late() {
    let abused = Abused::new("", 1);
    const ORDERS: u64 = 20_000;
    let maker = rest(&abused, "T1", ORDERS);
    let address = abused.process.market;
    let mut raw = Raw::connect(address);
    raw.send(&login_packet("any", "", SessionName::SNAP, SessionSeq::FIRST));
    // The node's end of the connection is no longer established: all has been said.
    let deadline = Instant::now() + PATIENCE;
    while connections_of(address) > 0 {
        assert!(Instant::now() < deadline, "the snapshot fits the sockets and is sent");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    for _ in 0..10 {
        raw.send(&[0, 1, b'R']);
    }
    let packets = raw.until_closed();
    assert_eq!(packets.last().map(|p| p.0), Some(PacketKind::EndOfSession as u8), "the end was lost");
    assert!(packets.len() as u64 > ORDERS);
    drop((raw, maker));
    abused.finish();
}
