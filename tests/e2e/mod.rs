//! Whole-server behaviour, one file per feature.

mod brokers;
mod drives;
mod events;
mod growing;
mod healing;
mod lifecycle;
mod redundancy;
mod streaming;
mod verify;
mod webhook;
