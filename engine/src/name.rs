//! Names that cannot be built wrong: whoever holds one need not check it again.

mod pattern;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::bound::{MAX_ID_BYTES, MAX_KEY_BYTES, MAX_KEY_SEGMENTS, MAX_QUEUE_NAME_BYTES};

pub use pattern::{KeyPattern, is_like};

/// The name of a queue: `[A-Za-z0-9._-]{1,128}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueName(Arc<str>);

/// The name of a shared limit, of the same form.
pub type LimitName = QueueName;

/// A path of up to three segments, `bot42/group/chat7`, or nothing. There may be millions: its text is counted without the
/// weak references of `std`, which spares 16 bytes for many lengths.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Option<triomphe::Arc<str>>);

/// The name of a batch: 1 to 128 bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchName(Arc<str>);

/// What is wrong with a name, as the end of a sentence that begins with the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// It is empty and may not be.
    Empty,
    /// It has too many bytes.
    TooLong,
    /// It has a character that is not allowed.
    Character,
    /// It has too many segments.
    TooDeep,
    /// One of its segments is empty.
    EmptySegment,
}

impl QueueName {
    /// A checked name.
    ///
    /// # Errors
    /// When `text` is not `[A-Za-z0-9._-]{1,128}`.
    pub fn new(text: &str) -> Result<QueueName, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_QUEUE_NAME_BYTES {
            return Err(NameError::TooLong);
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if !text.bytes().all(allowed) {
            return Err(NameError::Character);
        }
        Ok(QueueName(text.into()))
    }
}

impl BatchName {
    /// A checked name.
    ///
    /// # Errors
    /// When `text` is empty, over 128 bytes, or has a control character.
    pub fn new(text: &str) -> Result<BatchName, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_ID_BYTES {
            return Err(NameError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(NameError::Character);
        }
        Ok(BatchName(text.into()))
    }

    /// What stands before every name.
    pub(crate) fn least() -> BatchName {
        BatchName("".into())
    }
}

impl Key {
    /// A checked key.
    ///
    /// # Errors
    /// When `text` is over 256 bytes or three segments, has an empty segment or a control character.
    pub fn new(text: String) -> Result<Key, NameError> {
        if text.len() > MAX_KEY_BYTES {
            return Err(NameError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(NameError::Character);
        }
        if text.is_empty() {
            return Ok(Key(None));
        }
        if text.split('/').any(str::is_empty) {
            return Err(NameError::EmptySegment);
        }
        if text.split('/').count() > MAX_KEY_SEGMENTS {
            return Err(NameError::TooDeep);
        }
        Ok(Key(Some(text.into())))
    }

    /// Whether it is `prefix`, or begins with it and a `/`. Every key begins with the empty one.
    #[must_use]
    pub fn is_under(&self, prefix: &Key) -> bool {
        let rest = self.strip_prefix(&**prefix);
        prefix.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The key without its last segment; none for a single segment or no key.
    #[must_use]
    pub fn outer(&self) -> Option<Key> {
        self.rsplit_once('/').map(|(outer, _)| Key(Some(outer.into())))
    }

    /// From the outermost to the innermost; none for no key.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.split('/').filter(|s| !s.is_empty())
    }
}

impl Deref for QueueName {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Deref for BatchName {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Deref for Key {
    type Target = str;
    fn deref(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameError::Empty => "must not be empty",
            NameError::TooLong => "is too long",
            NameError::Character => "has a character that is not allowed",
            NameError::TooDeep => "has too many segments",
            NameError::EmptySegment => "has an empty segment",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_names_are_letters_digits_dots_dashes_and_underscores() {
        assert!(QueueName::new("sms.out_2-b").is_ok());
        assert!(QueueName::new(&"q".repeat(128)).is_ok());
        assert_eq!(QueueName::new(""), Err(NameError::Empty));
        assert_eq!(QueueName::new(&"q".repeat(129)), Err(NameError::TooLong));
        assert_eq!(QueueName::new("a b"), Err(NameError::Character));
        assert_eq!(QueueName::new("a/b"), Err(NameError::Character));
        assert_eq!(QueueName::new("é"), Err(NameError::Character));
    }

    #[test]
    fn keys_are_paths_of_up_to_three_segments() {
        let key = Key::new("bot42/group/chat7".to_owned()).unwrap();
        assert_eq!(key.segments().collect::<Vec<_>>(), ["bot42", "group", "chat7"]);
        assert_eq!(Key::new(String::new()).unwrap().segments().count(), 0);
        assert_eq!(Key::new("a/b/c/d".to_owned()), Err(NameError::TooDeep));
        assert_eq!(Key::new("a//b".to_owned()), Err(NameError::EmptySegment));
        assert_eq!(Key::new("/a".to_owned()), Err(NameError::EmptySegment));
        assert_eq!(Key::new("a/".to_owned()), Err(NameError::EmptySegment));
        assert_eq!(Key::new("a\nb".to_owned()), Err(NameError::Character));
        assert_eq!(Key::new("k".repeat(257)), Err(NameError::TooLong));
    }
}
