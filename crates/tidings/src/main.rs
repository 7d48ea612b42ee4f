//! The program. Everything it does is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidings::run(std::env::args_os(), &tidings::environment::of_process())
}
