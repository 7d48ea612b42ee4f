//! The kinds of target, one file each. A new one is a file here and a line in `target::TARGETS`.

#[cfg(feature = "amqp")]
pub(crate) mod amqp;
#[cfg(feature = "elasticsearch")]
pub(crate) mod elasticsearch;
#[cfg(feature = "kafka")]
pub(crate) mod kafka;
#[cfg(feature = "mqtt")]
pub(crate) mod mqtt;
#[cfg(feature = "mysql")]
pub(crate) mod mysql;
#[cfg(feature = "nats")]
pub(crate) mod nats;
#[cfg(feature = "nsq")]
pub(crate) mod nsq;
#[cfg(feature = "postgresql")]
pub(crate) mod postgresql;
#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(feature = "webhook")]
pub(crate) mod webhook;
