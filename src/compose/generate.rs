//! The part of deriving that programs of the image do: their old output is removed, then they run
//! on this tree.

use crate::merge::derive::generators::{Job, jobs};
use crate::path::RelPath;
use crate::store::Transaction;
use crate::tree::{Inode, Tree};

/// Why the image's own programs did not make their files.
#[derive(Debug, thiserror::Error)]
#[error("cannot run '{generator}' in the image")]
pub struct GenerateError {
    /// The name of the first generator that did not run.
    pub generator: String,
    /// Why.
    pub source: Box<dyn std::error::Error + Send + Sync>,
    /// Whether the program ran and failed. Then the tree is at fault, else the machine is.
    pub ran: bool,
}

/// Runs programs of an image; only this part of composing needs a sandbox.
pub trait Generate {
    /// Returns the output of each job in `tree`, in order; its objects are stored, or are in
    /// `transaction`.
    ///
    /// `tree` holds none of their outputs. Owners, times and hard links of the result do not count.
    fn generate(
        &self,
        tree: &Tree,
        transaction: &Transaction<'_>,
        jobs: &[Job],
    ) -> Result<Vec<Tree>, GenerateError>;
}

/// Runs nothing: for trees in which nothing has to be generated.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnavailableGenerator;

impl Generate for UnavailableGenerator {
    fn generate(
        &self,
        _: &Tree,
        _: &Transaction<'_>,
        jobs: &[Job],
    ) -> Result<Vec<Tree>, GenerateError> {
        jobs.first().map_or(Ok(Vec::new()), |job| {
            Err(GenerateError {
                generator: job.name(),
                source: "programs of the image cannot run here".into(),
                ran: false,
            })
        })
    }
}

/// Removes the output of a tree's generators. A layer still holds such output if the generator came
/// in a later layer.
pub fn clear(tree: &mut Tree) {
    for job in jobs(tree) {
        for path in job.outputs(tree) {
            tree.remove(path.as_bytes());
        }
    }
}

/// Runs the generators, and adds their output.
pub fn fill(
    tree: &mut Tree,
    transaction: &Transaction<'_>,
    generate: &dyn Generate,
) -> Result<(), GenerateError> {
    let mut jobs = jobs(tree);
    jobs.retain(|job| job.has_work(tree));
    if jobs.is_empty() {
        return Ok(());
    }
    let made = generate.generate(tree, transaction, &jobs)?;
    let mut outputs: Vec<(RelPath, Inode)> = Vec::new();
    for (job, made) in jobs.iter().zip(made) {
        let paths: Vec<RelPath> = made.iter().map(|(path, _)| path.clone()).collect();
        let mtime = job.mtime(tree, &paths);
        for (path, inode) in made {
            if job.makes(&path, &inode) {
                let mode = inode.mode;
                outputs.push((
                    path,
                    Inode {
                        mtime,
                        ..Inode::new(inode.node, mode)
                    },
                ));
            }
        }
    }
    // In path order, directories stand before what is in them.
    outputs.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (path, inode) in outputs {
        let above = path.parent();
        let has_place =
            above.is_some_and(|dir| tree.get(dir.as_bytes()).is_some_and(Inode::is_dir));
        // Something else in the place of a directory belongs to the layer, and stays.
        if has_place && tree.get(path.as_bytes()).is_none() {
            tree.insert(path, inode);
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::durable::RealDisk;
    use crate::id::ObjectId;
    use crate::store::{Repository, RepositoryOptions};
    use crate::time::Timestamp;
    use crate::tree::Owner;

    fn file(tree: &mut Tree, text: &str, sec: i64) {
        let path = RelPath::from_text(text).unwrap();
        let above: Vec<RelPath> = std::iter::successors(path.parent(), RelPath::parent).collect();
        for dir in above {
            if tree.get(dir.as_bytes()).is_none() {
                tree.insert(dir, Inode::directory(0o755));
            }
        }
        let mtime = Timestamp::from_sec(sec);
        let inode = Inode::file(ObjectId::of(text.as_bytes()), 1, 0o644);
        tree.insert(path, Inode { mtime, ..inode });
    }

    /// Makes a cache, and files that are none of its business.
    struct Careless;

    impl Generate for Careless {
        fn generate(
            &self,
            tree: &Tree,
            _: &Transaction<'_>,
            jobs: &[Job],
        ) -> Result<Vec<Tree>, GenerateError> {
            let mut made = Tree::new();
            file(&mut made, "usr/share/icons/x/icon-theme.cache", 99);
            file(&mut made, "etc/passwd", 99);
            file(&mut made, "etc/stray", 99);
            let path = RelPath::from_text("usr/share/icons/x/icon-theme.cache").unwrap();
            assert!(tree.get(path.as_bytes()).is_none());
            let inode = made.remove(path.as_bytes()).unwrap();
            let owner = Owner::Number(7);
            made.insert(path, Inode { owner, ..inode });
            Ok(vec![made; jobs.len()])
        }
    }

    #[test]
    fn only_outputs_come_from_a_generator_dated_by_what_it_read() {
        let dir = tempfile::tempdir().unwrap();
        Repository::init(dir.path(), Arc::new(RealDisk)).unwrap();
        let repository =
            Repository::open(dir.path(), Arc::new(RealDisk), RepositoryOptions::default()).unwrap();
        let transaction = repository.begin().unwrap();
        let mut tree = Tree::new();
        file(&mut tree, "usr/bin/gtk-update-icon-cache", 1);
        file(&mut tree, "usr/share/icons/x/index.theme", 5);
        file(&mut tree, "usr/share/icons/x/16/a.png", 7);
        file(&mut tree, "etc/passwd", 3);
        let bare = tree.clone();
        file(&mut tree, "usr/share/icons/x/icon-theme.cache", 50);
        clear(&mut tree);
        assert_eq!(tree, bare);
        assert!(fill(&mut tree, &transaction, &UnavailableGenerator).is_err());
        fill(&mut tree, &transaction, &Careless).unwrap();
        let cache = tree.get(b"usr/share/icons/x/icon-theme.cache").unwrap();
        assert_eq!(cache.mtime, Timestamp::from_sec(7));
        assert_eq!(cache.owner, Owner::root());
        assert_eq!(tree.get(b"etc/passwd"), bare.get(b"etc/passwd"));
        assert_eq!(tree.len(), bare.len() + 1);
        let mut none = Tree::new();
        fill(&mut none, &transaction, &UnavailableGenerator).unwrap();
    }
}
