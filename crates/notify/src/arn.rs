//! The name of a target in a rule: `arn:minio:sqs:<region>:<id>:<kind>`, for a topic `arn:aws:sns:<region>::<name>`.

use std::fmt;

use crate::topic;

/// A target's ARN, taken apart. The region may be empty, the id and the kind never are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Arn {
    /// The server's region; empty when it has none.
    pub region: String,
    /// The suffix of the target's configuration: `1` of `notify_kafka:1`.
    pub id: String,
    /// The kind of target: `kafka`. Not checked against the kinds that this build has.
    pub kind: String,
}

impl Arn {
    /// Reads an ARN; `None` unless it is exactly six fields of the service `minio:sqs`.
    ///
    /// ```
    /// use tidings_notify::Arn;
    /// let arn = Arn::parse("arn:minio:sqs::1:kafka").unwrap();
    /// assert_eq!((arn.region.as_str(), arn.id.as_str(), arn.kind.as_str()), ("", "1", "kafka"));
    /// assert_eq!(Arn::parse("arn:aws:sqs:us-east-1:1:kafka"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Arn> {
        let mut fields = text.split(':');
        let named = fields.next()? == "arn" && fields.next()? == "minio" && fields.next()? == "sqs";
        let (region, id, kind) = (fields.next()?, fields.next()?, fields.next()?);
        let whole = named && fields.next().is_none() && !id.is_empty() && !kind.is_empty();
        (whole && kind != topic::KIND).then(|| Arn {
            region: region.to_owned(),
            id: id.to_owned(),
            kind: kind.to_owned(),
        })
    }

    /// Reads the ARN of a topic; `None` for any other, and for one of a tenant: there are none.
    pub fn parse_topic(text: &str) -> Option<Arn> {
        let fields: Vec<&str> = text.split(':').collect();
        match fields[..] {
            ["arn", "aws", "sns", region, "", name] if topic::is_name(name) => {
                Some(Arn { region: region.to_owned(), id: name.to_owned(), kind: topic::KIND.to_owned() })
            }
            _ => None,
        }
    }

    /// Whether it names a topic.
    pub fn is_topic(&self) -> bool {
        self.kind == topic::KIND
    }

    /// The target as changes name it: `1:kafka`.
    pub fn target(&self) -> String {
        format!("{}:{}", self.id, self.kind)
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_topic() {
            true => write!(f, "arn:aws:sns:{}::{}", self.region, self.id),
            false => write!(f, "arn:minio:sqs:{}:{}:{}", self.region, self.id, self.kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Arn;

    #[test]
    fn what_is_not_six_fields_with_id_and_kind_is_no_arn() {
        let bad = [
            "",
            "arn:minio:sqs::1",
            "arn:minio:sqs::1:kafka:",
            "arn:minio:sqs:::kafka",
            "arn:minio:sqs::1:",
            "arn:minio:sns::1:kafka",
        ];
        assert_eq!(bad.map(Arn::parse), [None, None, None, None, None, None]);
    }

    #[test]
    fn the_arn_of_a_topic_has_no_tenant_and_a_name_and_is_shown_as_it_was_read() {
        let text = "arn:aws:sns:eu::uploads";
        let arn = Arn::parse_topic(text).unwrap();
        assert_eq!((arn.to_string().as_str(), arn.target().as_str()), (text, "uploads:topic"));
        let bad = ["arn:aws:sns:eu:tenant:a", "arn:aws:sns:eu::", "arn:aws:sns::a", "arn:minio:sqs::a:topic"];
        assert_eq!(bad.map(Arn::parse_topic), [None, None, None, None]);
        assert_eq!(Arn::parse("arn:minio:sqs::a:topic"), None);
    }

    #[test]
    fn an_arn_is_shown_as_it_was_read() {
        let text = "arn:minio:sqs:eu-west-1:_:webhook";
        assert_eq!(Arn::parse(text).unwrap().to_string(), text);
    }
}
