//! The oracle: does composing layers give what one installation gives?
//!
//! The packages of all upper layers are installed in one go on the base as built, then each layer's
//! files, owners and scripts follow in the recipe's order; what that leaves is settled and derived
//! as layers are, and compared with the composed tree ([`compare`]). Every difference is explained
//! by the allow-list ([`allow`]), or it is a defect. Nothing is committed: no ref moves, no number
//! enters the ids table, and what was stored is garbage.

mod allow;
mod compare;
mod installation;

use allow::AllowList;
pub use allow::{AllowError, AllowRule};
pub(super) use compare::compare;
pub use compare::{InodeFacts, OracleDifference};

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use super::below::LayersBelow;
use super::composed::built_members;
use super::inputs::LayerInputs;
use super::session::BuildSession;
use super::{BuildError, BuildOptions, Composer};
use crate::recipe::Workspace;
use crate::store::Repository;

/// What the oracle found.
#[derive(Debug, Clone, Serialize)]
pub struct OracleReport {
    /// The recipe's name.
    pub recipe: String,
    /// How many paths were compared.
    pub paths: usize,
    /// Differences that the allow-list explains.
    pub explained: Vec<ExplainedDifference>,
    /// Differences that nothing explains.
    pub unexplained: Vec<OracleDifference>,
    /// Seconds in all.
    pub seconds: f64,
}

/// A difference that an entry of the allow-list explains.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainedDifference {
    /// What differs.
    #[serde(flatten)]
    pub difference: OracleDifference,
    /// The rule that held.
    pub rule: AllowRule,
    /// Why such a difference is no defect.
    pub reason: String,
}

/// Installs what the recipe's layers lock in one go, and compares it with what they compose to.
pub fn oracle(
    workspace: &Workspace,
    repository: &Repository,
    options: &BuildOptions<'_>,
) -> Result<OracleReport, BuildError> {
    let started = Instant::now();
    if !rustix::process::geteuid().is_root() {
        return Err(BuildError::OracleNeedsRoot);
    }
    let recipe = &workspace.recipe().name;
    let title = format!("layerset compose --oracle of {recipe}");
    let _alone = repository.work_lock(&format!("build-{recipe}"), &title, options.waiting)?;
    let lock = workspace.require_lock()?;
    let inputs: Vec<LayerInputs> = workspace
        .layers()
        .iter()
        .map(|layer| LayerInputs::read(layer, &lock))
        .collect::<Result<_, _>>()?;
    let members = built_members(workspace, repository)?;
    let composer = Composer::new(repository, options.cancel, options.progress);
    for (input, member) in inputs.iter().zip(&members) {
        if member.layer.build.key != input.key {
            return Err(BuildError::NotBuilt {
                layer: input.name.clone(),
                recipe: workspace.recipe_path().to_owned(),
                what: "from its present definition and lock",
            });
        }
    }
    let ids = workspace.read_ids()?;
    let build = BuildSession {
        workspace,
        repository,
        options,
        known_ids: &ids,
        ids: ids.clone(),
        forced: &BTreeMap::new(),
        composer: &composer,
        built: members
            .iter()
            .filter_map(|member| Some((member.layer.name.clone(), member.id?)))
            .collect(),
    };
    options
        .progress
        .step(recipe, "composing the layers as built", None);
    let composed = LayersBelow::compose(&composer, recipe, &members)?.lower;
    let installed = installation::install(&build, &inputs, &members)?;
    options.progress.step(recipe, "comparing", None);
    let read = |object: &_| repository.read_object(object);
    let allowed = AllowList::built_in().map_err(|source| BuildError::Allow { source })?;
    let (mut explained, mut unexplained) = (Vec::new(), Vec::new());
    for difference in compare(&composed, &installed, &read)? {
        match allowed.explain(&difference, &read)? {
            Some(entry) => explained.push(ExplainedDifference {
                difference,
                rule: entry.rule,
                reason: entry.reason.clone(),
            }),
            None => unexplained.push(difference),
        }
    }
    Ok(OracleReport {
        recipe: recipe.clone(),
        paths: composed.len(),
        explained,
        unexplained,
        seconds: started.elapsed().as_secs_f64(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
