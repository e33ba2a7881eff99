//! One layer's build: packages, files and scripts on a writable view of the layers below, captured and settled.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::apt::{AptRoot, Bootstrapper, DebCache, InstallPlan, LocalRepo, StatusLine};
use super::files;
use super::inputs::LayerInputs;
use super::keys::Cached;
use super::secrets::FirstBootWork;
use super::settle::{Settled, settle};
use super::{BUILDER_VERSION, Build, BuildError, Sink};
use crate::compose::{compose, ids_of};
use crate::format::{self, BuildFacts, FirstBoot, Health, LayerPackage, RebuildRule};
use crate::id::LayerId;
use crate::materialise::{Capabilities, ObjectDir, PasswdIds, ScanOptions, scan};
use crate::path::RelPath;
use crate::recipe::{Content, Definition, Probe, Upper};
use crate::sandbox::{
    BuildView, Lower, LowerKind, ReadOnlyBind, Run, Sandbox, SandboxError, View, capture,
};
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
    /// The tree that the layer was built on.
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
    repository.require_space(
        debs.saturating_mul(BYTES_PER_DEB_BYTE)
            .saturating_add(SPARE_BYTES),
    )?;
    let place = Place {
        log: log_path(build, input)?,
        cache: DebCache::new(repository.cache_dir("debs")?),
        input,
    };
    fetch(build, &place)?;
    let transaction = repository.begin()?;
    let (lower, after) = {
        let step = |files: u64, bytes: u64| {
            let what = format!("ingesting files  {files} files, {} MB", bytes / 1_000_000);
            build.options.progress.step(&input.name, &what, None);
        };
        let sink = Sink::new(&transaction).with_progress(&step);
        match &input.definition.content {
            Content::Base(_) => (Tree::new(), bootstrap(build, &place, &sink)?),
            Content::Upper(upper) => install(build, &place, upper, &sink)?,
        }
    };
    build.check_cancel()?;
    Ok(Prepared {
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
        lower,
        after,
        transaction,
    } = prepared;
    build.options.progress.step(&input.name, "settling", None);
    let sink = Sink::new(&transaction);
    let settled = settle(
        &input.definition,
        &lower,
        after,
        input.epoch,
        &mut build.ids,
        &sink,
    )?;
    commit(build, input, settled, transaction)
}

struct Place<'a> {
    log: PathBuf,
    cache: DebCache,
    input: &'a LayerInputs,
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
        packages: packages,
        arch: &place.input.architecture,
        epoch: place.input.epoch,
        log: &place.log,
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
) -> Result<(Tree, Tree), BuildError> {
    let repository = build.repository;
    build
        .options
        .progress
        .step(&place.input.name, "composing the layers below", None);
    let layers = build.layers(build.workspace.closure(&place.input.name))?;
    let below = repository.begin()?;
    let composition = compose(&layers, &below, &repository.index()?)?;
    if composition.verdict() == crate::check::Verdict::Refused {
        return Err(BuildError::Refused {
            findings: composition.findings,
        });
    }
    // The view reads objects from the repository: what the merge and the derivers made must be there first.
    below.store()?;
    let lower = composition.tree;
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
        if let Some(run) = &upper.run {
            step.scripts(run)?;
        }
        if let Some(wanted) = &upper.files {
            files::own(&wanted.owner, view.merged())?;
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
    Ok((lower, after))
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

/// Running things in one view.
struct Step<'a> {
    build: &'a Build<'a>,
    place: &'a Place<'a>,
    view: &'a View,
}

impl Step<'_> {
    fn sandbox(&self) -> Sandbox {
        Sandbox::new(
            self.view.merged(),
            self.view.scratch(),
            self.place.input.epoch,
        )
    }

    fn run(
        &self,
        sandbox: &Sandbox,
        what: &str,
        command: &[&OsStr],
        on_line: &mut dyn FnMut(&str),
    ) -> Result<(), BuildError> {
        let run = Run {
            command,
            log: &self.place.log,
            on_line,
            cancel: self.build.options.cancel,
        };
        sandbox.run(run).map_err(|source| match source {
            SandboxError::Cancelled { .. } => BuildError::Interrupted,
            source => BuildError::Step {
                layer: self.place.input.name.clone(),
                step: what.to_owned(),
                source: Box::new(source),
            },
        })
    }

    fn packages(&self, requested: &[String], repo: &LocalRepo) -> Result<(), BuildError> {
        let packages = &self.place.input.lock.packages;
        let plan = InstallPlan::new(packages, requested, &self.place.input.architecture);
        let mut sandbox = self.sandbox();
        for (path, contents) in &plan.files {
            let name = path.rsplit('/').next().unwrap_or(path);
            let source = self.view.scratch().join(format!("plan-{name}"));
            std::fs::write(&source, contents).map_err(|error| BuildError::Source {
                verb: "write",
                path: source.clone(),
                source: error,
            })?;
            sandbox = sandbox.with_bind(ReadOnlyBind {
                source,
                name: name.into(),
            });
        }
        sandbox = sandbox.with_bind(ReadOnlyBind {
            source: repo.path().to_owned(),
            name: "repo".into(),
        });
        for (name, value) in &plan.env {
            sandbox = sandbox.with_variable(name.as_ref(), value.as_ref());
        }
        let command: Vec<&OsStr> = plan.argv.iter().map(OsStr::new).collect();
        let progress = self.build.options.progress;
        let name = &self.place.input.name;
        self.run(&sandbox, "installing packages", &command, &mut |line| {
            if let Some(status) = StatusLine::parse(line) {
                progress.step(name, "installing packages", Some(status.fraction));
            }
        })
    }

    fn scripts(&self, run: &crate::recipe::Run) -> Result<(), BuildError> {
        for script in &run.scripts {
            let text = script.to_string();
            let text = text.trim_start_matches('/');
            self.build.options.progress.step(
                &self.place.input.name,
                &format!("running {text}"),
                None,
            );
            let source = std::path::absolute(self.place.input.dir.join(script.as_path())).map_err(
                |source| BuildError::Source {
                    verb: "find",
                    path: script.as_path().to_owned(),
                    source,
                },
            )?;
            let name = OsStr::new("script");
            let mut sandbox = self.sandbox().with_bind(ReadOnlyBind {
                source: source.clone(),
                name: name.into(),
            });
            for (name, value) in &run.env {
                sandbox = sandbox.with_variable(name.as_ref(), value.as_ref());
            }
            let command = if files::is_executable(&source) {
                vec![OsStr::new("/run/layerset/script")]
            } else {
                vec![
                    OsStr::new("/bin/sh"),
                    OsStr::new("-e"),
                    OsStr::new("/run/layerset/script"),
                ]
            };
            self.run(&sandbox, text, &command, &mut |_| {})?;
        }
        Ok(())
    }
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
    let layer = manifest(
        build,
        input,
        &transaction,
        &changeset,
        pre_images,
        first_boot,
    )?;
    let id = transaction.put_layer(&layer)?;
    let name = RefName::layer(&build.workspace.recipe().name, &input.name)?;
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

fn manifest(
    build: &Build<'_>,
    input: &LayerInputs,
    transaction: &Transaction<'_>,
    changeset: &Changeset,
    pre_images: Vec<crate::id::ObjectId>,
    first_boot: Vec<FirstBootWork>,
) -> Result<format::Layer, BuildError> {
    let definition = &input.definition;
    let mut packages: Vec<LayerPackage> = input
        .lock
        .packages
        .iter()
        .map(|package| LayerPackage {
            name: package.name.clone(),
            architecture: package.architecture.clone(),
            version: package.version.clone(),
            sha256: package.sha256.to_string(),
        })
        .collect();
    packages.sort();
    let first_boot: BTreeMap<RelPath, FirstBoot> = first_boot
        .into_iter()
        .map(|work| {
            (
                work.path,
                FirstBoot {
                    run: work.run,
                    also: work.also,
                },
            )
        })
        .collect();
    let on = build
        .workspace
        .closure(&input.name)
        .into_iter()
        .map(str::to_owned)
        .collect();
    Ok(format::Layer {
        format: 1,
        name: input.name.clone(),
        version: definition
            .effective_version(Some(&input.lock))
            .unwrap_or("0")
            .to_owned(),
        architecture: input.architecture.clone(),
        changeset: transaction.put_changeset(changeset)?,
        pre_images,
        build: BuildFacts {
            key: input.key,
            on,
            epoch: input.epoch,
            builder: BUILDER_VERSION,
        },
        packages,
        first_boot,
        health: health(definition),
        restart: definition.restart.clone(),
        rebuild: RebuildRule {
            when: definition
                .rebuild_when
                .iter()
                .map(|glob| glob.as_str().to_owned())
                .collect(),
        },
    })
}

fn health(definition: &Definition) -> Health {
    let checks = definition.health.iter().map(|check| {
        let (kind, argument, expect) = match &check.probe {
            Probe::Run(command) => ("run", command.clone(), String::new()),
            Probe::Unit(unit) => ("unit", unit.clone(), String::new()),
            Probe::Http { url, expect } => {
                ("http", url.clone(), expect.clone().unwrap_or_default())
            }
        };
        format::HealthCheck {
            name: check.name.clone(),
            kind: kind.to_owned(),
            argument,
            expect,
            timeout_ms: check.timeout_ms,
        }
    });
    Health {
        checks: checks.collect(),
    }
}
