//! The admin API: one POST endpoint per command. Each requires the bearer token and is answered once the command is
//! released, which by default means durable.
//!
//! `?dry_run=true` checks names and numbers and answers with the commands that would be sent, without sending them.

use super::answer::{describe, describe_registry, describe_sessions_on};
use super::command_queue::{Caller, CommandQueue};
use super::connections::PeerAddress;
use super::refusal::Refusal;
use super::registry::Registry;
use super::to_acts::{ToActs, funds_move, key_spec, named_session, session_spec};
use crate::config::secrets::{NewPassword, Secret, random_number, random_text};
use crate::replica::questions::ShadowPort;
use crate::status::Status;
use crate::status::watermarks::Watermark;
use api::admin::*;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use book::command::{ACTED_TEXT_BYTES_MAX, Act, Admin, CodMode};
use book::ids::SessionId;
use book::keys::KEY_BYTES_MAX;
use book::run::{LIFE_TAGS, LifeTag};
use book::state_hash::StateHash;
use book::units::Seq;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use wal::units::Lsn;

/// Slows down guessing of tokens; the number of connections is limited too.
const PAUSE_AFTER_WRONG_TOKEN: Duration = Duration::from_millis(200);

pub struct AdminState {
    pub command_queue: Arc<CommandQueue>,
    pub shadow: ShadowPort,
    /// The last command whose answers may have been sent. A snapshot on demand covers all that was answered before.
    pub released: Watermark<Seq>,
    /// For what operators report.
    pub status: Arc<Status>,
    /// `None` if the configuration names no token file: the API then refuses every request.
    pub token: Option<Secret>,
    /// Defaults of a new session.
    pub cancel_on_disconnect: CodMode,
    pub cancel_window_ms: u32,
    /// Longest time that a client may take to send a body.
    pub body_timeout: Duration,
}

/// Where the routes are in the ops listener.
pub const MOUNT: &str = "/admin";

pub type Shared = Arc<AdminState>;

pub fn routes(state: Shared) -> Router {
    Router::new()
        .route("/registry", get(show_registry))
        .route("/asset/add", post(run::<AddAsset>))
        .route("/market/add", post(run::<AddMarket>))
        .route("/market/status", post(run::<SetMarketStatus>))
        .route("/market/remove", post(run::<RemoveMarket>))
        .route("/market/fees", post(run::<SetMarketFees>))
        .route("/market/limits", post(run::<SetMarketLimits>))
        .route("/rules/raise", post(run::<RaiseRules>))
        .route("/intake", post(run::<SetIntake>))
        .route("/fee-tier", post(run::<SetFeeTier>))
        .route("/account/add", post(run::<AddAccount>))
        .route("/account/status", post(run::<SetAccountStatus>))
        .route("/account/fee-tier", post(run::<SetAccountFeeTier>))
        .route("/account/limits", post(run::<SetAccountLimits>))
        .route("/account/block", post(run::<SetAccountBlock>))
        .route("/session/add", post(add_session))
        .route("/session/block", post(run::<SetSessionBlock>))
        .route("/session/throttle", post(run::<SetSessionThrottle>))
        .route("/session/new-life", post(begin_session_life))
        .route("/session/password", post(set_session_password))
        .route("/session/remove", post(remove_session))
        .route("/session/disconnect", post(disconnect_session))
        .route("/session/list", get(list_sessions))
        .route("/key/add", post(add_key))
        .route("/key/revoke", post(run::<RevokeKey>))
        .route("/deposit", post(deposit))
        .route("/withdraw", post(withdraw))
        .route("/fee/withdraw", post(run::<WithdrawFees>))
        .route("/client-names/max", post(run::<SetClientNamesMax>))
        .route("/cancel-all", post(run::<CancelAll>))
        .route("/torn-end/acknowledge", post(acknowledge_torn_end))
        .route("/snapshot", post(take_snapshot))
        .route("/backup", post(note_backup))
        .fallback(async || Refusal::no_such_endpoint())
        .layer(from_fn_with_state(Arc::clone(&state), authorize))
        .with_state(state)
}

/// Passes on only requests that carry the token.
async fn authorize(State(state): State<Shared>, request: Request, next: Next) -> Response {
    let Some(token) = &state.token else {
        return Refusal::closed("the admin API is closed: set listen.ops_token_file").into_response();
    };
    if !is_bearer(request.headers(), token) {
        tokio::time::sleep(PAUSE_AFTER_WRONG_TOKEN).await;
        let refusal = Refusal::unauthorized("send the token of listen.ops_token_file: Authorization: Bearer ...");
        return ([(header::WWW_AUTHENTICATE, "Bearer")], refusal).into_response();
    }
    let mut response = next.run(request).await;
    // Answers may hold a password.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether the request carries this token, in constant time.
pub fn is_bearer(headers: &HeaderMap, token: &Secret) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    given.is_some_and(|given| token.is(given))
}

/// A JSON body, or a refusal that says what is wrong with it.
struct Body<T>(T);

impl<T: DeserializeOwned> FromRequest<Shared> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &Shared) -> Result<Self, Refusal> {
        let late = |_| Refusal::body(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time".to_owned());
        let bytes =
            tokio::time::timeout(state.body_timeout, Bytes::from_request(request, state)).await.map_err(late)?;
        let bytes = bytes.map_err(|rejection| Refusal::body(rejection.status(), rejection.body_text()))?;
        let wrong = |error: serde_json::Error| Refusal::body(StatusCode::BAD_REQUEST, format!("body: {error}"));
        serde_json::from_slice(&bytes).map(Self).map_err(wrong)
    }
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Infallible> {
        // The router below which these routes hang has taken its own part of the path off.
        let path = format!("{MOUNT}{}", parts.uri.path());
        let address = parts.extensions.get::<PeerAddress>().map(|peer| peer.0.to_string());
        let request_id = parts.headers.get("x-request-id").and_then(|value| value.to_str().ok());
        Ok(Self {
            method: bounded(&format!("{} {path}", parts.method)),
            address: address.unwrap_or_default(),
            request_id: bounded(request_id.unwrap_or_default()),
        })
    }
}

/// The beginning of a text that a client has chosen, as long as the log takes it.
fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(ACTED_TEXT_BYTES_MAX)].to_owned()
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mode {
    #[serde(default)]
    dry_run: bool,
}

type Answer = Result<Json<Map<String, Value>>, Refusal>;

async fn show_registry(State(state): State<Shared>) -> Json<Value> {
    Json(describe_registry(&state.command_queue.registry()))
}

/// Sends the acts that `to_acts` makes with the registry, or shows them in a dry run.
async fn send(
    state: &Shared,
    caller: Caller,
    mode: Mode,
    to_acts: impl FnOnce(&Registry) -> Result<Vec<Act>, Refusal> + Send + 'static,
) -> Answer {
    let queue = &state.command_queue;
    if mode.dry_run {
        return would_send(&to_acts(&queue.registry())?);
    }
    let done = Arc::clone(queue).execute(caller, to_acts).await?;
    Ok(Json(describe(&done, &queue.registry())))
}

/// Runs a request whose commands depend on its fields and the registry alone.
async fn run<T>(State(state): State<Shared>, caller: Caller, Query(mode): Query<Mode>, Body(request): Body<T>) -> Answer
where
    T: ToActs + DeserializeOwned + Send + 'static,
{
    send(&state, caller, mode, move |registry| request.acts(registry)).await
}

async fn deposit(state: State<Shared>, caller: Caller, mode: Query<Mode>, body: Body<MoveFunds>) -> Answer {
    run_funds(state, caller, mode, body, Admin::Deposit).await
}

async fn withdraw(state: State<Shared>, caller: Caller, mode: Query<Mode>, body: Body<MoveFunds>) -> Answer {
    run_funds(state, caller, mode, body, Admin::Withdraw).await
}

async fn run_funds(
    State(state): State<Shared>,
    caller: Caller,
    Query(mode): Query<Mode>,
    Body(request): Body<MoveFunds>,
    direction: fn(book::command::FundsMove) -> Admin,
) -> Answer {
    send(&state, caller, mode, move |registry| Ok(vec![Act::Admin(direction(funds_move(&request, registry)?))])).await
}

/// Records who has seen a torn end, and then shows it no more. The act is durable first: an interrupted request leaves
/// the notice, and can be repeated.
async fn acknowledge_torn_end(
    State(state): State<Shared>,
    caller: Caller,
    Query(mode): Query<Mode>,
    Body(request): Body<AcknowledgeTornEnd>,
) -> Answer {
    let seq = Lsn(request.seq);
    let waiting = state.status.torn_ends.waiting();
    if !waiting.iter().any(|end| end.seq == seq) {
        let known: Vec<u64> = waiting.iter().map(|end| end.seq.0).collect();
        return Err(Refusal::invalid("seq", &format!("no torn end of this sequence waits; those that do: {known:?}")));
    }
    let answer = send(&state, caller, mode, move |registry| request.acts(registry)).await?;
    if !mode.dry_run {
        let status = Arc::clone(&state.status);
        let removed = tokio::task::spawn_blocking(move || status.torn_ends.acknowledge(seq)).await;
        let removed = removed.map_err(|error| Refusal::internal(error.to_string()))?;
        removed.map_err(|error| Refusal::internal(error.to_string()))?;
    }
    Ok(answer)
}

async fn add_session(
    State(state): State<Shared>,
    caller: Caller,
    Query(mode): Query<Mode>,
    Body(request): Body<AddSession>,
) -> Answer {
    let defaults = (state.cancel_on_disconnect, state.cancel_window_ms);
    let act = move |hash, registry: &Registry| Ok(Admin::AddSession(session_spec(&request, defaults, hash, registry)?));
    send_with_password(&state, caller, mode, act).await
}

async fn set_session_password(
    State(state): State<Shared>,
    caller: Caller,
    Query(mode): Query<Mode>,
    Body(request): Body<NameSession>,
) -> Answer {
    let act = move |password_hash, registry: &Registry| {
        Ok(Admin::SetSessionPassword { session: named_session(&request, registry)?, password_hash })
    };
    send_with_password(&state, caller, mode, act).await
}

/// Draws a password and sends the act with its hash. The password is shown in this answer only; the log has its hash.
async fn send_with_password(
    state: &Shared,
    caller: Caller,
    mode: Mode,
    act: impl Fn(String, &Registry) -> Result<Admin, Refusal> + Send + 'static,
) -> Answer {
    // Checked before hashing, which takes tens of milliseconds.
    let checked = act(String::new(), &state.command_queue.registry())?;
    if mode.dry_run {
        return would_send(&[Act::Admin(checked)]);
    }
    let drawn = tokio::task::spawn_blocking(NewPassword::draw).await;
    let drawn = drawn.map_err(|error| Refusal::internal(error.to_string()))?;
    let NewPassword { password, hash } = drawn.map_err(|error| Refusal::internal(error.to_string()))?;
    let to_acts = move |registry: &Registry| Ok(vec![Act::Admin(act(hash, registry)?)]);
    let Json(mut answer) = send(state, caller, mode, to_acts).await?;
    answer.insert("password".to_owned(), password.expose().into());
    Ok(Json(answer))
}

/// Draws the tag of the life, so that it differs from that of a life which a restore has taken back.
async fn begin_session_life(
    state: State<Shared>,
    caller: Caller,
    mode: Query<Mode>,
    body: Body<NameSession>,
) -> Answer {
    let drawn = random_number().map_err(|error| Refusal::internal(error.to_string()))?;
    let tag = LifeTag(drawn % LIFE_TAGS);
    run_for_session(state, caller, mode, body, move |session| Admin::BeginSessionLife { session, tag }).await
}

async fn remove_session(state: State<Shared>, caller: Caller, mode: Query<Mode>, body: Body<NameSession>) -> Answer {
    run_for_session(state, caller, mode, body, |session| Admin::RemoveSession { session }).await
}

async fn disconnect_session(
    state: State<Shared>,
    caller: Caller,
    mode: Query<Mode>,
    body: Body<NameSession>,
) -> Answer {
    run_for_session(state, caller, mode, body, |session| Admin::DisconnectSession { session }).await
}

async fn run_for_session(
    State(state): State<Shared>,
    caller: Caller,
    Query(mode): Query<Mode>,
    Body(request): Body<NameSession>,
    act: impl Fn(SessionId) -> Admin + Send + 'static,
) -> Answer {
    send(&state, caller, mode, move |registry| Ok(vec![Act::Admin(act(named_session(&request, registry)?))])).await
}

/// The sessions that are logged in now. It is not a command and not in the log.
async fn list_sessions(State(state): State<Shared>) -> Json<Value> {
    Json(describe_sessions_on(&state.command_queue.registry(), &state.status.sessions_on))
}

async fn add_key(
    State(state): State<Shared>,
    caller: Caller,
    Query(mode): Query<Mode>,
    Body(request): Body<AddKey>,
) -> Answer {
    let key = random_text(KEY_BYTES_MAX).map_err(|error| Refusal::internal(error.to_string()))?;
    let name = key.clone();
    let to_acts = move |registry: &Registry| Ok(vec![Act::Admin(Admin::AddKey(key_spec(&request, name, registry)?))]);
    let Json(mut answer) = send(&state, caller, mode, to_acts).await?;
    if !mode.dry_run {
        answer.insert("key".to_owned(), key.into());
    }
    Ok(Json(answer))
}

/// Takes a snapshot that covers every command answered before this request. It is not a command and not in the log.
/// Answered once the file is durable under its own name.
async fn take_snapshot(State(state): State<Shared>, mode: Query<Mode>) -> Answer {
    let mut answer = Map::new();
    if mode.dry_run {
        answer.insert("dry_run".to_owned(), true.into());
        return Ok(Json(answer));
    }
    let (header, bytes) = state.shadow.snapshot(state.released.get()).await?.map_err(Refusal::no_snapshot)?;
    answer.insert("seq".to_owned(), header.tail.seq.0.into());
    answer.insert("ts_ns".to_owned(), header.time.into());
    answer.insert("bytes".to_owned(), bytes.into());
    answer.insert("state_hash".to_owned(), StateHash(header.state_hash).to_string().into());
    Ok(Json(answer))
}

/// Notes how far a backup has come, for `/health`. It is not a command and not in the log.
async fn note_backup(State(state): State<Shared>, mode: Query<Mode>, Body(request): Body<ReportBackup>) -> Answer {
    let (watermarks, backup) = (&state.status.watermarks, &state.status.backup);
    let durable = watermarks.durable.get().0;
    if durable < request.seq {
        return Err(Refusal::invalid("seq", &format!("the log ends at sequence {durable}: another node's backup?")));
    }
    if !mode.dry_run {
        backup.seq.set(request.seq);
        backup.reports.add(1);
    }
    let mut answer = Map::new();
    answer.insert("seq".to_owned(), request.seq.into());
    Ok(Json(answer))
}

fn would_send(acts: &[Act]) -> Answer {
    let commands: Vec<String> = acts.iter().map(|act| format!("{act:?}")).collect();
    let mut answer = Map::new();
    answer.insert("dry_run".to_owned(), true.into());
    answer.insert("would_send".to_owned(), json!(commands));
    Ok(Json(answer))
}
