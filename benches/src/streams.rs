//! Streams of commands: the file format `PMEWL001`, and where the six standard streams are.
//!
//! A file is a header of 128 bytes and records of 32 bytes, little endian. Records are unpacked to 24 bytes before
//! anything is timed, so that reading the stream costs every subject the same and little.
//!
//! ```text
//! header  0 magic | 8 version u32 | 12 record size u32 | 16 prefill count | 24 main count | 32 order id max
//!         40/48 price min/max | 56 qty max u32 | 60 users u32 | 64 fills | 72 qty | 80 notional | 88 fill hash
//!         96/104 resting orders/qty at the end | 112 seed
//! record  0 op | 1 side | 2 tif | 3 traded | 4 qty u32 | 8 order id | 16 price i64 | 24 user u32 | 28 old price u32
//! ```

use crate::subject::{Resting, Tally};
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
    /// Reprice with the quantity that is open; loses priority and may trade.
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
    /// 1 and up; at most 65535 of them.
    pub user: u16,
    pub op: Op,
    pub side: Side,
    /// Immediate or cancel; else the remainder rests.
    pub ioc: bool,
    /// The reference matcher traded on this command.
    pub traded: bool,
}

const _: () = assert!(size_of::<Cmd>() == 24);

/// What the reference matcher had at the end of the stream.
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
        ensure!(bytes.len() >= HEADER_BYTES && bytes.starts_with(MAGIC), "not a PMEWL001 stream");
        let (header, body) = bytes.split_at(HEADER_BYTES);
        ensure!(u32_at(header, 12) as usize == RECORD_BYTES, "records are not {RECORD_BYTES} bytes long");
        let prefill_len = usize::try_from(u64_at(header, 16))?;
        let len = prefill_len + usize::try_from(u64_at(header, 24))?;
        ensure!(body.len() == len * RECORD_BYTES, "{len} records promised, {} bytes found", body.len());
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
        other => bail!("unknown operation {other}"),
    };
    Ok(Cmd {
        id: u64_at(bytes, 8),
        price: u32::try_from(u64_at(bytes, 16)).context("a price beyond 32 bits")?,
        qty: u32_at(bytes, 4),
        user: u16::try_from(u32_at(bytes, 24)).context("a user beyond 16 bits")?,
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

/// Flow X is exchange-core's own mix, flow E adds and cancels; the number is how many orders rest.
pub const STANDARD: [(&str, &str); 6] = [
    ("X 1k", "ec_1000"),
    ("X 10k", "ec_10000"),
    ("X 1M", "ec_1000000"),
    ("E 1k", "eq_1000"),
    ("E 10k", "eq_10000"),
    ("E 1M", "eq_1000000"),
];

/// Where streams and yardsticks are: `$PINION_BENCH`, `$PINION_BENCH_DIR`, or the user's cache.
pub fn bench_dir() -> PathBuf {
    let named = std::env::var_os("PINION_BENCH").or_else(|| std::env::var_os("PINION_BENCH_DIR"));
    named.map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/pinion/bench"),
        PathBuf::from,
    )
}

/// The standard streams, or what to do to have them. `quick` takes the two smallest books only.
pub fn standard_paths(quick: bool) -> Result<Vec<PathBuf>> {
    let data = bench_dir().join("data");
    let wanted = STANDARD.iter().filter(|(label, _)| !quick || label.ends_with("1k"));
    let paths: Vec<PathBuf> = wanted.map(|(_, stem)| data.join(format!("{stem}.bin"))).collect();
    if let Some(missing) = paths.iter().find(|p| !p.exists()) {
        bail!(
            "no stream {}\n  build them (900 MB, about a minute): sh ../shared/bench/build.sh {}\n  \
             or say where they are: PINION_BENCH=DIR, or measure one file: --file X.bin",
            missing.display(),
            bench_dir().display()
        );
    }
    Ok(paths)
}

/// The short name by which figures of a standard stream are known.
pub fn label(name: &str) -> &str {
    STANDARD.iter().find(|(_, stem)| *stem == name).map_or(name, |(label, _)| label)
}
