//! The port of orders, with its loop in this thread and sockets without a kernel: who is let in, in which order, and
//! how much one cycle does, however many clients there are. Bounds are by count.

mod common;
#[path = "orders_port/ends.rs"]
mod ends;

use api::binary::login::SessionName;
use api::binary::orders::CancelOrder;
use api::binary::requests::Target;
use api::binary::sbe::Framed;
use api::binary::session::SessionLimits;
use api::binary::soup::PacketKind;
use api::binary::stream::SessionSeq;
use book::command::{
    AccountKind, AccountSpec, Admin, CodMode, CodScope, Command, FundsMove, MarketLimits, MarketSpec, MarketStatus,
    OrderKind, PlaceOrder, SessionSpec, Side, StpMode, Throttle, Tif,
};
use book::engine::{Capacity, Engine};
use book::fees::MarketFees;
use book::ids::{AccountId, AssetId, ClOrdId, ClientKey, MarketId, OrderId, SessionId, Symbol, UserName};
use book::run::RunSpec;
use book::units::{Ppm, PriceTicks, QtyLots, Seq, Stamp, TsNs, Units};
use common::fake_sockets::FakeSockets;
use common::raw::{login_packet, unsequenced};
use node::engine::engine_loop::Wiring;
use node::gateway::order_entry::{Gateway, GatewayLimits, GatewayState};
use node::gateway::passwords::{ATTEMPTS_MAX, Attempt, Finding, PasswordPort, Verdict};
use node::gateway::resend::ResendPort;
use node::gateway::verified::VerifiedKey;
use node::reactor::ports::{ConnId, ListenerIdx};
use node::replica::session_streams::SessionStreams;
use node::replica::translate::Translator;
use node::rings::control::{Change, Control, SessionFacts};
use node::status::Status;
use node::status::lifecycle::Lifecycle;
use node::status::logins::{ConnectionRefusal, LoginRefusal};
use node::status::watermarks::watermarks;
use node::topology::wiring::{GatewayHelpers, RingSizes, make_rings};
use rtrb::{Consumer, Producer, RingBuffer};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use zerocopy::IntoBytes;

const MS_NS: u64 = 1_000_000;
const PASSWORD: &str = "right";
const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));
const AWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 9, 7));

const LIMITS: GatewayLimits = GatewayLimits {
    connections_max: 60_000,
    connections_per_address_max: 60_000,
    logins_awaited_per_address_max: 60_000,
    login_queue_max: 60_000,
    login_failures_max: 5,
    login_failure_window_ns: 60_000 * MS_NS,
    login_failure_delay_ns: 200 * MS_NS,
    session: SessionLimits { login_ms: 1_000, silence_ms: 2_000, heartbeat_ms: 1_000 },
    queue_max: 16,
    restart_window_ms: 1_000,
};

struct OrdersPort {
    gateway: Gateway,
    sockets: FakeSockets,
    engine: Wiring,
    attempts: Consumer<Attempt>,
    verdicts: Producer<Verdict>,
    status: Arc<Status>,
    now: TsNs,
    _kept: Box<dyn std::any::Any>,
}

impl OrdersPort {
    /// A port with sessions `1` to `sessions`, of which the first `trading` have an open order.
    fn new(sessions: u32, trading: u32, limits: GatewayLimits) -> Self {
        Self::with_rings(sessions, trading, limits, RingSizes::default())
    }

    fn with_rings(sessions: u32, trading: u32, limits: GatewayLimits, sizes: RingSizes) -> Self {
        let engine = engine(sessions, trading);
        let (writers, readers) = watermarks(Seq(0));
        let status = Arc::new(Status::new(readers));
        let (attempts_in, attempts) = RingBuffer::new(ATTEMPTS_MAX);
        let (verdicts, verdicts_out) = RingBuffer::new(2 * ATTEMPTS_MAX);
        let (requests, requests_out) = RingBuffer::new(16);
        let (batches_in, batches) = RingBuffer::new(16);
        let helpers = GatewayHelpers {
            passwords: vec![PasswordPort { attempts: attempts_in, verdicts: verdicts_out }],
            verified_key: VerifiedKey::new([7; 32]),
            resends: ResendPort { requests, batches },
        };
        let rings = make_rings(sizes, writers.engine, helpers, &Arc::new(Lifecycle::default()), &status);
        let run = RunSpec { directory: 1, may_lose: false, life: None };
        let state = GatewayState::of(&engine, &Translator::of(&engine), SessionStreams::new(16), run);
        let now = TsNs(1_000 * MS_NS);
        Self {
            gateway: Gateway::new(state, ListenerIdx(0), rings.gateway, limits, now),
            sockets: FakeSockets::new(),
            engine: rings.engine,
            attempts,
            verdicts,
            status,
            now,
            _kept: Box::new((rings.admin, rings.market, rings.frames, rings.stages, requests_out, batches_in)),
        }
    }

    fn step(&mut self, ms: u64) {
        self.now.0 += ms * MS_NS;
        self.sockets.step();
        self.gateway.poll_inbound(self.now, &mut self.sockets);
        self.gateway.poll_outbound(self.now, &mut self.sockets);
    }

    /// A change that is released.
    fn change(&mut self, change: Change) {
        self.engine.control.push(Control { seq: Seq(0), change }).expect("there is room");
    }

    fn steps(&mut self, count: usize, ms: u64) {
        (0..count).for_each(|_| self.step(ms));
    }

    /// Connects and sends the login in the step after the accept.
    fn log_in(&mut self, from: IpAddr, user: u32, password: &str) -> ConnId {
        let conn = self.sockets.connect(from);
        self.step(1);
        if self.sockets.is_open(conn) {
            self.sockets.arrive(conn, &login_packet(&user.to_string(), password, SessionName::BLANK, SessionSeq::HEAD));
        }
        conn
    }

    /// Checks the next password as a checking thread does.
    fn check_one(&mut self) -> Option<u32> {
        let attempt = self.attempts.pop().ok()?;
        assert!(attempt.password_hash == PASSWORD || attempt.session.is_none());
        let is_right = attempt.password == attempt.password_hash;
        let finding = attempt.session.filter(|_| is_right).map_or(Finding::Wrong, Finding::Correct);
        self.verdicts.push(Verdict { conn: attempt.conn, finding }).expect("one verdict for each attempt");
        Some(attempt.session.map_or(0, |session| session.0))
    }

    fn check_all(&mut self) -> usize {
        std::iter::from_fn(|| self.check_one()).count()
    }

    /// Logs in every session, and returns the connections.
    fn log_all_in(&mut self, sessions: u32) -> Vec<ConnId> {
        let conns: Vec<ConnId> = (0..sessions).map(|_| self.sockets.connect(HOME)).collect();
        self.step(0);
        for (user, conn) in (1..).zip(&conns) {
            let login = login_packet(&format!("{user}"), PASSWORD, SessionName::BLANK, SessionSeq::HEAD);
            self.sockets.arrive(*conn, &login);
        }
        for _ in 0..2 * sessions {
            self.step(0);
            self.check_all();
        }
        assert_eq!(self.status.sessions_open.get(), u64::from(sessions));
        conns
    }

    /// The kind of the first packet that the client was sent since it was last asked for.
    fn answer(&mut self, conn: ConnId) -> Option<PacketKind> {
        PacketKind::new(*self.sockets.take_sent(conn).get(2)?)
    }

    /// Sessions whose end was reported to the engine.
    fn ended(&mut self) -> Vec<u32> {
        let commands = std::iter::from_fn(|| self.engine.ingress.pop().ok());
        commands
            .map(|ingress| match ingress.command {
                Command::SessionDown(down) => down.session.0,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn refused(&self, why: LoginRefusal) -> u64 {
        self.status.logins.refused(why)
    }
}

/// An exchange whose session `n` has the user `n` and its own account; its password is its own hash.
fn engine(sessions: u32, trading: u32) -> Engine {
    let mut engine = Engine::new(Capacity::default());
    let mut seq = 0;
    let mut run = |command: Command| {
        seq += 1;
        engine.apply(Stamp { seq: Seq(seq), ts: TsNs(seq) }, &command, &mut Vec::new());
    };
    let mut act = |admin| run(Command::Admin(Box::new(admin)));
    for symbol in ["GOLD", "USD"] {
        act(Admin::AddAsset { symbol: Symbol::new(symbol).expect("valid"), scale: 8 });
    }
    let limits = MarketLimits { qty_min: QtyLots(1), qty_max: QtyLots(9), notional_min: Units(0), price_band: Ppm(0) };
    act(Admin::AddMarket(MarketSpec {
        symbol: Symbol::new("GOLDUSD").expect("valid"),
        base: AssetId(1),
        quote: AssetId(2),
        tick_e9: 1_000_000_000,
        lot_e8: 100_000_000,
        limits,
        fees: MarketFees::NONE,
        status: MarketStatus::Trading,
    }));
    for id in 1..=sessions {
        let (account, user) = (AccountId(id), UserName::new(&id.to_string()).expect("valid"));
        let name = format!("A{id}");
        act(Admin::AddAccount(AccountSpec { name, kind: AccountKind::Client, parent: AccountId::NONE, fee_tier: 0 }));
        let (asset, amount, reference) = (AssetId(2), Units(100 * 100_000_000), ClientKey(id.into()));
        act(Admin::Deposit(FundsMove { account, asset, amount, reference }));
        act(Admin::AddSession(SessionSpec {
            account,
            user,
            password_hash: PASSWORD.to_owned(),
            drop_copy: false,
            throttle: Throttle::default(),
            cod_mode: CodMode::Both,
            cod_scope: CodScope::Session,
            cod_window_ms: 0,
        }));
    }
    for id in 1..=trading {
        run(Command::Place(PlaceOrder {
            session: SessionId(id),
            cl_ord_id: ClOrdId(1),
            client_key: ClientKey::NONE,
            account: AccountId(id),
            market: MarketId(1),
            side: Side::Buy,
            kind: OrderKind::Limit { price: PriceTicks(1), qty: QtyLots(1) },
            tif: Tif::Gtc,
            stp: StpMode::None,
            stp_group: 0,
            cancel_group: 0,
            persist_on_disconnect: false,
            valid_until: TsNs(0),
        }));
    }
    assert_eq!(engine.sessions().iter().filter(|(_, session)| session.open_count > 0).count(), trading as usize);
    engine
}

#[test]
fn correct_logins_at_once_are_all_let_in_however_long_they_wait() {
    const SESSIONS: u32 = 200;
    let mut port = OrdersPort::new(SESSIONS, 0, LIMITS);
    let conns: Vec<ConnId> = (1..=SESSIONS).map(|user| port.log_in(HOME, user, PASSWORD)).collect();
    // One check takes 50 ms: the last ones wait much longer than any timeout allows a client that is silent.
    let mut in_ring_max = 0;
    for _ in 0..SESSIONS {
        port.step(50);
        in_ring_max = in_ring_max.max(port.attempts.slots());
        port.check_one();
    }
    port.steps(2, 50);
    assert!(in_ring_max <= ATTEMPTS_MAX);
    for conn in conns {
        assert_eq!(port.answer(conn), Some(PacketKind::Accepted));
    }
    assert_eq!(port.status.logins.refused_total(), 0);
}

#[test]
fn a_block_of_addresses_waits_for_its_own_logins() {
    let mut port = OrdersPort::new(100, 0, LIMITS);
    for user in 1..=99 {
        port.log_in(HOME, user, PASSWORD);
    }
    let alone = port.log_in(AWAY, 100, PASSWORD);
    port.step(1);
    // Those that are checked already, one more of the other block, then this one.
    for _ in 0..ATTEMPTS_MAX + 2 {
        port.check_one();
        port.step(1);
    }
    assert_eq!(port.answer(alone), Some(PacketKind::Accepted), "99 logins of another block are before it");
}

#[test]
fn sessions_whose_lines_were_cut_are_back_without_a_check() {
    const SESSIONS: u32 = 100;
    let mut port = OrdersPort::new(SESSIONS, 0, LIMITS);
    let conns = port.log_all_in(SESSIONS);
    conns.iter().for_each(|conn| port.sockets.hang_up(*conn));
    port.steps(10, 0);
    assert_eq!(port.status.sessions_open.get(), 0);
    let conns: Vec<ConnId> = (0..SESSIONS).map(|_| port.sockets.connect(AWAY)).collect();
    port.step(0);
    for (user, conn) in (1..).zip(&conns) {
        let login = login_packet(&format!("{user}"), PASSWORD, SessionName::BLANK, SessionSeq::HEAD);
        port.sockets.arrive(*conn, &login);
    }
    let mut open = 0;
    for _ in 0..SESSIONS {
        port.step(0);
        assert!(port.status.sessions_open.get() <= open + 16, "one cycle opens 16 sessions at most");
        open = port.status.sessions_open.get();
    }
    assert_eq!((open, port.check_all()), (u64::from(SESSIONS), 0));
    // Another password of theirs is checked, and wrong.
    let guess = port.log_in(HOME, 1, "wrong");
    port.step(0);
    assert_eq!(port.check_one(), Some(1));
    port.steps(2, 200);
    assert_eq!(port.answer(guess), Some(PacketKind::Rejected));
}

#[test]
fn a_password_that_was_changed_opens_no_session() {
    let mut port = OrdersPort::new(2, 0, LIMITS);
    port.log_all_in(2);
    // One login under way with the password as it was.
    let under_way = port.log_in(HOME, 1, "other");
    port.step(0);
    let attempt = port.attempts.pop().expect("the login is checked");
    let engine = engine(2, 0);
    let facts = SessionFacts::of(&engine, SessionId(1)).expect("the session exists");
    let change = Change::Session(Box::new(SessionFacts { password_hash: "new".to_owned(), ..facts }));
    port.engine.control.push(Control { seq: Seq(0), change }).expect("there is room");
    port.step(0);
    let finding = Finding::Correct(SessionId(1));
    port.verdicts.push(Verdict { conn: attempt.conn, finding }).expect("there is room");
    port.step(0);
    assert_eq!((port.answer(under_way), port.sockets.is_open(under_way)), (None, false));
    // And one that was verified before the change is checked again.
    port.log_in(HOME, 1, PASSWORD);
    port.step(0);
    let attempt = port.attempts.pop().expect("the password that was verified is checked again");
    assert_eq!(attempt.password_hash, "new");
    port.log_in(HOME, 2, PASSWORD);
    port.steps(2, 0);
    assert!(port.attempts.pop().is_err(), "the other session's is as it was");
}

#[test]
fn five_wrong_passwords_lock_one_user_at_one_block_and_no_sixth_is_checked() {
    let mut port = OrdersPort::new(2, 0, LIMITS);
    let guesses: Vec<ConnId> = (0..100).map(|_| port.log_in(HOME, 1, "guess")).collect();
    let mut checked = 0;
    for _ in 0..200 {
        port.step(1);
        checked += port.check_all();
    }
    port.steps(2, 200);
    assert_eq!(checked, 5);
    let answers: Vec<_> = guesses.iter().map(|conn| port.answer(*conn)).collect();
    assert_eq!(answers.iter().filter(|answer| **answer == Some(PacketKind::Rejected)).count(), 5);
    assert_eq!(answers.iter().filter(|answer| answer.is_none()).count(), 95, "the others have no answer");
    assert!(guesses.iter().all(|conn| !port.sockets.is_open(*conn)));
    assert_eq!((port.refused(LoginRefusal::Wrong), port.refused(LoginRefusal::Locked)), (5, 95));
    assert_eq!(port.status.logins.locks.get(), 1);
    assert_eq!(ConnectionRefusal::Address.name(), "address");
    assert_eq!(port.status.logins.connections().map(|(_, count)| count).sum::<u64>(), 0, "no connection was refused");
    // The right password has no answer there either; another user and another block are not affected.
    let locked = port.log_in(HOME, 1, PASSWORD);
    let (other_user, other_block) = (port.log_in(HOME, 2, PASSWORD), port.log_in(AWAY, 1, PASSWORD));
    for _ in 0..4 {
        port.step(1);
        port.check_all();
    }
    assert_eq!((port.answer(locked), port.sockets.is_open(locked)), (None, false));
    assert_eq!(port.answer(other_user), Some(PacketKind::Accepted));
    assert_eq!(port.answer(other_block), Some(PacketKind::Accepted));
    // The lock ends.
    port.steps(1, 60_000);
    let later = port.log_in(HOME, 1, PASSWORD);
    port.steps(2, 1);
    port.check_all();
    port.steps(2, 1);
    assert_eq!(port.answer(later), Some(PacketKind::Accepted));
}

/// With two at the checking thread and four in the queue, all of one block.
fn full() -> OrdersPort {
    let mut port = OrdersPort::new(9, 0, GatewayLimits { login_queue_max: 4, ..LIMITS });
    for user in 1..=6 {
        port.log_in(HOME, user, PASSWORD);
    }
    port.step(1);
    port
}

fn what_finds_no_place_is_closed_without_an_answer() {
    let mut port = full();
    let connected = port.log_in(HOME, 7, PASSWORD);
    assert_eq!((port.answer(connected), port.sockets.is_open(connected)), (None, false), "at its accept");
    assert_eq!(port.status.logins.connections_refused(ConnectionRefusal::LoginQueue), 1);
    // Another block has its share: the newest login of the one with the most gives way.
    let conns = [port.log_in(AWAY, 8, PASSWORD), port.log_in(AWAY, 9, PASSWORD)];
    port.step(1);
    assert_eq!(port.refused(LoginRefusal::QueueFull), 2);
    for _ in 0..8 {
        port.check_all();
        port.step(1);
    }
    for conn in conns {
        assert_eq!(port.answer(conn), Some(PacketKind::Accepted));
    }
    assert_eq!((port.status.sessions_open.get(), port.refused(LoginRefusal::Wrong)), (6, 0));
    let rejected = (0..9).filter(|slot| port.answer(ConnId::new(*slot, 0)) == Some(PacketKind::Rejected)).count();
    assert_eq!(rejected, 0, "a right password is answered as wrong");
}

#[test]
fn what_finds_no_place_in_the_queue_is_closed_and_never_rejected() {
    what_finds_no_place_is_closed_without_an_answer();
}

#[test]
fn a_client_that_leaves_gives_its_place_to_the_next() {
    let mut port = full();
    port.sockets.hang_up(ConnId::new(4, 0));
    port.step(1);
    let conn = port.log_in(HOME, 7, PASSWORD);
    for _ in 0..8 {
        port.step(1);
        port.check_all();
    }
    assert_eq!(port.answer(conn), Some(PacketKind::Accepted));
    assert_eq!(port.status.sessions_open.get(), 6);
}

/// Session 1 logs in within its window and waits; 2 logs in after its window, and 3 never.
fn a_window_waits_for_the_turn_of_its_session() {
    let mut port = OrdersPort::new(3, 3, LIMITS);
    let first = port.log_in(HOME, 1, PASSWORD);
    port.steps(11, 100);
    assert_eq!(port.ended(), [2, 3], "a window ends before its session had its turn to log in");
    let second = port.log_in(HOME, 2, PASSWORD);
    port.steps(5, 100);
    assert_eq!((port.ended(), port.answer(first)), (vec![], None));
    for _ in 0..4 {
        port.check_all();
        port.step(1);
    }
    assert_eq!((port.answer(first), port.answer(second)), (Some(PacketKind::Accepted), Some(PacketKind::Accepted)));
    port.steps(15, 100);
    assert_eq!(port.ended(), [] as [u32; 0]);
}

#[test]
fn after_a_start_no_window_ends_before_its_session_had_its_turn() {
    a_window_waits_for_the_turn_of_its_session();
    // Wrong passwords hold a window up for no longer than their own turns.
    let mut port = OrdersPort::new(1, 1, LIMITS);
    port.log_in(AWAY, 1, "guess");
    port.steps(12, 100);
    port.log_in(AWAY, 1, "guess");
    port.step(1);
    port.check_one();
    port.steps(2, 100);
    assert_eq!(port.ended(), [1], "a login that came after the end of the window holds it up");
}

/// The most sends, and the most closes, of one cycle, with so many sessions that all do the same at once.
fn most_in_one_cycle(sessions: u32) -> (usize, usize) {
    let mut port = OrdersPort::new(sessions, 0, LIMITS);
    let conns = port.log_all_in(sessions);
    conns.iter().for_each(|conn| drop(port.sockets.take_sent(*conn)));
    // All heartbeats are due.
    let mut sends_max = 0;
    port.now.0 += 1_000 * MS_NS;
    for _ in 0..sessions {
        port.step(0);
        sends_max = sends_max.max(port.sockets.sends);
    }
    for conn in &conns {
        assert_eq!(port.answer(*conn), Some(PacketKind::ServerHeartbeat));
    }
    conns.iter().for_each(|conn| port.sockets.hang_up(*conn));
    let mut closes_max = 0;
    for _ in 0..sessions {
        port.step(0);
        closes_max = closes_max.max(port.sockets.closes);
    }
    assert_eq!(port.status.connections.get(), 0);
    (sends_max, closes_max)
}

/// Connections that are accepted of two thousand that come at once, in so many cycles of a hundredth of a millisecond.
fn accepts_of_a_flood(cycles: u64) -> usize {
    let mut port = OrdersPort::new(1, 0, LIMITS);
    for _ in 0..2_000 {
        port.sockets.connect_and_wait(HOME);
    }
    for _ in 0..cycles {
        port.now.0 += MS_NS / 100;
        port.step(0);
    }
    port.sockets.accepts
}

#[test]
fn accepts_are_rationed_and_none_is_forgotten() {
    // A burst of 64, then five a millisecond, and one that was under way.
    let accepts = accepts_of_a_flood(1_000);
    assert!((110..=64 + 50 + 1).contains(&accepts), "{accepts} accepts in ten milliseconds");
    assert_eq!(accepts_of_a_flood(40_000), 2_000);
}

fn one_cycle_does_little_for_ten_thousand_sessions() {
    let (sends, closes) = most_in_one_cycle(10_000);
    assert!((1..=64).contains(&sends), "{sends} heartbeats in one cycle");
    assert!((1..=32).contains(&closes), "{closes} connections closed in one cycle");
}

#[test]
fn heartbeats_and_ends_of_ten_thousand_sessions_are_spread_over_cycles() {
    one_cycle_does_little_for_ten_thousand_sessions();
}

/// A cancel of an order that is not there.
fn cancel_packet() -> Vec<u8> {
    let request = CancelOrder::new(ClOrdId(1), Target::OrderId(OrderId(1)), MarketId::NONE);
    unsequenced(Framed::new(request).as_bytes())
}

/// Two sessions log in; one has sent 600 cancels when the other sends one. How many commands are before that one?
fn commands_before_one_of_another_session() -> usize {
    let mut port = OrdersPort::new(2, 0, LIMITS);
    let conns = port.log_all_in(2);
    port.sockets.arrive(conns[0], &cancel_packet().repeat(600));
    port.sockets.arrive(conns[1], &cancel_packet());
    port.step(0);
    let commands = std::iter::from_fn(|| port.engine.ingress.pop().ok());
    let sessions: Vec<SessionId> = commands
        .map(|ingress| match ingress.command {
            Command::Cancel(cancel) => cancel.session,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sessions.len(), 601, "all of them have their turns in one cycle, because the engine waits for more");
    sessions.iter().position(|session| *session == SessionId(2)).expect("it has its turn")
}

#[test]
fn a_session_that_sends_much_lets_others_have_their_turn() {
    let before = commands_before_one_of_another_session();
    assert!(before <= 64, "{before} commands of one session are before the first of another");
}

/// A session adds to the commands that wait for the engine only while they are few.
#[test]
fn few_decoded_commands_wait_for_the_engine() {
    let mut port = OrdersPort::new(4, 0, LIMITS);
    let conns = port.log_all_in(4);
    for conn in conns {
        port.sockets.arrive(conn, &cancel_packet().repeat(300));
    }
    port.step(0);
    let waiting = port.engine.ingress.slots();
    assert!((1_000..=1_100).contains(&waiting), "{waiting} commands wait");
    let mut all = 0;
    while let Ok(chunk) = port.engine.ingress.read_chunk(port.engine.ingress.slots().min(512)) {
        all += chunk.len();
        chunk.commit_all();
        port.step(0);
        if port.engine.ingress.slots() == 0 {
            break;
        }
    }
    assert_eq!(all, 1_200, "none is forgotten");
}

/// The engine stands still for longer than the silence limit. Who has sent is not silent; who has not is.
fn a_client_whose_bytes_wait_is_not_silent() {
    let mut port = OrdersPort::new(2, 0, LIMITS);
    let conns = port.log_all_in(2);
    port.sockets.arrive(conns[0], &cancel_packet().repeat(1_200));
    port.steps(50, 100);
    assert_eq!([port.sockets.is_open(conns[0]), port.sockets.is_open(conns[1])], [true, false]);
}

#[test]
fn clients_are_not_closed_because_the_engine_stands_still() {
    a_client_whose_bytes_wait_is_not_silent();
}

#[cfg(feature = "mutation")]
#[test]
fn logins_and_heartbeats_that_are_not_right_are_noticed() {
    use node::faults::mutation::{Mutation, assert_noticed};
    assert_noticed(Mutation::BusyIsWrong, what_finds_no_place_is_closed_without_an_answer);
    assert_noticed(Mutation::GraceEndsBeforeTurn, a_window_waits_for_the_turn_of_its_session);
    assert_noticed(Mutation::AcceptsUnrationed, || assert!(accepts_of_a_flood(1_000) <= 115));
    assert_noticed(Mutation::HeartbeatsInOneCycle, || assert!(most_in_one_cycle(300).0 <= 64));
    assert_noticed(Mutation::WaitingIsSilent, a_client_whose_bytes_wait_is_not_silent);
    assert_noticed(Mutation::TurnWithoutEnd, || assert!(commands_before_one_of_another_session() <= 64));
}
