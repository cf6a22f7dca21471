//! Shared limits: their settings, and pages of them.

use sluice_engine::{LimitPatch, LimitSettings, NodeSettings, PutLimit};
use sluice_proto::v1;

use super::field::Fields;
use super::path::Path;
use super::queue::version;
use super::span::ANY;
use crate::rpc::status::Failure;

/// A shared limit as it is to be.
pub(in crate::rpc) fn put_limit(request: v1::PutLimitRequest) -> Result<PutLimit, Failure> {
    let mut fields = Fields::default();
    let at = Path::new("limit");
    let limit = request.limit.unwrap_or_default();
    let name = fields.queue(at.then("name"), &limit.name);
    let etag = fields.id(at.then("etag"), &limit.etag);
    let node = fields.limit_node(at.then("settings"), limit.settings.as_ref());
    let ageing = fields.span(at.then("priority_ageing"), limit.priority_ageing, ANY);
    let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
    let mask = fields.limit_mask(&paths);
    let default = LimitSettings::default();
    let made = (|| {
        etag?;
        let (name, node, ageing, has) = (name?, node?, ageing?, mask?);
        let patch = LimitPatch {
            node: has("settings").then_some(node),
            priority_ageing: has("priority_ageing").then(|| ageing.unwrap_or(default.priority_ageing)),
        };
        Some((name, patch))
    })();
    let (name, patch) = fields.made(made)?;
    let version = match &*limit.etag {
        "" => None,
        // An etag that we never gave cannot be the present one.
        etag => Some(version(etag).ok_or_else(|| Failure::EtagMismatch(name.to_string()))?),
    };
    Ok(PutLimit { name, patch, version })
}

impl Fields {
    /// What is set on a shared limit: it has no siblings, no jobs of its own and no room.
    fn limit_node(&mut self, at: Path<'_>, said: Option<&v1::NodeSettings>) -> Option<NodeSettings> {
        let Some(said) = said else { return Some(NodeSettings::default()) };
        let elsewhere = [
            ("weight", said.weight.is_some_and(|weight| weight != 1)),
            ("ordered", said.ordered),
            ("max_jobs", said.max_jobs.is_some()),
            ("max_bytes", said.max_bytes.is_some()),
            ("overflow_policy", said.overflow_policy != 0),
        ];
        let mut good = true;
        for (field, _) in elsewhere.into_iter().filter(|(_, is_said)| *is_said) {
            self.wrong(at.then(field), "is for queues and keys, not for a shared limit");
            good = false;
        }
        self.node(at, said).filter(|_| good)
    }

    /// Which fields are to change; none said: all.
    fn limit_mask<'a>(&mut self, paths: &'a [String]) -> Option<impl Fn(&str) -> bool + use<'a>> {
        let mut good = true;
        for path in paths.iter().filter(|path| !matches!(&***path, "settings" | "priority_ageing" | "*")) {
            self.wrong(Path::new("update_mask"), format_args!("{path:?} is not a field that can be set"));
            good = false;
            if self.is_full() {
                break;
            }
        }
        let has =
            move |field: &str| paths.is_empty() || paths.iter().any(|path| path == field || path == "*");
        good.then_some(has)
    }
}

#[cfg(test)]
mod tests {
    use prost_types::FieldMask;

    use super::*;

    fn put(limit: v1::Limit, paths: &[&str]) -> Result<PutLimit, Failure> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        put_limit(v1::PutLimitRequest { limit: Some(limit), update_mask: Some(FieldMask { paths }) })
    }

    fn limit() -> v1::Limit {
        let settings = v1::NodeSettings { max_in_flight: Some(3), ..Default::default() };
        v1::Limit { name: "vendor".to_owned(), settings: Some(settings), ..Default::default() }
    }

    #[test]
    fn only_what_the_mask_names_changes() {
        let made = put(limit(), &["priority_ageing"]).unwrap().patch;
        assert_eq!((made.node, made.priority_ageing), (None, Some(LimitSettings::default().priority_ageing)));
        let made = put(limit(), &[]).unwrap().patch;
        assert_eq!(made.node.unwrap().max_in_flight, Some(3));
        assert!(put(limit(), &["name"]).is_err());
    }

    #[test]
    fn what_belongs_to_queues_is_refused() {
        let settings = v1::NodeSettings { ordered: true, weight: Some(2), ..Default::default() };
        let wrong = put(v1::Limit { settings: Some(settings), ..limit() }, &[]).unwrap_err();
        let Failure::Fields(wrong) = wrong else { panic!("{wrong:?}") };
        let paths: Vec<_> = wrong.iter().map(|field| &*field.path).collect();
        assert_eq!(paths, ["limit.settings.weight", "limit.settings.ordered"]);
    }
}
