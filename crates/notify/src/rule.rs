//! A bucket's rules: which events of which keys go to which target; how they are checked, kept and shown.
//!
//! The gateway reads the XML document and hands over plain values ([`RawConfiguration`]); what is refused,
//! and with which code and words, is decided here. A stored configuration outlives the targets it names: a
//! rule whose target is gone is kept, matches nothing and is left out of answers, and is in force again when
//! a target of that name is back.
//!
//! Source: S3 API reference, "PutBucketNotificationConfiguration"; codes and words are MinIO's, whose
//! clients compare them (`mc event add -p` swallows the overlap error by its text).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::arn::Arn;
use crate::event::Event;
use crate::filter::Filter;
use crate::pattern::is_filter_value;

/// The rules of one bucket, in the order they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The rules.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The client's name for it; free text, may be empty.
    pub id: String,
    /// What it asks for, in the order given, each once, never none.
    pub events: Vec<Event>,
    /// What keys begin with, if the rule says so.
    pub prefix: Option<String>,
    /// What keys end with, if the rule says so.
    pub suffix: Option<String>,
    /// What it asks beside; only rules of topics do.
    pub filter: Filter,
    /// Where its records go; the region is the server's.
    pub target: Arn,
}

/// A configuration as a client sent it.
#[derive(Clone, Debug, Default)]
pub struct RawConfiguration {
    /// The `QueueConfiguration` elements, in order.
    pub rules: Vec<RawRule>,
    /// The `TopicConfiguration` elements, in order.
    pub topics: Vec<RawRule>,
    /// Whether a `CloudFunctionConfiguration` was among them.
    pub has_lambda: bool,
}

/// A rule as a client sent it.
#[derive(Clone, Debug, Default)]
pub struct RawRule {
    /// `Id`.
    pub id: String,
    /// `Queue` or `Topic`.
    pub arn: String,
    /// Each `Event`, in order.
    pub events: Vec<String>,
    /// Each `FilterRule` of `Filter/S3Key`, name and value, in order.
    pub filters: Vec<(String, String)>,
    /// Those of `Filter/S3Metadata`.
    pub metadata: Vec<(String, String)>,
    /// Those of `Filter/S3Tags`.
    pub tags: Vec<(String, String)>,
}

/// Why a configuration or the filter of a listener is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A rule names no event.
    #[error("The XML you provided was not well-formed or did not validate against our published schema.")]
    NoEvent,
    /// Functions are asked for.
    #[error("MinIO server does not support Topic or Cloud Function based notifications.")]
    Unsupported,
    /// The ARN is malformed, or no such target is configured.
    #[error("A specified destination ARN does not exist or is not well-formed. Verify the destination ARN.")]
    UnknownArn,
    /// The ARN names another region than this server's.
    #[error(
        "A specified destination is in a different region than the bucket. You must use a destination that resides in the same region as the bucket."
    )]
    ForeignRegion,
    /// The event's name is not one of [`Event::accepted`].
    #[error("A specified event is not supported for notifications.")]
    UnknownEvent,
    /// A rule names an event twice.
    #[error("Configurations overlap. Configurations on the same bucket cannot share a common event type.")]
    RepeatedEvent,
    /// Two rules are equal in everything, their ids included.
    #[error(
        "An object key name filtering rule defined with overlapping prefixes, overlapping suffixes, or overlapping combinations of prefixes and suffixes for the same event types."
    )]
    RepeatedRule,
    /// A filter's name is neither `prefix` nor `suffix`.
    #[error("filter rule name must be either prefix or suffix")]
    UnknownFilter,
    /// A prefix is given twice.
    #[error("Cannot specify more than one prefix rule in a filter.")]
    RepeatedPrefix,
    /// A suffix is given twice.
    #[error("Cannot specify more than one suffix rule in a filter.")]
    RepeatedSuffix,
    /// A filter's value is longer than 1024 bytes, holds `\`, or has a segment `.` or `..`.
    #[error("Size of filter rule value cannot exceed 1024 bytes in UTF-8 representation")]
    BadFilterValue,
    /// The rule of a topic has no id, by which later documents name it.
    #[error("A TopicConfiguration needs an Id: rules of topics are merged by it.")]
    NoTopicId,
    /// The ARN is that of a topic that does not exist.
    #[error("The topic does not exist.")]
    UnknownTopic,
    /// A filter of a topic's rule is not known, or given twice.
    #[error("A filter rule of a topic is named prefix, suffix or regex, each at most once.")]
    TopicFilter,
    /// The expression cannot be used.
    #[error(
        "The regex of a filter rule cannot be used: it is malformed or too large, or has a backreference or look-around."
    )]
    BadRegex,
    /// A name in `S3Metadata` that no object's metadata can have.
    #[error("The name of a filter rule in S3Metadata begins with x-amz-meta-.")]
    BadMetadataName,
    /// More pairs than a rule may have.
    #[error("S3Metadata and S3Tags take at most 50 filter rules each.")]
    TooManyPairs,
}

impl RuleError {
    /// The S3 error code of the answer, which has the status of that code.
    pub fn code(self) -> &'static str {
        match self {
            RuleError::NoEvent | RuleError::TopicFilter => "MalformedXML",
            RuleError::UnknownTopic => "NoSuchKey",
            RuleError::Unsupported => "UnsupportedNotification",
            RuleError::UnknownArn
            | RuleError::ForeignRegion
            | RuleError::UnknownEvent
            | RuleError::RepeatedEvent
            | RuleError::RepeatedRule
            | RuleError::UnknownFilter
            | RuleError::RepeatedPrefix
            | RuleError::RepeatedSuffix
            | RuleError::BadFilterValue
            | RuleError::NoTopicId
            | RuleError::BadRegex
            | RuleError::BadMetadataName
            | RuleError::TooManyPairs => "InvalidArgument",
        }
    }
}

impl Configuration {
    /// Checks what a client sent, on a server of this `region`, where `exists` tells which targets it has.
    ///
    /// The answer is what the bucket has then. A document replaces what was there (`before`); one of nothing but topics
    /// is merged into it by the ids of its rules, as Ceph does.
    ///
    /// The first fault is told: faults of a rule by itself first, then of rules with the server, then of
    /// rules with one another.
    ///
    /// # Errors
    ///
    /// [`RuleError`], whose `code` and text are the answer.
    pub fn check(
        raw: &RawConfiguration,
        before: Configuration,
        region: &str,
        exists: impl Fn(&Arn) -> bool,
    ) -> Result<Configuration, RuleError> {
        let rules = raw.rules.iter().map(Rule::check).collect::<Result<Vec<_>, _>>()?;
        let topics = raw.topics.iter().map(Rule::check_topic).collect::<Result<Vec<_>, _>>()?;
        if raw.has_lambda {
            return Err(RuleError::Unsupported);
        }
        let merges = rules.is_empty() && !topics.is_empty();
        let mut checked = Vec::with_capacity(rules.len() + topics.len());
        for mut rule in rules {
            rule.settle(region, &exists)?;
            if checked.contains(&rule) {
                return Err(RuleError::RepeatedRule);
            }
            checked.push(rule);
        }
        let mut configuration = if merges { before } else { Configuration { rules: checked } };
        for mut rule in topics {
            rule.settle(region, &exists)?;
            configuration.merge_topic(rule);
        }
        Ok(configuration)
    }

    /// Puts a topic's rule in the place of the one of its id, else behind all.
    fn merge_topic(&mut self, rule: Rule) {
        let same = |other: &&mut Rule| other.target.is_topic() && other.id == rule.id;
        match self.rules.iter_mut().find(same) {
            Some(place) => *place = rule,
            None => self.rules.push(rule),
        }
    }

    /// The document as the bucket keeps it.
    pub fn encode(&self) -> Vec<u8> {
        let rules = self.rules.iter().map(|rule| StoredRule {
            id: rule.id.clone(),
            events: rule.events.iter().map(|event| event.as_str().to_owned()).collect(),
            prefix: rule.prefix.clone(),
            suffix: rule.suffix.clone(),
            filter: rule.filter.clone(),
            target_id: rule.target.id.clone(),
            target_kind: rule.target.kind.clone(),
        });
        let stored = Stored { version: STORED_VERSION, rules: rules.collect() };
        serde_json::to_vec(&stored).expect("a document of strings has a JSON form")
    }

    /// Reads what [`Configuration::encode`] wrote, for a server of this `region`.
    ///
    /// # Errors
    ///
    /// A clause that says what cannot be read.
    pub fn decode(document: &[u8], region: &str) -> Result<Configuration, String> {
        let stored: Stored = serde_json::from_slice(document).map_err(|error| error.to_string())?;
        if stored.version != STORED_VERSION {
            return Err(format!("its version is {}, this server reads {STORED_VERSION}", stored.version));
        }
        let rules = stored.rules.into_iter().map(|rule| {
            let events = rule
                .events
                .iter()
                .map(|name| Event::parse_of_topic(name).ok_or_else(|| format!("it names the event {name}")));
            Ok(Rule {
                events: events.collect::<Result<_, String>>()?,
                id: rule.id,
                prefix: rule.prefix,
                suffix: rule.suffix,
                filter: rule.filter,
                target: Arn { region: region.to_owned(), id: rule.target_id, kind: rule.target_kind },
            })
        });
        Ok(Configuration { rules: rules.collect::<Result<_, String>>()? })
    }
}

impl Rule {
    /// Checks a rule by itself; the target's region is still the client's.
    fn check(raw: &RawRule) -> Result<Rule, RuleError> {
        let (prefix, suffix) = check_filters(&raw.filters)?;
        if raw.events.is_empty() {
            return Err(RuleError::NoEvent);
        }
        let events = raw.events.iter().map(|name| Event::parse(name).ok_or(RuleError::UnknownEvent));
        let events = events.collect::<Result<Vec<_>, _>>()?;
        if events.iter().collect::<BTreeSet<_>>().len() < events.len() {
            return Err(RuleError::RepeatedEvent);
        }
        let target = Arn::parse(&raw.arn).ok_or(RuleError::UnknownArn)?;
        Ok(Rule { id: raw.id.clone(), events, prefix, suffix, filter: Filter::default(), target })
    }

    /// Gives its target the server's region, if it is a target of this server.
    fn settle(&mut self, region: &str, exists: impl Fn(&Arn) -> bool) -> Result<(), RuleError> {
        let asked = std::mem::replace(&mut self.target.region, region.to_owned());
        if !asked.is_empty() && !region.is_empty() && asked != region {
            return Err(RuleError::ForeignRegion);
        }
        match (exists(&self.target), self.target.is_topic()) {
            (true, _) => Ok(()),
            (false, false) => Err(RuleError::UnknownArn),
            (false, true) => Err(RuleError::UnknownTopic),
        }
    }
}

/// The prefix and the suffix that filters name.
fn check_filters(filters: &[(String, String)]) -> Result<(Option<String>, Option<String>), RuleError> {
    let (mut prefix, mut suffix) = (None, None);
    for (name, value) in filters {
        let (place, repeated) = match name.as_str() {
            "prefix" => (&mut prefix, RuleError::RepeatedPrefix),
            "suffix" => (&mut suffix, RuleError::RepeatedSuffix),
            _ => return Err(RuleError::UnknownFilter),
        };
        if place.is_some() {
            return Err(repeated);
        }
        if !is_filter_value(value) {
            return Err(RuleError::BadFilterValue);
        }
        *place = Some(value.clone());
    }
    Ok((prefix, suffix))
}

/// The form of the stored document. Raised when a field changes its meaning; new optional fields do not.
const STORED_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    rules: Vec<StoredRule>,
}

#[derive(Serialize, Deserialize)]
struct StoredRule {
    id: String,
    events: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suffix: Option<String>,
    #[serde(flatten)]
    filter: Filter,
    target_id: String,
    target_kind: String,
}

#[cfg(test)]
mod tests {
    use super::{Configuration, RawConfiguration, RawRule, RuleError};

    fn raw_rule() -> RawRule {
        RawRule {
            id: "k1".to_owned(),
            arn: "arn:minio:sqs::P:webhook".to_owned(),
            events: vec!["s3:ObjectCreated:*".to_owned()],
            filters: vec![("suffix".to_owned(), ".jpg".to_owned()), ("prefix".to_owned(), "p/".to_owned())],
            ..RawRule::default()
        }
    }

    fn check_in(region: &str, rules: Vec<RawRule>) -> Result<Configuration, RuleError> {
        let raw = RawConfiguration { rules, ..RawConfiguration::default() };
        Configuration::check(&raw, Configuration::default(), region, |arn| arn.target() == "P:webhook")
    }

    fn check(change: impl FnOnce(&mut RawRule)) -> Result<Configuration, RuleError> {
        let mut rule = raw_rule();
        change(&mut rule);
        check_in("", vec![rule])
    }

    fn filters(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_stored_configuration_reads_back_as_it_was_with_the_region_of_the_server() {
        let mut bare = raw_rule();
        bare.filters.clear();
        let configuration = check_in("", vec![raw_rule(), bare]).unwrap();
        assert_eq!(Configuration::decode(&configuration.encode(), "").unwrap(), configuration);

        let moved = Configuration::decode(&configuration.encode(), "eu").unwrap();
        assert_eq!(moved.rules[0].target.to_string(), "arn:minio:sqs:eu:P:webhook");
    }

    #[test]
    fn a_document_of_another_version_is_refused_by_its_number() {
        let refused = Configuration::decode(br#"{"version":2,"rules":[]}"#, "");
        assert_eq!(refused, Err("its version is 2, this server reads 1".to_owned()));
    }

    #[test]
    fn an_arn_that_is_malformed_or_names_no_target_is_refused() {
        for arn in ["", "arn:aws:sqs::P:webhook", "arn:minio:sqs::Q:webhook", "arn:minio:sqs::P:kafka"] {
            assert_eq!(check(|rule| rule.arn = arn.to_owned()), Err(RuleError::UnknownArn), "{arn}");
        }
    }

    #[test]
    fn the_region_of_an_arn_must_be_the_servers_where_both_have_one() {
        let with_region =
            |region: &str| RawRule { arn: format!("arn:minio:sqs:{region}:P:webhook"), ..raw_rule() };
        assert_eq!(check_in("eu", vec![with_region("us")]), Err(RuleError::ForeignRegion));
        let region_of = |server: &str, asked: &str| {
            check_in(server, vec![with_region(asked)]).unwrap().rules[0].target.region.clone()
        };
        assert_eq!([region_of("eu", "eu"), region_of("eu", ""), region_of("", "us")], ["eu", "eu", ""]);
    }

    #[test]
    fn each_fault_of_a_rule_has_its_own_answer() {
        let faults = [
            check(|rule| rule.events.clear()),
            check(|rule| rule.events.push("s3:Object:Sung".to_owned())),
            check(|rule| rule.events.push("s3:ObjectCreated:*".to_owned())),
            check(|rule| rule.filters = filters(&[("Prefix", "a")])),
            check(|rule| rule.filters = filters(&[("prefix", "a"), ("prefix", "b")])),
            check(|rule| rule.filters = filters(&[("suffix", "a"), ("suffix", "b")])),
            check(|rule| rule.filters = filters(&[("prefix", "../x")])),
            check_in("", vec![raw_rule(), raw_rule()]),
        ];
        assert_eq!(
            faults.map(Result::unwrap_err),
            [
                RuleError::NoEvent,
                RuleError::UnknownEvent,
                RuleError::RepeatedEvent,
                RuleError::UnknownFilter,
                RuleError::RepeatedPrefix,
                RuleError::RepeatedSuffix,
                RuleError::BadFilterValue,
                RuleError::RepeatedRule,
            ]
        );
    }

    #[test]
    fn rules_that_differ_only_in_their_id_or_overlap_are_accepted() {
        let renamed = RawRule { id: "k2".to_owned(), ..raw_rule() };
        let wider = RawRule { filters: filters(&[("prefix", "p")]), ..raw_rule() };
        let beside = RawRule {
            events: vec!["s3:ObjectCreated:*".to_owned(), "s3:ObjectCreated:Put".to_owned()],
            ..raw_rule()
        };
        assert_eq!(check_in("", vec![raw_rule(), renamed, wider, beside]).unwrap().rules.len(), 4);
    }

    #[test]
    fn functions_are_refused_with_their_own_code() {
        let raw = RawConfiguration { has_lambda: true, ..RawConfiguration::default() };
        let refused = Configuration::check(&raw, Configuration::default(), "", |_| true).unwrap_err();
        assert_eq!((refused.code(), refused), ("UnsupportedNotification", RuleError::Unsupported));
    }
}
