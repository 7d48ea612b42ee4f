//! Everything that needs a running server, a real broker, or a look at the whole repository.
//!
//! One test binary, so that one link serves them all. A test that needs a broker lives in a module called
//! `brokers`, one that takes minutes in a module called `long`: `tests/run` chooses by these names.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests: what fails here fails loudly")]

#[path = "crash/kill.rs"]
mod crash;
mod e2e;
// The checker of `tests/lossless/run` is a program of its own; what it decides by is tested here.
#[path = "lossless/judge/mod.rs"]
mod judge;
#[path = "lossless/judged/mod.rs"]
mod judged;
#[allow(dead_code, reason = "the checker needs more of it than its tests")]
#[path = "lossless/log.rs"]
mod log;
#[allow(dead_code, reason = "the checker needs more of it than its tests")]
#[path = "lossless/options.rs"]
mod options;
mod pages;
#[allow(dead_code, reason = "the checker needs more of it than its tests")]
#[path = "lossless/rows.rs"]
mod rows;
mod support;
mod tidy;
