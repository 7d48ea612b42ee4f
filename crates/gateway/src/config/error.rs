//! Why a configuration call is refused, and with which code.

use s3::{ErrorCode, Refusal};
use tidings_s3 as s3;
use tidings_store as store;

/// See the module header. Messages name the subsystem and the key, never a value that may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No such subsystem.
    #[error("unknown sub-system {name}")]
    UnknownSubsystem {
        /// As asked for.
        name: String,
    },
    /// A kind of notification target that other servers have.
    #[error("this build has no {name} targets, nothing was stored")]
    AbsentTarget {
        /// As asked for.
        name: String,
    },
    /// A target that was neither stored nor comes from the environment.
    #[error("there is no target `{target}` for subsystem `{subsystem}`")]
    UnknownTarget {
        /// The subsystem.
        subsystem: String,
        /// As asked for.
        target: String,
    },
    /// A target to reset that is not stored.
    #[error("{subsystem}:{target} is not stored")]
    NotStored {
        /// The subsystem.
        subsystem: String,
        /// As asked for.
        target: String,
    },
    /// A target's name cannot be one.
    #[error("`{target}` cannot name a target of {subsystem}: {reason}")]
    TargetName {
        /// The subsystem.
        subsystem: String,
        /// As asked for.
        target: String,
        /// Why not.
        reason: &'static str,
    },
    /// No such key.
    #[error("{subsystem} has no key {key}")]
    UnknownKey {
        /// The subsystem.
        subsystem: String,
        /// As asked for.
        key: String,
    },
    /// A line without pairs.
    #[error("{subsystem} is given no key=value")]
    NoPairs {
        /// The subsystem.
        subsystem: String,
    },
    /// A key that takes something else.
    #[error("{subsystem} {key} {reason}")]
    Value {
        /// The subsystem.
        subsystem: String,
        /// The key.
        key: String,
        /// What it takes.
        reason: String,
    },
    /// A target that is on lacks a key.
    #[error("{place} needs the key {key}")]
    Missing {
        /// `notify_kafka:1`.
        place: String,
        /// The key.
        key: String,
    },
    /// A kind of target refuses the settings as a whole.
    #[error("{place}: {reason}")]
    Target {
        /// `notify_kafka:1`.
        place: String,
        /// A sentence that names the key.
        reason: String,
    },
    /// The text has no line.
    #[error("the request holds no setting")]
    Empty,
    /// The text is too long.
    #[error("the settings have {size_bytes} bytes, at most {max_bytes} are taken")]
    TooLarge {
        /// As sent.
        size_bytes: usize,
        /// The bound.
        max_bytes: usize,
    },
    /// No entry of the history has this identifier.
    #[error("the history has no entry {id}")]
    NoHistory {
        /// As asked for.
        id: String,
    },
    /// A stored setting cannot be read.
    #[error("the stored setting {name} cannot be read: {reason}")]
    Unreadable {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl ConfigError {
    /// The answer of the admin API.
    pub(crate) fn refusal(&self) -> Refusal {
        Refusal::with(self.code(), self.to_string())
    }

    fn code(&self) -> ErrorCode {
        match self {
            ConfigError::UnknownSubsystem { .. }
            | ConfigError::AbsentTarget { .. }
            | ConfigError::UnknownTarget { .. }
            | ConfigError::TargetName { .. }
            | ConfigError::UnknownKey { .. }
            | ConfigError::NoPairs { .. }
            | ConfigError::Value { .. }
            | ConfigError::Missing { .. }
            | ConfigError::Empty => ErrorCode::XMinioConfigError,
            ConfigError::Target { .. } => ErrorCode::XMinioAdminConfigBadJSON,
            ConfigError::TooLarge { .. } => ErrorCode::XMinioAdminConfigTooLarge,
            ConfigError::NotStored { .. } | ConfigError::NoHistory { .. } => {
                ErrorCode::XMinioConfigNotFoundError
            }
            ConfigError::Unreadable { .. } => ErrorCode::InternalError,
            // Clients of this API try a 503 again by themselves, which is what a missing quorum asks for.
            ConfigError::Store(_) => ErrorCode::XMinioAdminConfigNoQuorum,
        }
    }
}
