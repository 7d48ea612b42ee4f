//! Rules compiled for the request path, and the cache of them.
//!
//! All rules of a bucket collapse into a set of targets per change: two rules that lead to the same target
//! make one record. Compiled rules are kept per bucket under the partition and sequence of its state, so that a
//! change is always matched by the rules of the state its batch was built on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;
use store::{Bucket, BucketName, ChangeKind, ObjectSummary, PartitionId, Recipients, Sequence};
use tidings_store as store;

use crate::event::KindSet;
use crate::filter::CompiledFilter;
use crate::pattern::KeyPattern;
use crate::rule::{Configuration, Rule};

/// The rules of one state of a bucket, ready to match.
#[derive(Debug, Default)]
pub(crate) struct CompiledRules {
    rules: Vec<CompiledRule>,
}

#[derive(Debug)]
struct CompiledRule {
    id: String,
    kinds: KindSet,
    keys: KeyPattern,
    filter: CompiledFilter,
    target: String,
}

impl CompiledRule {
    /// `None` for an expression that cannot be used: it was checked when the rule was set, by another version.
    fn new(rule: &Rule) -> Option<CompiledRule> {
        let Some(filter) = CompiledFilter::new(&rule.filter) else {
            tracing::error!(rule = %rule.id, target_id = %rule.target, "the regex of a notification rule cannot be used, the rule is not in force");
            return None;
        };
        let (prefix, suffix) = (rule.prefix.as_deref().unwrap_or(""), rule.suffix.as_deref().unwrap_or(""));
        let of_keys = if rule.target.is_topic() { KeyPattern::literal } else { KeyPattern::new };
        Some(CompiledRule {
            id: rule.id.clone(),
            kinds: KindSet::of(&rule.events),
            keys: of_keys(prefix, suffix),
            filter,
            target: rule.target.target(),
        })
    }

    fn matches(&self, kind: ChangeKind, key: &str, object: Option<&ObjectSummary>) -> bool {
        self.kinds.contains(kind) && self.keys.matches(key) && self.filter.matches(key, object)
    }
}

impl CompiledRules {
    /// Whether any rule leads to a target, whatever it tells of.
    pub(crate) fn lead_to(&self, target: &str) -> bool {
        self.rules.iter().any(|rule| rule.target == target)
    }

    /// The id of the first rule that tells a target of this.
    pub(crate) fn rule_for(
        &self,
        target: &str,
        kind: ChangeKind,
        key: &str,
        object: Option<&ObjectSummary>,
    ) -> Option<&str> {
        let found = self.rules.iter().find(|rule| rule.target == target && rule.matches(kind, key, object));
        found.map(|rule| rule.id.as_str())
    }

    pub(crate) fn new(configuration: &Configuration) -> CompiledRules {
        CompiledRules { rules: configuration.rules.iter().filter_map(CompiledRule::new).collect() }
    }

    /// The targets among `live` that want to be told, and the first rule that leads to each.
    pub(crate) fn recipients(
        &self,
        kind: ChangeKind,
        key: &str,
        object: Option<&ObjectSummary>,
        live: &BTreeSet<String>,
    ) -> Recipients {
        let mut matching: BTreeMap<&str, &str> = BTreeMap::new();
        for rule in &self.rules {
            if live.contains(&rule.target) && rule.matches(kind, key, object) {
                matching.entry(&rule.target).or_insert(&rule.id);
            }
        }
        let says_something = matching.values().any(|id| !id.is_empty());
        let rules = matching.values().filter(|_| says_something).map(|&id| id.to_owned()).collect();
        Recipients { targets: matching.into_keys().map(str::to_owned).collect(), rules }
    }
}

/// Buckets whose compiled rules are kept at once. Beyond it some are compiled again when they are written to.
const CACHED_BUCKETS_MAX: usize = 10_000;

/// A state of a bucket. Sequences of different partitions are not compared.
type State = (PartitionId, Sequence);

/// Compiled rules by bucket.
#[derive(Debug, Default)]
pub(crate) struct RuleCache {
    buckets: RwLock<HashMap<BucketName, (State, Arc<CompiledRules>)>>,
}

impl RuleCache {
    /// The rules of this state of a bucket.
    ///
    /// A document that cannot be read has no rules; that is an error for the operator and is logged whenever
    /// the document is compiled.
    pub(crate) fn rules(&self, bucket: &Bucket) -> Arc<CompiledRules> {
        let Some(document) = bucket.document(Bucket::NOTIFICATION) else {
            return Arc::default();
        };
        if let Some((state, rules)) = self.buckets.read().get(&bucket.name)
            && *state == (bucket.partition, bucket.sequence)
        {
            return Arc::clone(rules);
        }
        let configuration = Configuration::decode(document, "").unwrap_or_else(|reason| {
            tracing::error!(bucket = %bucket.name, %reason, "the notification rules of the bucket cannot be read, none are in force");
            Configuration::default()
        });
        let rules = Arc::new(CompiledRules::new(&configuration));
        self.keep(bucket, &rules);
        rules
    }

    fn keep(&self, bucket: &Bucket, rules: &Arc<CompiledRules>) {
        let mut buckets = self.buckets.write();
        // A batch that was built on an older state must not push out what newer ones use.
        let is_newer =
            |(partition, sequence): State| partition == bucket.partition && sequence > bucket.sequence;
        if buckets.get(&bucket.name).is_some_and(|(state, _)| is_newer(*state)) {
            return;
        }
        if buckets.len() >= CACHED_BUCKETS_MAX && !buckets.contains_key(&bucket.name) {
            let evicted = buckets.keys().next().cloned();
            buckets.remove(&evicted.expect("a full cache holds a bucket"));
        }
        buckets.insert(bucket.name.clone(), ((bucket.partition, bucket.sequence), Arc::clone(rules)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use store::{Bucket, BucketName, ChangeKind, PartitionId, Recipients, Sequence};
    use tidings_store as store;

    use super::RuleCache;
    use crate::arn::Arn;
    use crate::event::Event;
    use crate::filter::Filter;
    use crate::rule::{Configuration, Rule};

    fn rule(event: &str, prefix: &str, target: &str) -> Rule {
        Rule {
            id: String::new(),
            events: vec![Event::parse(event).unwrap()],
            prefix: Some(prefix.to_owned()),
            suffix: None,
            filter: Filter::default(),
            target: Arn::parse(&format!("arn:minio:sqs::{target}")).unwrap(),
        }
    }

    fn bucket(sequence: u64, rules: Vec<Rule>) -> Bucket {
        let document = Bytes::from(Configuration { rules }.encode());
        Bucket {
            name: BucketName::new("album").unwrap(),
            created_ms: 0,
            partition: PartitionId(0),
            documents: BTreeMap::from([(Bucket::NOTIFICATION.to_owned(), document)]),
            sequence: Sequence(sequence),
        }
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn told(cache: &RuleCache, bucket: &Bucket, key: &str, live: &[&str]) -> Recipients {
        cache.rules(bucket).recipients(ChangeKind::Put, key, None, &texts(live).into_iter().collect())
    }

    #[test]
    fn rules_that_lead_to_one_target_name_it_once_and_targets_are_sorted() {
        let rules = vec![
            rule("s3:ObjectCreated:*", "", "1:webhook"),
            rule("s3:ObjectCreated:Put", "a", "1:webhook"),
            rule("s3:ObjectCreated:Put", "", "1:kafka"),
        ];
        let told = told(&RuleCache::default(), &bucket(1, rules), "a.txt", &["1:webhook", "1:kafka"]);
        assert_eq!((told.targets, told.rules), (texts(&["1:kafka", "1:webhook"]), vec![]));
    }

    #[test]
    fn the_first_rule_that_leads_to_a_target_is_the_one_it_is_told_of() {
        let named = |id: &str, rule: Rule| Rule { id: id.to_owned(), ..rule };
        let rules = vec![
            named("other", rule("s3:ObjectCreated:*", "b", "1:webhook")),
            named("first", rule("s3:ObjectCreated:*", "", "1:webhook")),
            named("second", rule("s3:ObjectCreated:Put", "a", "1:webhook")),
            rule("s3:ObjectCreated:Put", "", "1:kafka"),
        ];
        let told = told(&RuleCache::default(), &bucket(1, rules), "a.txt", &["1:webhook", "1:kafka"]);
        assert_eq!(told.rules, ["", "first"]);
    }

    #[test]
    fn a_rule_matches_nothing_while_its_target_is_gone() {
        let bucket = bucket(1, vec![rule("s3:ObjectCreated:*", "", "1:webhook")]);
        assert_eq!(told(&RuleCache::default(), &bucket, "a", &[]), Recipients::default());
    }

    #[test]
    fn every_state_of_a_bucket_is_matched_by_its_own_rules() {
        let cache = RuleCache::default();
        let old = bucket(1, vec![rule("s3:ObjectCreated:*", "", "old:webhook")]);
        let new = bucket(2, vec![rule("s3:ObjectCreated:*", "", "new:webhook")]);
        let both = ["old:webhook", "new:webhook"];
        let matched = [&old, &new, &old, &new].map(|state| told(&cache, state, "a", &both));
        assert_eq!(
            matched.map(|told| told.targets.join(",")),
            ["old:webhook", "new:webhook", "old:webhook", "new:webhook"]
        );
    }

    #[test]
    fn the_cache_stays_within_its_bound() {
        let cache = RuleCache::default();
        for number in 0..=super::CACHED_BUCKETS_MAX {
            let name = BucketName::new(&format!("bucket-{number}")).unwrap();
            cache.rules(&Bucket { name, ..bucket(1, vec![]) });
        }
        assert_eq!(cache.buckets.read().len(), super::CACHED_BUCKETS_MAX);
    }
}
