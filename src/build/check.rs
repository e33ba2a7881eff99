//! Checking a set of layers that are there, without building or keeping anything.

use serde::Serialize;

use super::image::renumbered_since;
use super::inputs::LayerInputs;
use super::{BuildError, keys};
use crate::check::{Finding, Verdict, verdict};
use crate::compose::{Judgement, Member, compose, examine, judge, waive};
use crate::format::{ImageLayer, Waiver};
use crate::id::LayerId;
use crate::recipe::Workspace;
use crate::store::{RefName, Repository};
use crate::time::Date;
use crate::tree::Inode;

/// A set of layers to check.
#[derive(Debug, Clone)]
pub struct CheckedSet {
    /// The name of the image that it makes; accounts are compared with the image that has the name now.
    pub name: String,
    /// The layers, lowest first.
    pub layers: Vec<LayerId>,
    /// The findings that somebody accepts.
    pub waivers: Vec<Waiver>,
}

/// What the checks say about a set.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// What the findings add up to.
    pub verdict: Verdict,
    /// The layers, lowest first.
    pub layers: Vec<ImageLayer>,
    /// What is news, by layer.
    pub findings: Vec<Finding>,
    /// What was so already when the layers were built.
    pub known: Vec<Finding>,
}

impl CheckedSet {
    /// Takes the layers that a build of a recipe would keep; one that it would build is an error.
    pub fn of_recipe(workspace: &Workspace, repository: &Repository) -> Result<Self, BuildError> {
        let lock = workspace.require_lock()?;
        let mut layers = Vec::new();
        for layer in workspace.layers() {
            let input = LayerInputs::read(layer, &lock)?;
            match keys::find(repository, &input.key)? {
                Some(cached) => layers.push(cached.layer),
                None => return Err(BuildError::NotBuilt { layer: input.name }),
            }
        }
        Ok(Self {
            name: workspace.recipe().name.clone(),
            layers,
            waivers: workspace.recipe().waivers.clone(),
        })
    }
}

/// Composes a set and checks it, on the day `today`; nothing of it is kept.
pub fn check(
    repository: &Repository,
    set: &CheckedSet,
    today: Date,
) -> Result<CheckReport, BuildError> {
    let members = set
        .layers
        .iter()
        .map(|id| Member::read(repository, id))
        .collect::<Result<Vec<_>, _>>()?;
    let transaction = repository.begin()?;
    let index = repository.index();
    let composition = compose(&members, &transaction, &index)?;
    let found = examine(&composition, &members, &transaction, &index)?;
    let Judgement { news, known } = judge(found, &members);
    let read = |path: &[u8]| {
        let object = composition.tree.get(path).and_then(Inode::object);
        let bytes = object.map(|id| transaction.read_object(&id)).transpose()?;
        Ok(bytes.unwrap_or_default())
    };
    let before = repository.read_ref(&RefName::image(&set.name)?)?;
    let mut findings = renumbered_since(repository, before.as_deref(), &members, &read)?;
    findings.extend(composition.findings);
    findings.extend(news);
    findings.sort_by(|a, b| (&a.layer, &a.id).cmp(&(&b.layer, &b.id)));
    let findings = waive(findings, &set.waivers, today).findings;
    Ok(CheckReport {
        verdict: verdict(&findings),
        layers: members.iter().filter_map(Member::named).collect(),
        findings,
        known,
    })
}
