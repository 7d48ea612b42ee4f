//! What drives do to a set, and what the set must make of it: every rule with the history that breaks an
//! engine without it.

mod cost;
mod damage;
mod errors;
mod model;
mod power;
mod rules;
mod support;
