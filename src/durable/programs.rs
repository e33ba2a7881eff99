//! Keeps a program that is still being written apart from the start of another one.
//!
//! Linux refuses to start a file that anybody has open for writing (`ETXTBSY`). A child that another
//! thread starts holds a copy of every descriptor until it runs its own program, so a file that was
//! written and closed here can be open there, for a moment, and cannot be started.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use rustix::io::FdFlags;

static WRITERS: RwLock<()> = RwLock::new(());

/// Holds back [`spawn`] in all threads, as long as it lives.
#[derive(Debug)]
pub struct WritesProgram {
    _held: RwLockReadGuard<'static, ()>,
}

/// Announces that a file which somebody may start is open for writing while the result lives.
#[must_use]
pub fn write_program() -> WritesProgram {
    WritesProgram {
        _held: WRITERS.read().unwrap_or_else(PoisonError::into_inner),
    }
}

/// Starts a command when no [`WritesProgram`] lives. The child has no descriptor of this process
/// left when this returns but those that were given to it.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    let _nobody_writes = WRITERS.write().unwrap_or_else(PoisonError::into_inner);
    // It returns when the child has run its program, and so closed the rest.
    command.spawn()
}

/// Starts a command as [`spawn`] does, and leaves it `given`, under the same number. No other
/// command that is started here gets it.
pub fn spawn_with(command: &mut Command, given: &OwnedFd) -> io::Result<Child> {
    let _nobody_writes = WRITERS.write().unwrap_or_else(PoisonError::into_inner);
    let flags = rustix::io::fcntl_getfd(given)?;
    rustix::io::fcntl_setfd(given, flags - FdFlags::CLOEXEC)?;
    let child = command.spawn();
    rustix::io::fcntl_setfd(given, flags)?;
    child
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn what_was_just_written_can_be_started_while_others_start_programs() {
        let dir = tempfile::tempdir().unwrap();
        let stop = AtomicBool::new(false);
        let start_others = || {
            while !stop.load(Ordering::Relaxed) {
                let mut child = spawn(&mut Command::new("/bin/true")).unwrap();
                child.wait().unwrap();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(start_others);
            scope.spawn(start_others);
            let write_and_start = |number: usize| {
                let path = dir.path().join(format!("{number}"));
                let mut new = std::fs::File::options();
                {
                    let _writes = write_program();
                    let mut file = new
                        .create(true)
                        .write(true)
                        .mode(0o755)
                        .open(&path)
                        .unwrap();
                    io::Write::write_all(&mut file, b"#!/bin/sh\n").unwrap();
                }
                spawn(&mut Command::new(&path)).and_then(|mut child| child.wait())
            };
            let all: io::Result<Vec<_>> = (0..200).map(write_and_start).collect();
            stop.store(true, Ordering::Relaxed);
            assert!(all.unwrap().iter().all(std::process::ExitStatus::success));
        });
    }
}
