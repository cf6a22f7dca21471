//! Where in a request a field is. Costs nothing until it has to be shown.

use std::fmt;

/// A field, from the request down to it: `jobs[3].priority`.
#[derive(Clone, Copy)]
pub(in crate::rpc) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'static str),
    Item(usize),
    Entry(&'a str),
}

/// Bytes of a map's key that are shown: clients choose it, and an answer has little room.
const MAX_ENTRY_BYTES: usize = 32;

impl<'a> Path<'a> {
    /// A field of the request itself.
    pub(in crate::rpc) const fn new(field: &'static str) -> Path<'static> {
        Path { parent: None, step: Step::Field(field) }
    }

    /// A field of this one.
    pub(in crate::rpc) const fn then(&'a self, field: &'static str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Field(field) }
    }

    /// An item of this one.
    pub(in crate::rpc) const fn item(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Item(index) }
    }

    /// What this one, a map, has under `key`.
    pub(in crate::rpc) const fn entry(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Entry(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Field(name) if self.parent.is_none() => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
            Step::Item(index) => write!(f, "[{index}]"),
            Step::Entry(key) => write!(f, "[{:?}]", crate::rpc::text::cut(key, MAX_ENTRY_BYTES)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_names_each_step_down_to_the_field() {
        let jobs = Path::new("jobs");
        let job = jobs.item(3);
        let policy = job.then("retry_policy");
        let labels = job.then("labels");
        assert_eq!(policy.then("jitter").to_string(), "jobs[3].retry_policy.jitter");
        assert_eq!(labels.entry("a\"b").to_string(), r#"jobs[3].labels["a\"b"]"#);
        assert_eq!(labels.entry(&"k".repeat(1_000)).to_string().len(), "jobs[3].labels[\"\"]".len() + 32);
    }
}
