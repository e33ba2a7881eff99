//! The manifest of a layer that was built: its facts for people, checks and later builds.

use std::collections::BTreeMap;

use super::BuildError;
use super::first_boot::FirstBootWork;
use super::inputs::{BUILDER_VERSION, LayerInputs};
use crate::compose::Member;
use crate::format::{Baseline, BuildFacts, FirstBoot, Health, Layer, LayerPackage, RebuildRule};
use crate::id::ObjectId;
use crate::path::RelPath;
use crate::store::Transaction;
use crate::tree::Changeset;

/// Makes the manifest and puts the changeset. The baseline is kept beside it.
pub(super) fn manifest(
    input: &LayerInputs,
    below: &[Member],
    transaction: &Transaction<'_>,
    changeset: &Changeset,
    pre_images: Vec<ObjectId>,
    first_boot: Vec<FirstBootWork>,
) -> Result<Layer, BuildError> {
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
    let on = below.iter().filter_map(Member::named).collect();
    Ok(Layer {
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
        health: Health {
            checks: definition.health.clone(),
        },
        restart: definition.restart.clone(),
        rebuild: RebuildRule {
            when: definition
                .rebuild_when
                .iter()
                .map(|glob| glob.as_str().to_owned())
                .collect(),
        },
        baseline: Baseline::default(),
    })
}
