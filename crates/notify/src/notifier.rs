//! The notifier: rules in force, live targets, listeners.
//!
//! # A target's cursor
//!
//! A target that is new begins at the newest change there is: nothing older is sent to it, and its cursor is
//! durable before the first change names it. A target whose settings change keeps its cursor. One that is
//! taken away while the server runs loses it: what still waited is not sent, and a target of the same name
//! that is added later is a new one. One that is missing at a start keeps its cursor, so that a start with an
//! incomplete environment loses nothing; it goes on where it stood when it is back. What waits for it is
//! bounded meanwhile (`absent`).
//!
//! That is so in each partition for itself: a target has a cursor and a relay in every one. In a partition that
//! takes no commits it begins when that does again, and the others do not wait for it.
//!
//! A target whose settings fail their check, or whose certificates cannot be read, is configured all the
//! same: rules may name it, its changes wait, and it is shown offline with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use futures_util::future::join_all;
use store::{Bucket, Change, Clock, PartitionId, Store};
use tidings_store as store;
use tokio::sync::{Mutex, watch};

use crate::arn::Arn;
use crate::health::{Counters, Health};
use crate::listen::ListenFilter;
use crate::matching::RuleCache;
use crate::record::minio;
use crate::rule::{Configuration, RawConfiguration, RuleError};
use crate::running::{Launch, MakeTarget, Running, make_target};
use crate::target::{TargetId, TargetReport, TargetSettings, Totals};
use crate::topic;

/// What records tell of the server itself, and what targets need of it.
///
/// Made with `..ServerIdentity::default()`, so that a new field breaks nobody.
#[derive(Clone, Debug, Default)]
pub struct ServerIdentity {
    /// UUID of the drive set.
    pub deployment_id: String,
    /// 64 hex digits: `x-amz-id-2` of every response and record.
    pub node_id: String,
    /// The region, empty when none is configured; part of every ARN.
    pub region: String,
    /// Who owns every bucket, as lists of buckets tell it.
    pub owner_id: String,
    /// The server's own URL, for records of what it does itself: `http://127.0.0.1:9000`.
    pub endpoint: String,
    /// Folder of further root certificates for targets, PEM: `<certs-dir>/CAs`.
    pub ca_directory: Option<PathBuf>,
}

/// Targets (`id:type`) by the partitions in which they have a cursor.
pub(crate) type Live = BTreeMap<PartitionId, BTreeSet<String>>;

/// See the module header.
pub struct Notifier {
    pub(crate) identity: Arc<ServerIdentity>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Set by [`Notifier::start`]. The store holds the notifier too; [`Notifier::shutdown`] parts them.
    pub(crate) store: ArcSwapOption<Store>,
    pub(crate) rules: Arc<RuleCache>,
    /// Targets (`id:type`) that changes name, by partition.
    pub(crate) live: Arc<ArcSwap<Live>>,
    /// Targets (`id:type`) for which nothing more may wait, by partition.
    pub(crate) full: Arc<ArcSwap<Live>>,
    pub(crate) listeners: ArcSwap<Vec<Arc<ListenFilter>>>,
    /// Counts the commits that told changes; only its changing matters.
    pub(crate) commits: watch::Sender<u64>,
    pub(crate) targets: Mutex<BTreeMap<TargetId, Running>>,
    /// Targets that have a place in the log and are not configured, by name (`id:type`).
    pub(crate) absent: Mutex<BTreeMap<String, Running>>,
    /// The names of `targets`, for checks that must not wait.
    configured: ArcSwap<BTreeSet<String>>,
    /// Topics (`name:topic`), also those without an endpoint, which are no targets.
    topics: ArcSwap<BTreeSet<String>>,
    pub(crate) counters: Arc<Counters>,
    make: Arc<MakeTarget>,
}

impl Notifier {
    /// A notifier without targets. Give it to `Store::open` as its recorder, then call [`Notifier::start`].
    pub fn new(identity: ServerIdentity, clock: Arc<dyn Clock>) -> Arc<Notifier> {
        Notifier::with_targets(identity, clock, Arc::new(make_target))
    }

    /// A notifier whose targets are made by `make`.
    pub(crate) fn with_targets(
        identity: ServerIdentity,
        clock: Arc<dyn Clock>,
        make: Arc<MakeTarget>,
    ) -> Arc<Notifier> {
        Arc::new(Notifier {
            make,
            identity: Arc::new(identity),
            clock,
            store: ArcSwapOption::empty(),
            rules: Arc::default(),
            live: Arc::default(),
            full: Arc::default(),
            listeners: ArcSwap::default(),
            commits: watch::Sender::new(0),
            targets: Mutex::default(),
            absent: Mutex::default(),
            configured: ArcSwap::default(),
            topics: ArcSwap::default(),
            counters: Arc::default(),
        })
    }

    /// Names the store whose change log relays and listeners read. Comes before the first
    /// [`Notifier::apply`]; changes that are committed before that name no target.
    pub fn start(self: &Arc<Self>, store: Arc<Store>) {
        self.store.store(Some(store));
    }

    /// Makes the live targets these, whole: new ones start, changed ones restart, missing ones stop.
    ///
    /// Contacts nothing: a target that is away is shown offline and tried again. The answer tells each target
    /// (`id:type`) that does not work as it is configured, with the reason; the others work.
    pub async fn apply(&self, settings: Vec<TargetSettings>) -> Vec<(String, String)> {
        let mut targets = self.targets.lock().await;
        let Some(store) = self.store.load_full() else {
            return vec![("notifier".to_owned(), "it was not started".to_owned())];
        };
        let wanted: BTreeSet<TargetId> = settings.iter().map(|settings| settings.target.clone()).collect();
        let gone: Vec<TargetId> = targets.keys().filter(|target| !wanted.contains(target)).cloned().collect();
        for target in gone {
            let running = targets.remove(&target).expect("the target was found just now");
            self.remove(&store, running).await;
        }
        let names: BTreeSet<String> = wanted.iter().map(TargetId::to_string).collect();
        self.let_go_of_absent(&names).await;
        let mut told = Vec::new();
        for settings in settings {
            let name = settings.target.to_string();
            let before = targets.remove(&settings.target);
            let running = match before {
                Some(running) if running.settings == settings => running,
                before => self.replace(&store, before, settings).await,
            };
            if let Some(reason) = running.trouble() {
                told.push((name, reason.to_owned()));
            }
            targets.insert(running.settings.target.clone(), running);
        }
        self.bound_absent(&store, &names).await;
        self.configured.store(Arc::new(names));
        told
    }

    /// Ends a target that is configured no more.
    async fn remove(&self, store: &Store, running: Running) {
        let name = running.settings.target.to_string();
        // First no change names it, then nothing reads for it, then its place is forgotten.
        self.live.rcu(|live| {
            let mut live = Live::clone(live);
            for targets in live.values_mut() {
                targets.remove(&name);
            }
            live
        });
        self.configured
            .rcu(|names| names.iter().filter(|&other| *other != name).cloned().collect::<BTreeSet<_>>());
        running.stop().await;
        if let Err(error) = store.forget_target(&name).await {
            tracing::warn!(target_id = %name, %error, "the place of the removed target is still kept");
        }
    }

    /// Starts a target in the place of what ran for it before.
    async fn replace(
        &self,
        store: &Arc<Store>,
        before: Option<Running>,
        settings: TargetSettings,
    ) -> Running {
        let health = match before {
            Some(running) => {
                let health = Arc::clone(&running.health);
                running.stop().await;
                health
            }
            None => Arc::new(Health::new(settings.target.clone(), Arc::clone(&self.counters))),
        };
        self.launch(store).run(settings, health).await
    }

    /// What it takes to set a target to work.
    pub(crate) fn launch(&self, store: &Arc<Store>) -> Launch {
        Launch {
            store: Arc::clone(store),
            server: Arc::clone(&self.identity),
            live: Arc::clone(&self.live),
            full: Arc::clone(&self.full),
            commits: self.commits.subscribe(),
            make: Arc::clone(&self.make),
            rules_of_now: None,
        }
    }

    /// How each target is, sorted. Targets that were not contacted lately are probed, for at most a second.
    pub async fn reports(&self) -> Vec<TargetReport> {
        let targets = self.targets.lock().await;
        join_all(targets.values().map(Running::probe)).await;
        let now_ms = self.clock.now_ms();
        targets.values().map(|running| running.report(&self.identity.region, now_ms)).collect()
    }

    /// Sums over all targets since start.
    pub fn totals(&self) -> Totals {
        self.counters.totals()
    }

    /// Says which topics there are, by name. Rules may name them, whether or not they have an endpoint.
    pub fn set_topics<'a>(&self, names: impl Iterator<Item = &'a str>) {
        self.topics.store(Arc::new(names.map(|name| format!("{name}:{}", topic::KIND)).collect()));
    }

    /// Checks the settings of a topic that has an endpoint without contacting anything.
    ///
    /// # Errors
    ///
    /// A clause that names what is at fault.
    pub fn check_topic(&self, settings: &TargetSettings) -> Result<(), String> {
        topic::check(settings, self.identity.ca_directory.as_deref())
    }

    fn exists(&self, arn: &Arn) -> bool {
        let name = arn.target();
        self.configured.load().contains(&name) || self.topics.load().contains(&name)
    }

    /// Checks rules as a client sent them against the targets that are configured. The answer is what the bucket has
    /// then: `before` is its document, into which rules of topics are merged.
    ///
    /// # Errors
    ///
    /// [`RuleError`], whose code and text are the answer.
    pub fn check_rules(
        &self,
        raw: &RawConfiguration,
        before: Option<&Bucket>,
    ) -> Result<Configuration, RuleError> {
        let before = before.map(|bucket| self.all_rules_of(bucket)).unwrap_or_default();
        Configuration::check(raw, before, &self.identity.region, |arn| self.exists(arn))
    }

    /// The rules of a bucket as a client may see them: those whose target is configured, with this server's
    /// region in their ARNs.
    pub fn rules_of(&self, bucket: &Bucket) -> Configuration {
        let mut configuration = self.all_rules_of(bucket);
        configuration.rules.retain(|rule| self.exists(&rule.target));
        configuration
    }

    /// The rules of a bucket, also those whose target is gone.
    pub fn all_rules_of(&self, bucket: &Bucket) -> Configuration {
        let Some(document) = bucket.document(Bucket::NOTIFICATION) else {
            return Configuration::default();
        };
        Configuration::decode(document, &self.identity.region).unwrap_or_else(|reason| {
            tracing::error!(bucket = %bucket.name, %reason, "the notification rules of the bucket cannot be read");
            Configuration::default()
        })
    }

    /// A change as MinIO's record, one JSON document.
    pub fn record(&self, change: &Change) -> Bytes {
        minio::bare(change, &self.identity)
    }

    /// The ARNs of all configured targets, sorted.
    pub fn arns(&self) -> Vec<Arn> {
        let configured = self.configured.load();
        let named = configured.iter().filter_map(|name| name.split_once(':'));
        named
            .map(|(id, kind)| Arn {
                region: self.identity.region.clone(),
                id: id.to_owned(),
                kind: kind.to_owned(),
            })
            .collect()
    }

    /// Ends every relay; deliveries under way are given a moment to be acknowledged.
    pub async fn shutdown(&self) {
        let mut targets = self.targets.lock().await;
        let absent = std::mem::take(&mut *self.absent.lock().await);
        let all = std::mem::take(&mut *targets).into_values().chain(absent.into_values());
        join_all(all.map(Running::stop)).await;
        self.store.store(None);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use store::testing::MemoryEngine;
    use store::testing::fixture::key;
    use store::{ChangeKind, EngineError, PartitionId, Recorder, Sequence, SystemClock};
    use tidings_store as store;

    use super::RuleError;
    use crate::rule::{RawConfiguration, RawRule};
    use crate::testing::memory::{MemoryTarget, Mood};
    use crate::testing::scene::{Scene, by_key, keys, settings, told, within};

    #[tokio::test]
    async fn a_new_target_gets_nothing_that_is_older_than_itself() {
        let (old, new) = (MemoryTarget::default(), MemoryTarget::default());
        let scene = Scene::new(&[("old", &old), ("new", &new)]).await;
        scene.apply(&["old"]).await;
        scene.announce(&[("", "old")]).await;
        scene.put("before").await;

        scene.apply(&["old", "new"]).await;
        scene.announce(&[("", "old"), ("", "new")]).await;
        scene.put("after").await;
        within(old.wait_for(2)).await;
        within(new.wait_for(1)).await;

        assert_eq!(keys(&old.received()), ["album/before", "album/after"]);
        assert_eq!(keys(&new.received()), ["album/after"]);
    }

    #[tokio::test]
    async fn a_target_that_changes_goes_on_where_it_stood() {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("", "1")]).await;
        target.set(Mood::Away);
        scene.put_all(&["a", "b"]).await;
        within(target.wait_for_tries(1)).await;

        let told = scene.notifier.apply(vec![settings("1", "another note")]).await;
        target.set(Mood::Well);
        within(target.wait_for(2)).await;

        assert_eq!(told, []);
        let mut received = target.received();
        received.sort_by(|a, b| a.key.cmp(&b.key));
        assert_eq!(keys(&received), ["album/a", "album/b"]);
    }

    #[tokio::test]
    async fn a_target_that_was_removed_and_added_again_is_a_new_one() {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("", "1")]).await;
        target.set(Mood::Away);
        scene.put("waits").await;
        within(target.wait_for_tries(1)).await;

        scene.apply(&[]).await;
        target.set(Mood::Well);
        scene.put("meanwhile").await;
        scene.apply(&["1"]).await;
        scene.put("after").await;
        within(target.wait_for(1)).await;

        assert_eq!(keys(&target.received()), ["album/after"]);
    }

    #[tokio::test]
    async fn a_target_that_is_missing_at_a_start_keeps_its_place() {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("", "1")]).await;
        target.set(Mood::Away);
        scene.put("waits").await;
        within(target.wait_for_tries(1)).await;
        scene.notifier.shutdown().await;

        let without = Scene::over(scene.engine.clone(), &[]).await;
        without.apply(&[]).await;
        without.notifier.shutdown().await;
        target.set(Mood::Well);
        let with = Scene::over(scene.engine, &[("1", &target)]).await;
        with.apply(&["1"]).await;
        within(target.wait_for(1)).await;

        assert_eq!(keys(&target.received()), ["album/waits"]);
    }

    #[tokio::test]
    async fn a_target_whose_cursor_cannot_be_written_is_told_and_works_once_it_can() {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.apply(&[]).await;
        scene.announce_any("1").await;

        scene.engine.lose_quorum(1, 3);
        let told = scene.apply(&["1"]).await;
        scene.engine.restore_quorum();

        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].1.starts_with("its cursor cannot be written: "), "{told:?}");
        within(async {
            while target.received().is_empty() {
                scene.put("a").await;
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Two buckets in partitions of their own.
    async fn two_partitions(target: &MemoryTarget) -> (Scene, Scene) {
        let engine = MemoryEngine::with(Arc::new(SystemClock), 2);
        engine.set_room(PartitionId(1), 0, 1);
        let over = Scene::over(engine, &[("1", target)]).await;
        let first = over.in_bucket("album").await;
        first.engine.set_room(PartitionId(1), 1, 1);
        let second = first.in_bucket("attic").await;
        let place = |scene: &Scene| scene.store.bucket(&scene.album).unwrap().partition.0;
        assert_eq!((place(&first), place(&second)), (0, 1));
        (first, second)
    }

    #[tokio::test]
    async fn a_target_has_a_cursor_in_each_partition_and_hears_of_both_in_order_per_key() {
        let target = MemoryTarget::default();
        let (first, second) = two_partitions(&target).await;
        first.apply(&["1"]).await;
        first.announce(&[("", "1")]).await;
        second.announce(&[("", "1")]).await;
        for _ in 0..20 {
            first.put_all(&["a", "b"]).await;
            second.put_all(&["a", "c"]).await;
        }
        first.caught_up("1").await;
        second.caught_up("1").await;

        let owed = [first.owed("1").await, second.owed("1").await].concat();
        assert_eq!(owed.len(), 80);
        assert_eq!(by_key(told(&target.received())), by_key(owed));
    }

    #[tokio::test]
    async fn a_partition_whose_sequences_are_ahead_keeps_no_other_from_being_heard() {
        let target = MemoryTarget::default();
        let (first, _) = two_partitions(&target).await;
        first.apply(&["1"]).await;
        first.announce(&[("", "1")]).await;
        first.put("a").await;
        within(target.wait_for(1)).await;

        first.notifier.committed(Sequence(u64::MAX));
        first.put("b").await;

        within(target.wait_for(2)).await;
    }

    #[tokio::test]
    async fn a_partition_without_its_quorum_keeps_no_target_from_the_others() {
        let target = MemoryTarget::default();
        let (first, second) = two_partitions(&target).await;
        first.apply(&[]).await;
        first.announce_any("1").await;
        second.announce_any("1").await;
        // Its place in the first partition is known, so that the one commit which fails is that of the second.
        first.store.rewind(PartitionId(0), "1:memory", Sequence::ZERO).await.unwrap();
        first.engine.fail_commits([EngineError::WriteQuorum { answered: 1, needed: 3 }]);

        let told = first.apply(&["1"]).await;
        assert!(told[0].1.starts_with("its cursor cannot be written: "), "{told:?}");
        first.put("a").await;
        within(target.wait_for(1)).await;
        assert_eq!(keys(&target.received()), ["album/a"]);

        within(async {
            while !keys(&target.received()).contains(&"attic/b") {
                second.put("b").await;
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_target_that_cannot_be_made_is_told_and_its_changes_wait() {
        let scene = Scene::new(&[]).await;
        let told = scene.apply(&["1"]).await;
        assert_eq!(told, [("1:memory".to_owned(), "there is no target in memory of the id 1".to_owned())]);

        scene.announce(&[("", "1")]).await;
        scene.put("a").await;
        assert_eq!(scene.owed("1").await.len(), 1);
        let report = scene.notifier.reports().await.remove(0);
        assert_eq!(
            (report.is_online, report.reason.as_str()),
            (false, "there is no target in memory of the id 1")
        );
    }

    #[tokio::test]
    async fn rules_are_in_force_for_what_is_put_after_them() {
        let (one, two) = (MemoryTarget::default(), MemoryTarget::default());
        let scene = Scene::new(&[("1", &one), ("2", &two)]).await;
        scene.announce(&[("a", "1")]).await;
        scene.put_all(&["a", "b"]).await;
        scene.announce(&[("b", "2")]).await;
        scene.put_all(&["a", "b"]).await;
        scene.caught_up("1").await;
        scene.caught_up("2").await;

        assert_eq!((keys(&one.received()), keys(&two.received())), (vec!["album/a"], vec!["album/b"]));
    }

    #[tokio::test]
    async fn rules_name_only_configured_targets_and_hide_while_theirs_is_gone() {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("", "1")]).await;
        let shown = || {
            let bucket = scene.store.bucket(&scene.album).unwrap();
            let rules = scene.notifier.rules_of(&bucket).rules;
            (rules.len(), scene.notifier.recipients(&bucket, ChangeKind::Put, &key("a"), None).targets)
        };

        let with = shown();
        scene.apply(&[]).await;
        let without = shown();
        let rule = RawRule {
            arn: "arn:minio:sqs::1:memory".to_owned(),
            events: vec!["s3:ObjectCreated:*".to_owned()],
            ..RawRule::default()
        };
        let refused = scene
            .notifier
            .check_rules(&RawConfiguration { rules: vec![rule], ..RawConfiguration::default() }, None);
        scene.apply(&["1"]).await;

        assert_eq!(
            (with, without, shown()),
            ((1, vec!["1:memory".to_owned()]), (0, vec![]), (1, vec!["1:memory".to_owned()]))
        );
        assert_eq!(refused, Err(RuleError::UnknownArn));
    }

    #[tokio::test]
    async fn reports_count_what_was_delivered_what_failed_and_what_waits() {
        let target = MemoryTarget::default();
        let scene = Scene::new(&[("1", &target)]).await;
        scene.announce(&[("", "1")]).await;
        scene.put_all(&["a", "b"]).await;
        scene.caught_up("1").await;
        target.set(Mood::Away);
        scene.put("c").await;
        within(target.wait_for_tries(4)).await;

        let report = scene.notifier.reports().await.remove(0);
        assert_eq!(
            (report.arn.as_str(), report.delivered, report.waiting),
            ("arn:minio:sqs::1:memory", 2, 1)
        );
        assert_eq!(
            (report.is_online, report.reason.as_str(), report.failed > 0),
            (false, "it is away", true)
        );
        assert_eq!(scene.notifier.totals().sent, 2);
    }
}
