//! The login packets of SoupBinTCP: user, password, stream, and the sequence number to resume from.
//!
//! ```text
//! login     0      6          16        26         46      accepted  0         10         30
//!           | user | password | session | sequence |                 | session | sequence |
//! ```
//! Fields are ASCII of fixed width. They are written as the specification pads them (text left aligned, numbers right
//! aligned) and read with spaces on either side, because implementations differ.

use crate::binary::stream::SessionSeq;
use book::ids::SessionId;
use book::run::{LIFE_TAGS, LifeTag, Run};
use book::session::SESSIONS_MAX;
use thiserror::Error;

pub const USER_BYTES: usize = 6;
pub const PASSWORD_BYTES: usize = 10;
pub const SESSION_BYTES: usize = 10;
pub const SEQUENCE_BYTES: usize = 20;
pub const LOGIN_BYTES: usize = USER_BYTES + PASSWORD_BYTES + SESSION_BYTES + SEQUENCE_BYTES;
pub const ACCEPT_BYTES: usize = SESSION_BYTES + SEQUENCE_BYTES;

const _: () = assert!(LOGIN_BYTES == 46 && ACCEPT_BYTES == 30);

/// The name of a numbered stream, 10 characters on the wire. Under one name a number is given to one message, once.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionName([u8; SESSION_BYTES]);

impl SessionName {
    /// Requests the current stream: that of the user, or `LIVE` on the market data port.
    pub const BLANK: Self = Self([b' '; SESSION_BYTES]);
    /// Market data: every change of every book, one stream for all readers.
    pub const LIVE: Self = Self(*b"LIVE      ");
    /// Market data: one snapshot of all books, numbered for this connection alone.
    pub const SNAP: Self = Self(*b"SNAP      ");
    /// Market data: the best levels, conflated, numbered for this connection alone.
    pub const TOP: Self = Self(*b"TOP       ");

    /// The stream of an order-entry session: in its first life `PIN` and seven digits; in every later one `L`, four
    /// letters and digits for the life, and five digits.
    pub fn of_session(session: SessionId, run: &Run) -> Self {
        const { assert!(SESSIONS_MAX < 100_000 && LIFE_TAGS < 36 * 36 * 36 * 36) };
        if run.life == 0 {
            let mut name = *b"PIN0000000";
            write_digits(u64::from(session.0), b'0', &mut name[3..]);
            return Self(name);
        }
        Self::of_life(session, run.tag)
    }

    /// The stream of an order-entry session in a later life, which has this tag.
    pub fn of_life(session: SessionId, tag: LifeTag) -> Self {
        let (number, mut tag) = (u64::from(session.0), tag.0);
        let mut name = *b"L000000000";
        for place in name[1..5].iter_mut().rev() {
            *place = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[(tag % 36) as usize];
            tag /= 36;
        }
        write_digits(number, b'0', &mut name[5..]);
        Self(name)
    }

    /// Reads up to 10 letters and digits with padding on either side; `None` for anything else.
    pub fn new(text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii();
        if SESSION_BYTES < text.len() || !text.iter().all(u8::is_ascii_alphanumeric) {
            return None;
        }
        let mut name = [b' '; SESSION_BYTES];
        name[..text.len()].copy_from_slice(text);
        Some(Self(name))
    }

    pub fn is_blank(&self) -> bool {
        *self == Self::BLANK
    }

    pub fn as_bytes(&self) -> &[u8; SESSION_BYTES] {
        &self.0
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("?").trim_ascii()
    }
}

impl std::fmt::Debug for SessionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A login as received: the padding is removed, the credentials are not verified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LoginRequest<'a> {
    pub user: &'a str,
    pub password: &'a [u8],
    /// Blank requests the current stream.
    pub session: SessionName,
    /// Number of the first message to send. `SessionSeq::HEAD` starts with the next new message.
    pub sequence: SessionSeq,
}

impl std::fmt::Debug for LoginRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LoginRequest {{ user: {:?}, session: {:?}, from: {:?} }}", self.user, self.session, self.sequence)
    }
}

/// Why the payload of a login packet cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LoginError {
    #[error("{len} bytes, expected {LOGIN_BYTES}")]
    Length { len: usize },
    #[error("the user name (bytes 0 to 5) holds characters other than letters and digits")]
    User,
    #[error("the session name (bytes 16 to 25) holds characters other than letters and digits")]
    Session,
    #[error("the sequence number (bytes 26 to 45) is not a decimal number of 64 bits")]
    Sequence,
}

impl<'a> LoginRequest<'a> {
    pub fn read(payload: &'a [u8]) -> Result<Self, LoginError> {
        if payload.len() != LOGIN_BYTES {
            return Err(LoginError::Length { len: payload.len() });
        }
        let (user, rest) = payload.split_at(USER_BYTES);
        let (password, rest) = rest.split_at(PASSWORD_BYTES);
        let (session, sequence) = rest.split_at(SESSION_BYTES);
        let user = user.trim_ascii();
        if !user.iter().all(u8::is_ascii_alphanumeric) {
            return Err(LoginError::User);
        }
        Ok(Self {
            user: std::str::from_utf8(user).map_err(|_| LoginError::User)?,
            password: password.trim_ascii(),
            session: SessionName::new(session).ok_or(LoginError::Session)?,
            sequence: SessionSeq(read_digits(sequence).ok_or(LoginError::Sequence)?),
        })
    }

    /// `None` when the user name or the password is longer than its field.
    pub fn write(&self) -> Option<[u8; LOGIN_BYTES]> {
        let mut payload = [b' '; LOGIN_BYTES];
        let (user, rest) = payload.split_at_mut(USER_BYTES);
        let (password, rest) = rest.split_at_mut(PASSWORD_BYTES);
        let (session, sequence) = rest.split_at_mut(SESSION_BYTES);
        user.get_mut(..self.user.len())?.copy_from_slice(self.user.as_bytes());
        password.get_mut(..self.password.len())?.copy_from_slice(self.password);
        session.copy_from_slice(self.session.as_bytes());
        write_digits(self.sequence.0, b' ', sequence);
        Some(payload)
    }
}

/// The answer to a login that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginAccepted {
    pub session: SessionName,
    /// Number of the first sequenced packet that this connection will carry.
    pub sequence: SessionSeq,
}

impl LoginAccepted {
    pub fn read(payload: &[u8]) -> Option<Self> {
        if payload.len() != ACCEPT_BYTES {
            return None;
        }
        let (session, sequence) = payload.split_at(SESSION_BYTES);
        Some(Self { session: SessionName::new(session)?, sequence: SessionSeq(read_digits(sequence)?) })
    }

    pub fn write(&self) -> [u8; ACCEPT_BYTES] {
        let mut payload = [b' '; ACCEPT_BYTES];
        let (session, sequence) = payload.split_at_mut(SESSION_BYTES);
        session.copy_from_slice(self.session.as_bytes());
        write_digits(self.sequence.0, b' ', sequence);
        payload
    }
}

/// Why a login is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[repr(u8)]
pub enum LoginReject {
    /// Unknown user, wrong password, or too many logins being checked; the answer does not say which.
    #[error("not authorised: wrong user name or password, or too many logins at once")]
    NotAuthorised = b'A',
    /// No stream of this name, a number that the stream has never said, or too many snapshots are being sent.
    #[error("no such session, or its stream has never said the message before the requested sequence number")]
    NoSession = b'S',
    /// Market data only: the live stream has said the requested number, or an earlier life of it may have, and it is no
    /// longer in memory. The reader takes a snapshot and goes on from there.
    #[error("the requested message is no longer in memory: take a snapshot and follow the stream from there")]
    Gone = b'G',
}

impl LoginReject {
    pub fn read(payload: &[u8]) -> Option<Self> {
        match payload {
            [b'A'] => Some(Self::NotAuthorised),
            [b'S'] => Some(Self::NoSession),
            [b'G'] => Some(Self::Gone),
            _ => None,
        }
    }
}

/// Writes digits right aligned into `out` and fills the rest with `pad`. Any u64 fits 20 digits.
fn write_digits(mut number: u64, pad: u8, out: &mut [u8]) {
    out.fill(pad);
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return;
        }
    }
    assert!(number == 0, "the field holds every number that is written to it");
}

/// Reads a decimal number with padding on either side; a blank field is zero.
fn read_digits(field: &[u8]) -> Option<u64> {
    let digits = field.trim_ascii();
    if digits.is_empty() {
        return Some(0);
    }
    digits.iter().try_fold(0u64, |number, &b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}
