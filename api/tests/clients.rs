//! The blocking client against a small node: real sockets, the real session, a real engine.

mod samples;

use api::binary::login::{LoginReject, LoginRequest, SessionName};
use api::binary::market::MarketMessage;
use api::binary::orders::{Answer, NewOrder};
use api::binary::session::{CloseReason, Flow, Inbound, Output, Session, State};
use api::binary::snapshot::write_snapshot;
use api::binary::stream::{STREAM_BYTES, STREAM_MESSAGES, SessionSeq, Stream, first_to_send};
use api::client::{ClientError, MarketClient, OrderClient, Resumed, book_sync};
use book::command::Side;
use book::ids::{ClOrdId, SessionId};
use book::run::Run;
use book::units::TsNs;
use samples::{Exchange, MARKET, price, qty, sender};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(5);

/// The exchange and the streams, which connections share.
struct Node {
    exchange: Exchange,
    answers: Stream,
    live: Stream,
    sent: usize,
}

impl Node {
    fn new() -> Self {
        let mut exchange = samples::exchange();
        exchange.answers.clear();
        let mut node = Self {
            exchange,
            answers: Stream::new(SessionSeq::FIRST, STREAM_BYTES, STREAM_MESSAGES),
            live: Stream::new(SessionSeq::FIRST, STREAM_BYTES, STREAM_MESSAGES),
            sent: 0,
        };
        node.publish();
        node
    }

    fn publish(&mut self) {
        for (session, bytes) in self.exchange.answers.drain(..) {
            if session == SessionId(1) {
                self.answers.push(&bytes);
            }
        }
        for message in &self.exchange.public[self.sent..] {
            self.live.push(message);
        }
        self.sent = self.exchange.public.len();
    }
}

/// Serves this number of connections, one after the other, each until it ends.
fn serve(node: Arc<Mutex<Node>>, connections: usize) -> (SocketAddr, JoinHandle<Vec<CloseReason>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        (0..connections).filter_map(|_| serve_one(&listener.accept().expect("a client").0, &node)).collect()
    });
    (addr, server)
}

#[derive(Default)]
struct Line {
    outbox: Vec<u8>,
    messages: Vec<Vec<u8>>,
    login: Option<(String, Vec<u8>, SessionName, SessionSeq)>,
    closed: Option<CloseReason>,
}

impl Output for Line {
    fn send(&mut self, bytes: &[u8]) {
        self.outbox.extend_from_slice(bytes);
    }

    fn close(&mut self, reason: CloseReason) {
        self.closed = Some(reason);
    }
}

impl Inbound for Line {
    fn login_requested(&mut self, login: &LoginRequest<'_>) {
        self.login = Some((login.user.to_owned(), login.password.to_vec(), login.session, login.sequence));
    }

    fn message(&mut self, bytes: &[u8]) -> Flow {
        self.messages.push(bytes.to_vec());
        Flow::Continue
    }

    fn logout_requested(&mut self) {}
}

fn serve_one(mut socket: &TcpStream, node: &Mutex<Node>) -> Option<CloseReason> {
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket option");
    let started = Instant::now();
    let now = || TsNs(started.elapsed().as_nanos() as u64);
    let (mut session, mut line) = (Session::new(now()), Line::default());
    let (mut name, mut next) = (SessionName::BLANK, SessionSeq::FIRST);
    let mut bytes = [0; 4096];
    while session.state() != State::Closed {
        match socket.read(&mut bytes) {
            Ok(0) => return None,
            Ok(len) => assert_eq!(session.on_bytes(now(), &bytes[..len], &mut line), len),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_reset) => return None,
        }
        session.on_tick(now(), &mut line);
        let mut node = node.lock().expect("no test panicked with the node");
        if let Some((user, password, stream, from)) = line.login.take() {
            let orders = stream.is_blank();
            name = if orders { SessionName::of_session(SessionId(1), &Run::default()) } else { stream };
            let next_seq = match name {
                SessionName::SNAP => SessionSeq::FIRST,
                SessionName::LIVE => node.live.next_seq(),
                _ => node.answers.next_seq(),
            };
            match first_to_send(from, next_seq) {
                _ if orders && (user.as_str(), password.as_slice()) != ("MM1", b"secret") => {
                    session.reject(now(), LoginReject::NotAuthorised, &mut line);
                }
                None => session.reject(now(), LoginReject::NoSession, &mut line),
                Some(first) if name == SessionName::LIVE && first < node.live.oldest_seq() => {
                    session.reject(now(), LoginReject::Gone, &mut line);
                }
                Some(first) => {
                    next = first;
                    assert!(session.accept(now(), name, first, &mut line));
                    if name == SessionName::SNAP {
                        send_snapshot(&node, now(), &mut session, &mut line);
                    }
                }
            }
        }
        for message in line.messages.drain(..) {
            node.exchange.send_bytes(&sender(1), &message);
        }
        node.publish();
        if session.state() == State::Open {
            let stream = if name == SessionName::LIVE { &node.live } else { &node.answers };
            let mut pending = Vec::new();
            // A reader whose next message is no longer in memory is disconnected.
            stream.read_from(next, &mut |_, m| pending.push(m.to_vec())).ok()?;
            for message in pending {
                session.send_sequenced(now(), &message, &mut line);
                next = next.next();
            }
        }
        if socket.write_all(&line.outbox).is_err() {
            return None;
        }
        line.outbox.clear();
    }
    line.closed
}

fn send_snapshot(node: &Node, now: TsNs, session: &mut Session, line: &mut Line) {
    let as_of = SessionSeq(node.live.next_seq().0 - 1);
    let depth = samples::depth_of(&node.exchange.public);
    write_snapshot(&depth, as_of, now, &mut |message| {
        session.send_sequenced(now, message, line);
    });
    session.end_of_session(now, line);
}

fn limit(id: u64, side: Side, p: &str, q: &str) -> NewOrder {
    NewOrder::limit(ClOrdId(id), MARKET, side, price(p), qty(q))
}

fn next(client: &mut OrderClient) -> (u64, Answer) {
    let received = client.poll(WAIT).expect("the connection is up").expect("an answer arrives");
    (received.seq.expect("a sequenced one").0, received.message)
}

#[test]
fn orders_are_answered_and_a_new_connection_resumes() {
    let (addr, server) = serve(Arc::new(Mutex::new(Node::new())), 3);
    let mut client = OrderClient::connect(addr, "MM1", "secret", SessionSeq::HEAD).expect("a login");
    assert_eq!(client.session_name().as_str(), "PIN0000001");
    assert_eq!(client.poll(Duration::ZERO).expect("the connection is up"), None);
    for id in 1..=100 {
        client.queue(&limit(id, Side::Sell, "100", "0.001")).expect("room in the batch");
    }
    client.flush().expect("the connection is up");
    for id in 1..=100 {
        let (seq, answer) = next(&mut client);
        let Answer::OrderAccepted(accepted) = answer else { panic!("{answer:?}") };
        assert_eq!((seq, accepted.cl_ord_id.get()), (id, id));
    }
    drop(client);
    let mut client = OrderClient::connect(addr, "MM1", "secret", SessionSeq(98)).expect("a login");
    assert_eq!([next(&mut client).0, next(&mut client).0, next(&mut client).0], [98, 99, 100]);
    assert_eq!(client.next_seq(), SessionSeq(101));
    client.logout().expect("the connection is up");
    let wrong = OrderClient::connect(addr, "MM1", "guess", SessionSeq::HEAD);
    assert!(matches!(wrong, Err(ClientError::LoginRejected(LoginReject::NotAuthorised))));
    let closes = server.join().expect("the node ran");
    assert_eq!(closes, [CloseReason::LoggedOut, CloseReason::LoginRejected]);
}

#[test]
fn a_number_beyond_the_stream_is_refused() {
    let (addr, server) = serve(Arc::new(Mutex::new(Node::new())), 1);
    let ahead = OrderClient::connect(addr, "MM1", "secret", SessionSeq(7));
    assert!(matches!(ahead, Err(ClientError::LoginRejected(LoginReject::NoSession))));
    server.join().expect("the node ran");
}

/// Longer than both heartbeat intervals: `poll` and `on_tick` keep the connection alive.
#[test]
fn an_idle_connection_is_kept_alive() {
    let (addr, server) = serve(Arc::new(Mutex::new(Node::new())), 1);
    let mut client = OrderClient::connect(addr, "MM1", "secret", SessionSeq::HEAD).expect("a login");
    assert_eq!(client.poll(Duration::from_millis(2_500)).expect("the connection is up"), None);
    client.new_order(&limit(1, Side::Buy, "1", "1")).expect("the connection is up");
    assert!(matches!(next(&mut client), (1, Answer::OrderAccepted(_))));
    client.logout().expect("the connection is up");
    assert_eq!(server.join().expect("the node ran"), [CloseReason::LoggedOut]);
}

#[test]
fn a_snapshot_is_joined_to_the_live_stream() {
    let node = Arc::new(Mutex::new(Node::new()));
    node.lock().expect("free").exchange.send(&sender(1), limit(1, Side::Sell, "100", "2"));
    node.lock().expect("free").publish();
    let (addr, server) = serve(Arc::clone(&node), 2);
    let mut follower = book_sync(addr).expect("a snapshot and the stream");
    assert_eq!(follower.depth().book(1).expect("known").order_count(), 1);
    node.lock().expect("free").exchange.send(&sender(2), limit(1, Side::Buy, "100", "0.5"));
    let received = follower.poll(WAIT).expect("the connection is up").expect("a trade is published");
    assert!(matches!(received.message, MarketMessage::OrderExecuted(_)));
    assert_eq!(received.seq, Some(SessionSeq(follower.next_seq().0 - 1)));
    let best = follower.depth().book(1).expect("known").top(Side::Sell, 1).next().expect("an offer");
    assert_eq!((best.price_e9, best.qty_e8, best.orders), (price("100").0, qty("1.5").0, 1));
    drop(follower);
    server.join().expect("the node ran");
}

#[test]
fn a_follower_goes_on_from_a_snapshot_only_where_its_next_message_is_gone() {
    let node = Arc::new(Mutex::new(Node::new()));
    let (addr, server) = serve(Arc::clone(&node), 6);
    let mut follower = book_sync(addr).expect("a snapshot and the stream");
    {
        let mut node = node.lock().expect("free");
        let next = node.live.next_seq();
        node.live = Stream::new(SessionSeq(next.0 + 5), STREAM_BYTES, STREAM_MESSAGES);
        node.exchange.send(&sender(1), limit(1, Side::Sell, "100", "2"));
        node.publish();
    }
    assert!(matches!(follower.poll(WAIT), Err(ClientError::Closed { .. })));
    assert_eq!(follower.resume(addr).expect("a snapshot"), Resumed::FromSnapshot);
    assert_eq!(follower.depth().book(1).expect("known").order_count(), 1);
    // The stream of another node, or of a life that is over, has never said what was read.
    node.lock().expect("free").live = Stream::new(SessionSeq::FIRST, STREAM_BYTES, STREAM_MESSAGES);
    assert!(matches!(follower.poll(WAIT), Err(ClientError::Closed { .. })));
    assert!(matches!(follower.resume(addr), Err(ClientError::LoginRejected(LoginReject::NoSession))));
    server.join().expect("the node ran");
}

#[test]
fn the_live_stream_can_be_read_from_its_beginning() {
    let (addr, server) = serve(Arc::new(Mutex::new(Node::new())), 1);
    let mut client = MarketClient::connect(addr, SessionName::LIVE, SessionSeq::FIRST).expect("a login");
    let first = client.poll(WAIT).expect("the connection is up").expect("a message arrives");
    assert!(matches!(first.message, MarketMessage::InstrumentDefinition(_)));
    client.logout().expect("the connection is up");
    server.join().expect("the node ran");
}

#[test]
fn errors_say_what_was_tried() {
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port without a listener");
    let refused = OrderClient::connect(closed, "MM1", "secret", SessionSeq::HEAD).expect_err("there is no listener");
    assert!(refused.to_string().starts_with(&format!("connecting to {closed}: ")), "{refused}");
    let long = OrderClient::connect(closed, "MM1", "eleven char", SessionSeq::HEAD);
    assert!(matches!(long, Err(ClientError::LoginTooLong)));
}
