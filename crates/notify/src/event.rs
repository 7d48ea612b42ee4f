//! Event names: the 32 single ones and the 6 wildcards that a rule or a listener may ask for.
//!
//! A name is accepted exactly as written here, with `s3:` and in this case. Some names stand for things
//! that this server does not do yet; they are accepted, because a rule written for MinIO names them, and
//! have their [`ChangeKind`], which is told once something fires it.
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
        let single = SINGLES.iter().find(|single| single.kind == kind);
        Event(single.expect("every kind of change has a name").name)
    }

    /// The name as text.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// The kinds of change it asks for; a wildcard asks for several, Ceph's names for none.
    pub fn kinds(self) -> impl Iterator<Item = ChangeKind> {
        SINGLES
            .iter()
            .filter(move |single| single.name == self.0 || single.wildcard == Some(self.0))
            .map(|single| single.kind)
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
    kind: ChangeKind,
    /// Whether a request that fires it is served.
    is_fired: bool,
    /// The request or the part of the server that fires it, or will.
    fired_by: &'static str,
}

const fn single(
    name: &'static str,
    wildcard: Option<&'static str>,
    kind: ChangeKind,
    is_fired: bool,
    fired_by: &'static str,
) -> Single {
    Single { name, wildcard, kind, is_fired, fired_by }
}

/// The single names as a Markdown table, for `docs/events.md`.
pub fn render_events() -> String {
    let mut page = String::from("| name | wildcard | fired by | fired |\n|---|---|---|---|\n");
    for single in &SINGLES {
        let wildcard = single.wildcard.map(|wildcard| format!("`{wildcard}`")).unwrap_or_default();
        let fired = if single.is_fired { "yes" } else { "not yet" };
        page += &format!("| `{}` | {wildcard} | {} | {fired} |\n", single.name, single.fired_by);
    }
    page
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
    single("s3:ObjectCreated:Put", Some(CREATED), ChangeKind::Put, true, "PutObject"),
    single(
        "s3:ObjectCreated:Post",
        Some(CREATED),
        ChangeKind::Post,
        false,
        "an upload with a form, which is not served yet",
    ),
    single("s3:ObjectCreated:Copy", Some(CREATED), ChangeKind::Copy, true, "CopyObject, also onto itself"),
    single(
        "s3:ObjectCreated:CompleteMultipartUpload",
        Some(CREATED),
        ChangeKind::CompleteMultipartUpload,
        true,
        "CompleteMultipartUpload; beginning, parts and abortion are not told",
    ),
    single(
        "s3:ObjectCreated:PutRetention",
        Some(CREATED),
        ChangeKind::PutRetention,
        false,
        "PutObjectRetention, with object lock",
    ),
    single(
        "s3:ObjectCreated:PutLegalHold",
        Some(CREATED),
        ChangeKind::PutLegalHold,
        false,
        "PutObjectLegalHold, with object lock",
    ),
    single(
        "s3:ObjectCreated:PutTagging",
        Some(CREATED),
        ChangeKind::PutTagging,
        false,
        "PutObjectTagging, with tags",
    ),
    single(
        "s3:ObjectCreated:DeleteTagging",
        Some(CREATED),
        ChangeKind::DeleteTagging,
        false,
        "DeleteObjectTagging, with tags",
    ),
    single(
        "s3:ObjectAccessed:Get",
        Some(ACCESSED),
        ChangeKind::Get,
        true,
        "GetObject with status 200 or 206",
    ),
    single(
        "s3:ObjectAccessed:Head",
        Some(ACCESSED),
        ChangeKind::Head,
        true,
        "HeadObject with status 200 or 206",
    ),
    single(
        "s3:ObjectAccessed:GetRetention",
        Some(ACCESSED),
        ChangeKind::GetRetention,
        false,
        "GetObjectRetention, with object lock",
    ),
    single(
        "s3:ObjectAccessed:GetLegalHold",
        Some(ACCESSED),
        ChangeKind::GetLegalHold,
        false,
        "GetObjectLegalHold, with object lock",
    ),
    single(
        "s3:ObjectAccessed:Attributes",
        Some(ACCESSED),
        ChangeKind::Attributes,
        false,
        "GetObjectAttributes, which is not served yet",
    ),
    single(
        "s3:ObjectRemoved:Delete",
        Some(REMOVED),
        ChangeKind::Delete,
        true,
        "DeleteObject of what was there; each key of DeleteObjects, also of one that was not; lifecycle",
    ),
    single(
        "s3:ObjectRemoved:DeleteMarkerCreated",
        Some(REMOVED),
        ChangeKind::DeleteMarkerCreated,
        false,
        "a delete that left a marker, with versions",
    ),
    single(
        "s3:ObjectRemoved:NoOP",
        Some(REMOVED),
        ChangeKind::NoOp,
        true,
        "DeleteObject of what was not there",
    ),
    single(
        "s3:ObjectRemoved:DeleteAllVersions",
        Some(REMOVED),
        ChangeKind::DeleteAllVersions,
        false,
        "lifecycle",
    ),
    single(
        "s3:LifecycleDelMarkerExpiration:Delete",
        None,
        ChangeKind::DelMarkerExpiration,
        false,
        "lifecycle",
    ),
    single(
        "s3:Replication:OperationFailedReplication",
        Some(REPLICATION),
        ChangeKind::ReplicationFailed,
        false,
        "replication",
    ),
    single(
        "s3:Replication:OperationCompletedReplication",
        Some(REPLICATION),
        ChangeKind::ReplicationCompleted,
        false,
        "replication",
    ),
    single(
        "s3:Replication:OperationMissedThreshold",
        Some(REPLICATION),
        ChangeKind::ReplicationMissedThreshold,
        false,
        "nothing, on MinIO neither",
    ),
    single(
        "s3:Replication:OperationReplicatedAfterThreshold",
        Some(REPLICATION),
        ChangeKind::ReplicationAfterThreshold,
        false,
        "nothing, on MinIO neither",
    ),
    single(
        "s3:Replication:OperationNotTracked",
        Some(REPLICATION),
        ChangeKind::ReplicationNotTracked,
        false,
        "replication",
    ),
    single(
        "s3:ObjectRestore:Post",
        Some(RESTORE),
        ChangeKind::RestorePost,
        false,
        "RestoreObject, with tiers",
    ),
    single("s3:ObjectRestore:Completed", Some(RESTORE), ChangeKind::RestoreCompleted, false, "tiers"),
    single("s3:ObjectTransition:Failed", Some(TRANSITION), ChangeKind::TransitionFailed, false, "tiers"),
    single("s3:ObjectTransition:Complete", Some(TRANSITION), ChangeKind::TransitionComplete, false, "tiers"),
    single(
        "s3:Scanner:ManyVersions",
        None,
        ChangeKind::ManyVersions,
        false,
        "lifecycle's walk, with versions",
    ),
    single(
        "s3:Scanner:LargeVersions",
        None,
        ChangeKind::LargeVersions,
        false,
        "lifecycle's walk, with versions",
    ),
    single("s3:Scanner:BigPrefix", None, ChangeKind::BigPrefix, false, "lifecycle's walk"),
    single(
        "s3:BucketCreated:*",
        None,
        ChangeKind::BucketCreated,
        true,
        "CreateBucket; only to listeners of all buckets. A name, no wildcard",
    ),
    single("s3:BucketRemoved:*", None, ChangeKind::BucketRemoved, true, "DeleteBucket; as above"),
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
        for kind in SINGLES.iter().map(|single| single.kind) {
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
