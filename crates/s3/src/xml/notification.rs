//! The body of PutBucketNotificationConfiguration, as sent.
//!
//! Three kinds of rules exist in the document; all are read, so that the server can say which it
//! does not serve. Event names, filter names and ARNs are text here; `notify` gives them meaning.
//! `EventBridgeConfiguration` is ignored, as MinIO does.

use super::tree::{BODY_BYTES_MAX, Element, malformed};
use crate::error::Refusal;

/// The rules of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NotificationConfiguration {
    /// All rules of all kinds, in the order sent; none means that the bucket has no rules.
    pub rules: Vec<NotificationRule>,
}

/// Which element a rule was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationKind {
    /// `QueueConfiguration`, the ARN in `Queue`.
    Queue,
    /// `TopicConfiguration`, the ARN in `Topic`.
    Topic,
    /// `CloudFunctionConfiguration`, the ARN in `CloudFunction`.
    CloudFunction,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationRule {
    /// Which element it was.
    pub kind: NotificationKind,
    /// The `Id`; empty when there is none.
    pub id: String,
    /// The event names, in the order sent; at least one, but for topics, which have a default.
    pub events: Vec<String>,
    /// The filter rules on the key, in the order sent.
    pub filters: Vec<FilterRule>,
    /// The filter rules of `S3Metadata`, in the order sent.
    pub metadata: Vec<FilterRule>,
    /// The filter rules of `S3Tags`, in the order sent.
    pub tags: Vec<FilterRule>,
    /// The target; empty when there is none.
    pub arn: String,
}

/// One rule on the key, on metadata or on tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterRule {
    /// `prefix` or `suffix`, for topics also `regex`; the name of a metadata or of a tag.
    pub name: String,
    /// What the key must begin or end with, or what the named must be, blanks kept.
    pub value: String,
}

impl NotificationConfiguration {
    /// Reads the body.
    ///
    /// # Errors
    ///
    /// `MalformedXML` when it is anything else than this document, or a rule names no event.
    pub fn parse(body: &[u8]) -> Result<NotificationConfiguration, Refusal> {
        let root = Element::parse(body, "NotificationConfiguration", BODY_BYTES_MAX)?;
        let rules = root.children.iter().filter_map(rule).collect::<Result<_, _>>()?;
        Ok(NotificationConfiguration { rules })
    }
}

/// The rule an element holds; `None` when it is another element.
fn rule(element: &Element) -> Option<Result<NotificationRule, Refusal>> {
    let (kind, arn) = match element.name.as_str() {
        "QueueConfiguration" => (NotificationKind::Queue, "Queue"),
        "TopicConfiguration" => (NotificationKind::Topic, "Topic"),
        "CloudFunctionConfiguration" => (NotificationKind::CloudFunction, "CloudFunction"),
        _ => return None,
    };
    let events: Vec<String> =
        element.children_of("Event").map(|event| event.text.trim().to_owned()).collect();
    if events.is_empty() && kind != NotificationKind::Topic {
        return Some(Err(malformed()));
    }
    let filters_of = |part: &str| {
        let parts = element.children_of("Filter").flat_map(|filter| filter.children_of(part));
        let rules = parts.flat_map(|part| part.children_of("FilterRule"));
        let read = rules.map(|rule| FilterRule {
            name: rule.word_of("Name").unwrap_or_default().to_owned(),
            value: rule.text_of("Value").unwrap_or_default().to_owned(),
        });
        read.collect::<Vec<_>>()
    };
    Some(Ok(NotificationRule {
        kind,
        id: element.text_of("Id").unwrap_or_default().to_owned(),
        events,
        filters: filters_of("S3Key"),
        metadata: filters_of("S3Metadata"),
        tags: filters_of("S3Tags"),
        arn: element.word_of(arn).unwrap_or_default().to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::{FilterRule, NotificationConfiguration, NotificationKind, NotificationRule};
    use crate::error::ErrorCode;

    fn parse(rules: &str) -> Result<Vec<NotificationRule>, ErrorCode> {
        let body = format!("<NotificationConfiguration>{rules}</NotificationConfiguration>");
        let parsed = NotificationConfiguration::parse(body.as_bytes());
        parsed.map(|document| document.rules).map_err(|refusal| refusal.code)
    }

    #[test]
    fn rules_of_all_kinds_come_in_the_order_sent() {
        let rules = "<QueueConfiguration><Id>k1</Id><Filter><S3Key>\
                     <FilterRule><Name>prefix</Name><Value>p/</Value></FilterRule>\
                     <FilterRule><Name>suffix</Name><Value> .jpg</Value></FilterRule></S3Key><S3Tags>\
                     <FilterRule><Name>stage</Name><Value>raw</Value></FilterRule></S3Tags></Filter>\
                     <Event>s3:ObjectCreated:*</Event><Event>s3:ObjectRemoved:*</Event>\
                     <Queue>arn:minio:sqs::P:webhook</Queue></QueueConfiguration><EventBridgeConfiguration/>\
                     <TopicConfiguration><Topic>arn:t</Topic><Event>e</Event></TopicConfiguration>";

        let filter = |name: &str, value: &str| FilterRule { name: name.to_owned(), value: value.to_owned() };
        let queue = NotificationRule {
            kind: NotificationKind::Queue,
            id: "k1".to_owned(),
            events: vec!["s3:ObjectCreated:*".to_owned(), "s3:ObjectRemoved:*".to_owned()],
            filters: vec![filter("prefix", "p/"), filter("suffix", " .jpg")],
            metadata: vec![],
            tags: vec![filter("stage", "raw")],
            arn: "arn:minio:sqs::P:webhook".to_owned(),
        };
        let topic = NotificationRule {
            kind: NotificationKind::Topic,
            id: String::new(),
            events: vec!["e".to_owned()],
            filters: vec![],
            metadata: vec![],
            tags: vec![],
            arn: "arn:t".to_owned(),
        };
        assert_eq!(parse(rules), Ok(vec![queue, topic]));
    }

    #[test]
    fn no_rule_is_legal_and_a_rule_without_an_event_only_for_a_topic() {
        assert_eq!(parse(""), Ok(vec![]));
        assert_eq!(
            parse("<QueueConfiguration><Queue>a</Queue></QueueConfiguration>"),
            Err(ErrorCode::MalformedXML)
        );
        let topic = parse("<TopicConfiguration><Topic>a</Topic></TopicConfiguration>").unwrap();
        assert!(topic[0].events.is_empty());
    }
}
