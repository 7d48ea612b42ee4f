//! The rules of topics: how they are checked. What differs from the rules of queues is Ceph's.
//!
//! A rule has an id, by which later documents name it. Without events it asks for what is created and what is removed.
//! `*` and `?` in a prefix or suffix stand for themselves, rules may overlap, and a filter may ask for more than the
//! key's ends ([`Filter`]).

use crate::arn::Arn;
use crate::event::Event;
use crate::filter::{CompiledFilter, FILTER_BYTES_MAX, Filter, PAIRS_MAX};
use crate::rule::{RawRule, Rule, RuleError};

impl Rule {
    /// Checks the rule of a topic by itself; the topic's region is still the client's.
    pub(crate) fn check_topic(raw: &RawRule) -> Result<Rule, RuleError> {
        if raw.id.is_empty() {
            return Err(RuleError::NoTopicId);
        }
        let target = Arn::parse_topic(&raw.arn).ok_or(RuleError::UnknownArn)?;
        let events = raw.events.iter().map(|name| Event::parse_of_topic(name).ok_or(RuleError::UnknownEvent));
        let mut events = events.collect::<Result<Vec<_>, _>>()?;
        if events.is_empty() {
            events = Event::of_topic_by_default();
        }
        let (mut prefix, mut suffix, mut regex) = (None, None, None);
        for (name, value) in &raw.filters {
            let place = match name.as_str() {
                "prefix" => &mut prefix,
                "suffix" => &mut suffix,
                "regex" => &mut regex,
                _ => return Err(RuleError::TopicFilter),
            };
            if place.replace(value.clone()).is_some() {
                return Err(RuleError::TopicFilter);
            }
        }
        let filter = Filter { regex, metadata: raw.metadata.clone(), tags: raw.tags.clone() };
        check_filter(&filter)?;
        let ends = [&prefix, &suffix, &filter.regex];
        if ends.into_iter().flatten().any(|value| value.len() > FILTER_BYTES_MAX) {
            return Err(RuleError::BadFilterValue);
        }
        Ok(Rule { id: raw.id.clone(), events, prefix, suffix, filter, target })
    }
}

fn check_filter(filter: &Filter) -> Result<(), RuleError> {
    if filter.metadata.len() > PAIRS_MAX || filter.tags.len() > PAIRS_MAX {
        return Err(RuleError::TooManyPairs);
    }
    let mut pairs = filter.metadata.iter().chain(&filter.tags);
    if pairs.any(|(name, value)| name.len() > FILTER_BYTES_MAX || value.len() > FILTER_BYTES_MAX) {
        return Err(RuleError::BadFilterValue);
    }
    let is_metadata = |name: &str| name.to_ascii_lowercase().starts_with("x-amz-meta-");
    if filter.metadata.iter().any(|(name, _)| !is_metadata(name)) {
        return Err(RuleError::BadMetadataName);
    }
    CompiledFilter::new(filter).map(drop).ok_or(RuleError::BadRegex)
}

#[cfg(test)]
mod tests {
    use crate::arn::Arn;
    use crate::rule::{Configuration, RawConfiguration, RawRule, RuleError};

    fn texts(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn topic(id: &str, filters: &[(&str, &str)]) -> RawRule {
        RawRule {
            id: id.to_owned(),
            arn: "arn:aws:sns:::t".to_owned(),
            filters: texts(filters),
            ..RawRule::default()
        }
    }

    fn queue(id: &str) -> RawRule {
        RawRule {
            id: id.to_owned(),
            arn: "arn:minio:sqs::P:webhook".to_owned(),
            events: vec!["s3:ObjectCreated:*".to_owned()],
            ..RawRule::default()
        }
    }

    fn check(
        before: &Configuration,
        rules: Vec<RawRule>,
        topics: Vec<RawRule>,
    ) -> Result<Configuration, RuleError> {
        let raw = RawConfiguration { rules, topics, has_lambda: false };
        let exists = |arn: &Arn| ["P:webhook", "t:topic"].contains(&arn.target().as_str());
        Configuration::check(&raw, before.clone(), "", exists)
    }

    fn ids(configuration: &Configuration) -> Vec<&str> {
        configuration.rules.iter().map(|rule| rule.id.as_str()).collect()
    }

    #[test]
    fn topics_alone_are_merged_by_id_and_anything_else_replaces() {
        let none = Configuration::default();
        let both = check(&none, vec![queue("q")], vec![topic("a", &[])]).unwrap();
        assert_eq!(ids(&both), ["q", "a"]);
        let merged = check(&both, vec![], vec![topic("b", &[]), topic("a", &[("prefix", "p")])]).unwrap();
        assert_eq!(ids(&merged), ["q", "a", "b"]);
        assert_eq!(merged.rules[1].prefix.as_deref(), Some("p"));
        assert_eq!(ids(&check(&merged, vec![queue("r")], vec![]).unwrap()), ["r"]);
        assert_eq!(ids(&check(&merged, vec![queue("r")], vec![topic("c", &[])]).unwrap()), ["r", "c"]);
        assert_eq!(ids(&check(&merged, vec![], vec![]).unwrap()), Vec::<&str>::new());
    }

    #[test]
    fn a_rule_of_a_queue_keeps_its_place_although_a_topics_has_its_id() {
        let before = check(&Configuration::default(), vec![queue("x")], vec![]).unwrap();
        assert_eq!(ids(&check(&before, vec![], vec![topic("x", &[])]).unwrap()), ["x", "x"]);
    }

    #[test]
    fn a_rule_with_filters_reads_back_as_it_was_and_asks_by_default_for_what_is_created_and_removed() {
        let mut raw = topic("a", &[("regex", "a.*"), ("suffix", "*.jpg")]);
        raw.metadata = texts(&[("x-amz-meta-color", "red")]);
        raw.tags = texts(&[("stage", "raw")]);
        let checked = check(&Configuration::default(), vec![], vec![raw]).unwrap();
        assert_eq!(Configuration::decode(&checked.encode(), "").unwrap(), checked);
        let events: Vec<_> = checked.rules[0].events.iter().map(|event| event.as_str()).collect();
        assert_eq!(events, ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]);
    }

    #[test]
    fn each_fault_of_a_topics_rule_has_its_own_answer() {
        let refused = |change: &dyn Fn(&mut RawRule)| {
            let mut raw = topic("a", &[]);
            change(&mut raw);
            check(&Configuration::default(), vec![], vec![raw]).unwrap_err()
        };
        assert_eq!(refused(&|raw| raw.id.clear()), RuleError::NoTopicId);
        assert_eq!(refused(&|raw| raw.arn = "arn:minio:sqs::P:webhook".to_owned()), RuleError::UnknownArn);
        assert_eq!(refused(&|raw| raw.arn = "arn:aws:sns:::gone".to_owned()), RuleError::UnknownTopic);
        assert_eq!(refused(&|raw| raw.events.push("s3:Sung".to_owned())), RuleError::UnknownEvent);
        for filters in [&[("Prefix", "a")][..], &[("regex", "a"), ("regex", "b")]] {
            assert_eq!(refused(&|raw| raw.filters = texts(filters)), RuleError::TopicFilter);
        }
        assert_eq!(refused(&|raw| raw.filters = texts(&[("regex", "(")])), RuleError::BadRegex);
        assert_eq!(refused(&|raw| raw.metadata = texts(&[("color", "red")])), RuleError::BadMetadataName);
        assert_eq!(refused(&|raw| raw.tags = texts(&[("a", "b"); 51])), RuleError::TooManyPairs);
        let long = "a".repeat(1025);
        assert_eq!(refused(&|raw| raw.filters = texts(&[("prefix", &long)])), RuleError::BadFilterValue);
        assert_eq!(RuleError::UnknownTopic.code(), "NoSuchKey");
    }

    #[test]
    fn a_queue_cannot_be_a_topic() {
        let raw = RawRule { arn: "arn:aws:sns:::t".to_owned(), ..queue("q") };
        assert_eq!(check(&Configuration::default(), vec![raw], vec![]), Err(RuleError::UnknownArn));
    }
}
