//! One layer's build: packages, files and scripts on a writable view of the layers below, captured
//! and settled.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::archives::RecipeArchives;
use super::baselines::recall;
use super::below::LayersBelow;
use super::captures::{CapturePlace, Captured};
use super::inputs::LayerInputs;
use super::keys::CachedLayer;
use super::manifest::manifest;
use super::private;
use super::rules::SettleRules;
use super::searched::remember_clean;
use super::session::BuildSession;
use super::settle::{SettledLayer, settle};
use super::steps::StepRunner;
use super::views::volatile;
use super::{BuildError, BuildSink};
use crate::apt::{AptRoot, Bootstrapper, DebCache, LocalRepo};
use crate::compose::{Member, baseline};
use crate::format::{Baseline, encode_tree};
use crate::id::LayerId;
use crate::materialise::{PasswdIds, scan};
use crate::recipe::{LayerContent, LockedPackage, UpperLayer};
use crate::sandbox::ViewRoot;
use crate::store::{RefName, Transaction};
use crate::tree::Tree;

/// Room for what a package becomes when it is installed, per byte of its `.deb`; Debian's archives
/// compress to about a quarter, and the files exist twice until the work directory goes.
const BYTES_PER_DEB_BYTE: u64 = 10;
/// Room for indexes, logs and databases, in bytes.
const SPARE_BYTES: u64 = 64 << 20;

/// A built layer.
#[derive(Debug)]
pub(super) struct BuiltLayer {
    /// Its id.
    pub id: LayerId,
    /// Its version.
    pub version: String,
    /// What is remembered under its build key.
    pub cached: CachedLayer,
    /// Bytes written to the repository.
    pub bytes_written: u64,
    /// What somebody should know of it, one line each.
    pub notes: Vec<String>,
}

/// What a build left behind, not settled yet.
#[derive(Debug)]
pub(super) struct PreparedLayer<'r> {
    /// What the layer was built on.
    ground: LayersBelow,
    /// The tree as the build left it.
    after: Tree,
    /// How long the build took.
    took: Duration,
    /// Holds the contents of new files.
    transaction: Transaction<'r>,
    /// Where all this goes when the definition does not say enough to settle it.
    place: CapturePlace,
}

/// Fails unless there is room to install `packages` and to copy `file_bytes` of files.
pub(super) fn require_space(
    build: &BuildSession<'_>,
    packages: &[LockedPackage],
    file_bytes: u64,
) -> Result<(), BuildError> {
    let debs: u64 = packages.iter().map(|package| package.size).sum();
    // Files are copied into the view and then into the repository.
    let needed = debs
        .saturating_mul(BYTES_PER_DEB_BYTE)
        .saturating_add(file_bytes.saturating_mul(2));
    Ok(build
        .repository
        .require_space(needed.saturating_add(SPARE_BYTES))?)
}

/// Runs one layer's build; layers that do not stand on each other may do this at the same time.
pub(super) fn prepare<'r>(
    build: &BuildSession<'r>,
    input: &LayerInputs,
) -> Result<PreparedLayer<'r>, BuildError> {
    let repository = build.repository;
    let ground = match &input.definition.content {
        LayerContent::Base(_) => LayersBelow::nothing(),
        LayerContent::Upper(_) => compose_below(build, input)?,
    };
    let capture = CapturePlace::of(repository, input, &ground)?;
    let transaction = repository.begin()?;
    let step = |files: u64, bytes: u64| {
        let what = format!("ingesting files  {files} files, {} MB", bytes / 1_000_000);
        build.options.progress.step(&input.name, &what, None);
    };
    let sink = BuildSink::new(&transaction).with_progress(&step);
    let is_asked_for = build.options.rebuild.contains(&input.name);
    let recalled = (!is_asked_for).then(|| capture.recall(&sink)).flatten();
    let place = LayerContext {
        log: log_path(build, &input.name)?,
        cache: DebCache::new(repository.cache_dir("debs")?),
        input,
    };
    let Captured { after, took } = match recalled {
        Some(captured) => {
            build
                .options
                .progress
                .step(&input.name, "taking what the last build installed", None);
            captured
        }
        None => build_anew(build, &place, &ground, &sink)?,
    };
    build.check_cancel()?;
    if let LayerContent::Upper(upper) = &input.definition.content
        && private::is_small(input, took)
    {
        let sink = BuildSink::new(&transaction);
        if let Err(error) = refuse_random(build, &place, upper, (&ground, &after), &sink) {
            if matches!(error, BuildError::RandomSecrets { .. }) {
                capture.keep(&encode_tree(&after), took, transaction);
            }
            return Err(error);
        }
    }
    Ok(PreparedLayer {
        ground,
        after,
        took,
        transaction,
        place: capture,
    })
}

/// Installs and runs what the layer is made of.
fn build_anew(
    build: &BuildSession<'_>,
    place: &LayerContext<'_>,
    ground: &LayersBelow,
    sink: &BuildSink<'_>,
) -> Result<Captured, BuildError> {
    let input = place.input;
    require_space(build, &input.lock.packages, input.file_bytes())?;
    fetch(build, &input.name, &place.cache, &input.lock.packages)?;
    let started = Instant::now();
    let after = match &input.definition.content {
        LayerContent::Base(_) => bootstrap(build, place, sink)?,
        LayerContent::Upper(upper) => install(build, place, upper, ground, sink)?,
    };
    Ok(Captured {
        after,
        took: started.elapsed(),
    })
}

fn compose_below(build: &BuildSession<'_>, input: &LayerInputs) -> Result<LayersBelow, BuildError> {
    let what = "composing the layers below";
    build.options.progress.step(&input.name, what, None);
    let members = build.members(build.workspace.closure(&input.name))?;
    LayersBelow::compose(build.composer, &input.name, &members)
}

/// Builds a layer a second time where some of its files could be secrets, and refuses those that
/// are not the same. `ground` is what is below the layer, and `after` what the first build left.
fn refuse_random(
    build: &BuildSession<'_>,
    place: &LayerContext<'_>,
    upper: &UpperLayer,
    (ground, after): (&LayersBelow, &Tree),
    sink: &BuildSink<'_>,
) -> Result<(), BuildError> {
    let candidates = private::candidates(place.input, &ground.lower, after, sink)?;
    if candidates.is_empty() {
        return Ok(());
    }
    let second = build.repository.begin()?;
    let again = install(build, place, upper, ground, &BuildSink::new(&second))?;
    let paths = private::differing(candidates, after, &again);
    if paths.is_empty() {
        return Ok(());
    }
    Err(BuildError::RandomSecrets {
        layer: place.input.name.clone(),
        paths,
    })
}

/// Settles what a build left behind, and commits the layer. Layers are finished one at a time, in
/// the recipe's order, so that new accounts get their numbers in a fixed order.
pub(super) fn finish(
    build: &mut BuildSession<'_>,
    input: &LayerInputs,
    prepared: PreparedLayer<'_>,
) -> Result<BuiltLayer, BuildError> {
    let PreparedLayer {
        ground,
        after,
        took,
        transaction,
        place,
    } = prepared;
    build.options.progress.step(&input.name, "settling", None);
    let tree = encode_tree(&after);
    let settled = settle(
        SettleRules::of(input),
        &ground,
        after,
        input.epoch,
        &mut build.ids,
        &BuildSink::new(&transaction),
    );
    let settled = match settled {
        Ok(settled) => settled,
        Err(error) => {
            place.keep(&tree, took, transaction);
            return Err(error);
        }
    };
    let built = commit(build, input, settled, transaction)?;
    place.forget();
    Ok(built)
}

/// What the steps of one layer's build need.
struct LayerContext<'a> {
    log: PathBuf,
    cache: DebCache,
    input: &'a LayerInputs,
}

/// Returns the path of a new log, and removes the old one.
pub(super) fn log_path(build: &BuildSession<'_>, of: &str) -> Result<PathBuf, BuildError> {
    let name = format!("{}.{of}.log", build.workspace.recipe().name);
    let path = build.repository.cache_dir("logs")?.join(name);
    build.repository.disk().remove(&path)?;
    Ok(path)
}

/// Fetches the packages that the cache lacks. Progress is reported under `layer`.
pub(super) fn fetch(
    build: &BuildSession<'_>,
    layer: &str,
    cache: &DebCache,
    packages: &[LockedPackage],
) -> Result<(), BuildError> {
    if cache.missing(packages).is_empty() {
        return Ok(());
    }
    let _alone = build
        .repository
        .work_lock("apt", "layerset build", build.options.waiting)?;
    let archives = RecipeArchives::read(build.workspace)?;
    let root = archives.open(build.workspace, build.repository, &build.options.packages)?;
    let step = |done: u64, all: u64| {
        let fraction = (all > 0).then(|| done as f64 / all as f64);
        build
            .options
            .progress
            .step(layer, "fetching packages", fraction);
    };
    AptRoot::fetch(&root, packages, &step)?;
    Ok(())
}

fn local_repo(place: &LayerContext<'_>, dir: &Path) -> Result<LocalRepo, BuildError> {
    let packages = &place.input.lock.packages;
    Ok(LocalRepo::create(dir, &place.cache, packages)?)
}

fn bootstrap(
    build: &BuildSession<'_>,
    place: &LayerContext<'_>,
    sink: &BuildSink<'_>,
) -> Result<Tree, BuildError> {
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
    let root = ViewRoot::open(root)?;
    PasswdIds::read(|place| Ok(root.read(place)?))
}

fn install(
    build: &BuildSession<'_>,
    place: &LayerContext<'_>,
    upper: &UpperLayer,
    ground: &LayersBelow,
    sink: &BuildSink<'_>,
) -> Result<Tree, BuildError> {
    let input = place.input;
    let progress = build.options.progress;
    let work = build.repository.work_dir()?;
    let repo = match upper.apt {
        Some(_) => Some(local_repo(place, &work.path().join("repo"))?),
        None => None,
    };
    ground.change(&work, sink, |view| {
        let step = StepRunner {
            options: build.options,
            log: &place.log,
            view,
            layer: &input.name,
            epoch: input.epoch,
        };
        if let Some(repo) = &repo {
            step.packages(&input.lock, &input.architecture, repo)?;
        }
        step.own(input)?;
        build.check_cancel()?;
        progress.step(&input.name, "capturing changes", None);
        Ok(())
    })
}

fn commit(
    build: &BuildSession<'_>,
    input: &LayerInputs,
    settled: SettledLayer,
    transaction: Transaction<'_>,
) -> Result<BuiltLayer, BuildError> {
    let mut members = build.members(build.workspace.closure(&input.name))?;
    let layer = manifest(input, &members, &transaction, &settled)?;
    let SettledLayer {
        changeset,
        created,
        notes,
        ..
    } = settled;
    let name = RefName::layer(&build.workspace.recipe().name, &input.name)?;
    build.options.progress.step(&input.name, "checking", None);
    let composer = build.composer;
    recall(composer, &mut members, &transaction)?;
    members.push(Member {
        id: None,
        layer: layer.clone(),
        changeset,
        baseline: Baseline {
            files_only: input.is_files_only(),
            ..Baseline::default()
        },
    });
    let whole = composer.look(&input.name, &members, &transaction)?;
    let damage = composer.damage(&input.name, &members, &whole, &transaction)?;
    damage.refuse(
        &input.name,
        &build.workspace.recipe().waivers,
        build.options.today(),
    )?;
    let previous = build.repository.read_ref(&name)?;
    // A layer that is damaged or gone counts as no earlier one.
    let previous = previous
        .and_then(|text| text.parse().ok())
        .and_then(|id| Member::read(build.repository, &id).ok());
    let mut previous: Vec<Member> = previous.into_iter().collect();
    recall(composer, &mut previous, &transaction)?;
    let id = transaction.put_layer(&layer)?;
    let derived = composer.evidence(
        (&whole.composition, &members),
        previous.first(),
        Some(&input.brought()),
        &transaction,
    )?;
    let baseline = Baseline {
        derived,
        ..baseline(&whole.found, &members, &damage.problems, previous.first())
    };
    transaction.put_baseline(&id, &baseline)?;
    build.options.progress.step(&input.name, "writing", None);
    let committed = transaction.commit(&name, &id.to_string())?;
    remember_clean(build.repository, &id);
    let cached = CachedLayer { layer: id, created };
    Ok(BuiltLayer {
        id,
        version: layer.version,
        cached,
        bytes_written: committed.bytes_written,
        notes: [notes, input.interpreted()].concat(),
    })
}
