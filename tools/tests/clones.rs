//! Compiled dependencies that clones give each other (`.ci/dependencies`): all crates of a profile come from one clone,
//! because a crate fits only the builds of its dependencies that it was compiled with.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A machine whose home is a directory of the test, with clones that have a target directory each.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory for the machine"))
    }

    fn target(&self, clone: &str) -> PathBuf {
        self.0.path().join(clone)
    }

    /// What `clone` compiled of `crates`: a fingerprint and a compiled file each, which holds the clone's name.
    fn compiles(&self, clone: &str, crates: &[&str]) -> io::Result<()> {
        let debug = self.target(clone).join("debug");
        for name in crates {
            let fingerprint = debug.join(".fingerprint").join(name);
            fs::create_dir_all(&fingerprint)?;
            fs::write(fingerprint.join("lib.json"), "{}")?;
            fs::create_dir_all(debug.join("deps"))?;
            fs::create_dir_all(debug.join("build"))?;
            fs::write(debug.join("deps").join(format!("lib{name}.rmeta")), clone)?;
        }
        Ok(())
    }

    fn run(&self, verb: &str, clone: &str) -> io::Result<()> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/dependencies");
        // A rustup proxy finds its toolchain by the home directory, which is another one here.
        let real_home = std::env::home_dir().unwrap_or_default();
        let home_of =
            |variable: &str, name: &str| std::env::var_os(variable).unwrap_or_else(|| real_home.join(name).into());
        let out = Command::new(script)
            .arg(verb)
            .env("HOME", self.0.path())
            .env("RUSTUP_HOME", home_of("RUSTUP_HOME", ".rustup"))
            .env("CARGO_HOME", home_of("CARGO_HOME", ".cargo"))
            .env("CARGO_TARGET_DIR", self.target(clone))
            .output()?;
        assert!(out.status.success(), "{verb} of {clone}: {}", String::from_utf8_lossy(&out.stderr));
        Ok(())
    }

    /// The crates of `clone`, each with the clone that compiled it.
    fn crates(&self, clone: &str) -> io::Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.target(clone).join("debug/.fingerprint"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let file = self.target(clone).join("debug/deps").join(format!("lib{name}.rmeta"));
            found.push((name, fs::read_to_string(file)?));
        }
        found.sort();
        Ok(found)
    }
}

fn compiled_by(clone: &str, crates: &[&str]) -> Vec<(String, String)> {
    crates.iter().map(|name| ((*name).to_owned(), clone.to_owned())).collect()
}

#[test]
fn a_clone_takes_all_crates_of_one_clone_and_none_of_our_own() -> io::Result<()> {
    let machine = Machine::new();
    machine.compiles("small", &["libc-1111"])?;
    machine.run("keep", "small")?;
    machine.compiles("large", &["libc-1111", "tempfile-2222", "book-3333"])?;
    machine.run("keep", "large")?;
    machine.compiles("other", &["libc-1111", "serde-4444"])?;
    machine.run("keep", "other")?; // no more than the store has: nothing is kept, and above all nothing is mixed in

    machine.run("take", "new")?;
    assert_eq!(machine.crates("new")?, compiled_by("large", &["libc-1111", "tempfile-2222"]));
    Ok(())
}

#[test]
fn a_profile_that_was_begun_takes_nothing() -> io::Result<()> {
    let machine = Machine::new();
    machine.compiles("large", &["libc-1111", "tempfile-2222"])?;
    machine.run("keep", "large")?;
    machine.compiles("begun", &["libc-1111"])?;
    machine.run("take", "begun")?;
    assert_eq!(machine.crates("begun")?, compiled_by("begun", &["libc-1111"]));
    Ok(())
}
