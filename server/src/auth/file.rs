//! The file that says who may call.
//!
//! What is wrong with it is told by place and name, never by quoting: a token may stand there by mistake.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use sluice_engine::QueueName;

use super::identity::Grant;
use super::{Identities, Identity, Right, Rights, TokenHash};

/// Why there are no identities.
#[derive(Debug, thiserror::Error)]
pub enum AuthFileError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is longer than it may be.
    #[error("has more than {MAX_FILE_BYTES} bytes")]
    TooLong,
    /// It is no TOML, or says what nobody knows.
    #[error("line {line}: {what}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// In words.
        what: String,
    },
    /// Something in it is out of bounds.
    #[error("{0}")]
    Wrong(String),
}

/// Bytes of the file.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// Identities in it.
const MAX_IDENTITIES: usize = 10_000;
/// Tokens of an identity that are good at a time: the old one and the new one.
const MAX_TOKENS: usize = 2;
/// Grants of an identity.
const MAX_GRANTS: usize = 64;
/// Patterns of a grant.
const MAX_PATTERNS: usize = 64;
/// Bytes of a certificate's name: longer than any that DNS has.
const MAX_CERTIFICATE_BYTES: usize = 512;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    #[serde(default)]
    identity: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    tokens: Vec<String>,
    certificate: Option<String>,
    #[serde(default)]
    grants: Vec<Granted>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Granted {
    queues: Vec<String>,
    rights: Vec<Right>,
}

impl Identities {
    /// Those of a file.
    ///
    /// # Errors
    /// When it cannot be read or is wrong.
    pub fn load(path: &Path) -> Result<Identities, AuthFileError> {
        let mut text = String::new();
        File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(AuthFileError::TooLong);
        }
        Identities::parse(&text)
    }

    /// Those of a text as it stands in a file.
    ///
    /// # Errors
    /// When it is wrong.
    pub fn parse(text: &str) -> Result<Identities, AuthFileError> {
        let contents: Contents = toml::from_str(text).map_err(|error| malformed(text, &error))?;
        if contents.identity.len() > MAX_IDENTITIES {
            return Err(wrong(format_args!("more than {MAX_IDENTITIES} identities")));
        }
        let mut all = Identities::default();
        let mut names = HashSet::new();
        for (index, entry) in contents.identity.iter().enumerate() {
            let identity = entry.read(index)?;
            if !names.insert(&entry.name) {
                return Err(entry.wrong("has the name of another"));
            }
            let (identity, tokens) = identity;
            if !all.add(identity, &tokens, entry.certificate.as_deref()) {
                return Err(entry.wrong("has a token or certificate twice, or that of another"));
            }
        }
        Ok(all)
    }
}

impl Entry {
    fn read(&self, index: usize) -> Result<(Identity, Vec<TokenHash>), AuthFileError> {
        if let Err(error) = QueueName::new(&self.name) {
            return Err(wrong(format_args!("the name of identity {} {error}", index + 1)));
        }
        if self.tokens.len() > MAX_TOKENS {
            return Err(self.wrong(format_args!("has more than {MAX_TOKENS} tokens")));
        }
        let hashes: Option<Vec<TokenHash>> =
            self.tokens.iter().map(|text| TokenHash::from_hex(text)).collect();
        let Some(hashes) = hashes else {
            return Err(self.wrong("has a token that is no SHA-256 in hexadecimal (see `sluiced token`)"));
        };
        let is_name = |name: &String| (1..=MAX_CERTIFICATE_BYTES).contains(&name.len());
        if !self.certificate.as_ref().is_none_or(is_name) {
            return Err(self.wrong(format_args!(
                "has a certificate whose name is empty or has more than {MAX_CERTIFICATE_BYTES} bytes"
            )));
        }
        if hashes.is_empty() && self.certificate.is_none() {
            return Err(self.wrong("has neither tokens nor a certificate"));
        }
        if self.grants.len() > MAX_GRANTS {
            return Err(self.wrong(format_args!("has more than {MAX_GRANTS} grants")));
        }
        let mut grants = Vec::new();
        for granted in &self.grants {
            if granted.queues.is_empty() || granted.queues.len() > MAX_PATTERNS {
                return Err(
                    self.wrong(format_args!("has a grant with no queues or more than {MAX_PATTERNS}"))
                );
            }
            let rights = granted.rights.iter().copied().collect::<Rights>().granted();
            for pattern in &granted.queues {
                // A pattern is a name in which stars stand for characters.
                if let Err(error) = QueueName::new(&pattern.replace('*', "-")) {
                    return Err(self.wrong(format_args!("has a pattern of queues that {error}")));
                }
                grants.push(Grant { pattern: pattern.as_str().into(), rights });
            }
        }
        Ok((Identity::new(&self.name, grants), hashes))
    }

    fn wrong(&self, what: impl std::fmt::Display) -> AuthFileError {
        wrong(format_args!("identity {:?} {what}", self.name))
    }
}

fn wrong(what: std::fmt::Arguments<'_>) -> AuthFileError {
    AuthFileError::Wrong(what.to_string())
}

fn malformed(text: &str, error: &toml::de::Error) -> AuthFileError {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    // The message may quote a value: only what stands before is told. A name of a field is no value.
    let message = error.message().lines().next().unwrap_or_default();
    let what = match message.find(['`', '"']) {
        Some(at) if !message.starts_with("unknown field") => message[..at].trim_end().to_owned(),
        _ => message.to_owned(),
    };
    AuthFileError::Malformed { line, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn problem(text: &str) -> String {
        Identities::parse(text).unwrap_err().to_string()
    }

    fn entry(more: &str) -> String {
        format!("[[identity]]\nname = \"a\"\n{more}\n")
    }

    #[test]
    fn file_of_everything_is_read() {
        let text = format!(
            "[[identity]]\nname = \"worker\"\ntokens = [\"{HASH}\"]\ncertificate = \"spiffe://x/worker\"\n\
             grants = [{{ queues = [\"mail.*\", \"sms\"], rights = [\"consume\", \"read\"] }}]\n"
        );
        let all = Identities::parse(&text).unwrap();
        assert_eq!(all.count(), 1);
        let worker = all.of_token(&TokenHash::new(b"abc")).unwrap();
        assert!(worker.may(Right::Consume.into(), "mail.a") && worker.may(Right::Read.into(), "sms"));
        assert!(!worker.may(Right::Enqueue.into(), "sms") && !worker.may(Right::Read.into(), "smsx"));
        assert_eq!(Identities::parse("").unwrap().count(), 0);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        assert_eq!(problem("\n[[identity]\n").split(':').next(), Some("line 2"));
        for (text, expected) in [
            (entry("token = 1"), "unknown field"),
            (entry(""), "identity \"a\" has neither tokens nor a certificate"),
            (entry("tokens = [\"abc\"]"), "identity \"a\" has a token that is no SHA-256"),
            (entry(&format!("tokens = [\"{HASH}\", \"{HASH}\"]")), "twice"),
            (entry("certificate = \"\""), "has a certificate whose name is empty"),
            (entry("certificate = \"c\"") + &entry("certificate = \"d\""), "the name of another"),
            (entry("certificate = \"c\"\ngrants = [{ queues = [], rights = [] }]"), "no queues"),
            (
                entry("certificate = \"c\"\ngrants = [{ queues = [\"a b\"], rights = [] }]"),
                "a pattern of queues",
            ),
            (
                entry("certificate = \"c\"\ngrants = [{ queues = [\"q\"], rights = [\"fly\"] }]"),
                "unknown variant",
            ),
            ("[[identity]]\nname = \"a b\"\n".to_owned(), "the name of identity 1"),
        ] {
            let problem = problem(&text);
            assert!(problem.contains(expected), "{text}: {problem}");
        }
    }

    #[test]
    fn what_may_be_a_token_is_never_quoted() {
        for text in [
            entry("tokens = \"sluice_secret\""),
            entry("tokens = [\"sluice_secret\"]"),
            entry("tokens = [\"sluice_secret]"),
            entry("certificate = \"c\"\ngrants = [{ queues = [\"q\"], rights = [\"sluice_secret\"] }]"),
        ] {
            let problem = problem(&text);
            assert!(!problem.contains("secret"), "{problem}");
        }
    }

    #[test]
    fn file_of_too_much_is_refused() {
        let many: String = (0..=MAX_IDENTITIES)
            .map(|n| format!("[[identity]]\nname = \"n{n}\"\ncertificate = \"n{n}\"\n"))
            .collect();
        assert!(problem(&many).contains("more than 10000 identities"));
        let hashes: Vec<String> = (0..3).map(|n: u8| format!("\"{}\"", TokenHash::new(&[n]))).collect();
        assert!(problem(&entry(&format!("tokens = [{}]", hashes.join(",")))).contains("more than 2 tokens"));
    }
}
