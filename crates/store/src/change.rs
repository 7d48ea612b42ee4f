//! A change: what happened, with all that any form of record needs to tell it.
//!
//! A change is committed in the batch that makes it true. It is complete: no record form ever reads the
//! object again to tell of it.

use serde::{Deserialize, Serialize};

use crate::names::{BucketName, VersionId};

/// A place in the order of everything a set ever committed: max(previous + 1, nanoseconds since 1970),
/// assigned at commit, strictly growing over restarts and clock steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Before everything.
    pub const ZERO: Sequence = Sequence(0);

    /// As records tell it: 16 upper-case hexadecimal digits.
    pub fn to_sequencer(self) -> String {
        // Digit by digit: every record has one.
        let digit = |place: u32| b"0123456789ABCDEF"[(self.0 >> (4 * place) & 0xf) as usize];
        (0..16).rev().map(|place| char::from(digit(place))).collect()
    }

    /// Reads what [`Sequence::to_sequencer`] wrote; `None` when it is not 1 to 16 hexadecimal digits.
    pub fn from_sequencer(text: &str) -> Option<Sequence> {
        if text.is_empty() || text.len() > 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        u64::from_str_radix(text, 16).ok().map(Sequence)
    }
}

/// Something that happened to a bucket or an object, or a read that a rule asked to be told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its place in the order; assigned by the engine.
    pub sequence: Sequence,
    /// When it happened, milliseconds since 1970.
    pub time_ms: u64,
    /// What happened.
    pub kind: ChangeKind,
    /// The bucket it happened to.
    pub bucket: BucketName,
    /// The object's key as the client named it; empty when it happened to the bucket itself.
    pub key: String,
    /// The version, where the record names one.
    pub version: Option<VersionId>,
    /// What the object is, for the kinds whose records tell it.
    pub object: Option<ObjectSummary>,
    /// Who asked for it and from where; `None` when the server itself did it.
    pub origin: Option<Origin>,
    /// The targets whose rules matched, as `id:type` (`1:kafka`), sorted, each once.
    pub targets: Vec<String>,
    /// The id of the first rule that led to each of `targets`, in their order; empty when no id says anything.
    /// Engines keep it behind the rest: changes of earlier versions end without it.
    #[serde(skip)]
    pub rules: Vec<String>,
}

impl Change {
    /// The id of the rule under which a target is told.
    pub fn rule_of(&self, target: &str) -> &str {
        let place = self.targets.iter().position(|named| named == target);
        place.and_then(|place| self.rules.get(place)).map_or("", String::as_str)
    }
}

/// What happened. The names of the events are `notify`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ChangeKind {
    /// PutObject.
    Put,
    /// A form upload.
    Post,
    /// CopyObject.
    Copy,
    /// CompleteMultipartUpload.
    CompleteMultipartUpload,
    /// PutObjectRetention.
    PutRetention,
    /// PutObjectLegalHold.
    PutLegalHold,
    /// PutObjectTagging.
    PutTagging,
    /// DeleteObjectTagging.
    DeleteTagging,
    /// GetObject.
    Get,
    /// HeadObject.
    Head,
    /// GetObjectRetention.
    GetRetention,
    /// GetObjectLegalHold.
    GetLegalHold,
    /// GetObjectAttributes.
    Attributes,
    /// An object or version was removed.
    Delete,
    /// A delete left a marker.
    DeleteMarkerCreated,
    /// A delete of something that was not there.
    NoOp,
    /// Lifecycle removed every version.
    DeleteAllVersions,
    /// Lifecycle removed a delete marker.
    DelMarkerExpiration,
    /// A bucket was created.
    BucketCreated,
    /// A bucket was removed.
    BucketRemoved,
    // Kinds are kept by their number: new ones stand at the end.
    /// A try to replicate an object failed.
    ReplicationFailed,
    /// An object was replicated.
    ReplicationCompleted,
    /// An object was not replicated in the time promised.
    ReplicationMissedThreshold,
    /// An object was replicated after the time promised.
    ReplicationAfterThreshold,
    /// An object that should be replicated is not followed up.
    ReplicationNotTracked,
    /// RestoreObject was accepted.
    RestorePost,
    /// A restored copy is there.
    RestoreCompleted,
    /// An object could not be moved to another tier.
    TransitionFailed,
    /// An object was moved to another tier.
    TransitionComplete,
    /// A walk found more versions of an object than it should have.
    ManyVersions,
    /// A walk found versions of an object that are too large together.
    LargeVersions,
    /// A walk found more below a prefix than there should be.
    BigPrefix,
}

impl ChangeKind {
    /// Whether it tells of a read: best effort where the set cannot commit, and only kept when asked for.
    pub fn is_access(self) -> bool {
        matches!(
            self,
            ChangeKind::Get
                | ChangeKind::Head
                | ChangeKind::GetRetention
                | ChangeKind::GetLegalHold
                | ChangeKind::Attributes
        )
    }
}

/// The object a change is about, as its record tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectSummary {
    /// Logical size in bytes.
    pub size_bytes: u64,
    /// Without quotes.
    pub etag: String,
    /// Content type; `binary/octet-stream` when the client gave none.
    pub content_type: String,
    /// `X-Amz-Meta-*` in canonical header case and the system headers in lower case, sorted by bytes.
    pub metadata: Vec<(String, String)>,
    /// Tags, sorted by name. Engines keep them behind the rest, as [`Change::rules`].
    #[serde(skip)]
    pub tags: Vec<(String, String)>,
}

/// Who asked for a change and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Access key of the caller, of its parent for derived credentials; empty for anonymous.
    pub principal: String,
    /// Address of the client, without port.
    pub source_host: String,
    /// The request's `User-Agent`.
    pub user_agent: String,
    /// The request id the client was answered with.
    pub request_id: String,
    /// The server's region, empty when none is configured.
    pub region: String,
    /// The request's `Range` header, verbatim.
    pub range: Option<String>,
    /// The response's `Content-Length`, where it was set before the record is built.
    pub response_length: Option<u64>,
    /// The URL under which the client reached this server.
    pub endpoint: String,
}
