//! The program. Everything it does is in the library, where tests reach it.

use std::process::ExitCode;

/// A request allocates on one thread and frees on another: on the sequencer's, on a worker that stole it. The C
/// library's allocator takes locks for that and merges what comes back, a fifth of the time of a small PUT.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidings::run(std::env::args_os(), &tidings::environment::of_process())
}
