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

/// A proxy to a server; its connections can be cut and restored.
pub(crate) struct Proxy {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    cut: bool,
    /// Both ends of every open connection, which `cut` closes.
    open: Vec<TcpStream>,
}

impl Proxy {
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(Mutex::new(State { cut: false, open: Vec::new() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let mut state = shared.lock().expect("no thread panics with it");
                if state.cut {
                    continue;
                }
                let Ok(far) = TcpStream::connect(server) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    std::thread::spawn(move || carry(from, to));
                }
                state.open.extend([near, far]);
            }
        });
        Self { address, state }
    }

    pub(crate) fn cut(&self) {
        let mut state = self.state.lock().expect("no thread panics with it");
        state.cut = true;
        for socket in state.open.drain(..) {
            // The socket may be closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn restore(&self) {
        self.state.lock().expect("no thread panics with it").cut = false;
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    // Ends when either side closes.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
