//! The ops listener against a small engine loop on the other end of the admin port.

#[path = "ops/fake_loop.rs"]
mod fake_loop;
#[path = "ops/fixture.rs"]
mod fixture;
#[path = "common/http.rs"]
mod http;

use book::engine::Engine;
use book::ids::{AccountId, AssetId, SessionId};
use book::units::{Seq, TsNs, Units};
use fixture::Fixture;
use node::ops::registry::Registry;
use node::status::recovery::Stage;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const TOKEN: &str = "kJ3nR8vXq2LmZ7tYw5BpC9dFgH4sAe6U";
const PATIENCE: Duration = Duration::from_secs(10);
/// The public key of the example in RFC 8410.
const PUBLIC_PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

fn market() -> Value {
    json!({
        "symbol": "BTCUSDT", "base": "BTC", "quote": "USDT", "tick": "0.01", "lot": "0.0001",
        "min_notional": "5", "max_qty": "9000", "maker_fee_ppm": 100, "taker_fee_ppm": 200,
    })
}

fn deposit(amount: &str, reference: &str) -> Value {
    json!({ "account": 1, "asset": "USDT", "amount": amount, "ref": reference })
}

#[test]
fn a_loop_that_hangs_makes_the_node_unready_and_is_named() {
    let fixture = Fixture::open();
    assert_eq!(fixture.get("/live").0, 200);
    assert_eq!(fixture.get("/ready"), (200, json!({ "ready": true })));
    fixture.engine.hangs.store(true, Ordering::Release);
    let deadline = Instant::now() + PATIENCE;
    let unready = loop {
        let (status, answer) = fixture.get("/ready");
        if status == 503 {
            break answer;
        }
        assert!(Instant::now() < deadline, "a hanging engine is not reported");
    };
    assert_eq!(unready["loop"], "engine");
    assert_eq!(fixture.get("/live").0, 200, "the listener answers beside a hanging engine");
    fixture.engine.hangs.store(false, Ordering::Release);
    while fixture.get("/ready").0 != 200 {
        assert!(Instant::now() < deadline, "an engine that runs again is not reported");
    }
}

#[test]
fn a_disk_that_is_frozen_makes_the_node_unready_although_its_loops_tick() {
    let fixture = Fixture::open();
    fixture.engine.is_frozen.store(true, Ordering::Release);
    std::thread::scope(|scope| {
        let added = scope.spawn(|| fixture.post("/admin/asset/add", &json!({ "symbol": "BTC", "scale": 8 })));
        let deadline = Instant::now() + PATIENCE;
        let unready = loop {
            let (status, answer) = fixture.get("/ready");
            if status == 503 {
                break answer;
            }
            assert!(Instant::now() < deadline, "a frozen disk is not reported");
        };
        assert_eq!(unready["loop"], "journal");
        let health = fixture.get("/health").1;
        assert_eq!((&health["status"], &health["journal"]["commands_waiting"]), (&json!("not_ready"), &json!(1)));
        let (_, metrics) = fixture.request("GET", "/metrics", "", "");
        let wait = metrics.lines().find_map(|line| line.strip_prefix("pinion_write_wait_ms "));
        assert!(wait.and_then(|ms| ms.parse().ok()).is_some_and(|ms: u64| 1_000 <= ms), "{metrics}");
        fixture.engine.is_frozen.store(false, Ordering::Release);
        assert_eq!(added.join().expect("the thread did not panic").0, 200);
    });
    assert_eq!(fixture.get("/ready").0, 200, "a disk that works again is ready at once");
}

#[test]
fn a_node_that_recovers_stops_or_failed_is_not_ready() {
    let fixture = Fixture::recovering("listen.ops_token_file = 'token'", Seq(0));
    assert_eq!(fixture.get("/ready").1["detail"], "recovering");
    fixture.lifecycle.serve();
    fixture.lifecycle.fail(20, "journal poisoned");
    let (status, answer) = fixture.get("/ready");
    assert_eq!((status, answer["detail"].as_str()), (503, Some("journal poisoned")));
    assert_eq!(fixture.get("/health").1["last_error"], "journal poisoned");
}

#[test]
fn health_and_version_show_watermarks_components_and_build() {
    let fixture = Fixture::recovering("listen.ops_token_file = 'token'", Seq(41));
    fixture.lifecycle.serve();
    let (status, health) = fixture.get("/health");
    assert_eq!(status, 200);
    assert_eq!(health["watermarks"]["seq_durable"], 41);
    assert_eq!(health["journal_sync"], "always");
    let names: Vec<&str> =
        health["components"].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(names, ["engine", "gateway", "store_writer", "feed"]);
    let version = fixture.get("/version").1;
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert!(version["commit"].is_string() && version["profile"].is_string());
}

#[test]
fn metrics_are_prometheus_text() {
    let fixture = Fixture::open();
    fixture.status.fills.set(7);
    let (status, text) = fixture.request("GET", "/metrics", "", "");
    assert_eq!(status, 200);
    assert!(text.contains("# TYPE pinion_fills_total counter\npinion_fills_total 7\n"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        let bare = name.split('{').next().expect("a name");
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| bare.strip_suffix(end));
        let family = family.filter(|family| *family == "pinion_stage_seconds").unwrap_or(bare);
        let is_number =
            if bare.ends_with("_sum") { value.parse::<f64>().is_ok() } else { value.parse::<u64>().is_ok() };
        assert!(name.starts_with("pinion_") && is_number, "{line}");
        assert!(text.contains(&format!("# TYPE {family} ")), "{bare} has no type");
    }
    for name in ["files{family=\"log\",level=\"6\"}", "bytes{family=\"history\"}", "pending_bytes{family=\"meta\"}"] {
        assert!(text.contains(&format!("\npinion_store_{name} 0\n")), "{text}");
    }
    for name in ["delayed_bytes_per_second", "writes_stopped", "merges_total", "merged_bytes_total"] {
        assert!(text.contains(&format!("\npinion_store_{name} 0\n")), "{text}");
    }
    // For one release a renamed loop has its series under the old name as well.
    for (metric, name) in [("age_ms", "store_writer"), ("age_ms", "keeper"), ("cycles_total", "keeper")] {
        assert!(text.contains(&format!("\npinion_loop_{metric}{{loop=\"{name}\"}} ")), "{text}");
    }
}

#[test]
fn metrics_with_a_token_require_it() {
    let fixture = Fixture::new("listen.metrics_token_file = 'token'");
    assert_eq!(fixture.request("GET", "/metrics", "wrong", "").0, 401);
    assert_eq!(fixture.request("GET", "/metrics", TOKEN, "").0, 200);
}

#[test]
fn the_admin_api_requires_its_token() {
    let fixture = Fixture::open();
    let body = json!({ "symbol": "BTC", "scale": 8 }).to_string();
    for token in ["", "wrong", &TOKEN[1..], &format!("{TOKEN}x")] {
        assert_eq!(fixture.request("POST", "/admin/asset/add", token, &body).0, 401, "{token:?}");
    }
    assert_eq!(fixture.request("GET", "/admin/registry", "wrong", "").0, 401);
    assert_eq!(fixture.engine(|engine| engine.stamp().seq), Seq(0), "nothing reached the log");
    assert_eq!(fixture.request("POST", "/admin/asset/add", TOKEN, &body).0, 200);

    let closed = Fixture::new("");
    assert_eq!(closed.post("/admin/asset/add", &json!({ "symbol": "BTC", "scale": 8 })).0, 403);
}

#[test]
fn commands_take_effect_and_report_it() {
    let fixture = Fixture::with_market();
    let registry = fixture.get("/admin/registry").1;
    assert_eq!(registry["markets"][0]["symbol"], "BTCUSDT");
    assert_eq!(registry["markets"][0]["tick"], "0.01");
    assert_eq!(registry["markets"][0]["min_notional"], "5");
    assert_eq!(registry["markets"][0]["max_qty"], "9000");
    assert_eq!(registry["accounts"][0]["name"], "alice");
    let rules = fixture.engine(|engine| engine.markets().next().expect("a market was added").rules);
    assert_eq!((rules.tick_e9, rules.lot_e8), (10_000_000, 10_000));
    assert_eq!(rules.limits.notional_min, Units(5_000_000));
    assert_eq!(rules.limits.qty_max.0, 90_000_000);
    let available = |engine: &Engine| engine.accounts().get(AccountId(1)).map(|a| a.available(AssetId(2)));
    assert_eq!(fixture.engine(available), Some(Units(1_000_000_500_000)));

    let out = fixture.done("/admin/withdraw", deposit("0.000001", "W1"));
    assert_eq!((out["amount"].as_str(), out["available"].as_str()), (Some("0.000001"), Some("1000000.499999")));
    let again = fixture.done("/admin/withdraw", deposit("0.000001", "W1"));
    assert_eq!((again["repeated"].as_bool(), again["available"].as_str()), (Some(true), Some("1000000.499999")));
    assert_eq!(again["seq"], 7);

    let all = fixture.done("/admin/market/status", json!({ "all": true, "status": "halt" }));
    assert_eq!(all["events"][0]["status"], "halt");
    let fees = json!({ "market": "BTCUSDT", "maker_fee_ppm": -50, "taker_fee_ppm": 300 });
    assert_eq!(fixture.done("/admin/market/fees", fees)["events"][0]["maker_fee_ppm"], -50);
    let limits = fixture.done("/admin/market/limits", json!({ "market": "BTCUSDT", "min_qty": "0.01" }));
    assert_eq!(limits["events"][0]["min_qty"], "0.01");
    assert_eq!(limits["events"][0]["max_qty"], "9000", "a limit that is not given stays");
    fixture.done("/admin/fee-tier", json!({ "tier": 1, "maker_scale_ppm": 500_000, "taker_scale_ppm": 900_000 }));
    fixture.done("/admin/account/fee-tier", json!({ "account": "alice", "tier": 1 }));
    fixture.done("/admin/account/limits", json!({ "account": 1, "open_orders_max": 10 }));
    let blocked = fixture.done("/admin/account/block", json!({ "account": 1, "blocked": true }));
    assert_eq!(blocked["events"][0]["blocked"], true);
    let suspended = fixture.done("/admin/account/status", json!({ "account": 1, "status": "suspended" }));
    assert_eq!((&suspended["canceled"], &suspended["more"]), (&0.into(), &false.into()), "its orders are cancelled");
    let kept = json!({ "account": 1, "status": "suspended", "keep_orders": true });
    assert!(fixture.done("/admin/account/status", kept).get("canceled").is_none());
    let active = json!({ "account": 1, "status": "active", "keep_orders": true });
    fixture.refused("/admin/account/status", active, 400, "invalid");
    assert_eq!(fixture.get("/admin/registry").1["accounts"][0]["fee_tier"], 1);
}

#[test]
fn a_refusal_by_the_engine_is_a_conflict_with_its_sequence() {
    let fixture = Fixture::with_market();
    let conflict = fixture.refused("/admin/account/add", json!({ "name": "alice" }), 409, "name_taken");
    assert_eq!(conflict["seq"], 6, "a refused command is in the log");
    fixture.refused("/admin/withdraw", deposit("2000000", "W2"), 409, "insufficient_funds");
    fixture.refused("/admin/deposit", deposit("7", "R1"), 409, "reference_conflict");
    fixture.refused("/admin/key/revoke", json!({ "key": "absent" }), 404, "unknown_key");
    let inexact = json!({ "symbol": "X", "base": "BTC", "quote": "USDT", "tick": "0.000001", "lot": "0.0001" });
    fixture.refused("/admin/market/add", inexact, 422, "inexact");
}

#[test]
fn an_invalid_request_never_reaches_the_log() {
    let fixture = Fixture::with_market();
    let before = fixture.engine(|engine| engine.stamp().seq);
    let funds = |amount: Value| json!({ "account": 1, "asset": "USDT", "amount": amount, "ref": "R9" });
    for amount in ["1.0000001", "-1", "0", "1e3", "", "1,5", "99999999999999999999"] {
        fixture.refused("/admin/deposit", funds(amount.into()), 400, "invalid");
    }
    let number = fixture.refused("/admin/deposit", funds(1.5.into()), 400, "invalid");
    assert!(number["detail"].as_str().is_some_and(|d| d.contains("expected a string")), "{number}");
    fixture.refused(
        "/admin/deposit",
        json!({ "account": 9, "asset": "USDT", "amount": "1", "ref": "R" }),
        404,
        "unknown",
    );
    fixture.refused(
        "/admin/deposit",
        json!({ "account": 1, "asset": "EUR", "amount": "1", "ref": "R" }),
        404,
        "unknown",
    );
    fixture.refused(
        "/admin/deposit",
        json!({ "account": 1, "asset": "USDT", "amount": "1", "ref": "" }),
        400,
        "invalid",
    );
    fixture.refused("/admin/deposit", json!({ "account": 1, "asset": "USDT", "amount": "1" }), 400, "invalid");
    fixture.refused("/admin/asset/add", json!({ "symbol": "btc", "scale": 8 }), 400, "invalid");
    fixture.refused("/admin/asset/add", json!({ "symbol": "ETH", "scale": 8, "colour": 1 }), 400, "invalid");
    fixture.refused(
        "/admin/market/status",
        json!({ "market": "BTCUSDT", "all": true, "status": "halt" }),
        400,
        "invalid",
    );
    fixture.refused("/admin/market/status", json!({ "status": "halt" }), 400, "invalid");
    fixture.refused("/admin/market/limits", json!({ "market": "BTCUSDT", "max_qty": "0.00001" }), 400, "invalid");
    fixture.refused("/admin/cancel-all", json!({}), 400, "invalid");
    fixture.refused("/admin/cancel-all", json!({ "market": "BTCUSDT", "block": true }), 400, "invalid");
    let endless = "x".repeat(book::codec::RECORD_BYTES_MAX);
    fixture.refused("/admin/account/add", json!({ "name": endless }), 422, "too_large");
    fixture.refused("/admin/key/revoke", json!({ "key": endless }), 422, "too_large");
    fixture.refused("/admin/nothing", json!({}), 404, "no_such_endpoint");
    assert_eq!(fixture.request("POST", "/admin/asset/add", TOKEN, "{").0, 400);
    assert_eq!(fixture.engine(|engine| engine.stamp().seq), before);
}

#[test]
fn a_dry_run_changes_nothing() {
    let fixture = Fixture::with_market();
    let before = fixture.engine(Engine::state_hash);
    let session = json!({ "account": 1, "user": "MM1" });
    let key = json!({ "account": 1, "permissions": ["read"], "ed25519": PUBLIC_PEM });
    for (path, body) in [
        ("/admin/account/add", json!({ "name": "bob" })),
        ("/admin/deposit", deposit("1", "R2")),
        ("/admin/session/add", session),
        ("/admin/key/add", key),
        ("/admin/market/status", json!({ "all": true, "status": "halt" })),
    ] {
        let answer = fixture.done(&format!("{path}?dry_run=true"), body);
        assert_eq!(answer["dry_run"], true);
        assert_eq!(answer["would_send"].as_array().map(Vec::len), Some(1), "{answer}");
        assert!(answer["password"].is_null());
    }
    fixture.refused("/admin/account/add?dry_run=true", json!({ "name": "x", "parent": 77 }), 404, "unknown");
    assert_eq!(fixture.engine(Engine::state_hash), before);
}

#[test]
fn a_new_password_is_in_its_answer_only() {
    use argon2::password_hash::phc::PasswordHash;
    use argon2::{Argon2, PasswordVerifier};
    let fixture = Fixture::with_market();
    let body = json!({ "account": "alice", "user": "MM1", "orders_per_second": 100, "burst": 10, "cancel_on_disconnect": "off" });
    let answer = fixture.done("/admin/session/add", body);
    assert_eq!((answer["user"].as_str(), answer["session"].as_u64()), (Some("MM1"), Some(1)));
    let password = answer["password"].as_str().expect("a password");
    assert_eq!(password.len(), 10);
    let hash = fixture.engine(|engine| engine.sessions().get(SessionId(1)).map(|s| s.password_hash.clone()));
    let hash = hash.expect("the session exists");
    let parsed = PasswordHash::new(&hash).expect("PHC text");
    assert!(Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok());
    let registry = fixture.get("/admin/registry").1.to_string();
    assert!(!registry.contains(password) && !registry.contains("argon2"), "{registry}");
    fixture.done("/admin/session/throttle", json!({ "user": "MM1", "orders_per_second": 5, "burst": 5 }));
    fixture.done("/admin/session/block", json!({ "user": "MM1", "blocked": true }));
    fixture.refused("/admin/session/add", json!({ "account": 1, "user": "MM1" }), 409, "name_taken");
    fixture.refused("/admin/session/add", json!({ "account": 1, "user": "TOOLONG" }), 400, "invalid");

    let copy = fixture.done("/admin/session/add", json!({ "account": 1, "user": "DC1", "drop_copy": true }));
    assert_eq!(copy["events"][0]["drop_copy"], true);
    let cancels = json!({ "account": 1, "user": "DC2", "drop_copy": true, "cancel_on_disconnect": "both" });
    fixture.refused("/admin/session/add", cancels, 400, "invalid");
}

/// A new life, a new password, a disconnect and a removal, each with its answer, its dry run and its refusals.
#[test]
fn a_session_is_renewed_disconnected_and_removed() {
    let fixture = Fixture::with_market();
    let first = fixture.done("/admin/session/add", json!({ "account": "alice", "user": "MM1" }));
    let user = json!({ "user": "MM1" });
    fixture.refused("/admin/session/new-life", user.clone(), 409, "rules_too_old");
    fixture.done("/admin/rules/raise", json!({ "version": 2 }));
    let acts = ["new-life", "password", "disconnect", "remove"].map(|act| format!("/admin/session/{act}"));
    let before = fixture.engine(Engine::state_hash);
    for path in &acts {
        let planned = fixture.done(&format!("{path}?dry_run=true"), user.clone());
        assert_eq!(planned["would_send"].as_array().map(Vec::len), Some(1), "{planned}");
        fixture.refused(path, json!({ "user": "NONE" }), 404, "unknown");
        fixture.refused(path, json!({ "user": "MM1", "why": "x" }), 400, "invalid");
    }
    assert_eq!(fixture.engine(Engine::state_hash), before);

    let life = fixture.done(&acts[0], user.clone());
    assert_eq!((life["session"].as_u64(), life["lives"].as_u64()), (Some(1), Some(1)), "{life}");
    let stream = life["stream"].as_str().expect("the name of the stream");
    assert!(stream.starts_with('L') && stream.ends_with("00001") && stream.len() == 10, "{stream}");
    let password = fixture.done(&acts[1], user.clone());
    let drawn = password["password"].as_str().expect("a password");
    assert!(drawn.len() == 10 && Some(drawn) != first["password"].as_str());
    assert_eq!(password["events"][0]["event"], "session_password_changed");
    assert!(!password["events"].to_string().contains("argon2"), "{password}");
    assert_eq!(fixture.done(&acts[2], user.clone())["events"][0]["event"], "session_disconnected");
    assert_eq!(fixture.done(&acts[3], user.clone())["events"][0]["event"], "session_removed");
    assert_eq!(fixture.get("/admin/registry").1["sessions"], json!([]));
    acts.iter().for_each(|path| drop(fixture.refused(path, user.clone(), 404, "unknown")));
    fixture.refused("/admin/session/add", json!({ "account": 1, "user": "MM1" }), 409, "name_taken");
}

/// The table is the gateway's: no loop is asked.
#[test]
fn who_is_logged_in_is_listed() {
    let fixture = Fixture::with_market();
    for user in ["MM1", "MM2"] {
        fixture.done("/admin/session/add", json!({ "account": "alice", "user": user }));
    }
    assert_eq!(fixture.get("/admin/session/list"), (200, json!({ "sessions": [] })));
    fixture.status.sessions_on.came(SessionId(2), Some([10, 0, 0, 7].into()), TsNs(5), 9);
    fixture.engine.hangs.store(true, Ordering::Release);
    let expected = json!({ "sessions": [{
        "session": 2, "user": "MM2", "account": 1, "name": "alice", "drop_copy": false,
        "address": "10.0.0.7", "since_ns": 5, "next_seq": 9,
    }] });
    assert_eq!(fixture.get("/admin/session/list"), (200, expected));
    fixture.status.sessions_on.left(SessionId(2));
    assert_eq!(fixture.get("/admin/session/list"), (200, json!({ "sessions": [] })));
    assert_eq!(fixture.request("GET", "/admin/session/list", "wrong", "").0, 401);
    fixture.engine.hangs.store(false, Ordering::Release);
}

#[test]
fn only_ed25519_keys_are_accepted() {
    let fixture = Fixture::with_market();
    let hmac = json!({ "account": 1, "permissions": ["read", "trade"] });
    let refused = fixture.refused("/admin/key/add", hmac, 501, "unsupported");
    assert!(refused["detail"].as_str().is_some_and(|d| d.contains("Ed25519")), "{refused}");
    let body = json!({
        "account": 1, "permissions": ["read", "trade"], "ed25519": PUBLIC_PEM, "addresses": ["10.0.0.0/8"],
    });
    let key = fixture.done("/admin/key/add", body)["key"].as_str().expect("a key").to_owned();
    let found = fixture.engine(|engine| engine.keys().find(&key).map(|k| k.spec.clone())).expect("the key exists");
    assert_eq!((found.permissions, found.ed25519_public.len(), found.addresses.len()), (3, 32, 1));
    fixture.done("/admin/key/revoke", json!({ "key": key }));
    assert_eq!(fixture.get("/admin/registry").1["keys"][0]["revoked"], true);
    let none = json!({ "account": 1, "permissions": [], "ed25519": PUBLIC_PEM });
    fixture.refused("/admin/key/add", none, 400, "invalid");
}

#[test]
fn cancel_all_selects_by_account_and_by_market() {
    let fixture = Fixture::with_market();
    for body in [json!({ "account": 1 }), json!({ "market": "BTCUSDT" }), json!({ "account": 1, "market": "BTCUSDT" })]
    {
        let answer = fixture.done("/admin/cancel-all", body);
        assert_eq!((answer["canceled"].as_u64(), answer["more"].as_bool()), (Some(0), Some(false)));
    }
    let blocked = fixture.done("/admin/cancel-all", json!({ "account": 1, "block": true }));
    assert_eq!(blocked["events"][0]["blocked"], true);
    fixture.refused("/admin/cancel-all", json!({ "market": "NONE" }), 404, "unknown");
}

#[test]
fn parallel_requests_have_consistent_answers() {
    let fixture = Fixture::open();
    std::thread::scope(|scope| {
        for idx in 0..24 {
            let fixture = &fixture;
            scope.spawn(move || fixture.done("/admin/account/add", json!({ "name": format!("account {idx}") })));
        }
    });
    let registry = fixture.get("/admin/registry").1;
    let accounts = registry["accounts"].as_array().expect("a list");
    assert_eq!(accounts.len(), 24);
    for account in accounts {
        let id = AccountId(account["account"].as_u64().and_then(|id| u32::try_from(id).ok()).expect("an id"));
        let name = fixture.engine(|engine| engine.accounts().name(id).map(str::to_owned));
        assert_eq!(account["name"].as_str(), name.as_deref());
    }
}

#[test]
fn the_registry_is_updated_when_the_client_does_not_wait() {
    let fixture = Fixture::open();
    fixture.engine.hangs.store(true, Ordering::Release);
    let body = json!({ "symbol": "BTC", "scale": 8 }).to_string();
    let mut socket = TcpStream::connect(fixture.address).expect("the node listens");
    let head = format!(
        "POST /admin/asset/add HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(format!("{head}{body}").as_bytes()).expect("the node reads");
    let deadline = Instant::now() + PATIENCE;
    while fixture.engine.waiting.load(Ordering::Acquire) == 0 {
        assert!(Instant::now() < deadline, "the command never reaches the ring");
        std::thread::yield_now();
    }
    drop(socket);
    // Two requests, so that the listener has seen the end of the other connection.
    assert_eq!((fixture.get("/live").0, fixture.get("/live").0), (200, 200));
    fixture.engine.hangs.store(false, Ordering::Release);
    while fixture.get("/admin/registry").1["assets"].as_array().is_none_or(Vec::is_empty) {
        let applied = fixture.engine(|engine| engine.stamp().seq);
        assert!(Instant::now() < deadline, "the registry does not show the log up to {applied:?}");
    }
}

#[test]
fn bodies_heads_and_connections_are_bounded() {
    let limits = "listen.ops_token_file = 'token'\nlimits.header_timeout = '200ms'\nlimits.ops_connections_max = 4\nlimits.body_bytes_max = '1KiB'";
    let fixture = Fixture::new(limits);
    let large = "x".repeat(2_000);
    assert_eq!(fixture.request("POST", "/admin/asset/add", TOKEN, &large).0, 413);
    let (head, _) = fixture.raw(&format!("GET /live HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(40_000)));
    assert!(head.contains(" 431 "), "{head}");
    let (head, _) = fixture.raw("GET /live HTTP/1.1\r\nHo");
    assert!(!head.contains(" 200 "), "a head that never ends is refused: {head}");
    let (head, _) = fixture.raw(&format!(
        "POST /admin/asset/add HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 9\r\n\r\n{{"
    ));
    assert!(head.contains(" 408 "), "a body that never ends is refused: {head}");

    let idle: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(fixture.address).expect("the node listens")).collect();
    let deadline = Instant::now() + PATIENCE;
    // The timeout for heads closes the four; then the listener accepts others again.
    loop {
        let mut socket = TcpStream::connect(fixture.address).expect("the node listens");
        let sent = socket.write_all(b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        if sent.is_ok() && socket.read_to_string(&mut answer).is_ok() && answer.contains(" 200 ") {
            break;
        }
        assert!(Instant::now() < deadline, "idle connections lock others out");
    }
    drop(idle);
}

#[test]
fn a_request_in_progress_keeps_its_place_among_silent_connections() {
    let fixture = Fixture::new("listen.ops_token_file = 'token'\nlimits.ops_connections_max = 2");
    fixture.engine.hangs.store(true, Ordering::Release);
    std::thread::scope(|scope| {
        let added = scope.spawn(|| fixture.post("/admin/asset/add", &json!({ "symbol": "BTC", "scale": 8 })));
        let deadline = Instant::now() + PATIENCE;
        while fixture.engine.waiting.load(Ordering::Acquire) == 0 {
            assert!(Instant::now() < deadline, "the command never reaches the ring");
            std::thread::yield_now();
        }
        let silent: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(fixture.address).expect("a place")).collect();
        assert_eq!(fixture.get("/live").0, 200);
        let ops = &fixture.status.listeners.ops;
        assert!(ops.displaced.get() >= 20 && ops.limited.get() == 1, "{ops:?}");
        assert_eq!(fixture.get("/health").1["listeners"][2]["state"], "full");
        fixture.engine.hangs.store(false, Ordering::Release);
        assert_eq!(added.join().expect("the thread did not panic").0, 200, "its connection was not closed");
        drop(silent);
    });
    let (_, metrics) = fixture.request("GET", "/metrics", "", "");
    assert!(metrics.contains("pinion_listener_at_limit{listener=\"ops\"} 1\n"), "{metrics}");
}

#[test]
fn a_stopping_node_refuses_commands_and_ends() {
    let mut fixture = Fixture::open();
    fixture.lifecycle.stop();
    fixture.refused("/admin/asset/add", json!({ "symbol": "BTC", "scale": 8 }), 503, "stopping");
    assert_eq!(fixture.get("/ready").1["detail"], "stopping");
    // An idle connection does not delay the end.
    let _idle = TcpStream::connect(fixture.address).expect("the node listens");
    let asked = Instant::now();
    fixture.server.take().expect("the ops server runs").stop();
    assert!(asked.elapsed() < PATIENCE, "the listener ends within its drain");
    assert!(TcpStream::connect(fixture.address).is_err(), "the port is closed");
}

#[test]
fn a_start_answers_before_there_is_a_state() {
    let (fixture, handles) = Fixture::starting("listen.ops_token_file = 'token'", Seq(0));
    let recovery = &fixture.status.recovery;
    assert_eq!(fixture.get("/live"), (200, json!({ "live": true })));
    recovery.enter(Stage::Replaying);
    recovery.seq_snapshot.set(1_000);
    recovery.commands.set(400);
    recovery.commands_replayed.set(100);
    let (status, ready) = fixture.get("/ready");
    assert_eq!((status, &ready["loop"]), (503, &json!("node")));
    let detail = "recovering: 100 of 400 commands after the snapshot at 1000 replayed (25 %)";
    assert_eq!(ready["detail"], detail);
    let (status, health) = fixture.get("/health");
    assert_eq!((status, &health["status"]), (200, &json!("not_ready")));
    let expected = json!({ "stage": "replaying", "seq_snapshot": 1_000, "commands": 400, "commands_replayed": 100 });
    assert_eq!(health["recovery"], expected);
    assert_eq!(health["components"][0]["state"], "starting");
    let (_, metrics) = fixture.request("GET", "/metrics", "", "");
    assert!(metrics.contains("\npinion_recovery_commands_replayed 100\n"), "{metrics}");
    let refused = fixture.refused("/admin/asset/add", json!({ "symbol": "BTC", "scale": 8 }), 503, "recovering");
    assert_eq!(refused["detail"], detail);

    let server = fixture.server.as_ref().expect("it runs");
    server.serve(handles, Registry::default()).expect("the disk is watched");
    recovery.enter(Stage::Done);
    fixture.lifecycle.serve();
    assert_eq!(fixture.get("/ready").0, 200);
    fixture.done("/admin/asset/add", json!({ "symbol": "BTC", "scale": 8 }));
}

#[test]
fn a_backup_is_reported_and_becomes_late() {
    let fixture = Fixture::new("listen.ops_token_file = 'token'\nstore.backup_age_max = '1ms'");
    fixture.done("/admin/asset/add", json!({ "symbol": "BTC", "scale": 8 }));
    fixture.refused("/admin/backup", json!({ "seq": 1_000 }), 400, "invalid");
    fixture.done("/admin/backup", json!({ "seq": 1 }));
    let deadline = Instant::now() + PATIENCE;
    while fixture.get("/health").1["backup"]["state"] != "late" {
        assert!(Instant::now() < deadline, "{}", fixture.get("/health").1);
    }
    let (_, health) = fixture.get("/health");
    assert_eq!((&health["status"], &health["backup"]["seq"]), (&json!("degraded"), &json!(1)));
    assert!(health["detail"].as_str().is_some_and(|detail| detail.starts_with("backup: no backup")), "{health}");
    let (_, metrics) = fixture.request("GET", "/metrics", "", "");
    assert!(metrics.contains("\npinion_seq_backup 1\n") && metrics.contains("\npinion_backup_age_ms "), "{metrics}");
}
