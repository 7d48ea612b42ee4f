//! The judge finds what it should and nothing else, and what it is given is what was seen and asked for. Run with the
//! suite, since the checker itself is no test of libtest.

mod faults;
mod flags;
mod random;
mod settled;
