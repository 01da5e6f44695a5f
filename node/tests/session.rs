//! The guarantees of a session: heartbeats, cancel on disconnect, throttle, kill switch, stage times, and a stream that
//! is the same each time it is requested.

mod common;

use api::binary::orders::{
    Answer, CancelOrder, EXEC_PERSIST_ON_DISCONNECT, MassCancel, NewOrder, ReplaceOrder, SetSession, TIF_IOC,
};
use api::binary::reasons::wire_of;
use api::binary::requests::Target;
use api::binary::soup::PacketKind;
use api::binary::stream::SessionSeq;
use api::client::{ClientError, OrderClient};
use book::command::{Admin, CodMode, CodScope, MassScope, Side, Throttle};
use book::ids::{ClOrdId, MarketId, SessionId};
use book::reject::RejectReason;
use common::raw::Raw;
use common::{NodeDir, PATIENCE, RunningNode, limit, next, price, qty, wait_until};
use std::time::{Duration, Instant};

/// Adds a market and the traders MM1 and MM2, each with an account.
fn traders(running: &RunningNode) -> MarketId {
    let market = running.add_market();
    running.add_trader("MM1");
    running.add_trader("MM2");
    market
}

/// Sets the session's cancel on disconnect and rests two orders, one of which persists on a disconnect.
fn rest_two(client: &mut OrderClient, market: MarketId, mode: CodMode, scope: CodScope, window_ms: u32) {
    client.set_session(&SetSession::cancel_on_disconnect(ClOrdId(1), mode, scope, window_ms)).expect("connected");
    assert!(matches!(next(client).message, Answer::SessionState(_)));
    client.new_order(&limit(1, market, Side::Buy, 10, 1)).expect("connected");
    let persistent = NewOrder { exec_inst: EXEC_PERSIST_ON_DISCONNECT, ..limit(2, market, Side::Buy, 11, 1) };
    client.new_order(&persistent).expect("connected");
    for _ in 0..2 {
        assert!(matches!(next(client).message, Answer::OrderAccepted(_)));
    }
}

/// Number of open orders in the public book.
fn resting(running: &RunningNode) -> usize {
    running.follow().depth().books().map(|book| book.order_count()).sum()
}

/// Waits for several housekeeping periods of the node, by its own clock.
fn wait_for_housekeeping(running: &RunningNode) {
    let status = &running.node().status;
    let from = status.gateway.at_ns.get();
    wait_until("the gateway's clock advances", || from + 300_000_000 < status.gateway.at_ns.get());
}

/// The ways in which a connection can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Fin,
    Reset,
    Logout,
    Protocol,
    /// The connection stays open and the client sends nothing more.
    Silence,
}

/// Ends the connection in one of these ways, and waits until the node has closed the session.
fn end(running: &RunningNode, mut client: OrderClient, how: End) {
    let status = &running.node().status;
    let open_before = status.sessions_open.get();
    let kept = match how {
        End::Fin => {
            drop(client);
            None
        }
        End::Reset => {
            // Unread bytes in the client's socket turn its close into a reset.
            let answered = status.rejects.get();
            client.new_order(&limit(3, MarketId(99), Side::Buy, 1, 1)).expect("connected");
            wait_until("the order is answered", || answered < status.rejects.get());
            drop(client);
            None
        }
        End::Logout => {
            client.logout().expect("connected");
            wait_until("the session is closed", || status.sessions_open.get() < open_before);
            return;
        }
        End::Protocol => {
            client.send_raw(&[9; 40]).expect("connected");
            Some(client)
        }
        End::Silence => Some(client),
    };
    wait_until("the session is closed", || status.sessions_open.get() < open_before);
    drop(kept);
}

/// For each case, the number of orders that still rest of two, one of which persists, after a session with this mode
/// has ended in this way.
fn resting_after(cases: &[(CodMode, End)]) -> Vec<(CodMode, End, u32)> {
    let node_dir = NodeDir::with("[session]\nidle_timeout = \"2s\"\n");
    let running = node_dir.start();
    let market = running.add_market();
    let users: Vec<String> = (0..cases.len()).map(|idx| format!("C{idx}")).collect();
    for (user, &(mode, how)) in users.iter().zip(cases) {
        running.add_trader(user);
        let mut client = running.connect(user, SessionSeq::HEAD);
        rest_two(&mut client, market, mode, CodScope::Session, 0);
        end(&running, client, how);
    }
    wait_for_housekeeping(&running);
    let open_orders = |user: &String| {
        let mut client = running.connect(user, SessionSeq::HEAD);
        let ask = SetSession::cancel_on_disconnect(ClOrdId(9), CodMode::Off, CodScope::Session, 0);
        client.set_session(&ask).expect("connected");
        match next(&mut client).message {
            Answer::SessionState(state) => state.open_orders.get(),
            other => panic!("{other:?}"),
        }
    };
    users.iter().zip(cases).map(|(user, &(mode, how))| (mode, how, open_orders(user))).collect()
}

#[test]
fn cancel_on_disconnect_follows_its_mode() {
    let ends = [End::Fin, End::Reset, End::Protocol];
    let modes = [(CodMode::Off, 2), (CodMode::OnDisconnect, 1), (CodMode::OnLogout, 2), (CodMode::Both, 1)];
    let expected: Vec<_> = ends.iter().flat_map(|&how| modes.map(|(mode, left)| (mode, how, left))).collect();
    let cases: Vec<_> = expected.iter().map(|&(mode, how, _)| (mode, how)).collect();
    assert_eq!(resting_after(&cases), expected);
}

#[test]
fn cancel_on_logout_follows_its_mode() {
    let modes = [(CodMode::Off, 2), (CodMode::OnDisconnect, 2), (CodMode::OnLogout, 1), (CodMode::Both, 1)];
    let expected = modes.map(|(mode, left)| (mode, End::Logout, left));
    assert_eq!(resting_after(&expected.map(|(mode, how, _)| (mode, how))), expected);
}

#[test]
fn silence_is_a_disconnect() {
    let expected = [(CodMode::OnDisconnect, End::Silence, 1)];
    assert_eq!(resting_after(&expected.map(|(mode, how, _)| (mode, how))), expected);
}

/// A logout has its effect also when a login follows it at once.
#[test]
fn an_immediate_login_does_not_undo_a_logout_without_a_window() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = traders(&running);
    let mut client = running.connect("MM1", SessionSeq::HEAD);
    rest_two(&mut client, market, CodMode::Both, CodScope::Session, 0);
    let from = client.next_seq();
    client.logout().expect("connected");
    let status = &running.node().status;
    wait_until("the session is closed", || status.sessions_open.get() == 0);
    let mut again = running.connect("MM1", from);
    assert!(matches!(next(&mut again).message, Answer::OrderCanceled(m) if m.cl_ord_id.get() == 1));
    assert_eq!(resting(&running), 1);
}

#[test]
fn account_scope_cancels_the_other_sessions_orders() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = running.add_market();
    let account = running.add_trader("MM1");
    running.add_session(account, "MM2", CodMode::Off);
    let mut other = running.connect("MM2", SessionSeq::HEAD);
    other.new_order(&limit(1, market, Side::Buy, 10, 1)).expect("connected");
    assert!(matches!(next(&mut other).message, Answer::OrderAccepted(_)));
    let mut client = running.connect("MM1", SessionSeq::HEAD);
    rest_two(&mut client, market, CodMode::Both, CodScope::Account, 0);
    drop(client);
    let canceled = next(&mut other);
    assert!(matches!(canceled.message, Answer::OrderCanceled(m) if m.reason == 3), "{canceled:?}");
    wait_until("one order persists", || resting(&running) == 1);
}

#[test]
fn a_session_that_reconnects_within_its_window_keeps_its_orders() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = traders(&running);
    let mut client = running.connect("MM1", SessionSeq::HEAD);
    rest_two(&mut client, market, CodMode::Both, CodScope::Session, 60_000);
    drop(client);
    let status = &running.node().status;
    wait_until("the session is closed", || status.sessions_open.get() == 0);
    wait_for_housekeeping(&running);
    let mut client = running.connect("MM1", SessionSeq::HEAD);
    wait_for_housekeeping(&running);
    assert_eq!(resting(&running), 2);
    // A session that does not reconnect in time loses them at the end of the window and not before.
    client
        .set_session(&SetSession::cancel_on_disconnect(ClOrdId(2), CodMode::Both, CodScope::Session, 500))
        .expect("connected");
    assert!(matches!(next(&mut client).message, Answer::SessionState(m) if m.cod_window_ms.get() == 500));
    let from = client.next_seq();
    let left_at = Instant::now();
    drop(client);
    wait_until("one order persists", || resting(&running) == 1);
    assert!(left_at.elapsed() >= Duration::from_millis(500), "after {:?}", left_at.elapsed());
    let mut client = running.connect("MM1", from);
    assert!(matches!(next(&mut client).message, Answer::OrderCanceled(m) if m.cl_ord_id.get() == 1 && m.reason == 3));
}

#[test]
fn a_new_login_replaces_the_connection_and_nothing_is_cancelled() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = traders(&running);
    let mut first = running.connect("MM1", SessionSeq::HEAD);
    rest_two(&mut first, market, CodMode::Both, CodScope::Session, 0);
    let mut second = running.connect("MM1", SessionSeq::HEAD);
    let ended = first.poll(PATIENCE);
    assert!(matches!(ended, Err(ClientError::Closed { .. } | ClientError::Io { .. })), "{ended:?}");
    drop(first);
    wait_for_housekeeping(&running);
    assert_eq!(resting(&running), 2);
    assert_eq!(running.node().status.sessions_open.get(), 1);
    second.new_order(&limit(3, market, Side::Buy, 12, 1)).expect("connected");
    assert!(matches!(next(&mut second).message, Answer::OrderAccepted(_)));
}

#[test]
fn after_a_restart_sessions_have_their_window() {
    let node_dir = NodeDir::with("[session]\nrestart_window = \"1s\"\n");
    let running = node_dir.start();
    let market = traders(&running);
    let mut back = running.connect("MM1", SessionSeq::HEAD);
    rest_two(&mut back, market, CodMode::Both, CodScope::Session, 0);
    let mut away = running.connect("MM2", SessionSeq::HEAD);
    rest_two(&mut away, market, CodMode::Both, CodScope::Session, 0);
    let from = away.next_seq();
    // The node stops while its clients are connected, so it ends the connections and not they.
    assert_eq!(running.stop(), 0);
    let started_at = Instant::now();
    let running = node_dir.start();
    let mut back = running.connect("MM1", back.next_seq());
    wait_until("the order of the disconnected session is cancelled", || resting(&running) == 3);
    assert!(started_at.elapsed() >= Duration::from_secs(1), "after {:?}", started_at.elapsed());
    let mut away = running.connect("MM2", from);
    assert!(matches!(next(&mut away).message, Answer::OrderCanceled(m) if m.cl_ord_id.get() == 1 && m.reason == 3));
    assert!(matches!(back.poll(Duration::ZERO), Ok(None)), "the other session receives nothing");
}

#[test]
fn heartbeats_keep_a_connection_open_and_silence_closes_it() {
    let node_dir = NodeDir::with("[session]\nheartbeat = \"100ms\"\nidle_timeout = \"2s\"\n");
    let running = node_dir.start();
    traders(&running);
    let mut raw = Raw::login(running.orders(), "MM1", SessionSeq::HEAD);
    let logged_in = Instant::now();
    // Longer than the idle timeout, with nothing but heartbeats in both directions.
    while logged_in.elapsed() < Duration::from_millis(2_500) {
        assert_eq!(raw.any_packet(), Some((PacketKind::ServerHeartbeat as u8, vec![])));
        raw.send(&[0, 1, PacketKind::ClientHeartbeat as u8]);
    }
    let silent_from = Instant::now();
    while let Some(packet) = raw.any_packet() {
        assert_eq!(packet.0, PacketKind::ServerHeartbeat as u8);
    }
    let silent = silent_from.elapsed();
    assert!((Duration::from_millis(1_900)..Duration::from_secs(6)).contains(&silent), "closed after {silent:?}");
}

#[test]
fn the_throttle_refuses_orders_and_never_cancels() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = traders(&running);
    let throttle = Throttle { orders_per_second: 1, burst: 3 };
    running.admin(Admin::SetSessionThrottle { session: SessionId(1), throttle });
    let mut client = running.connect("MM1", SessionSeq::HEAD);
    for id in 1..=6 {
        client.queue(&limit(id, market, Side::Buy, 10, 1)).expect("connected");
    }
    client.flush().expect("connected");
    let mut accepted = 0;
    for _ in 0..6 {
        match next(&mut client).message {
            Answer::OrderAccepted(_) => accepted += 1,
            Answer::OrderRejected(m) => assert_eq!(m.reason.get(), wire_of(RejectReason::Throttled)),
            other => panic!("{other:?}"),
        }
    }
    assert!((3..6).contains(&accepted), "{accepted} of six within a burst of three");
    for id in 1..=3 {
        client.cancel(&CancelOrder::new(ClOrdId(id), Target::ClOrdId(ClOrdId(id)), market)).expect("connected");
        assert!(matches!(next(&mut client).message, Answer::OrderCanceled(m) if m.cl_ord_id.get() == id));
    }
    // The id of a refused order is used: sent again, the order has no answer.
    client.new_order(&limit(6, market, Side::Buy, 10, 1)).expect("connected");
    client.cancel(&CancelOrder::new(ClOrdId(9), Target::ClOrdId(ClOrdId(9)), market)).expect("connected");
    assert!(matches!(next(&mut client).message, Answer::CancelRejected(_)));
}

#[test]
fn a_rejected_order_uses_its_id() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = traders(&running);
    let mut client = running.connect("MM1", SessionSeq::HEAD);
    let refused = [
        limit(1, MarketId(77), Side::Buy, 10, 1),
        NewOrder { side: 9, ..limit(2, market, Side::Buy, 10, 1) },
        NewOrder { min_qty_e8: 5.into(), ..limit(3, market, Side::Buy, 10, 1) },
        limit(4, market, Side::Buy, 1_000_000_000, 1_000_000),
    ];
    for order in &refused {
        client.new_order(order).expect("connected");
        let answer = next(&mut client).message;
        assert!(matches!(answer, Answer::OrderRejected(m) if m.cl_ord_id == order.cl_ord_id), "{answer:?}");
    }
    for id in 1..=5 {
        client.new_order(&limit(id, market, Side::Buy, 10, 1)).expect("connected");
    }
    assert!(matches!(next(&mut client).message, Answer::OrderAccepted(m) if m.cl_ord_id.get() == 5));
}

#[test]
fn the_kill_switch_survives_reconnect_and_restart() {
    let node_dir = NodeDir::new();
    let mut running = node_dir.start();
    let market = traders(&running);
    let mut client = running.connect("MM1", SessionSeq::HEAD);
    client.new_order(&limit(1, market, Side::Buy, 10, 1)).expect("connected");
    assert!(matches!(next(&mut client).message, Answer::OrderAccepted(_)));
    let kill = MassCancel { block_new_orders: 1, ..MassCancel::all(ClOrdId(2), MassScope::Session) };
    client.mass_cancel(&kill).expect("connected");
    assert!(matches!(next(&mut client).message, Answer::OrderCanceled(_)));
    assert!(matches!(next(&mut client).message, Answer::MassCancelReport(m) if m.kill_switch_active == 1));
    let mut id = 10;
    let mut still_refused = |running: &RunningNode| {
        let mut client = running.connect("MM1", SessionSeq::HEAD);
        id += 1;
        client.new_order(&limit(id, market, Side::Buy, 10, 1)).expect("connected");
        let answer = next(&mut client).message;
        let killed = wire_of(RejectReason::KillSwitch);
        assert!(matches!(answer, Answer::OrderRejected(m) if m.reason.get() == killed), "{answer:?}");
    };
    still_refused(&running);
    drop(client);
    still_refused(&running);
    assert_eq!(running.stop(), 0);
    running = node_dir.start();
    still_refused(&running);
}

#[test]
fn stage_times_are_sent_when_requested() {
    for threads in ["single", "pipeline"] {
        stage_times_are_sent(&NodeDir::with_threads(threads, "").start());
    }
}

fn stage_times_are_sent(running: &RunningNode) {
    let market = traders(running);
    let mut client = running.connect("MM1", SessionSeq::HEAD);
    client.new_order(&limit(1, market, Side::Buy, 10, 1)).expect("connected");
    assert!(matches!(next(&mut client).message, Answer::OrderAccepted(_)), "stage times were not requested yet");
    let set = SetSession::cancel_on_disconnect(ClOrdId(1), CodMode::Off, CodScope::Session, 0);
    client.set_session(&SetSession { stage_times: 1, ..set }).expect("connected");
    assert!(matches!(next(&mut client).message, Answer::SessionState(_)));
    client.new_order(&limit(2, market, Side::Buy, 10, 1)).expect("connected");
    let (mut accepted, mut times) = (None, None);
    while accepted.is_none() || times.is_none() {
        let received = next(&mut client);
        match received.message {
            Answer::OrderAccepted(m) => accepted = Some(m),
            Answer::StageTimes(m) => {
                assert_eq!(received.seq, None, "stage times have no sequence number");
                times = Some(m);
            }
            other => panic!("{other:?}"),
        }
    }
    let (accepted, times) =
        (accepted.expect("the loop above waited for it"), times.expect("the loop above waited for it"));
    assert_eq!((times.cl_ord_id, times.exec_id), (accepted.cl_ord_id, accepted.exec_id));
    assert_eq!(times.sequenced_time_ns, accepted.transact_time_ns);
    assert_eq!(times.received_time_ns, accepted.gateway_in_time_ns);
    let in_order = [times.received_time_ns, times.sequenced_time_ns, times.durable_time_ns, times.released_time_ns];
    assert!(in_order.is_sorted_by_key(|t| t.get()), "{times:?}");
    assert_ne!(times.received_time_ns.get(), 0);
    // A cancel that is refused has its times too.
    client.cancel(&CancelOrder::new(ClOrdId(7), Target::ClOrdId(ClOrdId(99)), market)).expect("connected");
    let (mut rejected, mut times) = (None, None);
    while rejected.is_none() || times.is_none() {
        match next(&mut client).message {
            Answer::CancelRejected(m) => rejected = Some(m),
            Answer::StageTimes(m) => times = Some(m),
            other => panic!("{other:?}"),
        }
    }
    let (rejected, times) = rejected.zip(times).expect("the loop above waited for both");
    assert_eq!((times.cl_ord_id, times.exec_id.get()), (rejected.cl_ord_id, 0));
    assert_eq!(times.received_time_ns, rejected.gateway_in_time_ns);
}

/// Requests the complete stream of a session.
fn stream_of(running: &RunningNode, user: &str) -> Vec<Vec<u8>> {
    let head = running.connect(user, SessionSeq::HEAD).next_seq();
    let mut client = running.connect(user, SessionSeq::FIRST);
    let mut stream = Vec::new();
    while client.next_seq() < head {
        stream.push(client.poll_raw(PATIENCE).expect("connected").expect("a message in time").message.to_vec());
    }
    stream
}

#[test]
fn a_stream_is_the_same_bytes_after_reconnect_and_restart() {
    // With a core for each loop a request reaches the node before its command has a time.
    ["single", "pipeline"].into_iter().for_each(|threads| a_stream_is_the_same(&NodeDir::with_threads(threads, "")));
}

fn a_stream_is_the_same(node_dir: &NodeDir) {
    let mut running = node_dir.start();
    let market = traders(&running);
    let mut maker = running.connect("MM1", SessionSeq::HEAD);
    let mut taker = running.connect("MM2", SessionSeq::HEAD);
    // Every kind of message: rests, fills, a reject, an amendment, cancels, a mass cancel, session settings.
    for id in 1..=20 {
        maker.new_order(&limit(id, market, Side::Sell, 100 + id as i64, 3)).expect("connected");
    }
    maker
        .amend(&ReplaceOrder::open(ClOrdId(21), Target::ClOrdId(ClOrdId(20)), market, price(150), qty(2)))
        .expect("connected");
    maker.cancel(&CancelOrder::new(ClOrdId(0), Target::ClOrdId(ClOrdId(19)), market)).expect("connected");
    maker.new_order(&limit(22, MarketId(9), Side::Sell, 1, 1)).expect("connected");
    for id in 1..=10 {
        taker.new_order(&NewOrder { tif: TIF_IOC, ..limit(id, market, Side::Buy, 105, 4) }).expect("connected");
    }
    let set = SetSession::cancel_on_disconnect(ClOrdId(30), CodMode::Off, CodScope::Session, 7);
    maker.set_session(&set).expect("connected");
    maker.mass_cancel(&MassCancel::all(ClOrdId(31), MassScope::Session)).expect("connected");
    while !matches!(next(&mut maker).message, Answer::MassCancelReport(_)) {}
    let last = NewOrder { tif: TIF_IOC, ..limit(11, market, Side::Buy, 1, 1) };
    taker.new_order(&last).expect("connected");
    while !matches!(next(&mut taker).message, Answer::OrderCanceled(m) if m.cl_ord_id.get() == 11) {}
    let before = ["MM1", "MM2"].map(|user| stream_of(&running, user));
    assert!(before.iter().all(|stream| stream.len() > 20));
    assert_eq!(["MM1", "MM2"].map(|user| stream_of(&running, user)), before, "after a reconnect");
    drop((maker, taker));
    for _ in 0..2 {
        assert_eq!(running.stop(), 0);
        running = node_dir.start();
        assert_eq!(["MM1", "MM2"].map(|user| stream_of(&running, user)), before, "after a restart");
    }
}
