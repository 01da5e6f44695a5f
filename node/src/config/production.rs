//! What `env = "prod"` refuses: everything that suits development and is unsafe where money is at stake.

use super::build::Build;
use super::paths::quoted;
use super::reader::Reader;
use super::{Config, Env, JournalSyncMode, Threads};
use crate::config::secrets::Secret;

pub(super) fn check(config: &Config, build: Build, r: &mut Reader) {
    if config.node.env != Env::Prod {
        return;
    }
    let prod = Some("\"prod\"".to_owned());
    if build == Build::Debug {
        r.note("node.env", prod, "this binary is a debug build", Some("a release build, or env = \"dev\""));
    }
    if config.journal.sync != JournalSyncMode::Always && !config.journal.accept_loss {
        let why = "a power cut would lose acknowledged orders";
        let allowed = "\"always\", or journal.accept_loss = true beside it";
        r.note("journal.sync", Some("\"interval\"".to_owned()), why, Some(allowed));
    }
    if config.node.threads == Threads::Pipeline && config.node.share_cores {
        let why = "a pipeline that shares its cores answers seconds late";
        r.note("node.share_cores", Some("true".to_owned()), why, Some("false, or threads = \"single\""));
    }
    check_listeners(config, r);
    let secrets = [
        ("listen.ops_token_file", &config.listen.ops_token_file),
        ("listen.metrics_token_file", &config.listen.metrics_token_file),
    ];
    for (key, path) in secrets {
        let Some(path) = path else { continue };
        // A secret that cannot be read was noted with the paths.
        let Ok(secret) = Secret::read(path) else { continue };
        if let Err(weakness) = secret.check_strength() {
            r.note(key, Some(quoted(path)), &weakness.to_string(), Some("32 random characters or more"));
        }
    }
}

fn check_listeners(config: &Config, r: &mut Reader) {
    let listen = &config.listen;
    for (name, address) in listen.all() {
        if !address.ip().is_loopback() {
            let value = Some(format!("{:?}", address.to_string()));
            let allowed = "a loopback address, with TLS in front";
            r.note(&format!("listen.{name}"), value, "reachable from other machines without TLS", Some(allowed));
        }
    }
    if !listen.ops.ip().is_loopback() && listen.metrics_token_file.is_none() {
        let why = "is missing: /metrics would be open to other machines";
        r.note("listen.metrics_token_file", None, why, Some("a token file, or a loopback address for listen.ops"));
    }
}
