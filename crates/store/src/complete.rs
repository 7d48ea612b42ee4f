//! Completing an upload: the chosen parts become one object.
//!
//! A staged part passes its place to the object, so that completing copies nothing but the bytes of small
//! parts; and of those there is one at most, the last. In the batch that makes the object the upload and
//! all its parts go: what was not listed is given back.

use bytes::Bytes;

use crate::batch::{Mutation, Precondition};
use crate::change::{ChangeKind, Origin};
use crate::content::Content;
use crate::engine::{EngineError, Location, PartitionId};
use crate::error::Error;
use crate::multipart::{PART_BYTES_MIN, Part, Upload, read_part};
use crate::names::{BucketName, ObjectKey, UploadId};
use crate::object::{Checksum, ETag, Object};
use crate::precondition::WriteCondition;
use crate::schema::{self, CompactETag, ObjectHead, PartLine};
use crate::store::{Store, scan_all};
use crate::write::Draft;

/// One line of a Complete request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPart {
    /// Part number.
    pub number: u32,
    /// ETag without quotes.
    pub etag: String,
    /// Base64 checksum, if the client repeated it.
    pub checksum: Option<String>,
}

/// What a Complete request writes: parts chosen with [`Store::choose_parts`], and what was computed over them.
#[derive(Debug)]
pub struct CompleteUpload {
    /// The upload, as `Store::upload` gave it.
    pub upload: Upload,
    /// The chosen parts, in order, as `Store::choose_parts` gave them.
    pub parts: Vec<Part>,
    /// `md5(md5s)-count`.
    pub etag: ETag,
    /// The object's checksum.
    pub checksum: Option<Checksum>,
    /// Condition on what is there now.
    pub condition: WriteCondition,
    /// Who asks.
    pub origin: Origin,
}

impl Store {
    /// Checks the parts a Complete request lists and gives them with what is known of each.
    ///
    /// # Errors
    ///
    /// `InvalidPartOrder` (numbers not strictly ascending), `InvalidPart` (missing, ETag or checksum
    /// differs), `EntityTooSmall` (a part but the last under 5 MiB).
    pub async fn choose_parts(&self, upload: &Upload, listed: &[ListedPart]) -> Result<Vec<Part>, Error> {
        if let Some(pair) = listed.windows(2).find(|pair| pair[0].number >= pair[1].number) {
            return Err(Error::InvalidPartOrder { number: pair[1].number });
        }
        let partition = self.bucket(&upload.bucket)?.partition;
        let entries = scan_all(&*self.engine, partition, &schema::parts(&upload.bucket, upload.id)).await?;
        let mut entries = entries.iter();
        let mut chosen = Vec::with_capacity(listed.len());
        for wanted in listed {
            let key = schema::part_key(&upload.bucket, upload.id, wanted.number);
            // Both ascend: what was passed over is not listed.
            let entry = entries.by_ref().find(|(have, _)| *have >= key).filter(|(have, _)| *have == key);
            let (key, entry) = entry.ok_or(Error::InvalidPart { number: wanted.number })?;
            let part = read_part(key, entry)?;
            let differs =
                part.etag.0 != wanted.etag || wanted.checksum.is_some() && wanted.checksum != part.checksum;
            if differs {
                return Err(Error::InvalidPart { number: wanted.number });
            }
            chosen.push(part);
        }
        check_sizes(&chosen)?;
        Ok(chosen)
    }

    /// Makes the object of the chosen parts: one record; what was not listed is given back.
    ///
    /// # Errors
    ///
    /// `NoSuchUpload` when it ended meanwhile, `InvalidPart` when a chosen part was replaced meanwhile,
    /// `EntityTooSmall`, `NoSuchKey` and `PreconditionFailed` (the upload stays usable).
    pub async fn complete_upload(&self, complete: CompleteUpload) -> Result<Object, Error> {
        let CompleteUpload { upload, parts, etag, checksum, condition, origin } = complete;
        check_sizes(&parts)?;
        let partition = self.bucket(&upload.bucket)?.partition;
        let gathered = self.gather(&upload, &parts, partition).await?;
        let mut demands = vec![Precondition::Unchanged(
            schema::upload_key(&upload.bucket, &upload.key, upload.id),
            upload.sequence,
        )];
        demands.extend(parts.iter().map(|part| {
            let key = schema::part_key(&upload.bucket, upload.id, part.number);
            Precondition::Unchanged(key, part.sequence)
        }));
        let removals = vec![
            Mutation::Delete(schema::upload_key(&upload.bucket, &upload.key, upload.id)),
            Mutation::DeletePrefix(schema::parts(&upload.bucket, upload.id)),
        ];
        let draft = Draft {
            bucket: upload.bucket,
            key: upload.key,
            content: Content::of_inline(gathered.inline, parts.iter().map(|part| part.size_bytes).sum()),
            etag,
            head: ObjectHead {
                headers: upload.headers,
                checksum,
                parts: parts.iter().map(part_line).collect(),
                upload: Some(upload.id),
                staged_bytes: gathered.staged_bytes,
            },
            locations: gathered.locations,
            condition,
            kind: ChangeKind::CompleteMultipartUpload,
            origin,
            demands,
            removals,
        };
        self.write_object(draft).await.map_err(|error| match error {
            Error::Engine(EngineError::Precondition { index: 1 }) => {
                Error::NoSuchUpload { upload: upload.id }
            }
            // Precondition 0 is the bucket's, 1 the upload's, the parts' follow.
            Error::Engine(EngineError::Precondition { index }) => {
                Error::InvalidPart { number: parts[index - 2].number }
            }
            other => other,
        })
    }

    /// The object that a finished upload made, while it is still the current one: for a repeated Complete.
    ///
    /// # Errors
    ///
    /// `NoSuchBucket`, and what the engine says.
    pub async fn completed_object(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        id: UploadId,
    ) -> Result<Option<Object>, Error> {
        match self.object(bucket, key, None).await {
            Ok(object) => Ok(Some(object).filter(|object| object.upload == Some(id))),
            Err(Error::NoSuchKey { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The places of the chosen parts, and the bytes of those that are inline.
    async fn gather(
        &self,
        upload: &Upload,
        parts: &[Part],
        partition: PartitionId,
    ) -> Result<Gathered, Error> {
        let entries = scan_all(&*self.engine, partition, &schema::parts(&upload.bucket, upload.id)).await?;
        let mut entries = entries.into_iter();
        let mut gathered = Gathered::default();
        for part in parts {
            let replaced = Error::InvalidPart { number: part.number };
            let key = schema::part_key(&upload.bucket, upload.id, part.number);
            let entry = entries.by_ref().find(|(have, _)| *have >= key).filter(|(have, _)| *have == key);
            let Some((_, entry)) = entry.filter(|(_, entry)| entry.sequence == part.sequence) else {
                return Err(self
                    .upload(&upload.bucket, &upload.key, upload.id)
                    .await
                    .err()
                    .unwrap_or(replaced));
            };
            if entry.locations.is_empty() && part.size_bytes > 0 {
                let whole = self.engine.get(partition, &key).await?;
                let whole = whole.filter(|whole| whole.sequence == part.sequence).ok_or(replaced)?;
                // Inline bytes stand behind all staged ones: only the last part may be that small.
                gathered.inline = whole.payload;
            }
            for location in entry.locations {
                gathered.locations.push(location);
                gathered.staged_bytes.push(part.size_bytes);
            }
        }
        Ok(gathered)
    }
}

/// The bytes of an object to be, as its parts have them.
#[derive(Default)]
struct Gathered {
    locations: Vec<Location>,
    staged_bytes: Vec<u64>,
    inline: Bytes,
}

/// Every part but the last has at least [`PART_BYTES_MIN`] bytes.
fn check_sizes(parts: &[Part]) -> Result<(), Error> {
    let but_last = &parts[..parts.len().saturating_sub(1)];
    match but_last.iter().find(|part| part.size_bytes < PART_BYTES_MIN) {
        None => Ok(()),
        Some(part) => Err(Error::EntityTooSmall {
            number: part.number,
            size_bytes: part.size_bytes,
            min_bytes: PART_BYTES_MIN,
            etag: part.etag.0.clone(),
        }),
    }
}

fn part_line(part: &Part) -> PartLine {
    PartLine {
        number: part.number,
        size_bytes: part.size_bytes,
        etag: CompactETag::from(&part.etag),
        checksum: part.checksum.clone(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{CompleteUpload, ListedPart};
    use crate::change::Origin;
    use crate::error::Error;
    use crate::multipart::tests::{create, keys, part};
    use crate::multipart::{PART_BYTES_MIN, Part, Upload};
    use crate::object::{ETag, Object};
    use crate::precondition::{EntityMatch, WriteCondition};
    use crate::testing::fixture::Fixture;

    const MIN: usize = PART_BYTES_MIN as usize;

    fn listed(numbers: &[u32]) -> Vec<ListedPart> {
        let part = |&number| ListedPart { number, etag: format!("{number:032x}"), checksum: None };
        numbers.iter().map(part).collect()
    }

    fn to_complete(upload: &Upload, parts: Vec<Part>) -> CompleteUpload {
        CompleteUpload {
            upload: upload.clone(),
            etag: ETag(format!("{:032x}-{}", 7, parts.len())),
            parts,
            checksum: None,
            condition: WriteCondition::default(),
            origin: Origin::default(),
        }
    }

    /// An object of parts of these sizes; part `n` is made of the byte `n`.
    pub(crate) async fn complete(fixture: &Fixture, name: &str, sizes_bytes: &[usize]) -> Object {
        let upload = create(fixture, name).await;
        let mut parts = Vec::new();
        for (number, &size_bytes) in (1u8..).zip(sizes_bytes) {
            parts.push(part(fixture, &upload, number.into(), &vec![number; size_bytes]).await);
        }
        fixture.store.complete_upload(to_complete(&upload, parts)).await.unwrap()
    }

    #[tokio::test]
    async fn parts_become_one_object_and_nothing_of_the_upload_is_left() {
        let fixture = Fixture::new().await;
        let upload = create(&fixture, "film").await;
        part(&fixture, &upload, 2, &vec![2; MIN]).await;
        part(&fixture, &upload, 5, &vec![9; 300_000]).await;
        part(&fixture, &upload, 7, &[7; 10]).await;
        part(&fixture, &upload, 5, &vec![5; MIN + 1]).await;
        part(&fixture, &upload, 9, &vec![9; 200_000]).await;
        let chosen = fixture.store.choose_parts(&upload, &listed(&[2, 5, 7])).await.unwrap();

        let object = fixture.store.complete_upload(to_complete(&upload, chosen)).await.unwrap();

        let whole = [vec![2; MIN], vec![5; MIN + 1], vec![7; 10]].concat();
        let found = fixture.object("film").await.unwrap();
        assert_eq!(format!("{found:?}"), format!("{object:?}"));
        assert_eq!(found.upload, Some(upload.id));
        assert_eq!(found.headers, upload.headers);
        let parts: Vec<_> = found.parts.iter().map(|part| (part.number, part.size_bytes as usize)).collect();
        assert_eq!(parts, [(2, MIN), (5, MIN + 1), (7, 10)]);
        assert!(fixture.body(&found).await == whole, "the bytes differ");
        let (start, end) = (MIN - 3, 2 * MIN + 4);
        assert!(
            fixture.range(&found, start as u64..end as u64).await == whole[start..end],
            "a range differs"
        );
        assert_eq!(keys(&fixture).await, ["oalbum\\x00film\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00"]);
        assert_eq!(fixture.engine.body_count(), 2);
        assert_eq!(fixture.told().await, ["BucketCreated album/", "CompleteMultipartUpload album/film"]);
    }

    #[tokio::test]
    async fn what_a_complete_request_lists_is_checked_part_by_part() {
        let fixture = Fixture::new().await;
        let upload = create(&fixture, "film").await;
        part(&fixture, &upload, 1, b"short").await;
        part(&fixture, &upload, 3, &vec![3; MIN]).await;
        let choose =
            async |listed: &[ListedPart]| fixture.store.choose_parts(&upload, listed).await.unwrap_err();

        assert_eq!(choose(&listed(&[3, 1])).await, Error::InvalidPartOrder { number: 1 });
        assert_eq!(choose(&listed(&[1, 1])).await, Error::InvalidPartOrder { number: 1 });
        assert_eq!(choose(&listed(&[1, 2, 3])).await, Error::InvalidPart { number: 2 });
        assert_eq!(choose(&listed(&[3, 4])).await, Error::InvalidPart { number: 4 });
        let other = ListedPart { etag: "x".to_owned(), ..listed(&[3])[0].clone() };
        assert_eq!(choose(&[other]).await, Error::InvalidPart { number: 3 });
        let summed = ListedPart { checksum: Some("AAAA".to_owned()), ..listed(&[3])[0].clone() };
        assert_eq!(choose(&[summed]).await, Error::InvalidPart { number: 3 });
        let too_small = Error::EntityTooSmall {
            number: 1,
            size_bytes: 5,
            min_bytes: PART_BYTES_MIN,
            etag: format!("{:032x}", 1),
        };
        assert_eq!(choose(&listed(&[1, 3])).await, too_small);
        assert_eq!(fixture.store.choose_parts(&upload, &listed(&[1])).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_part_that_was_replaced_since_it_was_chosen_is_not_taken() {
        let fixture = Fixture::new().await;
        let upload = create(&fixture, "film").await;
        let chosen = vec![part(&fixture, &upload, 1, &[1; 200_000]).await];
        part(&fixture, &upload, 1, &[2; 200_000]).await;
        let refused = fixture.store.complete_upload(to_complete(&upload, chosen)).await.unwrap_err();
        assert_eq!(refused, Error::InvalidPart { number: 1 });
        let chosen = fixture.store.choose_parts(&upload, &listed(&[1])).await.unwrap();
        fixture.store.complete_upload(to_complete(&upload, chosen)).await.unwrap();
    }

    #[tokio::test]
    async fn of_two_completes_one_makes_the_object_and_the_other_can_find_it() {
        let fixture = Fixture::new().await;
        let upload = create(&fixture, "film").await;
        let chosen = vec![part(&fixture, &upload, 1, b"ab").await];
        let object = fixture.store.complete_upload(to_complete(&upload, chosen.clone())).await.unwrap();
        let again = fixture.store.complete_upload(to_complete(&upload, chosen)).await.unwrap_err();
        assert_eq!(again, Error::NoSuchUpload { upload: upload.id });

        let found = fixture.store.completed_object(&fixture.album, &upload.key, upload.id).await.unwrap();
        assert_eq!(found.map(|found| found.sequence), Some(object.sequence));
        fixture.put("film", b"other").await;
        let found = fixture.store.completed_object(&fixture.album, &upload.key, upload.id).await.unwrap();
        assert!(found.is_none());
    }

    #[tokio::test]
    async fn an_upload_stays_usable_when_the_condition_of_its_complete_fails() {
        let fixture = Fixture::new().await;
        fixture.put("film", b"old").await;
        let upload = create(&fixture, "film").await;
        let chosen = vec![part(&fixture, &upload, 1, &[1; 200_000]).await];
        let condition = WriteCondition { if_none_match: Some(EntityMatch::Any), ..WriteCondition::default() };
        let conditional =
            || CompleteUpload { condition: condition.clone(), ..to_complete(&upload, chosen.clone()) };
        let refused = fixture.store.complete_upload(conditional()).await.unwrap_err();
        assert!(matches!(refused, Error::PreconditionFailed { condition: "If-None-Match", .. }), "{refused}");
        fixture.delete("film").await.unwrap();
        fixture.store.complete_upload(conditional()).await.unwrap();
    }
}
