//! Whole-server behaviour, one file per feature.

mod brokers;
mod drives;
mod growing;
mod lifecycle;
mod streaming;
mod verify;
mod webhook;
