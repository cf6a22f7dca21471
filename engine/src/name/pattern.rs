//! Patterns that name nodes: `bot*/group/*`.

use std::fmt;
use std::sync::Arc;

use super::{Key, NameError};

/// A path of 1 to 3 segments in which `*` stands for any characters of one segment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPattern(Arc<str>);

impl KeyPattern {
    /// A checked pattern.
    ///
    /// # Errors
    /// When `text` is empty, or would be no key.
    pub fn new(text: &str) -> Result<KeyPattern, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        Key::new(text.to_owned())?;
        Ok(KeyPattern(text.into()))
    }

    /// Whether it names the node `path`, which must have just as many segments.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let mut segments = path.split('/');
        self.0.split('/').all(|wanted| segments.next().is_some_and(|segment| is_like(wanted, segment)))
            && segments.next().is_none()
    }

    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` is `pattern` with its stars filled in. A star that turned out to stand for too little is
/// made longer, and only the last one: so it costs at most the product of both lengths.
#[must_use]
pub fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match &mut star {
                Some((at, covered)) => {
                    *covered += 1;
                    (p, t) = (*at + 1, *covered);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_stands_for_any_characters_of_one_segment() {
        let pattern = KeyPattern::new("bot*/group/*").unwrap();
        assert!(pattern.matches("bot42/group/chat7"));
        assert!(pattern.matches("bot/group/x"));
        for other in ["bot42/group", "bot42/other/chat7", "robot/group/x", "bot42", "bot4/2/group"] {
            assert!(!pattern.matches(other), "{other}");
        }
        assert!(KeyPattern::new("*").unwrap().matches("anything"));
        assert!(!KeyPattern::new("*").unwrap().matches("any/thing"));
    }

    #[test]
    fn several_stars_share_a_text_as_they_can() {
        for (pattern, text, expected) in [
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("*aab", "aaaab", true),
            ("**", "", true),
            ("*", "", true),
            ("a", "", false),
            ("", "", true),
            ("a*", "ba", false),
        ] {
            assert_eq!(is_like(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn patterns_that_can_match_no_key_are_refused() {
        for text in ["", "a//b", "a/b/c/d", "a\n"] {
            assert!(KeyPattern::new(text).is_err(), "{text:?}");
        }
    }
}
