//! The body of CreateBucket. S3 API reference, "CreateBucketConfiguration".

use super::tree::{BODY_BYTES_MAX, Element};
use crate::error::Refusal;

/// What a client may say of a bucket it creates; of it only the place counts here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreateBucketConfiguration {
    /// The region the bucket shall lie in; `None` when absent or empty.
    pub location_constraint: Option<String>,
}

impl CreateBucketConfiguration {
    /// Reads the body; an empty one is the default.
    ///
    /// # Errors
    ///
    /// `MalformedXML` when it is anything else than this document.
    pub fn parse(body: &[u8]) -> Result<CreateBucketConfiguration, Refusal> {
        if body.trim_ascii().is_empty() {
            return Ok(CreateBucketConfiguration::default());
        }
        let root = Element::parse(body, "CreateBucketConfiguration", BODY_BYTES_MAX)?;
        Ok(CreateBucketConfiguration {
            location_constraint: root.word_of("LocationConstraint").map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::CreateBucketConfiguration;

    fn location(body: &str) -> Option<Option<String>> {
        CreateBucketConfiguration::parse(body.as_bytes())
            .ok()
            .map(|configuration| configuration.location_constraint)
    }

    #[test]
    fn the_location_is_read_and_may_be_left_out() {
        let body = "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                    <LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";

        assert_eq!(location(body), Some(Some("eu-west-1".to_owned())));
        assert_eq!(
            location("<CreateBucketConfiguration><Location/></CreateBucketConfiguration>"),
            Some(None)
        );
        assert_eq!(location(""), Some(None));
        assert_eq!(location("<Delete/>"), None);
    }
}
