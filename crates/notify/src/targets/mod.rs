//! The kinds of target, one file each. A new one is a file here and a line in `target::TARGETS`.

#[cfg(feature = "kafka")]
pub(crate) mod kafka;
#[cfg(feature = "mqtt")]
pub(crate) mod mqtt;
#[cfg(feature = "postgresql")]
pub(crate) mod postgresql;
#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(feature = "webhook")]
pub(crate) mod webhook;
