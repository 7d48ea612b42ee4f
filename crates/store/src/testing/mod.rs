//! What tests of this and other crates need: the memory engine, the contract suite, the model.
