//! What tests of this and other crates need: the memory engine, the contract suite, the model, a fixture.

pub mod contract;
pub mod fixture;
pub mod memory;
pub mod model;

pub use memory::MemoryEngine;
