//! The `layerset` program.

use std::process::ExitCode;

use rustix::fs::Mode;

fn main() -> ExitCode {
    // Before there is a second thread. Whoever starts this may close what it makes further; nobody
    // opens a repository or a target to other users by the umask of a shell.
    let given = rustix::process::umask(Mode::WGRP | Mode::WOTH);
    rustix::process::umask(given | Mode::WGRP | Mode::WOTH);
    layerset::cli::run(std::env::args_os())
}
