//! Secrets: read from files only, drawn from the system's randomness, compared in constant time, never printed.

use argon2::Argon2;
use argon2::password_hash::PasswordHasher;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use thiserror::Error;

/// Shortest secret that production accepts.
pub const SECRET_BYTES_MIN: usize = 32;
const SECRET_BYTES_MAX: usize = 4_096;
/// Fewest different characters of a secret that production accepts; a typed secret such as `aaaa...` has fewer.
const DISTINCT_MIN: usize = 8;
/// Characters of a password of a binary session, which fill the field of the login packet.
pub const PASSWORD_BYTES: usize = 10;
const TOKEN_BYTES: usize = 43;

/// 62 characters that no shell, URL or form changes: 5.95 bits each.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

const PLACEHOLDERS: &[&str] =
    &["changeme", "change-me", "change_me", "placeholder", "example", "password", "secret", "todo", "xxxx", "replace"];

#[derive(Debug, Error)]
pub enum SecretError {
    #[error("cannot be read: {0}")]
    Unreadable(std::io::Error),
    #[error("is empty")]
    Empty,
    #[error("is longer than {SECRET_BYTES_MAX} bytes, the most a secret may have")]
    TooLong,
    #[error("contains a character that is not printable ASCII")]
    NotText,
    #[error("mode {mode:03o} lets other users read it or its group change it; run: chmod 600 FILE")]
    Open { mode: u32 },
}

#[derive(Debug, PartialEq, Eq, Error)]
pub enum Weakness {
    #[error("the secret has {len} characters")]
    Short { len: usize },
    #[error("the secret is a placeholder")]
    Placeholder,
    #[error("the secret has only {distinct} different characters")]
    Monotonous { distinct: usize },
}

/// A secret in memory. `Debug` does not show it.
#[derive(Clone)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// The content of a file without the white space around it. The file must not be readable by others than its owner
    /// and group; the group may read, because container platforms give secrets to a service that way.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let text = read_guarded(path)?;
        let text = text.trim();
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(SecretError::NotText);
        }
        Ok(Self(text.to_owned()))
    }

    /// The lines of a file with several named secrets, under the same rule.
    pub fn read_lines(path: &Path) -> Result<Vec<Self>, SecretError> {
        let text = read_guarded(path)?;
        Ok(text.lines().map(|line| Self(line.trim().to_owned())).collect())
    }

    /// A new token of 256 bits.
    pub fn new_token() -> Result<Self, getrandom::Error> {
        random_text(TOKEN_BYTES).map(Self)
    }

    /// Creates a file for its owner only; an existing file is an error.
    pub fn write_new(&self, path: &Path) -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{}", self.0)?;
        file.sync_all()
    }

    /// The text of the secret, for sending it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `text` is this secret. The time that takes depends on neither.
    pub fn is(&self, text: &[u8]) -> bool {
        // Hashes have one length and no structure; BLAKE3's own comparison takes constant time.
        blake3::hash(self.0.as_bytes()) == blake3::hash(text)
    }

    /// Whether the secret is strong enough for production.
    pub fn check_strength(&self) -> Result<(), Weakness> {
        let lower = self.0.to_ascii_lowercase();
        if PLACEHOLDERS.iter().any(|word| lower.contains(word)) {
            return Err(Weakness::Placeholder);
        }
        if self.0.len() < SECRET_BYTES_MIN {
            return Err(Weakness::Short { len: self.0.len() });
        }
        let distinct = self.0.bytes().collect::<std::collections::BTreeSet<u8>>().len();
        if distinct < DISTINCT_MIN { Err(Weakness::Monotonous { distinct }) } else { Ok(()) }
    }
}

/// The text of a file that only its owner may change and only its owner and group may read.
fn read_guarded(path: &Path) -> Result<String, SecretError> {
    let file = File::open(path).map_err(SecretError::Unreadable)?;
    let mode = file.metadata().map_err(SecretError::Unreadable)?.mode() & 0o777;
    if mode & 0o027 != 0 {
        return Err(SecretError::Open { mode });
    }
    let mut text = String::new();
    let limit = SECRET_BYTES_MAX as u64 + 1;
    file.take(limit).read_to_string(&mut text).map_err(SecretError::Unreadable)?;
    if text.len() > SECRET_BYTES_MAX {
        return Err(SecretError::TooLong);
    }
    Ok(text)
}

#[derive(Debug, Error)]
pub enum PasswordError {
    #[error("the system returned no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    #[error("hashing the password with argon2: {0}")]
    Hash(argon2::password_hash::Error),
}

/// A password for a binary session, and the hash of it that goes into the log.
#[derive(Debug)]
pub struct NewPassword {
    pub password: Secret,
    /// The hash in PHC format.
    pub hash: String,
}

impl NewPassword {
    /// Draws a password and hashes it, which takes tens of milliseconds of a core: never on a thread that serves
    /// clients.
    pub fn draw() -> Result<Self, PasswordError> {
        let password = random_text(PASSWORD_BYTES)?;
        let hash = Argon2::default().hash_password(password.as_bytes()).map_err(PasswordError::Hash)?.to_string();
        Ok(Self { password: Secret(password), hash })
    }
}

/// A random number.
pub fn random_number() -> Result<u32, getrandom::Error> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

/// Random characters of `ALPHABET`, each equally likely: bytes that would favour its beginning are drawn again.
pub fn random_text(len: usize) -> Result<String, getrandom::Error> {
    const FAIR: u8 = (u8::MAX as usize / ALPHABET.len() * ALPHABET.len()) as u8;
    let mut text = String::with_capacity(len);
    let mut bytes = [0; 64];
    while text.len() < len {
        getrandom::fill(&mut bytes)?;
        let fair = bytes.iter().filter(|b| **b < FAIR).take(len - text.len());
        text.extend(fair.map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()])));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::PasswordVerifier;
    use argon2::password_hash::phc::PasswordHash;

    #[test]
    fn a_drawn_password_matches_its_hash_and_no_other_does() {
        let new = NewPassword::draw().expect("the system has random bytes");
        let hash = PasswordHash::new(&new.hash).expect("PHC text");
        let check = |text: &str| Argon2::default().verify_password(text.as_bytes(), &hash).is_ok();
        assert_eq!(new.password.expose().len(), PASSWORD_BYTES);
        assert!(check(new.password.expose()));
        assert!(!check("AAAAAAAAAA"));
    }

    #[test]
    fn weak_secrets_are_named() {
        let check = |text: &str| Secret(text.to_owned()).check_strength();
        assert_eq!(check("x7Kq"), Err(Weakness::Short { len: 4 }));
        assert_eq!(check("please-ChangeMe-please-0123456789abcdef"), Err(Weakness::Placeholder));
        assert_eq!(check(&"ab".repeat(20)), Err(Weakness::Monotonous { distinct: 2 }));
        assert_eq!(Secret::new_token().map(|token| token.check_strength()), Ok(Ok(())));
    }

    #[test]
    fn files_that_others_may_read_are_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("token");
        let token = Secret::new_token().expect("the system has random bytes");
        token.write_new(&path).expect("the directory is writable");
        assert!(Secret::read(&path).expect("just written").is(token.expose().as_bytes()));
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .expect("the file was just created");
        assert!(matches!(Secret::read(&path), Err(SecretError::Open { mode: 0o644 })));
        assert!(token.write_new(&path).is_err(), "an existing secret is never overwritten");
    }
}
