//! The manifest of a layer that was built: its facts for people, checks and later builds.

use super::BuildError;
use super::first_boot::FirstBootWork;
use super::inputs::{BUILDER_VERSION, LayerInputs};
use super::settle::SettledLayer;
use crate::compose::Member;
use crate::format::{Baseline, BuildFacts, FirstBoot, Health, Layer, LayerPackage, RebuildRule};
use crate::store::Transaction;

/// Makes the manifest and puts the changeset. The baseline is kept beside it.
pub(super) fn manifest(
    input: &LayerInputs,
    below: &[Member],
    transaction: &Transaction<'_>,
    settled: &SettledLayer,
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
    let first_boot = |work: &FirstBootWork| {
        let boot = FirstBoot {
            run: work.run.clone(),
            also: work.also.clone(),
        };
        (work.path.clone(), boot)
    };
    let on = below.iter().filter_map(Member::named).collect();
    Ok(Layer {
        format: 1,
        name: input.name.clone(),
        version: definition
            .effective_version(Some(&input.lock))
            .unwrap_or("0")
            .to_owned(),
        architecture: input.architecture.clone(),
        changeset: transaction.put_changeset(&settled.changeset)?,
        pre_images: settled.pre_images.clone(),
        build: BuildFacts {
            key: input.key,
            on,
            epoch: input.epoch,
            builder: BUILDER_VERSION,
        },
        packages,
        first_boot: settled.first_boot.iter().map(first_boot).collect(),
        public_secrets: settled.public_secrets.clone(),
        health: Health {
            checks: definition.health.clone(),
        },
        restart: definition.restart.clone(),
        forbids_live: definition.forbids_live,
        rebuild: RebuildRule {
            when: definition
                .rebuild_when
                .iter()
                .map(|glob| glob.as_str().to_owned())
                .collect(),
        },
        sweeps: settled.sweeps.clone(),
        shipped: settled.shipped.clone(),
        baseline: Baseline::default(),
    })
}
