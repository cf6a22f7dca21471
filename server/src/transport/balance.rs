//! What a connection has asked for beyond what it was answered.
//!
//! A frame that carries nothing costs its sender nothing and the server a microsecond or two: thousands of them a
//! millisecond keep it from everybody else. A call that begins and never goes on costs it more. So what is said is
//! counted, and answers are counted against it; beyond what a caller ever needs, time alone gives more. Who has nothing
//! left is read from no more until there is something again. (Envoy counts frames against answers likewise, but hangs up.)

use std::time::Duration;

use tokio::time::Instant;

use super::MAX_STREAMS;
use super::frames::{Frame, Kind};

/// Frames that carry nothing and may be said at once,
const FRAMES: u32 = 8_192;
/// and how often one more: 20,000 a second.
const FRAME_INTERVAL: Duration = Duration::from_micros(50);
/// Such frames that are free for each part of an answer: its reader may say that it takes more, of the stream and of the
/// connection, and ask how far away the server is.
const FRAMES_PER_PART: i64 = 4;
/// How often a call may begin beyond the [`MAX_STREAMS`] that may be open: 250 a second. A caller who keeps to those needs it
/// only for calls that it gives up.
const CALL_INTERVAL: Duration = Duration::from_millis(4);

/// What a connection has left.
pub(super) struct Balance {
    frames: Budget,
    calls: Budget,
}

impl Balance {
    pub(super) fn full(now: Instant) -> Balance {
        Balance {
            frames: Budget::full(FRAMES, FRAME_INTERVAL, now),
            calls: Budget::full(MAX_STREAMS, CALL_INTERVAL, now),
        }
    }

    /// Takes what a frame of the caller's costs.
    pub(super) fn charge(&mut self, frame: Frame) {
        match frame.kind {
            Kind::Headers => self.calls.left -= 1,
            Kind::Data if !frame.is_empty || frame.ends_stream => {}
            Kind::Data | Kind::Control => self.frames.left -= 1,
        }
    }

    /// Adds what a frame of the server's pays.
    pub(super) fn pay(&mut self, frame: Frame) {
        if frame.kind == Kind::Data {
            self.frames.add(FRAMES_PER_PART);
        }
        if frame.ends_stream {
            self.calls.add(1);
        }
    }

    /// Whether nothing is left of something.
    pub(super) fn is_spent(&self) -> bool {
        self.frames.is_spent() || self.calls.is_spent()
    }

    /// When there will be something of all again, if there is not now.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Instant> {
        self.frames.wait(now).max(self.calls.wait(now))
    }
}

/// Grows by one each interval until it is full. May be overdrawn, by what is read at a time.
struct Budget {
    left: i64,
    full: i64,
    interval: Duration,
    /// Until when time has been counted.
    counted: Instant,
}

impl Budget {
    fn full(full: u32, interval: Duration, now: Instant) -> Budget {
        let full = i64::from(full);
        Budget { left: full, full, interval, counted: now }
    }

    fn add(&mut self, more: i64) {
        self.left = self.left.saturating_add(more).min(self.full);
    }

    fn is_spent(&self) -> bool {
        self.left < 0
    }

    fn wait(&mut self, now: Instant) -> Option<Instant> {
        let passed = now.saturating_duration_since(self.counted).as_nanos() / self.interval.as_nanos();
        let intervals = saturating(passed);
        self.add(i64::from(intervals));
        // What is not a whole interval yet is counted at the next look.
        self.counted = if self.left == self.full { now } else { self.counted + self.interval * intervals };
        let lacking = saturating(u128::from(self.left.unsigned_abs()));
        self.is_spent().then(|| self.counted + self.interval * lacking)
    }
}

fn saturating(number: u128) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL_BEGINS: Frame = Frame { kind: Kind::Headers, is_empty: false, ends_stream: false };
    const CALL_ENDS: Frame = Frame { ends_stream: true, ..CALL_BEGINS };
    const CONTROL: Frame = Frame { kind: Kind::Control, is_empty: false, ends_stream: false };
    const PART: Frame = Frame { kind: Kind::Data, is_empty: false, ends_stream: false };
    const NOTHING: Frame = Frame { is_empty: true, ..PART };
    const END_OF_MESSAGE: Frame = Frame { is_empty: true, ends_stream: true, ..PART };

    /// How many of these frames spend a full balance, if ever.
    fn spent_after(frames: &[Frame]) -> Option<u32> {
        let mut balance = Balance::full(Instant::now());
        (1..20_000).find(|_| {
            frames.iter().for_each(|frame| balance.charge(*frame));
            balance.is_spent()
        })
    }

    #[test]
    fn what_nobody_needs_to_say_is_spent_and_messages_are_free() {
        assert_eq!(spent_after(&[CONTROL]), Some(FRAMES + 1));
        assert_eq!(spent_after(&[NOTHING]), Some(FRAMES + 1));
        assert_eq!(spent_after(&[CALL_BEGINS]), Some(MAX_STREAMS + 1));
        assert_eq!(spent_after(&[PART, END_OF_MESSAGE]), None);
    }

    #[test]
    fn answers_pay_for_their_calls_and_for_what_their_readers_say() {
        let mut balance = Balance::full(Instant::now());
        for _ in 0..10_000 {
            for frame in [CALL_BEGINS, PART, END_OF_MESSAGE, CONTROL, CONTROL, CONTROL] {
                balance.charge(frame);
            }
            for frame in [CALL_BEGINS, PART, CALL_ENDS] {
                balance.pay(frame);
            }
            assert!(!balance.is_spent());
        }
        // Acknowledgements do not: whoever asks for them would be paid for asking.
        (0..=FRAMES).for_each(|_| balance.charge(CONTROL));
        (0..=FRAMES).for_each(|_| balance.pay(CONTROL));
        assert!(balance.is_spent());
    }

    #[test]
    fn time_adds_up_to_the_full_and_no_more() {
        let start = Instant::now();
        let mut balance = Balance::full(start);
        (0..FRAMES + 3).for_each(|_| balance.charge(CONTROL));
        assert_eq!(balance.wait(start), Some(start + 3 * FRAME_INTERVAL));
        // However often one looks, nothing of the time is lost.
        assert_eq!(balance.wait(start + FRAME_INTERVAL / 2), Some(start + 3 * FRAME_INTERVAL));
        assert_eq!(balance.wait(start + FRAME_INTERVAL * 3 / 2), Some(start + 3 * FRAME_INTERVAL));
        assert_eq!(balance.wait(start + 3 * FRAME_INTERVAL), None);

        let year = start + Duration::from_secs(365 * 86_400);
        assert_eq!(balance.wait(year), None);
        (0..=FRAMES).for_each(|_| balance.charge(CONTROL));
        assert_eq!(balance.wait(year), Some(year + FRAME_INTERVAL));
        (0..=MAX_STREAMS).for_each(|_| balance.charge(CALL_BEGINS));
        assert_eq!(balance.wait(year), Some(year + CALL_INTERVAL), "the longer wait of both");
    }
}
