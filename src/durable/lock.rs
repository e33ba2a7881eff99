//! File locks that say who holds them.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::DurableError;

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
        let file = open(path, mode)?;
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
            lock.sign(title)
                .map_err(|error| DurableError::new("sign lock", path, error))?;
        }
        Ok(lock)
    }

    fn sign(&self, title: &str) -> io::Result<()> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{title} (process {})", std::process::id())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.mode == LockMode::Exclusive {
            // The note of the holder is a courtesy: the lock itself goes with the file descriptor.
            let _ = self.file.set_len(0);
        }
    }
}

fn open(path: &Path, mode: LockMode) -> Result<File, DurableError> {
    let result = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    let result = match result {
        // On a read-only medium, readers need no more than to open it.
        Err(error)
            if mode == LockMode::Shared && error.kind() == io::ErrorKind::ReadOnlyFilesystem =>
        {
            File::open(path)
        }
        result => result,
    };
    result.map_err(|error| DurableError::new("open lock", path, error))
}

fn holder(path: &Path) -> String {
    let mut text = String::new();
    if let Ok(mut file) = File::open(path) {
        // An unreadable note only makes the message vaguer.
        let _ = io::Read::by_ref(&mut file)
            .take(200)
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
                .contains("another layerset command")
        );
        drop((first, second));
        let gc = patient(LockMode::Exclusive, "layerset gc").unwrap();
        assert!(
            take(LockMode::Shared, "layerset build")
                .unwrap_err()
                .to_string()
                .contains("by layerset gc (process")
        );
        drop(gc);
        let _again = patient(LockMode::Shared, "layerset build").unwrap();
    }
}
