//! Trees of builds that ended because a definition did not say enough: the next build with the same
//! inputs begins where the last one ended.
//!
//! ```text
//! cache/captures/<key>/tree      as the build left it, in canonical form
//!                      took      how long the build took, in milliseconds
//!                      <digits>  contents that the repository lacks, by the digits of their ids
//! ```
//!
//! The key covers all that a build reads: the inputs of the layer but for what only settling reads
//! (`[state]`, `[secrets]` and the like), and the composed tree below it. Contents are hashed again
//! when they are taken, so a capture that is damaged is none. Contents may be secret: the directory
//! is its owner's alone. `layerset gc` removes all captures.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::below::LayersBelow;
use super::inputs::LayerInputs;
use super::{BuildError, BuildSink};
use crate::format;
use crate::store::{Repository, Transaction};
use crate::tree::{Node, Tree};

/// How many captures are kept at most, the newest ones.
const KEPT: usize = 4;

/// Separates these keys from all other digests.
const CONTEXT: &str = "layerset 2026-11 captured tree v1";

/// Where the capture of one build is, or would be.
#[derive(Debug)]
pub(super) struct CapturePlace {
    all: PathBuf,
    dir: PathBuf,
}

/// What a build left behind.
pub(super) struct Captured {
    /// The tree.
    pub after: Tree,
    /// How long the build took.
    pub took: Duration,
}

impl CapturePlace {
    /// Finds the place for a build of `input` on `ground`.
    pub(super) fn of(
        repository: &Repository,
        input: &LayerInputs,
        ground: &LayersBelow,
    ) -> Result<Self, BuildError> {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(input.install_key.to_string().as_bytes());
        for tree in [&ground.lower, &ground.merged] {
            hasher.update(blake3::hash(&format::encode_tree(tree)).as_bytes());
        }
        let all = repository.cache_dir("captures")?;
        let dir = all.join(hasher.finalize().to_hex().as_str());
        Ok(Self { all, dir })
    }

    /// Takes the capture into a transaction, if there is one and all of it is whole; one that is
    /// not goes.
    pub(super) fn recall(&self, sink: &BuildSink<'_>) -> Option<Captured> {
        let captured = self.read(sink);
        if captured.is_none() {
            self.forget();
        }
        captured
    }

    fn read(&self, sink: &BuildSink<'_>) -> Option<Captured> {
        let read = |name: &str| fs::read(self.dir.join(name)).ok();
        let after = format::decode_tree(&read("tree")?).ok()?;
        let took = String::from_utf8(read("took")?).ok()?.trim().parse().ok()?;
        for (_, inode) in after.iter() {
            let Node::File { object, size } = inode.node else {
                continue;
            };
            if sink.transaction().has_object(&object, size) {
                continue;
            }
            let mut file = fs::File::open(self.dir.join(object.to_hex())).ok()?;
            let (found, _) = sink.transaction().put_file(&mut file).ok()?;
            if found != object {
                return None;
            }
        }
        Some(Captured {
            after,
            took: Duration::from_millis(took),
        })
    }

    /// Keeps what a build left behind; the contents are those of `transaction`, which ends.
    ///
    /// It is a courtesy: where it fails, the next build takes longer.
    pub(super) fn keep(&self, tree: &[u8], took: Duration, transaction: Transaction<'_>) {
        // A capture that was just taken is there still.
        if !self.dir.is_dir() && self.write(tree, took, transaction).is_err() {
            self.forget();
        }
    }

    fn write(
        &self,
        tree: &[u8],
        took: Duration,
        transaction: Transaction<'_>,
    ) -> Result<(), BuildError> {
        let fail = |source| BuildError::Source {
            verb: "write",
            path: self.dir.clone(),
            source,
        };
        self.make_room().map_err(fail)?;
        let disk = transaction.repository().disk().clone();
        disk.mkdir(&self.dir, 0o700)?;
        transaction.set_aside(&self.dir)?;
        fs::write(self.dir.join("took"), took.as_millis().to_string()).map_err(fail)?;
        // Without its tree it is no capture: this comes last.
        fs::write(self.dir.join("tree"), tree).map_err(fail)
    }

    /// Removes the oldest captures, so that there is room for one more.
    fn make_room(&self) -> std::io::Result<()> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.all)? {
            let entry = entry?;
            found.push((entry.metadata()?.modified()?, entry.path()));
        }
        found.sort();
        let many = found.len().saturating_sub(KEPT - 1);
        found.iter().take(many).try_for_each(|(_, dir)| remove(dir))
    }

    /// Removes the capture.
    pub(super) fn forget(&self) {
        // What stays is found by `layerset gc`.
        let _ = remove(&self.dir);
    }
}

fn remove(dir: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
