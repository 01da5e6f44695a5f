//! The block device under a file system, as sysfs describes it.

use super::finding::{DISK, Finding};
use super::machine::Machine;
use super::mount::Mount;

#[derive(Clone, Debug)]
pub(super) struct Drive {
    name: String,
    rotational: Option<bool>,
    /// `write back` or `write through`.
    cache: Option<String>,
}

impl Drive {
    /// `None` where there is no device, as under a network file system. A partition has its queue one level up.
    pub(super) fn of(machine: &Machine, mount: &Mount) -> Option<Self> {
        let device = format!("sys/dev/block/{}", mount.device);
        let event = machine.text(&format!("{device}/uevent"))?;
        let name = event.lines().find_map(|line| line.strip_prefix("DEVNAME="))?.to_owned();
        let of_queue = |file: &str| {
            let own = machine.text(&format!("{device}/queue/{file}"));
            own.or_else(|| machine.text(&format!("{device}/../queue/{file}")))
        };
        let rotational = of_queue("rotational").map(|text| text == "1");
        Some(Self { name, rotational, cache: of_queue("write_cache") })
    }

    /// A virtual drive reports of itself what its host chose, so its report is not judged.
    fn is_virtual(&self) -> bool {
        ["vd", "xvd"].iter().any(|prefix| self.name.starts_with(prefix))
    }
}

pub(super) fn examine(drive: Option<&Drive>) -> Vec<Finding> {
    let Some(drive) = drive else { return vec![DISK.not_reported("drive"), DISK.not_reported("drive's cache")] };
    vec![kind(drive), cache(drive)]
}

fn kind(drive: &Drive) -> Finding {
    let name = &drive.name;
    match drive.rotational {
        None => DISK.ok("drive", format!("{name}, kind not reported")),
        Some(false) => DISK.ok("drive", format!("{name}, does not rotate")),
        Some(true) if drive.is_virtual() => {
            DISK.ok("drive", format!("{name}, reported as rotating, as virtual drives often are"))
        }
        Some(true) => {
            let advice = "put the data directory on a solid state drive: each sync waits for a turn of the platter";
            DISK.advice("drive", format!("{name}, rotates"), advice)
        }
    }
}

fn cache(drive: &Drive) -> Finding {
    let Some(cache) = &drive.cache else { return DISK.not_reported("drive's cache") };
    if cache == "write through" || drive.is_virtual() {
        return DISK.ok("drive's cache", cache.as_str());
    }
    let advice = "prefer a drive with power-loss protection, where a sync need not flush the cache; never write to \
                  queue/write_cache, which only makes the kernel stop flushing it";
    DISK.advice("drive's cache", cache.as_str(), advice)
}

#[cfg(test)]
mod tests {
    use super::super::fake::{FakeMachine, expect};
    use super::*;
    use std::path::PathBuf;

    fn mount() -> Mount {
        Mount { device: "8:1".into(), point: PathBuf::from("/"), kind: "ext4".into(), options: String::new() }
    }

    fn check(name: &str, rotational: &str, cache: &str, expected: &str) {
        let fake = FakeMachine::of(&[
            ("sys/dev/block/8:1/uevent", &format!("MAJOR=8\nMINOR=1\nDEVNAME={name}\nDEVTYPE=disk\n")),
            ("sys/dev/block/8:1/queue/rotational", rotational),
            ("sys/dev/block/8:1/queue/write_cache", cache),
        ]);
        expect(&examine(Drive::of(&fake.machine(), &mount()).as_ref()), expected);
    }

    #[test]
    fn a_drive_is_judged_by_what_it_says_unless_it_is_virtual() {
        check(
            "nvme0n1",
            "0\n",
            "write through\n",
            "ok drive: nvme0n1, does not rotate\nok drive's cache: write through",
        );
        check("sda", "1\n", "write back\n", "advice drive: sda, rotates\nadvice drive's cache: write back");
        let virtual_drive =
            "ok drive: vda, reported as rotating, as virtual drives often are\nok drive's cache: write back";
        check("vda", "1\n", "write back\n", virtual_drive);
        check("vda", "", "", "ok drive: vda, kind not reported\nok drive's cache: not reported");
        expect(&examine(None), "ok drive: not reported\nok drive's cache: not reported");
    }

    #[test]
    fn a_partition_has_the_queue_of_its_disk() {
        let fake = FakeMachine::of(&[
            ("sys/devices/sda/queue/rotational", "0\n"),
            ("sys/devices/sda/queue/write_cache", "write back\n"),
            ("sys/devices/sda/sda1/uevent", "DEVNAME=sda1\n"),
            ("sys/dev/block/0:0/uevent", "DEVNAME=none\n"),
        ]);
        let link = fake.root().join("sys/dev/block/8:1");
        std::os::unix::fs::symlink(fake.root().join("sys/devices/sda/sda1"), link).expect("linked");
        let drive = Drive::of(&fake.machine(), &mount());
        expect(&examine(drive.as_ref()), "ok drive: sda1, does not rotate\nadvice drive's cache: write back");
    }
}
