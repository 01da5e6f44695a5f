//! What a process draws at random when it starts, and what no outcome depends on.

use book::hash_key::HashKey;

/// Any number.
pub fn drawn() -> Result<u32, getrandom::Error> {
    getrandom::u32()
}

/// Bytes for a key of any kind.
pub fn key_bytes() -> Result<[u8; 32], getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// A key for the hash tables of an engine, which no client can know.
pub fn hash_key() -> Result<HashKey, getrandom::Error> {
    Ok(HashKey::new(getrandom::u64()?, getrandom::u64()?))
}
