//! What tests of this and other crates need: the memory target and the suite every target passes.

pub mod contract;
pub mod memory;
#[cfg(test)]
pub(crate) mod scene;
