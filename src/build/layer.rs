//! One layer's build: packages, files and scripts on a writable view of the layers below, captured and settled.

use std::path::{Path, PathBuf};

use super::apt::{AptRoot, Bootstrapper, DebCache, LocalRepo};
use super::files;
use super::inputs::LayerInputs;
use super::keys::Cached;
use super::manifest::manifest;
use super::settle::{Settled, settle};
use super::steps::Step;
use super::{Build, BuildError, Sink};
use crate::compose::{Member, baseline, compose, examine, ids_of};
use crate::id::LayerId;
use crate::materialise::{Capabilities, ObjectDir, PasswdIds, ScanOptions, scan};
use crate::path::RelPath;
use crate::recipe::{Content, Upper};
use crate::sandbox::{BuildView, Lower, LowerKind, capture};
use crate::store::{RefName, Transaction};
use crate::tree::{Changeset, Inode, Tree};

/// Room for what a package becomes when it is installed, per byte of its `.deb`; Debian's archives compress to about a
/// quarter, and the files exist twice until the work directory goes.
const BYTES_PER_DEB_BYTE: u64 = 10;
/// Room for indexes, logs and databases, in bytes.
const SPARE_BYTES: u64 = 64 << 20;

/// A built layer.
#[derive(Debug)]
pub struct Built {
    /// Its id.
    pub id: LayerId,
    /// Its version.
    pub version: String,
    /// What is remembered under its build key.
    pub cached: Cached,
    /// Bytes written to the repository.
    pub bytes_written: u64,
}

/// What a build left behind, not settled yet.
#[derive(Debug)]
pub struct Prepared<'r> {
    /// The tree that the layer was built on, without its derived files.
    merged: Tree,
    /// The same with them: what the build saw.
    lower: Tree,
    /// The tree as the build left it.
    after: Tree,
    /// Holds the contents of new files.
    transaction: Transaction<'r>,
}

/// Runs one layer's build; layers that do not stand on each other may do this at the same time.
pub fn prepare<'r>(build: &Build<'r>, input: &LayerInputs) -> Result<Prepared<'r>, BuildError> {
    let repository = build.repository;
    let debs: u64 = input.lock.packages.iter().map(|package| package.size).sum();
    // Files are copied into the view and then into the repository.
    let needed = debs
        .saturating_mul(BYTES_PER_DEB_BYTE)
        .saturating_add(input.file_bytes().saturating_mul(2));
    repository.require_space(needed.saturating_add(SPARE_BYTES))?;
    let place = Place {
        log: log_path(build, input)?,
        cache: DebCache::new(repository.cache_dir("debs")?),
        input,
    };
    fetch(build, &place)?;
    let transaction = repository.begin()?;
    let (merged, lower, after) = {
        let step = |files: u64, bytes: u64| {
            let what = format!("ingesting files  {files} files, {} MB", bytes / 1_000_000);
            build.options.progress.step(&input.name, &what, None);
        };
        let sink = Sink::new(&transaction).with_progress(&step);
        match &input.definition.content {
            Content::Base(_) => (Tree::new(), Tree::new(), bootstrap(build, &place, &sink)?),
            Content::Upper(upper) => install(build, &place, upper, &sink)?,
        }
    };
    build.check_cancel()?;
    Ok(Prepared {
        merged,
        lower,
        after,
        transaction,
    })
}

/// Settles what a build left behind, and commits the layer; one at a time, in the recipe's order, so that new accounts
/// get their numbers in a fixed order.
pub fn finish(
    build: &mut Build<'_>,
    input: &LayerInputs,
    prepared: Prepared<'_>,
) -> Result<Built, BuildError> {
    let Prepared {
        merged,
        lower,
        after,
        transaction,
    } = prepared;
    build.options.progress.step(&input.name, "settling", None);
    let sink = Sink::new(&transaction);
    let settled = settle(
        &input.definition,
        &merged,
        &lower,
        after,
        input.epoch,
        &mut build.ids,
        &sink,
    )?;
    commit(build, input, settled, transaction)
}

/// Where one layer's build finds things.
pub struct Place<'a> {
    pub(super) log: PathBuf,
    cache: DebCache,
    pub(super) input: &'a LayerInputs,
}

fn log_path(build: &Build<'_>, input: &LayerInputs) -> Result<PathBuf, BuildError> {
    let name = format!("{}.{}.log", build.workspace.recipe().name, input.name);
    let path = build.repository.cache_dir("logs")?.join(name);
    build.repository.disk().remove(&path)?;
    Ok(path)
}

fn fetch(build: &Build<'_>, place: &Place<'_>) -> Result<(), BuildError> {
    let packages = &place.input.lock.packages;
    if place.cache.missing(packages).is_empty() {
        return Ok(());
    }
    let _alone = build
        .repository
        .work_lock("apt", "layerset build", build.options.waiting)?;
    let root = super::lock::open_apt(
        build.workspace,
        build.repository,
        build.options.apt_sources.as_deref(),
    )?;
    let step = |done: u64, all: u64| {
        let fraction = (all > 0).then(|| done as f64 / all as f64);
        build
            .options
            .progress
            .step(&place.input.name, "fetching packages", fraction);
    };
    AptRoot::fetch(&root, packages, &step)?;
    Ok(())
}

fn local_repo(place: &Place<'_>, dir: &Path) -> Result<LocalRepo, BuildError> {
    let packages = &place.input.lock.packages;
    Ok(LocalRepo::create(dir, &place.cache, packages)?)
}

fn bootstrap(build: &Build<'_>, place: &Place<'_>, sink: &Sink<'_>) -> Result<Tree, BuildError> {
    let work = build.repository.work_dir()?;
    let repo = local_repo(place, &work.path().join("repo"))?;
    let root = work.path().join("root");
    let packages = &place.input.lock.packages;
    let bootstrap = Bootstrapper {
        root: &root,
        repo: &repo,
        packages,
        arch: &place.input.architecture,
        epoch: place.input.epoch,
        log: &place.log,
        cancel: build.options.cancel,
    };
    let name = &place.input.name;
    let result =
        bootstrap.run(&|what, fraction| build.options.progress.step(name, what, Some(fraction)));
    // An interrupt reaches the tools too, and their failure is its consequence.
    build.check_cancel()?;
    result?;
    build.options.progress.step(name, "ingesting files", None);
    let ids = read_ids(&root)?;
    Ok(scan(&root, &volatile(), &ids, sink)?)
}

fn read_ids(root: &Path) -> Result<PasswdIds, BuildError> {
    let read = |name: &str| {
        let path = root.join(name);
        match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            result => result.map_err(|source| BuildError::Source {
                verb: "read",
                path,
                source,
            }),
        }
    };
    Ok(PasswdIds::parse(&read("etc/passwd")?, &read("etc/group")?))
}

/// Directories whose contents belong to the running system.
fn volatile() -> ScanOptions {
    let closed = ["dev", "proc", "run", "sys", "tmp"];
    let closed = closed
        .iter()
        .filter_map(|path| RelPath::from_text(path).ok())
        .collect();
    ScanOptions {
        closed,
        ..ScanOptions::default()
    }
}

fn install(
    build: &Build<'_>,
    place: &Place<'_>,
    upper: &Upper,
    sink: &Sink<'_>,
) -> Result<(Tree, Tree, Tree), BuildError> {
    let repository = build.repository;
    build
        .options
        .progress
        .step(&place.input.name, "composing the layers below", None);
    let members = build.members(build.workspace.closure(&place.input.name))?;
    let below = repository.begin()?;
    let mut composition = compose(&members, &below, build.index)?;
    super::image::refuse(std::mem::take(&mut composition.findings))?;
    // The view reads objects from the repository: what the merge and the derivers made must be there first.
    below.store()?;
    let (merged, lower) = (composition.merged, composition.tree);
    let ids = ids_of(&lower, &|id| repository.read_object(id))?;
    let work = repository.work_dir()?;
    let repo = if place.input.lock.packages.is_empty() && upper.apt.is_none() {
        None
    } else {
        Some(local_repo(place, &work.path().join("repo"))?)
    };
    let objects_dir = repository.objects_dir();
    let objects = ObjectDir::new(&objects_dir);
    let composefs = Capabilities::probe(work.path())?.composefs.works();
    let kind = if composefs {
        LowerKind::Image(&objects_dir)
    } else {
        LowerKind::Checkout
    };
    let view_dir = work.path().join("view");
    repository.disk().mkdir(&view_dir, 0o755)?;
    let below = Lower {
        tree: &lower,
        ids: &ids,
        objects: &objects,
        kind,
    };
    let changeset = BuildView::with(&view_dir, below, |view| {
        let step = Step { build, place, view };
        if let (Some(apt), Some(repo)) = (&upper.apt, &repo) {
            step.packages(&apt.packages, repo)?;
        }
        if upper.files.is_some() {
            files::copy(
                &place.input.files,
                &place.input.dir,
                &place.input.definition,
                view.merged(),
                place.input.epoch,
            )?;
        }
        if let Some(wanted) = &upper.files {
            files::own(&wanted.owner, view.merged(), files::Owners::Known)?;
        }
        if let Some(run) = &upper.run {
            step.scripts(run)?;
        }
        if let Some(wanted) = &upper.files {
            files::own(&wanted.owner, view.merged(), files::Owners::All)?;
        }
        build.check_cancel()?;
        build
            .options
            .progress
            .step(&place.input.name, "capturing changes", None);
        let captured = capture(view.merged(), view.upper(), &lower, &volatile(), sink)?;
        Ok::<_, BuildError>(captured.changeset)
    })?;
    let after = after(&lower, changeset);
    Ok((merged, lower, after))
}

/// Puts captured changes onto the very tree that they were made on.
fn after(lower: &Tree, changeset: Changeset) -> Tree {
    let mut tree = lower.clone();
    let groups = tree
        .iter()
        .map(|(_, inode)| inode.hardlink)
        .max()
        .unwrap_or(0);
    for (path, change) in changeset {
        match change.post {
            None => drop(tree.remove(path.as_bytes())),
            Some(inode) => {
                let hardlink = if inode.hardlink == 0 {
                    0
                } else {
                    inode.hardlink + groups
                };
                tree.insert(path, Inode { hardlink, ..inode });
            }
        }
    }
    tree
}

fn commit(
    build: &Build<'_>,
    input: &LayerInputs,
    settled: Settled,
    transaction: Transaction<'_>,
) -> Result<Built, BuildError> {
    let Settled {
        changeset,
        pre_images,
        first_boot,
        created,
    } = settled;
    let mut members = build.members(build.workspace.closure(&input.name))?;
    let mut layer = manifest(
        input,
        &members,
        &transaction,
        &changeset,
        pre_images,
        first_boot,
    )?;
    let name = RefName::layer(&build.workspace.recipe().name, &input.name)?;
    build.options.progress.step(&input.name, "checking", None);
    members.push(Member {
        id: None,
        layer: layer.clone(),
        changeset,
    });
    let composition = compose(&members, &transaction, build.index)?;
    let found = examine(&composition, &members, &transaction, build.index)?;
    let previous = build.repository.read_ref(&name)?;
    // A layer that is damaged or gone says nothing.
    let previous = previous
        .and_then(|text| text.parse().ok())
        .and_then(|id| Member::read(build.repository, &id).ok());
    layer.baseline = baseline(&found, &members, previous.as_ref());
    let id = transaction.put_layer(&layer)?;
    build.options.progress.step(&input.name, "writing", None);
    let committed = transaction.commit(&name, &id.to_string())?;
    let cached = Cached { layer: id, created };
    Ok(Built {
        id,
        version: layer.version,
        cached,
        bytes_written: committed.bytes_written,
    })
}
