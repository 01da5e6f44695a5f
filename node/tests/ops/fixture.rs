//! An ops listener on a free port, whose node is a small engine loop.

use crate::fake_loop::FakeLoop;
use crate::{TOKEN, deposit, http, market};
use book::engine::Engine;
use book::units::Seq;
use node::config::Config;
use node::config::build::Build;
use node::ops::registry::Registry;
use node::ops::{OpsHandles, OpsServer, bind};
use node::replica::questions::shadow_port;
use node::rings::admin_port::admin_port;
use node::rings::stages::stages;
use node::status::Status;
use node::status::lifecycle::Lifecycle;
use node::status::watermarks::watermarks;
use serde_json::{Value, json};
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};

pub(crate) struct Fixture {
    pub(crate) server: Option<OpsServer>,
    pub(crate) address: SocketAddr,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) status: Arc<Status>,
    pub(crate) engine: FakeLoop,
    pub(crate) _dir: tempfile::TempDir,
}

impl Fixture {
    /// The ops listener of a node that serves.
    pub(crate) fn new(extra: &str) -> Self {
        let fixture = Self::recovering(extra, Seq(0));
        fixture.lifecycle.serve();
        fixture
    }

    /// The ops listener of a node whose log ends at `end` and that does not serve yet.
    pub(crate) fn recovering(extra: &str, end: Seq) -> Self {
        let (fixture, handles) = Self::starting(extra, end);
        let server = fixture.server.as_ref().expect("it runs");
        server.serve(handles, Registry::default()).expect("the disk is watched");
        fixture
    }

    /// The same before there is anything but a listener.
    pub(crate) fn starting(extra: &str, end: Seq) -> (Self, OpsHandles) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let token = dir.path().join("token");
        std::fs::write(&token, TOKEN).expect("the directory is writable");
        std::fs::set_permissions(&token, Permissions::from_mode(0o600)).expect("the directory is writable");
        let text = format!("node.data_dir = 'd'\nlisten.ops = '127.0.0.1:0'\n{extra}");
        let config = Config::from_parts(&text, dir.path(), [], &[], Build::Release).expect("the value is valid");
        let (writers, readers) = watermarks(end);
        let (lifecycle, status) = (Arc::new(Lifecycle::default()), Arc::new(Status::new(readers.clone())));
        let (port, inlet) = admin_port(readers.released, Arc::clone(&lifecycle));
        let engine = FakeLoop::start(Arc::clone(&status), writers.engine, inlet);
        let listener = bind(&config).expect("a free port");
        let (_, totals) = stages();
        let (shadow, _inlet) = shadow_port();
        let stages = Arc::new(totals);
        let (admin, store) = (Arc::new(port), Weak::new());
        let handles =
            OpsHandles { lifecycle: Arc::clone(&lifecycle), status: Arc::clone(&status), admin, stages, shadow, store };
        let server = OpsServer::begin(&config, listener, Arc::clone(&lifecycle), Arc::clone(&status));
        let server = server.expect("the ops server starts");
        (Self { address: server.address(), server: Some(server), lifecycle, status, engine, _dir: dir }, handles)
    }

    pub(crate) fn open() -> Self {
        Self::new("listen.ops_token_file = 'token'")
    }

    pub(crate) fn raw(&self, request: &str) -> (String, String) {
        http::raw(self.address, request)
    }

    pub(crate) fn request(&self, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
        http::request(self.address, method, path, token, body)
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.request("GET", path, TOKEN, "");
        (status, serde_json::from_str(&body).expect("the body is JSON"))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, body) = self.request("POST", path, TOKEN, &body.to_string());
        (status, serde_json::from_str(&body).expect("the body is JSON"))
    }

    /// Posts a request that must succeed.
    pub(crate) fn done(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.post(path, &body);
        assert_eq!(status, 200, "{path} {body}: {answer}");
        answer
    }

    /// Posts a request that must be refused with this status and error.
    pub(crate) fn refused(&self, path: &str, body: Value, status: u16, error: &str) -> Value {
        let (found, answer) = self.post(path, &body);
        assert_eq!((found, answer["error"].as_str()), (status, Some(error)), "{path} {body}: {answer}");
        answer
    }

    /// Two assets, a market and an account with a balance: commands 1 to 5.
    pub(crate) fn with_market() -> Self {
        let fixture = Self::open();
        fixture.done("/admin/asset/add", json!({ "symbol": "BTC", "scale": 8 }));
        fixture.done("/admin/asset/add", json!({ "symbol": "USDT", "scale": 6 }));
        fixture.done("/admin/market/add", market());
        assert_eq!(fixture.done("/admin/account/add", json!({ "name": "alice" }))["account"], 1);
        fixture.done("/admin/deposit", deposit("1000000.5", "R1"));
        fixture
    }

    pub(crate) fn engine<T>(&self, look: impl FnOnce(&Engine) -> T) -> T {
        look(&self.engine.engine.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.engine.ends.store(true, Ordering::Release);
        if let Some(thread) = self.engine.thread.take() {
            assert!(thread.join().is_ok(), "the fake loop panicked");
        }
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }
}
