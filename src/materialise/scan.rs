//! Reads a directory into a tree, in parallel, relative to descriptors and without ever following a
//! symbolic link.
//!
//! Work is a stack of directories and of batches of files, so that both many small directories and
//! one huge one keep all threads busy. The result does not depend on the order in which threads
//! ran.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

use crate::materialise::inspect::{Inspector, LinkKey, ScannedInode};
use crate::materialise::queue::{AbandonOnPanic, Queue};
use crate::materialise::{MaterialiseError, ObjectSink, PasswdIds, worker_count};
use crate::path::RelPath;
use crate::tree::Tree;

/// How many files one thread takes at a time.
const BATCH_FILES: usize = 32;

/// What to leave out while reading.
#[derive(Debug, Clone, Default)]
pub struct ScanOptions {
    /// Directories that are kept as entries but not entered (`proc`, `sys`, `dev`).
    pub closed: BTreeSet<RelPath>,
    /// Paths that are left out altogether, with everything below.
    pub omitted: BTreeSet<RelPath>,
}

/// How much to read at a selected path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanDepth {
    /// The inode alone.
    InodeOnly,
    /// The inode and everything below it.
    Subtree,
}

/// A path to read, and how far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Where.
    pub path: RelPath,
    /// How far.
    pub depth: ScanDepth,
}

/// Reads everything below `root` into a valid tree.
pub fn scan(
    root: &Path,
    options: &ScanOptions,
    ids: &PasswdIds,
    sink: &dyn ObjectSink,
) -> Result<Tree, MaterialiseError> {
    let all = Selection {
        path: RelPath::root(),
        depth: ScanDepth::Subtree,
    };
    let tree = scan_selected(root, &[all], options, ids, sink)?;
    tree.validate()?;
    Ok(tree)
}

/// Reads the selected paths only; a path where nothing is gives no entry.
///
/// The result is not a whole file system. Hard-link groups hold the selected names.
pub fn scan_selected(
    root: &Path,
    selections: &[Selection],
    options: &ScanOptions,
    ids: &PasswdIds,
    sink: &dyn ObjectSink,
) -> Result<Tree, MaterialiseError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root_fd =
        rustix::fs::open(root, flags, Mode::empty()).map_err(MaterialiseError::io("open", root))?;
    let scanner = Scanner {
        root: Arc::new(root_fd),
        options,
        inspector: Inspector::new(ids, sink),
        queue: Queue::default(),
    };
    scanner.queue.push(initial_jobs(selections));
    let found = scanner.run()?;
    Ok(assemble(found))
}

fn initial_jobs(selections: &[Selection]) -> Vec<ScanJob> {
    let mut groups: BTreeMap<Option<RelPath>, Vec<(RelPath, ScanDepth)>> = BTreeMap::new();
    for selection in selections {
        let parent = selection.path.parent();
        let item = (selection.path.clone(), selection.depth);
        groups.entry(parent).or_default().push(item);
    }
    let mut jobs = Vec::new();
    for (parent, mut paths) in groups {
        paths.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        for batch in paths.chunks(BATCH_FILES) {
            jobs.push(ScanJob::Selected(parent.clone(), batch.to_vec()));
        }
    }
    jobs
}

enum ScanJob {
    /// Reads what is in a directory whose own inode is known.
    Directory(RelPath),
    /// Reads names of one directory.
    Files(Arc<OwnedFd>, Vec<(RelPath, FileType)>),
    /// Reads selected names of one directory; no directory means the root itself.
    Selected(Option<RelPath>, Vec<(RelPath, ScanDepth)>),
}

struct Scanner<'a> {
    root: Arc<OwnedFd>,
    options: &'a ScanOptions,
    inspector: Inspector<'a>,
    queue: Queue<ScanJob>,
}

type ScannedEntries = Vec<(RelPath, ScannedInode)>;

impl Scanner<'_> {
    fn run(&self) -> Result<ScannedEntries, MaterialiseError> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..worker_count())
                .map(|_| scope.spawn(|| self.work()))
                .collect();
            let mut all = Vec::new();
            for thread in threads {
                match thread.join() {
                    Ok(found) => all.extend(found),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            match self.queue.failure() {
                Some(error) => Err(error),
                None => Ok(all),
            }
        })
    }

    fn work(&self) -> ScannedEntries {
        let _guard = AbandonOnPanic(&self.queue);
        let mut found = Vec::new();
        while let Some(job) = self.queue.next() {
            let result = self.perform(job, &mut found);
            self.queue.done(result.err());
        }
        found
    }

    fn perform(&self, job: ScanJob, found: &mut ScannedEntries) -> Result<(), MaterialiseError> {
        match job {
            ScanJob::Directory(path) => {
                let Some(dir) = self.open(&path)? else {
                    return Ok(());
                };
                self.list(Arc::new(dir), &path, found)
            }
            ScanJob::Files(dir, names) => {
                for (path, hint) in names {
                    self.one(&dir, path, hint, ScanDepth::Subtree, found)?;
                }
                Ok(())
            }
            ScanJob::Selected(parent, paths) => {
                let dir = match &parent {
                    None => Some(Arc::clone(&self.root)),
                    Some(path) => self.open(path)?.map(Arc::new),
                };
                let Some(dir) = dir else {
                    return Ok(());
                };
                for (path, depth) in paths {
                    self.one(&dir, path, FileType::Unknown, depth, found)?;
                }
                Ok(())
            }
        }
    }

    fn one(
        &self,
        dir: &OwnedFd,
        path: RelPath,
        hint: FileType,
        depth: ScanDepth,
        results: &mut ScannedEntries,
    ) -> Result<(), MaterialiseError> {
        if self.options.omitted.contains(&path) {
            return Ok(());
        }
        let name = Path::new(OsStr::from_bytes(path.name()));
        let Some(found) = self.inspector.read(dir.as_fd(), name, &path, hint)? else {
            return Ok(());
        };
        let enter = found.inode.is_dir()
            && depth == ScanDepth::Subtree
            && !self.options.closed.contains(&path);
        if enter {
            self.queue.push(vec![ScanJob::Directory(path.clone())]);
        }
        results.push((path, found));
        Ok(())
    }

    /// Reads a directory's names: directories and odd kinds at once, regular files in batches that
    /// any thread may take.
    fn list(
        &self,
        dir: Arc<OwnedFd>,
        path: &RelPath,
        results: &mut ScannedEntries,
    ) -> Result<(), MaterialiseError> {
        let mut buffer = [MaybeUninit::uninit(); 32 * 1024];
        let mut batches = Vec::new();
        let mut batch = Vec::new();
        let mut others = Vec::new();
        let mut entries = RawDir::new(&*dir, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = match entry {
                // The directory was removed while it was read.
                Err(Errno::NOENT) => break,
                entry => entry.map_err(MaterialiseError::io("list", path.as_path()))?,
            };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let child = path.join(name).map_err(|error| {
                let error = std::io::Error::new(std::io::ErrorKind::InvalidFilename, error);
                MaterialiseError::io("name an entry of", path.as_path())(error)
            })?;
            let hint = entry.file_type();
            if hint != FileType::RegularFile {
                others.push((child, hint));
                continue;
            }
            batch.push((child, hint));
            if batch.len() == BATCH_FILES {
                batches.push(ScanJob::Files(Arc::clone(&dir), std::mem::take(&mut batch)));
            }
        }
        if !batch.is_empty() {
            batches.push(ScanJob::Files(Arc::clone(&dir), batch));
        }
        for (child, hint) in others {
            self.one(&dir, child, hint, ScanDepth::Subtree, results)?;
        }
        // Last in, first out: batches hold the descriptor, so they must go before the
        // subdirectories are entered.
        self.queue.push(batches);
        Ok(())
    }

    fn open(&self, path: &RelPath) -> Result<Option<OwnedFd>, MaterialiseError> {
        let base = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let name = if path.is_root() {
            Path::new(".")
        } else {
            path.as_path()
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let open = |flags| rustix::fs::openat2(&*self.root, name, flags, Mode::empty(), resolve);
        let result = match open(base | OFlags::NOATIME) {
            Err(Errno::PERM) => open(base),
            other => other,
        };
        match result {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(MaterialiseError::io("open", path.as_path())(errno)),
        }
    }
}

/// Builds the tree: the same inode under several names becomes a hard-link group, numbered in path
/// order.
fn assemble(found: ScannedEntries) -> Tree {
    let mut sorted: BTreeMap<RelPath, ScannedInode> = found.into_iter().collect();
    let mut groups: HashMap<LinkKey, u32> = HashMap::new();
    for found in sorted.values_mut() {
        if let Some(key) = found.link {
            let next = u32::try_from(groups.len() + 1).unwrap_or(u32::MAX);
            found.inode.hardlink = *groups.entry(key).or_insert(next);
        }
    }
    let mut tree: Tree = sorted
        .into_iter()
        .map(|(path, found)| (path, found.inode))
        .collect();
    tree.canonicalize_hardlinks();
    tree
}
