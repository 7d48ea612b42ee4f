//! What the rule of a topic asks of an object beside prefix and suffix: a regular expression of its key, metadata,
//! tags.
//!
//! Expressions are matched in time linear in the key, without backtracking: a rule cannot make a request slow. So there
//! are neither backreferences nor look-around. What an expression may take when compiled is bounded by
//! [`COMPILED_BYTES_MAX`].
//!
//! Source: Ceph's manual, "Bucket Notifications", S3Key, S3Metadata and S3Tags.

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use store::ObjectSummary;
use tidings_store as store;

/// Longest expression in bytes, and longest name or value; as for prefixes.
pub const FILTER_BYTES_MAX: usize = crate::pattern::FILTER_BYTES_MAX;

/// Most pairs of metadata, and of tags, in a rule.
pub const PAIRS_MAX: usize = 50;

/// What an expression may take when compiled, in bytes.
const COMPILED_BYTES_MAX: usize = 256 * 1024;

/// See the module header. Everything that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// The whole key must match it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// Names (`x-amz-meta-color`) and the values they must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<(String, String)>,
    /// Tags the object must have, with these values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<(String, String)>,
}

impl Filter {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        *self == Filter::default()
    }
}

/// A filter, ready to match.
#[derive(Debug)]
pub(crate) struct CompiledFilter {
    regex: Option<Regex>,
    metadata: Vec<(String, String)>,
    tags: Vec<(String, String)>,
}

impl CompiledFilter {
    /// `None` when the expression is none, or needs what this engine does not have.
    pub(crate) fn new(filter: &Filter) -> Option<CompiledFilter> {
        let regex = filter.regex.as_deref().map(whole).transpose().ok()?;
        Some(CompiledFilter { regex, metadata: filter.metadata.clone(), tags: filter.tags.clone() })
    }

    /// Whether a key and its object are meant. Without an object no metadata and no tag is there.
    pub(crate) fn matches(&self, key: &str, object: Option<&ObjectSummary>) -> bool {
        let (metadata, tags) =
            object.map_or((&[][..], &[][..]), |object| (&object.metadata[..], &object.tags[..]));
        let has_metadata = |(name, value): &(String, String)| {
            metadata.iter().any(|(have, its)| have.eq_ignore_ascii_case(name) && its == value)
        };
        self.regex.as_ref().is_none_or(|regex| regex.is_match(key))
            && self.metadata.iter().all(has_metadata)
            && self.tags.iter().all(|tag| tags.contains(tag))
    }
}

/// An expression that must match a key from end to end. It must be one by itself: what closes a bracket here is ours.
fn whole(expression: &str) -> Result<Regex, regex::Error> {
    let build = |text: &str| {
        RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).build()
    };
    build(expression)?;
    build(&format!(r"\A(?:{expression})\z"))
}

#[cfg(test)]
mod tests {
    use store::ObjectSummary;
    use tidings_store as store;

    use super::{CompiledFilter, Filter};

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    fn matches(regex: &str, key: &str) -> bool {
        let filter = Filter { regex: Some(regex.to_owned()), ..Filter::default() };
        CompiledFilter::new(&filter).unwrap().matches(key, None)
    }

    #[test]
    fn an_expression_matches_the_whole_key_or_nothing() {
        assert!(matches(r"([a-z]+)\.jpg", "rose.jpg"));
        assert!(!matches(r"([a-z]+)\.jpg", "a/rose.jpg"));
        assert!(!matches(r"([a-z]+)\.jpg", "rose.jpg.txt"));
        assert!(!matches("a", "a\n") && matches("a|ab", "ab") && !matches("a|b", "ab"));
    }

    #[test]
    fn what_is_no_expression_or_takes_too_much_is_none() {
        for regex in ["(", "a)(b", r"(a)\1", "(?=a)a", "(?x) a #", "((a{100}){100}){100}"] {
            let filter = Filter { regex: Some(regex.to_owned()), ..Filter::default() };
            assert!(CompiledFilter::new(&filter).is_none(), "{regex}");
        }
    }

    #[test]
    fn every_pair_of_metadata_and_every_tag_must_be_there_with_its_value() {
        let object = ObjectSummary {
            metadata: vec![pair("X-Amz-Meta-Color", "red"), pair("X-Amz-Meta-N", "1")],
            tags: vec![pair("stage", "raw")],
            ..ObjectSummary::default()
        };
        let matches = |metadata: &[(&str, &str)], tags: &[(&str, &str)], object| {
            let pairs =
                |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| pair(name, value)).collect();
            let filter = Filter { regex: None, metadata: pairs(metadata), tags: pairs(tags) };
            CompiledFilter::new(&filter).unwrap().matches("rose", object)
        };
        assert!(matches(&[("x-amz-meta-color", "red")], &[("stage", "raw")], Some(&object)));
        assert!(!matches(&[("x-amz-meta-color", "red"), ("x-amz-meta-n", "2")], &[], Some(&object)));
        assert!(!matches(&[], &[("Stage", "raw")], Some(&object)));
        assert!(!matches(&[("x-amz-meta-color", "red")], &[], None) && matches(&[], &[], None));
    }
}
