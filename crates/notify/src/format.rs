//! What a store that is no queue keeps of records: one entry per object, or every record.
//!
//! With `namespace` a table, hash or index mirrors the buckets: `bucket/key` leads to the last record of that
//! key, and there is no entry where there is no object. With `access` every record is appended.
//!
//! Source: MinIO's `format` key. One thing differs on purpose: a delete that found nothing leaves no entry here,
//! where MinIO makes one for an object that never was.

use crate::event::Event;
use crate::target::{KeyKind, KeySpec, TargetSettings};

/// See the module header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One entry per object, the last record of its key.
    Namespace,
    /// Every record, in the order of delivery.
    Access,
}

/// What a record does to the entry of its key in a [`Format::Namespace`] store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    /// The record becomes the entry.
    Set,
    /// The entry goes, if there is one.
    Remove,
}

impl Format {
    /// The key `format`, of every kind that has formats.
    pub const KEY: KeySpec = KeySpec::new(
        "format",
        "FORMAT",
        KeyKind::Text,
        "'namespace' keeps the last record of each object, 'access' keeps every record",
    )
    .or("namespace");

    /// What the settings say.
    ///
    /// # Errors
    ///
    /// A sentence that names the key.
    pub fn of(settings: &TargetSettings) -> Result<Format, String> {
        match settings.value("format") {
            "" | "namespace" => Ok(Format::Namespace),
            "access" => Ok(Format::Access),
            other => Err(format!("format is {other}, known are namespace and access")),
        }
    }

    /// What a record does in a store of this format: every record is set where all are kept.
    pub fn entry(self, event: Event) -> Entry {
        match self {
            Format::Namespace => Entry::of(event),
            Format::Access => Entry::Set,
        }
    }
}

impl Entry {
    /// A delete marker is told like a change of the object, as MinIO does: readers see that there was one.
    pub fn of(event: Event) -> Entry {
        match event.as_str() {
            "s3:ObjectRemoved:Delete" | "s3:ObjectRemoved:DeleteAllVersions" | "s3:ObjectRemoved:NoOP" => {
                Entry::Remove
            }
            _ => Entry::Set,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Format};
    use crate::event::Event;
    use crate::target::{TargetId, TargetSettings};

    #[test]
    fn an_entry_goes_with_its_object_and_stays_with_everything_else() {
        let removing: Vec<_> =
            Event::accepted().filter(|&event| Entry::of(event) == Entry::Remove).map(Event::as_str).collect();
        assert_eq!(
            removing,
            ["s3:ObjectRemoved:Delete", "s3:ObjectRemoved:NoOP", "s3:ObjectRemoved:DeleteAllVersions"]
        );
    }

    #[test]
    fn the_format_is_namespace_unless_said_otherwise() {
        let format = |value: &str| {
            let values = [("format", value.to_owned())].into();
            Format::of(&TargetSettings { target: TargetId { id: "1".to_owned(), kind: "redis" }, values })
        };
        assert_eq!(
            ["", "namespace", "access"].map(format),
            [Ok(Format::Namespace), Ok(Format::Namespace), Ok(Format::Access)]
        );
        assert_eq!(format("Access"), Err("format is Access, known are namespace and access".to_owned()));
    }
}
