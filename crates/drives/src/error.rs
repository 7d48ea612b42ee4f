//! Why a set of drives cannot be opened: what a person at the console has to do differently.

use crate::quorum::GeometryError;

/// Why [`crate::LocalEngine::open`] refused. Nothing was written to any drive, except where a variant says so.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The number of drives or the parity makes no set.
    #[error(transparent)]
    Geometry(#[from] GeometryError),

    /// A directory holds a MinIO drive.
    #[error(
        "{path} holds data of MinIO (.minio.sys), whose format is not read here; nothing was changed. Start \
         tidings on empty directories and copy the objects over from the running MinIO: \
         mc mirror --preserve OLD/ NEW/"
    )]
    MinioDrive {
        /// The directory.
        path: String,
    },

    /// A directory holds something that is not ours.
    #[error(
        "{path} holds {found:?}, which tidings did not write; nothing was changed. A drive is an empty directory \
         (lost+found may be there); to keep what is there, copy it in once the server runs: mc mirror {path} NEW/BUCKET"
    )]
    Foreign {
        /// The directory.
        path: String,
        /// The first name that is not ours.
        found: String,
    },

    /// Drives of different sets were given.
    #[error("{path} belongs to set {found}, {other} to set {expected}; nothing was changed")]
    OtherSet {
        /// The directory that does not fit.
        path: String,
        /// Its set.
        found: uuid::Uuid,
        /// A drive of the set that most drives belong to.
        other: String,
        /// That set.
        expected: uuid::Uuid,
    },

    /// The same drive was given twice.
    #[error("{path} and {other} are the same drive")]
    Duplicate {
        /// One path.
        path: String,
        /// The other.
        other: String,
    },

    /// The set has another number of drives.
    #[error(
        "{given} drives were given, the set at {path} has {expected}; a set keeps the number it was made with"
    )]
    WrongCount {
        /// Drives given.
        given: usize,
        /// Drives of the set.
        expected: usize,
        /// A drive of it.
        path: String,
    },

    /// The set was made with another parity.
    #[error("parity {given} was asked for, the set at {path} was made with {expected}")]
    WrongParity {
        /// Parity asked for.
        given: usize,
        /// Parity of the set.
        expected: usize,
        /// A drive of it.
        path: String,
    },

    /// A drive was written by a newer version.
    #[error("{path} was written in format {found}, this version reads up to {known}")]
    NewerFormat {
        /// The directory.
        path: String,
        /// Its format.
        found: u32,
        /// Newest known.
        known: u32,
    },

    /// A directory cannot be written by this process.
    #[error("{path} cannot be written by uid {uid}: {source}")]
    Unwritable {
        /// The directory.
        path: String,
        /// Our user.
        uid: u32,
        /// What the system said.
        source: std::io::Error,
    },

    /// A set of the server was left out.
    #[error(
        "set {number} of {of} of this server ({id}) was not given; give every set, in the order they were added"
    )]
    SetMissing {
        /// Its place, from 1.
        number: usize,
        /// Sets the server has.
        of: usize,
        /// Its id.
        id: uuid::Uuid,
    },

    /// No drive of a set is where the set was given.
    #[error(
        "no drive of set {number} of this server ({id}) is there at {path} and the directories beside it; are they \
         mounted? A set that was lost cannot be replaced by a new one"
    )]
    SetNotThere {
        /// The first directory given for it.
        path: String,
        /// Its place, from 1.
        number: usize,
        /// Its id.
        id: uuid::Uuid,
    },

    /// A set stands at another place of the command line than among the sets of its server.
    #[error(
        "{path} is of set {place} of its server and was given as set {given}; give every set, in the order they \
         were added"
    )]
    SetOutOfPlace {
        /// A directory of it.
        path: String,
        /// Its place among the sets of its server, from 1.
        place: usize,
        /// The place it was given at, from 1.
        given: usize,
    },

    /// A set belongs to another server.
    #[error(
        "{path} belongs to the server {found}, the first set given is the server {expected}; a set that is added \
         must be new"
    )]
    OtherServer {
        /// A directory of the set that does not fit.
        path: String,
        /// Its server.
        found: uuid::Uuid,
        /// The server of the first set.
        expected: uuid::Uuid,
    },

    /// The first set is new and another is not.
    #[error(
        "{path} holds no drive of a set and was given first, while {other} belongs to a set; sets that are added \
         come behind those that are there"
    )]
    FirstSetNew {
        /// A directory of the first set.
        path: String,
        /// A directory of the set that is there.
        other: String,
    },

    /// The first set cannot note that a set was added.
    #[error("a set can be added only while the first set takes writes: {reason}")]
    NotRecorded {
        /// Why it takes none.
        reason: String,
    },

    /// More sets than a server can have.
    #[error("{given} sets were given, a server has at most {limit}")]
    TooManySets {
        /// Sets given.
        given: usize,
        /// The bound.
        limit: usize,
    },

    /// Another process has the drive open.
    #[error("{path} is in use by another process")]
    InUse {
        /// The directory.
        path: String,
    },

    /// A new set needs all of its drives.
    #[error("{path} cannot be used, and a new set needs all of its drives: {source}")]
    Unusable {
        /// The directory.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },

    /// There is nothing on the drives that could be looked at.
    #[error("these drives hold no set: they are blank, or a set was never made whole on them")]
    NoSet,

    /// Fewer drives than it takes to read anything.
    #[error("{present} drives of the set are usable, {needed} are needed to read; out or absent: {missing}")]
    TooFewDrives {
        /// Drives that can be read as current.
        present: usize,
        /// k.
        needed: usize,
        /// The others, with their reasons.
        missing: String,
    },

    /// Drives that were to be read whole were not.
    #[error("not everything was looked at: {reason}")]
    Unread {
        /// Why, a clause.
        reason: String,
    },

    /// A batch that must exist cannot be read. Only a drive that holds it can help.
    #[error(
        "batch {batch} was committed and cannot be read from the drives present: {reason}; drives that could supply it: {drives}"
    )]
    MissingBatch {
        /// Its number.
        batch: u64,
        /// What is wrong.
        reason: String,
        /// Who might have it.
        drives: String,
    },

    /// The manifests of so many drives are damaged that the newest may be among them.
    #[error(
        "the manifests on {drives} are damaged or cannot be read, and those of the other drives may be older than they; \
         start with a drive that holds a sound one"
    )]
    ManifestDamaged {
        /// The drives.
        drives: String,
    },

    /// The identities of the drives present contradict one another.
    #[error("the drives disagree on who belongs to the set: {reason}")]
    Ambiguous {
        /// What contradicts what.
        reason: String,
    },

    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The drive.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}
