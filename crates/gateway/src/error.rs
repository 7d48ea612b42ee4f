//! Which answer each failure has.
//!
//! Every error of the store and of the engine below it becomes one S3 error code here and nowhere else. No
//! `match` has a `_` arm: a new variant must choose its answer.

use http::header::{HeaderName, HeaderValue, RETRY_AFTER};

use s3::{ErrorCode, Refusal};
use tidings_s3 as s3;
use tidings_store as store;

/// After how many seconds a client may try again when drives are missing.
const QUORUM_RETRY_AFTER_S: u64 = 5;

/// Why a request was not served: the S3 error, and headers its response has besides.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Code, status, message and elements of the answer.
    pub(crate) refusal: Refusal,
    /// Headers of the answer (`ETag` of a 412, `Retry-After` of a 503).
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Failure {
    /// A failure that says what exactly is wrong.
    pub(crate) fn with(code: ErrorCode, message: impl Into<String>) -> Failure {
        Refusal::with(code, message.into()).into()
    }

    /// `InvalidArgument`, naming the argument and what was sent.
    pub(crate) fn argument(name: &'static str, value: &str, message: impl Into<String>) -> Failure {
        Refusal::with(ErrorCode::InvalidArgument, message.into())
            .element("ArgumentName", name)
            .element("ArgumentValue", value)
            .into()
    }

    /// 501, with a sentence that says what is not there.
    pub(crate) fn not_implemented(message: impl Into<String>) -> Failure {
        Failure::with(ErrorCode::NotImplemented, message)
    }

    /// The same failure with one more header in its answer.
    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Failure {
        self.headers.push((name, value));
        self
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure { refusal, headers: Vec::new() }
    }
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Failure {
        Refusal::new(code).into()
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Failure {
        use store::Error;
        match error {
            Error::NoSuchBucket { .. } => ErrorCode::NoSuchBucket.into(),
            Error::BucketExists { .. } => ErrorCode::BucketAlreadyOwnedByYou.into(),
            Error::BucketNotEmpty { .. } => ErrorCode::BucketNotEmpty.into(),
            Error::NoSuchKey { .. } => ErrorCode::NoSuchKey.into(),
            Error::NoSuchVersion { .. } => ErrorCode::NoSuchVersion.into(),
            Error::NoSuchUpload { .. } => ErrorCode::NoSuchUpload.into(),
            Error::InvalidPart { number } => {
                Refusal::new(ErrorCode::InvalidPart).element("PartNumber", number.to_string()).into()
            }
            Error::InvalidPartOrder { number } => {
                Refusal::new(ErrorCode::InvalidPartOrder).element("PartNumber", number.to_string()).into()
            }
            Error::EntityTooSmall { number, size_bytes, min_bytes, etag } => {
                Refusal::new(ErrorCode::EntityTooSmall)
                    .element("ProposedSize", size_bytes.to_string())
                    .element("MinSizeAllowed", min_bytes.to_string())
                    .element("PartNumber", number.to_string())
                    .element("ETag", etag)
                    .into()
            }
            Error::PreconditionFailed { condition, .. } => {
                Refusal::new(ErrorCode::PreconditionFailed).element("Condition", condition).into()
            }
            Error::Contended { .. } => Failure::with(ErrorCode::ConditionalRequestConflict, sentence(&error)),
            Error::TargetFull { .. } => retry_later(ErrorCode::SlowDown, &error),
            Error::Unreadable { .. } => internal(&error),
            Error::Engine(error) => error.into(),
        }
    }
}

impl From<store::EngineError> for Failure {
    fn from(error: store::EngineError) -> Failure {
        use store::EngineError;
        match error {
            EngineError::WriteQuorum { .. } => retry_later(ErrorCode::SlowDownWrite, &error),
            EngineError::ReadQuorum { .. } => retry_later(ErrorCode::SlowDownRead, &error),
            // It may have taken effect. Every S3 write may be repeated, so the client is asked to.
            EngineError::OutcomeUnknown { .. } | EngineError::Undecided => {
                retry_later(ErrorCode::SlowDown, &error)
            }
            EngineError::Full => ErrorCode::XMinioStorageFull.into(),
            EngineError::TooLarge { .. } => Failure::with(ErrorCode::EntityTooLarge, sentence(&error)),
            EngineError::Closed => retry_later(ErrorCode::ServiceUnavailable, &error),
            EngineError::Precondition { .. }
            | EngineError::Damaged { .. }
            | EngineError::NoSuchLocation { .. }
            | EngineError::NoSuchPartition { .. } => internal(&error),
        }
    }
}

/// What only the operator can mend: the client reads what it is, the log says so too.
fn internal(error: &dyn std::error::Error) -> Failure {
    tracing::error!(%error, "A request failed inside the store.");
    Failure::with(ErrorCode::InternalError, sentence(error))
}

fn retry_later(code: ErrorCode, error: &dyn std::error::Error) -> Failure {
    Failure::with(code, sentence(error)).header(RETRY_AFTER, HeaderValue::from(QUORUM_RETRY_AFTER_S))
}

/// An error's clause as the sentence a client reads.
fn sentence(error: &dyn std::error::Error) -> String {
    let clause = error.to_string();
    let mut letters = clause.chars();
    match letters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), letters.as_str()),
        None => clause,
    }
}

#[cfg(test)]
mod tests {
    use super::Failure;
    use s3::ErrorCode;
    use store::EngineError;
    use tidings_s3 as s3;
    use tidings_store as store;

    #[test]
    fn a_lost_write_quorum_says_how_many_drives_answered_and_when_to_retry() {
        let failure =
            Failure::from(store::Error::Engine(EngineError::WriteQuorum { answered: 2, needed: 3 }));

        assert_eq!(failure.refusal.code, ErrorCode::SlowDownWrite);
        assert_eq!(failure.refusal.status, 503);
        assert_eq!(failure.refusal.message, "2 drives answered, 3 are needed to write.");
        assert_eq!(failure.headers[0].0, "retry-after");
    }

    #[test]
    fn a_full_disk_answers_507_and_an_unknown_outcome_503() {
        let status = |error| Failure::from(store::Error::Engine(error)).refusal.status;

        assert_eq!(status(EngineError::Full), 507);
        assert_eq!(status(EngineError::OutcomeUnknown { reason: "a drive hangs".to_owned() }), 503);
        assert_eq!(status(EngineError::Undecided), 503);
        assert_eq!(status(EngineError::ReadQuorum { answered: 1, needed: 4 }), 503);
    }
}
