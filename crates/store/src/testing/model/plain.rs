//! A bucket as ordered maps and lists: what it holds, what its uploads hold, what was told of it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};

use bytes::Bytes;

use crate::change::{Change, ChangeKind, Sequence};
use crate::listing::ListQuery;
use crate::multipart::Upload;
use crate::names::VersionId;
use crate::object::ETag;

/// What the model holds.
#[derive(Default)]
pub(super) struct Model {
    pub(super) objects: BTreeMap<String, Bytes>,
    pub(super) uploads: Vec<ModelUpload>,
    pub(super) targets: Vec<String>,
    pub(super) told: Vec<Told>,
    /// How many of `told` were compared.
    pub(super) compared: usize,
    pub(super) newest: Sequence,
}

pub(super) struct ModelUpload {
    pub(super) upload: Upload,
    pub(super) parts: BTreeMap<u32, Bytes>,
    pub(super) is_open: bool,
}

/// What a change is compared by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    kind: ChangeKind,
    key: String,
    version: Option<VersionId>,
    object: Option<(u64, String)>,
    targets: Vec<String>,
}

impl From<Change> for Told {
    fn from(change: Change) -> Told {
        let Change { kind, key, version, object, targets, .. } = change;
        Told { kind, key, version, object: object.map(|object| (object.size_bytes, object.etag)), targets }
    }
}

impl Model {
    pub(super) fn tell(&mut self, kind: ChangeKind, key: &str, body: Option<&Bytes>) {
        let is_of_bucket = key.is_empty();
        self.told.push(Told {
            kind,
            key: key.to_owned(),
            version: key.ends_with('/').then_some(VersionId::Null),
            object: body.map(|body| (body.len() as u64, etag(body).0)),
            targets: if is_of_bucket { Vec::new() } else { self.targets.clone() },
        });
    }

    pub(super) fn put(&mut self, kind: ChangeKind, key: &str, body: Bytes) {
        self.tell(kind, key, Some(&body));
        self.objects.insert(key.to_owned(), body);
    }

    /// A page as the shortest code can make it: keys and groups in one order, and whether there is more.
    pub(super) fn page(&self, query: &ListQuery) -> (Vec<String>, bool) {
        let group = |name: &str| {
            let at = name[query.prefix.len()..].find(&query.delimiter)?;
            Some(name[..query.prefix.len() + at + query.delimiter.len()].to_owned())
        };
        let group = |name: &str| group(name).filter(|_| !query.delimiter.is_empty());
        let is_after_group =
            query.after.starts_with(&query.prefix) && group(&query.after) == Some(query.after.clone());
        let mut steps = Vec::new();
        for name in self.objects.keys().filter(|name| name.starts_with(&query.prefix) && **name > query.after)
        {
            if is_after_group && name.starts_with(&query.after) {
                continue;
            }
            let step = group(name).unwrap_or_else(|| name.clone());
            if steps.last() != Some(&step) {
                steps.push(step);
            }
        }
        let is_truncated = query.limit > 0 && steps.len() > query.limit;
        steps.truncate(query.limit);
        (steps, is_truncated)
    }
}

/// An entity tag that tells bodies apart; the store does not care how it is made.
pub(super) fn etag(body: &[u8]) -> ETag {
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    ETag(format!("{:032x}", hasher.finish()))
}
