//! Event names: the 32 single ones and the 6 wildcards that a rule or a listener may ask for.
//!
//! A name is accepted exactly as written here, with `s3:` and in this case. Some names stand for things
//! that this server does not do yet; they are accepted, because a rule written for MinIO names them, and
//! match nothing until a [`ChangeKind`] tells of them.
//!
//! Source: MinIO, "Supported bucket event types", and its answers to every name.

use std::fmt;

use store::ChangeKind;
use tidings_store as store;

/// An event as a rule names it: a single name or a wildcard. Always one of [`Event::accepted`], or [`Event::GAP`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Event(&'static str);

impl Event {
    /// Changes that a target is never told. No rule asks for it.
    pub const GAP: Event = Event("tidings:Gap");

    /// Reads a name; `None` when a rule may not contain it.
    ///
    /// ```
    /// use tidings_notify::Event;
    /// assert!(Event::parse("s3:ObjectCreated:*").is_some());
    /// assert!(Event::parse("s3:Scanner:*").is_none());
    /// assert!(Event::parse("ObjectCreated:Put").is_none());
    /// ```
    pub fn parse(text: &str) -> Option<Event> {
        Event::accepted().find(|event| event.0 == text)
    }

    /// Reads a name that the rule of a topic may contain: also those of Ceph that nothing here fires.
    pub fn parse_of_topic(text: &str) -> Option<Event> {
        let of_ceph = || CEPH.into_iter().find(|&name| name == text).map(Event);
        Event::parse(text).or_else(of_ceph)
    }

    /// What a topic's rule that names no event asks for: what is created and what is removed.
    pub fn of_topic_by_default() -> Vec<Event> {
        vec![Event(CREATED), Event(REMOVED)]
    }

    /// Every name a rule may contain, single names first.
    pub fn accepted() -> impl Iterator<Item = Event> {
        let singles = SINGLES.iter().map(|single| Event(single.name));
        singles.chain(WILDCARDS.iter().map(|&wildcard| Event(wildcard)))
    }

    /// The name of what happened, as records tell it.
    pub fn of(kind: ChangeKind) -> Event {
        let single = SINGLES.iter().find(|single| single.kind == Some(kind));
        Event(single.expect("every kind of change has a name").name)
    }

    /// The name as text.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// The kinds of change it asks for; a wildcard asks for several, a name without sender for none.
    pub fn kinds(self) -> impl Iterator<Item = ChangeKind> {
        SINGLES
            .iter()
            .filter(move |single| single.name == self.0 || single.wildcard == Some(self.0))
            .filter_map(|single| single.kind)
    }

    /// The single names it stands for: itself, or all that its wildcard covers.
    pub fn expand(self) -> impl Iterator<Item = Event> {
        SINGLES
            .iter()
            .filter(move |single| single.name == self.0 || single.wildcard == Some(self.0))
            .map(|single| Event(single.name))
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A set of kinds of change, for matching without comparing names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindSet(u64);

impl KindSet {
    /// The kinds that any of these events asks for.
    pub fn of(events: &[Event]) -> KindSet {
        let kinds = events.iter().flat_map(|event| event.kinds());
        KindSet(kinds.fold(0, |bits, kind| bits | bit(kind)))
    }

    /// Whether a kind is in the set.
    pub fn contains(self, kind: ChangeKind) -> bool {
        self.0 & bit(kind) != 0
    }
}

fn bit(kind: ChangeKind) -> u64 {
    1 << (kind as u64)
}

struct Single {
    name: &'static str,
    wildcard: Option<&'static str>,
    kind: Option<ChangeKind>,
}

const fn single(name: &'static str, wildcard: &'static str, kind: ChangeKind) -> Single {
    Single { name, wildcard: Some(wildcard), kind: Some(kind) }
}

const fn unsent(name: &'static str, wildcard: Option<&'static str>) -> Single {
    Single { name, wildcard, kind: None }
}

const CREATED: &str = "s3:ObjectCreated:*";
const ACCESSED: &str = "s3:ObjectAccessed:*";
const REMOVED: &str = "s3:ObjectRemoved:*";
const REPLICATION: &str = "s3:Replication:*";
const RESTORE: &str = "s3:ObjectRestore:*";
const TRANSITION: &str = "s3:ObjectTransition:*";

/// `s3:Scanner:*` is not among them: MinIO refuses it.
const WILDCARDS: [&str; 6] = [ACCESSED, CREATED, REMOVED, REPLICATION, RESTORE, TRANSITION];

/// What Ceph has besides, for lifecycle and for copies between zones. Rules may name them; nothing fires them.
///
/// Source: Ceph's manual, "S3 Bucket Notifications Compatibility".
const CEPH: [&str; 19] = [
    "s3:ObjectLifecycle:*",
    "s3:ObjectLifecycle:Expiration:*",
    "s3:ObjectLifecycle:Expiration:Current",
    "s3:ObjectLifecycle:Expiration:Noncurrent",
    "s3:ObjectLifecycle:Expiration:NonCurrent",
    "s3:ObjectLifecycle:Expiration:DeleteMarker",
    "s3:ObjectLifecycle:Expiration:AbortMultipartUpload",
    "s3:ObjectLifecycle:Transition:*",
    "s3:ObjectLifecycle:Transition:Current",
    "s3:ObjectLifecycle:Transition:Noncurrent",
    "s3:ObjectSynced:*",
    "s3:ObjectSynced:Create",
    "s3:ObjectSynced:Delete",
    "s3:ObjectSynced:DeletionMarkerCreated",
    "s3:LifecycleExpiration:*",
    "s3:LifecycleExpiration:Delete",
    "s3:LifecycleExpiration:DeleteMarkerCreated",
    "s3:LifecycleTransition",
    "s3:Replication:Create",
];

/// Every single name. The names of bucket events end in `:*` themselves; they are no wildcards.
const SINGLES: [Single; 32] = [
    single("s3:ObjectCreated:Put", CREATED, ChangeKind::Put),
    single("s3:ObjectCreated:Post", CREATED, ChangeKind::Post),
    single("s3:ObjectCreated:Copy", CREATED, ChangeKind::Copy),
    single("s3:ObjectCreated:CompleteMultipartUpload", CREATED, ChangeKind::CompleteMultipartUpload),
    single("s3:ObjectCreated:PutRetention", CREATED, ChangeKind::PutRetention),
    single("s3:ObjectCreated:PutLegalHold", CREATED, ChangeKind::PutLegalHold),
    single("s3:ObjectCreated:PutTagging", CREATED, ChangeKind::PutTagging),
    single("s3:ObjectCreated:DeleteTagging", CREATED, ChangeKind::DeleteTagging),
    single("s3:ObjectAccessed:Get", ACCESSED, ChangeKind::Get),
    single("s3:ObjectAccessed:Head", ACCESSED, ChangeKind::Head),
    single("s3:ObjectAccessed:GetRetention", ACCESSED, ChangeKind::GetRetention),
    single("s3:ObjectAccessed:GetLegalHold", ACCESSED, ChangeKind::GetLegalHold),
    single("s3:ObjectAccessed:Attributes", ACCESSED, ChangeKind::Attributes),
    single("s3:ObjectRemoved:Delete", REMOVED, ChangeKind::Delete),
    single("s3:ObjectRemoved:DeleteMarkerCreated", REMOVED, ChangeKind::DeleteMarkerCreated),
    single("s3:ObjectRemoved:NoOP", REMOVED, ChangeKind::NoOp),
    single("s3:ObjectRemoved:DeleteAllVersions", REMOVED, ChangeKind::DeleteAllVersions),
    Single {
        name: "s3:LifecycleDelMarkerExpiration:Delete",
        wildcard: None,
        kind: Some(ChangeKind::DelMarkerExpiration),
    },
    unsent("s3:Replication:OperationFailedReplication", Some(REPLICATION)),
    unsent("s3:Replication:OperationCompletedReplication", Some(REPLICATION)),
    unsent("s3:Replication:OperationMissedThreshold", Some(REPLICATION)),
    unsent("s3:Replication:OperationReplicatedAfterThreshold", Some(REPLICATION)),
    unsent("s3:Replication:OperationNotTracked", Some(REPLICATION)),
    unsent("s3:ObjectRestore:Post", Some(RESTORE)),
    unsent("s3:ObjectRestore:Completed", Some(RESTORE)),
    unsent("s3:ObjectTransition:Failed", Some(TRANSITION)),
    unsent("s3:ObjectTransition:Complete", Some(TRANSITION)),
    unsent("s3:Scanner:ManyVersions", None),
    unsent("s3:Scanner:LargeVersions", None),
    unsent("s3:Scanner:BigPrefix", None),
    Single { name: "s3:BucketCreated:*", wildcard: None, kind: Some(ChangeKind::BucketCreated) },
    Single { name: "s3:BucketRemoved:*", wildcard: None, kind: Some(ChangeKind::BucketRemoved) },
];

#[cfg(test)]
mod tests {
    use super::{Event, KindSet, SINGLES, store::ChangeKind};

    #[test]
    fn thirty_two_names_and_six_wildcards_are_accepted_each_once() {
        let mut names: Vec<_> = Event::accepted().collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 38);
    }

    #[test]
    fn names_of_other_stores_and_short_forms_are_refused() {
        let foreign = [
            "s3:*",
            "s3:Scanner:*",
            "ObjectCreated:Put",
            "s3:objectcreated:put",
            "s3:LifecycleExpiration:*",
            "s3:ObjectTagging:*",
            "s3:ObjectAcl:Put",
            "s3:ReducedRedundancyLostObject",
            "s3:IntelligentTiering",
            "",
        ];
        let accepted: Vec<_> = foreign.into_iter().filter(|name| Event::parse(name).is_some()).collect();
        assert_eq!(accepted, Vec::<&str>::new());
    }

    #[test]
    fn a_wildcard_stands_for_every_name_of_its_family_and_no_other() {
        let expanded: Vec<_> =
            Event::parse("s3:ObjectRemoved:*").unwrap().expand().map(Event::as_str).collect();
        assert_eq!(
            expanded,
            [
                "s3:ObjectRemoved:Delete",
                "s3:ObjectRemoved:DeleteMarkerCreated",
                "s3:ObjectRemoved:NoOP",
                "s3:ObjectRemoved:DeleteAllVersions",
            ]
        );
    }

    #[test]
    fn every_kind_that_has_a_name_is_found_by_it() {
        for kind in SINGLES.iter().filter_map(|single| single.kind) {
            let kinds: Vec<_> = Event::of(kind).kinds().collect();
            assert_eq!(kinds, [kind]);
        }
    }

    #[test]
    fn a_set_of_kinds_holds_what_its_events_ask_for() {
        let events =
            [Event::parse("s3:ObjectAccessed:*").unwrap(), Event::parse("s3:ObjectCreated:Put").unwrap()];
        let set = KindSet::of(&events);
        let held = [ChangeKind::Head, ChangeKind::Put, ChangeKind::Copy, ChangeKind::Delete]
            .map(|kind| set.contains(kind));
        assert_eq!(held, [true, true, false, false]);
    }
}
