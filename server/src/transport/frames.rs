//! Follows the frames of HTTP/2 (RFC 9113, section 4.1) in bytes that pass by, in pieces of any size.

/// Bytes before each frame's payload.
const HEADER: usize = 9;
/// A flag of DATA and HEADERS: this end says no more in the stream.
const END_STREAM: u8 = 1;

/// What a frame is, as far as its header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) is_empty: bool,
    pub(super) ends_stream: bool,
}

/// Kinds of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    /// All that carry neither the beginning of a call nor a part of a message.
    Control,
}

/// Where in a frame the bytes that pass by are; at first, before one.
#[derive(Default)]
pub(super) struct Frames {
    header: [u8; HEADER],
    /// Bytes of the header that have passed.
    passed: usize,
    /// Bytes of its payload that have not.
    to_skip: usize,
}

impl Frames {
    /// Goes on through these bytes. `pass` gets each frame whose header ends in them.
    pub(super) fn follow(&mut self, mut bytes: &[u8], mut pass: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let skipped = self.to_skip.min(bytes.len());
            self.to_skip -= skipped;
            bytes = &bytes[skipped..];

            let part = (HEADER - self.passed).min(bytes.len());
            self.header[self.passed..self.passed + part].copy_from_slice(&bytes[..part]);
            self.passed += part;
            bytes = &bytes[part..];
            if self.passed == HEADER {
                let [a, b, c, kind, flags, ..] = self.header;
                self.passed = 0;
                self.to_skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                let kind = Kind::of(kind);
                let ends_stream = kind != Kind::Control && flags & END_STREAM != 0;
                pass(Frame { kind, is_empty: self.to_skip == 0, ends_stream });
            }
        }
    }
}

impl Kind {
    fn of(number: u8) -> Kind {
        match number {
            0 => Kind::Data,
            1 => Kind::Headers,
            _ => Kind::Control,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: &[u8] = b"\x00\x00\x06\x04\x00\0\0\0\0settin\
        \x00\x00\x02\x01\x04\0\0\0\x01hd\
        \x00\x01\x00\x00\x00\0\0\0\x01";
    const REST: &[u8] = b"\x00\x00\x00\x00\x01\0\0\0\x01\
        \x00\x00\x00\x04\x01\0\0\0\0";

    #[test]
    fn frames_are_seen_once_however_their_bytes_are_cut() {
        let bytes = [BYTES, &[0; 256], REST].concat();
        let frame = |kind, is_empty, ends_stream| Frame { kind, is_empty, ends_stream };
        let expected = [
            frame(Kind::Control, false, false),
            frame(Kind::Headers, false, false),
            frame(Kind::Data, false, false),
            frame(Kind::Data, true, true),
            // The same flag is "acknowledged" here.
            frame(Kind::Control, true, false),
        ];
        for size in 1..=bytes.len() {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(size) {
                frames.follow(piece, |frame| seen.push(frame));
            }
            assert_eq!(seen, expected, "in pieces of {size}");
        }
    }
}
