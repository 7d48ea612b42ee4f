//! Conditional requests: whether the object as it is lets a request go on.
//!
//! The four headers mean the same in three places and are answered differently: a read may be
//! answered with 304, a write and the source of a copy never. Dates count whole seconds, because
//! that is all a header can say; one that cannot be read is ignored.
//!
//! These functions judge; a write must be judged again under the lock of its commit.

use crate::error::{ErrorCode, Refusal};
use crate::etag;
use crate::headers::Headers;
use crate::time;

/// The tags of one `If-Match` or `If-None-Match` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EtagCondition {
    /// `*`: any object at all.
    Any,
    /// One of these tags.
    OneOf(Vec<ListedTag>),
}

/// One tag of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTag {
    /// The tag without quotes.
    pub tag: String,
    /// Whether it was sent as weak (`W/"…"`); such a tag matches in `If-None-Match` only.
    pub is_weak: bool,
}

impl EtagCondition {
    /// Reads a header value: `*`, or tags with or without quotes, separated by commas.
    pub fn parse(value: &str) -> EtagCondition {
        if etag::unquoted(value) == "*" {
            return EtagCondition::Any;
        }
        let listed = value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(|item| {
            let (is_weak, tag) = match item.strip_prefix("W/") {
                Some(tag) => (true, tag),
                None => (false, item),
            };
            ListedTag { tag: etag::unquoted(tag).to_owned(), is_weak }
        });
        EtagCondition::OneOf(listed.collect())
    }

    /// Whether a tag (without quotes) matches strongly, as `If-Match` asks.
    pub fn matches_strongly(&self, tag: &str) -> bool {
        match self {
            EtagCondition::Any => true,
            EtagCondition::OneOf(listed) => listed.iter().any(|item| !item.is_weak && item.tag == tag),
        }
    }

    /// Whether a tag (without quotes) matches weakly, as `If-None-Match` asks.
    pub fn matches_weakly(&self, tag: &str) -> bool {
        match self {
            EtagCondition::Any => true,
            EtagCondition::OneOf(listed) => listed.iter().any(|item| item.tag == tag),
        }
    }
}

/// The conditions of one request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions {
    /// `If-Match`.
    pub if_match: Option<EtagCondition>,
    /// `If-None-Match`.
    pub if_none_match: Option<EtagCondition>,
    /// `If-Modified-Since`, in seconds since 1970.
    pub if_modified_since_s: Option<i64>,
    /// `If-Unmodified-Since`, in seconds since 1970.
    pub if_unmodified_since_s: Option<i64>,
}

/// The object a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Current<'a> {
    /// Its tag, without quotes.
    pub etag: &'a str,
    /// When it was last modified, in seconds since 1970, what is finer cut off.
    pub modified_s: i64,
}

/// What the conditions say of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Send the object.
    Proceed,
    /// The client has it: 304, with its tag and date.
    NotModified,
    /// A condition does not hold: 412; the name of its header.
    Failed(&'static str),
}

impl Conditions {
    /// The conditions on the object a request addresses.
    pub fn from_headers(headers: &dyn Headers) -> Conditions {
        Conditions::read(headers, ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"])
    }

    /// The conditions on the source of a copy.
    pub fn of_copy_source(headers: &dyn Headers) -> Conditions {
        let names = [
            "x-amz-copy-source-if-match",
            "x-amz-copy-source-if-none-match",
            "x-amz-copy-source-if-modified-since",
            "x-amz-copy-source-if-unmodified-since",
        ];
        Conditions::read(headers, names)
    }

    fn read(headers: &dyn Headers, names: [&str; 4]) -> Conditions {
        let tags = |name| headers.text(name).filter(|value| !value.is_empty()).map(EtagCondition::parse);
        let date = |name| headers.text(name).and_then(time::parse_http_date);
        Conditions {
            if_match: tags(names[0]),
            if_none_match: tags(names[1]),
            if_modified_since_s: date(names[2]),
            if_unmodified_since_s: date(names[3]),
        }
    }

    /// Whether there is no condition at all.
    pub fn is_empty(&self) -> bool {
        *self == Conditions::default()
    }

    /// Judges GET and HEAD. RFC 9110 §13.2.2: a tag, when sent, counts instead of the date beside it.
    pub fn judge_read(&self, current: Current<'_>) -> ReadOutcome {
        match (&self.if_match, self.if_unmodified_since_s) {
            (Some(tags), _) if !tags.matches_strongly(current.etag) => {
                return ReadOutcome::Failed("If-Match");
            }
            (None, Some(since_s)) if current.modified_s > since_s => {
                return ReadOutcome::Failed("If-Unmodified-Since");
            }
            _ => {}
        }
        match (&self.if_none_match, self.if_modified_since_s) {
            (Some(tags), _) if tags.matches_weakly(current.etag) => ReadOutcome::NotModified,
            (None, Some(since_s)) if current.modified_s <= since_s => ReadOutcome::NotModified,
            _ => ReadOutcome::Proceed,
        }
    }

    /// Judges the source of CopyObject and UploadPartCopy, which is never answered with 304.
    ///
    /// # Errors
    ///
    /// `PreconditionFailed` with the name of the condition.
    pub fn judge_copy_source(&self, current: Current<'_>) -> Result<(), Refusal> {
        match self.judge_read(current) {
            ReadOutcome::Proceed => Ok(()),
            ReadOutcome::Failed(condition) => {
                Err(precondition_failed(&format!("x-amz-copy-source-{condition}")))
            }
            ReadOutcome::NotModified => {
                let condition =
                    if self.if_none_match.is_some() { "If-None-Match" } else { "If-Modified-Since" };
                Err(precondition_failed(&format!("x-amz-copy-source-{condition}")))
            }
        }
    }

    /// Judges a write (PutObject, CompleteMultipartUpload, the destination of a copy) against the
    /// tag (without quotes) of the object it would replace; `None` when there is none, or a delete
    /// marker. Dates do not count for writes.
    ///
    /// # Errors
    ///
    /// `NoSuchKey` when `If-Match` finds no object; `PreconditionFailed` with the name of the
    /// condition.
    pub fn judge_write(&self, current_etag: Option<&str>) -> Result<(), Refusal> {
        if let Some(tags) = &self.if_match {
            let tag = current_etag.ok_or(ErrorCode::NoSuchKey)?;
            if !tags.matches_strongly(tag) {
                return Err(precondition_failed("If-Match"));
            }
        }
        match (&self.if_none_match, current_etag) {
            (Some(tags), Some(tag)) if tags.matches_weakly(tag) => Err(precondition_failed("If-None-Match")),
            _ => Ok(()),
        }
    }
}

/// Whether a `Range` beside this `If-Range` header counts: only when the object is still the one the
/// client has a part of. RFC 9110 §13.1.5: a strong tag or exactly its date; anything else means the
/// whole object.
pub fn if_range_holds(value: &str, current: Current<'_>) -> bool {
    match time::parse_http_date(value.trim()) {
        Some(modified_s) => modified_s == current.modified_s,
        None => EtagCondition::parse(value).matches_strongly(current.etag),
    }
}

/// The refusal that names the condition which did not hold.
pub fn precondition_failed(condition: &str) -> Refusal {
    Refusal::new(ErrorCode::PreconditionFailed).element("Condition", condition)
}

#[cfg(test)]
mod tests {
    use super::{Conditions, Current, ReadOutcome, if_range_holds};
    use crate::error::ErrorCode;

    /// The second of the object, one before it and one after it.
    const THEN: &str = "Thu, 15 Jan 2026 12:00:00 GMT";
    const BEFORE: &str = "Thu, 15 Jan 2026 11:59:59 GMT";
    const AFTER: &str = "Thu, 15 Jan 2026 12:00:01 GMT";
    const CURRENT: Current<'_> = Current { etag: "abc", modified_s: 1_768_478_400 };

    fn conditions(headers: &[(&str, &str)]) -> Conditions {
        Conditions::from_headers(&headers.to_vec())
    }

    fn read(headers: &[(&str, &str)]) -> ReadOutcome {
        conditions(headers).judge_read(CURRENT)
    }

    #[test]
    fn tags_match_with_and_without_quotes_in_lists_and_by_a_star() {
        for tags in ["\"abc\"", "abc", "*", "\"x\", \"abc\""] {
            assert_eq!(read(&[("If-Match", tags)]), ReadOutcome::Proceed, "{tags}");
            assert_eq!(read(&[("If-None-Match", tags)]), ReadOutcome::NotModified, "{tags}");
        }
        assert_eq!(read(&[("If-Match", "\"x\"")]), ReadOutcome::Failed("If-Match"));
        assert_eq!(read(&[("If-None-Match", "\"x\"")]), ReadOutcome::Proceed);
    }

    #[test]
    fn a_weak_tag_matches_only_where_none_may_match() {
        assert_eq!(read(&[("If-Match", "W/\"abc\"")]), ReadOutcome::Failed("If-Match"));
        assert_eq!(read(&[("If-None-Match", "W/\"abc\"")]), ReadOutcome::NotModified);
    }

    #[test]
    fn dates_compare_by_the_second_and_unreadable_ones_do_not_count() {
        assert_eq!(read(&[("If-Modified-Since", BEFORE)]), ReadOutcome::Proceed);
        assert_eq!(read(&[("If-Modified-Since", THEN)]), ReadOutcome::NotModified);
        assert_eq!(read(&[("If-Unmodified-Since", BEFORE)]), ReadOutcome::Failed("If-Unmodified-Since"));
        assert_eq!(read(&[("If-Unmodified-Since", THEN)]), ReadOutcome::Proceed);
        assert_eq!(read(&[("If-Unmodified-Since", "soon"), ("If-Modified-Since", "")]), ReadOutcome::Proceed);
    }

    #[test]
    fn a_tag_counts_instead_of_the_date_beside_it() {
        assert_eq!(read(&[("If-Match", "abc"), ("If-Unmodified-Since", BEFORE)]), ReadOutcome::Proceed);
        assert_eq!(read(&[("If-None-Match", "x"), ("If-Modified-Since", AFTER)]), ReadOutcome::Proceed);
        assert_eq!(
            read(&[("If-None-Match", "abc"), ("If-Modified-Since", BEFORE)]),
            ReadOutcome::NotModified
        );
    }

    #[test]
    fn a_write_is_judged_against_what_it_would_replace() {
        let write = |headers: &[(&str, &str)], tag| {
            conditions(headers).judge_write(tag).map_err(|refusal| refusal.code)
        };

        assert_eq!(write(&[], None), Ok(()));
        assert_eq!(write(&[("If-Match", "abc")], Some("abc")), Ok(()));
        assert_eq!(write(&[("If-Match", "abc")], Some("x")), Err(ErrorCode::PreconditionFailed));
        assert_eq!(write(&[("If-Match", "*")], None), Err(ErrorCode::NoSuchKey));
        assert_eq!(write(&[("If-None-Match", "*")], None), Ok(()));
        assert_eq!(write(&[("If-None-Match", "*")], Some("x")), Err(ErrorCode::PreconditionFailed));
        assert_eq!(write(&[("If-None-Match", "abc")], Some("x")), Ok(()));
        assert_eq!(write(&[("If-Unmodified-Since", BEFORE)], Some("x")), Ok(()));
    }

    #[test]
    fn the_source_of_a_copy_never_answers_not_modified() {
        let judged = |name, value| {
            let conditions = Conditions::of_copy_source(&vec![(name, value)]);
            conditions.judge_copy_source(CURRENT).map_err(|refusal| (refusal.code, refusal.elements))
        };
        let failed = |condition: &str| {
            Err((
                ErrorCode::PreconditionFailed,
                vec![("Condition", format!("x-amz-copy-source-{condition}"))],
            ))
        };

        assert_eq!(judged("x-amz-copy-source-if-match", "abc"), Ok(()));
        assert_eq!(judged("x-amz-copy-source-if-none-match", "abc"), failed("If-None-Match"));
        assert_eq!(judged("x-amz-copy-source-if-modified-since", THEN), failed("If-Modified-Since"));
        assert_eq!(judged("x-amz-copy-source-if-unmodified-since", BEFORE), failed("If-Unmodified-Since"));
        assert_eq!(judged("if-none-match", "abc"), Ok(()));
    }
    #[test]
    fn a_range_counts_only_of_the_object_the_client_knows() {
        for (value, counts) in
            [("\"abc\"", true), ("\"x\"", false), ("W/\"abc\"", false), (THEN, true), (AFTER, false)]
        {
            assert_eq!(if_range_holds(value, CURRENT), counts, "{value}");
        }
    }
}
