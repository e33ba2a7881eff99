//! A disk that dies: stops, fails, or loses unsynced data at the Nth call of the durable primitives.
//!
//! It works on real files and keeps a journal of what was done since the last sync, so that it can take names back and
//! empty files as a power cut would. Real syncs are not made: the journal knows what would be safe.

use std::fs::{self, File};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use layerset::durable::{Disk, DurableError, RealDisk};

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed before the call: nothing after it happens, no clean-up either.
    Stop,
    /// The call fails once; the process goes on.
    Fail,
    /// The machine loses power before the call: names and data that were not synced are gone.
    LosePower,
    /// As [`Fault::LosePower`], but the medium had written all names already, and none of the data.
    LoseData,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Stop, Self::Fail, Self::LosePower, Self::LoseData];
}

#[derive(Debug)]
enum Undo {
    Remove(PathBuf),
    Back {
        from: PathBuf,
        to: PathBuf,
        kept: Option<PathBuf>,
    },
    Restore {
        kept: PathBuf,
        path: PathBuf,
    },
    Exchange {
        from: PathBuf,
        to: PathBuf,
    },
    RestoreDir(PathBuf),
}

impl Undo {
    /// The directory whose sync makes this safe.
    fn dir(&self) -> &Path {
        let path = match self {
            Self::Remove(path) | Self::Restore { path, .. } | Self::RestoreDir(path) => path,
            Self::Back { to, .. } | Self::Exchange { to, .. } => to,
        };
        path.parent().unwrap()
    }
}

#[derive(Debug, Default)]
struct State {
    calls: usize,
    log: Vec<String>,
    dead: bool,
    journal: Vec<Undo>,
    /// Files whose contents are safe although they are younger than the last sync of everything.
    safe: Vec<PathBuf>,
    synced_at: Option<SystemTime>,
    kept: usize,
}

/// The disk; it covers everything below one directory.
#[derive(Debug)]
pub struct FaultyDisk {
    root: PathBuf,
    attic: tempfile::TempDir,
    plan: Option<(usize, Fault)>,
    state: Mutex<State>,
}

impl FaultyDisk {
    /// Makes a disk for `root` that misbehaves at call `at`, counted from 0; without a plan it only counts.
    pub fn new(root: &Path, plan: Option<(usize, Fault)>) -> Self {
        let attic = tempfile::tempdir_in(root.parent().unwrap()).unwrap();
        let disk = Self {
            root: root.to_owned(),
            attic,
            plan,
            state: Mutex::default(),
        };
        disk.mark_synced(&mut disk.state.lock().unwrap());
        disk
    }

    /// Returns how many calls there were.
    pub fn calls(&self) -> usize {
        self.state.lock().unwrap().calls
    }

    /// Returns what the calls were.
    pub fn log(&self) -> Vec<String> {
        self.state.lock().unwrap().log.clone()
    }

    /// Says whether the planned call was reached.
    pub fn struck(&self) -> bool {
        self.plan.is_some_and(|(at, _)| self.calls() > at)
    }

    /// Does to the files what the planned power cut does; call it when everything that uses the disk is gone.
    pub fn power_cut(&self) {
        let Some((_, fault @ (Fault::LosePower | Fault::LoseData))) = self.plan else {
            return;
        };
        let mut state = self.state.lock().unwrap();
        let synced_at = state.synced_at.unwrap();
        let safe = std::mem::take(&mut state.safe);
        lose_data(&self.root, synced_at, &safe);
        if fault == Fault::LosePower {
            while let Some(undo) = state.journal.pop() {
                apply(undo);
            }
        }
    }

    /// Remembers a moment that lies after everything so far and before everything to come.
    fn mark_synced(&self, state: &mut State) {
        if !matches!(self.plan, Some((_, Fault::LosePower | Fault::LoseData))) {
            return;
        }
        // Birth times tick with the kernel's clock: 4 ms apart at 250 Hz, 10 ms at 100 Hz.
        std::thread::sleep(std::time::Duration::from_millis(12));
        let probe = self.attic.path().join("probe");
        let _ = fs::remove_file(&probe);
        File::create(&probe).unwrap();
        state.synced_at = Some(fs::metadata(&probe).unwrap().created().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(12));
    }

    fn keep(&self, state: &mut State, path: &Path) -> PathBuf {
        state.kept += 1;
        let kept = self.attic.path().join(state.kept.to_string());
        fs::hard_link(path, &kept).unwrap();
        kept
    }

    fn call<T>(
        &self,
        what: &'static str,
        path: &Path,
        act: impl FnOnce(&mut State) -> Result<T, DurableError>,
    ) -> Result<T, DurableError> {
        let mut state = self.state.lock().unwrap();
        let number = state.calls;
        state.calls += 1;
        let relative = path.strip_prefix(&self.root).unwrap_or(path);
        state.log.push(format!("{what} {}", relative.display()));
        let refused = |text: &str| DurableError::new(what, path, io::Error::other(text.to_owned()));
        if state.dead {
            return Err(refused("the process is dead"));
        }
        match self.plan {
            Some((at, Fault::Fail)) if at == number => {
                return Err(DurableError::new(
                    what,
                    path,
                    io::Error::from_raw_os_error(28),
                ));
            }
            Some((at, _)) if at == number => {
                state.dead = true;
                return Err(refused("the process died"));
            }
            _ => {}
        }
        act(&mut state)
    }
}

impl FaultyDisk {
    fn renamed(
        &self,
        from: &Path,
        to: &Path,
        rename: impl FnOnce() -> Result<bool, DurableError>,
    ) -> Result<bool, DurableError> {
        self.call("rename", to, |state| {
            let replaced = fs::symlink_metadata(to).is_ok_and(|metadata| !metadata.is_dir());
            let kept = replaced.then(|| self.keep(state, to));
            if !rename()? {
                return Ok(false);
            }
            for safe in &mut state.safe {
                if let Ok(rest) = safe.strip_prefix(from) {
                    *safe = joined(to, rest);
                }
            }
            state.journal.push(Undo::Back {
                from: from.to_owned(),
                to: to.to_owned(),
                kept,
            });
            Ok(true)
        })
    }

    fn removed(
        &self,
        path: &Path,
        remove: impl FnOnce() -> Result<(), DurableError>,
    ) -> Result<(), DurableError> {
        self.call("remove", path, |state| {
            let undo = match fs::symlink_metadata(path) {
                Err(_) => None,
                Ok(metadata) if metadata.is_dir() => Some(Undo::RestoreDir(path.to_owned())),
                Ok(_) => Some(Undo::Restore {
                    kept: self.keep(state, path),
                    path: path.to_owned(),
                }),
            };
            remove()?;
            state.journal.extend(undo);
            Ok(())
        })
    }
}

/// Writes down that two names changed places.
fn exchanged(state: &mut State, from: &Path, to: &Path) {
    for safe in &mut state.safe {
        if let Ok(rest) = safe.strip_prefix(from) {
            *safe = joined(to, rest);
        } else if let Ok(rest) = safe.strip_prefix(to) {
            *safe = joined(from, rest);
        }
    }
    state.journal.push(Undo::Exchange {
        from: from.to_owned(),
        to: to.to_owned(),
    });
}

fn joined(path: &Path, rest: &Path) -> PathBuf {
    match rest.as_os_str().is_empty() {
        true => path.to_owned(),
        false => path.join(rest),
    }
}

fn apply(undo: Undo) {
    match undo {
        Undo::Remove(path) => match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&path).unwrap(),
            Ok(_) => fs::remove_file(&path).unwrap(),
            Err(_) => {}
        },
        Undo::Back { from, to, kept } => {
            if fs::symlink_metadata(&to).is_ok() {
                fs::rename(&to, &from).unwrap();
            }
            if let Some(kept) = kept {
                fs::rename(kept, to).unwrap();
            }
        }
        Undo::Exchange { from, to } => RealDisk.exchange(&from, &to).unwrap(),
        Undo::Restore { kept, path } => fs::rename(kept, path).unwrap(),
        Undo::RestoreDir(path) => fs::create_dir(path).unwrap(),
    }
}

/// Empties every file below `dir` that is younger than the last sync, however it came there.
fn lose_data(dir: &Path, synced_at: SystemTime, safe: &[PathBuf]) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            lose_data(&path, synced_at, safe);
        } else if metadata.is_file() && metadata.len() > 0 && !safe.contains(&path) {
            let young = metadata.created().unwrap() > synced_at;
            // A hard link has a second, older name elsewhere only when its data is older too.
            if young && metadata.nlink() <= 2 {
                let times = fs::FileTimes::new().set_modified(metadata.modified().unwrap());
                let file = File::options().write(true).open(&path).unwrap();
                file.set_len(0).unwrap();
                file.set_times(times).unwrap();
            }
        }
    }
}

impl Disk for FaultyDisk {
    fn mkdir(&self, path: &Path, mode: u32) -> Result<(), DurableError> {
        self.call("mkdir", path, |state| {
            let is_new = !path.exists();
            RealDisk.mkdir(path, mode)?;
            if is_new {
                state.journal.push(Undo::Remove(path.to_owned()));
            }
            Ok(())
        })
    }

    fn write(
        &self,
        path: &Path,
        mode: u32,
        fill: &mut dyn FnMut(&mut File) -> io::Result<()>,
    ) -> Result<(), DurableError> {
        self.call("write", path, |state| {
            RealDisk.write(path, mode, fill)?;
            state.safe.retain(|safe| safe != path);
            state.journal.push(Undo::Remove(path.to_owned()));
            Ok(())
        })
    }

    fn sync_file(&self, path: &Path) -> Result<(), DurableError> {
        self.call("sync_file", path, |state| {
            assert!(path.is_file());
            state.safe.push(path.to_owned());
            Ok(())
        })
    }

    fn symlink(&self, target: &Path, path: &Path) -> Result<(), DurableError> {
        self.call("symlink", path, |state| {
            RealDisk.symlink(target, path)?;
            state.journal.push(Undo::Remove(path.to_owned()));
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DurableError> {
        self.renamed(from, to, || RealDisk.rename(from, to).map(|()| true))
            .map(drop)
    }

    fn exchange(&self, from: &Path, to: &Path) -> Result<(), DurableError> {
        if fs::symlink_metadata(to).is_err() {
            return self.rename(from, to);
        }
        self.call("exchange", to, |state| {
            RealDisk.exchange(from, to)?;
            exchanged(state, from, to);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> Result<(), DurableError> {
        self.removed(path, || RealDisk.remove(path))
    }

    fn remove_in(&self, dir: BorrowedFd<'_>, path: &Path) -> Result<(), DurableError> {
        self.removed(path, || RealDisk.remove_in(dir, path))
    }

    fn rename_in(
        &self,
        from_dir: BorrowedFd<'_>,
        from: &Path,
        to_dir: BorrowedFd<'_>,
        to: &Path,
    ) -> Result<bool, DurableError> {
        self.renamed(from, to, || RealDisk.rename_in(from_dir, from, to_dir, to))
    }

    fn exchange_in(
        &self,
        from_dir: BorrowedFd<'_>,
        from: &Path,
        to_dir: BorrowedFd<'_>,
        to: &Path,
    ) -> Result<bool, DurableError> {
        self.call("exchange", to, |state| {
            if !RealDisk.exchange_in(from_dir, from, to_dir, to)? {
                return Ok(false);
            }
            exchanged(state, from, to);
            Ok(true)
        })
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> Result<(), DurableError> {
        self.call("append", path, |state| {
            let is_new = !path.exists();
            RealDisk.append(path, bytes)?;
            state.safe.push(path.to_owned());
            if is_new {
                state.journal.push(Undo::Remove(path.to_owned()));
            }
            Ok(())
        })
    }

    fn sync_fs(&self, dir: &Path) -> Result<(), DurableError> {
        self.call("sync_fs", dir, |state| {
            assert!(dir.is_dir());
            state.journal.clear();
            state.safe.clear();
            self.mark_synced(state);
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), DurableError> {
        self.call("sync_dir", dir, |state| {
            assert!(dir.is_dir());
            state.journal.retain(|undo| undo.dir() != dir);
            Ok(())
        })
    }
}
