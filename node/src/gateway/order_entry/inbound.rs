//! Requests of one connection: messages become commands in the ingress; logins and logouts are returned to the gateway.
//!
//! Connections take turns: one whose turn is over goes on when all others that wait have had theirs.

use crate::faults::mutation::{Mutation, Planted};
use crate::gateway::send_buffer::ControlOutput;
use crate::rings::ingress::Ingress;
use api::binary::decode::{Decoded, Sender, decode};
use api::binary::login::{LoginRequest, SessionName};
use api::binary::session::{CloseReason, Flow, Inbound, Output};
use api::binary::stream::SessionSeq;
use api::instruments::Instruments;
use book::command::Command;
use book::units::TsNs;
use rtrb::Producer;

/// A login, copied out of the receive buffer.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) name: SessionName,
    pub(super) sequence: SessionSeq,
}

/// What received bytes have led to besides commands.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) login: Option<Login>,
    pub(super) logout: bool,
    /// A message was not a request of the schema. Nothing after it is decoded.
    pub(super) malformed: bool,
    pub(super) closed: Option<CloseReason>,
}

/// Plain commands that a connection may send in one turn while others wait for theirs.
pub(super) const TURN: u32 = 32;
/// What a request that may have to look at many orders counts in a turn.
const OVER_MANY_WEIGHT: u32 = 8;

fn weight(command: &Command) -> u32 {
    match command {
        Command::MassCancel(_) | Command::Query(_) => OVER_MANY_WEIGHT,
        _ => 1,
    }
}

/// Decodes the requests in received bytes. Invariant: the ingress has room for one more command when `message` is
/// called.
pub(super) struct RequestDecoder<'a> {
    /// When the bytes arrived.
    pub(super) received: TsNs,
    pub(super) sender: Option<Sender>,
    pub(super) lives_seen: u32,
    pub(super) instruments: &'a Instruments,
    pub(super) ingress: &'a mut Producer<Ingress>,
    pub(super) stage_times: &'a mut bool,
    pub(super) output: ControlOutput<'a>,
    pub(super) outcome: Outcome,
    /// What is left of the connection's turn.
    pub(super) turn: u32,
}

impl Output for RequestDecoder<'_> {
    fn send(&mut self, bytes: &[u8]) {
        self.output.send(bytes);
    }

    fn close(&mut self, reason: CloseReason) {
        self.output.close(reason);
    }
}

impl Inbound for RequestDecoder<'_> {
    fn login_requested(&mut self, login: &LoginRequest<'_>) {
        self.outcome.login = Some(Login {
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
                tracing::info!(session = sender.session.0, %error, "malformed request; the connection is closed");
                self.outcome.malformed = true;
                return Flow::Pause;
            }
        };
        self.turn = self.turn.saturating_sub(weight(&command));
        let ingress = Ingress { received: self.received, lives_seen: self.lives_seen, command };
        self.ingress.push(ingress).expect("the last push left room for one more");
        let is_over = (self.turn == 0).planted(Mutation::TurnWithoutEnd, |_| false);
        if is_over || self.ingress.is_full() { Flow::Pause } else { Flow::Continue }
    }

    fn logout_requested(&mut self) {
        self.outcome.logout = true;
    }
}
