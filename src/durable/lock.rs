//! File locks that say who holds them.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::{DurableError, holder};

/// How much of a note is read, and how long one is.
const NOTE_BYTES: usize = 200;

/// How a lock is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Many holders: readers, builds, deploys of a repository.
    Shared,
    /// One holder: garbage collection of a repository, a change of a target.
    Exclusive,
}

/// A held `flock(2)`; dropping it lets go.
#[derive(Debug)]
#[must_use]
pub struct Lock {
    file: File,
    mode: LockMode,
}

impl Lock {
    /// Takes the lock, and waits up to `patience`; `waiting` is told once who holds it.
    ///
    /// `title` is what others read while they wait, e.g. `layerset gc`.
    pub fn take(
        path: &Path,
        mode: LockMode,
        title: &str,
        patience: Duration,
        waiting: &dyn Fn(&str),
    ) -> Result<Self, DurableError> {
        let file = open(path)?;
        let operation = match mode {
            LockMode::Shared => FlockOperation::NonBlockingLockShared,
            LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        let started = Instant::now();
        let mut told = false;
        loop {
            match flock(&file, operation) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(DurableError::new("lock", path, error.into())),
            }
            let holder = holder(path);
            if started.elapsed() >= patience {
                return Err(DurableError::Locked {
                    path: path.to_owned(),
                    holder,
                });
            }
            if !told {
                waiting(&holder);
                told = true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let lock = Self { file, mode };
        if mode == LockMode::Exclusive {
            lock.sign(&format!("{title} (process {})", std::process::id()));
        }
        Ok(lock)
    }

    /// Notes who holds the lock. That is a courtesy to those who wait: on a full disk, or one that
    /// takes no writes, the lock is held all the same.
    ///
    /// The note is filled up, and written over when it goes, so that the file keeps its block: later
    /// notes need no room.
    fn sign(&self, text: &str) {
        let note = format!("{text:<width$}\n", width = NOTE_BYTES - 1);
        let _ = self.file.write_all_at(note.as_bytes(), 0);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.mode == LockMode::Exclusive {
            // The lock itself goes with the file descriptor.
            self.sign("");
        }
    }
}

fn open(path: &Path) -> Result<File, DurableError> {
    let result = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    let result = match result {
        // A read-only medium has locks all the same.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(path),
        result => result,
    };
    result.map_err(|error| DurableError::new("open lock", path, error))
}

/// Says who holds a lock: what the kernel knows, else what the holder wrote.
fn holder(path: &Path) -> String {
    let holders = holder::holders(path);
    if !holders.is_empty() {
        return holders.join(", ");
    }
    let mut text = String::new();
    if let Ok(mut file) = File::open(path) {
        // An unreadable note only makes the message vaguer.
        let _ = io::Read::by_ref(&mut file)
            .take(NOTE_BYTES as u64)
            .read_to_string(&mut text);
    }
    match text.trim() {
        "" => "another layerset command".to_owned(),
        text => text.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_exclusive_lock_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let take = |mode, title| Lock::take(&path, mode, title, Duration::ZERO, &|_| {});
        // A child that another test starts holds our descriptors until it runs its program.
        let patient =
            |mode, title| Lock::take(&path, mode, title, Duration::from_secs(120), &|_| {});
        let first = take(LockMode::Shared, "layerset build").unwrap();
        let second = take(LockMode::Shared, "layerset build").unwrap();
        assert!(
            take(LockMode::Exclusive, "layerset gc")
                .unwrap_err()
                .to_string()
                .contains(&format!("(process {}, since 20", std::process::id()))
        );
        drop((first, second));
        let gc = patient(LockMode::Exclusive, "layerset gc").unwrap();
        assert!(
            take(LockMode::Shared, "layerset build")
                .unwrap_err()
                .to_string()
                .contains(&format!("(process {}, since 20", std::process::id()))
        );
        drop(gc);
        let _again = patient(LockMode::Shared, "layerset build").unwrap();
        // Where the kernel does not say, the note of the holder does.
        std::fs::write(dir.path().join("note"), "layerset gc (process 7)\n").unwrap();
        assert_eq!(holder(&dir.path().join("note")), "layerset gc (process 7)");
    }
}
