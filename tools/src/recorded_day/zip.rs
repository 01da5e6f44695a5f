//! Reads one file of a zip archive, stored or deflated, and verifies its checksum.
//!
//! It reads the central directory at the end of the archive (PKWARE's APPNOTE, sections 4.3.7, 4.3.12 and 4.3.16).
//! Archives that span disks, are encrypted, or need 64-bit offsets are refused.

use anyhow::{Context, Result, anyhow, bail, ensure};
use miniz_oxide::inflate::decompress_to_vec_with_limit;

const END_OF_DIRECTORY: &[u8] = b"PK\x05\x06";
const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";
const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
const END_BYTES: usize = 22;
const ENTRY_BYTES: usize = 46;
const LOCAL_BYTES: usize = 30;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// A file that unpacks to more is refused.
const FILE_BYTES_MAX: usize = 1 << 30;

/// The first file whose name `wanted` accepts.
pub fn extract(archive: &[u8], wanted: impl Fn(&str) -> bool) -> Result<Vec<u8>> {
    // The end record may be followed by a comment, so the search runs backwards from the end of the file.
    let end = archive.windows(END_BYTES).rposition(|window| window.starts_with(END_OF_DIRECTORY));
    let end = end.context("not a complete zip archive: its central directory is missing")?;
    let count = u16_at(archive, end + 10)?;
    let mut at = u32_at(archive, end + 16)? as usize;
    for _ in 0..count {
        ensure!(bytes_at(archive, at, 4)? == DIRECTORY_ENTRY, "the zip archive's directory is damaged at offset {at}");
        let name_len = u16_at(archive, at + 28)? as usize;
        let name = String::from_utf8_lossy(bytes_at(archive, at + ENTRY_BYTES, name_len)?);
        if wanted(&name) {
            return unpack(archive, at).with_context(|| name.into_owned());
        }
        at += ENTRY_BYTES + name_len + u16_at(archive, at + 30)? as usize + u16_at(archive, at + 32)? as usize;
    }
    bail!("the zip archive has {count} files, and none with a matching name")
}

fn unpack(archive: &[u8], entry: usize) -> Result<Vec<u8>> {
    let (method, packed_bytes) = (u16_at(archive, entry + 10)?, u32_at(archive, entry + 20)? as usize);
    let file_bytes = u32_at(archive, entry + 24)? as usize;
    let local = u32_at(archive, entry + 42)? as usize;
    ensure!(bytes_at(archive, local, 4)? == LOCAL_HEADER, "its header in the zip archive is damaged");
    let names = u16_at(archive, local + 26)? as usize + u16_at(archive, local + 28)? as usize;
    let packed = bytes_at(archive, local + LOCAL_BYTES + names, packed_bytes)?;
    ensure!(file_bytes <= FILE_BYTES_MAX, "it unpacks to {file_bytes} bytes; at most {FILE_BYTES_MAX} are read");
    let file = match method {
        STORED => packed.to_vec(),
        DEFLATED => {
            decompress_to_vec_with_limit(packed, file_bytes).map_err(|error| anyhow!("it does not unpack: {error}"))?
        }
        other => bail!("it is packed by method {other}; only stored (0) and deflated (8) files are read"),
    };
    let (found, expected) = (crc32(&file), u32_at(archive, entry + 16)?);
    ensure!(file.len() == file_bytes && found == expected, "damaged: its checksum is {found:08x}, not {expected:08x}");
    Ok(file)
}

fn bytes_at(archive: &[u8], at: usize, len: usize) -> Result<&[u8]> {
    archive.get(at..at + len).context("the zip archive is truncated")
}

fn u16_at(archive: &[u8], at: usize) -> Result<u16> {
    let bytes = bytes_at(archive, at, 2)?;
    Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
}

fn u32_at(archive: &[u8], at: usize) -> Result<u32> {
    let bytes = bytes_at(archive, at, 4)?;
    Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// CRC-32 with the IEEE polynomial, a nibble at a time: a table of 16 entries, and milliseconds for a day's file.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 16] = {
        let mut table = [0; 16];
        let mut nibble = 0;
        while nibble < 16 {
            let mut value = nibble as u32;
            let mut bit = 0;
            while bit < 4 {
                value = if value & 1 == 1 { value >> 1 ^ 0xEDB8_8320 } else { value >> 1 };
                bit += 1;
            }
            table[nibble] = value;
            nibble += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| {
        let crc = TABLE[((crc ^ u32::from(*byte)) & 15) as usize] ^ crc >> 4;
        TABLE[((crc ^ u32::from(*byte) >> 4) & 15) as usize] ^ crc >> 4
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_published_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn anything_but_an_archive_is_refused() {
        assert!(extract(b"", |_| true).is_err());
        assert!(extract(b"PK\x05\x06", |_| true).is_err());
        let mut damaged = vec![0; END_BYTES];
        damaged[..4].copy_from_slice(END_OF_DIRECTORY);
        damaged[10] = 1;
        assert!(extract(&damaged, |_| true).is_err());
    }
}
