//! The model: a bucket as a plain ordered map, and random histories that the store must agree with it on.
//!
//! [`histories`] makes action sequences; [`follow`] runs one against an engine and compares with the model
//! after every action: the whole listing, the body of every key the action touched, and the changes it told,
//! in order. At the end, and whenever the history opens the engine again, everything is compared. A
//! disagreement panics and names the action.
//!
//! Histories are followed by one task: what happens at the same time is the contract's subject.

mod plain;
mod side;

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_oneof};

use crate::engine::Engine;
use crate::listing::ListQuery;
use crate::multipart::PART_BYTES_MIN;
use side::Side;

/// The keys that histories use: some begin like others, some hold delimiters, one ends in one.
const KEYS: [&str; 8] = ["a", "a-", "a/", "a/b", "a/b/c", "a0", "b/1", "ü"];

/// Most uploads that a history knows at once: creating one more takes the place of the oldest.
const UPLOADS_MAX: usize = 3;

/// One thing a client does. Keys are places in a fixed list, uploads places among those the history made.
#[derive(Clone, Debug)]
pub enum Action {
    /// Writes an object.
    Put(usize, Body),
    /// Writes an object where there is none.
    PutNew(usize, Body),
    /// Reads one object and writes it under another key.
    Copy(usize, usize),
    /// Deletes a key.
    Delete(usize),
    /// Deletes some keys in one request.
    DeleteMany(Vec<usize>),
    /// Opens an upload.
    CreateUpload(usize),
    /// Adds a part to an upload.
    PutPart(usize, u32, Body),
    /// Completes an upload with all its parts.
    Complete(usize),
    /// Aborts an upload.
    Abort(usize),
    /// Lists keys.
    List(ListQuery),
    /// Lists versions.
    ListVersions(ListQuery),
    /// Receives a body and does not use it.
    Drop(Body),
    /// Changes the bucket's rules: from now on changes are for this many targets.
    Rules(usize),
    /// Closes store and engine and opens them again.
    Reopen,
}

/// A body: so many bytes, told apart by a seed.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    size_bytes: usize,
    seed: u8,
}

impl Body {
    fn bytes(self) -> Vec<u8> {
        // Repeating a block of odd length is fast also where nothing is optimized.
        const BLOCK_BYTES: usize = 4099;
        let block = (0..BLOCK_BYTES).map(|at| (at / 13) as u8 ^ (at as u8).wrapping_mul(self.seed));
        let mut bytes = block.collect::<Vec<u8>>().repeat(self.size_bytes / BLOCK_BYTES + 1);
        bytes.truncate(self.size_bytes);
        bytes
    }
}

/// Histories of up to `actions_max` actions.
pub fn histories(actions_max: usize) -> impl Strategy<Value = Vec<Action>> {
    let any_key = || 0..KEYS.len();
    let any_upload = || 0..UPLOADS_MAX;
    let action = prop_oneof![
        8 => (any_key(), bodies()).prop_map(|(key, body)| Action::Put(key, body)),
        2 => (any_key(), bodies()).prop_map(|(key, body)| Action::PutNew(key, body)),
        3 => (any_key(), any_key()).prop_map(|(from, to)| Action::Copy(from, to)),
        4 => any_key().prop_map(Action::Delete),
        2 => vec(any_key(), 1..5).prop_map(Action::DeleteMany),
        3 => any_key().prop_map(Action::CreateUpload),
        6 => (any_upload(), 1..4u32, part_bodies()).prop_map(|(upload, number, body)| {
            Action::PutPart(upload, number, body)
        }),
        3 => any_upload().prop_map(Action::Complete),
        1 => any_upload().prop_map(Action::Abort),
        4 => queries().prop_map(Action::List),
        1 => queries().prop_map(Action::ListVersions),
        1 => bodies().prop_map(Action::Drop),
        1 => (0..3usize).prop_map(Action::Rules),
        1 => Just(Action::Reopen),
    ];
    vec(action, 1..=actions_max)
}

/// Empty, inline and staged ones.
fn bodies() -> impl Strategy<Value = Body> {
    let size_bytes = prop_oneof![1 => Just(0usize), 6 => 1..5000usize, 2 => 100_000..300_000usize];
    (size_bytes, 1..=255u8).prop_map(|(size_bytes, seed)| Body { size_bytes, seed })
}

/// As [`bodies`], and some that are just large enough to be followed by another part.
fn part_bodies() -> impl Strategy<Value = Body> {
    let large = (1..=255u8).prop_map(|seed| Body { size_bytes: PART_BYTES_MIN as usize, seed });
    prop_oneof![1 => bodies(), 2 => large]
}

fn queries() -> impl Strategy<Value = ListQuery> {
    let text = |choices: &'static [&'static str]| proptest::sample::select(choices).prop_map(str::to_owned);
    let prefix = text(&["", "a", "a/", "a/b", "b", "zz"]);
    let delimiter = text(&["", "", "/", "b", "/b"]);
    let after = text(&["", "", "a", "a/", "a/a", "a/b/", "a/b/b", "b", "b/", "ü"]);
    (prefix, delimiter, after, 0..6usize).prop_map(|(prefix, delimiter, after, limit)| ListQuery {
        prefix,
        delimiter,
        after,
        after_version: None,
        limit,
    })
}

/// Runs a history against an engine that nothing was written to.
///
/// `reopen` closes an engine and opens it again; where an engine cannot, it gives the same one back.
///
/// # Panics
///
/// When store and model disagree.
pub async fn follow(
    engine: Arc<dyn Engine>,
    history: &[Action],
    reopen: impl AsyncFn(Arc<dyn Engine>) -> Arc<dyn Engine>,
) {
    let mut side = Side::open(engine).await;
    for (step, action) in history.iter().enumerate() {
        let place = format!("after action {step}, {action:?}");
        if matches!(action, Action::Reopen) {
            side = side.reopened(&reopen).await;
            side.compare_everything(&place).await;
        } else {
            let touched = side.act(action, &place).await;
            side.compare(&touched, &place).await;
        }
    }
    side.compare_everything("at the end").await;
    side.settle().await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::{ProptestConfig, proptest};

    use super::{follow, histories};
    use crate::engine::Engine;
    use crate::testing::MemoryEngine;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        /// Whatever is done to a bucket, the store says of it what the model says, and no body is left
        /// behind that nothing names.
        #[test]
        fn the_store_agrees_with_the_model_and_leaks_nothing(history in histories(40)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let memory = MemoryEngine::new();
            let engine: Arc<dyn Engine> = Arc::new(memory.clone());
            runtime.block_on(follow(engine, &history, async |engine| engine));
            assert_eq!(memory.unnamed_body_count(), 0);
        }
    }
}
