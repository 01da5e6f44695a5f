//! The digest of a password that was verified, so that the next login of its session is verified at once.
//!
//! Argon2 takes a million times as long as an order, on purpose. Where all lines are cut and thousands of sessions come
//! back, it would keep them out for minutes. Invariants: a password is never kept, only a digest of user, password and
//! the stored argon2 string, under a key that was drawn at the start; so a digest says nothing without the key, and
//! fits no password once the stored one has changed.

use crate::faults::mutation::{Mutation, Planted};
use book::ids::UserName;

/// The key of the digests of one process.
#[derive(Clone)]
pub struct VerifiedKey([u8; 32]);

/// The digest of a password that was verified. Two of them are compared in constant time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified(blake3::Hash);

impl VerifiedKey {
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The digest of these three, each with its length, so that no two triples are the same text.
    pub fn digest(&self, user: UserName, password: &str, password_hash: &str) -> Verified {
        let password_hash = password_hash.planted(Mutation::OldPasswordVerified, |_| "");
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in [user.as_str(), password, password_hash] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Verified(hasher.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(key: u8, user: &str, password: &str, password_hash: &str) -> Verified {
        let user = UserName::new(user).expect("a valid name");
        VerifiedKey::new([key; 32]).digest(user, password, password_hash)
    }

    #[test]
    fn a_digest_fits_one_user_password_and_stored_hash() {
        let verified = digest(1, "MM1", "secret", "$argon2id$a");
        assert_eq!(verified, digest(1, "MM1", "secret", "$argon2id$a"));
        for other in [
            digest(2, "MM1", "secret", "$argon2id$a"),
            digest(1, "MM2", "secret", "$argon2id$a"),
            digest(1, "MM1", "Secret", "$argon2id$a"),
            digest(1, "MM1", "secret", "$argon2id$b"),
            digest(1, "MM1", "secret$", "argon2id$a"),
        ] {
            assert_ne!(verified, other);
        }
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn a_digest_that_outlives_its_password_is_noticed() {
        crate::faults::mutation::assert_noticed(
            Mutation::OldPasswordVerified,
            a_digest_fits_one_user_password_and_stored_hash,
        );
    }
}
