//! Ends of sessions with a real node: what is switched on in the last write counts, and what operators do to a session
//! ends its connection, and a new life has nothing of the one before.

mod common;

use api::binary::login::{LoginReject, SessionName};
use api::binary::orders::{Answer, SetSession, StatusRequest};
use api::binary::sbe::Framed;
use api::binary::soup::PacketKind;
use api::binary::stream::SessionSeq;
use api::client::{ClientError, OrderClient};
use book::command::{Admin, CodMode, CodScope, Side};
use book::event::Event;
use book::ids::{ClOrdId, MarketId, SessionId};
use book::run::LifeTag;
use common::process::Start;
use common::raw::{Raw, login_packet, unsequenced};
use common::{NodeDir, PASSWORD, RunningNode, limit, next, quick_hash, wait_until};
use zerocopy::IntoBytes;

const ROUNDS: u64 = 20;

fn traders(running: &RunningNode) -> MarketId {
    let market = running.add_market();
    running.add_trader("MM1");
    running.add_trader("MM2");
    market
}

fn set(mode: CodMode, window_ms: u32) -> SetSession {
    SetSession::cancel_on_disconnect(ClOrdId(1), mode, CodScope::Session, window_ms)
}

fn packet<M: api::binary::sbe::Message>(message: M) -> Vec<u8> {
    unsequenced(Framed::new(message).as_bytes())
}

/// Waits for sequenced messages.
fn read(raw: &mut Raw, count: usize) {
    for _ in 0..count {
        let packet = raw.packet().expect("the node answers");
        assert_eq!(packet.0, PacketKind::Sequenced as u8);
    }
}

/// Open orders of the session, as it says itself.
fn open_orders(running: &RunningNode, user: &str) -> u32 {
    let mut client = running.connect(user, SessionSeq::HEAD);
    let asked = ClOrdId(1_000);
    let set = SetSession::cancel_on_disconnect(asked, CodMode::Off, CodScope::Session, 0);
    client.set_session(&set).expect("connected");
    loop {
        // Answers of the connection before it may come first.
        if let Answer::SessionState(state) = next(&mut client).message
            && state.req_cl_ord_id.get() == asked.0
        {
            return state.open_orders.get();
        }
    }
}

fn is_away(running: &RunningNode, session: u32) -> bool {
    running.node().status.sessions_on.get(SessionId(session)).is_none()
}

/// The client switches cancel-on-disconnect on and its line breaks, in one write: by a FIN, or by a reset.
#[test]
fn a_switch_in_the_last_write_counts_twenty_times_of_twenty() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = traders(&running);
    let mut left = Vec::new();
    for round in 1..=ROUNDS {
        let mut raw = Raw::login(running.orders(), "MM1", SessionSeq::HEAD);
        raw.send(&[packet(set(CodMode::Off, 0)), packet(limit(round, market, Side::Buy, 10, 1))].concat());
        read(&mut raw, 2);
        raw.send(&packet(set(CodMode::Both, 0)));
        if round % 2 == 0 {
            drop(raw)
        } else {
            raw.reset()
        }
        wait_until("the session has ended", || is_away(&running, 1));
        left.push(open_orders(&running, "MM1"));
        wait_until("the session has ended", || is_away(&running, 1));
    }
    assert_eq!(left, [0; ROUNDS as usize], "orders that are left after each round");
    assert_eq!(running.stop(), 0);
}

/// So does what is switched off, and a window.
#[test]
fn a_window_in_the_last_write_counts() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = traders(&running);
    let mut raw = Raw::login(running.orders(), "MM1", SessionSeq::HEAD);
    raw.send(&[packet(set(CodMode::Both, 0)), packet(limit(1, market, Side::Buy, 10, 1))].concat());
    read(&mut raw, 2);
    raw.send(&packet(set(CodMode::Both, 3_600_000)));
    drop(raw);
    wait_until("the session has ended", || is_away(&running, 1));
    assert_eq!(open_orders(&running, "MM1"), 1, "the window has not ended");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_new_login_keeps_the_orders_of_the_connection_that_it_displaces() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = traders(&running);
    let mut first = running.connect("MM1", SessionSeq::HEAD);
    first.set_session(&set(CodMode::Both, 0)).expect("connected");
    first.new_order(&limit(1, market, Side::Buy, 10, 1)).expect("connected");
    assert!(matches!(next(&mut first).message, Answer::SessionState(_)));
    assert!(matches!(next(&mut first).message, Answer::OrderAccepted(_)));
    let mut second = running.connect("MM1", SessionSeq::HEAD);
    drop(first);
    second.status(&StatusRequest::all(ClOrdId(1), MarketId::NONE)).expect("connected");
    assert!(matches!(next(&mut second).message, Answer::OrderStatus(status) if status.cl_ord_id.get() == 1));
    drop(second);
    wait_until("the session has ended", || is_away(&running, 1));
    assert_eq!(open_orders(&running, "MM1"), 0);
    assert_eq!(running.stop(), 0);
}

/// A node that is killed with connections open: after the start their sessions have their window, then their orders are
/// cancelled, as the protocol's page says.
#[test]
fn after_a_kill_sessions_that_stay_away_lose_their_orders_when_their_window_ends() {
    let node_dir = NodeDir::with("[session]\nrestart_window = \"300ms\"\n");
    let running = node_dir.start();
    let market = traders(&running);
    assert_eq!(running.stop(), 0);
    let process = Start::new(&node_dir.config_file()).run();
    let login = |user: &str| OrderClient::connect(process.orders, user, PASSWORD, SessionSeq::HEAD).expect("logged in");
    let mut clients = [login("MM1"), login("MM2")];
    for (client, mode) in clients.iter_mut().zip([CodMode::Both, CodMode::Off]) {
        client.set_session(&set(mode, 0)).expect("connected");
        client.new_order(&limit(1, market, Side::Buy, 10, 1)).expect("connected");
        assert!(matches!(next(client).message, Answer::SessionState(_)));
        assert!(matches!(next(client).message, Answer::OrderAccepted(_)));
    }
    assert_eq!(process.kill().signal, Some(9));
    let running = node_dir.start();
    let resting = || running.follow().depth().books().map(|book| book.order_count()).sum::<usize>();
    wait_until("the window has ended", || resting() == 1);
    assert_eq!((open_orders(&running, "MM1"), open_orders(&running, "MM2")), (0, 1));
    assert_eq!(running.stop(), 0);
}

fn use_up_ids(client: &mut OrderClient, market: MarketId) {
    client.new_order(&limit(i64::MAX as u64, market, Side::Buy, 10, 1)).expect("connected");
    assert!(matches!(next(client).message, Answer::OrderAccepted(_)));
    client.new_order(&limit(1, market, Side::Buy, 10, 1)).expect("connected");
    client.status(&StatusRequest::all(ClOrdId(1), MarketId::NONE)).expect("connected");
    assert!(matches!(next(client).message, Answer::OrderStatus(_)), "the order before it is ignored: no id is left");
}

fn is_rejected(outcome: Result<OrderClient, ClientError>, why: LoginReject) -> bool {
    matches!(outcome, Err(ClientError::LoginRejected(reason)) if reason == why)
}

/// The text for a human reader, and whether the stream has ended, of a connection that the node has ended.
fn ended_with(raw: &mut Raw) -> (String, bool) {
    let packets = raw.until_closed();
    let text = packets.iter().find(|packet| packet.0 == PacketKind::Debug as u8);
    let text = text.map(|packet| String::from_utf8_lossy(&packet.1).into_owned()).unwrap_or_default();
    (text, packets.iter().any(|packet| packet.0 == PacketKind::EndOfSession as u8))
}

/// A session that has used its last id can do nothing more, until it gets a new life; which outlives restarts.
#[test]
fn a_session_without_an_id_left_goes_on_in_a_new_life() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = traders(&running);
    let mut client = running.connect("MM1", SessionSeq::HEAD);
    let (old, first) = (client.session_name(), client.next_seq());
    use_up_ids(&mut client, market);
    let seen = client.next_seq();
    drop(client);
    let mut raw = Raw::login(running.orders(), "MM1", SessionSeq::HEAD);
    let events = running.admin(Admin::BeginSessionLife { session: SessionId(1), tag: LifeTag(77) });
    assert!(matches!(events[..], [Event::Canceled(_), Event::SessionLifeBegan { lives: 1, .. }]), "{events:?}");
    let (text, has_ended) = ended_with(&mut raw);
    assert!(text.contains("new life") && has_ended, "{text:?}");
    let life = SessionName::of_life(SessionId(1), LifeTag(77));
    let mut node = Some(running);
    for round in 1..=2 {
        let running = node.take().expect("it runs");
        // The old stream is refused by its name and by its numbers.
        let mut by_name = Raw::connect(running.orders());
        by_name.send(&login_packet("MM1", PASSWORD, old, SessionSeq::HEAD));
        assert_eq!(by_name.packet(), Some((PacketKind::Rejected as u8, b"S".to_vec())));
        for number in [SessionSeq(first.0 + 1), seen] {
            let by_number = OrderClient::connect(running.orders(), "MM1", PASSWORD, number);
            assert!(is_rejected(by_number, LoginReject::NoSession), "{number:?}");
        }
        let mut client = running.connect("MM1", SessionSeq::HEAD);
        assert_eq!(client.session_name(), life);
        assert!(seen.0 + (1 << 34) <= client.next_seq().0);
        client.new_order(&limit(round, market, Side::Buy, 10, 1)).expect("connected");
        assert!(matches!(next(&mut client).message, Answer::OrderAccepted(m) if m.cl_ord_id.get() == round));
        drop(client);
        // Every message of the life can be read again from its first one on.
        let mut again = running.connect("MM1", SessionSeq::FIRST);
        for id in 1..=round {
            assert!(matches!(next(&mut again).message, Answer::OrderAccepted(m) if m.cl_ord_id.get() == id));
        }
        drop(again);
        let mut other = running.connect("MM2", SessionSeq::HEAD);
        assert_eq!(other.session_name().as_str(), "PIN0000002");
        other.new_order(&limit(round, market, Side::Buy, 9, 1)).expect("connected");
        assert!(matches!(next(&mut other).message, Answer::OrderAccepted(_)));
        assert_eq!(running.stop(), 0);
        node = Some(node_dir.start());
    }
}

#[test]
fn a_new_password_ends_the_connection_and_the_old_one_is_forgotten() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    traders(&running);
    let mut raw = Raw::login(running.orders(), "MM1", SessionSeq::HEAD);
    let password_hash = quick_hash("another");
    running.admin(Admin::SetSessionPassword { session: SessionId(1), password_hash });
    let (text, has_ended) = ended_with(&mut raw);
    assert!(text.contains("password") && !has_ended, "{text:?}");
    let login = |password| OrderClient::connect(running.orders(), "MM1", password, SessionSeq::HEAD);
    assert!(is_rejected(login(PASSWORD), LoginReject::NotAuthorised));
    assert!(login("another").is_ok());
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_disconnected_session_comes_back_and_a_removed_one_does_not() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = traders(&running);
    let mut raw = Raw::login(running.orders(), "MM1", SessionSeq::HEAD);
    raw.send(&[packet(set(CodMode::Off, 0)), packet(limit(1, market, Side::Buy, 10, 1))].concat());
    read(&mut raw, 2);
    running.admin(Admin::DisconnectSession { session: SessionId(1) });
    let (text, has_ended) = ended_with(&mut raw);
    assert!(text.contains("disconnected") && !has_ended, "{text:?}");
    let mut raw = Raw::login(running.orders(), "MM1", SessionSeq::HEAD);
    let events = running.admin(Admin::RemoveSession { session: SessionId(1) });
    assert!(matches!(events[..], [Event::Canceled(_), Event::SessionRemoved { .. }]), "{events:?}");
    let (text, has_ended) = ended_with(&mut raw);
    assert!(text.contains("removed") && has_ended, "{text:?}");
    let again = OrderClient::connect(running.orders(), "MM1", PASSWORD, SessionSeq::HEAD);
    assert!(is_rejected(again, LoginReject::NotAuthorised));
    assert_eq!(running.stop(), 0);
    let running = node_dir.start();
    let again = OrderClient::connect(running.orders(), "MM1", PASSWORD, SessionSeq::HEAD);
    assert!(is_rejected(again, LoginReject::NotAuthorised), "nor after a restart");
    assert_eq!(running.stop(), 0);
}
