//! The judge finds what it should and nothing else. Run with the suite, since the checker itself is no test of libtest.

mod faults;
mod random;
