//! The suite that defines an engine: every sentence of the trait's documentation as a law.
//!
//! [`engine_contract!`](crate::engine_contract) makes one test of each law; every engine, and an engine with
//! every fault it claims to bear, runs it. A law takes an engine that nothing was written to. No law waits
//! for time to pass: what an engine may do later (reclaiming, riding) is only held against it as far as the
//! trait promises it.

mod bodies;
mod commits;
mod concurrency;
mod pages;
mod partitions;

pub use bodies::{
    a_body_is_read_back_whole_and_in_any_range, a_dropped_stage_is_nothing,
    a_location_is_short_enough_to_store, a_location_that_moves_to_another_key_stays_named,
    an_empty_body_is_read_back_as_nothing, an_open_read_outlives_the_reclaiming_of_its_body,
    bodies_that_a_batch_takes_the_name_of_are_unnamed_once,
    reclaiming_twice_is_harmless_and_takes_nothing_else, several_bodies_of_one_key_keep_their_order,
};
pub use commits::{
    a_batch_of_a_thousand_deletes_is_one_commit, a_change_is_told_as_it_was_committed,
    a_commit_is_visible_on_return, a_put_replaces_everything_that_was_there,
    a_refused_batch_changes_nothing_and_names_its_first_failure,
    a_riding_batch_is_committed_and_tells_nothing, an_entry_carries_the_sequence_of_its_batch,
    deleting_what_is_not_there_is_no_error, keys_are_any_bytes, mutations_apply_in_order,
    preconditions_hold_where_they_should, sequences_grow_by_change_and_by_batch,
    there_is_a_partition_and_their_order_stands,
};
pub use concurrency::{
    a_refusal_that_rests_on_a_commit_comes_after_it, a_scan_sees_a_batch_wholly_or_not_at_all,
    changes_read_while_others_commit_miss_none, changes_tell_everything_committed_at_once_in_order,
    no_update_is_lost_under_unchanged, of_many_who_want_a_key_absent_one_wins,
};
pub use pages::{
    a_prefix_is_removed_with_all_under_it_and_nothing_else, changes_come_in_pages_after_a_sequence,
    keys_come_in_byte_order_in_pages_without_payloads, ranges_end_before_their_end,
};
pub use partitions::{
    OnePartition, a_body_is_named_in_the_partition_it_was_staged_in_and_in_no_other,
    a_partition_that_is_not_there_is_refused_by_name, partitions_know_nothing_of_one_another,
};

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;

use crate::batch::{Batch, Mutation, Put};
use crate::change::{Change, ChangeKind, ObjectSummary, Origin, Sequence};
use crate::engine::{Engine, Entry, Location, PartitionId, Stage, StageHint};
use crate::names::{BucketName, VersionId};

/// Makes a test of every law of [`testing::contract`](crate::testing::contract), for the engine that an
/// async closure gives: `engine_contract!(async || Arc::new(engine) as Arc<dyn Engine>)`.
///
/// The crate that uses it has tokio among its development dependencies.
#[macro_export]
macro_rules! engine_contract {
    ($make:expr) => {
        $crate::engine_contract! { @laws $make;
            a_batch_of_a_thousand_deletes_is_one_commit
            a_body_is_named_in_the_partition_it_was_staged_in_and_in_no_other
            a_body_is_read_back_whole_and_in_any_range
            a_change_is_told_as_it_was_committed
            a_commit_is_visible_on_return
            a_dropped_stage_is_nothing
            a_location_is_short_enough_to_store
            a_location_that_moves_to_another_key_stays_named
            a_partition_that_is_not_there_is_refused_by_name
            a_prefix_is_removed_with_all_under_it_and_nothing_else
            a_put_replaces_everything_that_was_there
            a_refusal_that_rests_on_a_commit_comes_after_it
            a_refused_batch_changes_nothing_and_names_its_first_failure
            a_riding_batch_is_committed_and_tells_nothing
            a_scan_sees_a_batch_wholly_or_not_at_all
            an_empty_body_is_read_back_as_nothing
            an_entry_carries_the_sequence_of_its_batch
            an_open_read_outlives_the_reclaiming_of_its_body
            bodies_that_a_batch_takes_the_name_of_are_unnamed_once
            changes_come_in_pages_after_a_sequence
            changes_read_while_others_commit_miss_none
            changes_tell_everything_committed_at_once_in_order
            deleting_what_is_not_there_is_no_error
            keys_are_any_bytes
            keys_come_in_byte_order_in_pages_without_payloads
            mutations_apply_in_order
            no_update_is_lost_under_unchanged
            of_many_who_want_a_key_absent_one_wins
            partitions_know_nothing_of_one_another
            preconditions_hold_where_they_should
            ranges_end_before_their_end
            reclaiming_twice_is_harmless_and_takes_nothing_else
            sequences_grow_by_change_and_by_batch
            several_bodies_of_one_key_keep_their_order
            there_is_a_partition_and_their_order_stands
        }
    };
    (@laws $make:expr; $($law:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $law() {
                let make = $make;
                $crate::testing::contract::$law(make().await).await;
            }
        )*
    };
}

/// What a law works on: an engine and its first partition.
#[derive(Clone)]
struct Subject {
    engine: Arc<dyn Engine>,
    partition: PartitionId,
}

impl Subject {
    fn new(engine: Arc<dyn Engine>) -> Subject {
        let partition = engine.partitions().first().expect("an engine has a partition").id;
        Subject { engine, partition }
    }

    async fn commit(&self, batch: Batch) -> crate::engine::Committed {
        self.engine.commit(self.partition, batch).await.expect("nothing speaks against the batch")
    }

    async fn mutate(&self, mutations: impl IntoIterator<Item = Mutation>) -> crate::engine::Committed {
        self.commit(Batch { mutations: mutations.into_iter().collect(), ..Batch::default() }).await
    }

    async fn get(&self, key: &[u8]) -> Option<Entry> {
        self.engine.get(self.partition, key).await.expect("the engine can be read")
    }

    async fn keys(&self, prefix: &[u8]) -> Vec<Bytes> {
        let range = crate::engine::KeyRange::prefix(prefix);
        let page = self.engine.scan(self.partition, range, 10_000).await.expect("the engine can be read");
        page.into_iter().map(|(key, _)| key).collect()
    }

    async fn changes(&self, after: Sequence, limit: usize) -> Vec<Change> {
        let changes = self.engine.changes(self.partition, after, limit).await;
        changes.expect("the engine can be read").into_iter().map(Arc::unwrap_or_clone).collect()
    }

    async fn open_stage(&self) -> Box<dyn Stage> {
        let stage = self.engine.stage(self.partition, StageHint::default()).await;
        stage.expect("the engine takes bodies")
    }

    async fn stage(&self, body: &[u8], chunk_bytes: usize) -> Location {
        let hint = StageHint { size_bytes: Some(body.len() as u64) };
        let mut stage = self.engine.stage(self.partition, hint).await.expect("the engine takes bodies");
        for chunk in body.chunks(chunk_bytes.max(1)) {
            stage.write(Bytes::copy_from_slice(chunk)).await.expect("the engine takes bodies");
        }
        stage.finish().await.expect("the engine takes bodies")
    }

    async fn read(&self, location: &Location, range: std::ops::Range<u64>) -> Vec<u8> {
        let stream = self.engine.read(location, range).await.expect("the body is named");
        let chunks: Vec<Bytes> = stream.try_collect().await.expect("the body is whole");
        chunks.concat()
    }
}

fn put(key: &[u8], value: &[u8]) -> Mutation {
    Mutation::Put(Put {
        key: Bytes::copy_from_slice(key),
        value: Bytes::copy_from_slice(value),
        ..Put::default()
    })
}

fn put_bodies(key: &[u8], locations: &[Location]) -> Mutation {
    Mutation::Put(Put { key: Bytes::copy_from_slice(key), locations: locations.to_vec(), ..Put::default() })
}

fn delete(key: &[u8]) -> Mutation {
    Mutation::Delete(Bytes::copy_from_slice(key))
}

/// A change that fills every field.
fn change(key: &str) -> Change {
    Change {
        sequence: Sequence(7),
        time_ms: 1_700_000_000_123,
        kind: ChangeKind::Put,
        bucket: BucketName::new("album").expect("a bucket's name"),
        key: key.to_owned(),
        version: Some(VersionId::Null),
        object: Some(ObjectSummary {
            size_bytes: 5,
            etag: "5d41402abc4b2a76b9719d911017c592".to_owned(),
            content_type: "text/plain".to_owned(),
            metadata: vec![("X-Amz-Meta-Color".to_owned(), "red".to_owned())],
            tags: vec![("stage".to_owned(), "raw".to_owned())],
        }),
        origin: Some(Origin {
            principal: "minioadmin".to_owned(),
            source_host: "127.0.0.1".to_owned(),
            user_agent: "lab/1.0".to_owned(),
            request_id: "18E9FFCB5AEB848F".to_owned(),
            region: "eu".to_owned(),
            range: Some("bytes=1-2".to_owned()),
            response_length: Some(2),
            endpoint: "http://127.0.0.1:9000".to_owned(),
        }),
        targets: vec!["1:kafka".to_owned(), "2:mqtt".to_owned()],
        rules: vec![String::new(), "all".to_owned()],
    }
}

/// Bytes without a period that a wrong offset could hide behind.
fn body(size_bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(size_bytes).collect()
}
