//! Collects what is wrong, and checks the kinds of field that many requests share.

use std::fmt;
use std::ops::RangeInclusive;

use sluice_engine::bound::{MAX_ID_BYTES, MAX_ITEMS_PER_REQUEST, MAX_REQUEST_ID_BYTES};
use sluice_engine::{JobId, QueueName};

use super::path::Path;
use crate::rpc::status::Failure;
use crate::rpc::text::cut;

/// What is wrong with a request. A check returns `None` after it has said here what is wrong.
#[derive(Debug, Default)]
pub(in crate::rpc) struct Fields {
    wrong: Vec<WrongField>,
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrongField {
    /// Such as `jobs[3].priority`.
    pub(crate) path: String,
    /// The end of a sentence that begins with the field.
    pub(crate) what: String,
}

impl Fields {
    /// Fields named at once: what is left fits in an answer's details.
    pub(in crate::rpc) const MAX: usize = 16;
    /// Bytes of a path or of what is wrong: see above.
    const MAX_TEXT_BYTES: usize = 96;

    /// Says what is wrong with one.
    pub(in crate::rpc) fn wrong(&mut self, at: Path<'_>, what: impl fmt::Display) {
        if self.is_full() {
            return;
        }
        let path = cut(&at.to_string(), Fields::MAX_TEXT_BYTES).to_owned();
        let what = cut(&what.to_string(), Fields::MAX_TEXT_BYTES).to_owned();
        self.wrong.push(WrongField { path, what });
    }

    /// Whether looking further is of no use.
    pub(in crate::rpc) fn is_full(&self) -> bool {
        self.wrong.len() >= Fields::MAX
    }

    /// What was made, if nothing was wrong.
    pub(in crate::rpc) fn made<T>(self, value: Option<T>) -> Result<T, Failure> {
        match value {
            Some(value) if self.wrong.is_empty() => Ok(value),
            _ => Err(Failure::Fields(self.wrong)),
        }
    }

    /// Makes each of 1 to [`MAX_ITEMS_PER_REQUEST`] items.
    pub(super) fn items<T, U>(
        &mut self,
        at: Path<'_>,
        items: Vec<T>,
        mut make: impl FnMut(&mut Fields, Path<'_>, T) -> Option<U>,
    ) -> Option<Vec<U>> {
        if items.is_empty() {
            self.wrong(at, "must not be empty");
            return None;
        }
        if items.len() > MAX_ITEMS_PER_REQUEST {
            self.wrong(at, format_args!("has more than {MAX_ITEMS_PER_REQUEST} items"));
            return None;
        }
        let mut made = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            match make(self, at.item(index), item) {
                Some(item) => made.push(item),
                None if self.is_full() => return None,
                None => {}
            }
        }
        self.wrong.is_empty().then_some(made)
    }

    /// The name of a queue.
    pub(super) fn queue(&mut self, at: Path<'_>, name: &str) -> Option<QueueName> {
        QueueName::new(name).map_err(|e| self.wrong(at, e)).ok()
    }

    /// The name of a job.
    pub(super) fn job(&mut self, at: Path<'_>, id: String) -> Option<JobRef> {
        if id.is_empty() {
            self.wrong(at, "must not be empty");
            return None;
        }
        self.id(at, &id)?;
        Some(JobRef::new(id))
    }

    /// Some short text of the client's choosing; may be empty.
    pub(super) fn id(&mut self, at: Path<'_>, text: &str) -> Option<()> {
        if text.len() > MAX_ID_BYTES {
            self.wrong(at, format_args!("has more than {MAX_ID_BYTES} bytes"));
            return None;
        }
        Some(())
    }

    /// The name of a request; may be empty.
    pub(super) fn request_id(&mut self, at: Path<'_>, text: &str) -> Option<()> {
        if text.len() > MAX_REQUEST_ID_BYTES {
            self.wrong(at, format_args!("has more than {MAX_REQUEST_ID_BYTES} characters"));
            return None;
        }
        if !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            self.wrong(at, "has a character that is not printable ASCII");
            return None;
        }
        Some(())
    }

    /// A number within bounds; `default` when it was not said.
    pub(super) fn number<T: Copy + PartialOrd + fmt::Display>(
        &mut self,
        at: Path<'_>,
        number: Option<T>,
        range: RangeInclusive<T>,
        default: T,
    ) -> Option<T> {
        self.said_number(at, number, range).map(|said| said.unwrap_or(default))
    }

    /// A number within bounds, if it was said. Not-a-number is never within.
    pub(super) fn said_number<T: Copy + PartialOrd + fmt::Display>(
        &mut self,
        at: Path<'_>,
        number: Option<T>,
        range: RangeInclusive<T>,
    ) -> Option<Option<T>> {
        match number {
            Some(said) if !range.contains(&said) => {
                self.wrong(at, format_args!("must be {} to {}", range.start(), range.end()));
                None
            }
            said => Some(said),
        }
    }
}

/// A job as a client names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rpc) struct JobRef {
    /// As it was sent.
    pub(in crate::rpc) text: String,
    /// None: no job was ever called that.
    pub(in crate::rpc) id: Option<JobId>,
}

impl JobRef {
    fn new(text: String) -> JobRef {
        // Only the form that we give ourselves: `007` and `+7` name nothing.
        let id = text.parse::<u64>().ok().filter(|id| id.to_string() == text).map(JobId);
        JobRef { text, id }
    }
}

/// The only field of a request that names a queue.
pub(in crate::rpc) fn queue_name(field: &'static str, name: &str) -> Result<QueueName, Failure> {
    let mut fields = Fields::default();
    let name = fields.queue(Path::new(field), name);
    fields.made(name)
}

/// The only field of a request that names a job.
pub(in crate::rpc) fn job_ref(field: &'static str, id: String) -> Result<JobRef, Failure> {
    let mut fields = Fields::default();
    let job = fields.job(Path::new(field), id);
    fields.made(job)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(failure: Failure) -> Vec<String> {
        match failure {
            Failure::Fields(wrong) => wrong.into_iter().map(|w| w.path).collect(),
            other => panic!("not about fields: {other:?}"),
        }
    }

    #[test]
    fn job_ids_are_numbers_as_we_write_them() {
        let id = |text: &str| job_ref("job_id", text.to_owned()).map(|j| j.id).map_err(paths);
        assert_eq!(id("7"), Ok(Some(JobId(7))));
        assert_eq!(id("18446744073709551615"), Ok(Some(JobId(u64::MAX))));
        for nothing in ["18446744073709551616", "007", "+7", "-7", " 7", "7 ", "job", "é", &"9".repeat(128)]
        {
            assert_eq!(id(nothing), Ok(None), "{nothing}");
        }
        assert_eq!(id(""), Err(vec!["job_id".to_owned()]));
        assert_eq!(id(&"9".repeat(129)), Err(vec!["job_id".to_owned()]));
    }

    #[test]
    fn queue_names_are_checked() {
        assert!(queue_name("queue", &"q".repeat(128)).is_ok());
        assert_eq!(queue_name("name", "a b").map_err(paths), Err(vec!["name".to_owned()]));
        assert_eq!(queue_name("queue", &"q".repeat(129)).map_err(paths), Err(vec!["queue".to_owned()]));
    }

    #[test]
    fn request_ids_are_short_printable_ascii() {
        let at = Path::new("request_id");
        let good = |text: &str| Fields::default().request_id(at, text).is_some();
        assert!(good("") && good(" ~") && good(&"r".repeat(36)));
        assert!(!good(&"r".repeat(37)) && !good("é") && !good("a\n") && !good("\u{7f}"));
    }

    #[test]
    fn no_more_than_sixteen_fields_are_named() {
        let mut fields = Fields::default();
        let at = Path::new("jobs");
        let made = fields.items(at, vec![(); 10_000], |fields, at, ()| {
            fields.wrong(at.then("key"), "is wrong");
            None::<()>
        });
        assert!(fields.is_full());
        let paths = paths(fields.made(made).unwrap_err());
        assert_eq!(paths.len(), 16);
        assert_eq!(paths[15], "jobs[15].key");
    }

    #[test]
    fn items_are_bounded() {
        let count = |n: usize| {
            let mut fields = Fields::default();
            let made = fields.items(Path::new("acks"), vec![(); n], |_, _, ()| Some(()));
            fields.made(made).map(|m| m.len()).map_err(paths)
        };
        assert_eq!(count(0), Err(vec!["acks".to_owned()]));
        assert_eq!(count(1), Ok(1));
        assert_eq!(count(10_000), Ok(10_000));
        assert_eq!(count(10_001), Err(vec!["acks".to_owned()]));
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        let at = Path::new("jitter");
        assert_eq!(Fields::default().said_number(at, Some(f64::NAN), 0.0..=1.0), None);
        assert_eq!(Fields::default().said_number(at, Some(f64::INFINITY), 0.0..=1.0), None);
        assert_eq!(Fields::default().said_number(at, Some(1.0), 0.0..=1.0), Some(Some(1.0)));
        assert_eq!(Fields::default().number(at, None, 1..=2, 2), Some(2));
    }
}
