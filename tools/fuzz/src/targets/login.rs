//! The packets of a log-in: a payload that is read is the same after it was written and read again.

use crate::meter;
use crate::target::{Outcome, Target, repair_nothing};
use api::binary::login::{LoginAccepted, LoginReject, LoginRequest, SessionName};
use api::binary::stream::SessionSeq;

pub const TARGET: Target =
    Target { name: "login", seeds, repair: repair_nothing, check, bytes_max: 64, round_inputs: 40_000 };

fn check(input: &[u8]) -> Outcome {
    // An input has no packet type: every reader gets every payload.
    let outcomes = [request(input), accepted(input), rejected(input), name(input)];
    if outcomes.contains(&Outcome::Decoded) { Outcome::Decoded } else { Outcome::Refused }
}

fn request(input: &[u8]) -> Outcome {
    let Ok(login) = meter::within(0, || LoginRequest::read(input)) else { return Outcome::Refused };
    assert!(!format!("{login:?}").contains("password"), "the debug text does not show the password");
    let written = login.write().expect("what was read fits its fields");
    assert_eq!(LoginRequest::read(&written).as_ref(), Ok(&login));
    Outcome::Decoded
}

fn accepted(input: &[u8]) -> Outcome {
    let Some(accepted) = meter::within(0, || LoginAccepted::read(input)) else { return Outcome::Refused };
    assert_eq!(LoginAccepted::read(&accepted.write()), Some(accepted));
    Outcome::Decoded
}

fn rejected(input: &[u8]) -> Outcome {
    let Some(reject) = LoginReject::read(input) else { return Outcome::Refused };
    assert_eq!(input, [reject as u8]);
    Outcome::Decoded
}

fn name(input: &[u8]) -> Outcome {
    let Some(name) = SessionName::new(input) else { return Outcome::Refused };
    assert_eq!(SessionName::new(name.as_bytes()), Some(name));
    assert_eq!(name.as_str().as_bytes(), input.trim_ascii());
    Outcome::Decoded
}

fn seeds() -> Vec<Vec<u8>> {
    let login = |user, session, sequence| LoginRequest { user, password: b"s3cret", session, sequence };
    let logins =
        [login("MM1", SessionName::BLANK, SessionSeq::HEAD), login("public", SessionName::LIVE, SessionSeq(u64::MAX))];
    let accepted = LoginAccepted { session: SessionName::SNAP, sequence: SessionSeq(42) };
    let mut seeds: Vec<Vec<u8>> = logins.iter().filter_map(LoginRequest::write).map(Into::into).collect();
    seeds.push(accepted.write().to_vec());
    seeds.push(b"A".to_vec());
    seeds
}
