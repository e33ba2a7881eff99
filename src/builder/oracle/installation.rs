//! Installs the packages of all layers at once, on the base as built.

use std::collections::BTreeMap;

use crate::apt::{DebCache, LocalRepo};
use crate::builder::below::LayersBelow;
use crate::builder::inputs::LayerInputs;
use crate::builder::layer;
use crate::builder::rules::SettleRules;
use crate::builder::session::BuildSession;
use crate::builder::settle::settle;
use crate::builder::steps::StepRunner;
use crate::builder::{BuildError, BuildSink};
use crate::compose::Member;
use crate::format::{Baseline, FirstBoot, Layer};
use crate::recipe::{LayerLock, LockedPackage};
use crate::tree::Tree;
use crate::version::Version;

/// Installs the packages of all other layers on the first of `members`, and returns the tree.
///
/// `members` are the built layers of `inputs`, in the recipe's order.
pub(super) fn install(
    build: &BuildSession<'_>,
    inputs: &[LayerInputs],
    members: &[Member],
) -> Result<Tree, BuildError> {
    let (Some(base), Some((_, upper))) = (members.first(), inputs.split_first()) else {
        return Ok(Tree::new());
    };
    let ground = LayersBelow::compose(build.composer, "oracle", std::slice::from_ref(base))?;
    let Some(last) = upper.last() else {
        return Ok(ground.lower);
    };
    let lock = union(upper);
    let file_bytes = upper.iter().map(LayerInputs::file_bytes).sum();
    layer::require_space(build, &lock.packages, file_bytes)?;
    let cache = DebCache::new(build.repository.cache_dir("debs")?);
    layer::fetch(build, &lock.name, &cache, &lock.packages)?;
    let log = layer::log_path(build, &lock.name)?;
    let transaction = build.repository.begin()?;
    let sink = BuildSink::new(&transaction);
    let work = build.repository.work_dir()?;
    let repo = LocalRepo::create(&work.path().join("repo"), &cache, &lock.packages)?;
    let progress = build.options.progress;
    let after = ground.change(&work, &sink, |view| {
        let step = |layer, epoch| StepRunner {
            options: build.options,
            log: &log,
            view,
            layer,
            epoch,
        };
        if upper.iter().any(|input| !input.lock.requested.is_empty()) {
            step(&lock.name, lock.epoch).packages(&lock, &last.architecture, &repo)?;
        }
        for input in upper {
            step(&input.name, input.epoch).own(input)?;
        }
        build.check_cancel()?;
        progress.step(&lock.name, "capturing changes", None);
        Ok(())
    })?;
    progress.step(&lock.name, "settling", None);
    let state: Vec<_> = definitions(upper).flat_map(|d| d.state.clone()).collect();
    let secrets = definitions(upper).flat_map(|d| d.secrets.clone()).collect();
    let files: Vec<_> = upper.iter().flat_map(|it| it.files.clone()).collect();
    let rules = SettleRules {
        files: &files,
        layer: &lock.name,
        state: &state,
        secrets: &secrets,
    };
    // New numbers go into this copy of the table and are forgotten with it.
    let mut ids = build.ids.clone();
    let settled = settle(rules, &ground, after, lock.epoch, &mut ids, &sink)?;
    // As one layer it is merged, derived and checked by the very code that composes layers.
    let whole = Layer {
        name: lock.name,
        changeset: transaction.put_changeset(&settled.changeset)?,
        pre_images: settled.pre_images,
        first_boot: BTreeMap::<_, FirstBoot>::new(),
        packages: Vec::new(),
        ..base.layer.clone()
    };
    transaction.store()?;
    let whole = Member {
        id: None,
        layer: whole,
        changeset: settled.changeset,
        baseline: Baseline::default(),
    };
    Ok(LayersBelow::compose(build.composer, "oracle", &[base.clone(), whole])?.lower)
}

fn definitions(inputs: &[LayerInputs]) -> impl Iterator<Item = &crate::recipe::Definition> {
    inputs.iter().map(|input| &input.definition)
}

/// Joins locks into one: of a package that two layers lock, the newer version.
fn union(inputs: &[LayerInputs]) -> LayerLock {
    let mut packages: BTreeMap<(String, String), LockedPackage> = BTreeMap::new();
    let mut requested = Vec::new();
    for input in inputs {
        for name in &input.lock.requested {
            if !requested.contains(name) {
                requested.push(name.clone());
            }
        }
        for package in &input.lock.packages {
            let key = (package.name.clone(), package.architecture.clone());
            let known = packages.entry(key).or_insert_with(|| package.clone());
            let manual = known.manual || package.manual;
            if is_newer(&package.version, &known.version) {
                *known = package.clone();
            }
            known.manual = manual;
        }
    }
    LayerLock {
        name: "oracle".to_owned(),
        epoch: inputs.iter().map(|input| input.epoch).max().unwrap_or(0),
        requested,
        packages: packages.into_values().collect(),
    }
}

fn is_newer(version: &str, than: &str) -> bool {
    match (
        Version::parse(version.as_bytes()),
        Version::parse(than.as_bytes()),
    ) {
        (Ok(version), Ok(than)) => version > than,
        _ => false,
    }
}
