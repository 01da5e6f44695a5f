//! A flood from one client process: one spinning thread keeps many sessions busy.
//!
//! ```text
//!  bench process, node on core 1                               client process, core 0
//!  "2.0\n"  --stdin-->                                         every session's window is full, refilled after answers
//!  {"commands": .., "seconds": ..}  <--stdout--                epoll reports which sessions have answers
//! ```
//! The client is a process of its own, because at ten thousand sessions both ends need more files than one process may
//! open. Invariant: a session's commands are answered in their order (`connection`), and all of them before a flood
//! ends.

use crate::connection::Connection;
use crate::fixture::MARKET;
use crate::flow::Flow;
use crate::open_files;
use anyhow::{Context, Result, anyhow, bail, ensure};
use node::host::pin::pin_to;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Commands under way at once, over all sessions.
pub const UNDER_WAY: u64 = 10_000;
/// Orders at rest, over all sessions.
pub const RESTING: u64 = 10_000;
/// Upper bound of the files that a process has open besides its connections.
pub const FILES_BESIDE: u64 = 256;

/// Logins under way at once; the node keeps at most 64 waiting for their password check.
const LOGINS_AT_ONCE: usize = 32;
const INBOX_BYTES_MIN: usize = 4 << 10;
const INBOX_BYTES_MAX: usize = 256 << 10;
/// Bytes that may wait for a socket; beyond, no more commands are made for it.
const UNWRITTEN_BYTES_MAX: usize = 64 << 10;
const EVENTS_MAX: usize = 1_024;
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// User names of `sessions` sessions: 1 to 6 letters and digits, as a login requires.
pub fn users(sessions: u32) -> Vec<String> {
    (1..=sessions).map(|number| format!("U{number}")).collect()
}

struct Session {
    connection: Connection,
    flow: Flow,
}

impl Session {
    fn under_way(&self) -> u64 {
        self.flow.number() - self.connection.answered()
    }

    /// Makes commands until the window is full, and writes as many bytes as the socket accepts.
    fn fill(&mut self, under_way_max: u64) -> Result<()> {
        while self.under_way() < under_way_max && self.connection.unwritten() < UNWRITTEN_BYTES_MAX {
            self.flow.append(&mut self.connection.out);
        }
        self.connection.write()
    }
}

/// The client process's sessions.
struct Flood {
    sessions: Vec<Session>,
    epoll: OwnedFd,
    under_way_max: u64,
}

impl Flood {
    /// Logs `count` sessions in, a few at a time.
    fn open(address: SocketAddr, count: u32) -> Result<Self> {
        let share = |total: u64| (total / u64::from(count)).max(1);
        let (under_way_max, resting) = (share(UNDER_WAY), share(RESTING));
        let inbox_bytes = (under_way_max as usize * 128).clamp(INBOX_BYTES_MIN, INBOX_BYTES_MAX);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut sessions = Vec::with_capacity(count as usize);
        for users in users(count).chunks(LOGINS_AT_ONCE) {
            let start = |user: &String| Connection::start_login(address, user, 0, inbox_bytes);
            let connections = users.iter().map(start).collect::<Result<Vec<_>>>()?;
            for mut connection in connections {
                connection.await_login()?;
                let idx = sessions.len() as u64;
                epoll::add(&epoll, &connection, epoll::EventData::new_u64(idx), epoll::EventFlags::IN)?;
                sessions.push(Session { connection, flow: Flow::with_resting(MARKET, resting) });
            }
        }
        Ok(Self { sessions, epoll, under_way_max })
    }

    /// Keeps every session's window full for `length`, then waits for the answers that are still due.
    fn run(&mut self, length: Duration) -> Result<Value> {
        let commands_before = self.commands();
        let start = Instant::now();
        for session in &mut self.sessions {
            session.fill(self.under_way_max)?;
        }
        let mut under_way: u64 = self.sessions.iter().map(Session::under_way).sum();
        let mut answered_at = start;
        let mut events = Vec::with_capacity(EVENTS_MAX);
        while under_way > 0 {
            let now = Instant::now();
            ensure!(
                now - answered_at < SILENCE_MAX,
                "no answer for {} s, with {under_way} commands not answered",
                SILENCE_MAX.as_secs()
            );
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&at_once))?;
            for event in events.drain(..) {
                answered_at = now;
                let session = &mut self.sessions[event.data.u64() as usize];
                let before = session.under_way();
                session.connection.read(&mut |_| {})?;
                if now - start < length {
                    session.fill(self.under_way_max)?;
                } else {
                    // Commands that were made and that the socket has not accepted yet are still sent.
                    session.connection.write()?;
                }
                under_way = under_way + session.under_way() - before;
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let resting: u64 = self.sessions.iter().map(|session| session.flow.resting()).sum();
        let total = self.commands();
        Ok(json!({ "commands": total - commands_before, "seconds": seconds, "total": total, "resting": resting }))
    }

    fn commands(&self) -> u64 {
        self.sessions.iter().map(|session| session.flow.number()).sum()
    }
}

/// Runs the client process: it logs every session in and prints how long that took; then each line of its input is the
/// length of a flood in seconds, answered with a line of results.
pub fn serve(address: SocketAddr, sessions: u32) -> Result<()> {
    ensure!(pin_to(0), "there is no core 0 to pin to");
    open_files::allow(u64::from(sessions) + FILES_BESIDE).map_err(|why| anyhow!(why))?;
    let started = Instant::now();
    let mut flood = Flood::open(address, sessions)?;
    let print = |value: Value| writeln!(std::io::stdout(), "{value}");
    print(json!({ "login_seconds": started.elapsed().as_secs_f64() }))?;
    for line in std::io::stdin().lines() {
        let seconds: f64 = line?.parse().context("the length of a flood, in seconds")?;
        print(flood.run(Duration::from_secs_f64(seconds))?)?;
    }
    Ok(())
}

/// The result of one flood.
#[derive(Clone, Copy, Debug)]
pub struct FloodResult {
    pub commands: u64,
    pub seconds: f64,
    /// Commands since the login, and the orders that all of them left at rest.
    pub total: u64,
    pub resting: u64,
}

/// The bench's handle of a client process; dropping it kills a process that has not ended.
pub struct ClientProcess {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pub login_seconds: f64,
}

impl ClientProcess {
    /// Starts `command`, a process that runs `serve`, and waits until its sessions are logged in.
    pub fn start(mut command: Command) -> Result<Self> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting the client process")?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("the client process has no output pipe")?);
        let mut client = Self { child, input, output, login_seconds: 0.0 };
        client.login_seconds = number(&client.read_line()?, "login_seconds")?;
        Ok(client)
    }

    pub fn flood(&mut self, seconds: f64) -> Result<FloodResult> {
        let input = self.input.as_mut().context("the client process has ended")?;
        writeln!(input, "{seconds}").context("writing to the client process")?;
        let result = self.read_line()?;
        let count =
            |key: &str| result[key].as_u64().with_context(|| format!("the client printed {result}, without {key}"));
        Ok(FloodResult {
            commands: count("commands")?,
            seconds: number(&result, "seconds")?,
            total: count("total")?,
            resting: count("resting")?,
        })
    }

    /// Closes every connection.
    pub fn end(mut self) -> Result<()> {
        drop(self.input.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "the client process ended with {status}");
        Ok(())
    }

    fn read_line(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("the client process ended before its result, with {}", self.child.wait()?);
        }
        serde_json::from_str(&line).with_context(|| format!("the client printed {line:?}, expected JSON"))
    }
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        // Killing a process that has ended fails, and is not needed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn number(result: &Value, key: &str) -> Result<f64> {
    result[key].as_f64().with_context(|| format!("the client printed {result}, without {key}"))
}
