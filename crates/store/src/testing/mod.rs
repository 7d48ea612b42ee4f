//! What tests of this and other crates need: the memory engine, the contract suite, the model.

pub mod contract;
pub mod fixture;
pub mod memory;

pub use memory::MemoryEngine;
