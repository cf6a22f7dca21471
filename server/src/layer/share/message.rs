//! Where messages begin and end in the bytes of a call: each has its length before it.

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Follows the bytes of a call.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// Bytes of the prefix so far, and what its length is by them.
    prefix: usize,
    length: u32,
    /// Bytes of the message that are there, and that are to come.
    there: usize,
    to_come: usize,
}

impl Messages {
    /// Takes the next bytes; how many of those so far belong to a message that is not whole.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> usize {
        while let Some((first, rest)) = bytes.split_first() {
            if self.prefix < PREFIX_BYTES {
                if self.prefix > 0 {
                    self.length = self.length << 8 | u32::from(*first);
                }
                self.prefix += 1;
                bytes = rest;
                if self.prefix == PREFIX_BYTES {
                    (self.there, self.to_come) = (0, self.length as usize);
                }
            } else {
                let part = bytes.len().min(self.to_come);
                (self.there, self.to_come) = (self.there + part, self.to_come - part);
                bytes = &bytes[part..];
            }
            if self.prefix == PREFIX_BYTES && self.to_come == 0 {
                *self = Messages::default();
            }
        }
        self.prefix + self.there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_until_their_message_is_whole_however_they_are_cut() {
        let message = |length: u8| [&[0, 0, 0, 0, length][..], &vec![7; length.into()]].concat();
        let all = [message(3), message(0), message(200)].concat();
        for piece in [1, 2, 5, 7, all.len()] {
            let mut messages = Messages::default();
            let mut most = 0;
            for part in all.chunks(piece) {
                most = messages.take(part).max(most);
            }
            assert_eq!(messages.take(&[]), 0, "all are whole, in pieces of {piece}");
            assert!(most <= 204, "{most}");
        }
        let mut messages = Messages::default();
        assert_eq!(messages.take(&all[..all.len() - 1]), 204);
    }
}
