//! What a connection's protocol says while it takes bytes in: messages become commands, the rest is noted.

use crate::rings::ingress::Ingress;
use api::binary::decode::{Decoded, Sender, decode};
use api::binary::login::{LoginRequest, SessionName};
use api::binary::session::{CloseReason, Flow, SessionOutput};
use api::binary::stream::SessionSeq;
use api::instruments::Instruments;
use book::units::TsNs;
use rtrb::Producer;

/// A log-in, out of the buffer it came in.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) name: SessionName,
    pub(super) sequence: SessionSeq,
}

/// What a connection's bytes led to, besides commands.
#[derive(Default)]
pub(super) struct Happened {
    pub(super) login: Option<Login>,
    pub(super) logout: bool,
    pub(super) protocol_error: bool,
    pub(super) close: Option<CloseReason>,
}

impl Happened {
    pub(super) fn ends(&self) -> bool {
        self.close.is_some()
    }
}

/// Hears a session while it takes bytes in: messages become commands at once.
pub(super) struct Taking<'a> {
    pub(super) now: TsNs,
    pub(super) sender: Option<Sender>,
    pub(super) instruments: &'a Instruments,
    pub(super) ingress: &'a mut Producer<Ingress>,
    pub(super) control: &'a mut Vec<u8>,
    pub(super) stage_times: &'a mut bool,
    pub(super) happened: Happened,
}

impl SessionOutput for Taking<'_> {
    fn send(&mut self, bytes: &[u8]) {
        self.control.extend_from_slice(bytes);
    }

    fn login_requested(&mut self, login: &LoginRequest<'_>) {
        self.happened.login = Some(Login {
            user: login.user.to_owned(),
            password: String::from_utf8_lossy(login.password).into_owned(),
            name: login.session,
            sequence: login.sequence,
        });
    }

    #[inline]
    fn message(&mut self, bytes: &[u8]) -> Flow {
        let sender = self.sender.expect("an open connection has a session");
        let command = match decode(bytes, &sender, self.instruments) {
            Ok(Decoded::Command(command)) => command,
            Ok(Decoded::SetSession { command, stage_times }) => {
                *self.stage_times = stage_times;
                command
            }
            Err(error) => {
                tracing::info!(session = sender.session.0, %error, "a session sent what is no message");
                self.happened.protocol_error = true;
                return Flow::Pause;
            }
        };
        let ingress = Ingress { received: self.now, command };
        self.ingress.push(ingress).expect("the last push left room for one more");
        if self.ingress.is_full() { Flow::Pause } else { Flow::Continue }
    }

    fn logout_requested(&mut self) {
        self.happened.logout = true;
    }

    fn close(&mut self, reason: CloseReason) {
        self.happened.close = Some(reason);
    }
}

/// Hears a session outside of receiving: what it says goes to the connection's control bytes.
pub(super) struct Aside<'a> {
    pub(super) control: &'a mut Vec<u8>,
    pub(super) close: &'a mut Option<CloseReason>,
}

impl SessionOutput for Aside<'_> {
    fn send(&mut self, bytes: &[u8]) {
        self.control.extend_from_slice(bytes);
    }

    fn login_requested(&mut self, _login: &LoginRequest<'_>) {}

    fn message(&mut self, _bytes: &[u8]) -> Flow {
        Flow::Continue
    }

    fn logout_requested(&mut self) {}

    fn close(&mut self, reason: CloseReason) {
        *self.close = Some(reason);
    }
}
