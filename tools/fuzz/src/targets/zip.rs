//! One file of a zip archive: it has the checksum that the archive states, and no more bytes than could be compressed.

use crate::meter;
use crate::target::{Outcome, Target};
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use tools::recorded_day::zip::extract;

pub const TARGET: Target = Target { name: "zip", seeds, repair, check, bytes_max: 2048, round_inputs: 10_000 };

const END: &[u8] = b"PK\x05\x06";
const ENTRY: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";
const LOCAL_BYTES: usize = 30;
const ENTRY_BYTES: usize = 46;
const DEFLATED: u16 = 8;
/// A byte of a deflate stream expands to no more bytes than this.
const DEFLATE_RATIO_MAX: usize = 1_032;

fn check(input: &[u8]) -> Outcome {
    // The inflater's own state, and a buffer that grows by doubling.
    let bound = 2 * DEFLATE_RATIO_MAX * input.len() + (64 << 10);
    let file = match meter::within(bound, || extract(input, |name| !name.starts_with("skip"))) {
        Ok(file) => file,
        Err(error) => {
            assert!(!format!("{error:#}").is_empty());
            return Outcome::Refused;
        }
    };
    for method in [0, DEFLATED] {
        let again = archive(&[("again", &file, method)]);
        assert_eq!(extract(&again, |_| true).expect("an archive that was made unpacks"), file);
    }
    Outcome::Decoded
}

/// Makes an archive of some files as the format's description says.
fn archive(files: &[(&str, &[u8], u16)]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, file, method) in files {
        let packed = if *method == DEFLATED { compress_to_vec(file, 6) } else { file.to_vec() };
        let numbers = [crc32(file), packed.len() as u32, file.len() as u32];
        let sizes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let names = [name.len() as u16, 0].map(u16::to_le_bytes).concat();
        let common = [&[20, 0, 0, 0][..], &method.to_le_bytes(), &[0; 4], &sizes, &names].concat();
        let at = (out.len() as u32).to_le_bytes();
        out.extend([LOCAL, &common, name.as_bytes(), &packed].concat());
        directory.extend([ENTRY, &[20, 0], &common, &[0; 10], &at, name.as_bytes()].concat());
    }
    let (start, count) = ((out.len() as u32).to_le_bytes(), (files.len() as u16).to_le_bytes());
    let directory_bytes = (directory.len() as u32).to_le_bytes();
    out.extend(directory);
    out.extend([END, &[0; 4], &count, &count, &directory_bytes, &start, &[0, 0]].concat());
    out
}

/// The IEEE polynomial, a bit at a time.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// Makes the checksum and the length right of every file that still unpacks.
fn repair(input: &mut [u8]) {
    let entries: Vec<usize> = input.windows(4).enumerate().filter(|(_, w)| *w == ENTRY).map(|(at, _)| at).collect();
    let len = input.len();
    for entry in entries.into_iter().filter(|entry| entry + ENTRY_BYTES <= len) {
        let Some(file) = unpacked(input, entry) else { continue };
        input[entry + 16..entry + 20].copy_from_slice(&crc32(&file).to_le_bytes());
        input[entry + 24..entry + 28].copy_from_slice(&(file.len() as u32).to_le_bytes());
    }
}

fn unpacked(input: &[u8], entry: usize) -> Option<Vec<u8>> {
    let u16_at = |at: usize| Some(usize::from(u16::from_le_bytes(input.get(at..at + 2)?.try_into().ok()?)));
    let u32_at = |at: usize| Some(u32::from_le_bytes(input.get(at..at + 4)?.try_into().ok()?) as usize);
    let local = u32_at(entry + 42)?;
    let start = local + LOCAL_BYTES + u16_at(local + 26)? + u16_at(local + 28)?;
    let packed = input.get(start..start + u32_at(entry + 20)?)?;
    match u16_at(entry + 10)? {
        0 => Some(packed.to_vec()),
        8 => decompress_to_vec_with_limit(packed, 1 << 16).ok(),
        _ => None,
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let text = b"1,2,3,4\n".repeat(40);
    vec![
        archive(&[("orderbook.csv", &text, DEFLATED)]),
        archive(&[("skip me", b"nothing", 0), ("orderbook.csv", b"5,6,7,8\n", 0)]),
        [archive(&[("a", b"", DEFLATED)]), b"a comment".to_vec()].concat(),
    ]
}
