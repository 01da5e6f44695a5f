//! What a process draws at random when it starts, and what no outcome depends on.

use book::hash_key::HashKey;

/// Any number.
pub fn drawn() -> Result<u32, getrandom::Error> {
    getrandom::u32()
}

/// A key for the hash tables of an engine, which no client can know.
pub fn hash_key() -> Result<HashKey, getrandom::Error> {
    Ok(HashKey::new(getrandom::u64()?, getrandom::u64()?))
}
