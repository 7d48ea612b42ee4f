//! A configured target at work: its relays, or what keeps it from working.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use store::{BucketName, Error, Gap, PartitionId, Sequence, Store};
use tidings_store as store;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::arn::Arn;
use crate::backoff::Backoff;
use crate::bounds::Bounds;
use crate::health::Health;
use crate::notifier::{Live, ServerIdentity};
use crate::relay::Relay;
use crate::retries::Retries;
use crate::rules_of_now::RulesOfNow;
use crate::target::{MadeTarget, Surroundings, Target, TargetReport, TargetSettings, target_kind};
use crate::topic;

/// A target that was not contacted for so long is probed before it is reported.
const PROBE_AFTER: Duration = Duration::from_secs(5);

/// How long a report waits for a probe.
const PROBE_MAX: Duration = Duration::from_secs(1);

/// A configured target.
pub(crate) struct Running {
    pub(crate) settings: TargetSettings,
    pub(crate) health: Arc<Health>,
    /// Why it cannot be made of its settings.
    fault: Option<String>,
    /// Why changes did not name it yet when it was launched.
    not_begun: Option<String>,
    /// Absent when it could not be made of its settings.
    pub(crate) target: Option<Arc<dyn Target>>,
    /// What its relays are to leave waiting.
    pub(crate) held: watch::Sender<Held>,
    pub(crate) stop: CancellationToken,
    relays: JoinHandle<()>,
}

impl Running {
    /// Ends its relays; deliveries under way are given a moment to be acknowledged.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.relays.await {
            tracing::error!(target_id = %self.settings.target, %error, "a relay of the target ended by a fault of this program");
        }
    }

    /// Why it cannot be used.
    pub(crate) fn fault(&self) -> &str {
        self.fault.as_deref().unwrap_or_default()
    }

    /// What was wrong when it was launched.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.fault.as_deref().or(self.not_begun.as_deref())
    }

    /// Finds out how it is, unless that is known.
    pub(crate) async fn probe(&self) {
        let Some(target) = &self.target else {
            return;
        };
        if self.health.was_contacted_within(PROBE_AFTER) {
            return;
        }
        let found = tokio::time::timeout(PROBE_MAX, target.probe()).await;
        self.health.probed(found.unwrap_or_else(|_| Err("it did not answer within a second".to_owned())));
    }

    pub(crate) fn report(&self, region: &str, now_ms: u64) -> TargetReport {
        let target = self.settings.target.clone();
        let arn = Arn { region: region.to_owned(), id: target.id.clone(), kind: target.kind.to_owned() };
        let reason = self.fault.clone().unwrap_or_else(|| self.health.reason());
        let wait = self.health.wait();
        TargetReport {
            target,
            arn: arn.to_string(),
            is_online: reason.is_empty(),
            reason,
            delivered: self.health.delivered.load(Ordering::Relaxed),
            failed: self.health.failed.load(Ordering::Relaxed),
            retried: self.health.retried.load(Ordering::Relaxed),
            waiting: wait.changes,
            waiting_bytes: wait.bytes,
            oldest: wait.oldest.map(|(sequence, _)| sequence),
            oldest_wait_ms: wait.oldest.map_or(0, |(_, oldest_ms)| now_ms.saturating_sub(oldest_ms)),
            dropped: self.health.dropped.load(Ordering::Relaxed),
            dead_letters: self.health.dead(),
            is_paused: self.held.borrow().is_paused,
            in_progress: self.health.in_progress.load(Ordering::Relaxed),
        }
    }
}

/// What it takes to set a target to work.
#[derive(Clone)]
pub(crate) struct Launch {
    pub(crate) store: Arc<Store>,
    pub(crate) server: Arc<ServerIdentity>,
    pub(crate) live: Arc<ArcSwap<Live>>,
    pub(crate) full: Arc<ArcSwap<Live>>,
    pub(crate) commits: watch::Receiver<u64>,
    pub(crate) make: Arc<MakeTarget>,
    /// Set for a replay by them.
    pub(crate) rules_of_now: Option<Arc<RulesOfNow>>,
}

impl Launch {
    /// Makes the target and starts its relays.
    ///
    /// On return changes name it in every partition where its cursor could be written. That it could not in
    /// another is its fault, and is tried again until it works.
    pub(crate) async fn run(self, settings: TargetSettings, health: Arc<Health>) -> Running {
        let surroundings =
            Surroundings { ca_directory: self.server.ca_directory.clone(), ..Surroundings::default() };
        let bounds = Bounds::of(&settings);
        let made = match &bounds {
            Ok(_) => (self.make)(&settings, &surroundings),
            Err(reason) => Err(reason.clone()),
        };
        let (target, fault) = match made {
            Ok(target) => (Some(Arc::from(target)), None),
            Err(reason) => (None, Some(reason)),
        };
        let (bounds, retries) = (bounds.unwrap_or_default(), Retries::of(&settings));
        let name = settings.target.to_string();
        let stop = CancellationToken::new();
        let mut not_begun = None;
        // What an operator wanted to wait does not go out because a drive cannot be read.
        let is_paused = self.store.is_paused(&name).await.unwrap_or_else(|error| {
            not_begun = Some(format!("whether it is paused cannot be read, so it is: {error}"));
            true
        });
        let held = watch::Sender::new(Held { is_paused, buckets: BTreeSet::new() });
        let mut relays = Vec::new();
        for &partition in self.store.partitions() {
            let begun = self.begin(&name, partition, &health).await;
            if let Err(error) = &begun {
                not_begun.get_or_insert_with(|| format!("its cursor cannot be written: {error}"));
            }
            let place = Place { name: name.clone(), partition, begun: begun.ok() };
            let relay = Parts {
                target: target.clone(),
                bounds: bounds.clone(),
                retries,
                health: Arc::clone(&health),
                held: held.subscribe(),
                stop: stop.clone(),
            };
            relays.push(self.clone().keep_running(place, relay));
        }
        let relays = tokio::spawn(async move { drop(join_all(relays).await) });
        Running { settings, health, fault, not_begun, target, held, stop, relays }
    }

    /// Finds the target's cursor in a partition, makes it if it is missing, and lets changes there name it.
    async fn begin(&self, name: &str, partition: PartitionId, health: &Health) -> Result<Begun, Error> {
        health.count_dead(partition, self.store.dead_letter_count(partition, name).await?);
        let cursor = match self.store.cursor(partition, name).await? {
            Some(cursor) => cursor,
            None => {
                let newest = self.store.newest(partition);
                self.store.advance(partition, name, newest).await?;
                newest
            }
        };
        self.live.rcu(|live| {
            let mut live = Live::clone(live);
            live.entry(partition).or_default().insert(name.to_owned());
            live
        });
        Ok(Begun { cursor, gaps: self.store.gaps(partition, name).await? })
    }

    /// Runs the relay of one partition until told to stop.
    async fn keep_running(self, place: Place, parts: Parts) {
        let Place { name, partition, mut begun } = place;
        let Parts { target, bounds, retries, health, held, stop } = parts;
        let mut backoff = Backoff::default();
        let Begun { cursor, gaps } = loop {
            if let Some(begun) = begun {
                break begun;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(backoff.next_delay()) => {
                    begun = self.begin(&name, partition, &health).await.ok();
                }
            }
        };
        let Launch { store, server, full, commits, rules_of_now, .. } = self;
        let bounds = bounds.in_set_of(store.total_bytes(partition));
        let relay = Relay {
            store,
            partition,
            name,
            target,
            bounds,
            retries,
            health,
            server,
            full,
            commits,
            held,
            stop,
            rules_of_now,
        };
        relay.run(cursor, gaps).await;
    }
}

/// What the relays of a target leave waiting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Everything: an operator paused the target.
    pub(crate) is_paused: bool,
    /// Changes of these buckets, which are being sent anew.
    pub(crate) buckets: BTreeSet<BucketName>,
}

/// What the relays of a target share.
struct Parts {
    target: Option<Arc<dyn Target>>,
    bounds: Bounds,
    retries: Retries,
    health: Arc<Health>,
    held: watch::Receiver<Held>,
    stop: CancellationToken,
}

/// A target's place in a partition's change log.
struct Place {
    /// `id:type`.
    name: String,
    partition: PartitionId,
    begun: Option<Begun>,
}

/// Where a relay begins.
struct Begun {
    /// Its cursor, which is durable.
    cursor: Sequence,
    /// What it has to tell first.
    gaps: Vec<(BucketName, Gap)>,
}

/// Makes a target of settings.
pub(crate) type MakeTarget = dyn Fn(&TargetSettings, &Surroundings) -> MadeTarget + Send + Sync;

/// The target that settings describe, of one of the kinds in `TARGETS`.
pub(crate) fn make_target(settings: &TargetSettings, surroundings: &Surroundings) -> MadeTarget {
    if settings.target.kind == topic::KIND {
        return topic::connect(settings, surroundings);
    }
    let kind = target_kind(settings.target.kind)
        .ok_or_else(|| format!("this build has no targets of kind {}", settings.target.kind))?;
    (kind.check)(settings)?;
    (kind.connect)(settings, surroundings)
}
