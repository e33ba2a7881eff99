//! Runs the programs of an image that make files from the rest of it, and caches what they made.
//!
//! The key is the digest of what a job reads. The result is a tree in its canonical form, in
//! `cache/derived/<key>`. When all results are cached, nothing is mounted and nothing runs, so root
//! is not needed. Results are files and not entries of the index, because two layers may be built
//! at once and the index has one user.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::views::{lower_kind, volatile};
use super::{BuildError, BuildSink};
use crate::compose::{Generate, GenerateError, ids_of};
use crate::durable::replace_file;
use crate::format;
use crate::id::ObjectId;
use crate::materialise::{FileMeta, HashSink, ObjectDir, ObjectSink};
use crate::merge::derive::generators::{Job, JobKey};
use crate::path::RelPath;
use crate::sandbox::{
    BuildView, LowerTree, MountedView, Sandbox, SandboxError, SandboxRun, capture,
};
use crate::store::{Repository, Transaction};
use crate::tree::{Inode, Node, Tree};

/// Derived files are dated 1970: their sources may come from many layers, so no layer's epoch fits.
const EPOCH: i64 = 0;

/// Runs generators in the sandbox.
pub struct SandboxedGenerator<'a> {
    /// Where results are remembered.
    pub repository: &'a Repository,
    /// Set by the caller to stop the programs.
    pub cancel: &'a AtomicBool,
    /// Held while generators run, so that layers built at the same time do not run the same ones.
    pub turn: &'a Mutex<()>,
    /// Told what is being run.
    pub tell: &'a (dyn Fn(&str) + Sync),
}

/// A job with the key of its result.
type KeyedJob<'a> = (&'a Job, JobKey);

impl Generate for SandboxedGenerator<'_> {
    fn generate(
        &self,
        tree: &Tree,
        transaction: &Transaction<'_>,
        jobs: &[Job],
    ) -> Result<Vec<Tree>, GenerateError> {
        let jobs: Vec<KeyedJob<'_>> = jobs.iter().map(|job| (job, job.key(tree))).collect();
        let look = || -> Vec<Option<Tree>> { jobs.iter().map(|job| self.known(job)).collect() };
        let mut found = look();
        if found.iter().any(Option::is_none) {
            let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            found = look();
            let missing: Vec<KeyedJob<'_>> = jobs
                .iter()
                .zip(&found)
                .filter(|(_, known)| known.is_none())
                .map(|(job, _)| *job)
                .collect();
            if let Some((first, _)) = missing.first() {
                let made = self
                    .run(tree, transaction, &missing)
                    .map_err(|error| failed(first, error))?;
                let mut made = made.into_iter();
                for slot in found.iter_mut().filter(|slot| slot.is_none()) {
                    *slot = made.next();
                }
            }
        }
        Ok(found.into_iter().map(Option::unwrap_or_default).collect())
    }
}

fn failed(first: &Job, error: BuildError) -> GenerateError {
    match error {
        BuildError::Generator { generator, source } => GenerateError {
            ran: matches!(*source, SandboxError::Failed { .. }),
            generator,
            source,
        },
        error => GenerateError {
            generator: first.name(),
            source: Box::new(error),
            ran: false,
        },
    }
}

impl SandboxedGenerator<'_> {
    fn path(&self, key: &JobKey) -> Result<PathBuf, BuildError> {
        Ok(self.repository.cache_dir("derived")?.join(key.to_hex()))
    }

    /// Returns what a job made before, if all of it is still there.
    fn known(&self, (job, key): &KeyedJob<'_>) -> Option<Tree> {
        let bytes = std::fs::read(self.path(key).ok()?).ok()?;
        let tree = format::decode_tree(&bytes).ok()?;
        let made: Tree = tree
            .into_iter()
            .filter(|(path, inode)| job.makes(path, inode))
            .collect();
        let is_whole = made.iter().all(|(_, inode)| match inode.node {
            Node::File { object, size } => self.repository.check_object(&object, size).is_ok(),
            _ => true,
        });
        is_whole.then_some(made)
    }

    fn remember(&self, key: &JobKey, made: &Tree) -> Result<(), BuildError> {
        // A tree stands on its root: the directories above the outputs come along, and are left out
        // when it is read.
        let mut whole = made.clone();
        for (path, _) in made.iter() {
            let above = std::iter::successors(path.parent(), RelPath::parent);
            for dir in above {
                if whole.get(dir.as_bytes()).is_none() {
                    whole.insert(dir, Inode::directory(0o755));
                }
            }
        }
        whole.insert(RelPath::root(), Inode::directory(0o755));
        let bytes = format::encode_tree(&whole);
        let path = self.path(key)?;
        Ok(replace_file(
            self.repository.disk().as_ref(),
            &path,
            0o644,
            &bytes,
        )?)
    }

    /// Runs jobs, and stores what they made.
    fn run(
        &self,
        tree: &Tree,
        transaction: &Transaction<'_>,
        jobs: &[KeyedJob<'_>],
    ) -> Result<Vec<Tree>, BuildError> {
        if !rustix::process::geteuid().is_root() {
            return Err(BuildError::GeneratingNeedsRoot);
        }
        let repository = self.repository;
        self.store_staged(tree, transaction)?;
        let work = repository.work_dir()?;
        let view_dir = work.path().join("view");
        repository.disk().mkdir(&view_dir, 0o755)?;
        let log = repository.cache_dir("logs")?.join("derived.log");
        repository.disk().remove(&log)?;
        let ids = ids_of(tree, &|id| repository.read_object(id))?;
        let objects_dir = repository.objects_dir();
        let objects = ObjectDir::new(&objects_dir);
        let kind = lower_kind(&work, &objects_dir)?;
        let lower = LowerTree {
            tree,
            ids: &ids,
            objects: &objects,
            kind,
        };
        let results = repository.begin()?;
        let made = BuildView::with(&view_dir, lower, |view| {
            for (job, _) in jobs {
                self.run_one(view, job, &log)?;
            }
            let sink = OutputSink {
                jobs,
                outputs: BuildSink::new(&results),
            };
            let options = volatile();
            let captured = capture(view.merged(), view.upper(), tree, &options, &sink)?;
            let mut made = vec![Tree::new(); jobs.len()];
            for (path, change) in captured.changeset {
                let Some(inode) = change.post else { continue };
                let maker = jobs.iter().position(|(job, _)| job.makes(&path, &inode));
                if let Some(number) = maker {
                    let mode = inode.mode;
                    made[number].insert(path, Inode::new(inode.node, mode));
                }
            }
            Ok::<_, BuildError>(made)
        })?;
        results.store()?;
        for ((_, key), made) in jobs.iter().zip(&made) {
            self.remember(key, made)?;
        }
        Ok(made)
    }

    /// Stores what a composition has staged: a view reads objects under their final names.
    fn store_staged(&self, tree: &Tree, staged: &Transaction<'_>) -> Result<(), BuildError> {
        let transaction = self.repository.begin()?;
        let missing = tree.objects().into_iter();
        for object in missing.filter(|object| !self.repository.has_object(object)) {
            transaction.put_object(&staged.read_object(&object)?)?;
        }
        transaction.store()?;
        Ok(())
    }

    fn run_one(&self, view: &MountedView, job: &Job, log: &Path) -> Result<(), BuildError> {
        use std::os::unix::ffi::OsStringExt as _;
        (self.tell)(&format!("deriving {}", job.name()));
        let command: Vec<std::ffi::OsString> = job
            .command()
            .into_iter()
            .map(std::ffi::OsString::from_vec)
            .collect();
        let command: Vec<&std::ffi::OsStr> = command.iter().map(AsRef::as_ref).collect();
        let run = SandboxRun {
            command: &command,
            log,
            on_line: &mut |_| {},
            cancel: self.cancel,
        };
        let sandbox = Sandbox::new(view.merged(), view.scratch(), EPOCH);
        sandbox.run(run).map_err(|source| match source {
            _ if self.cancel.load(Ordering::Relaxed) => BuildError::Interrupted,
            SandboxError::Cancelled { .. } => BuildError::Interrupted,
            source => BuildError::Generator {
                generator: job.name(),
                source: Box::new(source),
            },
        })
    }
}

/// Keeps what the jobs make, and no other traces of their work.
struct OutputSink<'a> {
    jobs: &'a [KeyedJob<'a>],
    outputs: BuildSink<'a>,
}

impl ObjectSink for OutputSink<'_> {
    fn put_file(&self, file: File, meta: &FileMeta, path: &Path) -> io::Result<ObjectId> {
        use std::os::unix::ffi::OsStrExt as _;
        let inode = Inode::file(ObjectId::of(b""), meta.size, meta.mode);
        let path_inside = RelPath::new(path.as_os_str().as_bytes()).unwrap_or_default();
        if self
            .jobs
            .iter()
            .any(|(job, _)| job.makes(&path_inside, &inode))
        {
            self.outputs.put_file(file, meta, path)
        } else {
            HashSink.put_file(file, meta, path)
        }
    }
}
