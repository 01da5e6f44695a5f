//! Places: who may read a backup, which directories may not hold one another, and where a restore can be made.

use crate::fixture::{SNAPSHOTS, Stopped, objects, open, output_of, ship_all};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use tools::archive::key::Key;
use tools::archive::shipper::Shipper;
use wal::units::{Lsn, Timeline};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

/// Every file that is stored has mode 0600, and every directory 0700, also in a place that was open to all.
pub(crate) fn check_modes() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let place = dir.path().join("backup");
    fs::create_dir_all(place.join("0000000001")).expect("ours");
    for open_to_all in [place.clone(), place.join("0000000001")] {
        fs::set_permissions(open_to_all, fs::Permissions::from_mode(0o777)).expect("ours");
    }
    let destination = open(&place);
    let snapshot = dir.path().join("large");
    fs::write(&snapshot, vec![7; 9 << 20]).expect("room");
    destination.put_new(Key::Claim, b"claim".to_vec()).expect("stored");
    destination.put_new(Key::Identity(Timeline(1)), b"identity".to_vec()).expect("stored");
    let key = Key::Snapshot { timeline: Timeline(1), seq: Lsn(5) };
    destination.put_file(key, &snapshot).expect("stored");
    for (_, path) in objects(&place) {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    for folder in ["0000000001", "0000000001/snapshots"] {
        assert_eq!(mode(&place.join(folder)), 0o700, "{folder}");
    }
    assert_eq!(fs::read_dir(place.join("0000000001/snapshots")).expect("there").count(), 1, "no leftover");
}

#[test]
fn a_backup_is_readable_for_its_owner_alone() {
    check_modes();
}

#[test]
fn places_within_one_another_are_refused() {
    let stopped = Stopped::shipped(SNAPSHOTS);
    let (place, data_dir) = (stopped.place.path(), stopped.place.data_dir());
    let (link, link_to_backup) = (place.join("link"), place.join("link-to-backup"));
    symlink(&data_dir, &link).expect("ours");
    symlink(&stopped.to, &link_to_backup).expect("ours");
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let (data, from) = (text(&data_dir), text(&stopped.to));
    for to in [data.clone(), text(&data_dir.join("backup")), text(&link.join("a/b")), format!("file://{data}/backup")] {
        for more in ["--once", "--dry-run"] {
            let said = output_of(2, &["backup", "run", "--data-dir", &data, "--to", &to, more]);
            assert!(said.contains("is in the data directory"), "{said}");
        }
    }
    assert!(!data_dir.join("backup").exists() && !data_dir.join("a").exists());
    for (source, new) in
        [(&from, stopped.to.join("new")), (&from, link_to_backup.join("new")), (&data, link.join("new"))]
    {
        let said = output_of(2, &["restore", "--from", source, "--data-dir", &text(&new)]);
        assert!(said.contains("give a path outside of it") && !new.exists(), "{said}");
    }
    for scratch in [&stopped.to, &link_to_backup, &data_dir] {
        let said =
            output_of(2, &["backup", "drill", "--from", &from, "--data-dir", &data, "--scratch", &text(scratch)]);
        assert!(said.contains("give another one"), "{said}");
    }
}

#[test]
fn a_restore_goes_through_a_link_and_into_a_mount_point() {
    let stopped = Stopped::shipped(SNAPSHOTS);
    let (place, from) = (stopped.place.path(), stopped.to.to_str().expect("text"));
    let [real, link, nowhere, mounted] = ["real", "link", "nowhere", "mounted"].map(|name| place.join(name));
    fs::create_dir(&real).expect("ours");
    fs::create_dir(&mounted).expect("ours");
    symlink(&real, &link).expect("ours");
    symlink(place.join("absent"), &nowhere).expect("ours");
    output_of(2, &["restore", "--from", from, "--data-dir", nowhere.to_str().expect("text")]);
    output_of(0, &["restore", "--from", from, "--data-dir", link.to_str().expect("text")]);
    assert!(real.join("IDENTITY").exists() && fs::symlink_metadata(&link).expect("there").is_symlink());
    // What a cut restore left beside it does not matter: a mount point has what is in it.
    let script = format!(
        "mount -t tmpfs -o size=1g none {mounted} && mkdir {mounted}/lost+found && \
         mkdir -p {mounted}/.restore.unfinished/db {mounted}/head && \
         {tool} restore --from {from} --data-dir {mounted} && {tool} recon --data-dir {mounted} && ls -A {mounted}",
        mounted = mounted.display(),
        tool = env!("CARGO_BIN_EXE_pinion"),
    );
    let run = Command::new("unshare").args(["--mount", "--map-root-user", "sh", "-ec", &script]).output();
    let run = run.expect("unshare is part of util-linux");
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    if err.contains("unshare failed") || err.contains("mount: ") {
        eprintln!("this machine allows no mounts, so a restore into a mount point is not tested: {err}");
        return;
    }
    assert!(run.status.success(), "{out}{err}");
    assert!(out.contains("every rule holds") && out.contains("IDENTITY") && !out.contains(".restore"), "{out}{err}");
}

#[test]
fn the_configuration_comes_with_the_backup() {
    let stopped = Stopped::new(SNAPSHOTS);
    let (data_dir, to) = (stopped.place.data_dir(), open(&stopped.to));
    let config = "[node]\ndata_dir = \"/gone\"\nname = \"ours\"\n[listen]\nmetrics_token_file = \"/gone/token\"\n";
    fs::write(data_dir.join("pinion.toml"), "[node]\nname = \"older\"\n").expect("ours");
    let mut shipper = Shipper::new(&data_dir, &to);
    assert!(ship_all(&mut shipper).config);
    assert!(!ship_all(&mut shipper).config);
    fs::write(data_dir.join("pinion.toml"), config).expect("ours");
    assert!(ship_all(&mut Shipper::new(&data_dir, &to)).config);
    let (from, new) = (stopped.to.to_str().expect("text"), stopped.place.path().join("new"));
    let into = new.to_str().expect("text");
    let said = output_of(0, &["restore", "--from", from, "--data-dir", into]);
    assert!(said.contains("pinion init --config-only --data-dir"), "{said}");
    assert_eq!(fs::read_to_string(new.join("pinion.toml.from-backup")).expect("there"), config);
    let init = ["init", "--config-only", "--data-dir", into];
    output_of(0, &[&init[..], &["--dry-run"]].concat());
    assert!(!new.join("pinion.toml").exists() && !new.join("secrets").exists());
    let said = output_of(0, &init);
    assert!(said.contains("/gone/token") && said.contains("listen.metrics_token_file"), "{said}");
    let made = fs::read_to_string(new.join("pinion.toml")).expect("there");
    assert!(made.contains("name = \"ours\"") && made.contains(&format!("data_dir = \"{into}\"")), "{made}");
    assert_eq!(mode(&new.join("secrets/ops_token")), 0o600);
    output_of(11, &init);
    // Without one in the backup the commented one is made, for the geometry of the directory.
    fs::remove_file(new.join("pinion.toml")).expect("ours");
    fs::remove_file(new.join("pinion.toml.from-backup")).expect("ours");
    output_of(0, &init);
    let made = fs::read_to_string(new.join("pinion.toml")).expect("there");
    assert!(made.contains("segment_bytes = \"16MiB\"") && made.contains("segments = 4"), "{made}");
    output_of(0, &["check-config", "--config", new.join("pinion.toml").to_str().expect("text")]);
    output_of(12, &["init", "--config-only", "--data-dir", "/nowhere/at/all"]);
}

#[test]
fn a_list_says_whether_the_backup_is_late() {
    let stopped = Stopped::shipped(SNAPSHOTS);
    let list = ["backup", "list", "--from", stopped.to.to_str().expect("text"), "--max-age"];
    output_of(0, &[&list[..], &["1440m"]].concat());
    let long_ago = fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
    for (_, path) in objects(&stopped.to) {
        fs::File::open(path).expect("there").set_times(long_ago).expect("ours");
    }
    assert!(output_of(4, &[&list[..], &["1440m"]].concat()).contains("LATE"));
    output_of(2, &[&list[..], &["soon"]].concat());
}
