//! Hands the commit and the profile to `version.rs`. Asks git where there is one, never the network.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=PINION_COMMIT");
    let profile = std::env::var("PROFILE").unwrap_or_else(|_| "unknown".to_owned());
    let release = profile == "release";
    // A debug build would be made anew at every commit for this alone; its commit says "or later" instead.
    if release && std::path::Path::new("../.git/logs/HEAD").exists() {
        println!("cargo::rerun-if-changed=../.git/logs/HEAD");
    } else {
        println!("cargo::rerun-if-changed=build.rs");
    }
    let given = std::env::var("PINION_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(|| git().map(|commit| if release { commit } else { format!("{commit} or later") }));
    println!("cargo::rustc-env=PINION_BUILD_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    println!("cargo::rustc-env=PINION_BUILD_PROFILE={profile}");
}

fn git() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}
