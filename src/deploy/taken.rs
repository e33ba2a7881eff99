//! Factory content that is taken from the image changes places with what the machine has, and changes
//! back when a switch leaves the deployments that follow from that decision.
//!
//! Staging writes the image's side to `var-taken/` in the deployment. A swap is an exchange of two
//! names, so there is no moment without one of them, and what a service writes meanwhile is on one
//! side or the other. What is not shown lies in `var-taken/`, for root alone, as long as the
//! deployment is there.
//!
//! `var-taken.json` says which side is shown, and is the commit point. Before the first exchange it
//! gets the inode numbers of what lies aside: whoever finds another one there knows that this
//! exchange was made, and makes the others.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, openat, openat2, statat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::change::Change;
use super::record::DeploymentDir;
use super::{DeployError, canonical};
use crate::durable::{Disk, replace_file};
use crate::path::RelPath;

/// The directory in a deployment that holds what is not shown.
pub(super) const ASIDE: &str = "var-taken";

/// How often two names are exchanged of which somebody keeps removing one.
const ATTEMPTS: u32 = 5;

/// What `/var` shows where the image's was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Image,
    Machine,
}

/// The contents of `var-taken.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Sides {
    /// The paths where `/var` shows the image's side.
    image: BTreeSet<RelPath>,
    /// What is being exchanged.
    swap: Option<Swap>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Swap {
    to: Side,
    paths: Vec<Aside>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Aside {
    path: RelPath,
    /// The inode number of what lies aside before the exchange; nothing may lie there.
    inode: Option<u64>,
}

impl Change<'_> {
    /// Gives back what deployments took from which `to` does not follow, and takes what it and those
    /// before it took.
    ///
    /// Nothing but a new decision stops a switch: the machine's own is safe where it lies.
    pub(super) fn settle_taken(&self, to: &DeploymentDir) -> Result<(), DeployError> {
        let target = self.target;
        let generations = target.generations()?;
        let takes = &to.facts.var_takes;
        for generation in generations.iter().rev().filter(|n| !takes.contains(n)) {
            let dir = target.deployment_dir(*generation);
            if dir.join(ASIDE).exists() {
                let result = self.show(&dir, &[], Side::Machine);
                self.tolerate(
                    &format!("what generation {generation} took from the image stays in /var"),
                    result,
                )?;
            }
        }
        for generation in generations.iter().filter(|n| takes.contains(n)) {
            let taken = match target.deployment(*generation) {
                Ok(taker) => taker.facts.var_taken,
                Err(_) => continue,
            };
            let dir = target.deployment_dir(*generation);
            if taken.is_empty() || !dir.join(ASIDE).exists() {
                continue;
            }
            let result = self.show(&dir, &taken, Side::Image);
            match *generation == to.facts.generation {
                true => result?,
                false => self.tolerate(
                    &format!("what generation {generation} took from the image is not in /var"),
                    result,
                )?,
            }
        }
        Ok(())
    }

    /// Makes `/var` show one side of what the deployment in `dir` took.
    fn show(&self, dir: &Path, taken: &[RelPath], side: Side) -> Result<(), DeployError> {
        let state = self.target.var_dir();
        let swapping = Swapping {
            disk: self.target.disk.as_ref(),
            aside: dir.join(ASIDE),
            record: dir.join("var-taken.json"),
            state: &state,
            remark: &|text| (self.target.waiting.remark)(text),
        };
        let mut sides = swapping.load()?;
        if let Some(swap) = sides.swap.take() {
            swapping.finish(&mut sides, &swap)?;
        }
        let paths: Vec<RelPath> = match side {
            Side::Machine => sides.image.iter().cloned().collect(),
            Side::Image => {
                let hidden = taken.iter().filter(|path| !sides.image.contains(*path));
                hidden.cloned().collect()
            }
        };
        if paths.is_empty() {
            return Ok(());
        }
        let aside = |path: RelPath| {
            let inode = std::fs::symlink_metadata(swapping.aside.join(path.as_path()));
            let inode = inode.ok().map(|found| found.ino());
            Aside { path, inode }
        };
        let swap = Swap {
            to: side,
            paths: paths.into_iter().map(aside).collect(),
        };
        sides.swap = Some(swap);
        swapping.save(&sides)?;
        match sides.swap.take() {
            Some(swap) => swapping.finish(&mut sides, &swap),
            None => Ok(()),
        }
    }
}

struct Swapping<'a> {
    disk: &'a dyn Disk,
    aside: PathBuf,
    record: PathBuf,
    state: &'a Path,
    remark: &'a dyn Fn(&str),
}

impl Swapping<'_> {
    fn load(&self) -> Result<Sides, DeployError> {
        let bytes = match std::fs::read(&self.record) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Sides::default());
            }
            bytes => bytes.map_err(|error| DeployError::io("read", &self.record, error))?,
        };
        serde_json::from_slice(&bytes).map_err(|error| DeployError::Damaged {
            path: self.record.clone(),
            reason: error.to_string(),
        })
    }

    fn save(&self, sides: &Sides) -> Result<(), DeployError> {
        let bytes = canonical(&self.record, "what is taken", sides)?;
        Ok(replace_file(self.disk, &self.record, 0o600, &bytes)?)
    }

    /// Makes the exchanges that are not made yet, and says so.
    fn finish(&self, sides: &mut Sides, swap: &Swap) -> Result<(), DeployError> {
        for Aside { path, inode } in &swap.paths {
            let aside = self.aside.join(path.as_path());
            let now = std::fs::symlink_metadata(&aside).ok();
            let was_made = now.map(|found| found.ino()) != *inode;
            if was_made || self.exchange(path, &aside)? {
                match swap.to {
                    Side::Image => sides.image.insert(path.clone()),
                    Side::Machine => sides.image.remove(path),
                };
            }
        }
        self.disk.sync_fs(&self.aside)?;
        self.save(sides)
    }

    /// Exchanges one path; says whether it could be done.
    fn exchange(&self, path: &RelPath, aside: &Path) -> Result<bool, DeployError> {
        let (Some(above), shown) = (path.parent(), self.state.join(path.as_path())) else {
            return Ok(false);
        };
        let mut dir = self.aside.clone();
        for name in above.as_path() {
            dir.push(name);
            self.disk.mkdir(&dir, 0o700)?;
        }
        let here = open(&dir).map_err(|errno| DeployError::io("open", &dir, errno.into()))?;
        let there = match self.open_shown(&above) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                (self.remark)(&format!(
                    "'{}' is left as it is: what is above it is no directory of this target",
                    shown.display()
                ));
                return Ok(false);
            }
            there => there.map_err(|errno| DeployError::io("open", &shown, errno.into()))?,
        };
        let name = shown.file_name().unwrap_or_default();
        let is_there = |dir: &OwnedFd| match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(false),
            found => found.map(|_| true),
        };
        for _ in 0..ATTEMPTS {
            let failed = |errno: Errno| DeployError::io("look at", &shown, errno.into());
            let (mine, own) = (is_there(&here), is_there(&there));
            let (here, there) = (here.as_fd(), there.as_fd());
            let done = match (mine.map_err(failed)?, own.map_err(failed)?) {
                (true, true) => self.disk.exchange_in(here, aside, there, &shown)?,
                (true, false) => self.disk.rename_in(here, aside, there, &shown)?,
                (false, true) => self.disk.rename_in(there, &shown, here, aside)?,
                (false, false) => true,
            };
            if done {
                return Ok(true);
            }
        }
        (self.remark)(&format!(
            "'{}' is left as it is: somebody keeps replacing it",
            shown.display()
        ));
        Ok(false)
    }

    fn open_shown(&self, dir: &RelPath) -> Result<OwnedFd, Errno> {
        let state = open(self.state)?;
        if dir.is_root() {
            return Ok(state);
        }
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        openat2(&state, dir.as_path(), FLAGS, Mode::empty(), inside)
    }
}

const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

fn open(dir: &Path) -> Result<OwnedFd, Errno> {
    openat(CWD, dir, FLAGS, Mode::empty())
}
