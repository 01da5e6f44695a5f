//! Bodies of requests to the admin API: a body reads the same after a round trip, and its commands keep the engine
//! consistent.
//!
//! The first byte chooses the endpoint, the rest is the body.

use crate::meter;
use crate::small_exchange::SmallExchange;
use crate::target::{Outcome, Target, repair_nothing};
use api::admin::*;

use book::codec::{self, PayloadVersion};
use book::command::{Act, Acted, Admin, CodMode, Command};
use node::ops::refusal::Refusal;
use node::ops::registry::Registry;
use node::ops::to_acts::{ToActs, funds_move, key_spec, session_spec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

pub const TARGET: Target =
    Target { name: "admin_body", seeds, repair: repair_nothing, check, bytes_max: 1024, round_inputs: 4_000 };

type Acts = Result<Vec<Act>, Refusal>;
type Read = fn(&[u8], &Registry) -> Option<Acts>;

const ENDPOINTS: [Read; 18] = [
    intent::<AddAsset>,
    intent::<AddMarket>,
    intent::<SetMarketStatus>,
    intent::<SetMarketFees>,
    intent::<SetMarketLimits>,
    intent::<SetFeeTier>,
    intent::<AddAccount>,
    intent::<SetAccountStatus>,
    intent::<SetAccountFeeTier>,
    intent::<SetAccountLimits>,
    intent::<SetAccountBlock>,
    intent::<SetSessionBlock>,
    intent::<SetSessionThrottle>,
    intent::<RevokeKey>,
    intent::<CancelAll>,
    add_session,
    add_key,
    intent::<RaiseRules>,
];
/// The index after those of the other endpoints: deposits and withdrawals share one body.
const MOVE_FUNDS: usize = ENDPOINTS.len();

fn check(input: &[u8]) -> Outcome {
    let Some((endpoint, body)) = input.split_first() else { return Outcome::Refused };
    let mut exchange = SmallExchange::opened();
    let registry = Registry::of(&exchange.engine);
    let endpoint = usize::from(*endpoint) % (MOVE_FUNDS + 1);
    let read = ENDPOINTS.get(endpoint).copied().unwrap_or(move_funds);
    let Some(acts) = read(body, &registry) else { return Outcome::Refused };
    let acts = match acts {
        Ok(acts) => acts,
        Err(refusal) => {
            assert!(refusal.status.is_client_error() || refusal.status.as_u16() == 501, "{refusal:?}");
            assert!(!refusal.detail.is_empty() && refusal.seq.is_none());
            return Outcome::Refused;
        }
    };
    let mut buffer = vec![0; codec::RECORD_BYTES_MAX];
    for act in acts {
        let command = Command::Acted(Box::new(Acted::by_ops(act)));
        if command.rules_unknown().is_some() {
            // The engine loop refuses it before it reaches the log.
            return Outcome::Refused;
        }
        // A command that does not fit a record is refused before it reaches the log.
        let Ok(len) = codec::encode(PayloadVersion::Two, book::units::TsNs(1), &command, &mut buffer) else {
            return Outcome::Refused;
        };
        assert_eq!(&codec::decode(&buffer[..len]).expect("what was encoded decodes").command, &command);
        exchange.apply(&command);
    }
    exchange.engine.verify().expect("no command brings the books out of balance");
    Outcome::Decoded
}

/// Parses a body and checks that it is the same after it was written and parsed again.
fn body<T: Debug + PartialEq + Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    // Strings and lists of strings: an empty one takes three bytes of JSON and 24 of memory.
    let read = meter::within(64 * bytes.len() + 4096, || serde_json::from_slice::<T>(bytes));
    let read = read.ok()?;
    let written = serde_json::to_vec(&read).expect("a body can be written");
    assert_eq!(serde_json::from_slice::<T>(&written).ok().as_ref(), Some(&read));
    Some(read)
}

fn intent<T: ToActs + Debug + PartialEq + Serialize + DeserializeOwned>(
    bytes: &[u8],
    registry: &Registry,
) -> Option<Acts> {
    body::<T>(bytes).map(|intent| intent.acts(registry))
}

fn add_session(bytes: &[u8], registry: &Registry) -> Option<Acts> {
    let request: AddSession = body(bytes)?;
    let spec = session_spec(&request, (CodMode::OnDisconnect, 5_000), "hash".to_owned(), registry);
    Some(spec.map(|spec| vec![Act::Admin(Admin::AddSession(spec))]))
}

fn add_key(bytes: &[u8], registry: &Registry) -> Option<Acts> {
    let request: AddKey = body(bytes)?;
    let spec = key_spec(&request, "K".repeat(book::keys::KEY_BYTES_MAX), registry);
    Some(spec.map(|spec| vec![Act::Admin(Admin::AddKey(spec))]))
}

fn move_funds(bytes: &[u8], registry: &Registry) -> Option<Acts> {
    let request: MoveFunds = body(bytes)?;
    let funds = funds_move(&request, registry);
    let both = |funds: book::command::FundsMove| [Admin::Deposit(funds), Admin::Withdraw(funds)];
    Some(funds.map(|funds| both(funds).into_iter().map(Act::Admin).collect()))
}

fn seeds() -> Vec<Vec<u8>> {
    let bodies = [
        r#"{"symbol":"DOGE","scale":8}"#,
        r#"{"symbol":"ETH-BTC","base":"ETH","quote":"BTC","tick":"1","lot":"1","min_qty":"2","max_qty":"900","min_notional":null,"price_band_ppm":5000,"maker_fee_ppm":-20,"taker_fee_ppm":75,"status":"post_only"}"#,
        r#"{"all":true,"status":"halt"}"#,
        r#"{"market":"BTC-USD","maker_fee_ppm":1,"taker_fee_ppm":2}"#,
        r#"{"market":"ETH-USD","max_qty":"12","price_band_ppm":7}"#,
        r#"{"tier":1,"maker_scale_ppm":500000,"taker_scale_ppm":1000000}"#,
        r#"{"name":"desk","kind":"agent","parent":4,"fee_tier":1}"#,
        r#"{"account":2,"status":"suspended"}"#,
        r#"{"account":1,"tier":2}"#,
        r#"{"account":1,"open_orders_max":3}"#,
        r#"{"account":3,"blocked":true}"#,
        r#"{"user":"U1","blocked":false}"#,
        r#"{"user":"U1","orders_per_second":10,"burst":20}"#,
        r#"{"key":"ABC"}"#,
        r#"{"account":1,"market":"BTC-USD","block":true}"#,
        r#"{"account":1,"user":"NEW1","drop_copy":false,"cancel_on_disconnect":"both","cancel_scope":"account","cancel_window_ms":7}"#,
        r#"{"account":1,"permissions":["read","trade"],"ed25519":"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n","addresses":["10.0.0.0/8","2001:db8::/32"],"expires_ns":9}"#,
        r#"{"version":2}"#,
        r#"{"account":1,"asset":"USD","amount":"12","ref":"R1"}"#,
    ];
    let seed = |(endpoint, body): (usize, &str)| [&[endpoint as u8], body.as_bytes()].concat();
    bodies.into_iter().enumerate().map(seed).collect()
}
