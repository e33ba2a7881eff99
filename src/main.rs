//! The `layerset` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    layerset::cli::run(std::env::args_os())
}
