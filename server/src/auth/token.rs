//! Bearer tokens: long random texts, of which the server keeps only hashes.

use std::fmt;
use std::io;

use ring::digest::{SHA256, digest};
use rustix::rand::{GetRandomFlags, getrandom};
use subtle::ConstantTimeEq;

/// A token as its owner sends it. Never logged.
pub struct Token(String);

/// SHA-256 of a token. A token is random and long, so that its hash need not be slow to make.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; TokenHash::BYTES]);

/// So that people and scanners of source code see what it is.
const PREFIX: &str = "sluice_";
/// Bytes of chance in a token.
const RANDOM_BYTES: usize = 32;

impl Token {
    /// Bytes of a token that anybody may send: longer ones are nobody's.
    pub const MAX_BYTES: usize = 1_024;

    /// A new one.
    ///
    /// # Errors
    /// When the system gives no chance.
    pub fn random() -> io::Result<Token> {
        let mut bytes = [0; RANDOM_BYTES];
        let got = getrandom(&mut bytes, GetRandomFlags::empty())?;
        if got != RANDOM_BYTES {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(Token(format!("{PREFIX}{}", Hex(&bytes))))
    }

    /// To be shown once.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl TokenHash {
    /// Of SHA-256.
    pub const BYTES: usize = 32;

    /// The hash of a token.
    #[must_use]
    pub fn new(token: &[u8]) -> TokenHash {
        let mut hash = [0; TokenHash::BYTES];
        hash.copy_from_slice(digest(&SHA256, token).as_ref());
        TokenHash(hash)
    }

    /// A hash as 64 hexadecimal digits; none when it is not that.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<TokenHash> {
        let digits = text.as_bytes();
        if digits.len() != 2 * TokenHash::BYTES {
            return None;
        }
        let mut hash = [0; TokenHash::BYTES];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
        }
        Some(TokenHash(hash))
    }

    /// Where to look for it. What the time of looking tells of a hash tells nothing of a token.
    pub(super) fn place(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

/// In constant time.
impl PartialEq for TokenHash {
    fn eq(&self, other: &TokenHash) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_that_of_sha256sum() {
        let hash = TokenHash::new(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.to_string(), text);
        assert!(TokenHash::from_hex(text) == Some(hash));
        assert!(TokenHash::from_hex(&text.to_uppercase()) == Some(hash));
    }

    #[test]
    fn what_is_no_hash_is_told_from_one() {
        let text = TokenHash::new(b"abc").to_string();
        for wrong in ["", &text[1..], &format!("{text}0"), &text.replace('b', "g"), &"é".repeat(32)] {
            assert!(TokenHash::from_hex(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn tokens_are_long_and_no_two_alike() {
        let (first, second) = (Token::random().unwrap(), Token::random().unwrap());
        assert_eq!(first.text().len(), PREFIX.len() + 64);
        assert_ne!(first.text(), second.text());
        assert!(first.text().len() <= Token::MAX_BYTES);
    }
}
