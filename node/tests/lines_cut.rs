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
use book::command::{Acted, Admin, CodMode, Command, SessionSpec};
use book::ids::{AccountId, UserName};
use common::log::append;
use common::process::Start;
use common::raw::login_packet;
use common::{NodeDir, PASSWORD, session_spec};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const SESSIONS: usize = 300;
/// Longest wait for one answer. The first logins take a check of argon2 each.
const ANSWER_MAX: Duration = Duration::from_secs(1_800);
/// Memory of an idle session: its connection, its stream, and what else it makes grow.
const IDLE_BYTES_MAX: u64 = 64 << 10;
/// What all sessions together may take to come back.
const BACK_MAX: Duration = Duration::from_secs(60);

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
    let add = |n| Command::Acted(Box::new(Acted::from(Admin::AddSession(of(n)))));
    append(&node_dir, (1..=sessions).map(add));

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
