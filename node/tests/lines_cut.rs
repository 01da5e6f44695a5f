//! All lines are cut at once and the node goes on: every session is back soon, because its password was verified
//! before.
//!
//! `PINION_SESSIONS` says how many sessions there are; where it is set, with the cost of argon2 that an administrator's
//! tool gives. `./dev nightly` runs ten thousand.

mod common;

use api::binary::login::SessionName;
use api::binary::soup::PacketKind;
use api::binary::stream::SessionSeq;
use argon2::Argon2;
use argon2::password_hash::PasswordHasher;
use book::codec::{self, PayloadVersion};
use book::command::{Acted, Admin, CodMode, Command, SessionSpec};
use book::ids::{AccountId, UserName};
use book::units::TsNs;
use common::process::Start;
use common::raw::login_packet;
use common::{NodeDir, PASSWORD, session_spec};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use wal::blocking::BlockingHead;
use wal::directory::Directory;
use wal::head::HeadConfig;
use wal::medium::Access;
use wal::units::Lsn;

const SESSIONS: usize = 300;
/// Longest wait for one answer. The first logins take a check of argon2 each.
const ANSWER_MAX: Duration = Duration::from_secs(1_800);
/// Memory of an idle session: its connection, its stream, and what else it makes grow.
const IDLE_BYTES_MAX: u64 = 64 << 10;
/// What all sessions together may take to come back.
const BACK_MAX: Duration = Duration::from_secs(60);
const SESSIONS_PER_FRAME: usize = 50;

/// Adds sessions to a log whose node does not run. One by one, each would wait for the disk.
fn add_sessions(node_dir: &NodeDir, specs: impl Iterator<Item = SessionSpec>) {
    let directory = Directory::open(&node_dir.data_dir()).expect("no node runs on the directory");
    let store = directory.store().expect("the store opens");
    let mut ts = TsNs(0);
    let found = wal::recover::recover(&directory, &store, Lsn(1), |_, bytes| {
        ts = codec::decode(bytes)?.ts;
        Ok(())
    });
    let (timeline, geometry) = (directory.identity().timeline, directory.identity().geometry);
    let config = HeadConfig { timeline, geometry, frame_bytes_max: 1 << 16, frames_in_flight_max: 1 };
    let segments = directory.segments(Access::ReadWrite).expect("the segments open");
    let mut head =
        BlockingHead::new(config, found.expect("the log is intact").position, segments).expect("a valid head");
    let mut record = vec![0; codec::RECORD_BYTES_MAX];
    for (idx, spec) in specs.enumerate() {
        let command = Command::Acted(Box::new(Acted::from(Admin::AddSession(spec))));
        let len = codec::encode(PayloadVersion::default(), ts, &command, &mut record).expect("the record fits");
        assert!(head.append(&record[..len]).expect("the head is writable").is_some(), "the head has room");
        if idx % SESSIONS_PER_FRAME == SESSIONS_PER_FRAME - 1 {
            head.commit().expect("the frame was synced");
            head.release_durable();
        }
    }
    head.commit().expect("the frame was synced");
    head.release_durable();
}

fn user(n: usize) -> String {
    format!("S{n}")
}

/// Logs every session in at once. Returns the connections, and how long it took until the last was accepted.
fn log_all_in(address: SocketAddr, sessions: usize) -> (Vec<TcpStream>, Duration) {
    let began = Instant::now();
    let mut sockets: Vec<TcpStream> = (1..=sessions)
        .map(|n| {
            let mut socket = TcpStream::connect(address).expect("the node listens");
            let login = login_packet(&user(n), PASSWORD, SessionName::BLANK, SessionSeq::HEAD);
            socket.write_all(&login).expect("connected");
            socket
        })
        .collect();
    for (idx, socket) in sockets.iter_mut().enumerate() {
        socket.set_read_timeout(Some(ANSWER_MAX)).expect("a TCP socket");
        let mut head = [0; 3];
        socket.read_exact(&mut head).unwrap_or_else(|error| panic!("session {}: {error}", idx + 1));
        assert_eq!(PacketKind::new(head[2]), Some(PacketKind::Accepted), "session {}", idx + 1);
    }
    (sockets, began.elapsed())
}

#[test]
fn when_all_lines_are_cut_every_session_is_back_soon() {
    let asked = std::env::var("PINION_SESSIONS").ok().map(|count| count.parse::<usize>().expect("a number"));
    let sessions = asked.unwrap_or(SESSIONS);
    // A socket for each session, in this process and in the node's.
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("a process may raise its soft limit");
    let node_dir = NodeDir::with(&format!(
        "[session]\nresend_max = 64\nqueue_max = 64\nidle_timeout = \"1h\"\n[limits]\nconnections_max = {max}\n\
         connections_per_address_max = {max}\nlogins_awaited_per_address_max = {max}\n",
        max = sessions + 8
    ));
    let running = node_dir.start();
    running.add_market();
    let account: AccountId = running.add_trader("FIRST");
    assert_eq!(running.stop(), 0);
    let spec = session_spec(account, "S1");
    let password_hash = match asked {
        Some(_) => Argon2::default().hash_password(PASSWORD.as_bytes()).expect("the parameters are valid").to_string(),
        None => spec.password_hash.clone(),
    };
    let of = |n: usize| SessionSpec {
        user: UserName::new(&user(n)).expect("the value is valid"),
        password_hash: password_hash.clone(),
        cod_mode: CodMode::Off,
        ..spec.clone()
    };
    add_sessions(&node_dir, (1..=sessions).map(of));

    let process = Start::new(&node_dir.config_file()).run();
    let before = process.resident_bytes();
    let (sockets, first) = log_all_in(process.orders, sessions);
    let resident = process.resident_bytes();
    let each = resident.saturating_sub(before) / sessions as u64;
    assert!(each <= IDLE_BYTES_MAX, "an idle session takes {each} bytes");
    drop(sockets);
    let (sockets, back) = log_all_in(process.orders, sessions);
    println!(
        "{sessions} sessions: {first:.1?} for the first login of all, {back:.1?} back after all lines were cut, {} MiB \
         resident, {each} bytes for each",
        resident >> 20
    );
    assert!(back <= BACK_MAX, "{sessions} sessions were back after {back:?}");
    drop(sockets);
    assert_eq!(process.terminate().code, Some(0));
}
