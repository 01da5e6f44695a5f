//! A real S3 server (moto) for one test, on a port from the system, and a proxy to it that can be cut.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

const BUCKET: &str = "pinion-backups";

/// Stopped when dropped.
pub(crate) struct S3 {
    child: Child,
    pub address: SocketAddr,
}

impl S3 {
    pub(crate) fn start() -> Self {
        let server = server_path();
        let mut child = Command::new(&server)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .env("PYTHONUNBUFFERED", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; `./dev setup` installs it", server.display()));
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let announced = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, address) = line.split_once("Running on http://")?;
            address.trim().parse().ok()
        });
        let address = announced.expect("the server says where it listens");
        // Reads the rest, so that the server never blocks on a full pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let s3 = Self { child, address };
        let made = s3.ask(&format!(
            "PUT /{BUCKET} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ));
        assert!(made.starts_with("HTTP/1.1 200"), "{made}");
        s3
    }

    pub(crate) fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// The settings that an operator has in the environment or in a file.
    pub(crate) fn settings(&self) -> [(&'static str, String); 5] {
        settings_for(self.address)
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // The process may have ended already; there is nothing to keep.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn settings_for(address: SocketAddr) -> [(&'static str, String); 5] {
    [
        ("AWS_ENDPOINT", format!("http://{address}")),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
    ]
}

/// The server that `./dev` installs. A machine without it fails these tests: an untested backup is not a backup.
fn server_path() -> PathBuf {
    let given = std::env::var_os("PINION_MOTO_SERVER").map(PathBuf::from);
    given.expect("PINION_MOTO_SERVER names moto's server: run the tests through ./dev, which sets it and installs it")
}

/// A proxy to a server, which can fail in the ways that networks and stores do.
pub(crate) struct Proxy {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// It is closed at once.
    Cut,
    /// It is reset while the request is under way.
    Reset,
    /// The server gets the request, and its answer is lost.
    AnswerLost,
    /// The request is answered with this status, and with this code in the body where there is one.
    Status(u16, &'static str),
    /// The request is never answered.
    Hang,
}

struct State {
    weather: Weather,
    /// Both ends of every open connection, which a change of weather closes.
    open: Vec<TcpStream>,
}

impl Proxy {
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(Mutex::new(State { weather: Weather::Fair, open: Vec::new() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let mut state = shared.lock().expect("no thread panics with it");
                let weather = state.weather;
                state.open.extend(near.try_clone());
                match weather {
                    Weather::Fair => {
                        let Ok(far) = TcpStream::connect(server) else { continue };
                        for (from, to) in [(&near, &far), (&far, &near)] {
                            let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                            std::thread::spawn(move || carry(from, to));
                        }
                        state.open.push(far);
                    }
                    Weather::Cut => {
                        state.open.pop();
                    }
                    _ => {
                        std::thread::spawn(move || fail(near, server, weather));
                    }
                }
            }
        });
        Self { address, state }
    }

    /// Changes the weather, and closes every connection that is open.
    pub(crate) fn set(&self, weather: Weather) {
        let mut state = self.state.lock().expect("no thread panics with it");
        state.weather = weather;
        for socket in state.open.drain(..) {
            // The socket may be closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn cut(&self) {
        self.set(Weather::Cut);
    }

    pub(crate) fn restore(&self) {
        self.set(Weather::Fair);
    }
}

/// Whatever fails here is the failure that is wanted.
fn fail(mut near: TcpStream, server: SocketAddr, weather: Weather) {
    match weather {
        Weather::Reset => {
            // Closing a socket with unread bytes resets the connection.
            let _ = near.read(&mut [0; 16]);
        }
        Weather::AnswerLost => {
            let request = read_request(&mut near);
            let Ok(mut far) = TcpStream::connect(server) else { return };
            let _ = far.write_all(&request);
            let _ = far.read(&mut [0; 1024]);
        }
        Weather::Status(status, code) => {
            read_request(&mut near);
            let body = match code {
                "" => String::new(),
                code => {
                    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>As planned.</Message></Error>")
                }
            };
            let length = body.len();
            let _ = write!(
                near,
                "HTTP/1.1 {status} Planned\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
        // Until the weather changes, which closes the socket.
        Weather::Hang => {
            let _ = std::io::copy(&mut near, &mut std::io::sink());
        }
        Weather::Fair | Weather::Cut => {}
    }
}

/// One request with its body, or what came of it.
fn read_request(near: &mut TcpStream) -> Vec<u8> {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let head_end = request.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = head_end {
            let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if end + 4 + length.unwrap_or(0usize) <= request.len() {
                return request;
            }
        }
        match near.read(&mut buffer) {
            Ok(0) | Err(_) => return request,
            Ok(len) => request.extend_from_slice(&buffer[..len]),
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    // Ends when either side closes.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
