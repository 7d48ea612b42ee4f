//! Sets on real directories. Every test runs twice: with the journal written through io_uring, and by threads.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]
#![allow(clippy::duplicate_mod, reason = "the same tests on another way to the drives")]

#[path = "."]
mod through_io_uring {
    mod set;

    fn io() -> tidings_drives::Io {
        tidings_drives::testing::ring_here()
    }
}

#[path = "."]
mod by_threads {
    mod set;

    fn io() -> tidings_drives::Io {
        tidings_drives::Io::Threads
    }
}
