//! Conditions of a write on what is there now (`If-Match`, `If-None-Match`), judged inside its commit.
//!
//! Judging reads the object's row; the commit then demands that this row is unchanged, so a verdict never
//! outlives what it was made of.

use crate::object::ETag;
use crate::schema::ObjectRow;

/// What must hold of the object that is there when a write commits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteCondition {
    /// `If-Match`: the object must be there and match.
    pub if_match: Option<EntityMatch>,
    /// `If-None-Match`: no object that matches may be there.
    pub if_none_match: Option<EntityMatch>,
    /// Size the object must have, in bytes (conditional delete).
    pub if_size_bytes: Option<u64>,
    /// Modification time the object must have, seconds since 1970 (conditional delete).
    pub if_modified_s: Option<u64>,
}

/// `*`, or one of a list of entity tags (without quotes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntityMatch {
    /// Any object.
    Any,
    /// An object with one of these entity tags.
    OneOf(Vec<String>),
}

impl WriteCondition {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        *self == WriteCondition::default()
    }

    /// Judges the condition of a write against what is there; a delete marker counts as nothing.
    ///
    /// # Source
    ///
    /// S3 user guide, "Conditional requests": `If-Match` on a key that is not there is `NoSuchKey`, every
    /// other failure is `PreconditionFailed`.
    pub(crate) fn judge(&self, there: Option<&ObjectRow>) -> Result<(), Unmet> {
        let there = there.filter(|row| row.flags & ObjectRow::DELETE_MARKER == 0);
        let Some(row) = there else {
            let asks_for_one =
                self.if_match.is_some() || self.if_size_bytes.is_some() || self.if_modified_s.is_some();
            return if asks_for_one { Err(Unmet::Missing) } else { Ok(()) };
        };
        let etag = ETag::from(&row.etag);
        if self.if_match.as_ref().is_some_and(|wanted| !wanted.holds(&etag)) {
            return Err(Unmet::Differs("If-Match"));
        }
        if self.if_none_match.as_ref().is_some_and(|unwanted| unwanted.holds(&etag)) {
            return Err(Unmet::Differs("If-None-Match"));
        }
        if self.if_size_bytes.is_some_and(|wanted| wanted != row.size_bytes) {
            return Err(Unmet::Differs("x-amz-if-match-size"));
        }
        // HTTP dates have whole seconds.
        if self.if_modified_s.is_some_and(|wanted| wanted != row.modified_ms / 1000) {
            return Err(Unmet::Differs("x-amz-if-match-last-modified-time"));
        }
        Ok(())
    }
}

impl EntityMatch {
    fn holds(&self, etag: &ETag) -> bool {
        match self {
            EntityMatch::Any => true,
            EntityMatch::OneOf(tags) => tags.contains(&etag.0),
        }
    }
}

/// Why a condition does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmet {
    /// It asks for an object and there is none.
    Missing,
    /// The object is not as the header named wants it.
    Differs(&'static str),
}

#[cfg(test)]
mod tests {
    use super::{EntityMatch, Unmet, WriteCondition};
    use crate::schema::{CompactETag, ObjectRow};

    fn row() -> ObjectRow {
        ObjectRow {
            size_bytes: 5,
            etag: CompactETag::Opaque("tag".to_owned()),
            modified_ms: 7_999,
            version: None,
            flags: 0,
            storage_class: None,
            checksum: None,
        }
    }

    fn one_of(tags: &[&str]) -> Option<EntityMatch> {
        Some(EntityMatch::OneOf(tags.iter().map(|&tag| tag.to_owned()).collect()))
    }

    #[test]
    fn if_match_wants_an_object_with_one_of_the_tags() {
        let condition = WriteCondition { if_match: one_of(&["x", "tag"]), ..WriteCondition::default() };
        assert_eq!(condition.judge(Some(&row())), Ok(()));
        assert_eq!(condition.judge(None), Err(Unmet::Missing));

        let condition = WriteCondition { if_match: one_of(&["x"]), ..WriteCondition::default() };
        assert_eq!(condition.judge(Some(&row())), Err(Unmet::Differs("If-Match")));
    }

    #[test]
    fn if_none_match_any_wants_nothing_there_and_a_delete_marker_is_nothing() {
        let condition = WriteCondition { if_none_match: Some(EntityMatch::Any), ..WriteCondition::default() };
        assert_eq!(condition.judge(None), Ok(()));
        assert_eq!(condition.judge(Some(&row())), Err(Unmet::Differs("If-None-Match")));
        let marker = ObjectRow { flags: ObjectRow::DELETE_MARKER, ..row() };
        assert_eq!(condition.judge(Some(&marker)), Ok(()));
    }

    #[test]
    fn size_and_whole_second_of_modification_are_compared() {
        let condition =
            WriteCondition { if_size_bytes: Some(5), if_modified_s: Some(7), ..WriteCondition::default() };
        assert_eq!(condition.judge(Some(&row())), Ok(()));

        let condition = WriteCondition { if_size_bytes: Some(6), ..WriteCondition::default() };
        assert_eq!(condition.judge(Some(&row())), Err(Unmet::Differs("x-amz-if-match-size")));
        let condition = WriteCondition { if_modified_s: Some(8), ..WriteCondition::default() };
        assert_eq!(condition.judge(Some(&row())), Err(Unmet::Differs("x-amz-if-match-last-modified-time")));
    }
}
