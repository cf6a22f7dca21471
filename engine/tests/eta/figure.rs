//! How good ranges were.

use std::fmt;

#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    inside: usize,
    early: usize,
    late: usize,
    unbounded: usize,
    /// Of waits over some seconds: how wide the range was, as a part of the wait.
    widths: Vec<f64>,
    waits: Vec<f64>,
}

/// Waits that are shorter are not asked how wide their range was: a second is added to each end of it.
const SOME_SECONDS: f64 = 5.0;

impl Figures {
    /// A job went so many seconds after its range was said.
    pub(crate) fn add(&mut self, wait: f64, earliest: f64, latest: Option<f64>) {
        // Times are told to a nanosecond.
        let close = 1e-6;
        if wait < earliest - close {
            self.early += 1;
        } else if latest.is_some_and(|latest| wait > latest + close) {
            self.late += 1;
        } else {
            self.inside += 1;
        }
        match latest {
            None => self.unbounded += 1,
            Some(latest) if wait > SOME_SECONDS => self.widths.push((latest - earliest) / wait),
            Some(_) => {}
        }
        self.waits.push(wait);
    }

    pub(crate) fn with(mut self, other: Figures) -> Figures {
        self.inside += other.inside;
        self.early += other.early;
        self.late += other.late;
        self.unbounded += other.unbounded;
        self.widths.extend(other.widths);
        self.waits.extend(other.waits);
        self
    }

    pub(crate) fn count(&self) -> usize {
        self.waits.len()
    }

    pub(crate) fn inside(&self) -> f64 {
        self.part(self.inside)
    }

    pub(crate) fn unbounded(&self) -> f64 {
        self.part(self.unbounded)
    }

    /// The median width.
    pub(crate) fn width(&self) -> f64 {
        median(&self.widths)
    }

    fn part(&self, count: usize) -> f64 {
        count as f64 / self.count().max(1) as f64
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |count| 100.0 * self.part(count);
        write!(f, "{:6} ranges: inside {:5.1} %", self.count(), percent(self.inside))?;
        write!(
            f,
            " (early {:.1}, late {:.1}), no end {:.1} %",
            percent(self.early),
            percent(self.late),
            percent(self.unbounded)
        )?;
        write!(f, ", width/wait {:.2}, wait {:.0} s", self.width(), median(&self.waits))
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
