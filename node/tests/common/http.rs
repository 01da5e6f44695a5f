//! One request to the ops listener, on a connection of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

/// Head and body of the answer to a request after which the node closes the connection.
pub(crate) fn raw(address: SocketAddr, request: &str) -> (String, String) {
    let mut socket = TcpStream::connect(address).expect("the node listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
    socket.write_all(request.as_bytes()).expect("the node reads");
    let mut answer = String::new();
    // A node that ends the connection early has answered nothing.
    let _ = socket.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer.as_str(), ""));
    (head.to_owned(), body.to_owned())
}

/// Status and body of the answer; an empty answer, of a node that closed the connection before, has status 0.
pub(crate) fn request(address: SocketAddr, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
    let (head, body) = raw(
        address,
        &format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    );
    (head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0), body)
}
