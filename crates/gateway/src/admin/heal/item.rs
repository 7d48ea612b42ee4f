//! An item: a bucket or an object that a sequence came upon, and how the drives held it before and since.

use serde_json::{Value, json};

use store::{BucketName, CopyState, DriveState, HealedObject, SetReport, VersionId};
use tidings_store as store;

/// What is said of an object that parity does not make up for.
const LOST: &str = "it is lost: more drives lack their part than parity makes up for. It is refused and kept";

/// What a sequence came upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// The set whose drives hold it.
    pub(super) pool: usize,
    bucket: BucketName,
    /// `None` for the bucket itself.
    object: Option<HealedObject>,
    before: Vec<CopyState>,
    after: Vec<CopyState>,
    is_lost: bool,
}

impl Item {
    /// A bucket. It is a record of the journal, which every drive holds that takes part.
    pub(super) fn bucket(bucket: &BucketName, pool: usize, set: &SetReport) -> Item {
        let drives = set.drives.iter().map(|drive| match drive.state {
            DriveState::Online => CopyState::Whole,
            DriveState::Healing => CopyState::Missing,
            DriveState::Offline => CopyState::Offline,
        });
        let states: Vec<CopyState> = drives.collect();
        Item {
            pool,
            bucket: bucket.clone(),
            object: None,
            before: states.clone(),
            after: states,
            is_lost: false,
        }
    }

    /// An object.
    pub(super) fn object(
        bucket: &BucketName,
        pool: usize,
        object: HealedObject,
        healed: store::Healed,
    ) -> Item {
        let store::Healed { before, after, is_lost, .. } = healed;
        Item { pool, bucket: bucket.clone(), object: Some(object), before, after, is_lost }
    }

    /// As clients read it.
    pub(super) fn document(&self, number: u64, set: &SetReport) -> Value {
        let mut document = json!({
            "resultId": number,
            "type": "bucket",
            "bucket": self.bucket.as_str(),
            "object": "",
            "versionId": "",
            "detail": if self.is_lost { LOST } else { "" },
            "diskCount": set.drives.len(),
            // None: so clients tell the drives of a bucket from those of objects.
            "setCount": -1,
            "before": { "drives": drives(&self.before, set) },
            "after": { "drives": drives(&self.after, set) },
            "objectSize": 0,
        });
        if let Some(object) = &self.object {
            document["type"] = json!("object");
            document["object"] = json!(object.key);
            document["versionId"] = json!(match object.version {
                VersionId::Null => "null".to_owned(),
                version @ VersionId::Id(_) => version.to_string(),
            });
            document["parityBlocks"] = json!(set.parity);
            document["dataBlocks"] = json!(set.data);
            document["setCount"] = json!(0);
            document["objectSize"] = json!(object.size_bytes);
        }
        document
    }
}

fn drives(states: &[CopyState], set: &SetReport) -> Value {
    let drives = set.drives.iter().zip(states);
    let documents = drives.map(|(drive, state)| {
        let state = match state {
            CopyState::Whole => "ok",
            CopyState::Damaged => "corrupt",
            CopyState::Missing => "missing",
            CopyState::Offline => "offline",
        };
        json!({ "uuid": drive.id, "endpoint": drive.path, "state": state })
    });
    documents.collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::{BucketName, CopyState, HealedObject, Item, VersionId, store};
    use crate::admin::drives;

    fn states(document: &Value) -> String {
        let drives = document["drives"].as_array().unwrap().iter();
        drives.map(|drive| drive["state"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_object_is_told_with_its_drives_before_and_since() {
        let (set, bucket) = (drives::sample(), BucketName::new("album").unwrap());
        let object = HealedObject { key: "rose".to_owned(), version: VersionId::Null, size_bytes: 20 };
        let mut before = vec![CopyState::Whole; 8];
        (before[1], before[2], before[7]) = (CopyState::Damaged, CopyState::Missing, CopyState::Offline);
        let mut after = vec![CopyState::Whole; 8];
        after[7] = CopyState::Offline;
        let (key, value) = (Bytes::new(), Bytes::new());
        let healed = store::Healed { key, value, before, after, is_lost: true };
        let mut document = Item::object(&bucket, 0, object, healed).document(2, &set);
        assert_eq!(states(&document["before"]), "ok corrupt missing ok ok ok ok offline");
        assert_eq!(states(&document["after"]), "ok ok ok ok ok ok ok offline");
        assert_eq!(
            document["after"]["drives"][0],
            json!({"uuid": "a641188a-c46d-4f33-8cba-817980351971", "endpoint": "/data/d1", "state": "ok"})
        );
        for part in ["before", "after"] {
            document.as_object_mut().unwrap().remove(part);
        }
        assert_eq!(
            document,
            json!({
                "resultId": 2, "type": "object", "bucket": "album", "object": "rose", "versionId": "null",
                "detail": super::LOST, "parityBlocks": 4, "dataBlocks": 4, "diskCount": 8, "setCount": 0,
                "objectSize": 20,
            })
        );
    }

    #[test]
    fn a_bucket_is_on_every_drive_that_takes_part() {
        let bucket = BucketName::new("album").unwrap();
        let document = Item::bucket(&bucket, 0, &drives::healing_sample()).document(1, &drives::sample());
        assert_eq!((&document["type"], &document["setCount"]), (&json!("bucket"), &json!(-1)));
        assert_eq!(states(&document["after"]), "ok ok ok ok ok ok ok missing");
    }
}
