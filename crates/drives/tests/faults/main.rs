//! What drives do to a set, and what the set must make of it: every rule with the history that breaks an
//! engine without it.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod chosen;
mod combinations;
mod cost;
mod crowded;
mod damage;
mod errors;
mod full;
mod hangs;
mod healing;
mod history;
mod indexes;
mod joins;
mod model;
mod orders;
mod power;
mod repair;
mod rescue;
mod rules;
mod space;
mod states;
mod storm;
mod support;
mod verify;
mod volumes;
