//! Many sessions of one client process, flooded from one spinning thread.
//!
//! ```text
//!  bench process, node on core 1                               client process, core 0
//!  "2.0\n"  --stdin-->                                         window full in every session, refilled as answers come
//!  {"commands": .., "seconds": ..}  <--stdout--                epoll tells which sessions have been answered
//! ```
//! A process of its own, because at ten thousand sessions both ends together need more files than one process may open.
//! Invariant: every session's commands are answered in their order (`line`), and all of them before a flood is over.

use crate::connection::Line;
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

/// Commands under way, over all sessions.
pub const UNDER_WAY: u64 = 10_000;
/// Orders at rest, over all sessions.
pub const RESTING: u64 = 10_000;
/// Files that a process has open besides connections, with room.
pub const FILES_BESIDE: u64 = 256;

/// Log-ins under way at once; the node's door keeps no more than 64 waiting.
const LOGINS_AT_ONCE: usize = 32;
const INBOX_BYTES_MIN: usize = 4 << 10;
const INBOX_BYTES_MAX: usize = 256 << 10;
/// Bytes that wait for a socket before no more commands are made for it.
const UNWRITTEN_BYTES_MAX: usize = 64 << 10;
const EVENTS_MAX: usize = 1_024;
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Names as short as a log-in allows: 1 to 6 letters and digits.
pub fn users(sessions: u32) -> Vec<String> {
    (1..=sessions).map(|number| format!("U{number}")).collect()
}

struct Seat {
    line: Line,
    flow: Flow,
}

impl Seat {
    fn under_way(&self) -> u64 {
        self.flow.number() - self.line.answered()
    }

    /// Makes commands until as many are under way as may be, and writes what the socket takes.
    fn fill(&mut self, under_way_max: u64) -> Result<()> {
        while self.under_way() < under_way_max && self.line.unwritten() < UNWRITTEN_BYTES_MAX {
            self.flow.append(&mut self.line.out);
        }
        self.line.write()
    }
}

/// The client's end.
struct Swarm {
    seats: Vec<Seat>,
    epoll: OwnedFd,
    under_way_max: u64,
}

impl Swarm {
    /// Logs every session in, a few at a time.
    fn open(address: SocketAddr, sessions: u32) -> Result<Self> {
        let share = |total: u64| (total / u64::from(sessions)).max(1);
        let (under_way_max, resting) = (share(UNDER_WAY), share(RESTING));
        let inbox_bytes = (under_way_max as usize * 128).clamp(INBOX_BYTES_MIN, INBOX_BYTES_MAX);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut seats = Vec::with_capacity(sessions as usize);
        for users in users(sessions).chunks(LOGINS_AT_ONCE) {
            let dial = |user: &String| Line::dial(address, user, 0, inbox_bytes);
            let lines = users.iter().map(dial).collect::<Result<Vec<_>>>()?;
            for mut line in lines {
                line.await_login()?;
                let idx = seats.len() as u64;
                epoll::add(&epoll, &line, epoll::EventData::new_u64(idx), epoll::EventFlags::IN)?;
                seats.push(Seat { line, flow: Flow::with_resting(MARKET, resting) });
            }
        }
        Ok(Self { seats, epoll, under_way_max })
    }

    /// Keeps every session's window full for `length`, then waits for what is still under way.
    fn flood(&mut self, length: Duration) -> Result<Value> {
        let before = self.commands();
        let start = Instant::now();
        for seat in &mut self.seats {
            seat.fill(self.under_way_max)?;
        }
        let mut under_way: u64 = self.seats.iter().map(Seat::under_way).sum();
        let mut heard_at = start;
        let mut events = Vec::with_capacity(EVENTS_MAX);
        while under_way > 0 {
            let now = Instant::now();
            ensure!(now - heard_at < SILENCE_MAX, "{under_way} commands are not answered");
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&at_once))?;
            for event in events.drain(..) {
                heard_at = now;
                let seat = &mut self.seats[event.data.u64() as usize];
                let was = seat.under_way();
                seat.line.read(&mut |_| {})?;
                if now - start < length {
                    seat.fill(self.under_way_max)?;
                } else {
                    // What was made and not yet taken by the socket still goes.
                    seat.line.write()?;
                }
                under_way = under_way + seat.under_way() - was;
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let resting: u64 = self.seats.iter().map(|seat| seat.flow.resting()).sum();
        let total = self.commands();
        Ok(json!({ "commands": total - before, "seconds": seconds, "total": total, "resting": resting }))
    }

    fn commands(&self) -> u64 {
        self.seats.iter().map(|seat| seat.flow.number()).sum()
    }
}

/// The whole life of the client process: logs in, says so, and floods for as long as each line of its input says.
pub fn serve(address: SocketAddr, sessions: u32) -> Result<()> {
    ensure!(pin_to(0), "there is no core 0 to pin to");
    open_files::allow(u64::from(sessions) + FILES_BESIDE).map_err(|why| anyhow!(why))?;
    let started = Instant::now();
    let mut swarm = Swarm::open(address, sessions)?;
    let say = |value: Value| writeln!(std::io::stdout(), "{value}");
    say(json!({ "login_seconds": started.elapsed().as_secs_f64() }))?;
    for line in std::io::stdin().lines() {
        let seconds: f64 = line?.parse().context("how long to flood, in seconds")?;
        say(swarm.flood(Duration::from_secs_f64(seconds))?)?;
    }
    Ok(())
}

/// What a flood came to.
#[derive(Clone, Copy, Debug)]
pub struct Flooded {
    pub commands: u64,
    pub seconds: f64,
    /// Since the log-in, and what they left at rest.
    pub total: u64,
    pub resting: u64,
}

/// The bench's end of a client process; killed when dropped before its end.
pub struct Client {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pub login_seconds: f64,
}

impl Client {
    /// Starts `command`, which must come to `serve`, and waits until its sessions are logged in.
    pub fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("the client process")?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("its output is piped")?);
        let mut client = Self { child, input, output, login_seconds: 0.0 };
        client.login_seconds = number(&client.hear()?, "login_seconds")?;
        Ok(client)
    }

    pub fn flood(&mut self, seconds: f64) -> Result<Flooded> {
        let input = self.input.as_mut().context("the client has not ended")?;
        writeln!(input, "{seconds}").context("the client is gone")?;
        let told = self.hear()?;
        let count = |key: &str| told[key].as_u64().with_context(|| format!("the client said {told}, without {key}"));
        Ok(Flooded {
            commands: count("commands")?,
            seconds: number(&told, "seconds")?,
            total: count("total")?,
            resting: count("resting")?,
        })
    }

    /// Closes every connection.
    pub fn end(mut self) -> Result<()> {
        drop(self.input.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "the client ended with {status}");
        Ok(())
    }

    fn hear(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("the client ended early, with {}", self.child.wait()?);
        }
        serde_json::from_str(&line).with_context(|| format!("the client said {line:?}"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn number(told: &Value, key: &str) -> Result<f64> {
    told[key].as_f64().with_context(|| format!("the client said {told}, without {key}"))
}
