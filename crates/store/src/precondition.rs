//! Conditions of a write on what is there now (`If-Match`, `If-None-Match`), judged inside its commit.

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
}
