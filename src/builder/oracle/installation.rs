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
use crate::merge::drivers;
use crate::path::RelPath;
use crate::recipe::{FileContent, LayerLock, LockedPackage};
use crate::tree::{Inode, Tree};
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
        allowed: &[],
        packages: &[],
    };
    // New numbers go into this copy of the table and are forgotten with it.
    let mut ids = build.ids.clone();
    let copied = as_copied(rules, &after);
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
    let composed = LayersBelow::compose(build.composer, "oracle", &[base.clone(), whole])?;
    let mut tree = composed.lower;
    for (path, inode) in copied {
        tree.insert(path, inode);
    }
    Ok(tree)
}

/// Returns what definitions ship, as the installation left it before it was settled: settling is
/// part of what the oracle judges.
///
/// Content of `/var`, secrets and databases are left out: settling gives them other places, takes
/// them away or merges them.
fn as_copied(rules: SettleRules<'_>, after: &Tree) -> Vec<(RelPath, Inode)> {
    let is_settled = |path: &RelPath| {
        path.starts_with(b"var")
            || rules.secrets.contains_key(path)
            || drivers::driver_for(path.as_bytes()).is_some()
    };
    let place = |path: &RelPath| {
        let dir = after.resolve(path.parent()?.as_bytes())?;
        dir.join(path.name()).ok()
    };
    let shipped = rules.files.iter();
    let files = shipped.filter(|file| file.content != FileContent::Directory);
    files
        .filter_map(|file| place(&file.path))
        .filter(|path| !is_settled(path))
        .filter_map(|path| {
            let inode = after.get(path.as_bytes())?.clone();
            Some((
                path,
                Inode {
                    hardlink: 0,
                    ..inode
                },
            ))
        })
        .collect()
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::id::ObjectId;
    use crate::recipe::FileInput;

    #[test]
    fn what_definitions_ship_is_compared_as_it_was_before_settling() {
        let object = ObjectId::of(b"nameserver 192.0.2.1\n");
        let mut after = Tree::new();
        for dir in ["", "etc", "var", "var/x"] {
            after.insert(RelPath::from_text(dir).unwrap(), Inode::directory(0o755));
        }
        let paths = [
            "etc/resolv.conf",
            "etc/passwd",
            "etc/key",
            "var/x/f",
            "etc/gone",
        ];
        for path in &paths[..4] {
            let inode = Inode::file(object, 1, 0o644);
            after.insert(RelPath::from_text(path).unwrap(), inode);
        }
        let shipped = paths.map(|path| FileInput {
            path: RelPath::from_text(path).unwrap(),
            mode: 0o644,
            content: FileContent::File(object),
        });
        let secret = crate::recipe::SecretRule {
            run: "make".to_owned(),
            also: Vec::new(),
        };
        let secrets = [(RelPath::from_text("etc/key").unwrap(), secret)].into();
        let rules = SettleRules {
            layer: "oracle",
            state: &[],
            secrets: &secrets,
            allowed: &[],
            packages: &[],
            files: &shipped,
        };
        let copied = as_copied(rules, &after);
        let copied: Vec<String> = copied.iter().map(|(path, _)| path.to_string()).collect();
        assert_eq!(copied, ["/etc/resolv.conf"]);
    }
}
