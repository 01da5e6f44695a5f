//! Streams of commands: the file format `PMEWL001`, and where the six standard streams are.
//!
//! A file is a header of 128 bytes and records of 32 bytes, little endian. Records are unpacked to 24 bytes before
//! anything is timed, so that reading the stream costs every subject equally little.
//!
//! ```text
//! header  0 magic | 8 version u32 | 12 record size u32 | 16 prefill count | 24 main count | 32 order id max
//!         40/48 price min/max | 56 qty max u32 | 60 users u32 | 64 fills | 72 qty | 80 notional | 88 fill hash
//!         96/104 resting orders/qty at the end | 112 seed
//! record  0 op | 1 side | 2 tif | 3 traded | 4 qty u32 | 8 order id | 16 price i64 | 24 user u32 | 28 old price u32
//! ```

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"PMEWL001";
const HEADER_BYTES: usize = 128;
const RECORD_BYTES: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    New,
    Cancel,
    /// Change the price and keep the open quantity; the order loses its priority and may trade.
    Move,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Side {
    Bid,
    Ask,
}

impl Side {
    pub fn opposite(self) -> Self {
        match self {
            Self::Bid => Self::Ask,
            Self::Ask => Self::Bid,
        }
    }

    pub fn idx(self) -> usize {
        self as usize
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cmd {
    pub id: u64,
    pub price: u32,
    pub qty: u32,
    /// From 1 to at most 65535.
    pub user: u16,
    pub op: Op,
    pub side: Side,
    /// Immediate or cancel; the remainder of any other order rests.
    pub ioc: bool,
    /// Whether the reference matcher traded on this command.
    pub traded: bool,
}

const _: () = assert!(size_of::<Cmd>() == 24);

/// Resting orders and their open quantity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resting {
    pub orders: u64,
    pub qty: u64,
}

pub const HASH_START: u64 = 0x9E37_79B9_7F4A_7C15;
const HASH_FACTOR: u64 = 0x0000_0100_0000_01B3;

/// Sums over all fills, and the order-sensitive hash that the headers of streams carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    pub fills: u64,
    pub qty: u64,
    pub notional: u64,
    pub hash: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { fills: 0, qty: 0, notional: 0, hash: HASH_START }
    }
}

impl Tally {
    #[inline(always)]
    pub fn add(&mut self, taker: u64, maker: u64, price: u32, qty: u32) {
        self.fills += 1;
        self.qty += u64::from(qty);
        self.notional = self.notional.wrapping_add(u64::from(price) * u64::from(qty));
        for word in [taker, maker, u64::from(price), u64::from(qty)] {
            self.hash = (self.hash ^ word).wrapping_mul(HASH_FACTOR);
        }
    }
}

/// What the reference matcher reached at the end of the stream; the header carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    pub tally: Tally,
    pub resting: Resting,
}

#[derive(Clone, Debug)]
pub struct Flow {
    pub name: String,
    pub path: PathBuf,
    /// The untimed prefill, then the timed main part.
    pub cmds: Vec<Cmd>,
    pub prefill_len: usize,
    pub order_id_max: u64,
    pub users: u32,
    pub expected: Expected,
}

impl Flow {
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let name = path.file_stem().map_or_else(|| "stream".to_owned(), |n| n.to_string_lossy().into_owned());
        Self::parse(&bytes, name, path).with_context(|| format!("in {}", path.display()))
    }

    pub fn parse(bytes: &[u8], name: String, path: &Path) -> Result<Self> {
        ensure!(
            bytes.len() >= HEADER_BYTES && bytes.starts_with(MAGIC),
            "not a PMEWL001 stream: {} bytes without its header",
            bytes.len()
        );
        let (header, body) = bytes.split_at(HEADER_BYTES);
        let record_bytes = u32_at(header, 12) as usize;
        ensure!(record_bytes == RECORD_BYTES, "records of {record_bytes} bytes, expected {RECORD_BYTES}");
        let prefill_len = usize::try_from(u64_at(header, 16))?;
        let len = prefill_len + usize::try_from(u64_at(header, 24))?;
        ensure!(
            body.len() == len * RECORD_BYTES,
            "{} bytes after the header, expected {} for the {len} records that it counts",
            body.len(),
            len * RECORD_BYTES
        );
        let cmds = body.chunks_exact(RECORD_BYTES).map(record).collect::<Result<Vec<_>>>()?;
        let tally = Tally {
            fills: u64_at(header, 64),
            qty: u64_at(header, 72),
            notional: u64_at(header, 80),
            hash: u64_at(header, 88),
        };
        let resting = Resting { orders: u64_at(header, 96), qty: u64_at(header, 104) };
        Ok(Self {
            name,
            path: path.to_owned(),
            cmds,
            prefill_len,
            order_id_max: u64_at(header, 32),
            users: u32_at(header, 60),
            expected: Expected { tally, resting },
        })
    }

    pub fn main_len(&self) -> usize {
        self.cmds.len() - self.prefill_len
    }
}

fn record(bytes: &[u8]) -> Result<Cmd> {
    let op = match bytes[0] {
        1 => Op::New,
        2 => Op::Cancel,
        3 => Op::Move,
        other => bail!("unknown operation {other}, expected 1 (new), 2 (cancel) or 3 (move)"),
    };
    Ok(Cmd {
        id: u64_at(bytes, 8),
        price: u32::try_from(u64_at(bytes, 16)).context("a price that does not fit 32 bits")?,
        qty: u32_at(bytes, 4),
        user: u16::try_from(u32_at(bytes, 24)).context("a user that does not fit 16 bits")?,
        op,
        side: if bytes[1] == 0 { Side::Bid } else { Side::Ask },
        ioc: bytes[2] == 1,
        traded: bytes[3] != 0,
    })
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// The six standard streams by label and file name. Flow X is the mix of exchange-core's own benchmark, flow E only
/// adds and cancels; the number says how many orders rest.
pub const STANDARD: [(&str, &str); 6] = [
    ("X 1k", "ec_1000"),
    ("X 10k", "ec_10000"),
    ("X 1M", "ec_1000000"),
    ("E 1k", "eq_1000"),
    ("E 10k", "eq_10000"),
    ("E 1M", "eq_1000000"),
];

/// The directory of streams and yardstick programs: `$PINION_BENCH`, `$PINION_BENCH_DIR`, or the user's cache.
pub fn bench_dir() -> PathBuf {
    let named = std::env::var_os("PINION_BENCH").or_else(|| std::env::var_os("PINION_BENCH_DIR"));
    named.map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/pinion/bench"),
        PathBuf::from,
    )
}

/// Paths of the standard streams; the error says how to build them. `quick` names the two smallest books only.
pub fn standard_paths(quick: bool) -> Result<Vec<PathBuf>> {
    let data = bench_dir().join("data");
    let wanted = STANDARD.iter().filter(|(label, _)| !quick || label.ends_with("1k"));
    let paths: Vec<PathBuf> = wanted.map(|(_, stem)| data.join(format!("{stem}.bin"))).collect();
    if let Some(missing) = paths.iter().find(|p| !p.exists()) {
        bail!(
            "there is no stream {}\n  build all of them (900 MB, about a minute): sh ../shared/bench/build.sh {}\n  \
             or name their directory: PINION_BENCH=DIR, or measure one file: --file X.bin",
            missing.display(),
            bench_dir().display()
        );
    }
    Ok(paths)
}

/// The label of a standard stream; the name itself for any other.
pub fn label(name: &str) -> &str {
    STANDARD.iter().find(|(_, stem)| *stem == name).map_or(name, |(label, _)| label)
}
