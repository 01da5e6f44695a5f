//! The node's configuration in a backup: the text of `pinion.toml`, with a checksum in a comment at its end.
//!
//! A configuration has no secrets, only the paths of files with them, so it may be stored with the log.

use super::destination::Destination;
use super::error::{Result, damaged};
use super::key::Key;
use wal::units::Timeline;

const CHECKSUM_LINE: &str = "# crc32c ";

/// Longer files are no configuration.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The object's contents.
pub fn seal(text: &str) -> String {
    let line_end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let body = format!("{text}{line_end}");
    format!("{body}{CHECKSUM_LINE}{:08x}\n", crc32c::crc32c(body.as_bytes()))
}

/// The text that was sealed, which ends in a line break; `None` where a byte of it differs.
pub fn open(sealed: &str) -> Option<&str> {
    let at = sealed.rfind(CHECKSUM_LINE)?;
    let text = &sealed[..at];
    (seal(text) == sealed).then_some(text)
}

/// Reads a version of the configuration.
pub fn read(destination: &Destination, timeline: Timeline, version: u32) -> Result<String> {
    let key = Key::Config { timeline, version };
    let bytes = destination.get(key)?;
    let text = std::str::from_utf8(&bytes).ok().and_then(open).map(str::to_owned);
    text.ok_or_else(|| damaged(&destination.name_of(key), "not a configuration with a right checksum"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_comes_back_and_a_wrong_byte_is_found() {
        for (text, back) in [("[node]\nname = \"x\"\n", "[node]\nname = \"x\"\n"), ("a = 1", "a = 1\n"), ("", "")] {
            let sealed = seal(text);
            assert_eq!(open(&sealed), Some(back));
            for at in 0..sealed.len() {
                let mut bytes = sealed.clone().into_bytes();
                bytes[at] ^= 0x20;
                assert_eq!(std::str::from_utf8(&bytes).ok().and_then(open), None, "byte {at}");
            }
        }
    }
}
